"""Standard books: what is margined every day anew, in options whose distance from the money is as far every day.

A contract has days to expiry and a strike that is so many deviations from the forward, ln(K/F) = z vol sqrt(tau) with
the vol of the day, so that a book is the same bet in calm and in stress. Quantities are units of the underlying, long
positive. At zero rates a call is a put and a forward, so strikes are held out of the money and forwards make the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pricing.arrays import MAX_INSTRUMENTS, BoolArray, FloatArray, IntArray, StrArray, freeze_fields
from pricing.errors import ConfigError

TENORS = (7.0, 30.0, 90.0)
DEVIATIONS = (-3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
COUNT, SEED = 200, 1
# Of a random book: legs, and units of each.
LEGS, UNITS = (2, 6), 3
LINEAR = ("futures",)


@dataclass(frozen=True)
class Books:
    """Books of forwards and options on one underlying.

    name        (B,) of each book, each once
    family      (B,) what kind it is
    tenor_days  (N,) calendar days to expiry of each option
    deviations  (N,) distance of its strike from the forward
    sign        (N,) +1 call, -1 put
    quantity    (B,N) units of each option, + long
    forwards    (B,) units of the forward, + long
    hedged      (B,) whether forwards are added that take its delta away when the day begins
    """

    name: StrArray
    family: StrArray
    tenor_days: FloatArray
    deviations: FloatArray
    sign: IntArray
    quantity: FloatArray
    forwards: FloatArray
    hedged: BoolArray

    def __post_init__(self) -> None:
        floats = dict.fromkeys(("tenor_days", "deviations", "quantity", "forwards"), np.float64)
        freeze_fields(self, {"name": np.str_, "family": np.str_, "sign": np.int64, "hedged": np.bool_, **floats})
        books, options = len(self.name), len(self.sign)
        shapes = {"family": (books,), "quantity": (books, options), "forwards": (books,), "hedged": (books,)}
        shapes |= {"tenor_days": (options,), "deviations": (options,)}
        for field, shape in shapes.items():
            if getattr(self, field).shape != shape:
                raise ConfigError(f"{field} of shape {getattr(self, field).shape}: must be {shape}")
        if len(set(self.name.tolist())) != books or not books or options * books > MAX_INSTRUMENTS:
            raise ConfigError(f"{books} books of {options} options: needs one at least, each name once")
        if np.any(self.tenor_days <= 0.0) or np.any(np.abs(self.sign) != 1):
            raise ConfigError("tenor_days must be above 0 and sign 1 or -1")

    def __len__(self) -> int:
        return len(self.name)

    def chosen(self, rows: BoolArray | IntArray) -> Books:
        """These books alone, in this order."""
        kept = np.arange(len(self))[rows]
        own = {name: getattr(self, name)[kept] for name in ("name", "family", "quantity", "forwards", "hedged")}
        return Books(tenor_days=self.tenor_days, deviations=self.deviations, sign=self.sign, **own)


class Shelf:
    """The options there are, and books being put together from them."""

    def __init__(self, tenors: tuple[float, ...] = TENORS, deviations: tuple[float, ...] = DEVIATIONS) -> None:
        self.tenors, self.deviations = tenors, deviations
        tenor, z = np.meshgrid(tenors, deviations, indexing="ij")
        self.tenor_days, self.z = tenor.ravel(), z.ravel()
        self.sign = np.where(self.z < 0.0, -1, 1)
        self._rows: list[tuple[str, str, FloatArray, float, bool]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        family: str,
        name: str,
        legs: list[tuple[float, float, float]],
        forwards: float = 0.0,
        hedged: bool = False,
    ) -> None:
        """A book, and its opposite beside it.

        family    what kind it is
        name      after "long" or "short"
        legs      (days, deviations, units) of each; a strike is out of the money
        forwards  units of the forward
        hedged    whether its delta is taken away
        """
        quantity = np.zeros(len(self.z))
        for days, z, units in legs:
            quantity[self.tenors.index(days) * len(self.deviations) + self.deviations.index(z)] += units
        for side, word in ((1.0, "long"), (-1.0, "short")):
            self._rows.append((family, f"{word} {name}", side * quantity, side * forwards, hedged))

    def straddle(self, days: float, units: float = 1.0) -> tuple[list[tuple[float, float, float]], float]:
        """Legs and forwards of a put and a call at the money: two calls less a forward."""
        return [(days, 0.0, 2.0 * units)], -units

    def books(self, count: int) -> Books:
        """The first `count` books."""
        rows = self._rows[:count]
        family, name, quantity, forwards, hedged = zip(*rows, strict=True)
        return Books(
            name=np.array(name),
            family=np.array(family),
            tenor_days=self.tenor_days,
            deviations=self.z,
            sign=self.sign,
            quantity=np.array(quantity),
            forwards=np.array(forwards),
            hedged=np.array(hedged),
        )


def standard_books(count: int = COUNT, seed: int = SEED) -> Books:
    """Futures, straddles, strangles, condors, butterflies, calendars, delta-hedged gamma, wings, ratio spreads, risk
    reversals and covered calls, long and short, by days to expiry; then random books up to the count.

    count  of all, 2 or more
    seed   of the random ones
    """
    if count < 2:
        raise ConfigError(f"count = {count!r}: must be 2 or more, the future long and short")
    shelf = Shelf()
    shelf.add("futures", "future", [], 1.0)
    for days in TENORS:
        word = f"{days:g}d"
        legs, forwards = shelf.straddle(days)
        shelf.add("straddle", f"straddle {word}", legs, forwards)
        shelf.add("delta-hedged gamma", f"hedged straddle {word}", legs, forwards, hedged=True)
        shelf.add("delta-hedged gamma", f"hedged put {word}", [(days, -1.0, 1.0)], hedged=True)
        shelf.add("strangle", f"strangle {word}", [(days, -1.0, 1.0), (days, 1.0, 1.0)])
        condor = [(days, -1.0, 1.0), (days, 1.0, 1.0), (days, -2.0, -1.0), (days, 2.0, -1.0)]
        shelf.add("condor", f"condor {word}", condor)
        # A put at the money is a call at the money less a forward.
        fly = [(days, 0.0, 2.0), (days, -1.0, -1.0), (days, 1.0, -1.0)]
        shelf.add("butterfly", f"butterfly {word}", fly, -1.0)
        for z, right in ((-2.5, "put"), (2.5, "call")):
            shelf.add("wings", f"wing {right} {word}", [(days, z, 1.0)])
        shelf.add("wings", f"wings {word}", [(days, -3.0, 1.0), (days, 3.0, 1.0)])
        for side, right in ((-1.0, "put"), (1.0, "call")):
            shelf.add("ratio", f"ratio {right} {word}", [(days, side, 1.0), (days, 2.0 * side, -2.0)])
        shelf.add("risk reversal", f"risk reversal {word}", [(days, 1.0, 1.0), (days, -1.0, -1.0)])
        shelf.add("covered", f"covered call {word}", [(days, 1.0, -1.0)], 1.0)
    for near, far in ((7.0, 30.0), (30.0, 90.0), (7.0, 90.0)):
        shelf.add("calendar", f"calendar {near:g}d/{far:g}d", [(far, 0.0, 1.0), (near, 0.0, -1.0)])
    _add_random(shelf, count, seed)
    return shelf.books(count)


def _add_random(shelf: Shelf, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    number = 1
    while len(shelf) < count:
        legs = [
            (float(random.choice(shelf.tenors)), float(random.choice(shelf.deviations)), float(units))
            for units in random.choice([-UNITS, -2, -1, 1, 2, UNITS], random.integers(LEGS[0], LEGS[1] + 1))
        ]
        shelf.add("random", f"random {number:03d}", legs, float(random.integers(-1, 2)), bool(random.random() < 0.25))
        number += 1
