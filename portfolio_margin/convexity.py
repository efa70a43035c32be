"""Where a requirement is convex in the quantities, so that what is found by planes and intervals is proven; and by how
much two books together may ask for more than apart.

A model that is says so by a method of its own,

    convex(arrays, turning, measure) -> bool

True where, of any two books of its contracts, the requirement of the book half way is at most the mean of the two; less
the margin balance where the measure is of funds. turning (N,) are the assets whose balance may be below 0 in one of the
books and above 0 in the other: a share of a long balance that does not count bends there. A model that does not say so
is taken for one that is not. The proofs are in docs/hedging.md.
"""

from __future__ import annotations

import numpy as np

from portfolio_margin.requirement import MarginModel
from pricing.arrays import BoolArray, FloatArray
from scenarios.risk_arrays import RiskArrays

INITIAL = ("initial_margin", "available_funds")
OF_FUNDS = ("available_funds", "excess_liquidity")


def declared_convex(model: MarginModel, arrays: RiskArrays, turning: BoolArray, measure: str) -> bool:
    """Whether the model declares what a measure is made of convex; see above.

    Never where a balance owed may begin or end for which the model has no rule: it is left out of the book then.
    """
    convex = getattr(model, "convex", None)
    if convex is None:
        return False
    owed = turning & ~model.debts_covered(arrays) & (arrays.instrument_id != arrays.currency)
    return not np.any(owed) and bool(convex(arrays, turning, measure))


def declared_excess(model: MarginModel, arrays: RiskArrays) -> FloatArray | None:
    """(N,) what a model states as `excess_rates(arrays)`, margin currency per contract or unit of an asset; None where
    it states nothing.

    x with funds(a + b) >= funds(a) + funds(b) - sum over i of |b_i| x_i for all books a and b, funds being margin
    balance less initial margin: 0 everywhere where two books together never ask for more than apart. The proofs are in
    docs/collateral.md.
    """
    make = getattr(model, "excess_rates", None)
    return None if make is None else make(arrays)
