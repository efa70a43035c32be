"""Deribit option chains from CSV, Parquet and frames.

Three layouts are known by their columns: the venue's own ticker fields (vol in percent), and two layouts of
collected snapshots (vol in decimal). A row states its contract by name; columns that repeat strike, expiry or
option type are compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from portfolio_margin.io.chain import REFUSE, Snapshot, build_snapshot
from portfolio_margin.io.chain_rows import DECIMAL, LATEST_MS, NO_TIME, PERCENT, ChainRows, Findings, check_vol_unit
from portfolio_margin.io.equity_chain import COMMON as EQUITY_COLUMNS
from portfolio_margin.io.tables import (
    Table,
    number_column,
    read_table,
    refuse,
    require_columns,
    row_problems_of,
    text_column,
)
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

    Source = str | Path | pd.DataFrame | Table

NUMBERS = ("bid", "ask", "mark", "forward", "index_price", "mark_vol", "strike", "multiplier", "quantity_step")
TEXTS = ("underlying_name", "option_type")
TIMES = ("time_ms", "expiry_ms")
MOMENTS_SHOWN = 40


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
    fx          USD per unit of currencies such as USDC or EUR

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
    findings = Findings({**layout.columns, **layout.optional})
    rows = _rows(table, layout, iv_unit or layout.iv_unit, findings)
    label = table.file
    if futures is not None:
        future_table = read_table(futures, "futures")
        if set(TICKER.columns.values()) <= {str(column) for column in future_table.frame.columns}:
            remedy = "a table of options; futures takes the tickers of futures and perpetuals (--futures)"
            refuse(future_table.file, "columns", "option tickers", remedy)
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
    times = np.unique(moments_in(table, layout.columns["time_ms"])[0])
    return times[times != NO_TIME]


def _layout_of(table: Table) -> Layout:
    """The layout all of whose columns are there. DataError naming what the nearest one misses."""
    found = {str(column) for column in table.frame.columns}
    nearest = min(LAYOUTS, key=lambda layout: len(set(layout.columns.values()) - found))
    futures = set(FUTURE_TICKER.columns.values()) <= found and not set(nearest.columns.values()) <= found
    if futures:
        remedy = "a table of futures; give it as --futures (futures= in Python) beside a chain of options"
        refuse(table.file, "columns", "future tickers", remedy)
    if set(EQUITY_COLUMNS) <= found and not set(nearest.columns.values()) <= found:
        remedy = (
            "a chain of a listed stock: read_equity_chain of portfolio_margin.io.equity_chain reads it, for "
            "pricing.fit and equity_market"
        )
        refuse(table.file, "columns", ", ".join(EQUITY_COLUMNS), remedy)
    _require(table, nearest)
    if not len(table.frame):
        refuse(table.file, "rows", 0, "the chain holds no row")
    return nearest


def _require(table: Table, layout: Layout) -> None:
    require_columns(table, list(layout.columns.values()), only=False)


def _one_moment(table: Table, layout: Layout, snapshot: int | str | datetime | None) -> tuple[Table, int]:
    """The rows of one snapshot and its time."""
    column = layout.columns["time_ms"]
    times, bad = moments_in(table, column)
    if bad.any():
        raise DataError(row_problems_of(table, column, bad, "not a time; write ISO 8601 or ms UTC"))
    timeless = times == NO_TIME
    known = np.unique(times[~timeless])
    if not len(known):
        refuse(table.file, column, "blank", "no row has a time; write ISO 8601 or ms UTC")
    if snapshot is None:
        if len(known) > 1:
            moments = (
                ", ".join(map(_iso, known))
                if len(known) <= MOMENTS_SHOWN
                else f"from {_iso(known[0])} to {_iso(known[-1])}"
            )
            remedy = f"choose one with --snapshot TIME (snapshot= in Python): {moments}"
            refuse(table.file, column, f"{len(known)} snapshots", remedy)
        moment = int(known[0])
    else:
        moment = moment_of(snapshot, table.file)
    if moment not in known:
        nearest = known[np.argmin(np.abs(known - moment))]
        refuse(table.file, column, _iso(moment), f"no snapshot of this time; the nearest one is {_iso(nearest)}")
    # A row without a time may belong to any moment: it goes along, to be named or left out as a bad row.
    here = (times == moment) | timeless
    return Table(table.file, table.frame[here].reset_index(drop=True), table.row[here]), moment


def moment_of(snapshot: int | str | datetime, file: str) -> int:
    """ms UTC of a time given as ms, ISO text or a datetime; without a zone it is UTC."""
    if isinstance(snapshot, str) and snapshot.strip().isdigit():
        snapshot = int(snapshot)
    if isinstance(snapshot, str):
        try:
            snapshot = datetime.fromisoformat(snapshot)
        except ValueError:
            refuse(file, "snapshot", snapshot, "not a time; write ISO 8601 or ms UTC")
    if isinstance(snapshot, datetime):
        aware = snapshot if snapshot.tzinfo else snapshot.replace(tzinfo=UTC)
        return int(np.datetime64(aware.astimezone(UTC).replace(tzinfo=None), "ms").astype(np.int64))
    return int(snapshot)


def _iso(moment: int) -> str:
    return f"{np.datetime64(int(moment), 'ms').astype('datetime64[s]')}Z"


def moments_in(table: Table, column: str) -> tuple[IntArray, BoolArray]:
    """(R,) ms UTC from numbers in ms, ISO text or datetimes, NO_TIME where blank; (R,) True where unreadable."""
    import pandas as pd

    values = table.frame[column]
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        numbers, no_number = number_column(table, column)
        if not no_number.any():
            known = np.abs(numbers) <= LATEST_MS
            whole = np.where(known, numbers, 0.0).astype(np.int64)
            return np.where(known, whole, NO_TIME), np.abs(numbers) > LATEST_MS
        text = text_column(table, column)
        values = pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce")
        unreadable = (values.isna() & (text != "")).to_numpy(dtype=np.bool_)
    else:
        unreadable = np.zeros(len(values), dtype=np.bool_)
    moments = (values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values).dt.as_unit(
        "ms"
    )
    return moments.to_numpy().astype("datetime64[ms]").astype(np.int64), unreadable


def _rows(table: Table, layout: Layout, iv_unit: str, findings: Findings, offset: int = 0) -> ChainRows:
    """The rows of a table in our fields; cells that are no numbers or times enter the findings."""
    columns = {**layout.columns, **{name: c for name, c in layout.optional.items() if c in table.frame.columns}}
    count = len(table.frame)
    unread: dict[str, BoolArray] = {}
    numbers: dict[str, FloatArray] = {}
    times: dict[str, IntArray] = {}
    texts: dict[str, StrArray] = {}
    for name in NUMBERS:
        numbers[name] = np.full(count, np.nan)
        if name in columns:
            numbers[name], unread[name] = number_column(table, columns[name])
    for name in TIMES:
        times[name] = np.full(count, NO_TIME)
        if name in columns:
            times[name], unread[name] = moments_in(table, columns[name])
    for name in TEXTS:
        column = text_column(table, columns[name]).to_numpy() if name in columns else np.full(count, "")
        texts[name] = column.astype(np.str_)
    instrument = text_column(table, columns["instrument"]).to_numpy().astype(np.str_)
    label: list[int | str] = [f"{row} ({name})" for row, name in zip(table.row, instrument, strict=True)]
    unit_problem = check_vol_unit(numbers["mark_vol"], iv_unit, (table.file, label), columns.get("mark_vol", ""))
    if unit_problem is not None:
        findings.problems.append((None, unit_problem))
    findings.state("mark_vol", numbers["mark_vol"].tolist(), offset)
    findings.state("quantity_step", numbers["quantity_step"].tolist(), offset)
    findings.state("option_type", texts["option_type"].tolist(), offset)
    if iv_unit == PERCENT:
        numbers["mark_vol"] = numbers["mark_vol"] / 100.0
    for side in ("bid", "ask"):  # the venue writes 0 where nobody quotes
        numbers[side] = np.where(numbers[side] == 0, np.nan, numbers[side])
    numbers["quantity_step"] = numbers["quantity_step"] / numbers["multiplier"]
    texts["option_type"] = np.strings.upper(texts["option_type"].astype("<U1"))
    named: dict[str, Any] = {**numbers, **times, **texts}
    rows = ChainRows(
        file=[table.file] * count, row=label, instrument=instrument, inverse=np.full(count, np.nan), **named
    )
    for name, bad in unread.items():
        if bad.any():
            remedy = "not a time; write ISO 8601 or ms UTC" if name in TIMES else "not a number"
            findings.add(rows, name, bad, table.frame[columns[name]].tolist(), remedy, offset)
    return rows


def _stacked(first: ChainRows, second: ChainRows) -> ChainRows:
    pairs: list[tuple[Any, Any]] = list(zip(first, second, strict=True))
    joined = ([*a, *b] if isinstance(a, list) else np.concatenate([a, b]) for a, b in pairs)
    return ChainRows._make(joined)
