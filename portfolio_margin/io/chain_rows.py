"""Rows of a Deribit chain as read, and everything that can be wrong with one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from portfolio_margin.io.symbols import (
    FUTURE,
    OPTION,
    PERPETUAL,
    SymbolRecord,
    is_combination,
    parse_symbol,
)
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import DataError, Problem
from pricing.market_limits import MAX_VOL

VENUE = "deribit"
NO_TIME = np.iinfo(np.int64).min
# A number of ms beyond the year 33,000 is no time.
LATEST_MS = 10.0**15
DECIMAL, PERCENT = "decimal", "percent"
# A market whose median vol is above 300 %, or below 3 %, is one whose unit was mistaken.
DECIMAL_MEDIAN_MAX = 3.0
PERCENT_MEDIAN_MIN = 3.0

# Smallest quantity, in contracts, of Deribit's coin-settled instruments.
OPTION_STEP = {"BTC": 0.1, "ETH": 1.0}
FUTURE_STEP = 1.0


class ChainRows(NamedTuple):
    """One row per instrument of the source, in its order. NaN, NO_TIME and "" where the source does not say.

    file, row        where the row stands, for messages
    instrument       venue's name
    bid, ask, mark   option: settlement currency; future: quote currency per unit
    forward, index_price   quote currency per unit, the row's own
    mark_vol         per sqrt(year), decimal
    time_ms          ms UTC of the row's prices
    underlying_name  the future the forward was read from: BTC-27MAR26, SYN.BTC-29MAY26, index_price
    multiplier, quantity_step   contract terms
    strike, expiry_ms, option_type (C, P), inverse (1, 0)   the source's own columns, to compare with the name
    """

    file: list[str]
    row: list[int | str]
    instrument: StrArray
    bid: FloatArray
    ask: FloatArray
    mark: FloatArray
    forward: FloatArray
    index_price: FloatArray
    mark_vol: FloatArray
    time_ms: IntArray
    underlying_name: StrArray
    multiplier: FloatArray
    quantity_step: FloatArray
    strike: FloatArray
    expiry_ms: IntArray
    option_type: StrArray
    inverse: FloatArray

    def take(self, position: IntArray) -> ChainRows:
        """The rows at these positions."""
        picked = [[column[i] for i in position] if isinstance(column, list) else column[position] for column in self]
        return ChainRows._make(picked)


@dataclass(frozen=True)
class Findings:
    """What is wrong with which row, and which rows are left out because this engine does not treat their kind.

    columns   our field -> what the source calls it
    problems  (position, Problem); position is None where no single row is to blame
    skipped   (position, Problem) of rows that are right but no option, future or perpetual
    stated    our field -> position -> what the source states, where that is not what we compute with (percent)
    """

    columns: dict[str, str]
    problems: list[tuple[int | None, Problem]] = field(default_factory=list)
    skipped: list[tuple[int, Problem]] = field(default_factory=list)
    stated: dict[str, dict[int, object]] = field(default_factory=dict)

    def state(self, name: str, values: list[object], offset: int = 0) -> None:
        """Keep what the source states in a field, for messages; `offset` as in `add`."""
        self.stated.setdefault(name, {}).update(enumerate(values, start=offset))

    def add(self, rows: ChainRows, name: str, bad: BoolArray, values: object, remedy: str, offset: int = 0) -> None:
        """One problem for every row where `bad` is true, unless its field has one already.

        `offset` is the position of the first of these rows among all rows.
        """
        column = self.columns.get(name, name)
        known = {position for position, problem in self.problems if problem.field == column}
        stated = self.stated.get(name, {}) if values is getattr(rows, name, None) else {}
        for i in np.flatnonzero(bad):
            if i + offset in known:
                continue
            value = values[i] if isinstance(values, (np.ndarray, list)) else values
            value = value.item() if isinstance(value, np.generic) else value
            value = stated.get(int(i) + offset, value)
            self.problems.append((int(i) + offset, Problem(rows.file[i], rows.row[i], column, value, remedy)))

    def in_order(self) -> list[Problem]:
        """Problems of no single row first, then by row."""
        ranked = sorted(self.problems, key=lambda entry: -1 if entry[0] is None else entry[0])
        return [problem for _, problem in ranked]


def records_of(rows: ChainRows, findings: Findings) -> list[SymbolRecord | None]:
    """(R,) what each name says, None for names that are not read; those enter the findings."""
    records: list[SymbolRecord | None] = []
    for i, name in enumerate(rows.instrument.tolist()):
        record = None
        try:
            record = parse_symbol(name, VENUE)
        except DataError as error:
            remedy = error.problems[0].remedy
            problem = Problem(rows.file[i], rows.row[i], findings.columns["instrument"], name, remedy)
            if is_combination(name):
                findings.skipped.append((i, problem))
            else:
                findings.problems.append((i, problem))
        if record is not None and record.kind not in (OPTION, FUTURE, PERPETUAL):
            remedy = "a spot pair is no contract of this engine"
            problem = Problem(rows.file[i], rows.row[i], findings.columns["instrument"], name, remedy)
            findings.skipped.append((i, problem))
            record = None
        records.append(record)
    return records


def with_known_terms(rows: ChainRows, records: list[SymbolRecord | None]) -> ChainRows:
    """The rows with contract terms filled in where the source does not say them and the venue's rule does."""
    multiplier, step = rows.multiplier.copy(), rows.quantity_step.copy()
    for i, record in enumerate(records):
        if record is None:
            continue
        if np.isnan(multiplier[i]) and record.multiplier is not None:
            multiplier[i] = record.multiplier
        if np.isnan(step[i]) and record.inverse:
            step[i] = OPTION_STEP.get(record.underlying, np.nan) if record.kind == OPTION else FUTURE_STEP
    return rows._replace(multiplier=multiplier, quantity_step=step)


def check_rows(rows: ChainRows, records: list[SymbolRecord | None], valuation_time: int, findings: Findings) -> None:
    """Add everything wrong with the prices, times and terms of the rows to the findings."""
    kind = np.array(["" if record is None else record.kind for record in records], dtype=np.str_)
    read = kind != ""
    _check_prices(rows, kind, findings)
    _check_terms(rows, records, findings)
    expired = np.array([_has_expired(record, valuation_time) for record in records], dtype=np.bool_)
    moment = np.datetime64(valuation_time, "ms").astype("datetime64[s]")
    remedy = f"expired before the valuation time {moment}Z; remove the row"
    findings.add(rows, "instrument", expired, rows.instrument, remedy)
    # A row without a time is named for that, and its name is not held against the row that has one.
    timed = np.flatnonzero(rows.time_ms != NO_TIME)
    order = timed[np.argsort(rows.instrument[timed], kind="stable")]
    repeated = np.zeros(len(read), dtype=np.bool_)
    repeated[order[1:]] = rows.instrument[order[1:]] == rows.instrument[order[:-1]]
    findings.add(rows, "instrument", repeated & read, rows.instrument, "listed more than once; keep one row")


def check_vol_unit(vol: FloatArray, unit: str, where: tuple[str, list[int | str]], column: str) -> Problem | None:
    """A problem where the median of vols as given, NaN apart, cannot be in the unit stated.

    where is the file and the label of every row; the problem names the first row that has a vol.
    """
    known = vol[np.isfinite(vol) & (vol > 0)]
    middle = float(np.median(known)) if len(known) else np.nan
    if unit == DECIMAL and middle > DECIMAL_MEDIAN_MAX:
        looks, other = "percent", PERCENT
    elif unit == PERCENT and middle < PERCENT_MEDIAN_MIN:
        looks, other = "decimal", DECIMAL
    else:
        return None
    file, row = where
    first = int(np.flatnonzero(np.isfinite(vol) & (vol > 0))[0])
    remedy = (
        f"volatility looks like {looks}, as in {len(known)} rows with a median of {middle:g}; "
        f'give --iv-unit {other} (iv_unit="{other}" in Python)'
    )
    return Problem(file, row[first], column, float(vol[first]), remedy)


def _check_prices(rows: ChainRows, kind: StrArray, findings: Findings) -> None:
    read, option, marked = kind != "", kind == OPTION, (kind == OPTION) | (kind == FUTURE)
    for name in ("bid", "ask", "mark"):
        price = getattr(rows, name)
        findings.add(rows, name, read & ((price < 0) | np.isinf(price)), price, "must be a finite price, 0 or more")
    findings.add(rows, "mark", marked & np.isnan(rows.mark), rows.mark, "missing mark price")
    crossed = read & (rows.bid > rows.ask)
    asks = [f"{bid:g} above ask {ask:g}" for bid, ask in zip(rows.bid, rows.ask, strict=True)]
    findings.add(rows, "bid", crossed, asks, "crossed quote; bid must not be above ask")
    for name, noun in (("forward", "forward (underlying price)"), ("index_price", "index price")):
        price = getattr(rows, name)
        findings.add(rows, name, option & np.isnan(price), price, f"missing {noun}")
        given = read & ~np.isnan(price)
        findings.add(rows, name, given & ~((price > 0) & np.isfinite(price)), price, "must be above 0")
    vol = rows.mark_vol
    findings.add(
        rows,
        "mark_vol",
        option & ((vol <= 0) | np.isinf(vol)),
        vol,
        "must be above 0; leave it blank to use the surface",
    )
    # Where the whole column is in percent, `check_vol_unit` says so once.
    known = vol[np.isfinite(vol) & (vol > 0)]
    decimals = len(known) > 0 and float(np.median(known)) <= DECIMAL_MEDIAN_MAX
    remedy = f"above {MAX_VOL:g} (1,000 %): looks like percent in a column of decimals"
    findings.add(rows, "mark_vol", option & (vol > MAX_VOL) & np.isfinite(vol) & decimals, vol, remedy)
    no_time = read & (rows.time_ms == NO_TIME)
    findings.add(rows, "time_ms", no_time, "no time", "needs the time of its prices")


def _check_terms(rows: ChainRows, records: list[SymbolRecord | None], findings: Findings) -> None:
    """Contract terms that the source's own columns and the name state differently, or that nothing states."""

    def of_name(attribute: str, missing: object, dtype: type) -> np.ndarray:
        values = [missing if record is None else getattr(record, attribute) for record in records]
        return np.array([missing if value is None else value for value in values], dtype=dtype)

    read = np.array([record is not None for record in records], dtype=np.bool_)
    strike, expiry = of_name("strike", np.nan, float), of_name("expiry_ms", NO_TIME, np.int64)
    kind, inverse = of_name("option_type", "", str), of_name("inverse", 0, float)
    differs = np.isfinite(strike) & np.isfinite(rows.strike) & (strike != rows.strike)
    findings.add(rows, "strike", differs, rows.strike, "is not the strike of the instrument's name")
    differs = (expiry != NO_TIME) & (rows.expiry_ms != NO_TIME) & (expiry != rows.expiry_ms)
    findings.add(rows, "expiry_ms", differs, rows.expiry_ms, "is not the expiry of the instrument's name (08:00 UTC)")
    differs = (kind != "") & (rows.option_type != "") & (kind != rows.option_type)
    findings.add(rows, "option_type", differs, rows.option_type, "is not the option type of the instrument's name")
    differs = read & np.isfinite(rows.inverse) & (inverse != rows.inverse)
    findings.add(rows, "inverse", differs, rows.inverse, "settlement differs from the instrument's name")
    for name in ("multiplier", "quantity_step"):
        values = getattr(rows, name)
        unknown = read & np.isnan(values)
        findings.add(rows, name, unknown, rows.instrument, "not known for this contract; give public/get_instruments")
        bad = read & ~unknown & ~((values > 0) & np.isfinite(values))
        findings.add(rows, name, bad, values, "must be above 0")


def _has_expired(record: SymbolRecord | None, valuation_time: int) -> bool:
    return record is not None and record.expiry_ms is not None and record.expiry_ms < valuation_time
