"""Times of a history's rows: what is no time, a zone here and none there, repetition, order."""

from __future__ import annotations

import re

import numpy as np

from portfolio_margin.io.tables import Table, row_problems_of
from pricing.arrays import BoolArray, IntArray, StrArray
from pricing.errors import Problem

DAY_MS = 86_400_000
ZONE = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$", re.I)


def moments_of(table: Table, column: str, stamps: StrArray) -> tuple[IntArray, list[str], list[Problem]]:
    """(R,) ms UTC of every row; what is told; what is wrong: no time, a zone here and none there, order, repetition.

    A day without a time has no zone either: which of its moments is meant is as unknown.
    """
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
    if np.any(zoned) and not np.all(zoned):
        fewer = zoned if zoned.sum() <= (~zoned).sum() else ~zoned
        problems += row_problems_of(table, column, fewer, "some times have a time zone and others none; write one form")
    elif np.any(timed & ~zoned):
        told.append(f"{table.file}: times have no zone and are taken as UTC")
    elif np.any(zoned):
        offsets = sorted({ZONE.search(text).group().upper() for text in stamps[zoned]})  # type: ignore[union-attr]
        if offsets != ["Z"] and set(offsets) - {"+00:00", "+0000", "Z"}:
            told.append(f"{table.file}: times of the zones {', '.join(offsets)} are converted, days are those of UTC")
    problems += _disorder(table, column, moment)
    return moment, told, problems


def _summer_time(moment: IntArray) -> bool:
    """Whether hours are missing in March and stand twice in October or November, and nowhere else."""
    month = (moment.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) % 12) + 1
    step = np.diff(moment)
    twice = month[1:][step == 0]
    return bool(len(twice)) and bool(np.all(np.isin(twice, (10, 11)))) and float(np.median(step)) <= DAY_MS / 24


def _disorder(table: Table, column: str, moment: IntArray) -> list[Problem]:
    """Rows that are not later than the row before; of a file that is newest first one sentence, of its first row."""
    step = np.diff(moment)
    if len(step) > 1 and np.all(step <= 0) and np.any(step < 0):
        return row_problems_of(table, column, _first(len(moment)), "rows are in descending order: reverse the file")
    same, back = np.append(False, step == 0), np.append(False, step < 0)
    hint = "; an hour twice in autumn: local time with daylight saving, write UTC" if _summer_time(moment) else ""
    problems = row_problems_of(table, column, same, f"the same time as the row before; keep one of them{hint}")
    return problems + row_problems_of(table, column, back, "is earlier than the row before; sort the rows by time")


def _first(count: int) -> BoolArray:
    return np.arange(count) == 0
