"""A history for a back-test from files: bars as they were known when they ended, and the index of vol known at each."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_margin.io.history import (
    LAST_DAY,
    CheckedBars,
    decimal_vols,
    read_checked_bars,
    refuse_constant,
    refuse_unknown_days,
)
from portfolio_margin.io.tables import refuse
from pricing.arrays import FloatArray, IntArray
from scenarios.backtest.history import MS_PER_DAY, History, history

if TYPE_CHECKING:
    import pandas as pd

# An index that is older than this many days is not known any more.
STALE_DAYS = 5
# Of the bars that a day has room for, so many are there on the median day of a market that is always open.
OPEN_ALL_DAY = 0.9
# With fewer trading days a year than this, a year has 252.
TRADING_DAYS, EVERY_DAY = 252.0, 300.0


class HistoryRead(NamedTuple):
    """A history, and what is told of the files, one sentence each."""

    history: History
    findings: tuple[str, ...]


def read_history(
    prices: str | Path | pd.DataFrame,
    vols: str | Path | pd.DataFrame | None = None,
    *,
    price_columns: tuple[str, str] = ("date", "close"),
    vol_columns: tuple[str, str] = ("date", "close"),
    vol_unit: str = "percent",
    until: str = "",
    accept: Collection[str] = (),
    daily: bool = False,
    known_days: int = 500,
    latest: str = LAST_DAY,
) -> HistoryRead:
    """A history for a back-test, read and checked as that of a calibration (`io/history.py`).

    prices         closes of bars, days or parts of one, the time of a row being the beginning of its bar
    vols           an index of 30-day vol; between two of its closes the earlier one counts, for five days at most
    price_columns  names of time and close
    vol_columns    the same of the index
    vol_unit       "percent" (vol points) or "decimal"
    until          last day taken, YYYY-MM-DD; "" for all
    accept         days whose jump is known to be real
    daily          of shorter bars the last of every day that is over, alone
    latest         today, in UTC: it is not over; nothing of the future is tested
    known_days     so many of the first days, which no margin is tested on, say whether a year has 252 or 365

    DataError listing what is wrong with either.
    """
    bars = read_checked_bars(
        prices, time=price_columns[0], price=price_columns[1], until=until, accept=accept, latest=latest
    )
    moments, price = bars.time_ms + bars.step_ms, bars.close
    per_day = max(1, round(MS_PER_DAY / bars.step_ms))
    refuse_constant(bars.source, price_columns[1], price)
    if not daily:
        _refuse_sessions(bars.source, price_columns[0], moments, per_day)
    days = np.unique((moments - 1) // MS_PER_DAY)[: max(known_days, 2)]
    per_year = 365.0 * len(days) / max(float(days[-1] - days[0] + 1), 1.0)
    index, told, of_files = None, bars.findings, [bars]
    if vols is not None:
        read = read_checked_bars(
            vols, time=vol_columns[0], price=vol_columns[1], until=until, accept=accept, latest=latest
        )
        index = _known(read, decimal_vols(read.source, vol_columns[1], read.close, vol_unit), moments)
        told += tuple(line for line in read.findings if line not in told)
        of_files.append(read)
    refuse_unknown_days(accept, of_files)
    year = TRADING_DAYS if per_year < EVERY_DAY else 365.0
    found = history(moments, price, index, days_per_year=year, steps_per_day=per_day)
    if not daily or per_day == 1:
        return HistoryRead(found, told)
    kept = found.days()
    if len(kept) < 3:
        refuse(bars.source, price_columns[0], len(kept), "needs three days that are over")
    known = None if index is None else index[kept]
    return HistoryRead(history(moments[kept], price[kept], known, days_per_year=year), told)


def _refuse_sessions(source: str, field: str, moments: IntArray, per_day: int) -> None:
    """DataError for bars of a market that is open for a part of the day: horizons and lengths count bars, so that a day
    of theirs would be several."""
    _, bars = np.unique((moments - 1) // MS_PER_DAY, return_counts=True)
    usual = float(np.median(bars))
    if per_day > 1 and usual < OPEN_ALL_DAY * per_day:
        remedy = "a horizon counts bars, and a day of theirs would be several: take closes of days alone (--daily)"
        refuse(source, field, f"{usual:g} bars on a day of {per_day}", remedy)


def _known(read: CheckedBars, vol: FloatArray, moments: IntArray) -> FloatArray:
    """(T,) the index known at each moment, NaN where there is none: a bar is known when it has ended."""
    ended = read.time_ms + read.step_ms
    row = np.searchsorted(ended, moments, side="right") - 1
    known = (row >= 0) & (moments - ended[np.maximum(row, 0)] <= STALE_DAYS * MS_PER_DAY)
    return np.where(known, vol[np.maximum(row, 0)], np.nan)
