"""RiskArrays: unit P&L, contracts by scenarios, with what is needed to explain and reproduce it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from pricing.arrays import FloatArray, IntArray, StrArray, freeze_fields, row_problems
from pricing.errors import DataError, Problem
from pricing.instruments import Kind
from scenarios.shocks import ScenarioSet, VolDynamics

FORMAT = "portfolio-margin risk arrays 2"
DEFAULT_TICK = 1e-6
# What numpy, zipfile and zlib raise over content that is damaged or something else; a single array is no context.
UNREADABLE = (
    *(ValueError, KeyError, OSError, EOFError, TypeError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
SCENARIO_COLUMNS = ("label", "price_move", "vol_move", "vol_shift", "time_step_years", "weight", "tier")


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
    tick        margin currency per tick, or None
    scenario_set, valuation_time (ms UTC), currency (margin currency)
    digest      hash of inputs, parameters and formula sources behind the numbers
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
    tick: float | None
    scenario_set: ScenarioSet
    valuation_time: int
    currency: str
    digest: str

    def __post_init__(self) -> None:
        strings = dict.fromkeys(("instrument_id", "underlying_id", "expiry_name"), np.str_)
        integers = dict.fromkeys(("kind", "underlying_idx", "expiry_idx", "cash_row"), np.int64)
        floats = dict.fromkeys(("quantity_step", "rows", "value_rows", "delta", "notional"), np.float64)
        freeze_fields(self, {**strings, **integers, **floats})
        problems = self._shape_problems()
        # A gain that is no number must not end as a margin of 0.
        if not problems and not np.all(np.isfinite(self.rows)):
            bad = ~np.all(np.isfinite(self.rows), axis=1)
            remedy = "every gain must be a finite number"
            problems = row_problems("risk arrays", "rows", bad, self.rows.max(axis=1), remedy, self.instrument_id)
        if problems:
            raise DataError(problems)

    def __len__(self) -> int:
        return len(self.instrument_id)

    def index_of(self) -> dict[str, int]:
        """Row number by instrument_id."""
        return {str(name): row for row, name in enumerate(self.instrument_id)}

    @property
    def is_collateral(self) -> np.ndarray:
        """(N,) True for assets held as such, whose balances come in no steps."""
        return (self.kind == Kind.CASH) | (self.kind == Kind.SPOT)

    @property
    def unit(self) -> FloatArray:
        """(N,) quantity that one row stands for: the quantity step of a contract, 1 of an asset."""
        return np.where(self.is_collateral, 1.0, self.quantity_step)

    @property
    def tick_size(self) -> float:
        """Margin currency per unit of `rows`; 1 where nothing is rounded."""
        return 1.0 if self.tick is None else self.tick

    @property
    def pnl(self) -> FloatArray:
        """(N,S) margin currency per one long contract, gain positive."""
        return self.rows * (self.tick_size / self.unit)[:, None]

    @property
    def value(self) -> FloatArray:
        """(N,) base value, margin currency per contract."""
        return self.value_rows * (self.tick_size / self.unit)

    def _shape_problems(self) -> list[Problem]:
        count = (len(self.instrument_id),)
        names = ("kind", "underlying_idx", "expiry_idx", "cash_row", "quantity_step", "value_rows", "delta", "notional")
        shapes = {**dict.fromkeys(names, count), "rows": (*count, len(self.scenario_set))}
        return [
            Problem("risk arrays", None, name, getattr(self, name).shape, f"needs the shape {shape}")
            for name, shape in shapes.items()
            if getattr(self, name).shape != shape
        ]

    def _content_problems(self) -> list[Problem]:
        """What `revalue` never makes, to be looked for in arrays that come from elsewhere."""
        names, rows, values = self.instrument_id, self.rows, self.value_rows
        parts = np.any(rows != np.rint(rows), axis=1) | (values != np.rint(values))
        checks = [
            ("value_rows", ~self.is_collateral & (self.tick is not None) & parts, "ticks of a contract must be whole"),
            ("kind", ~np.isin(self.kind, [int(k) for k in Kind]), "not one of the known kinds"),
            ("quantity_step", ~((self.quantity_step > 0) & np.isfinite(self.quantity_step)), "must be above 0"),
            *(
                (name, ~np.isfinite(getattr(self, name)), "must be finite")
                for name in ("value_rows", "delta", "notional")
            ),
        ]
        for name, length in (
            ("cash_row", len(names)),
            ("underlying_idx", len(self.underlying_id)),
            ("expiry_idx", len(self.expiry_name)),
        ):
            column = getattr(self, name)
            checks.append((name, (column < -1) | (column >= length), f"must be -1 or a row below {length}"))
        problems = []
        for field, bad, remedy in checks:
            problems += row_problems("risk arrays", field, bad, getattr(self, field), remedy, names)
        if len(np.unique(names)) < len(names):
            problems.append(Problem("risk arrays", None, "instrument_id", len(names), "a contract is listed twice"))
        return problems

    def to_bytes(self) -> bytes:
        """The file form: a numpy .npz archive, columns by field name plus `metadata` as JSON text."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if _is_array(self, f.name)}
        columns |= {f"scenario_{name}": getattr(self.scenario_set, name) for name in SCENARIO_COLUMNS}
        metadata: dict[str, Any] = {
            "format": FORMAT,
            "tick": self.tick,
            "valuation_time_ms": self.valuation_time,
            "currency": self.currency,
            "digest": self.digest,
            "dynamics": vars(self.scenario_set.dynamics),
            "meaning": "P&L in currency of q contracts in a scenario = tick * sum(q / quantity_step * rows); "
            "for kinds 0 and 1 (cash, spot) tick * round(q * rows)",
        }
        metadata["checksum"] = _checksum(columns, metadata)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, metadata=np.array(json.dumps(metadata)), **columns)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, file: str = "risk arrays") -> RiskArrays:
        """Read the file form. DataError where it is another format, cut short or altered."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                columns = {name: archive[name] for name in archive.files}
            metadata = json.loads(str(columns.pop("metadata")))
        except UNREADABLE as error:
            raise _unreadable(file, "content", str(error), "is not a risk array file (.npz) or is cut short") from None
        stated = metadata.get("format") if isinstance(metadata, dict) else type(metadata).__name__
        if stated != FORMAT:
            raise _unreadable(file, "format", stated, f"this version reads {FORMAT!r}")
        if metadata.get("checksum") != _checksum(columns, metadata):
            remedy = "the content does not match: the file was altered"
            raise _unreadable(file, "checksum", metadata.get("checksum"), remedy)
        _check_tick(file, metadata.get("tick"))
        try:
            scenario = {name: columns.pop(f"scenario_{name}") for name in SCENARIO_COLUMNS}
            arrays = cls(
                **columns,
                tick=metadata["tick"],
                scenario_set=ScenarioSet(**scenario, dynamics=VolDynamics(**metadata["dynamics"])),
                valuation_time=metadata["valuation_time_ms"],
                currency=metadata["currency"],
                digest=metadata["digest"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(file, "columns", str(error), "a column is missing or has the wrong shape") from None
        except DataError as error:
            raise DataError([replace(problem, file=file) for problem in error.problems]) from None
        problems = arrays._content_problems()
        if problems:
            raise DataError([replace(problem, file=file) for problem in problems])
        return arrays


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


def hash_parts(parts: list[Any]) -> str:
    """SHA-256 over strings and arrays; arrays count with their dtype and shape, names whatever their column's width."""
    hasher = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            if part.dtype.kind == "U":
                part = part.astype(f"<U{np.strings.str_len(part).max(initial=1)}")
            hasher.update(f"{part.dtype.str}{part.shape}".encode())
            hasher.update(np.ascontiguousarray(part).tobytes())
        else:
            hasher.update(repr(part).encode())
        hasher.update(b"\x00")
    return hasher.hexdigest()
