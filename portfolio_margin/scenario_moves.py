"""What a scenario of risk arrays is, its moves of price, vol and time: so that a name can be looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.book import Book
from pricing.arrays import DAYS_PER_YEAR, FloatArray, IntArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays

DAY_DIGITS = 9
# Underlyings or expiries whose moves stand in one line for people; documents have all.
ROWS_SHOWN = 6

Moves = float | dict[str, float]


class ScenarioMoves(NamedTuple):
    """One scenario: a number where all rows move alike, else one by underlying or expiry.

    name              its label in the arrays
    price             relative, -0.10 = -10 %
    vol, vol_shift    relative, and in vol; before tenor scaling
    expiry_vol, expiry_vol_shift   the same by expiry, without scaling, beside the others
    days              that pass
    weight            share of the P&L that counts
    """

    name: str
    price: Moves
    vol: Moves
    vol_shift: Moves
    expiry_vol: Moves
    expiry_vol_shift: Moves
    days: float
    weight: float

    def document(self) -> dict[str, Any]:
        """As documents have it; what is 0 everywhere and rarely in use is left out."""
        rare = {
            "vol_shift_absolute": self.vol_shift,
            "expiry_vol_shift": self.expiry_vol,
            "expiry_vol_shift_absolute": self.expiry_vol_shift,
        }
        return {
            "id": self.name,
            "spot_shift": self.price,
            "vol_shift": self.vol,
            "days": self.days,
            "weight": self.weight,
            **{name: value for name, value in rare.items() if value != 0.0},
        }

    def text(self) -> str:
        """One line for people."""
        vols = [
            _text("vol", self.vol, "{:+.4g} %", 100.0),
            _text("vol", self.vol_shift, "{:+.4g} points", 100.0),
            _text("vol", self.expiry_vol, "{:+.4g} %", 100.0),
            _text("vol", self.expiry_vol_shift, "{:+.4g} points", 100.0),
        ]
        parts = [_text("price", self.price, "{:+.4g} %", 100.0) or "price as it is"]
        parts += [part for part in vols if part] or ["vol as it is"]
        parts += [f"{self.days:g} days later"] if self.days else []
        parts += [f"weight {self.weight:g}"] if self.weight != 1.0 else []
        return f"{self.name}: {', '.join(parts)}"


def moves_of(arrays: RiskArrays, names: Iterable[str], book: Book | None = None) -> tuple[ScenarioMoves, ...]:
    """The scenarios of these names, each once in order of appearance; names that are none of the arrays are passed
    over, and so is "", which stands for none. With a book, the moves of what it holds."""
    labels = {label: s for s, label in reversed(list(enumerate(arrays.scenario_set.label.tolist())))}
    return tuple(moves_at(arrays, labels[name], book) for name in dict.fromkeys(names) if name in labels)


def moves_at(arrays: RiskArrays, scenario: int, book: Book | None = None) -> ScenarioMoves:
    """Scenario number `scenario` of the arrays, with a book the moves of what it holds."""
    moves, days = arrays.scenario_set, arrays.scenario_set.time_step_years[scenario] * DAYS_PER_YEAR
    underlyings = _rows(arrays.underlying_id.tolist(), arrays.underlying_idx, book)
    # Vols are those of options.
    expiries = _rows(arrays.expiry_name.tolist(), np.where(arrays.kind == Kind.OPTION, arrays.expiry_idx, -1), book)
    return ScenarioMoves(
        name=str(moves.label[scenario]),
        price=_alike(moves.price_move[scenario], underlyings),
        vol=_alike(moves.vol_move[scenario], underlyings),
        vol_shift=_alike(moves.vol_shift[scenario], underlyings),
        expiry_vol=_alike(moves.expiry_vol_move[scenario], expiries),
        expiry_vol_shift=_alike(moves.expiry_vol_shift[scenario], expiries),
        days=round(float(days), DAY_DIGITS),
        weight=float(moves.weight[scenario]),
    )


def _rows(names: Sequence[str], of_instrument: IntArray, book: Book | None) -> dict[int, str]:
    """Row -> name of all underlyings or expiries, or of those that a book holds anything of."""
    if book is None:
        return dict(enumerate(names))
    held = np.unique(of_instrument[book.instrument_idx[book.quantity != 0.0]])
    return {row: names[row] for row in held[held >= 0].tolist()}


def _alike(row: FloatArray, names: Mapping[int, str]) -> Moves:
    """One number where all named rows have it, or the scenario has one for all."""
    if len(row) == 1 or not names:
        return float(row[0]) if len(row) == 1 else 0.0
    values = {name: float(row[place]) for place, name in names.items()}
    first = next(iter(values.values()))
    return first if all(value == first for value in values.values()) else values


def _text(what: str, moves: Moves, pattern: str, factor: float) -> str:
    """Nothing where nothing moves."""
    if not isinstance(moves, dict):
        return f"{what} {pattern.format(factor * moves)}" if moves else ""
    shown = [f"{name} {pattern.format(factor * value)}" for name, value in list(moves.items())[:ROWS_SHOWN]]
    more = len(moves) - ROWS_SHOWN
    return f"{what} of {', '.join(shown)}{f' and {more} more' if more > 0 else ''}"
