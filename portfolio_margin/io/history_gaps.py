"""Days that a history lacks: which market trades every day, which gaps are its days off, short and too long."""

from __future__ import annotations

import numpy as np

from portfolio_margin.io.tables import Table
from pricing.arrays import BoolArray, IntArray, StrArray
from pricing.errors import Problem

# A market with prices on this share of its Mondays, Tuesdays and so on, each by itself, trades every day.
EVERY_DAY = 0.5
# Days without a price that are usual: none, or a weekend with a holiday. A week beyond them is more than markets close
# for (of the S&P 500, Nasdaq, WTI and VIX the longest is six days, of September 2001).
DAYS_OFF, WEEK = 3, 7
# So many rows and more, as far apart as this on the median, are no closes of days.
SPARSE_ROWS, SPARSE_DAYS = 6, 2
SHOWN = 3


def days_off(day: IntArray) -> int:
    """Days in a row without a price that are usual for a market with prices on (T,) days, rising: 0 of one that trades
    every day, else 3, from Friday to Tuesday."""
    there_are = np.bincount(np.arange(day[0], day[-1] + 1) % 7, minlength=7)
    traded = np.bincount(day % 7, minlength=7)
    return 0 if np.all(traded >= EVERY_DAY * there_are) else DAYS_OFF


def over_a_gap(day: IntArray) -> BoolArray:
    """(T-1,) whether more days are missing between two days than the market has off."""
    return np.asarray(np.diff(day) - 1 > days_off(day))


def find_gaps(table: Table, column: str, day: IntArray, row: IntArray) -> tuple[list[Problem], list[str]]:
    """Gaps of a week more than the days off of a market; what is told of shorter ones.

    column    of the times
    day, row  (T,) days since 1970, rising, and their rows in the file
    """
    missing, dates = np.diff(day) - 1, _dates(day)
    apart = float(np.median(missing + 1))
    if len(day) >= SPARSE_ROWS and apart >= SPARSE_DAYS:
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
