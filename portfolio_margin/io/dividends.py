"""Known dividends in cash: a table of one share, and the columns of a market file."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from portfolio_margin.io.tables import number_column, read_table, require_columns, row_problems_of, text_column
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError
from pricing.market import Market

if TYPE_CHECKING:
    import pandas as pd

TABLE, COLUMNS = "dividends", ("underlying", "ex_time_ms", "amount")
EX_DATE, AMOUNT = "ex_date", "amount"
# From the open of the ex-date on the share trades without its dividend.
OPEN = time(9, 30, tzinfo=ZoneInfo("America/New_York"))


class Dividends(NamedTuple):
    """Those of one share: (D,) ms UTC from when it trades without each, ascending, and (D,) currency a share."""

    time_ms: IntArray
    amount: FloatArray

    def after(self, moment_ms: int) -> Dividends:
        """Those that are still to come."""
        ahead = self.time_ms > moment_ms
        return Dividends(self.time_ms[ahead], self.amount[ahead])


NONE = Dividends(np.zeros(0, dtype=np.int64), np.zeros(0))


def read_dividends(source: str | Path | pd.DataFrame) -> Dividends:
    """Dividends of a .csv, .csv.gz or .parquet file, or a frame, with the columns ex_date and amount.

    ex_date  YYYY-MM-DD; the share trades without the dividend from 09:30 New York on
    amount   quote currency a share, above 0

    Raises DataError listing every row that is no date, stands twice, or whose amount is not above 0.
    """
    table = read_table(source, TABLE)
    require_columns(table, [EX_DATE, AMOUNT], only=False)
    dates = text_column(table, EX_DATE).to_numpy(dtype=np.str_)
    amount, unread = number_column(table, AMOUNT)
    moments = np.array([_open_ms(text) for text in dates], dtype=np.int64)
    known = moments >= 0
    problems = row_problems_of(table, EX_DATE, ~known, "must be a date, YYYY-MM-DD")
    _, first = np.unique(moments, return_index=True)
    again = known & ~np.isin(np.arange(len(moments)), first)
    problems += row_problems_of(table, EX_DATE, again, "a second dividend of this day: give their sum")
    bad = unread | ~((amount > 0.0) & np.isfinite(amount))
    problems += row_problems_of(table, AMOUNT, bad, "must be a number above 0, currency a share")
    if problems:
        raise DataError(problems)
    order = np.argsort(moments)
    return Dividends(moments[order], amount[order])


def dividend_columns(market: Market) -> dict[str, list[object]]:
    """The columns of a market file, by the names of COLUMNS."""
    names = [str(market.underlying_id[u]) for u in market.dividend_underlying]
    columns = (names, market.dividend_time.tolist(), market.dividend.tolist())
    return dict(zip(COLUMNS, columns, strict=True))


def _open_ms(text: str) -> int:
    """ms UTC of the open of a day, -1 where the text is no date."""
    try:
        return int(datetime.combine(date.fromisoformat(text), OPEN).timestamp() * 1000)
    except ValueError:
        return -1
