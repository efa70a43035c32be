"""Histories of closes for calibrations and back-tests, with what is wrong with it found and named.

Refused, the first rows of each kind named, others counted: what is no time or no price above 0, rows out of order
or twice, times with a zone among times without one, jumps that look like a bad tick, a split, a change of unit or
another shift of the level, gaps of more than a week, prices that were filled in. Told: gaps, times without a zone,
closes that stand still, jumps that may be of a market, a last day that is not over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_margin.io.history_gaps import find_gaps
from portfolio_margin.io.history_jumps import Prices, find_jumps
from portfolio_margin.io.history_still import find_standstills
from portfolio_margin.io.history_times import DAY_MS, moments_of
from portfolio_margin.io.price_history import is_date
from portfolio_margin.io.tables import (
    Table,
    first_of_each_kind,
    number_column,
    read_table,
    refuse,
    require_columns,
    row_problems_of,
    text_column,
)
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import Problem

if TYPE_CHECKING:
    import pandas as pd

VOL_UNITS = {"percent": 0.01, "decimal": 1.0}
# A vol index whose median is outside, decimal, is in the other unit.
USUAL_VOL = (0.03, 3.0)
# Days before or after are a slip of the year, or times in another unit.
FIRST_DAY, LAST_DAY = "1900-01-01", "2100-12-31"


@dataclass(frozen=True)
class CheckedHistory:
    """One close a day.

    source    what it was read from
    date      (T,) YYYY-MM-DD, rising, each once
    close     (T,) last price of the day (UTC), above 0
    findings  what is told of it, one sentence each
    """

    source: str
    date: StrArray
    close: FloatArray
    findings: tuple[str, ...]


@dataclass(frozen=True)
class CheckedBars:
    """Closes of bars of one length, a day or a part of one.

    source    what they were read from
    time_ms   (T,) ms UTC as the rows have it, the beginning of each bar, rising
    close     (T,) above 0
    step_ms   length of a bar
    findings  what is told of them, one sentence each
    """

    source: str
    time_ms: IntArray
    close: FloatArray
    step_ms: int
    findings: tuple[str, ...]


class _Rows(NamedTuple):
    """Rows with a price: table, names of time and price, ms UTC, price, row of the file, what was told so far."""

    table: Table
    time: str
    price: str
    moment: IntArray
    close: FloatArray
    row: IntArray
    told: tuple[str, ...]

    def chosen(self, rows: BoolArray) -> _Rows:
        return self._replace(moment=self.moment[rows], close=self.close[rows], row=self.row[rows])

    def ends_of_days(self) -> BoolArray:
        """(R,) whether a row is the last of its day."""
        day = self.moment // DAY_MS
        return np.append(day[1:] != day[:-1], True)


def read_checked_history(
    source: str | Path | pd.DataFrame,
    *,
    time: str = "date",
    price: str = "close",
    until: str = "",
    accept: Collection[str] = (),
    latest: str = LAST_DAY,
) -> CheckedHistory:
    """A history of closes up to and with a day.

    source  a .csv, .csv.gz or .parquet file, or a frame
    time    column of days YYYY-MM-DD or of ISO 8601 times; several rows of a day give its last price
    price   column of prices, or of a vol index; rows without one are left out, and named
    until   last day taken, YYYY-MM-DD, "" for all there is
    accept  days YYYY-MM-DD whose jump is known to be real
    latest  today, YYYY-MM-DD in UTC: it is not over and is left out; rows after tomorrow are refused, so that nothing
            of the future is calibrated from

    DataError listing the rows that are wrong, eight of each kind, and counting the others.
    """
    rows = _rows(source, time, price, until, latest)
    file, last = rows.table.file, rows.ends_of_days()
    open_day = _unfinished(rows, latest)
    told = [f"{file}: the last day, {open_day}, is left out: it is not over"] if open_day else []
    if open_day:
        last[-1] = False
    days = rows.chosen(last)
    told += _checked(rows, days, accept)
    return CheckedHistory(file, _dates(days.moment // DAY_MS), days.close, (*rows.told, *told))


def read_checked_bars(
    source: str | Path | pd.DataFrame,
    *,
    time: str = "date",
    price: str = "close",
    until: str = "",
    accept: Collection[str] = (),
    latest: str = LAST_DAY,
) -> CheckedBars:
    """Every bar of a history up to and with a day, with the same checks; bars of a last day that is not over stay, and
    it is told.

    See `read_checked_history` for the arguments. DataError as there; for fewer than three rows.
    """
    rows = _rows(source, time, price, until, latest)
    file = rows.table.file
    if len(rows.close) < 3:
        refuse(file, f"rows with a {price}", len(rows.close), "needs three prices at least")
    open_day = _unfinished(rows, latest)
    told = [f"{file}: the last day, {open_day}, is not over: its bars are of no whole day"] if open_day else []
    told += _checked(rows, rows.chosen(rows.ends_of_days()), accept)
    step = min(int(np.median(np.diff(rows.moment))), DAY_MS)
    return CheckedBars(file, rows.moment, rows.close, step, (*rows.told, *told))


def refuse_unknown_days(accept: Collection[str], read: Collection[CheckedHistory | CheckedBars]) -> None:
    """DataError for a day to accept that is no day of the calendar, or that no history has."""
    known: set[str] = set()
    for one in read:
        known |= set((one.date if isinstance(one, CheckedHistory) else _dates(one.time_ms // DAY_MS)).tolist())
    files = ", ".join(dict.fromkeys(one.source for one in read))
    for day in accept:
        if not is_date(day):
            refuse(files, "accept", day, "must be a day of the calendar, YYYY-MM-DD")
        if day not in known:
            refuse(files, "accept", day, "a day without a row; give the day of the row that is named, or leave it out")


def refuse_constant(source: str, column: str, values: FloatArray) -> None:
    """DataError naming source and column where all values are the same."""
    if np.all(values == values[0]):
        refuse(source, column, float(values[0]), "the same on every row: there are no moves to learn from")


def decimal_vols(source: str, column: str, vols: FloatArray, unit: str) -> FloatArray:
    """(T,) vols per sqrt(year), decimal, of an index in "percent" (vol points) or "decimal".

    DataError naming source and column for another unit, and where the median says that it is in the other one.
    """
    if unit not in VOL_UNITS:
        refuse(source, "vol_unit", unit, f"must be one of {', '.join(VOL_UNITS)}")
    found = np.asarray(vols * VOL_UNITS[unit], dtype=np.float64)
    if not USUAL_VOL[0] <= np.median(found) <= USUAL_VOL[1]:
        refuse(source, column, float(np.median(vols)), f"no vols in {unit}; give the other unit")
    return found


def _rows(source: str | Path | pd.DataFrame, time: str, price: str, until: str, latest: str) -> _Rows:
    """Rows that have a price, up to a day. DataError for what is no time or no price, for order, for fewer than two
    days."""
    table = read_table(source, "history")
    require_columns(table, [time, price], only=False)
    if until and not is_date(until):
        refuse(table.file, "until", until, "must be a day of the calendar, YYYY-MM-DD")
    stamps = text_column(table, time).to_numpy(dtype=np.str_)
    moment, told, problems = moments_of(table, time, stamps)
    close, unread = number_column(table, price)
    bad = unread | (close <= 0) | np.isinf(close)
    problems += row_problems_of(table, price, bad, "must be a number above 0, blank where there is none")
    if problems:
        raise first_of_each_kind(problems)
    held = np.isfinite(close)
    if not held.all():
        told.append(f"{table.file}: {int((~held).sum())} rows without a {price} are left out")
    found = _Rows(table, time, price, moment, close, table.row, ()).chosen(held)
    if until:
        chosen = found.moment // DAY_MS <= _day(until)
        if len(chosen) and not chosen.any():
            first = _dates(found.moment[:1] // DAY_MS)[0]
            refuse(table.file, time, until, f"the history begins on {first}")
        found = found.chosen(chosen)
    _refuse_days_outside(found, latest)
    found, open_days = _without_open_days(found, latest)
    days = len(np.unique(found.moment // DAY_MS))
    if days < 2:
        refuse(table.file, f"days with a {price}", days, "needs prices of two days at least")
    return found._replace(told=(*told, *open_days, *_bar_gaps(table.file, found.moment)))


def _refuse_days_outside(rows: _Rows, latest: str) -> None:
    """DataError for rows before 1900 and after what can be known: of today it is tomorrow already somewhere."""
    day = rows.moment // DAY_MS
    first, last = _day(FIRST_DAY), _day(latest) + (latest != LAST_DAY)
    after = "after what can be known" if latest == LAST_DAY else "in the future"
    problems = [
        Problem(rows.table.file, int(rows.row[n]), rows.time, str(_dates(day[n : n + 1])[0]), remedy)
        for bad, remedy in (
            (day < first, f"before {FIRST_DAY}: correct the year or the unit"),
            (day > last, f"after {latest}, {after}: correct the year, or give a last day"),
        )
        for n in np.flatnonzero(bad).tolist()
    ]
    if problems:
        raise first_of_each_kind(problems)


def _without_open_days(rows: _Rows, latest: str) -> tuple[_Rows, list[str]]:
    """Rows of days without those that are not over on a day, and what is told of it; shorter bars as they are.

    Where there is one row a day nothing in the file says when its price was taken, so the clock must.
    """
    step = np.diff(rows.moment)
    open_day = rows.moment // DAY_MS >= _day(latest)
    if not open_day.any() or (len(step) and np.median(step) < DAY_MS):
        return rows, []
    first = _dates(rows.moment[open_day][:1] // DAY_MS)[0]
    return rows.chosen(~open_day), [f"{rows.table.file}: the last day, {first}, is left out: it is not over in UTC"]


def _checked(rows: _Rows, days: _Rows, accept: Collection[str]) -> list[str]:
    """What is told of the closes of days and of all bars. DataError for long gaps, prices filled in, jumps."""
    day = days.moment // DAY_MS
    problems, gaps = find_gaps(days.table, days.time, day, days.row)
    stale, still = find_standstills(days.table, days.price, day, days.close)
    jumps, moves = _jumps(rows, days, accept)
    if problems or stale or jumps:
        raise first_of_each_kind(problems + stale + jumps)
    return gaps + moves + still


def _bar_gaps(file: str, moment: IntArray) -> list[str]:
    """What is told of bars that are missing within days."""
    step = np.diff(moment)
    usual = int(np.median(step))
    if usual >= DAY_MS or usual <= 0:
        return []
    wide = np.flatnonzero(step > usual)
    if not len(wide):
        return []
    longest = wide[int(np.argmax(step[wide]))]
    missing = int(np.sum(step[wide] // usual - 1))
    begin = np.datetime_as_string(moment[longest].astype("datetime64[ms]"), unit="m")
    return [
        f"{file}: {len(wide)} gaps, {missing} of {len(moment) + missing} bars missing, the longest "
        f"{step[longest] / 3_600_000:g} hours from {begin}Z"
    ]


def _unfinished(rows: _Rows, latest: str) -> str:
    """The last day where its bars end before those of the others do, or where it is that of today; "" elsewhere."""
    ends = (rows.moment % DAY_MS)[rows.ends_of_days()]
    last = rows.moment[-1] // DAY_MS
    if last < _day(latest) and (len(ends) < 3 or ends[-1] >= np.median(ends)):
        return ""
    return str(_dates(rows.moment[-1:] // DAY_MS)[0])


def _jumps(rows: _Rows, days: _Rows, accept: Collection[str]) -> tuple[list[Problem], list[str]]:
    """Jumps of the closes of days, and of bars within them. A day whose bars have one is named by these."""
    if len(rows.close) == len(days.close):
        found = find_jumps(_prices(rows, daily=True), accept)
        return found.problems, found.told
    of_bars = find_jumps(_prices(rows, daily=False), accept, daily=False)
    jumped = rows.moment[of_bars.places] // DAY_MS
    of_days = find_jumps(_prices(days, daily=True), [*accept, *_dates(jumped).tolist()])
    return of_bars.problems + of_days.problems, of_bars.told + of_days.told


def _prices(rows: _Rows, daily: bool) -> Prices:
    day = _dates(rows.moment // DAY_MS)
    time = day if daily else np.datetime_as_string(rows.moment.astype("datetime64[ms]"), unit="m", timezone="UTC")
    step = np.diff(rows.moment // DAY_MS if daily else rows.moment)
    return Prices(rows.table.file, rows.price, time, day, rows.close, rows.row, step / np.median(step))


def _day(date: str) -> int:
    return int(np.datetime64(date, "D").astype(np.int64))


def _dates(day: IntArray) -> StrArray:
    return np.asarray(day.astype("datetime64[D]").astype(np.str_))
