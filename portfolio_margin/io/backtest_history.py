"""A history for a back-test from files: bars of any length, and an index of vol as it was known at each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_margin.io.tables import number_column, read_table, refuse, require_columns, row_problems_of, text_column
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import DataError
from scenarios.backtest.history import MS_PER_DAY, History, history

if TYPE_CHECKING:
    import pandas as pd

UNITS = {"percent": 0.01, "decimal": 1.0}
USUAL_VOL = (0.03, 3.0)
# An index that is older than this many days is not known any more.
STALE_DAYS = 5
# With fewer trading days a year than this, a year has 252.
TRADING_DAYS, EVERY_DAY = 252.0, 300.0


class Closes(NamedTuple):
    """Closes of bars.

    source  what they were read from
    time_ms (T,) ms UTC of the end of each bar, when its close was known
    close   (T,) above 0
    step_ms length of a bar
    """

    source: str
    time_ms: IntArray
    close: FloatArray
    step_ms: int


def read_closes(source: str | Path | pd.DataFrame, *, time: str = "date", price: str = "close") -> Closes:
    """Closes of bars of one length, days or parts of one.

    source  a .csv, .csv.gz or .parquet file, or a frame
    time    column of the day, or of the time at which a bar begins, UTC
    price   column of closes; rows without one are left out

    DataError listing every row that is no time, is not later than the one before, or whose close is not above 0.
    """
    table = read_table(source, "history")
    require_columns(table, [time, price], only=False)
    stamp, unread = _stamps(text_column(table, time).to_numpy(dtype=np.str_))
    close, no_number = number_column(table, price)
    problems = row_problems_of(table, time, unread, "must be a day or a time, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ")
    late = np.append(False, np.diff(stamp) <= 0) & ~unread & ~np.append(False, unread[:-1])
    problems += row_problems_of(table, time, late, "must be later than the row before")
    problems += row_problems_of(table, price, no_number | (close <= 0), "must be a number above 0, blank where none is")
    if problems:
        raise DataError(problems)
    held = np.isfinite(close)
    stamp, close = stamp[held], close[held]
    if len(close) < 3:
        refuse(table.file, price, len(close), "needs three prices at least")
    step = min(int(np.median(np.diff(stamp))), MS_PER_DAY)
    return Closes(table.file, stamp + step, close, step)


def read_history(
    prices: str | Path | pd.DataFrame,
    vols: str | Path | pd.DataFrame | None = None,
    *,
    price_columns: tuple[str, str] = ("date", "close"),
    vol_columns: tuple[str, str] = ("date", "close"),
    vol_unit: str = "percent",
    until: str = "",
) -> History:
    """A history for a back-test.

    prices         closes of bars, see `read_closes`
    vols           an index of 30-day vol; between two of its closes the earlier one counts, for five days at most
    price_columns  names of time and close
    vol_columns    the same of the index
    vol_unit       "percent" (vol points) or "decimal"
    until          last day taken, YYYY-MM-DD; "" for all

    DataError listing what is wrong with either.
    """
    if vol_unit not in UNITS:
        refuse("history", "vol_unit", vol_unit, f"must be one of {', '.join(UNITS)}")
    closes = read_closes(prices, time=price_columns[0], price=price_columns[1])
    kept = np.ones(len(closes.close), dtype=np.bool_)
    if until:
        last, bad = _stamps(np.array([until]))
        if bad[0]:
            refuse("history", "until", until, "must be a day of the calendar, YYYY-MM-DD")
        kept = closes.time_ms <= last[0] + MS_PER_DAY
    moments, price = closes.time_ms[kept], closes.close[kept]
    if len(price) < 3:
        refuse(closes.source, "date", until, "fewer than three prices are left")
    per_day = max(1, round(MS_PER_DAY / closes.step_ms))
    days = np.unique((moments - 1) // MS_PER_DAY)
    per_year = 365.0 * len(days) / max(float(days[-1] - days[0] + 1), 1.0)
    index = None if vols is None else _index(vols, vol_columns, vol_unit, moments)
    return history(
        moments, price, index, days_per_year=TRADING_DAYS if per_year < EVERY_DAY else 365.0, steps_per_day=per_day
    )


def _index(source: str | Path | pd.DataFrame, names: tuple[str, str], unit: str, moments: IntArray) -> FloatArray:
    """(T,) the index known at each moment, NaN where there is none."""
    read = read_closes(source, time=names[0], price=names[1])
    vol = read.close * UNITS[unit]
    if not USUAL_VOL[0] <= np.median(vol) <= USUAL_VOL[1]:
        refuse(read.source, names[1], float(np.median(read.close)), f"no vols in {unit}; give --vol-unit")
    row = np.searchsorted(read.time_ms, moments, side="right") - 1
    known = (row >= 0) & (moments - read.time_ms[np.maximum(row, 0)] <= STALE_DAYS * MS_PER_DAY)
    return np.where(known, vol[np.maximum(row, 0)], np.nan)


def _stamps(texts: np.ndarray) -> tuple[IntArray, BoolArray]:
    """(T,) ms UTC and whether a text is no time."""
    found, bad = np.zeros(len(texts), dtype=np.int64), np.zeros(len(texts), dtype=np.bool_)
    try:
        stripped = np.char.rstrip(np.char.replace(texts, "+00:00", ""), "Z")
        return stripped.astype("datetime64[ms]").astype(np.int64), bad
    except ValueError:
        pass
    for row, text in enumerate(texts.tolist()):
        try:
            found[row] = np.datetime64(text.replace("+00:00", "").rstrip("Z"), "ms").astype(np.int64)
        except ValueError:
            bad[row] = True
    return found, bad
