"""The command that stresses a venue, on the sample, and its pictures."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.cli.stress_rules import rules_document, stress_hash
from portfolio_margin.io.stress_path import SOURCES
from portfolio_margin.plots.stress import loss_waterfall, timeline
from portfolio_margin.stress import path_fund
from portfolio_margin.stress.path_fund import PathFund
from portfolio_margin.stress.rules import Impact, Rules
from portfolio_margin.stress.run import run as stress
from portfolio_margin.stress.weighted_tail import Tail
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import book_of
from tests.portfolio_margin.stress.test_run import perpetual_long
from tests.portfolio_margin.stress.venues import path_of, venue_of
from tests.portfolio_margin.test_cli import check_fails
from tests.portfolio_margin.test_cli_output import ESCAPE, on_terminal

run = test_cli.run
SHORT = "hours,price_BTC,price_ETH,vol_BTC,vol_ETH\n0,1,1,1,1\n12,0.9,0.85,1.3,1.3\n24,0.7,0.6,1.9,1.8\n"


@pytest.fixture
def path_file(tmp_path: Path) -> str:
    file = tmp_path / "crash.csv"
    file.write_text(SHORT)
    return str(file)


def test_the_crash_table_of_the_sample(run: Any) -> None:
    table = run("stress")
    assert table.code == 0 and "stress by crash_2026" in table.out
    lines = table.out.splitlines()
    assert len([line for line in lines if line.strip()[:1].isdigit() and "209.1" in line]) == 1
    assert "of 56 accounts liquidated" in table.out and "this path needs" in table.out


def test_outputs_agree(run: Any, path_file: str) -> None:
    given = ("stress", "--path", path_file, "--fund", "20000")
    document = json.loads(run(*given, "--json").out)
    rows = list(csv.DictReader(run(*given, "--csv").out.splitlines()))
    assert len(rows) == len(document["steps"]) == 3 and document["path"] == "crash.csv"
    for row, step in zip(rows, document["steps"], strict=True):
        assert Decimal(row["shortfall"]) == Decimal(step["shortfall"]) and row["liquidated"] == str(step["liquidated"])
    total = sum(Decimal(step["shortfall"]) for step in document["steps"])
    assert total == Decimal(str(document["shortfall"])) and document["survived"] is False
    borne = sum(
        Decimal(step[name]) for step in document["steps"] for name in ("from_fund", "deleveraged", "socialised")
    )
    assert borne == total
    needed = str(document["fund_needed"])
    assert json.loads(run("stress", "--path", path_file, "--fund", needed, "--json").out)["survived"] is True


def test_amounts_of_the_header_are_whole_cents(run: Any, path_file: str) -> None:
    """54827.38 is no double that is 0.01 times its cents."""
    given = ("stress", "--path", path_file, "--fund", "54827.38", "--demand", "0", "--json")
    document = json.loads(run(*given).out)
    assert document["fund_before"] == document["fund_after"] == 54827.38 != 0.01 * 5482738
    for name in ("shortfall", "from_fund", "deleveraged", "socialised", "owed"):
        assert document[name] == round(document[name], 2)


def test_what_else_is_asked(run: Any, path_file: str) -> None:
    jumps = ("--size-fund", "--reverse", "--draws", "1000", "--seed", "3")
    given = ("stress", "--path", path_file, "--fund", "150000")
    told = run(*given, *jumps, "--prevent")
    for text in ("survives 99.9 %", "most likely jump", "price_range that would", "buffer that would"):
        assert text in told.out
    document = json.loads(run(*given, *jumps, "--json").out)
    assert "prevention" not in document
    assert document["fund_size"]["amount"] > 0 < document["fund_size"]["standard_error"]
    assert [row["factor"] for row in document["reverse_stress"]] == ["BTC", "ETH", "vol"]


def test_the_commands_of_prevention_show_what_it_says(run: Any, path_file: str) -> None:
    """Each value found is run as printed and survives, the scan range where accounts pay in at the start."""
    given = ("stress", "--path", path_file, "--fund", "60000", "--policy", "calendar-01=cheapest", "--seed", "2")
    document = json.loads(run(*given, "--prevent", "--json").out)
    assert document["survived"] is False
    found = {each["parameter"]: each for each in document["prevention"]}
    assert set(found) == {"price_range", "buffer"} and any(each["value"] for each in found.values())
    for each in found.values():
        if each["value"] is None:
            assert float(each["reason"]["beyond_fund"]) > 0.0
            continue
        name, *words = shlex.split(each["command"])
        assert name == "portfolio-margin" and "--prevent" not in words
        assert json.loads(run(*words, "--json").out)["survived"] is True
    words = shlex.split(found["price_range"]["command"])[1:]
    assert words[-1] == "--topped-up" and "--topped-up" in found["price_range"]["supposes"]
    assert "paid in at the start by" in run(*words).out


def test_where_there_is_nothing_to_prevent_it_is_said(run: Any, path_file: str) -> None:
    given = ("stress", "--path", path_file, "--fund", "1e7", "--prevent")
    document = json.loads(run(*given, "--json").out)
    assert document["prevention"] == [] and "the fund is enough" in document["prevention_note"]
    assert "nothing to prevent" in run(*given).out


def test_none_is_enough_for_a_reason(run: Any, path_file: str) -> None:
    """Who owes before the path owes at every buffer."""
    given = ("stress", "--path", path_file, "--fund", "0", "--prevent")
    found = {each["parameter"]: each for each in json.loads(run(*given, "--json").out)["prevention"]}
    reason = found["buffer"]["reason"]
    assert found["buffer"]["value"] is None and reason["largest"] == 2.0
    assert 0.0 < reason["shortfall_before_path"] <= reason["shortfall"]
    assert "by accounts below 0 before the path" in run(*given).out


def test_debts_from_before_the_path_are_told_apart(run: Any, path_file: str) -> None:
    document = json.loads(run("stress", "--path", path_file, "--json").out)
    before = document["before_path"]
    assert before["accounts_below_0"] == 1 and 0.0 < before["owed"] <= before["shortfall"]
    assert document["shortfall_of_path"] == pytest.approx(document["shortfall"] - before["shortfall"], abs=0.005)
    assert document["fund_needed_of_path"] < document["fund_needed"]
    assert "before the path: 1 account is below 0" in run("stress", "--path", path_file).out


def test_accounts_by_name(run: Any, path_file: str, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    document = json.loads(run("stress", "--path", path_file, "--accounts", str(file), "--json").out)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    listed = document["liquidated_accounts"]
    assert [row["account"] for row in rows] == [row["account"] for row in listed]
    assert len(rows) == document["accounts_liquidated"]
    for name, total in (("shortfall", "shortfall"), ("cost", "costs"), ("penalty", "penalties")):
        steps = sum(Decimal(step[total]) for step in document["steps"])
        assert sum(Decimal(row[name]) for row in listed) == steps
    text = run("stress", "--path", path_file).out
    assert f"worst hit, of {len(rows)}" in text and f"  {listed[0]['account']}: hour" in text
    check_fails(run("stress", "--accounts", str(tmp_path / "x.txt")), "x.txt")


def test_the_input_hash_depends_on_rules_and_path(run: Any, path_file: str) -> None:
    plain = json.loads(run("stress", "--path", path_file, "--json").out)
    assert plain["rules"]["penalty"] == 0.0025 and plain["rules"]["impact"]["coefficient"] == 1.0
    assert plain["rules"]["demand"] is None and plain["rules"]["policy"] == "proportional"
    told = run("stress", "--path", path_file, "--buffer", "0.2").out
    assert "rules: proportional slices, buffer 0.2, cost 0.0005" in told and f"inputs {plain['input_hash']}" not in told
    path = path_of([1.0, 0.7])
    changed = (
        Rules(fund=1.0),
        Rules(demand=1e6),
        Rules(impact=Impact(coefficient=2.0)),
        Rules(named={"a": "cheapest"}),
    )
    documents = [rules_document(rules, None, False) for rules in (Rules(), *changed)]
    documents += [rules_document(Rules(), 6.0, False), rules_document(Rules(), None, True)]
    hashes = [stress_hash("0", document, path) for document in documents]
    hashes += [stress_hash("1", documents[0], path), stress_hash("0", documents[0], path_of([1.0, 0.71]))]
    assert len(set(hashes)) == len(hashes) and stress_hash("0", documents[0], path) == hashes[0]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(path_file: str, width: int) -> None:
    """No number and no word is broken: every line of the table has all its cells, and none is too long."""
    told = ESCAPE.sub("", on_terminal(width, "stress", "--path", path_file)).splitlines()
    head = next(place for place, line in enumerate(told) if line.startswith("step "))
    assert [line.split()[0] for line in told[head + 1 : head + 4]] == ["1", "2", "3"]
    assert max(map(len, told[head - 1 : head + 4])) <= width
    cells = [len(line.split()) for line in told[head + 1 : head + 4]]
    assert cells == [len(told[head].replace("step", "step ").split())] * 3 and cells[0] >= (9 if width == 80 else 12)
    left_out = told[head + 4]
    assert "not shown for lack of width" in left_out and not any(name in left_out for name in ("shortfall", "bankrupt"))


def test_a_fund_that_is_exhausted_before_any_move_says_by_whom(run: Any, path_file: str) -> None:
    """The sample holds one account that owes; a fund of less than that is exhausted as it stands."""
    given = ("stress", "--path", path_file, "--fund", "30000", "--reverse")
    document = json.loads(run(*given, "--json").out)
    ((account, owes),) = [tuple(row.values()) for row in document["exhausted_before_any_move"]["accounts"]]
    assert {row["distance"] for row in document["reverse_stress"]} == {0.0} and Decimal(owes) >= 30_000
    told = run(*given).out
    assert f"exhausted before any move: {account} owes {owes} USD" in told and "most likely jump" not in told
    assert "penalties" in told and "penalties" in document["exhausted_before_any_move"]["note"]


def test_a_fund_by_paths_says_what_it_does_not_know(run: Any, monkeypatch: pytest.MonkeyPatch, path_file: str) -> None:
    """Few paths support no upper bound; many might; amounts are whole cents either way."""
    needs = np.full(56, 27367.941)
    tail = Tail(27367.941, 27367.941, np.inf, 3, 1.04, 1_371)
    fund = PathFund(tail, 27367.941, needs, np.ones(56), np.ones(56))
    monkeypatch.setattr(path_fund, "path_fund", lambda *given: fund)
    asked = ("stress", "--path", path_file, "--fund-by-paths", "--paths", "56")
    told = run(*asked).out
    assert (
        "at least 27367.94 USD, and no upper bound can be stated" in told and "it takes 1,400 --paths or more" in told
    )
    assert "27367.94 USD is missing before anything moves" in told and "interval" not in told
    found = json.loads(run(*asked, "--json").out)["fund_by_paths"]
    assert (found["amount"], found["low"], found["high"], found["missing_at_start"]) == (
        *[27367.94] * 2,
        None,
        27367.94,
    )
    assert (found["paths"], found["beyond"], found["effective_pairs"], found["runs_needed"]) == (56, 3, 1.04, 1_371)
    wide = replace(fund, tail=tail._replace(high=41_000.001, effective=14.2))
    monkeypatch.setattr(path_fund, "path_fund", lambda *given: wide)
    assert "95 % interval 27367.94 to 41000.00" in run(*asked).out


def test_rules_of_the_command(run: Any, path_file: str) -> None:
    def liquidated(*options: str) -> int:
        return int(json.loads(run("stress", "--path", path_file, *options, "--json").out)["accounts_liquidated"])

    plain = liquidated()
    assert liquidated("--demand", "0") == 0 < plain
    nobody = ("stress", "--path", path_file, "--demand", "0")
    assert json.loads(run(*nobody, "--json").out)["fund_needed"] is None
    assert "no fund is enough" in run(*nobody).out
    assert liquidated("--refine", "3", "--impact", "0") > 0
    assert liquidated("--policy", "naked-call-seller-01=cheapest", "--delay-hours", "2") > 0


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--path", "crash_1999"), ("crash_1999", "no such path")),
        (("--path", "./nowhere.csv"), ("nowhere.csv",)),
        (("--fund", "-5"), ("fund = -5.0",)),
        (("--policy", "x=none"), ("--policy x=none", "cheapest")),
        (("--policy", "x=cheapest"), ("x", "no such account")),
        (
            ("--policy", "x=cheapest", "--policy", "x=proportional"),
            ("--policy x=proportional", "one already, cheapest"),
        ),
        (("--policy", "x=cheapest", "--policy", "x=cheapest"), ("--policy x=cheapest", "one already, cheapest")),
        (("--refine", "0"), ("refined = 0.0",)),
        (("--refine", "1e-6"), ("refined = 1e-06", "10,000 at most")),
        (("--draws", "10"), ("draws = 10",)),
        (("--size-fund", "--seed", "-1"), ("seed = -1",)),
        (("--reverse", "--seed", "-1"), ("seed = -1",)),
        (("--arrays", "a.npz", "--positions", "p.csv"), ("a.npz",)),
    ],
)
def test_bad_input_is_one_clear_text(run: Any, arguments: tuple[str, ...], texts: tuple[str, ...]) -> None:
    check_fails(run("stress", *arguments), *texts)


def test_a_bad_path_names_the_row(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "crash.csv"
    file.write_text(SHORT.replace("0.9", "-0.9"))
    check_fails(run("stress", "--path", str(file)), "row 3", "price_BTC", "must be a factor")
    file.write_text("hours,price_BTC\n0,1\n")
    check_fails(run("stress", "--path", str(file)), "ETH", "the path has no price of it")
    file.write_text("hours,price_BTC,price_ETH,price_BTC\n0,1,1,0.9\n")
    check_fails(run("stress", "--path", str(file)), "price_BTC", "given twice")
    file.write_text("hours,price_BTC,price_ETH,vol_BTC,vol_BTC_30d\n0,1,1,1,2\n")
    check_fails(run("stress", "--path", str(file)), "vol_BTC_30d", "30 days")


def test_pictures(run: Any, tmp_path: Path, path_file: str) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "pictures"
    assert run("stress", "--path", path_file, "--plots", str(folder)).code == 0
    for name in ("stress-timeline.png", "loss-waterfall.png"):
        assert (folder / name).read_bytes()[:4] == b"\x89PNG"
    accounts = {**perpetual_long("thin", 20.0, 0.15), "rich": {"USD": 1e6}}
    result = stress(venue_of(book_of(accounts)), path_of([1.0, 0.7]), Rules(fund=50_000.0))
    told = loss_waterfall(result).frame
    assert len(told) == 6 and told["amount"][0] == 0.0 and told["amount"][1] > 1e5
    assert told["amount"][2:].sum() == pytest.approx(told["amount"][:2].sum())
    assert told["share"][2:].sum() == pytest.approx(1.0)
    steps = timeline(result, "a title")
    assert np.array_equal(steps.frame["price_BTC"], result.price[:, 0])
    assert steps.figure.axes[0].get_title() == "a title" and len(steps.figure.axes) == 4
    venue = venue_of(book_of(accounts))
    followed = stress(venue, path_of([1.0, 0.7]), Rules(fund=50_000.0), follow=venue.book.row_of("thin"))
    picture = timeline(followed)
    own = followed.followed
    assert own is not None and len(picture.figure.axes) == 5
    assert picture.frame["account_balance"].tolist() == own.balance.tolist()
    (marks,) = (line for line in picture.figure.axes[4].lines if line.get_marker() == "v")
    balance = picture.figure.axes[4].lines[0]
    assert balance.get_xdata().tolist() == np.repeat(picture.frame["hours"], 2).tolist()
    drawn = np.column_stack([own.balance_before, own.balance]).ravel()
    assert np.ptp(balance.get_ydata() * drawn[0] / balance.get_ydata()[0] - drawn) < 1e-6
    assert marks.get_xdata().tolist() == picture.frame["hours"][own.traded].tolist() and own.traded.any()


def test_every_path_that_ships_runs_and_says_where_it_is_from(run: Any) -> None:
    for name, source in SOURCES.items():
        document = json.loads(run("stress", "--path", name, "--json").out)
        assert document["path_source"] == source and len(document["steps"]) == 35
