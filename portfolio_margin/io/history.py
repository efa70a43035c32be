"""A history of closes for calibration, with what is wrong with it found and named.

Refused, every row of it: what is no time or no price above 0, rows out of order or twice, times with a zone among times
without one, jumps that look like a split or a change of unit, gaps of more than a week. Told: gaps, times without a
zone, closes that stand still, a last day that is not over.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.io.price_history import is_date
from portfolio_margin.io.tables import (
    Table,
    number_column,
    read_table,
    refuse,
    require_columns,
    row_problems_of,
    text_column,
)
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import DataError, Problem

if TYPE_CHECKING:
    import pandas as pd

DAY_MS = 86_400_000
ZONE = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$", re.I)
# What a price is divided or multiplied by in a split or a change of unit, and how near the ratio of two closes must be.
SPLIT_RATIOS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0, 1000.0)
SPLIT_NEARNESS = 0.04
# A move so many times the median move is a jump; crashes of indices and coins were up to about 35 times.
JUMP = 12.0
LONGEST_GAP_DAYS = 7
STANDING_STILL = 5
SHOWN = 3
# A market that trades on so many of the days between its first and last has no days off.
EVERY_DAY = 0.9


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


def read_checked_history(
    source: str | Path | pd.DataFrame,
    *,
    time: str = "date",
    price: str = "close",
    until: str = "",
    accept: Collection[str] = (),
) -> CheckedHistory:
    """A history of closes up to and with a day.

    source  a .csv, .csv.gz or .parquet file, or a frame
    time    column of days YYYY-MM-DD or of ISO 8601 times; several rows of a day give its last price
    price   column of prices, or of a vol index; rows without one are left out, and named
    until   last day taken, YYYY-MM-DD, "" for all there is
    accept  days YYYY-MM-DD whose jump is known to be real

    DataError listing every row that is wrong.
    """
    table = read_table(source, "history")
    require_columns(table, [time, price], only=False)
    if until and not is_date(until):
        refuse(table.file, "until", until, "must be a day of the calendar, YYYY-MM-DD")
    stamps = text_column(table, time).to_numpy(dtype=np.str_)
    moment, told, problems = _moments(table, time, stamps)
    close, unread = number_column(table, price)
    bad = unread | (close <= 0) | np.isinf(close)
    problems += row_problems_of(table, price, bad, "must be a number above 0, blank where there is none")
    if problems:
        raise DataError(problems)
    held = np.isfinite(close)
    if not held.all():
        told.append(f"{table.file}: {int((~held).sum())} rows without a {price} are left out")
    day, moment, close, row = moment[held] // DAY_MS, moment[held], close[held], table.row[held]
    if until:
        inside = day <= np.datetime64(until, "D").astype(np.int64)
        day, moment, close, row = day[inside], moment[inside], close[inside], row[inside]
    if len(np.unique(day)) < 2:
        refuse(table.file, price, len(np.unique(day)), "needs prices of two days at least")
    told += _bar_gaps(table.file, moment)
    last = np.append(day[1:] != day[:-1], True)
    told += _unfinished(table.file, day, moment, last)
    if told and told[-1].endswith("left out: it is not over"):
        last[-1] = False
    day, close, row = day[last], close[last], row[last]
    problems, gaps = _day_gaps(table, time, day, row)
    problems += _jumps(table, price, day, close, row, accept)
    if problems:
        raise DataError(problems)
    told += gaps + _still(table.file, day, close)
    return CheckedHistory(table.file, _dates(day), close, tuple(told))


def _moments(table: Table, column: str, stamps: StrArray) -> tuple[IntArray, list[str], list[Problem]]:
    """(R,) ms UTC of every row; what is told; what is wrong: no time, a zone here and none there, order, repetition."""
    import pandas as pd

    parsed = pd.to_datetime(pd.Series(stamps), utc=True, format="ISO8601", errors="coerce")
    unknown = parsed.isna().to_numpy() | np.array([len(text) < 10 for text in stamps], dtype=np.bool_)
    problems = row_problems_of(table, column, unknown, "must be a day YYYY-MM-DD or a time in ISO 8601")
    if problems:
        return np.zeros(len(stamps), dtype=np.int64), [], problems
    moment = np.asarray(parsed.dt.as_unit("ms").astype("int64"), dtype=np.int64)
    timed = np.array([len(text) > 10 for text in stamps], dtype=np.bool_)
    zoned = np.array([timed[n] and ZONE.search(text) is not None for n, text in enumerate(stamps)], dtype=np.bool_)
    told = []
    if np.any(zoned) and np.any(timed & ~zoned):
        fewer = zoned if zoned.sum() <= (timed & ~zoned).sum() else timed & ~zoned
        problems += row_problems_of(table, column, fewer, "some times have a time zone and others none; write one form")
    elif np.any(timed & ~zoned):
        told.append(f"{table.file}: times have no zone and are taken as UTC")
    elif np.any(zoned):
        offsets = sorted({ZONE.search(text).group().upper() for text in stamps[zoned]})  # type: ignore[union-attr]
        if offsets != ["Z"] and set(offsets) - {"+00:00", "+0000", "Z"}:
            told.append(f"{table.file}: times of the zones {', '.join(offsets)} are converted, days are those of UTC")
    step = np.diff(moment)
    same, back = np.append(False, step == 0), np.append(False, step < 0)
    hint = "; an hour twice in autumn: local time with daylight saving, write UTC" if _summer_time(moment) else ""
    problems += row_problems_of(table, column, same, f"the same time as the row before; keep one of them{hint}")
    problems += row_problems_of(table, column, back, "is earlier than the row before; sort the rows by time")
    return moment, told, problems


def _summer_time(moment: IntArray) -> bool:
    """Whether hours are missing in March and stand twice in October or November, and nowhere else."""
    month = (moment.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) % 12) + 1
    step = np.diff(moment)
    twice = month[1:][step == 0]
    return bool(len(twice)) and bool(np.all(np.isin(twice, (10, 11)))) and float(np.median(step)) <= DAY_MS / 24


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


def _unfinished(file: str, day: IntArray, moment: IntArray, last: BoolArray) -> list[str]:
    """What is told of a last day that ends before the others do."""
    ends = (moment - day * DAY_MS)[last]
    if len(ends) < 3 or ends[-1] >= np.median(ends):
        return []
    return [f"{file}: the last day, {_dates(day[-1:])[0]}, is left out: it is not over"]


def _day_gaps(table: Table, column: str, day: IntArray, row: IntArray) -> tuple[list[Problem], list[str]]:
    """Gaps of more than a week, and what is told of shorter ones; days off of a market are none."""
    step = np.diff(day)
    always = len(day) >= EVERY_DAY * (day[-1] - day[0] + 1)
    off = 1 if always else 4
    long = np.flatnonzero(step > LONGEST_GAP_DAYS + off)
    dates = _dates(day)
    remedy = f"no price for more than {LONGEST_GAP_DAYS} days before this row; fill it in, or begin after it"
    problems = [
        Problem(table.file, int(row[n + 1]), column, f"{dates[n]} to {dates[n + 1]}", remedy) for n in long.tolist()
    ]
    short = [n for n in np.flatnonzero(step > off).tolist() if n not in set(long.tolist())]
    if not short:
        return problems, []
    shown = ", ".join(f"{dates[n]} to {dates[n + 1]}" for n in short[:SHOWN])
    more = f" and {len(short) - SHOWN} more" if len(short) > SHOWN else ""
    return problems, [f"{table.file}: days are missing, {shown}{more}; a return over a gap counts as one of a day"]


def _jumps(
    table: Table, column: str, day: IntArray, close: FloatArray, row: IntArray, accept: Collection[str]
) -> list[Problem]:
    """Jumps of about a whole ratio, far from all others: splits, and changes of unit or of decimals."""
    move = np.diff(np.log(close))
    size = np.abs(move)
    usual = float(np.median(size[size > 0.0])) if np.any(size > 0.0) else 0.0
    dates = _dates(day)
    problems = []
    for n in np.flatnonzero(size > max(JUMP * usual, np.log(1.5))).tolist():
        ratio = float(np.exp(size[n]))
        near = [r for r in SPLIT_RATIOS if abs(ratio / r - 1.0) <= SPLIT_NEARNESS]
        if not near or dates[n + 1] in accept:
            continue
        way = "divided" if move[n] < 0.0 else "multiplied"
        remedy = (
            f"{way} by {near[0]:g} since {dates[n]} ({close[n]:g}): looks like a split or another unit; adjust the rows"
            f" before it, or accept the day {dates[n + 1]}"
        )
        problems.append(Problem(table.file, int(row[n + 1]), column, float(close[n + 1]), remedy))
    return problems


def _still(file: str, day: IntArray, close: FloatArray) -> list[str]:
    """What is told of closes that are the same on many days in a row."""
    same = np.flatnonzero(np.diff(close) == 0.0)
    if not len(same):
        return []
    runs = np.split(same, np.flatnonzero(np.diff(same) > 1) + 1)
    long = [run for run in runs if len(run) + 1 >= STANDING_STILL]
    dates = _dates(day)
    return [
        f"{file}: the same close on {len(run) + 1} days from {dates[run[0]]}; filled in, or a market that was closed"
        for run in long[:SHOWN]
    ]


def _dates(day: IntArray) -> StrArray:
    return np.asarray(day.astype("datetime64[D]").astype(np.str_))
