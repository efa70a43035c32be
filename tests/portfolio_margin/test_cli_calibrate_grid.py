"""calibrate --model worst_case: from files to a set that margin takes."""

from __future__ import annotations

import csv
import json
import pickle
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portfolio_margin.backtest.sets import Calibration
from portfolio_margin.cli import calibrated_grid
from portfolio_margin.io.backtest_history import read_history
from portfolio_margin.io.parameters import Layer, build
from scenarios.backtest.revaluation import DYNAMICS
from scenarios.calibrate.grid_nodes import fit_grid
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.underlying import calibrate_underlying
from scenarios.dynamics import tenor_scale
from scenarios.families import grid
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import check_fails
from tests.vectors import data_file

run = test_cli.run
FOUND: dict[bytes, Any] = {}


@pytest.fixture(autouse=True)
def calibrated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of a command are these two, pure functions of histories and settings: where a test runs the command again
    for another output, or another test has the same histories, what they found is at hand."""
    for function in (calibrate_underlying, fit_grid):
        monkeypatch.setattr(calibrated_grid, function.__name__, partial(kept, function))


def kept(function: Callable[..., Any], *asked: Any) -> Any:
    """What the function finds, or found before for equal arguments."""
    key = pickle.dumps((function.__name__, asked))
    if key not in FOUND:
        FOUND[key] = function(*asked)
    return FOUND[key]


PARAMS = "[calibration]\ndraws = 20\nrange_low = 0.02\n\n[worst_case]\ninitial_factor = 1.4\n\n[grid]\ndays = [0.0]\n"
ARGUMENTS = ("calibrate", "--model", "worst_case", "--params", "settings.toml",
             "--history", "BTC=btc.csv", "--vol-history", "BTC=vol.csv")  # fmt: skip
BOTH = (*ARGUMENTS, "--history", "ETH=eth.csv", "--vol-history", "ETH=vol.csv")


def written(folder: Path, days: int = 600, last: str = "2026-02-25") -> None:
    random = np.random.default_rng(days)
    day = np.datetime64(last) - np.arange(days)[::-1]
    for name, deviation in (("btc", 0.03), ("eth", 0.04), ("vol", 0.05)):
        close = 55.0 * np.exp(np.cumsum(random.standard_t(5, days) * deviation * 0.6))
        close = 55.0 + 20.0 * np.tanh(np.log(close / 55.0)) if name == "vol" else close
        rows = [f"{d},{c:.6f}" for d, c in zip(day, close, strict=True)]
        (folder / f"{name}.csv").write_text("date,close\n" + "\n".join(rows) + "\n")
    (folder / "settings.toml").write_text(PARAMS)


COLUMNS = ("--price-columns", "date,close")


def test_a_set_is_made_written_and_used(run: Any, tmp_path: Path) -> None:
    written(tmp_path)
    done = run(*BOTH, *COLUMNS, "--set", "set.toml", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    text = (tmp_path / "set.toml").read_text()
    table = tomllib.loads(text)
    assert str(table["header"]["valid_from"]) == document["valid_from"] == "2026-02-26"
    assert table["grid"] == document["params"]["grid"]
    assert table["worst_case"]["initial_factor"] == 1.4 and table["worst_case"]["maintenance_factor"] == 1.0
    for name in ("BTC", "ETH"):
        evidence = document["evidence"]["underlyings"][name]
        assert table["grid"]["price_range"][name] == pytest.approx(evidence["price_range"]["chosen"], rel=1e-3)
        used = {(m["filter"], m["way"]): m for m in evidence["price_range"]["methods"]}
        assert len(used) == 8 and all(m["low"] <= m["high"] for m in used.values())
        expected = max(used["none", "pareto"]["value"], evidence["price_range"]["floor"])
        # Between what is calculated and a quarter more, of which stress may have used up a part.
        assert expected <= evidence["price_range"]["chosen"] * (1.0 + 1e-9) <= 1.25 * expected * (1.0 + 2e-9)
        assert 0.0 < evidence["leverage"]["joint"] <= 1.0
    assert "band" in text.partition("[grid.price_range]")[2]
    lines = {line.partition(" = ")[0]: line for line in text.splitlines()}
    assert "1.4 times the worst loss" in lines["initial_factor"] and "40 % above" in lines["initial_factor"]
    assert "1.75 times the move that is calculated" in lines["initial_factor"]  # 1.4 x (1 + buffer)
    assert lines["maintenance_factor"].endswith("# the worst loss over the grid, which is what backtest tests")
    assert "of no effect" in lines["buckets"]
    margins = run("margin", "--params", "set.toml", "--json")
    assert margins.code == 0, margins.err
    assert json.loads(margins.out)["parameters_changed"] == ["initial_factor", "maintenance_factor"]
    assert "set.toml is valid from 2026-02-26, and the market is of" in margins.err or margins.err == ""
    ranges = table["grid"]["price_range"]
    edge = "S" + "|".join(f"{-100 * ranges[name]:+.1f}" for name in ("BTC", "ETH"))
    arrays = run("arrays", "--params", "set.toml", "--output", "arrays.npz")
    assert arrays.code == 0, arrays.err
    worst = {row["worst_scenario"]["id"] for row in json.loads(margins.out)["accounts"] if row["worst_scenario"]}
    assert any(label.startswith(edge) for label in worst)


@pytest.mark.parametrize(
    ("horizon", "closed", "days"),
    [("", False, [0.0, 2.0]), ("horizon_days = 10\n", False, [0.0, 10.0]), ("", True, [0.0, 4.0])],
)
def test_time_passes_by_the_horizon(run: Any, tmp_path: Path, horizon: str, closed: bool, days: list[float]) -> None:
    """Options that age by one day under a range of ten would be charged too little for their time, and so would those
    that age by two over a weekend."""
    written(tmp_path, 400)
    for name in ("btc", "vol") if closed else ():
        head, *rows = (tmp_path / f"{name}.csv").read_text().splitlines()
        kept = [row for row in rows if np.is_busday(np.datetime64(row.partition(",")[0]))]
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *kept]) + "\n")
    (tmp_path / "settings.toml").write_text(f"[calibration]\ndraws = 20\ngrid_error = 0.1\n{horizon}")
    done = run(*ARGUMENTS, *COLUMNS, "--set", "set.toml", "--json")
    assert done.code == 0, done.err
    assert tomllib.loads((tmp_path / "set.toml").read_text())["grid"]["days"] == days


def test_days_to_accept_the_future_and_constants(run: Any, tmp_path: Path) -> None:
    written(tmp_path, 400)
    check_fails(run(*ARGUMENTS, *COLUMNS, "--accept", "hello"), "accept = 'hello': must be a day of the calendar")
    check_fails(run(*ARGUMENTS, *COLUMNS, "--accept", "1999-12-31"), "accept = '1999-12-31': a day without a row")
    written(tmp_path, 400, last=str(np.datetime64("now", "D") + 30))
    check_fails(run(*ARGUMENTS, *COLUMNS), "in the future")
    written(tmp_path, 400)
    still = [row.partition(",")[0] + ",5.0" for row in (tmp_path / "vol.csv").read_text().splitlines()[1:]]
    (tmp_path / "vol.csv").write_text("date,close\n" + "\n".join(still) + "\n")
    check_fails(run(*ARGUMENTS, *COLUMNS), "vol.csv, close = 5.0: the same on every row")


def test_outputs_agree(run: Any, tmp_path: Path) -> None:
    written(tmp_path)
    rows = list(csv.DictReader(run(*ARGUMENTS, *COLUMNS, "--csv").out.splitlines()))
    document = json.loads(run(*ARGUMENTS, *COLUMNS, "--json").out)
    assert len(rows) == 3 * 8
    first = document["evidence"]["underlyings"]["BTC"]["price_range"]["methods"][0]
    assert float(rows[0]["value"]) == first["value"] and rows[0]["way"] == first["way"] == "normal"
    done = run(*ARGUMENTS, *COLUMNS, "--set", "set.toml")
    shown = done.out
    assert "valid from 2026-02-26" in shown and "tail factor" in shown
    assert "maintenance margin: the worst loss over the grid, which is what backtest tests" in shown
    assert "initial margin: 1.4 times the worst loss" in shown
    # The error with vols between the three stands in the table of nodes, in the file and in the document.
    vol_error = f"{100 * document['evidence']['grid']['vol_error']:.2f} %"
    assert f"with vols between those of the grid {vol_error} at the nodes chosen" in " ".join(shown.split())
    assert f"with vols between those of the grid {vol_error}" in (tmp_path / "set.toml").read_text()
    # Two years have few clusters of moves beyond 99 %; a band of few is marked wherever it stands.
    doubtful = [said for said in document["doubts"] if said.startswith("BTC, price_range")]
    assert len(doubtful) == (first_of(document, "pareto")["clusters"] < 10)
    assert all(said in done.err for said in document["doubts"]) and "block [moves]" in shown


def first_of(document: dict[str, Any], way: str) -> dict[str, Any]:
    methods = document["evidence"]["underlyings"]["BTC"]["price_range"]["methods"]
    return next(method for method in methods if method["way"] == way)


def test_a_buffer_is_told(run: Any, tmp_path: Path) -> None:
    """What is calculated, how much of the buffer is used up, what is in force: the three agree wherever they stand."""
    written(tmp_path)
    (tmp_path / "settings.toml").write_text(PARAMS.replace("draws = 20", "draws = 20\nfloor = 'none'"))
    done = run(*ARGUMENTS, *COLUMNS, "--set", "set.toml", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["settings"]["buffer"] == 0.25 and document["settings"]["restore_days"] == 365
    found = document["evidence"]["underlyings"]["BTC"]
    ranged = found["price_range"]
    assert ranged["held"] == pytest.approx(ranged["current"] * (1.25 - 0.25 * ranged["drawn"]))
    assert ranged["chosen"] == pytest.approx(ranged["held"])
    assert 0.0 <= found["vol_up"]["drawn"] <= 1.0 and 0.0 <= found["vol_down"]["drawn"] <= 1.0
    share = f"buffer 25 %, of which {100 * ranged['drawn']:.0f} % used up"
    assert share in (tmp_path / "set.toml").read_text().partition("[grid.price_range]")[2].splitlines()[1]
    shown = run(*ARGUMENTS, *COLUMNS).out
    assert "whole again 365 days after it was used up" in shown


BUFFERED = "calculated, with its buffer"


@pytest.mark.parametrize(
    ("lines", "counts"),
    [
        ("", ("least", "least")),
        ("vol_low = 0.01", (BUFFERED, BUFFERED)),
        ("vol_low = 0.01\nbuffer = 0.0", ("floor", "calculated")),
        ("vol_low = 0.01\nvol_high = 0.02", ("most", "most")),
    ],
)
def test_what_a_vol_shock_is_made_of_is_told(run: Any, tmp_path: Path, lines: str, counts: tuple[str, str]) -> None:
    """In table, file and document: the least, and whether it is that, the history or a bound that counts."""
    written(tmp_path)
    (tmp_path / "settings.toml").write_text(PARAMS.replace("draws = 20", f"draws = 20\n{lines}"))
    found = json.loads(run(*ARGUMENTS, *COLUMNS, "--json").out)["evidence"]["underlyings"]["BTC"]
    done = run(*ARGUMENTS, *COLUMNS, "--set", "set.toml")
    assert done.code == 0, done.err
    table = done.out.partition("vol shocks at 30 days")[2].splitlines()
    log_least = np.log1p(0.01 if lines else 0.28) * 2.0**0.35
    leasts = np.expm1(log_least), -np.expm1(-log_least)
    for side, line, least, counted in zip(("up", "down"), table[2:4], leasts, counts, strict=True):
        told = found[f"vol_{side}"]
        by_way = {(m["filter"], m["way"]): m["value"] for m in told["methods"]}
        floor, buffer = by_way["none", "sample"], 0.0 if "buffer" in lines else 0.25
        assert told["counts"] == counted and told["least"] == pytest.approx(least)
        if counted == "least":
            assert told["chosen"] == pytest.approx(least) and least > max(floor, by_way["none", "pareto"])
        elif counted == "floor":
            assert told["chosen"] == pytest.approx(floor) and floor > by_way["none", "pareto"]
        elif counted == "most":
            assert (
                told["chosen"] == pytest.approx(0.02 if side == "up" else 1.0 - 1.0 / 1.02) and told["chosen"] < floor
            )
        else:
            assert floor <= told["chosen"] <= (1.0 + buffer) * by_way["none", "pareto"] * (1.0 + 1e-9)
        assert line.endswith(told["counts"]) and f"{100 * least:.2f}" in line and f"{100 * told['chosen']:.2f}" in line
        assert f"what counts: {told['counts']}" in (tmp_path / "set.toml").read_text()


@pytest.mark.parametrize("days", ["[0.0]", "[0.0, 2.0]"])
def test_a_column_that_says_nothing_new_is_left_out(run: Any, tmp_path: Path, days: str) -> None:
    """Nodes are fitted where nothing expires and that may save one; elsewhere equal buckets are all there is."""
    written(tmp_path)
    (tmp_path / "settings.toml").write_text(
        PARAMS.replace("[0.0]", days).replace("draws = 20", "draws = 20\ngrid_error = 0.008")
    )
    grid_found = json.loads(run(*ARGUMENTS, *COLUMNS, "--json").out)["evidence"]["grid"]
    shown = run(*ARGUMENTS, *COLUMNS).out
    assert "equal buckets [%]" in shown
    assert ("fitted nodes [%]" in shown) == (grid_found["equal"] != grid_found["fitted"])
    assert (grid_found["equal"] != grid_found["fitted"]) == (days == "[0.0]")


@pytest.mark.parametrize("lines", ["", "filter = 'ewma'\nbuffer = 0.1\ntail_low = 0.1\nvol_low = 0.02\n"])
def test_on_days_of_a_fit_what_is_written_is_what_a_back_test_walks(run: Any, tmp_path: Path, lines: str) -> None:
    """Every scenario of the file of such a day is that of the same day along a history, to the last digit, where the
    walk has the `least_days` of the settings, and its sets are those of the file from there to the next fit."""
    written(tmp_path)
    (tmp_path / "settings.toml").write_text(f"[calibration]\ndraws = 20\ngrid_error = 0.06\n{lines}")
    settings = build(Settings, Layer("", tomllib.loads((tmp_path / "settings.toml").read_text())["calibration"]))
    least, every = int(settings.least_days), int(settings.refit_days)
    prices, vols = (
        list(csv.reader((tmp_path / f"{name}.csv").read_text().splitlines()))[1:] for name in ("btc", "vol")
    )
    chosen = Calibration(settings)
    # What `--least-days` and `--horizon` make of a set.
    assert chosen.used(least, int(settings.horizon_days)).settings == settings
    read = read_history(tmp_path / "btc.csv", tmp_path / "vol.csv").history
    path = chosen.rule(least, int(settings.horizon_days))(read)
    model = chosen.model(path, np.arange(len(read)), int(settings.horizon_days))
    for fit in (least, least + 7 * every, least + 16 * every):
        assert len(read) == len(prices) == len(vols) > fit + every
        done = run(*ARGUMENTS, *COLUMNS, "--until", prices[fit][0], "--set", f"set{fit}.toml")
        assert done.code == 0, done.err
        table = tomllib.loads((tmp_path / f"set{fit}.toml").read_text())
        params = build(grid.Params, Layer("[grid]", table["grid"]))
        on_file = grid.scenarios(params, SimpleNamespace(underlying_id=np.array(["BTC"])))
        walked = model.moves(np.array([fit, fit + every - 1, fit + every]))
        assert np.array_equal(walked.price[0], on_file.price_move[:, 0])
        assert np.array_equal(walked.vol[0], on_file.vol_move[:, 0])
        assert np.array_equal(walked.weight[0], on_file.weight)
        assert walked.days[0] == pytest.approx(365.0 * on_file.time_step_years, rel=1e-15)
        # Between two fits a filter's deviation follows the returns; without one nothing moves before the next fit.
        still = [np.array_equal(walked.price[0], walked.price[n]) for n in (1, 2)]
        assert still == [settings.filter == "none", False]
        assert tenor_scale(np.array([0.01, 0.3]), on_file.dynamics) == pytest.approx(
            tenor_scale(np.array([0.01, 0.3]), DYNAMICS), rel=1e-15
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tail_share = 0.03", "[calibration]: tail_share = 0.03: of the first least_days = 250 returns of a history 7"),
        ("confidence = 0.9", "tail_share = 0.1: must be at least 0.11, 1.1 times 1 - confidence (confidence = 0.9)"),
    ],
)
def test_tails_that_cannot_be_had_are_refused_with_the_settings(run: Any, tmp_path: Path, text: str, said: str) -> None:
    written(tmp_path, 400)
    (tmp_path / "settings.toml").write_text(f"[calibration]\ndraws = 20\n{text}\n")
    check_fails(run(*ARGUMENTS, *COLUMNS), said)


def test_far_moves_lie_outside_the_range(run: Any, tmp_path: Path) -> None:
    written(tmp_path, 400)
    for moves, said in (
        ("[-0.05, 0.05]", "tail_moves: the farthest of them, 0.05, is inside the price range, 0."),
        ("[-0.05, 0.5]", "tail_moves = (-0.05, 0.5): -0.05 is inside the price range of BTC, 0."),
    ):
        (tmp_path / "settings.toml").write_text(f"[calibration]\ndraws = 20\n\n[grid]\ntail_moves = {moves}\n")
        check_fails(run(*ARGUMENTS, *COLUMNS, "--set", "set.toml"), said, "a far move must be outside it")
        assert not (tmp_path / "set.toml").exists()
    (tmp_path / "settings.toml").write_text("[calibration]\ndraws = 20\n\n[grid]\ntail_moves = [-0.5, 0.5]\n")
    assert run(*ARGUMENTS, *COLUMNS, "--set", "set.toml").code == 0
    assert tomllib.loads((tmp_path / "set.toml").read_text())["grid"]["tail_moves"] == [-0.5, 0.5]


def test_the_widest_range_there_is(run: Any, tmp_path: Path) -> None:
    """Strikes below 0 are none: a range of 90 % makes a set, with its error, that margin takes."""
    written(tmp_path, 400)
    (tmp_path / "settings.toml").write_text("[calibration]\ndraws = 20\nrange_low = 0.9\nrange_high = 0.9\n")
    done = run(*BOTH, *COLUMNS, "--set", "set.toml", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    errors = document["evidence"]["grid"]["errors"]["BTC"]
    assert errors["found"] == pytest.approx(errors["bound"], rel=1e-6) and errors["bound"] == pytest.approx(0.025)
    assert document["params"]["grid"]["price_range"] == {"BTC": 0.9, "ETH": 0.9}
    assert run("margin", "--params", "set.toml", "--json").code == 0


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--archive", "sets"), "--archive has no effect with --model worst_case"),
        (("--set", "btc.csv"), "btc.csv is an input of this command"),
        (("--until", "2025-01-01"), "needs 250"),
        (("--vol-unit", "decimal"), "no vols in decimal"),
    ],
)
def test_mistakes_are_named(run: Any, tmp_path: Path, more: tuple[str, ...], text: str) -> None:
    written(tmp_path)
    check_fails(run(*ARGUMENTS, *COLUMNS, *more), text)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ("[calibration]\nfilter = 'x'", "filter = 'x'"),
        ("[grid]\nprice_range = 0.1", "calibrated from the histories"),
        ("[calibrations]\ndraws = 50", "did you mean"),
    ],
)
def test_parameters_that_are_none_are_named(run: Any, tmp_path: Path, params: str, text: str) -> None:
    written(tmp_path)
    (tmp_path / "settings.toml").write_text(params)
    check_fails(run(*ARGUMENTS, *COLUMNS), text)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("valid_from = '2026-01-01'", "must be a date"),
        ("valid_from = 2026-01-01T00:00:00", "must be a date"),
        ("source = 5", "must be a text"),
        ("made = 'x'", "unknown; known: source, note, valid_from, valid_to"),
    ],
)
def test_headers_of_a_parameter_file(run: Any, tmp_path: Path, header: str, text: str) -> None:
    (tmp_path / "set.toml").write_text(f"[header]\n{header}\n\n[grid]\nprice_range = 0.2\n")
    check_fails(run("margin", "--params", "set.toml"), text)
    (tmp_path / "set.toml").write_text("[header]\nvalid_from = 2020-01-01\nvalid_to = 2020-12-31\n\n[worst_case]\n")
    done = run("margin", "--params", "set.toml")
    assert done.code == 0 and "is valid from 2020-01-01 to 2020-12-31, and the market is of" in done.err


@pytest.mark.data
def test_real_coins(run: Any, tmp_path: Path) -> None:
    """The set of BTC for 2026-06-23: its floor is near what venues charge, its powers come from chains."""
    (tmp_path / "settings.toml").write_text("[calibration]\ndraws = 20\ngrid_error = 0.03\n")
    prices, vols, chains = (
        str(data_file(name))
        for name in (
            "prices/btcusdt_1h_binance_spot_20170817_20260726.csv.gz",
            "prices/dvol_btc_1d_deribit_20230101_20260622.csv.gz",
            "deribit_chain/daily_20251230_20260415.parquet",
        )
    )
    files = ("--history", f"BTC={prices}", "--vol-history", f"BTC={vols}", "--chain", chains)
    columns = ("--price-columns", "open_time_utc,close", "--vol-columns", "date,dvol_close", "--until", "2026-06-22")
    done = run(*ARGUMENTS[:5], *files, *columns, "--set", "btc.toml", "--json")
    assert done.code == 0, done.err
    assert "27 gaps" in done.err and "surfaces of BTC on 107 days, 2025-12-30 to 2026-04-15" in done.err
    document = json.loads(done.out)
    made, evidence = document["params"]["grid"], document["evidence"]
    assert 0.16 < evidence["underlyings"]["BTC"]["price_range"]["current"] < 0.19
    assert made["price_range"]["BTC"] == pytest.approx(evidence["underlyings"]["BTC"]["price_range"]["held"], rel=1e-3)
    assert made["price_range"]["BTC"] >= evidence["underlyings"]["BTC"]["price_range"]["floor"] - 1e-4
    vols = made["vol_up"]["BTC"], made["vol_down"]["BTC"]
    fits = [evidence["surfaces"]["BTC"][side] for side in ("up", "down")]
    # What is charged is the least of two days, or what chains say where that is more, up and down.
    least = 1.28 ** (2.0**0.35)
    expected = [max(own, fit["shock"]["value"]) for own, fit in zip((least - 1, 1 - 1 / least), fits, strict=True)]
    assert vols == pytest.approx(expected, rel=1e-3)
    assert made["dynamics"]["short_power"] == pytest.approx(max(f["short_power"]["value"] for f in fits), abs=1e-4)
    assert made["dynamics"]["long_power"] == pytest.approx(min(f["long_power"]["value"] for f in fits), abs=1e-4)
    assert any("vols over tenors: of 105 horizons" in said for said in document["doubts"])
    errors = evidence["grid"]["errors"]["BTC"]
    assert errors["found"] == pytest.approx(errors["bound"], rel=1e-3) and errors["bound"] <= 0.03
    assert errors["found"] <= errors["with_vols"] * (1.0 + 1e-6)
    check_fails(run("margin", "--params", "btc.toml"), "price_range has no entry for ETH", "--history ETH=FILE")


def test_a_historical_set_is_made_written_and_used(run: Any, tmp_path: Path) -> None:
    written(tmp_path, days=700)
    (tmp_path / "settings.toml").write_text("[calibration]\nscenarios = 560\n\n[historical_simulation]\nimpact = 0.7\n")
    made = ["historical_simulation" if text == "worst_case" else text for text in BOTH]
    done = run(*made, *COLUMNS, "--archive", "sets", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["params"]["impact"] == 0.7 and document["params"]["subsamples"] == 2
    assert len(document["stressed_periods"]) == 3
    table = tomllib.loads((tmp_path / "sets/historical_simulation/2026-02-26.toml").read_text())
    assert table["params"]["history"]["windows"] == 560
    margins = run("margin", "--model", "historical_simulation", "--archive", "sets", "--json")
    assert margins.code == 0, margins.err
    assert json.loads(margins.out)["parameters_archive"] == "sets"
    assert "stressed periods" in run(*made, *COLUMNS).out
    _compressed(run, made, table["params"])
    (tmp_path / "settings.toml").write_text("[historical_simulation.history]\nwindows = 5\n")
    check_fails(run(*made, *COLUMNS), "calibrated from the histories")
    check_fails(run(*made, *COLUMNS, "--set", "x.toml"), "--set has no effect with --model historical_simulation")


def _compressed(run: Any, made: list[str], whole: dict[str, Any]) -> None:
    """A set of 60 moves: those moves themselves, the same ranks in the tail, and margins of the sample nearby."""
    done = run(*made, *COLUMNS, "--archive", "sets", "--name", "few", "--compress", "60", "--json")
    assert done.code == 0, done.err
    assert "compressed to 60 of 560 moves, without correlation break" in done.err
    document = json.loads(done.out)
    found, params = document["compression"], document["params"]
    assert (found["kept"], found["of"]) == (60, 560) and 0.0 <= found["mean"] < 0.05
    history = params["history"]
    assert history["windows"] == 60 and history["step_days"] == 2 and history["horizon_steps"] == 1
    assert params["confidence"] == pytest.approx(1.0 - 0.01 * 560 / 60) and params["break_factor"] == 0.0
    days = whole["history"]["dates"]
    for name in ("BTC", "ETH"):
        for n, day in enumerate(history["dates"]):
            last = days.index(day)
            moved = sum(whole["history"]["returns"][name][last - 1 : last + 1])
            assert history["returns"][name][n] == pytest.approx(moved, abs=1.1e-5)
    margin = ("margin", "--model", "historical_simulation", "--archive", "sets", "--csv")
    tables = [run(*margin, "--parameter-set", name).out.splitlines() for name in ("2026-02-26-few", "2026-02-26")]
    pairs = list(zip(*map(csv.DictReader, tables), strict=True))
    assert len(pairs) > 20
    measure, whole_measure = (np.array([float(row[n]["charge_historical"]) for row in pairs]) for n in (0, 1))
    # Of fewer losses the largest are never more; of all accounts together little is missed.
    assert np.all(measure <= whole_measure * 1.001 + 0.02)
    assert 0.99 * whole_measure.sum() < measure.sum()
    assert all(float(row["charge_correlation_break"]) == 0.0 for row, _ in pairs)
    # The square-root impact is about that of all moves, though those kept are the larger ones.
    for own, other in pairs:
        impact = float(other["charge_concentration"])
        assert 0.99 * impact - 0.02 <= float(own["charge_concentration"]) <= 1.2 * impact + 0.02
    for count in ("10", "61", "560"):
        check_fails(run(*made, *COLUMNS, "--compress", count), count)
    check_fails(run(*ARGUMENTS, *COLUMNS, "--compress", "60"), "--compress has no effect with --model worst_case")
