"""Planes that support a requirement from below, exactly: the rates of what counts at the trades, by lot.

A model that declares its requirement convex gives them (`convexity.Support`). A plane of them is below the requirement
of any trades, to within the rounding of sums, so that what a program makes of such planes is proven.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio_margin.collateral import uncounted_rows
from portfolio_margin.convexity import INITIAL, OF_FUNDS, declared_convex
from portfolio_margin.hedge_program import Plane, Program
from portfolio_margin.trial_margins import Trials
from pricing.arrays import BoolArray, FloatArray

# Of the notional of all that is held and traded: what sums of floating numbers are off by at most.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Reach:
    """(P,) the least and the most that may be held after trades within the limits of a program."""

    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, trials: Trials, program: Program) -> Reach:
        """Of the account of trials."""
        adds, takes = np.maximum(trials.per_lot, 0.0), np.maximum(-trials.per_lot, 0.0)
        low = trials.base - program.most_sold @ adds - program.most_bought @ takes
        return cls(low, trials.base + program.most_bought @ adds + program.most_sold @ takes)

    @property
    def turns(self) -> BoolArray:
        """(P,) what may be held as well as owed."""
        return (self.low < 0.0) & (self.high > 0.0)

    def is_long(self, held: FloatArray) -> BoolArray:
        """(P,) what counts as held: what is never owed, and of what may be both, what is held now."""
        return np.asarray(np.where(self.turns, held > 0.0, self.high > 0.0))


def supported(trials: Trials, reach: Reach, measure: str) -> bool:
    """Whether the model declares what a measure is made of convex over the reach, and gives what supports it."""
    turning = np.zeros(len(trials.arrays), dtype=np.bool_)
    turning[trials.column[reach.turns]] = True
    turning &= trials.arrays.is_collateral
    declared = declared_convex(trials.model, trials.arrays, turning, measure)
    return declared and getattr(trials.model, "support", None) is not None


def supporting_plane(trials: Trials, reach: Reach, measure: str, weight: float, lots: FloatArray, label: str) -> Plane:
    """The plane of a `supported` measure at trades (n,).

    trials, reach   of the account, within the limits
    weight  how often a measure of funds counts the margin
    lots    where the plane touches the requirement, in whole fine steps
    label   of the scenario that is active
    """
    arrays, column = trials.arrays, trials.column
    held = trials.base + lots @ trials.per_lot
    long = np.zeros(len(arrays), dtype=np.bool_)
    long[column] = reach.is_long(held)
    # What the model has no rule for on the side that it is held on is left out of the book.
    counted = np.where(long[column], trials.seen, trials.owed)
    quantity = np.zeros(len(arrays))
    quantity[column] = np.where(counted, held, 0.0)
    found = trials.model.support(arrays, quantity, long)  # type: ignore[attr-defined]
    rates = np.where(counted, (found.initial if measure in INITIAL else found.maintenance)[column], 0.0)
    if measure in OF_FUNDS:
        share = np.where(arrays.is_collateral & long, trials.model.haircut(arrays), 0.0)
        worth = np.where(uncounted_rows(arrays, trials.model.traits.options_counted), 0.0, arrays.value)
        worth = (worth - share * arrays.value)[column] + np.where(counted, found.revaluation[column], 0.0)
        rates = weight * rates - worth
    return Plane(float(trials.base @ rates), trials.per_lot @ rates, label)


def rounding(trials: Trials, lots: FloatArray) -> FloatArray:
    """(K,) margin currency that a requirement after trades (K,n), or (n,), is off by at most."""
    return np.asarray(ROUNDING * (trials.scale + np.abs(lots) @ trials.lot_notional))
