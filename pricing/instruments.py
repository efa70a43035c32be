"""Instruments: the table of contract terms, one row per contract."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pricing.arrays import MAX_INSTRUMENTS, FloatArray, IntArray, StrArray, freeze_fields, row_problems
from pricing.errors import DataError, Problem


class Kind(IntEnum):
    """What a contract is. Futures and perpetuals are settled in variation margin: their value is 0."""

    CASH = 0
    SPOT = 1
    FUTURE = 2
    PERPETUAL = 3
    OPTION = 4


class Payoff(IntEnum):
    """LINEAR pays in the currency the price is quoted in; INVERSE pays in the underlying coin."""

    LINEAR = 0
    INVERSE = 1


class Exercise(IntEnum):
    """EUROPEAN pays at expiry only. The others may be exercised before: AMERICAN into the underlying at its spot,
    AMERICAN_ON_FUTURE into the future of the expiry at its price."""

    EUROPEAN = 0
    AMERICAN = 1
    AMERICAN_ON_FUTURE = 2


@dataclass(frozen=True)
class Instruments:
    """Contract terms, struct of arrays of length N.

    instrument_id   the venue's own name, unique
    kind, payoff, exercise   codes of the enums above
    underlying_idx  -> U; -1 for cash in a currency that no underlying moves
    expiry_idx      -> X; the undated expiry row of the underlying where the contract never expires,
                    -1 where underlying_idx is -1
    strike          quote currency, NaN if none
    sign            +1 call, -1 put, +1 everything else
    multiplier      units of underlying per contract; for an inverse future or perpetual the quote
                    currency amount of one contract (10 USD); for cash 1
    quantity_step   smallest quantity in contracts; every quantity is a whole multiple of it
    currency_idx    settlement currency -> C

    Raises DataError naming every bad row.
    """

    instrument_id: StrArray
    kind: IntArray
    payoff: IntArray
    underlying_idx: IntArray
    expiry_idx: IntArray
    strike: FloatArray
    sign: FloatArray
    exercise: IntArray
    multiplier: FloatArray
    quantity_step: FloatArray
    currency_idx: IntArray

    def __post_init__(self) -> None:
        integers = dict.fromkeys(
            ("kind", "payoff", "underlying_idx", "expiry_idx", "exercise", "currency_idx"), np.int64
        )
        floats = dict.fromkeys(("strike", "sign", "multiplier", "quantity_step"), np.float64)
        freeze_fields(self, {"instrument_id": np.str_, **integers, **floats})
        problems = self._problems()
        if problems:
            raise DataError(problems)

    def __len__(self) -> int:
        return len(self.instrument_id)

    @property
    def is_option(self) -> np.ndarray:
        return self.kind == Kind.OPTION

    @property
    def is_settled(self) -> np.ndarray:
        """True where gains are paid as variation margin, so that the contract itself is worth 0."""
        return (self.kind == Kind.FUTURE) | (self.kind == Kind.PERPETUAL)

    @property
    def is_collateral(self) -> np.ndarray:
        """True where the row is an asset held as such: cash, coins, spot."""
        return (self.kind == Kind.CASH) | (self.kind == Kind.SPOT)

    def index_of(self) -> dict[str, int]:
        """Row number by instrument_id."""
        return {name: row for row, name in enumerate(self.instrument_id.tolist())}

    def _problems(self) -> list[Problem]:
        rows = len(self.instrument_id)
        for name in self.__dataclass_fields__:
            if getattr(self, name).shape != (rows,):
                shape = getattr(self, name).shape
                return [Problem("instruments", None, name, shape, f"needs the shape ({rows},)")]
        if rows > MAX_INSTRUMENTS:
            return [Problem("instruments", None, "rows", rows, f"at most {MAX_INSTRUMENTS} instruments")]
        return [*self._identity_problems(), *self._term_problems()]

    def _identity_problems(self) -> list[Problem]:
        _, first, counts = np.unique(self.instrument_id, return_index=True, return_counts=True)
        repeated = np.zeros(len(self), dtype=bool)
        repeated[first[counts > 1]] = True
        remedy = "listed more than once; keep one row"
        problems = row_problems(
            "instruments", "instrument_id", repeated, self.instrument_id, remedy, self.instrument_id
        )
        blank = self.instrument_id == ""
        problems += row_problems("instruments", "instrument_id", blank, self.instrument_id, "needs a name")
        cash = np.flatnonzero(self.kind == Kind.CASH)
        _, first = np.unique(self.currency_idx[cash], return_index=True)
        second = np.zeros(len(self), dtype=bool)
        second[np.delete(cash, first)] = True
        remedy = "a second cash row of its currency"
        return problems + row_problems(
            "instruments", "currency_idx", second, self.currency_idx, remedy, self.instrument_id
        )

    def _term_problems(self) -> list[Problem]:
        option = self.is_option
        dated = option | (self.kind == Kind.FUTURE)
        codes = "must be 0 European, 1 American or 2 American on the future"
        checks = [
            ("kind", ~np.isin(self.kind, [int(k) for k in Kind]), "not one of the known kinds"),
            ("payoff", ~np.isin(self.payoff, [int(p) for p in Payoff]), "must be 0 linear or 1 inverse"),
            (
                "exercise",
                ~np.isin(self.exercise, [int(e) for e in Exercise]),
                codes,
            ),
            ("strike", option & ~((self.strike > 0) & np.isfinite(self.strike)), "an option needs a strike above 0"),
            ("sign", ~np.isin(self.sign, (-1.0, 1.0)), "must be +1 (call) or -1 (put)"),
            ("sign", ~option & (self.sign != 1.0), "must be +1: only a put has -1"),
            ("multiplier", (self.kind == Kind.CASH) & (self.multiplier != 1.0), "must be 1 for cash"),
            ("payoff", (self.kind == Kind.CASH) & (self.payoff != Payoff.LINEAR), "must be linear for cash"),
            ("multiplier", ~((self.multiplier > 0) & np.isfinite(self.multiplier)), "must be above 0"),
            ("quantity_step", ~((self.quantity_step > 0) & np.isfinite(self.quantity_step)), "must be above 0"),
            ("expiry_idx", (self.kind != Kind.CASH) & (self.expiry_idx < 0), "needs an expiry row of the market"),
            ("underlying_idx", dated & (self.underlying_idx < 0), "needs an underlying of the market"),
            ("currency_idx", self.currency_idx < 0, "needs a settlement currency of the market"),
        ]
        problems: list[Problem] = []
        for field, bad, remedy in checks:
            problems += row_problems("instruments", field, bad, getattr(self, field), remedy, self.instrument_id)
        return problems
