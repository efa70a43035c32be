"""RiskArrays: unit P&L, contracts by scenarios, with what is needed to explain and reproduce it."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray, freeze, freeze_fields, row_problems
from pricing.digest import hash_parts
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Kind
from pricing.market_limits import FX_TOLERANCE, USUAL, MarketLimits
from scenarios.shocks import BY_EXPIRY, BY_SCENARIO, BY_UNDERLYING, ScenarioSet, VolDynamics
from scenarios.terms import (
    NOTIONAL_TOLERANCE,
    MarketSnapshotRows,
    Terms,
    implied_notional,
    impossible_carry,
    impossible_terms,
)

FORMAT = "portfolio-margin risk arrays 4"
DEFAULT_TICK = 1e-6
METHODS = ("full", "taylor")
# Ticks in the notional of one step, at least: rows are rounded to ticks, and margin is a few percent of notional.
FEWEST_TICKS = 1e5
# Products of decimals are off by binary noise, which decides nothing.
DECIMAL_NOISE = 1e-9
SMALLEST_MOVE = 1e-3
# Every whole number up to here has an exact double.
EXACT_LIMIT = 2.0**53
# Beyond the year 33,000 a number is no time in ms.
LATEST_MS = 10**15
# What reading a damaged or foreign archive may raise.
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
SCENARIO_COLUMNS = ("label", *BY_UNDERLYING, *BY_EXPIRY, *BY_SCENARIO)
TERMS_COLUMNS = tuple(f.name for f in fields(Terms))


@dataclass(frozen=True)
class RiskArrays:
    """Unit P&L of every contract in every scenario; whoever holds it reproduces the margin.

    instrument_id (N,), kind (N,), underlying_idx (N,), expiry_idx (N,), quantity_step (N,)  of contracts
    cash_row    (N,) row of the cash instrument a contract settles in, -1 where there is none
    underlying_id (U,), expiry_name (X,)  names behind the two index columns
    rows        (N,S) P&L in ticks per quantity_step: whole numbers, so that sums are exact. Collateral
                (cash, spot) has no step: its rows are ticks per unit and a position's product is
                rounded instead. With tick = None: margin currency, not rounded.
    value_rows  (N,) base value, same unit; 0 for futures and perpetuals
    delta       (N,) margin currency per contract for a relative move of 1.00 of the underlying
    notional    (N,) margin currency per contract: multiplier times forward
    terms       contract terms and market that margin models look into: strikes, forwards, spots, currencies
    tick        margin currency per tick, or None
    scenario_set, valuation_time (ms UTC), currency (margin currency)
    digest      hash of inputs, parameters and formula sources behind the numbers
    market_digest   `Market.digest` of the snapshot they were made from, "" where there was none
    method      "full" revaluation, or "taylor": an expansion for screening, which no margin is computed from
    notes       what is told of the market behind the numbers, one text a line; no number depends on them
    """

    instrument_id: StrArray
    kind: IntArray
    underlying_idx: IntArray
    expiry_idx: IntArray
    cash_row: IntArray
    quantity_step: FloatArray
    underlying_id: StrArray
    expiry_name: StrArray
    rows: FloatArray
    value_rows: FloatArray
    delta: FloatArray
    notional: FloatArray
    terms: Terms
    tick: float | None
    scenario_set: ScenarioSet
    valuation_time: int
    currency: str
    digest: str
    market_digest: str = ""
    method: str = "full"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        strings = dict.fromkeys(("instrument_id", "underlying_id", "expiry_name"), np.str_)
        integers = dict.fromkeys(("kind", "underlying_idx", "expiry_idx", "cash_row"), np.int64)
        floats = dict.fromkeys(("quantity_step", "rows", "value_rows", "delta", "notional"), np.float64)
        freeze_fields(self, {**strings, **integers, **floats})
        if self.rows.shape != (len(self.instrument_id), len(self.scenario_set)):
            raise AssertionError("rows must be instruments by scenarios")
        for name in ("kind", "underlying_idx", "expiry_idx", "cash_row", *floats):
            if name != "rows" and getattr(self, name).shape != self.instrument_id.shape:
                raise AssertionError(f"{name} must have one entry per instrument")

    def __len__(self) -> int:
        return len(self.instrument_id)

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what was made of them is made again where it is needed."""
        return {column.name: getattr(self, column.name) for column in fields(self)}

    def index_of(self) -> dict[str, int]:
        """Row number by instrument_id."""
        return {name: row for row, name in enumerate(self.instrument_id.tolist())}

    @cached_property
    def is_coin(self) -> BoolArray:
        """(N,) True where the row is its underlying itself, held as such: spot, and a coin that bears the underlying's
        name or price. A token with another price that moves in step with it (Market.fx_basis_limit) is not."""
        known = self.underlying_idx >= 0
        spot = np.append(self.terms.spot, 1.0)[self.underlying_idx]
        priced = np.abs(self.terms.fx[self.terms.currency_idx] - spot) <= FX_TOLERANCE * spot
        named = self.instrument_id == np.append(self.underlying_id, "")[self.underlying_idx]
        coin = (self.kind == Kind.CASH) & known & (priced | named)
        return freeze(coin | ((self.kind == Kind.SPOT) & known), np.bool_)

    @cached_property
    def is_collateral(self) -> BoolArray:
        """(N,) True for assets held as such, whose balances come in no steps."""
        return freeze((self.kind == Kind.CASH) | (self.kind == Kind.SPOT), np.bool_)

    @cached_property
    def unit(self) -> FloatArray:
        """(N,) quantity that one row stands for: the quantity step of a contract, 1 of an asset."""
        return freeze(np.where(self.is_collateral, 1.0, self.quantity_step), np.float64)

    @property
    def tick_size(self) -> float:
        """Margin currency per unit of `rows`; 1 where nothing is rounded."""
        return 1.0 if self.tick is None else self.tick

    @property
    def pnl(self) -> FloatArray:
        """(N,S) margin currency per one long contract, gain positive."""
        return self.rows * (self.tick_size / self.unit)[:, None]

    @cached_property
    def value(self) -> FloatArray:
        """(N,) base value, margin currency per contract."""
        return freeze(self.value_rows * (self.tick_size / self.unit), np.float64)

    @cached_property
    def years_to_expiry(self) -> FloatArray:
        """(X,) ACT/365 years to each expiry row, 0 for undated rows."""
        return freeze(self.terms.years_to_expiry(self.valuation_time), np.float64)

    @property
    def market_rows(self) -> MarketSnapshotRows:
        """What scenario sets are made from; the same as the market's."""
        columns = [getattr(self.terms, name) for name in MarketSnapshotRows._fields[2:]]
        return MarketSnapshotRows(self.valuation_time, self.underlying_id, *columns)

    def to_bytes(self) -> bytes:
        """The file form: a numpy .npz archive, columns by field name plus `metadata` as JSON text."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if _is_array(self, f.name)}
        columns |= {f"scenario_{name}": getattr(self.scenario_set, name) for name in SCENARIO_COLUMNS}
        columns |= {f"terms_{name}": getattr(self.terms, name) for name in TERMS_COLUMNS}
        metadata: dict[str, Any] = {
            "format": FORMAT,
            "tick": self.tick,
            "valuation_time_ms": self.valuation_time,
            "currency": self.currency,
            "digest": self.digest,
            "market_digest": self.market_digest,
            "method": self.method,
            "notes": list(self.notes),
            "dynamics": vars(self.scenario_set.dynamics),
            "meaning": "P&L in currency of q contracts in a scenario = tick * sum(q / quantity_step * rows); "
            "for kinds 0 and 1 (cash, spot) tick * round(q * rows)",
        }
        metadata["checksum"] = _checksum(columns, metadata)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, metadata=np.array(json.dumps(metadata)), **columns)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, file: str = "risk arrays", limits: MarketLimits = USUAL) -> RiskArrays:
        """Read the file form. DataError where it is another format, cut short or altered.

        limits  those that the market of the arrays was declared with
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                columns = {name: archive[name] for name in archive.files}
            metadata = json.loads(str(columns.pop("metadata")))
        except UNREADABLE as error:
            # What numpy says of an unknown format is advice to load it unsafely.
            said = "no numpy archive" if "pickle" in str(error) else str(error)
            raise _unreadable(file, "content", said, "is not a risk array file (.npz) or is cut short") from None
        stated = metadata.get("format") if isinstance(metadata, dict) else type(metadata).__name__
        if stated != FORMAT:
            raise _unreadable(file, "format", stated, f"this version reads {FORMAT!r}")
        if metadata.get("checksum") != _checksum(columns, metadata):
            remedy = "the content does not match: the file was altered"
            raise _unreadable(file, "checksum", metadata.get("checksum"), remedy)
        _check_tick(file, metadata.get("tick"))
        _check_metadata(file, metadata, columns)
        notes = metadata.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise _unreadable(file, "notes", notes, "must be a list of texts")
        try:
            scenario = {name: columns.pop(f"scenario_{name}") for name in SCENARIO_COLUMNS}
            terms = Terms(**{name: columns.pop(f"terms_{name}") for name in TERMS_COLUMNS})
            arrays = cls(
                **columns,
                terms=terms,
                tick=metadata["tick"],
                scenario_set=ScenarioSet(**scenario, dynamics=VolDynamics(**metadata["dynamics"])),
                valuation_time=metadata["valuation_time_ms"],
                currency=metadata["currency"],
                digest=metadata["digest"],
                market_digest=metadata["market_digest"],
                method=metadata["method"],
                notes=tuple(notes),
            )
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            raise _unreadable(file, "columns", str(error), "a column is missing or has the wrong shape") from None
        except ConfigError as error:
            raise _unreadable(file, "scenarios", str(error), "no scenario set this version knows") from None
        problems = impossible_rows(arrays, file, limits)
        if problems:
            raise DataError(problems)
        return arrays


def impossible_rows(arrays: RiskArrays, file: str, limits: MarketLimits = USUAL) -> list[Problem]:
    """Every entry that no revaluation gives, by instrument; what a file from elsewhere is checked for."""
    names = arrays.instrument_id
    rounded = ~arrays.is_collateral & (arrays.tick is not None)
    off = np.column_stack([_no_amount(column, rounded) for column in arrays.rows.T])
    worst = arrays.rows[np.arange(len(arrays)), off.argmax(axis=1)]
    _, first = np.unique(names, return_index=True)
    whole = "must be finite, and a whole number of ticks for a contract"
    problems = row_problems(file, "rows", np.asarray(off.any(axis=1)), worst, whole, names)
    checks = {
        "instrument_id": (~np.isin(np.arange(len(names)), first), "listed more than once"),
        "kind": (~np.isin(arrays.kind, [int(kind) for kind in Kind]), "not one of the known kinds"),
        "underlying_idx": (_outside(arrays.underlying_idx, len(arrays.underlying_id)), "no such underlying"),
        "expiry_idx": (_outside(arrays.expiry_idx, len(arrays.expiry_name)), "no such expiry"),
        "cash_row": (_no_cash(arrays), "must be the row of a cash instrument, -1 where there is none"),
        "quantity_step": (~((arrays.quantity_step > 0) & np.isfinite(arrays.quantity_step)), "must be above 0"),
        "value_rows": (_no_amount(arrays.value_rows, rounded), whole),
        "delta": (~np.isfinite(arrays.delta), "must be finite"),
        "notional": (~((arrays.notional >= 0) & np.isfinite(arrays.notional)), "must be 0 or more"),
    }
    row_names = (names, arrays.underlying_id, arrays.expiry_name)
    problems += impossible_terms(arrays.terms, arrays.kind, row_names, file, limits)
    if not any(np.any(bad) for bad, _ in checks.values()) and not problems:
        checks = _contradictions(arrays)
        # What an exchange clears need not be carried: power of two months, steel beside an old price of scrap.
        far = impossible_carry(arrays.terms, arrays.valuation_time, limits) & (arrays.market_digest != "")
        remedy = "further from the spot than any carry"
        problems += row_problems(file, "terms forward", far, arrays.terms.forward, remedy, arrays.expiry_name)
    for field, (bad, remedy) in checks.items():
        problems += row_problems(file, field, np.asarray(bad), getattr(arrays, field), remedy, names)
    return problems


def _contradictions(arrays: RiskArrays) -> dict[str, tuple[BoolArray, str]]:
    """Columns that are possible each by itself and not beside the others."""
    asset, kind, value = arrays.is_collateral, arrays.kind, arrays.value_rows
    settled = (kind == Kind.FUTURE) | (kind == Kind.PERPETUAL)
    owner, expiry = np.maximum(arrays.underlying_idx, 0), np.maximum(arrays.expiry_idx, 0)
    named = (arrays.underlying_idx >= 0) & (arrays.expiry_idx >= 0)
    if named.any():
        begins = np.char.add(arrays.underlying_id[owner], "-")
        named &= ~np.char.startswith(arrays.expiry_name[expiry], begins)
    moves = arrays.scenario_set
    # Of the contract's own underlying, and more than what may round to no tick.
    live = np.any(np.abs(moves.price_move) * moves.weight[:, None] > SMALLEST_MOVE, axis=0)
    still = settled & live[owner if len(live) > 1 else 0] & np.all(arrays.rows == 0, axis=1)
    own = asset & (arrays.instrument_id == arrays.currency)
    money = own & ((np.abs(value * arrays.tick_size - 1.0) > DECIMAL_NOISE) | np.any(arrays.rows != 0, axis=1))
    stated = implied_notional(arrays.terms, kind, arrays.expiry_idx)
    other = np.abs(stated - arrays.notional) > NOTIONAL_TOLERANCE * arrays.notional
    named |= (arrays.expiry_idx >= 0) & (arrays.terms.expiry_underlying[expiry] != arrays.underlying_idx)
    coarse = np.zeros(len(arrays), dtype=np.bool_)
    if arrays.tick is not None:
        step = arrays.notional * arrays.quantity_step
        coarse = ~asset & (step < FEWEST_TICKS * arrays.tick * (1.0 - DECIMAL_NOISE))
    return {
        "underlying_idx": (
            named | (~asset & ((arrays.underlying_idx < 0) | (arrays.expiry_idx < 0))),
            "a contract has an underlying, and its expiry belongs to the same",
        ),
        "rows": (still, "a future that gains and loses nothing while prices move"),
        "value_rows": (
            (settled & (value != 0)) | (~settled & (value < 0)) | (asset & (value <= 0)) | money,
            "0 for a future, 0 or more for an option, above 0 for an asset, 1 for the margin currency",
        ),
        "notional": (
            coarse | other,
            "not what its terms give (multiplier, forward, currency), or too small for this tick",
        ),
    }


def _no_amount(values: FloatArray, rounded: BoolArray) -> BoolArray:
    """Where a value is not finite or, if `rounded`, no whole number of ticks."""
    with np.errstate(invalid="ignore"):
        odd = (np.rint(values) != values) | (np.abs(values) > EXACT_LIMIT)
        return np.asarray(~np.isfinite(values) | (odd & rounded))


def _no_cash(arrays: RiskArrays) -> BoolArray:
    outside = _outside(arrays.cash_row, len(arrays))
    row = np.where(outside | (arrays.cash_row < 0), 0, arrays.cash_row)
    return np.asarray(outside | ((arrays.cash_row >= 0) & (arrays.kind[row] != Kind.CASH)))


def _check_metadata(file: str, metadata: dict[str, Any], columns: dict[str, Any]) -> None:
    """The single values of a file: time, currency, method."""
    time = metadata.get("valuation_time_ms")
    if not isinstance(time, int) or isinstance(time, bool) or abs(time) > LATEST_MS:
        raise _unreadable(file, "valuation_time_ms", time, "must be a whole number, ms UTC")
    currency = metadata.get("currency")
    names = columns.get("instrument_id", np.array([], np.str_))
    if not isinstance(currency, str) or not currency:
        raise _unreadable(file, "currency", currency, "must be the name of the margin currency")
    cash = names[columns["kind"] == Kind.CASH] if "kind" in columns and names.shape == columns["kind"].shape else []
    first = columns["terms_currency_id"][:1].tolist() if "terms_currency_id" in columns else [currency]
    if first != [currency]:
        raise _unreadable(file, "currency", currency, f"its terms are in {first[0] if first else 'none'}")
    if len(cash) and currency not in cash:
        raise _unreadable(file, "currency", currency, f"none of the currencies here: {', '.join(map(str, cash))}")
    if metadata.get("method") not in METHODS:
        raise _unreadable(file, "method", metadata.get("method"), f"must be one of {', '.join(METHODS)}")


def _outside(index: IntArray, count: int) -> BoolArray:
    return np.asarray((index < -1) | (index >= count))


def _is_array(arrays: RiskArrays, name: str) -> bool:
    return isinstance(getattr(arrays, name), np.ndarray)


def _unreadable(file: str, field: str, value: object, remedy: str) -> DataError:
    return DataError([Problem(file, None, field, value, remedy)])


def _check_tick(file: str, tick: object) -> None:
    good = tick is None or (isinstance(tick, float) and 0.0 < tick <= 1.0)
    if not good:
        raise _unreadable(file, "tick", tick, "must be a number above 0 and at most 1, or null")


def _checksum(columns: dict[str, Any], metadata: dict[str, Any]) -> str:
    """Hash of every column and of everything the metadata states but the checksum itself."""
    stated = {name: value for name, value in metadata.items() if name != "checksum"}
    parts = [part for name in sorted(columns) for part in (name, columns[name])]
    return hash_parts([*parts, json.dumps(stated, sort_keys=True)])
