"""Deribit option chains from CSV, Parquet and frames.

Three layouts are known by their columns: the venue's own ticker fields (vol in percent), and two layouts of
collected snapshots (vol in decimal). A row states its contract by name; columns that repeat strike, expiry or
option type are compared with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from portfolio_margin.io.chain import REFUSE, Snapshot, build_snapshot
from portfolio_margin.io.chain_rows import DECIMAL, NO_TIME, PERCENT, ChainRows, Findings, check_vol_unit
from portfolio_margin.io.tables import Table, number_column, read_table, refuse, row_problems_of, text_column
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem

if TYPE_CHECKING:
    import pandas as pd

    Source = str | Path | pd.DataFrame
    Column = TypeVar("Column")

NUMBERS = ("bid", "ask", "mark", "forward", "index_price", "mark_vol", "strike", "multiplier", "quantity_step")
TEXTS = ("underlying_name", "option_type")
TIMES = ("time_ms", "expiry_ms")


class Layout(NamedTuple):
    """Columns of one way to write a chain: ours -> theirs. The optional ones may be missing."""

    columns: dict[str, str]
    optional: dict[str, str]
    iv_unit: str
    one_time: bool


COLLECTED = Layout(
    {
        "time_ms": "snapshot_utc",
        "instrument": "instrument",
        "bid": "bid",
        "ask": "ask",
        "mark": "mark",
        "forward": "underlying",
        "index_price": "index",
        "mark_vol": "mark_iv",
    },
    {"underlying_name": "underlying_name", "strike": "strike", "expiry_ms": "expiry_utc", "option_type": "cp"},
    iv_unit=DECIMAL,
    one_time=True,
)
COLLECTED_BY_FIELD = Layout(
    {
        "time_ms": "timestamp",
        "instrument": "instrument_name",
        "bid": "bid_price",
        "ask": "ask_price",
        "mark": "mark_price",
        "forward": "underlying",
        "index_price": "index_price",
        "mark_vol": "implied_volatility",
    },
    {
        "underlying_name": "underlying_name",
        "strike": "strike",
        "expiry_ms": "expiry_datetime",
        "option_type": "option_type",
    },
    iv_unit=DECIMAL,
    one_time=True,
)
TICKER = Layout(
    {
        "time_ms": "timestamp",
        "instrument": "instrument_name",
        "bid": "best_bid_price",
        "ask": "best_ask_price",
        "mark": "mark_price",
        "forward": "underlying_price",
        "index_price": "index_price",
        "mark_vol": "mark_iv",
    },
    {
        "underlying_name": "underlying_index",
        "strike": "strike",
        "expiry_ms": "expiration_timestamp",
        "option_type": "option_type",
        "multiplier": "contract_size",
        "quantity_step": "min_trade_amount",
    },
    iv_unit=PERCENT,
    one_time=False,
)
FUTURE_TICKER = Layout(
    {name: TICKER.columns[name] for name in ("time_ms", "instrument", "bid", "ask", "mark", "index_price")},
    {"expiry_ms": "expiration_timestamp", "multiplier": "contract_size"},
    iv_unit=PERCENT,
    one_time=False,
)
LAYOUTS = (COLLECTED, COLLECTED_BY_FIELD, TICKER)


def read_chain(
    source: Source,
    *,
    snapshot: int | str | datetime | None = None,
    futures: Source | None = None,
    iv_unit: str | None = None,
    on_bad_row: str = REFUSE,
    fx: Mapping[str, float] | None = None,
) -> Snapshot:
    """One moment of an option chain from a .csv, .csv.gz or .parquet file or a frame.

    snapshot    which moment, where the source holds several: ms UTC, ISO text or a datetime (no zone = UTC)
    futures     ticker table of futures and perpetuals, for tickers; otherwise the futures that the rows name
                are added with the venue's terms
    iv_unit     "decimal" or "percent", by default that of the layout
    on_bad_row  "refuse" or "exclude", see `build_snapshot`
    fx          USD per unit of settlement currencies such as USDC

    Raises DataError listing every bad row, and for a file that is no chain.
    """
    if iv_unit not in (None, DECIMAL, PERCENT):
        raise ConfigError(f'iv_unit = {iv_unit!r}: must be "decimal" or "percent"')
    table = read_table(source, "chain")
    layout = _layout_of(table)
    valuation_time = None
    if layout.one_time:
        table, valuation_time = _one_moment(table, layout, snapshot)
    elif snapshot is not None:
        refuse(table.file, "snapshot", snapshot, "these tickers are one moment; leave snapshot out")
    findings = Findings({name: column for name, column in (*layout.columns.items(), *layout.optional.items())})
    rows = _rows(table, layout, iv_unit or layout.iv_unit, findings)
    label = table.file
    if futures is not None:
        future_table = read_table(futures, "futures")
        _require(future_table, FUTURE_TICKER)
        rows = _stacked(rows, _rows(future_table, FUTURE_TICKER, PERCENT, findings, len(rows.row)))
        label = f"{label} and {future_table.file}"
    return build_snapshot(rows, findings, label, valuation_time=valuation_time, on_bad_row=on_bad_row, fx=fx)


def snapshot_times(source: Source) -> IntArray:
    """Moments of a collected chain, ms UTC, ascending."""
    table = read_table(source, "chain")
    layout = _layout_of(table)
    if not layout.one_time:
        refuse(table.file, layout.columns["time_ms"], "tickers", "these tickers are one moment")
    times = np.unique(_times(table, layout.columns["time_ms"])[0])
    return times[times != NO_TIME]


def _layout_of(table: Table) -> Layout:
    """The layout all of whose columns are there. DataError naming what the nearest one misses."""
    found = {str(column) for column in table.frame.columns}
    missing = {layout: [c for c in layout.columns.values() if c not in found] for layout in ()}
    lacking = [(sum(c not in found for c in layout.columns.values()), n) for n, layout in enumerate(LAYOUTS)]
    fewest, nearest = min(lacking)
    del missing
    if fewest:
        _require(table, LAYOUTS[nearest])
    if not len(table.frame):
        refuse(table.file, "rows", 0, "the chain holds no row")
    return LAYOUTS[nearest]
