"""Histories for the rule of dynamic margin, and the parameters that it makes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.dynamic.rule import History, Rule, parameters_of
from portfolio_margin.io.history import (
    LAST_DAY,
    CheckedHistory,
    decimal_vols,
    read_checked_history,
    refuse_constant,
)
from portfolio_margin.io.tables import (
    first_of_each_kind,
    number_column,
    read_table,
    refuse,
    require_columns,
    row_problems_of,
    text_column,
)
from pricing.arrays import FloatArray

if TYPE_CHECKING:
    import pandas as pd


class Columns(NamedTuple):
    """Names of the columns of a file of prices; of a vol index the first two count."""

    time: str = "date"
    close: str = "close"
    volume: str = "volume"


class DatedHistory(NamedTuple):
    """A history for the rule.

    history   arrays of it
    last_day  YYYY-MM-DD
    read      prices and vols as they were read, with what is told of them
    """

    history: History
    last_day: str
    read: tuple[CheckedHistory, CheckedHistory]


def read_dynamic_history(
    prices: str | Path | pd.DataFrame,
    vols: str | Path | pd.DataFrame,
    *,
    until: str = "",
    price_columns: Columns = Columns(),  # noqa: B008
    vol_columns: Columns = Columns(),  # noqa: B008
    vol_unit: str = "percent",
    accept: Collection[str] = (),
    latest: str = LAST_DAY,
) -> DatedHistory:
    """Closes, turnover and a vol index by day, up to and with `until` (YYYY-MM-DD, "" for all there is).

    prices    closes and volumes in units of the underlying; several rows of a day give its last close and the sum of
              close times volume
    vols      an index of 30-day implied vol
    vol_unit  "percent" (vol points) or "decimal"
    accept    days whose jump is known to be real
    latest    today, in UTC: it is not over and is left out

    DataError as `read_checked_history`; where one never moves; where the two end on different days, since the
    parameters would be of neither; where the vols are in another unit.
    """
    closes, index = (
        read_checked_history(file, time=names.time, price=names.close, until=until, accept=accept, latest=latest)
        for file, names in ((prices, price_columns), (vols, vol_columns))
    )
    refuse_constant(closes.source, price_columns.close, closes.close)
    refuse_constant(index.source, vol_columns.close, index.close)
    vol = decimal_vols(index.source, vol_columns.close, index.close, vol_unit)
    if index.date[-1] != closes.date[-1]:
        remedy = f"the prices of {closes.source} end on {closes.date[-1]}: give a last day that both have"
        refuse(index.source, "date", str(index.date[-1]), remedy)
    turnover = _turnover(prices, price_columns, closes)
    return DatedHistory(History(closes.close, vol, turnover), str(closes.date[-1]), (closes, index))


def dynamic_parameters(
    base: Any, histories: Mapping[str, History], rule: Rule, measured: Mapping[str, Mapping[str, ArrayLike]]
) -> Any:
    """Parameters of `dynamic_worst_case` for the day after the histories.

    base      its Params: everything but the underlyings is taken over
    measured  underlying -> what no history has, see `rule.parameters_of`
    """
    made = {name: parameters_of(name, history, rule, measured.get(name, {})) for name, history in histories.items()}
    return replace(base, underlyings=made)


def _turnover(source: str | Path | pd.DataFrame, columns: Columns, closes: CheckedHistory) -> FloatArray:
    """(T,) sum of close times volume on every day of `closes`, days being those of UTC as there."""
    import pandas as pd

    table = read_table(source, "history")
    require_columns(table, list(columns), only=False)
    moment = pd.to_datetime(text_column(table, columns.time), utc=True, format="ISO8601")
    day = moment.dt.strftime("%Y-%m-%d").to_numpy(dtype=np.str_)
    close, _ = number_column(table, columns.close)
    volume, unread = number_column(table, columns.volume)
    problems = row_problems_of(table, columns.volume, unread | ~(volume >= 0.0), "must be a number, 0 or more")
    if problems:
        raise first_of_each_kind(problems)
    inside = np.isin(day, closes.date) & np.isfinite(close)
    total = np.zeros(len(closes.date))
    np.add.at(total, np.searchsorted(closes.date, day[inside]), close[inside] * volume[inside])
    return total
