"""Days that a history lacks: which market trades every day, which gaps are its days off, short and too long."""

from __future__ import annotations

import numpy as np

from portfolio_margin.io.tables import Table
from pricing.arrays import BoolArray, IntArray, StrArray
from pricing.errors import Problem

# Where a day of the week has prices on less than this share of what the fullest has, the market is off on
# it. Rows that lack days of every kind alike, such as every fourth, are holes and no days off.
EVERY_DAY = 0.5
# Days without a price that are usual: none, or a weekend with a holiday. A week beyond them is more than markets close
# for (of the S&P 500, Nasdaq, WTI and VIX the longest is six days, of September 2001).
DAYS_OFF, WEEK = 3, 7
# So many rows and more, as far apart as this on the median, are no closes of days.
SPARSE_ROWS, SPARSE_DAYS = 6, 2
SHOWN = 3
# 1 January 1970 was a Thursday.
WEEKDAYS = ("Thursdays", "Fridays", "Saturdays", "Sundays", "Mondays", "Tuesdays", "Wednesdays")


def weekdays_off(day: IntArray) -> list[int]:
    """Days of the week, 0 a Thursday, on which a market with prices on (T,) days, rising, is off."""
    there_are = np.bincount(np.arange(day[0], day[-1] + 1) % 7, minlength=7)
    share = np.bincount(day % 7, minlength=7) / np.maximum(there_are, 1)
    return np.flatnonzero((share < EVERY_DAY * share.max()) & (there_are > 0)).tolist()


def days_off(day: IntArray) -> int:
    """Days in a row without a price that are usual for a market with prices on (T,) days, rising: 0 of one that trades
    every day, else 3, from Friday to Tuesday."""
    return DAYS_OFF if weekdays_off(day) else 0


def days_apart(day: IntArray) -> float:
    """Days from one of (T,) days to the next on the median where they are no days in a row, 2 at least; 0 elsewhere,
    and of fewer than six."""
    if len(day) < SPARSE_ROWS:
        return 0.0
    apart = float(np.median(np.diff(day)))
    return apart if apart >= SPARSE_DAYS else 0.0


def over_a_gap(day: IntArray) -> BoolArray:
    """(T-1,) whether more days are missing between two days than the market has off."""
    return np.asarray(np.diff(day) - 1 > days_off(day))


def find_gaps(table: Table, column: str, day: IntArray, row: IntArray) -> tuple[list[Problem], list[str]]:
    """Gaps of a week more than the days off of a market; what is told of shorter ones.

    column    of the times
    day, row  (T,) days since 1970, rising, and their rows in the file
    """
    missing, dates = np.diff(day) - 1, _dates(day)
    if apart := days_apart(day):
        remedy = f"rows are {apart:g} days apart on the median: give a close of every day"
        return [Problem(table.file, int(row[1]), column, str(dates[1]), remedy)], []
    off = days_off(day)
    most = off + WEEK
    usual = "a week" if not off else f"a week beyond the {off} of a long weekend"
    problems = [
        Problem(
            table.file, int(row[n + 1]), column, f"{dates[n]} to {dates[n + 1]}",
            f"no price for more than {most} days before this row, {usual}; fill it in, or begin after it",
        )
        for n in np.flatnonzero(missing > most).tolist()
    ]  # fmt: skip
    short = np.flatnonzero((missing > off) & (missing <= most)).tolist()
    if not short:
        return problems, []
    shown = ", ".join(f"{dates[n]} to {dates[n + 1]}" for n in short[:SHOWN])
    more = f" and {len(short) - SHOWN} more" if len(short) > SHOWN else ""
    return problems, [f"{table.file}: days are missing, {shown}{more}; a return over a gap counts as one of a day"]


def _dates(day: IntArray) -> StrArray:
    return np.asarray(day.astype("datetime64[D]").astype(np.str_))
