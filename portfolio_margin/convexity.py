"""Where a requirement is convex in the quantities, so that what is found by planes and intervals is proven.

A model that is says so by a method of its own,

    convex(arrays, turning, measure) -> bool

True where, of any two books of its contracts, the requirement of the book half way is at most the mean of the two; less
the margin balance where the measure is of funds. turning (N,) are the assets whose balance may be below 0 in one of the
books and above 0 in the other: a share of a long balance that does not count bends there. A model that does not say so
is taken for one that is not. The proofs are in docs/hedging.md.

And it gives what supports its requirement from below, by a method

    support(arrays, quantity, long) -> Support

of the account that holds quantity (N,); see `Support`. A bound is claimed from such rates only: rates by differences
are those beside the account, which next to a kink are those of its other side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.requirement import MarginModel
from pricing.arrays import BoolArray, FloatArray
from scenarios.risk_arrays import RiskArrays

INITIAL = ("initial_margin", "available_funds")
OF_FUNDS = ("available_funds", "excess_liquidity")


class Support(NamedTuple):
    """(N,) each, margin currency by contract and by unit of an asset: a requirement that is convex and grows in
    proportion with the account is at least quantity @ rates of any account, and that much of the one it is of.

    initial, maintenance   of the requirement
    revaluation            of what the model values otherwise than the arrays, which is linear

    Assets count with their haircut where `long` (N,) says so, whatever the balance: where no balance turns that is how
    it counts; where one does, the bound is on the requirement less a balance counted the same way.
    """

    initial: FloatArray
    maintenance: FloatArray
    revaluation: FloatArray


def declared_convex(model: MarginModel, arrays: RiskArrays, turning: BoolArray, measure: str) -> bool:
    """Whether the model declares what a measure is made of convex; see above.

    Never where a balance owed may begin or end for which the model has no rule: it is left out of the book then.
    """
    convex = getattr(model, "convex", None)
    if convex is None:
        return False
    owed = turning & ~model.debts_covered(arrays) & (arrays.instrument_id != arrays.currency)
    return not np.any(owed) and bool(convex(arrays, turning, measure))
