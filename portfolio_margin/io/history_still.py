"""Closes that repeat the one before: weekends and holidays filled in, prices that stand still."""

from __future__ import annotations

import numpy as np

from portfolio_margin.io.history_gaps import WEEKDAYS
from portfolio_margin.io.history_jumps import STANDING_STILL
from portfolio_margin.io.tables import Table
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import Problem

# Filled in is a day of the week on which so many closes repeat the one before, on four weeks at least, of a file whose
# other days do so on less than half of theirs.
FILLED, LEAST_WEEKS, OTHERS = 0.9, 4, 0.5
# Closes as near as this, relative, are the same: rounding of a price that was converted and written again is less (1e-7
# in single precision), and a day hardly ever moves a price by so little even where a tick is finer.
SAME = 1e-6
# Of the days of the week, 0 a Thursday: a price that is filled forward repeats on these.
WEEKEND = (2, 3)
# Of real files 0 to 1.6 % of the closes repeat the one before (WTI, in steps of a cent from ten dollars on); nine
# holidays a year that were filled in are 3.4 % of the weekdays.
USUAL_SHARE = 0.03
# With a quarter of the moves 0, what is called the 99 % quantile of moves is the 98.7 % quantile of those there were.
LARGEST_SHARE = 0.25
# A share of fewer closes says little.
LEAST_DAYS = 40
SHOWN = 3


def find_standstills(
    table: Table, column: str, day: IntArray, close: FloatArray
) -> tuple[list[Problem], list[str]]:  # fmt: skip
    """Days of the week that were filled in, or closes of which more than a quarter repeat the one before; what is told
    of fewer, and of closes that are the same on many days in a row.

    column      of the prices
    day, close  (T,) days since 1970, rising, and their closes
    """
    same = np.abs(np.diff(close)) <= SAME * close[:-1]
    filled = _filled_weekdays(day[1:], same)
    if filled:
        of_them = np.isin(day[1:] % 7, filled)
        count = f"{int(same[of_them].sum())} of {int(of_them.sum())} closes"
        remedy = f"{count} repeat the day before: {_how_filled(day, filled)}"
        return [Problem(table.file, None, column, _named(filled), remedy)], []
    share = float(same.mean())
    many = len(same) >= LEAST_DAYS and share > USUAL_SHARE
    said = f"{int(same.sum())} of {len(same)} closes repeat the one before ({100 * share:.1f} %)"
    if many and share > LARGEST_SHARE and not same.all():
        remedy = f"more than {100 * LARGEST_SHARE:g} %, so that quantiles of moves mean little; leave stale rows out"
        return [Problem(table.file, None, column, said, remedy)], []
    told = [f"{table.file}: {said}; filled in, or a market with few trades"] if many else []
    return [], _runs(table.file, day, same) + told


def _filled_weekdays(day: IntArray, same: BoolArray) -> list[int]:
    """Days of the week, 0 a Thursday as 1 January 1970 was, whose (T,) closes repeat those of the day before while
    those of the other days do not."""
    there_are = np.bincount(day % 7, minlength=7)
    repeated = np.bincount(day[same] % 7, minlength=7)
    filled = (there_are >= LEAST_WEEKS) & (repeated >= FILLED * there_are)
    others = there_are[~filled].sum()
    return np.flatnonzero(filled).tolist() if repeated[~filled].sum() < OTHERS * others else []


def _how_filled(day: IntArray, filled: list[int]) -> str:
    """How closes of (T,) days came to repeat on these days of the week, and which rows to leave out.

    A weekend that was filled forward repeats on itself. One that was filled backward repeats from its second day to
    the first of trading, whose price is the real one.
    """
    before, repeating = day[:-1] % 7, day[1:] % 7
    preceding = sorted({int(np.bincount(before[repeating == n]).argmax()) for n in filled})
    if set(filled) <= set(WEEKEND) or not set(preceding) <= set(WEEKEND):
        return "filled in where there is no trading; leave these rows out"
    source = _named([n for n in filled if n not in preceding])
    weekend = _named(preceding)
    return f"{weekend} were filled backward with the later price of {source}, which looks ahead; leave {weekend} out"


def _named(weekdays: list[int]) -> str:
    return " and ".join(WEEKDAYS[n] for n in weekdays)


def _runs(file: str, day: IntArray, same: BoolArray) -> list[str]:
    """What is told of closes that are the same on many days in a row."""
    places = np.flatnonzero(same)
    if not len(places):
        return []
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    long = [run for run in runs if len(run) + 1 >= STANDING_STILL]
    dates = day.astype("datetime64[D]").astype(np.str_)
    return [
        f"{file}: the same close on {len(run) + 1} days from {dates[run[0]]}; filled in, or a market that was closed"
        for run in long[:SHOWN]
    ]
