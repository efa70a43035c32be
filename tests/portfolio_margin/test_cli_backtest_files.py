"""Dated sets in a back-test: the file that a calibration writes, walked with the very scenarios that margin takes."""

from __future__ import annotations

import html
import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portfolio_margin.backtest.sets import Dated
from portfolio_margin.cli.backtest_sets import Source, read_dated
from portfolio_margin.io.parameters import Layer, build
from pricing import ConfigError
from scenarios import revalue
from scenarios.backtest import revaluation, snapshot, walk
from scenarios.backtest.books import standard_books
from scenarios.families import grid
from tests.portfolio_margin import test_cli, test_cli_calibrate_grid
from tests.portfolio_margin.test_cli import check_fails
from tests.portfolio_margin.test_cli_backtest import ARGUMENTS, written
from tests.scenarios.backtest.histories import walked

run = test_cli.run
OWN = """
[header]
source = "by hand"
valid_from = 2020-08-29

[worst_case]
initial_factor = 1.25
maintenance_factor = 1.0

[grid]
days = [0.0, 1.0, 2.5]
tail_moves = [-0.5, 0.4]
tail_factor = 0.7
price_nodes = [-1.0, -0.3, 0.0, 0.4, 1.0]

[grid.price_range]
BTC = 0.12
ETH = 0.15

[grid.vol_up]
BTC = 0.4
ETH = 0.5

[grid.vol_down]
BTC = 0.3
ETH = 0.35

[grid.dynamics]
short_power = 0.45
long_power = 0.2
minimum_vol_up = 0.9
vol_floor = 0.3
"""
EQUAL = "[grid]\nprice_range = 0.2\nbuckets = 3\ntail_moves = []\nvol_down = 1.0\n"


def dated(path: Path, text: str, underlying: str = "") -> Dated:
    (path / "own.toml").write_text(text)
    return read_dated(Source(str(path / "own.toml"), underlying))


def check_same_scenarios(chosen: Dated, table: dict[str, Any], name: str) -> None:
    """Every scenario that `margin --params` makes of the file for a market of this underlying is in the walk."""
    params = build(grid.Params, Layer("", table))
    on_file = grid.scenarios(params, SimpleNamespace(underlying_id=np.array([name])))
    given = walked(30)
    model = chosen.model(chosen.rule(10, 2)(given), np.arange(30), 2)
    moves = model.moves(np.array([0, 12, 29]))
    for row in range(3):
        assert np.array_equal(moves.price[row], on_file.price_move[:, 0])
        assert np.array_equal(moves.vol[row], on_file.vol_move[:, 0])
        assert np.array_equal(moves.weight[row], on_file.weight)
        assert moves.days[row] == pytest.approx(365.0 * on_file.time_step_years, rel=1e-15)
    assert model.dynamics == on_file.dynamics


@pytest.mark.parametrize(("text", "name"), [(OWN, "BTC"), (OWN, "ETH"), (EQUAL, "X")])
def test_every_scenario_of_the_file_is_in_the_walk(tmp_path: Path, text: str, name: str) -> None:
    chosen = dated(tmp_path, text, name)
    check_same_scenarios(chosen, tomllib.loads(text)["grid"], name)
    assert chosen.underlying == ("" if name == "X" else name)


@pytest.mark.parametrize("text", [OWN, EQUAL])
def test_margins_are_those_of_the_engine(tmp_path: Path, text: str) -> None:
    """The same books on the market of a day under the file's own scenarios, by `revalue`: powers and floors as well."""
    given, books, day = walked(60), standard_books(60), 40
    chosen = dated(tmp_path, text, "BTC")
    instruments, market = snapshot.snapshot(given, day, books, "BTC")
    on_file = grid.scenarios(build(grid.Params, Layer("", tomllib.loads(text)["grid"])), market)
    arrays = revalue(instruments, market, on_file, tick=None)
    held = snapshot.quantities(given, day, books)
    wanted = np.maximum(-(held @ arrays.pnl).min(axis=1), 0.0) / given.price[day]
    model = chosen.model(chosen.rule(10, 1)(given), np.arange(60), 1)
    found = walk.margins(given, books, model, np.array([day]), model.dynamics)[0]
    assert found == pytest.approx(wanted, abs=1e-12) and found.max() > 0.05
    without = walk.margins(given, books, model, np.array([day]), revaluation.DYNAMICS)[0]
    assert (np.abs(without - found).max() > 1e-3) == (text == OWN)  # of the other no floor binds on that day


def test_a_calibrated_file_is_tested_beside_kinds(run: Any, tmp_path: Path) -> None:
    """What calibrate wrote, as it stands: rows before its day are in sample, in text, JSON and on the page."""
    pytest.importorskip("matplotlib")
    test_cli_calibrate_grid.written(tmp_path, 800)
    (tmp_path / "settings.toml").write_text("[calibration]\ndraws = 20\ngrid_error = 0.06\n")
    prices = (tmp_path / "btc.csv").read_text().splitlines()[1:]
    last = prices[500].partition(",")[0]
    columns = ("--price-columns", "date,close", "--until", last)
    done = run(*test_cli_calibrate_grid.ARGUMENTS, *columns, "--set", "own.toml")
    assert done.code == 0, done.err
    (tmp_path / "sets.toml").write_text('[sets.own]\nkind = "file"\nfile = "own.toml"\n[sets.still]\nkind = "fixed"\n')
    command = (*ARGUMENTS[:5], "--least-days", "300", "--books", "8", "--horizon", "2")
    both = run(*command, "--set", "own.toml", "--set", "fixed", "--report", "page.html", "--json")
    assert both.code == 0, both.err
    document = json.loads(both.out)
    own = document["sets"]["own.toml"]
    table = tomllib.loads((tmp_path / "own.toml").read_text())
    assert own["kind"] == "file" and own["underlying"] == "BTC" and own["file"] == "own.toml"
    assert own["params"]["price_range"] == table["grid"]["price_range"]["BTC"]
    # Rows 300 to 797 have a loss; the row of the last day itself begins when that day is over.
    assert own["rows_in_sample"] == 200 and len(document["notes"]) == 2
    said = f"own.toml: the set of BTC was made with data to {last}: 200 of 498 rows are before it, in sample"
    assert document["notes"][0] == said
    assert "1.25 times it as initial and 1 times as maintenance margin" in document["notes"][1]
    page = html.unescape((tmp_path / "page.html").read_text())
    assert said in page and "<h2>Evidence: own.toml, partly in sample</h2>" in page
    assert re.search(r"own.toml, partly in sample: 200 of 498 rows are in sample; all books together are covered on "
                     r"[\d.]+ % of these and on [\d.]+ % of the 298 after them; fails on", page)  # fmt: skip
    check_same_scenarios(read_dated(Source(str(tmp_path / "own.toml"))), table["grid"], "BTC")
    named = run(*command, "--params", "sets.toml")
    assert named.code == 0 and said.replace("own.toml:", "own:") in named.out
    assert "own, partly in sample: least covered is" in named.out
    seen = run(*command, "--set", "own.toml", "--until", str(np.datetime64(last) + 50))
    assert seen.code == 0 and "own.toml, in sample: least covered is" in seen.out
    later = run(*command, "--params", "sets.toml", "--set", "own", "--from", str(np.datetime64(last) + 1), "--json")
    assert later.code == 0, later.err
    assert json.loads(later.out)["sets"]["own"]["rows_in_sample"] == 0
    assert json.loads(later.out)["notes"][0].endswith("every row is after it")
    mixed = {row["book"]: row["mean_margin"] for row in document["rows"] if row["set"] == "own.toml"}
    assert mixed["long future"] == pytest.approx(own["params"]["price_range"])


def test_a_horizon_that_is_another_and_no_day(run: Any, tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "own.toml").write_text(EQUAL)
    (tmp_path / "slow.toml").write_text(OWN.replace("2020-08-29", "2020-08-29\nvalid_to = 2020-12-31"))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "own.toml").write_text(EQUAL)
    arguments = ("--set", "own.toml", "--set", "slow.toml", "--set", "deep/own.toml", "--name", "ETH", "--json")
    done = run(*ARGUMENTS, *arguments)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert list(document["sets"]) == ["own.toml", "slow.toml", "deep/own.toml"]
    assert document["sets"]["slow.toml"]["params"]["price_range"] == 0.15
    assert (
        "own.toml: the set has no [header] with valid_from: which rows its maker saw is not known" in document["notes"]
    )
    ended = [said for said in document["notes"] if said.endswith("rows are after the set's last day, 2020-12-31")]
    assert len(ended) == 1 and ended[0].startswith("slow.toml: 53 of 269 ")
    horizon = "slow.toml: in the set up to 2.5 d pass, and positions are held 1 d: is --horizon that of the set?"
    assert horizon in document["notes"] and not any("own.toml: in the set" in said for said in document["notes"])
    assert "rows_in_sample" not in document["sets"]["own.toml"]


@pytest.mark.parametrize(
    ("text", "more", "parts"),
    [
        (OWN, (), ("own.toml: has parameters of BTC, ETH; say whose history this is, with --name",)),
        (OWN, ("--name", "SOL"), ("own.toml: price_range has no entry for SOL, it has BTC, ETH",)),
        (OWN.replace("0.15", "1.5"), ("--name", "BTC"), ("own.toml [grid]", "price_range ETH = 1.5")),
        ("[worst_case]\n", (), ("own.toml: has no table [grid]",)),
        ("[sets.a]\nkind = 'fixed'\n", (), ("own.toml, table = 'sets'", "given with --params own.toml")),
        ("[grid\n", (), ("own.toml", "not valid TOML")),
        ("[grid]\nprice_rage = 0.1\n", (), ("own.toml [grid]", "unknown parameter price_rage")),
        ("[header]\nvalid_from = '2020'\n[grid]\n", (), ("own.toml, header valid_from", "must be a date")),
        (EQUAL, ("--set", "none.toml"), ("none.toml", "No such file")),
        (EQUAL, ("--set", "owner"), ("--set owner: no such set", "a dated set is the path of its file")),
        (EQUAL, ("--set", "file"), ("--set file: no such set",)),
    ],
)
def test_what_is_no_dated_set_is_said(
    run: Any, tmp_path: Path, text: str, more: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    written(tmp_path, 200)
    (tmp_path / "own.toml").write_text(text)
    check_fails(run(*ARGUMENTS, "--set", "own.toml", *more), *parts)


def test_a_dated_set_given_as_sets_and_a_table_without_its_file(run: Any, tmp_path: Path) -> None:
    written(tmp_path, 200)
    (tmp_path / "own.toml").write_text(OWN)
    done = run(*ARGUMENTS, "--params", "own.toml")
    check_fails(done, "table = 'header'", "--set own.toml")
    assert done.err.count("--set own.toml") == 1
    for line, said in (("", "needs file"), ('file = "own.toml"\nbuckets = 3\n', "unknown parameter buckets")):
        (tmp_path / "sets.toml").write_text(f'[sets.own]\nkind = "file"\n{line}')
        check_fails(run(*ARGUMENTS, "--params", "sets.toml"), said)
    with pytest.raises(ConfigError, match="price_range: by underlying"):
        Dated(grid.Params(price_range={"BTC": 0.1}))
