"""Gaps: which are a market's days off, which are told, which are too long; rows that are no days; chains with gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.history import read_checked_history
from portfolio_margin.io.history_gaps import days_off, over_a_gap
from portfolio_margin.io.surface_history import read_surface_history, surfaces_told
from pricing import DataError
from pricing.arrays import IntArray
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.surface_shocks import surface_shocks
from scenarios.filters import overlapping_sums
from tests.vectors import data_file

FIRST = int(np.datetime64("2024-01-01").astype(np.int64))  # a Monday
EVERY = FIRST + np.arange(400)
WEEKDAYS = EVERY[(EVERY - FIRST) % 7 < 5]


def without(day: IntArray, first: int, count: int) -> IntArray:
    """Days without so many calendar days from one of them on."""
    start = FIRST + first
    return day[(day < start) | (day >= start + count)]


def table(day: IntArray) -> pd.DataFrame:
    moves = np.random.default_rng(1).normal(0.0, 0.01, 400)
    close = 100.0 * np.exp(np.cumsum(moves))[day - FIRST]
    return pd.DataFrame({"date": day.astype("datetime64[D]").astype(str), "close": close})


@pytest.mark.parametrize(("day", "off", "usual"), [(EVERY, 0, "a week"), (WEEKDAYS, 3, "a week beyond the 3 of a")])
def test_a_gap_of_a_week_beyond_the_days_off(day: IntArray, off: int, usual: str) -> None:
    assert days_off(day) == off and not over_a_gap(day).any()
    most = without(day, 103, 7 + off)  # from a Saturday on
    assert over_a_gap(most).sum() == 1 and days_off(most) == off
    end = "2024-04-20" if off == 0 else "2024-04-23"
    assert f"days are missing, 2024-04-12 to {end}; a return over" in read_checked_history(table(most)).findings[0]
    with pytest.raises(DataError) as caught:
        read_checked_history(table(without(day, 105, 12)))
    text = str(caught.value)
    assert f"no price for more than {7 + off} days before this row, {usual}" in text and text.count("\n") == 0


def test_days_that_are_often_missing_are_no_days_off() -> None:
    """Nine days a month: a market that trades on all days of the week has none, however many are missing."""
    month = pd.to_datetime(EVERY, unit="D").day
    holed = EVERY[~np.isin(month, np.arange(20, 29))]
    assert days_off(holed) == 0 and over_a_gap(holed).sum() == 13
    with pytest.raises(DataError, match="no price for more than 7 days"):
        read_checked_history(table(holed))


@pytest.mark.parametrize(("step", "text"), [(7, "7 days apart"), (2, "2 days apart")])
def test_rows_that_are_not_of_every_day(step: int, text: str) -> None:
    with pytest.raises(DataError, match=f"rows are {text} on the median: give a close of every day"):
        read_checked_history(table(EVERY[::step]))


def test_sums_over_rows_that_are_not_known() -> None:
    values = np.arange(12.0)[:, None] * [1.0, -1.0]
    values[4, 0] = np.nan
    found = overlapping_sums(values, 3)
    wanted = np.array([values[n : n + 3].sum(axis=0) for n in range(10)])
    assert np.array_equal(found, wanted, equal_nan=True) and np.isnan(found[:, 0]).sum() == 3


def chains(days: IntArray, vols: IntArray) -> pd.DataFrame:
    """One smile without slope for each day, with the vol of the day."""
    rows = []
    for day, vol in zip(days.tolist(), vols.tolist(), strict=True):
        now = pd.Timestamp("2026-01-01 09:30", tz="UTC") + pd.Timedelta(days=day)
        for expiry in (2, 40, 200):
            end = now.normalize() + pd.Timedelta(days=expiry, hours=8)
            rows += [(now, "BTC", end, "PC"[k >= 100], float(k), 100.0, 100.0, vol) for k in range(30, 300, 10)]
    names = ["snapshot_utc", "currency", "expiry_utc", "cp", "strike", "underlying", "index", "mark_iv"]
    return pd.DataFrame(rows, columns=names)


def test_moves_over_gaps_of_chains_do_not_count() -> None:
    """Vols move by half over each of two gaps and by a percent a day elsewhere: no shock is of the half."""
    day = np.arange(140)
    there = day[~((day >= 40) & (day < 49)) & ~((day >= 90) & (day < 92))]
    steps = np.where(there % 2 == 0, 0.01, -0.012)
    steps[np.flatnonzero(np.isin(there, (49, 92)))] = 0.4
    vol = 0.4 * np.exp(np.cumsum(steps))
    history = read_surface_history(chains(there, vol), "BTC")
    assert history.gaps == ("2026-02-09 to 2026-02-19", "2026-03-31 to 2026-04-03")
    assert (len(history.date), history.known_days) == (140, 129) and np.isnan(history.vol[40:49]).all()
    told = surfaces_told("BTC", history)
    assert told.startswith("surfaces of BTC on 129 days, 2026-01-01 to 2026-05-20; 2 gaps, 2026-02-09 to 2026-02-19")
    assert told.endswith("moves over a gap do not count")
    one = Settings(draws=20, horizon_days=1, confidence=0.98)
    shocks = surface_shocks(history, one)
    assert shocks.up.shock.value == pytest.approx(np.expm1(0.01), rel=1e-6)
    assert shocks.up.moves == 126 and shocks.term.rows == 126
    joined = surface_shocks(history._replace(vol=history.vol[~np.isnan(history.vol[:, 0, 0])]), one)
    assert joined.up.shock.value > 0.04  # what it were if a gap were a day
    whole = read_surface_history(chains(day, 0.4 * np.exp(np.cumsum(np.full(140, 0.001)))), "BTC")
    assert whole.gaps == () and "gap" not in surfaces_told("BTC", whole)


@pytest.mark.parametrize(("step", "apart"), [(2, "2"), (3, "3"), (7, "7")])
def test_chains_that_are_not_of_every_day(step: int, apart: str) -> None:
    day = np.arange(0, 6 * step, step)
    text = f"chains are {apart} days apart on the median: give one of every day"
    with pytest.raises(DataError) as caught:
        read_surface_history(chains(day, np.full(6, 0.4)), "BTC")
    assert str(caught.value) == f"chains, snapshot_utc = '{np.datetime64('2026-01-01') + step}': {text}"
    # Of three in a week, as of every second day, and not of those that a last day leaves out.
    weekly = np.array([4, 6, 8, 11, 13, 15, 18])
    with pytest.raises(DataError, match="chains are 2 days apart"):
        read_surface_history(chains(weekly, np.full(7, 0.4)), "BTC")
    late = np.concatenate([np.arange(4), day + 4])
    assert read_surface_history(chains(late, np.full(10, 0.4)), "BTC", until="2026-01-04").known_days == 4


def test_chains_of_weekdays_are_told() -> None:
    """2026-01-05 is a Monday: four weeks without weekends, which are no gaps and are told, nor is a holiday."""
    day = np.arange(4, 32)
    weekdays = day[((day - 4) % 7 < 5) & (day != 18)]
    history = read_surface_history(chains(weekdays, np.full(19, 0.4)), "BTC")
    assert (history.gaps, len(history.date)) == ((), 19)
    assert surfaces_told("BTC", history) == (
        "surfaces of BTC on 19 days, 2026-01-05 to 2026-01-30, none or few on Saturdays and Sundays: "
        "a move over these counts as one of a day"
    )


def test_rows_that_become_sparse_are_gaps_and_no_days_off() -> None:
    """Sixty days, then every fourth: each day of the week has a price on less than half of its dates."""
    day = FIRST + np.concatenate([np.arange(60), np.arange(63, 219, 4)])
    assert np.median(np.diff(day)) == 1.0 and len(day) < 0.5 * (day[-1] - day[0])
    assert days_off(day) == 0 and over_a_gap(day).sum() == 39


@pytest.mark.data
def test_days_off_of_real_files() -> None:
    """Coins have none; the longest of the others are six days in September 2001, which are told."""
    for name, off, longest in (
        ("btcusd_1d_yahoo_20140917_20240810", 0, 0),
        ("spx_1d_yahoo_19500103_20231228", 3, 6),
        ("vix_1d_cboe_19900102_20260723", 3, 6),
        ("nasdaq_composite_1d_yahoo_19990104_20181231", 3, 6),
    ):
        day = read_checked_history(data_file(f"prices/{name}.csv.gz")).date.astype("datetime64[D]").astype(np.int64)
        assert (days_off(day), int(np.diff(day).max()) - 1) == (off, longest)
