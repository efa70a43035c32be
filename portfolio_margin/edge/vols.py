"""vols: every multiple of today's vols at which margin balance and maintenance margin meet, the price staying put."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio_margin.edge.crossings import crossings
from portfolio_margin.edge.levels import Case, levels
from portfolio_margin.edge.prices import NOTHING, TOUCHES, sides
from pricing.arrays import FloatArray, IntArray, StrArray

# Vols that are looked at, multiples of today's, and points of the grid that the search begins with.
LOWEST, HIGHEST, POINTS = 0.2, 5.0, 65


@dataclass(frozen=True)
class LiquidationVols:
    """Multiples of today's vols at the boundary, M of them, along columns of one price each.

    price  (W,) multiples of today's price, rising: the columns
    line   (M,) -> W column of each
    vol    (M,) multiple of today's vols of the underlying, by column and then rising
    side   (M,) seen from today's vols outwards: "into" liquidation, "out of" it again, or "touches"
    """

    price: FloatArray
    line: IntArray
    vol: FloatArray
    side: StrArray

    @property
    def at_today(self) -> FloatArray:
        """(m,) those that are crossed at today's price, rising."""
        here = (self.price[self.line] == 1.0) & (self.side != TOUCHES)
        return np.asarray(self.vol[here])

    @property
    def nearest(self) -> tuple[float, float]:
        """Relative moves of the vols to the first edge below and above at today's price; -1 and inf where none is."""
        moves = self.at_today - 1.0
        return float(moves[moves < 0].max(initial=-1.0)), float(moves[moves >= 0].min(initial=np.inf))


def liquidation_vols(case: Case, price: FloatArray) -> LiquidationVols:
    """Every root of margin balance less maintenance margin along the vols of the underlying, from a fifth of today's to
    five times them, at each of the prices.

    price  (W,) multiples of today's price, above 0, at which the model has rules for what is held

    What two points of the grid do not show is not found, see `crossings`.
    """
    grid = np.unique(np.append(np.linspace(np.log(LOWEST), np.log(HIGHEST), POINTS), 0.0))

    def excess(x: FloatArray, line: IntArray) -> FloatArray:
        return levels(case, price[line], np.exp(x)).excess

    found = crossings(excess, grid, len(price), NOTHING * case.scale)
    below = levels(case, price, 1.0).excess < 0.0
    side = np.full(len(found.x), TOUCHES)
    for w in range(len(price)):
        here = found.line == w
        one = found._replace(**{name: getattr(found, name)[here] for name in found._fields})
        side[here] = sides(one, bool(below[w]))
    return LiquidationVols(price, found.line, np.exp(found.x), side)
