"""Shifts of the level by any ratio are found among the moves around them, in made histories and in real ones."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.history import read_checked_bars, read_checked_history
from portfolio_margin.io.history_jumps import SHIFT_OF_BARS, SHIFT_OF_DAYS, times_around
from pricing import DataError
from pricing.arrays import FloatArray
from tests.vectors import data_file

RNG = np.random.default_rng(17)
DAYS = 700
MOVES = 0.01 * RNG.standard_t(5, DAYS)
DATES = (np.datetime64("2023-01-01") + np.arange(DAYS)).astype(str)
RATIOS = (6.5, 1.8, 0.7, 1.15, 5 / 3, 7 / 4, 8 / 5, 11 / 10, 1.0)
DAY = 400


def history(moves: FloatArray = MOVES) -> pd.DataFrame:
    return pd.DataFrame({"date": DATES, "close": 100.0 * np.exp(np.cumsum(moves))})


def shifted(ratio: float, first: int = DAY, end: int = DAYS, calm: float = 1.0) -> pd.DataFrame:
    """A history whose level is other from a row on, with calmer moves around it."""
    moves = MOVES.copy()
    moves[first - 15 : first + 15] *= calm
    moves[first] = 0.0
    table = history(moves)
    table.loc[first : end - 1, "close"] *= ratio
    return table


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_shift_that_stays_is_refused_whatever_its_ratio(ratio: float) -> None:
    table = shifted(ratio, calm=0.3)
    if ratio == 1.0:
        assert not any(f"on {DATES[DAY]}" in said for said in read_checked_history(table).findings)
        return
    with pytest.raises(DataError) as caught:
        read_checked_history(table)
    text = str(caught.value)
    assert f"row {DAY + 1}, close" in text and text.count("looks like a split or another unit") == 1
    assert f"accept the day {DATES[DAY]}" in text and len(text.splitlines()) == 1
    assert len(read_checked_history(table, accept=[DATES[DAY]]).close) == DAYS


def test_between_what_markets_do_and_a_shift_it_is_told_with_day_and_factor() -> None:
    around = np.sort(np.abs(np.delete(MOVES[DAY - 10 : DAY + 11], 10)))[:-1].mean()
    table = shifted(1.0)
    for times in (0.9 * SHIFT_OF_DAYS, 1.1 * SHIFT_OF_DAYS):
        factor = float(np.exp(times * around))
        jumped = table.assign(close=np.where(np.arange(DAYS) < DAY, table.close, factor * table.close))
        if times < SHIFT_OF_DAYS:
            told = " ".join(read_checked_history(jumped).findings)
            assert f"on {DATES[DAY]}, by {factor:.4g}, {times:.3g} times those around it" in told
        else:
            with pytest.raises(DataError, match=f"multiplied by {factor:.3g} since {DATES[DAY - 1]}"):
                read_checked_history(jumped)


def test_a_second_jump_beside_it_hides_neither() -> None:
    """Seven rows too high: more than a bad tick, and each of the two jumps is among the rows around the other."""
    with pytest.raises(DataError) as caught:
        read_checked_history(shifted(1.13, end=DAY + 7, calm=0.2))
    text = str(caught.value)
    assert text.count("looks like") == 2 and f"row {DAY + 1}," in text and f"row {DAY + 8}," in text


def test_a_shift_of_bars_within_a_day() -> None:
    table = shifted(1.15, calm=0.2)
    table["date"] = (np.datetime64("2026-01-05T00", "h") + np.arange(DAYS)).astype(str)
    table["date"] += ":00Z"
    with pytest.raises(DataError, match=rf"row {DAY + 1}, close .* multiplied by 1.15 since 2026-01-21T15:00Z"):
        read_checked_bars(table)
    wild = shifted(1.15).assign(date=table.date)
    told = " ".join(read_checked_bars(wild).findings)
    assert re.search(r"on 2026-01-21T16:00Z, by 1.15, \d+\.?\d* times those around it", told)


REAL = [
    ("btcusdt_1h_binance_spot_20170817_20260726", "open_time_utc", "close"),
    ("ethusdt_1h_binance_perp_20200301_20260331", "open_time_utc", "close"),
    ("btcusd_1d_yahoo_20140917_20240810", "date", "close"),
    ("spx_1d_yahoo_19500103_20231228", "date", "close"),
    ("nasdaq_composite_1d_yahoo_19990104_20181231", "date", "close"),
    ("wti_1d_fred_19860102_20190103", "date", "wti_usd_bbl"),
    ("vix_1d_cboe_19900102_20260723", "date", "close"),
    ("dvol_btc_1d_deribit_20230101_20260622", "date", "dvol_close"),
]


@pytest.mark.data
@pytest.mark.parametrize(("name", "time", "price"), REAL)
def test_moves_of_real_files_are_far_from_a_shift(name: str, time: str, price: str) -> None:
    """Of days less than three quarters of what is refused, of bars less than six tenths."""
    file = data_file(f"prices/{name}.csv.gz")
    days, bars = (read(file, time=time, price=price).close for read in (read_checked_history, read_checked_bars))
    for close, most in ((days, 0.75 * SHIFT_OF_DAYS), (bars, 0.6 * SHIFT_OF_BARS)):
        size = np.abs(np.diff(np.log(close)))
        jumps = np.flatnonzero(size > 12.0 * np.median(size[size > 0.0]))
        assert max(times_around(size, n) for n in jumps.tolist()) < most


@pytest.mark.data
@pytest.mark.parametrize("ratio", RATIOS[:-1])
def test_shifts_of_a_real_file(ratio: float) -> None:
    """The S&P 500 from 2008 to 2023, changed from 5 December 2017 on."""
    whole = pd.read_csv(data_file("prices/spx_1d_yahoo_19500103_20231228.csv.gz"))
    table = whole.loc[whole.date >= "2008", ["date", "close"]].reset_index(drop=True)
    table.loc[table.date >= "2017-12-05", "close"] *= ratio
    with pytest.raises(DataError, match=r"since 2017-12-04 \(2639\.44\): looks like a split or another unit"):
        read_checked_history(table)
