"""Histories of prices or vol indices, and what several of them make of a history for historical simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.io.tables import (
    first_of_each_kind,
    number_column,
    read_table,
    refuse,
    require_columns,
    row_problems_of,
    text_column,
)
from pricing.arrays import FloatArray, StrArray

if TYPE_CHECKING:
    import pandas as pd

DATE_LENGTH = len("2026-02-26")


@dataclass(frozen=True)
class PriceHistory:
    """One close a day.

    source   what it was read from
    date     (T,) YYYY-MM-DD, rising, each once
    close    (T,) last price of the day, above 0
    """

    source: str
    date: StrArray
    close: FloatArray


@dataclass(frozen=True)
class JointReturns:
    """Daily log returns of several histories on the days that all of them have.

    date      (T,) last day of each return
    returns   name -> (T,)
    """

    date: StrArray
    returns: Mapping[str, FloatArray]


def read_price_history(source: str | Path | pd.DataFrame, *, time: str = "date", price: str = "close") -> PriceHistory:
    """A history of closes.

    source  a .csv, .csv.gz or .parquet file, or a frame
    time    column of dates or times, each beginning with YYYY-MM-DD; several rows of a day give its last price
    price   column of prices; rows without one are left out

    Raises DataError listing eight rows of each kind and counting the others: no date, out of order, not above 0.
    """
    table = read_table(source, "history")
    require_columns(table, [time, price], only=False)
    stamp = text_column(table, time).to_numpy(dtype=np.str_)
    close, unread = number_column(table, price)
    day = np.array([text[:DATE_LENGTH] for text in stamp], dtype=np.str_)
    dated = np.array([is_date(text) for text in day], dtype=np.bool_)
    problems = row_problems_of(table, time, ~dated, "must begin with a date, YYYY-MM-DD")
    late = np.append(False, (stamp[1:] <= stamp[:-1]) & dated[1:] & dated[:-1])
    problems += row_problems_of(table, time, late, "must be later than the row before")
    problems += row_problems_of(
        table, price, unread | (close <= 0), "must be a number above 0, blank where there is none"
    )
    if problems:
        raise first_of_each_kind(problems)
    held = np.isfinite(close)
    if held.sum() < 2:
        refuse(table.file, price, int(held.sum()), "needs prices of two days at least")
    day, close = day[held], close[held]
    last = np.append(day[1:] != day[:-1], True)
    return PriceHistory(table.file, day[last], close[last])


def joint_returns(histories: Mapping[str, PriceHistory], start: str = "", end: str = "") -> JointReturns:
    """Log returns from one common day to the next, from `start` to `end` (YYYY-MM-DD, both included; "" for no bound).

    A day that one history lacks is skipped by all of them, so a return may span several days. DataError where no two
    days are common.
    """
    common = set.intersection(*(set(history.date.tolist()) for history in histories.values()))
    days = sorted(day for day in common if (not start or day >= start) and (not end or day <= end))
    if len(days) < 2:
        names = ", ".join(history.source for history in histories.values())
        refuse(names, "date", len(days), "the histories have fewer than two days in common")
    returns = {}
    for name, history in histories.items():
        chosen = history.close[np.searchsorted(history.date, days)]
        returns[name] = np.diff(np.log(chosen))
    return JointReturns(np.array(days[1:], dtype=np.str_), returns)


def is_date(text: str) -> bool:
    """Whether a text is a day of the calendar, YYYY-MM-DD."""
    try:
        return not np.isnat(np.datetime64(text, "D")) and len(text) == DATE_LENGTH
    except ValueError:
        return False
