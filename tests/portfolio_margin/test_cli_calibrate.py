"""The command that makes parameters of dynamic margin from files, as anybody would run it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import load_parameters
from portfolio_margin.dynamic.rule import Rule, parameters_of
from portfolio_margin.io.dynamic_history import Columns, read_dynamic_history
from pricing import DataError
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
MEASURED = {"half_spread": 0.0005, "open_interest": 1e10, "daily_vega_volume": 1e8}
PARAMS = """
[measured.BTC]
half_spread = 0.0005
open_interest = 1e10
daily_vega_volume = 1e8

[measured.ETH]
half_spread = 0.0005
open_interest = 1e10
daily_vega_volume = 1e8
long_share = 0.7

[dynamic_worst_case]
initial_factor = 1.4
"""
ARGUMENTS = ("calibrate", "--history", "BTC=btc.csv", "--vol-history", "BTC=vol.csv", "--params", "measured.toml")


def written(folder: Path, name: str, days: int = 320, last: str = "2026-02-25") -> None:
    """Two rows a day of prices and volumes, one of a vol index, with numbers that a seed gives."""
    random = np.random.default_rng(days)
    day = np.datetime64(last) - np.arange(days)[::-1]
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.03, days)))
    rows = [f"{d}T{h}:00:00Z,{c * f},{v}" for d, c in zip(day, close, strict=True)
            for h, f, v in (("00", 0.99, 5e5), ("23", 1.0, 1e6))]  # fmt: skip
    (folder / f"{name}.csv").write_text("date,close,volume\n" + "\n".join(rows) + "\n")
    vol = 55.0 * np.exp(np.cumsum(random.normal(0.0, 0.03, days)) * 0.3)
    index = [f"{d},{v}" for d, v in zip(day, vol, strict=True)]
    (folder / "vol.csv").write_text("date,close\n" + "\n".join(index) + "\n")
    (folder / "measured.toml").write_text(PARAMS)


def test_a_set_is_made_written_and_used(run: Any, tmp_path: Path) -> None:
    written(tmp_path, "btc")
    written(tmp_path, "eth")
    both = (*ARGUMENTS, "--history", "ETH=eth.csv", "--vol-history", "ETH=vol.csv")
    done = run(*both, "--archive", "sets", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    params, info = load_parameters("dynamic_worst_case", folder=tmp_path / "sets")
    assert info.valid_from == document["valid_from"] == "2026-02-26"
    assert params.initial_factor == 1.4
    assert params.underlyings["ETH"].long_share == 0.7
    dated = read_dynamic_history(tmp_path / "btc.csv", tmp_path / "vol.csv")
    assert params.underlyings["BTC"] == parameters_of("BTC", dated.history, Rule(), MEASURED)
    assert document["params"]["underlyings"]["BTC"]["price_range"] == params.underlyings["BTC"].price_range
    again = run(*both, "--archive", "sets")
    assert again.code == 0 and "price range" in again.out and "bare" in again.out
    margins = run("margin", "--model", "dynamic_worst_case", "--archive", "sets", "--json")
    assert margins.code == 0, margins.err
    assert json.loads(margins.out)["parameters_archive"] == "sets"


def test_outputs_agree(run: Any, tmp_path: Path) -> None:
    written(tmp_path, "btc")
    assert "[measured.ETH]" in run(*ARGUMENTS).err  # there is no history of it
    row = next(iter(csv.DictReader(run(*ARGUMENTS, "--csv").out.splitlines())))
    document = json.loads(run(*ARGUMENTS, "--json").out)
    assert float(row["price_range"]) == document["params"]["underlyings"]["BTC"]["price_range"]
    assert float(row["bare_call_1d"]) == document["effect"]["BTC"]["bare"]["calls"][0]


def test_days_are_cut_and_turnover_is_added_up(tmp_path: Path) -> None:
    written(tmp_path, "btc")
    dated = read_dynamic_history(tmp_path / "btc.csv", tmp_path / "vol.csv", until="2026-01-31")
    assert dated.last_day == "2026-01-31"
    close = dated.history.close
    assert len(close) == 320 - 25
    assert dated.history.turnover == pytest.approx(close * (0.99 * 5e5 + 1e6))
    assert 0.2 < np.median(dated.history.vol) < 1.5


def test_histories_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "btc", last="2026-02-20")
    (tmp_path / "old.csv").write_text((tmp_path / "vol.csv").read_text())
    written(tmp_path, "eth")
    with pytest.raises(DataError, match="give a last day that both have"):
        read_dynamic_history(tmp_path / "eth.csv", tmp_path / "old.csv")
    with pytest.raises(DataError, match="no vols in decimal"):
        read_dynamic_history(tmp_path / "eth.csv", tmp_path / "vol.csv", vol_unit="decimal")
    with pytest.raises(DataError, match="vol_unit"):
        read_dynamic_history(tmp_path / "eth.csv", tmp_path / "vol.csv", vol_unit="points")
    with pytest.raises(DataError, match="the history begins on"):
        read_dynamic_history(tmp_path / "eth.csv", tmp_path / "vol.csv", until="2001-01-01")
    with pytest.raises(DataError, match="turnover"):
        read_dynamic_history(tmp_path / "eth.csv", tmp_path / "vol.csv", price_columns=Columns(volume="turnover"))
    lines = (tmp_path / "eth.csv").read_text().splitlines()
    lines[5] = lines[5].rsplit(",", 1)[0] + ",-1"
    (tmp_path / "eth.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="must be a number, 0 or more"):
        read_dynamic_history(tmp_path / "eth.csv", tmp_path / "vol.csv")


def edited(path: Path, change: Any) -> None:
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")


def scaled(row: str, factor: float) -> str:
    day, close, *more = row.split(",")
    return ",".join([day, str(float(close) * factor), *more])


def split(lines: list[str]) -> None:
    lines[401:] = [scaled(row, 0.1) for row in lines[401:]]


def bad_tick(lines: list[str]) -> None:
    lines[300] = scaled(lines[300], 10.0)


def gap(lines: list[str]) -> None:
    del lines[201:230]


def twice(lines: list[str]) -> None:
    lines.insert(51, lines[50])


def unsorted(lines: list[str]) -> None:
    lines[60], lines[80] = lines[80], lines[60]


def zero(lines: list[str]) -> None:
    lines[70] = scaled(lines[70], 0.0)


def zones(lines: list[str]) -> None:
    lines[90] = lines[90].replace("Z", "")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (split, "btc.csv, row 402, close"),
        (bad_tick, "btc.csv, row 301, close"),
        (gap, "no price for more than 7 days"),
        (twice, "btc.csv, row 52, date"),
        (unsorted, "is earlier than the row before"),
        (zero, "btc.csv, row 71, close"),
        (zones, "some times have a time zone and others none"),
    ],
)
def test_bad_history_is_named(run: Any, tmp_path: Path, change: Any, text: str) -> None:
    written(tmp_path, "btc")
    edited(tmp_path / "btc.csv", change)
    check_fails(run(*ARGUMENTS), text)


def test_what_was_used_is_told(run: Any, tmp_path: Path) -> None:
    """Gaps that are short, days to accept, and of the future nothing."""
    written(tmp_path, "btc")
    edited(tmp_path / "btc.csv", lambda lines: lines.__delitem__(slice(201, 205)))
    edited(tmp_path / "vol.csv", lambda lines: lines.__delitem__(slice(101, 103)))
    done = run(*ARGUMENTS, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["histories"] == {"BTC": "2025-04-12 to 2026-02-25"}
    assert any("days are missing" in line for line in document["findings"])
    assert all(line in done.err for line in document["findings"])
    written(tmp_path, "btc")
    edited(tmp_path / "btc.csv", split)
    day = (tmp_path / "btc.csv").read_text().splitlines()[401][:10]
    assert run(*ARGUMENTS, "--accept", day).code == 0
    written(tmp_path, "btc")
    check_fails(run(*ARGUMENTS, "--accept", "1999-12-31"), "a day without a row")
    written(tmp_path, "btc", last=str(np.datetime64("now", "D") + 30))
    check_fails(run(*ARGUMENTS), "in the future")
    written(tmp_path, "btc")
    edited(tmp_path / "vol.csv", lambda lines: lines.__setitem__(slice(1, None), [f"{r[:10]},55" for r in lines[1:]]))
    check_fails(run(*ARGUMENTS), "vol.csv, close = 55.0: the same on every row")


def test_turnover_is_of_days_in_utc(tmp_path: Path) -> None:
    """A row at half past nine in the evening of New York belongs to the next day, with its close."""
    rows = ["date,close,volume"]
    for n in range(20):
        day = np.datetime64("2026-01-05") + n
        rows += [f"{day}T10:00:00-05:00,{100 + n},1", f"{day}T21:30:00-05:00,{200 + n},10"]
    (tmp_path / "new-york.csv").write_text("\n".join(rows) + "\n")
    days = np.datetime64("2026-01-05") + np.arange(21)
    (tmp_path / "vol.csv").write_text("date,close\n" + "".join(f"{d},{50 + n}\n" for n, d in enumerate(days)))
    accepted = [str(day) for day in days]
    read = read_dynamic_history(tmp_path / "new-york.csv", tmp_path / "vol.csv", until="2026-01-24", accept=accepted)
    assert read.history.turnover[1] == pytest.approx(101 * 1 + 200 * 10)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--history", "ETH"), "write NAME=FILE"),
        (("--history", "BTC=vol.csv"), "BTC is given twice"),
        (("--history", "ETH=btc.csv"), "ETH needs one of each"),
        (("--price-columns", "date,close"), "needs 3 names"),
        (("--until", "2026-13-45"), "until = '2026-13-45': must be a day of the calendar"),
        (("--until", "31.01.2026"), "until = '31.01.2026'"),
        (("--until", "2026-02"), "until = '2026-02'"),
        (("--until", "2025-06-30"), "needs at least 251 days"),
        (("--csv", "--output", "btc.csv"), "is an input of this command"),
    ],
)
def test_mistakes_are_named(run: Any, tmp_path: Path, more: tuple[str, ...], text: str) -> None:
    written(tmp_path, "btc")
    check_fails(run(*ARGUMENTS, *more), text)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ("", "no history has half_spread, open_interest, daily_vega_volume"),
        ("[rule]\ntool = 'none'", "tool = 'none'"),
        ("[dynamic_worst_case.underlyings.BTC]\nprice_range = 0.1", "the rule makes them"),
        ("[measured]\nBTC = 5", "measured.BTC = 5: must be a table"),
        ("[measured.BTC]\nhalf_spread = 'x'", "measured.BTC.half_spread = 'x': must be a number"),
        ("[rules]\ndecay = 0.9", "did you mean"),
    ],
)
def test_parameters_that_are_none_are_named(run: Any, tmp_path: Path, params: str, text: str) -> None:
    written(tmp_path, "btc")
    (tmp_path / "measured.toml").write_text(params)
    check_fails(run(*ARGUMENTS), text)
