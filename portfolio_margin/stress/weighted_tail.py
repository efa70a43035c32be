"""The tail of needs that weighted runs have: a quantile, and what can be said of it without a distribution.

Runs come in pairs that are drawn together; pairs are independent, and each counts with the weights of those of its runs
that need more. A sum of such weights is a compound Poisson number, whose rate has the bounds of Fay and Feuer (1997,
Statistics in Medicine 16, 791-801, equations 3 to 5): exact with equal weights (Garwood 1936), too wide rather than too
narrow with others. Needs at which the bounds of the rate hold the wanted one are the interval of the quantile (Woodruff
1952, JASA 47, 635-646).

What was never seen weighs at most as much as the heaviest pair that may be like it. Which ones may is a supposition,
and the only one: a run that needs more than the quantile is as severe as the mildest one that was seen to need more
than the lower bound. With none seen at all every pair may be. Where fewer than LEAST_EFFECTIVE pairs of equal weight
say as much, that supposition rests on too little, and there is no upper bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import gamma

from pricing.arrays import BoolArray, FloatArray, IntArray

CONFIDENCE = 0.95
# With fewer, intervals that were stated held the quantile too seldom, in simulations of which it is known.
LEAST_EFFECTIVE = 10.0


class Tail(NamedTuple):
    """A quantile of weighted needs, with an interval of 95 %.

    amount          the smallest need that at most a share 1 - level of the paths exceeds
    low, high       bounds; high is inf where that many runs support none
    beyond          runs that need more than the amount
    effective       pairs of equal weight that would say as much of the paths beyond
    runs_needed     runs from which on there can be an upper bound: those of which, with not one beyond, it would follow
    """

    amount: float
    low: float
    high: float
    beyond: int
    effective: float
    runs_needed: int


def weighted_quantile(need: FloatArray, weight: FloatArray, level: float) -> float:
    """The smallest of the needs (n,) that at most a share 1 - level of the paths exceeds, by their weights (n,) over n:
    a share of the paths of the model, not of those drawn."""
    order = np.argsort(need)[::-1]
    beyond = np.cumsum(weight[order]) / len(need)
    # All that need more than the k-th largest weigh beyond[k - 1].
    inside = np.flatnonzero(beyond > 1.0 - level)
    return float(need[order[inside[0]]]) if len(inside) else 0.0


def tail_of(need: FloatArray, weight: FloatArray, severity: FloatArray, level: float) -> Tail:
    """The quantile and its interval.

    need, weight, severity   (n,) of runs, two and two a pair; weights of paths of the model, with a mean of 1
    level                    share of the paths that need no more than the quantile, below 1
    """
    size, rare = len(need), 1.0 - level
    amount = weighted_quantile(need, weight, level)
    order = np.argsort(-need, kind="stable")
    sums, squares = _running(order, weight)
    last = np.append(np.diff(need[order]) != 0.0, True)
    values, rates, variances = need[order][last], sums[last] / size, squares[last] / size**2
    # The share of paths that need a value or more is that of those that need more than the next smaller one.
    lower = min(_from_below(values, rate_bounds(rates, variances, 0.0)[0] > rare), amount)
    far, above = need > amount, need > lower
    heaviest = _heaviest(weight, severity >= severity[above].min() if far.any() else np.ones(size, dtype=np.bool_))
    high = rate_bounds(np.append(0.0, rates[:-1]), np.append(0.0, variances[:-1]), heaviest / size)[1]
    upper = max(_from_above(values, high <= rare), amount)
    pairs = _pair_sums(np.where(far, weight, 0.0))
    effective = float(pairs.sum() ** 2 / (pairs**2).sum()) if far.any() else 0.0
    runs = int(np.ceil(size * high[0] / rare))
    if far.any():
        runs = max(runs, int(np.ceil(size * LEAST_EFFECTIVE / effective)))
        upper = upper if effective >= LEAST_EFFECTIVE else float("inf")
    return Tail(amount, lower, upper, int(far.sum()), effective, runs)


def rate_bounds(rate: FloatArray, variance: FloatArray, heaviest: float) -> tuple[FloatArray, FloatArray]:
    """Lower and upper bounds of weighted Poisson rates, each with an error of 2.5 %.

    rate, variance   sums of the weights seen, and of their squares
    heaviest         weight that one more could have
    """
    tail = (1.0 - CONFIDENCE) / 2.0
    seen = rate > 0.0
    safe_rate, safe_variance = np.where(seen, rate, 1.0), np.where(seen, variance, 1.0)
    low = gamma.ppf(tail, safe_rate**2 / safe_variance, scale=safe_variance / safe_rate)
    mean, spread = rate + heaviest, variance + heaviest**2
    high = gamma.ppf(1.0 - tail, mean**2 / spread, scale=spread / mean)
    return np.where(seen, low, 0.0), np.asarray(high)


def _pair_sums(column: FloatArray) -> FloatArray:
    return np.asarray(column.reshape(-1, 2).sum(axis=1))


def _heaviest(weight: FloatArray, alike: BoolArray) -> float:
    return float(_pair_sums(np.where(alike, weight, 0.0)).max())


def _running(order: IntArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sums over pairs of the weights of their runs, and of the squares of these, with one run more at a time."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    partner = order ^ 1
    together = np.where(place[partner] < np.arange(len(order)), weight[partner], 0.0)
    own = weight[order]
    return np.cumsum(own), np.cumsum(own * (own + 2.0 * together))


def _from_below(values: FloatArray, sure: BoolArray) -> float:
    """The largest of falling values up to which, from the smallest on, all are surely reached."""
    unsure = np.flatnonzero(~sure)
    first = int(unsure[-1]) + 1 if len(unsure) else 0
    return float(values[first]) if first < len(values) else 0.0


def _from_above(values: FloatArray, over: BoolArray) -> float:
    """The smallest of falling values from which on, from the largest down, all are surely enough."""
    unsure = np.flatnonzero(~over)
    count = int(unsure[0]) if len(unsure) else len(values)
    return float(values[count - 1]) if count else float("inf")
