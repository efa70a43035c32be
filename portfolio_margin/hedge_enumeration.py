"""Every whole lot within the limits, looked at one by one: where there are few, what is best of them needs no proof.

Programs say little of a few lots: a requirement that is not convex has no planes that hold, and next to a statement's
rounding an integer program may come back with the same trades again and again. Of some thousand trades each is
margined instead, which takes a moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from portfolio_margin.dollars import money_step
from portfolio_margin.hedge_program import Program
from portfolio_margin.hedge_search import Found, Search, Verify
from pricing.arrays import FloatArray

# Trades that are looked at one by one, at most, and that a statement is made of where rounding decides between them.
MOST_LISTED, MOST_MEASURED = 2_048, 64
# What a statement may be off the requirement of real numbers: steps of money, and of the account's notional where a
# model rounds more than amounts of money (of Deribit's 5e-7 was seen).
ROUNDED_STEPS, ROUNDED_SHARE = 2.0, 1e-5


Measured = Callable[[FloatArray, float], float]


class Listed(NamedTuple):
    """All trades that limits allow.

    lots (K,n), cost (K,) margin currency, and value (K,): what the ceiling is on, costs that are spent counted
    """

    lots: FloatArray
    cost: FloatArray
    value: FloatArray

    @property
    def least(self) -> tuple[FloatArray, float]:
        """Trades (n,) of the least value, and that value."""
        k = int(np.argmin(self.value))
        return self.lots[k], float(self.value[k])


def listed(search: Search) -> Listed | None:
    """All trades within the limits of a search; None where they are too many."""
    program = search.program
    points = _whole_lots(program)
    if points is None:
        return None
    lots = points[[program.allows(point) for point in points]]
    if not len(lots):
        return None
    cost = np.array([program.cost(point) for point in lots])
    return Listed(lots, cost, search.values(lots) + program.spent * cost)


def _whole_lots(program: Program) -> FloatArray | None:
    """(K,n) whole lots within the sizes of a program, None where there are more than `MOST_LISTED`."""
    low, high = -np.floor(program.most_sold), np.floor(program.most_bought)
    if math.prod(int(count) for count in high - low + 1.0) > MOST_LISTED:
        return None
    sides = np.meshgrid(*(np.arange(*pair) for pair in zip(low, high + 1.0, strict=True)), indexing="ij")
    return np.stack([side.ravel() for side in sides], axis=1)


def cheapest_listed(search: Search, every: Listed, ceiling: float, verify: Verify) -> Found | None:
    """The cheapest of all trades that meets the target, of equals the smallest; None where none does."""
    order = np.lexsort((np.abs(every.lots).sum(axis=1), every.cost))
    for k in order[every.value[order] <= ceiling + _rounded(search)]:
        if verify(every.lots[k]) <= 0.0:
            return Found(every.lots[k], float(every.cost[k]))
    return None


def smallest_listed(search: Search, every: Listed, price: float, measured: Measured) -> Found:
    """The trades of the least objective, cost and `price` times the requirement, which stands in place of the cost.

    measured   the requirement after trades (n,) of a cost, by a statement: asked of those that rounding decides between
    """
    objective = every.cost + price * every.value
    order = np.lexsort((np.abs(every.lots).sum(axis=1), objective))
    near = order[objective[order] <= objective[order[0]] + 2.0 * price * _rounded(search)][:MOST_MEASURED]
    exact = [every.cost[k] + price * measured(every.lots[k], float(every.cost[k])) for k in near]
    least = int(np.argmin(exact))
    return Found(every.lots[near[least]], float(exact[least]))


def _rounded(search: Search) -> float:
    """By how much a statement may be off the values listed."""
    share = 0.0 if search.proven else ROUNDED_SHARE * search.trials.scale
    return search.near + ROUNDED_STEPS * money_step(search.trials.arrays) + share
