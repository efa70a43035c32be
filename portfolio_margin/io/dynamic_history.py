"""Histories for the rule of dynamic margin, and the parameters that it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.dynamic.rule import History, Rule, parameters_of
from portfolio_margin.io.price_history import PriceHistory, is_date, read_price_history
from portfolio_margin.io.tables import number_column, read_table, refuse, require_columns, row_problems_of, text_column
from pricing.arrays import FloatArray
from pricing.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

DATE_LENGTH = len("2026-02-26")
UNITS = {"percent": 0.01, "decimal": 1.0}
# A 30-day vol outside is in the other unit.
USUAL_VOL = (0.03, 3.0)


class Columns(NamedTuple):
    """Names of the columns of a file of prices; of a vol index the first two count."""

    time: str = "date"
    close: str = "close"
    volume: str = "volume"


class DatedHistory(NamedTuple):
    """A history for the rule, and its last day, YYYY-MM-DD."""

    history: History
    last_day: str


def read_dynamic_history(
    prices: str | Path | pd.DataFrame,
    vols: str | Path | pd.DataFrame,
    *,
    until: str = "",
    price_columns: Columns = Columns(),  # noqa: B008
    vol_columns: Columns = Columns(),  # noqa: B008
    vol_unit: str = "percent",
) -> DatedHistory:
    """Closes, turnover and a vol index by day, up to and with `until` (YYYY-MM-DD, "" for all there is).

    prices    closes and volumes in units of the underlying; several rows of a day give its last close and the sum of
              close times volume
    vols      an index of 30-day implied vol
    vol_unit  "percent" (vol points) or "decimal"

    DataError listing every row that is wrong; where `until` is no day; where the two histories end on different days,
    since the parameters would be of neither; where the vols are in another unit.
    """
    if until and not is_date(until):
        refuse("history", "until", until, "must be a day of the calendar, YYYY-MM-DD")
    closes = _until(read_price_history(prices, time=price_columns.time, price=price_columns.close), until)
    index = _until(read_price_history(vols, time=vol_columns.time, price=vol_columns.close), until)
    if vol_unit not in UNITS:
        refuse(index.source, "vol_unit", vol_unit, f"must be one of {', '.join(UNITS)}")
    if index.date[-1] != closes.date[-1]:
        remedy = f"the prices of {closes.source} end on {closes.date[-1]}: give a last day that both have"
        refuse(index.source, "date", str(index.date[-1]), remedy)
    vol = index.close * UNITS[vol_unit]
    if not USUAL_VOL[0] <= np.median(vol) <= USUAL_VOL[1]:
        refuse(index.source, vol_columns.close, float(np.median(index.close)), f"no vols in {vol_unit}; give vol_unit")
    turnover = _turnover(prices, price_columns, closes)
    return DatedHistory(History(closes.close, vol, turnover), str(closes.date[-1]))


def dynamic_parameters(
    base: Any, histories: Mapping[str, History], rule: Rule, measured: Mapping[str, Mapping[str, ArrayLike]]
) -> Any:
    """Parameters of `dynamic_worst_case` for the day after the histories.

    base      its Params: everything but the underlyings is taken over
    measured  underlying -> what no history has, see `rule.parameters_of`
    """
    made = {name: parameters_of(name, history, rule, measured.get(name, {})) for name, history in histories.items()}
    return replace(base, underlyings=made)


def _until(history: PriceHistory, until: str) -> PriceHistory:
    chosen = history.date <= until if until else np.ones(len(history.date), dtype=np.bool_)
    if not np.any(chosen):
        refuse(history.source, "date", until, f"the history begins on {history.date[0]}")
    return PriceHistory(history.source, history.date[chosen], history.close[chosen])


def _turnover(source: str | Path | pd.DataFrame, columns: Columns, closes: PriceHistory) -> FloatArray:
    """(T,) sum of close times volume on every day of `closes`."""
    table = read_table(source, "history")
    require_columns(table, list(columns), only=False)
    day = np.array([text[:DATE_LENGTH] for text in text_column(table, columns.time)], dtype=np.str_)
    close, _ = number_column(table, columns.close)
    volume, unread = number_column(table, columns.volume)
    problems = row_problems_of(table, columns.volume, unread | ~(volume >= 0.0), "must be a number, 0 or more")
    if problems:
        raise DataError(problems)
    inside = np.isin(day, closes.date) & np.isfinite(close)
    total = np.zeros(len(closes.date))
    np.add.at(total, np.searchsorted(closes.date, day[inside]), close[inside] * volume[inside])
    return total
