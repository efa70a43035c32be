"""Simple trades that meet a target, and better ones next to trades that do: what is searched where nothing is proven.

A requirement that is not convex has no planes that hold, so the program is only one of several ways to trades. The
others are searches along one contract: beside trades x, so many lots of contract j as just bring the requirement below
the ceiling, for every j and both sides at once. From nothing these are the single contracts that do it alone; from a
hedge without one of its trades, what takes the place of that trade for less, the same contract included.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.dollars import money_step
from portfolio_margin.hedge_search import Found, Search, Verify
from portfolio_margin.trial_margins import single_margins
from pricing.arrays import BoolArray, FloatArray, IntArray

# Sizes tried one after the other: 1, 4, 16 ... lots, then halves of the step that reaches the ceiling.
RUNG = 4.0
# Books of one call, and sizes of one contract in it.
ROWS_AT_ONCE = 4000
MOST_PARTS = 16
# Trades that are margined anew before the next way is looked at, and lots more of each for the rounding of statements.
MOST_VERIFIED = 3
FURTHER = (0.0, 1.0, 3.0)
# Contracts that may take the place of a trade, trades that are replaced in turn, and rounds of replacing.
MOST_SUBSTITUTES = 60
MOST_REPLACED = 12
ROUNDS = 12
# Trades that are improved: the cheapest ones known.
MOST_STARTS = 2
# Of the cost: what is gained by less is not looked for.
LEAST_GAIN = 1e-6


class _Sides(NamedTuple):
    """(K,) each, of one contract and one side: which -> n, side 1 bought and -1 sold, most lots.

    start  cost of the trades without any of this contract; by_lot, of a lot on this side
    """

    which: IntArray
    side: FloatArray
    most: FloatArray
    start: FloatArray
    by_lot: FloatArray

    def cost(self, sizes: FloatArray, some: IntArray) -> FloatArray:
        """(k,m) of all trades with sizes (k,m) of the contracts `some` -> K."""
        return np.asarray(self.start[some, None] + self.by_lot[some, None] * sizes)


def _sides(search: Search, lots: FloatArray, budget: float, columns: IntArray) -> _Sides:
    """Both sides of some contracts, as far as limits and a budget for all trades together allow."""
    program = search.program
    which = np.concatenate([columns, columns])
    side = np.repeat([1.0, -1.0], len(columns))
    by_lot = np.where(side > 0.0, program.buy_cost[which], program.sell_cost[which])
    own = np.where(lots > 0.0, program.buy_cost, program.sell_cost) * np.abs(lots)
    start = program.cost(lots) - own[which]
    left = min(budget, program.total_cost) - start
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(by_lot > 0.0, np.floor(left / by_lot), np.where(left >= 0.0, np.inf, 0.0))
    most = np.floor(np.minimum(np.where(side > 0.0, program.most_bought[which], program.most_sold[which]), room) + 1e-9)
    kept = most >= 1.0
    return _Sides(*(column[kept] for column in (which, side, most, start, by_lot)))


def completions(
    search: Search, lots: FloatArray, ceiling: float, budget: float, columns: IntArray | None = None
) -> list[Found]:
    """Trades (n,) with so many lots of one contract as bring the requirement below the ceiling, cheapest first.

    lots     of the other contracts; what is traded of the one already is replaced
    budget   what all trades together must cost less than
    columns  -> n contracts that are tried; None: all

    One of each contract and side at most; sizes are the smallest of a rung of the ladder, halved to the lot for all
    that could still be the cheapest.
    """
    sides = _sides(search, lots, budget, np.arange(len(lots)) if columns is None else columns)
    count = len(sides.which)
    low, high, costs = np.zeros(count), np.full(count, np.inf), np.full(count, np.inf)
    rung, every = 1.0, np.arange(count)
    while True:
        # Up the ladder until a size meets the ceiling, then parts of the last step; what cannot become the cheapest is
        # left as it is. Many sizes at once: a call costs more than the books in it.
        climbing = np.isinf(high) & (low < sides.most)
        hopeful = sides.cost(low[:, None] + 1.0, every)[:, 0] < costs.min(initial=budget)
        some = np.flatnonzero((climbing | (np.isfinite(high) & (high - low > 1.0))) & hopeful)
        if not len(some):
            break
        parts = np.arange(int(np.clip(ROWS_AT_ONCE // len(some), 1, MOST_PARTS)))
        ladder = np.minimum(rung * RUNG**parts, sides.most[some, None])
        width = np.where(climbing[some], 0.0, high[some] - low[some])
        between = np.floor(low[some, None] + width[:, None] * ((parts + 1.0) / (len(parts) + 1.0)))
        sizes = np.where(climbing[some, None], ladder, np.maximum(between, low[some, None] + 1.0))
        reached = _meets(search, lots, sides, some, sizes, ceiling)
        first, met = reached.argmax(axis=1), reached.any(axis=1)
        rows = np.arange(len(some))
        high[some[met]] = sizes[rows, first][met]
        below = np.where(met, first, len(parts)) - 1
        low[some] = np.where(below >= 0, sizes[rows, below], low[some])
        costs[some[met]] = sides.cost(high[some[met], None], some[met])[:, 0]
        rung *= RUNG ** len(parts)
    order = np.argsort(costs, kind="stable")
    return [Found(_with(lots, sides, k, high[k]), float(costs[k])) for k in order if costs[k] < budget]


def _meets(
    search: Search, lots: FloatArray, sides: _Sides, some: IntArray, sizes: FloatArray, ceiling: float
) -> BoolArray:
    """(k,m) whether trades with sizes (k,m) of the contracts `some` -> K meet the ceiling."""
    further = sides.side[some, None] * sizes - lots[sides.which[some], None]
    which = np.repeat(sides.which[some], sizes.shape[1])
    found = single_margins(search.trials, lots, which, further.ravel(), backend=search.backend)
    values = search.measured(found).reshape(sizes.shape)
    return np.asarray(values + search.program.spent * sides.cost(sizes, some) <= ceiling)


def _with(lots: FloatArray, sides: _Sides, k: int, size: float) -> FloatArray:
    result = lots.copy()
    result[sides.which[k]] = sides.side[k] * size
    return result


def cheapest_completion(
    search: Search, lots: FloatArray, ceiling: float, verify: Verify, budget: float, columns: IntArray | None = None
) -> Found | None:
    """The cheapest of `completions` that meets the target by full recomputation; None where none does."""
    # A statement rounds the requirement up and the balance down: what only just meets the ceiling may miss the target.
    for room in (0.0, 2.0 * money_step(search.trials.arrays)):
        candidates = completions(search, lots, ceiling - room, budget, columns)
        if not candidates:
            return None
        for found in candidates[:MOST_VERIFIED]:
            step = np.sign(found.lots - lots)
            for further in FURTHER:
                point = found.lots + further * step
                cost = search.program.cost(point)
                if cost < budget and search.program.allows(point) and verify(point) <= 0.0:
                    return Found(point, cost)
    return None


def improved(search: Search, best: Found, ceiling: float, verify: Verify) -> Found:
    """Trades of which none can be made smaller, and none replaced by one of another contract, for less."""
    for _ in range(ROUNDS):
        before = best.cost
        order = np.argsort([-search.program.cost(alone) for alone in _each(best.lots)], kind="stable")
        for k in np.flatnonzero(best.lots)[order][:MOST_REPLACED]:
            without = best.lots.copy()
            without[k] = 0.0
            budget = best.cost * (1.0 - LEAST_GAIN)
            if search.program.allows(without) and verify(without) <= 0.0:
                best = Found(without, search.program.cost(without))
                continue
            found = cheapest_completion(search, without, ceiling, verify, budget, substitutes(search, best.lots))
            best = best if found is None else found
        if best.cost >= before * (1.0 - LEAST_GAIN):
            break
    return best


def _each(lots: FloatArray) -> list[FloatArray]:
    """(n,) every trade by itself."""
    return [np.where(np.arange(len(lots)) == k, lots, 0.0) for k in np.flatnonzero(lots)]


def substitutes(search: Search, lots: FloatArray) -> IntArray:
    """-> n contracts that are traded, and those that lower the requirement most by their cost at any plane known."""
    count = len(lots)
    if count <= MOST_SUBSTITUTES:
        return np.arange(count)
    program = search.program
    rises = np.array([plane.gradient for plane in program.planes])
    gain = np.maximum(-rises / np.maximum(program.buy_cost, 1e-12), rises / np.maximum(program.sell_cost, 1e-12))
    best = np.where(lots != 0.0, np.inf, gain.max(axis=0))
    return np.sort(np.argsort(-best, kind="stable")[:MOST_SUBSTITUTES])


def best_of(search: Search, starts: list[Found], ceiling: float, verify: Verify) -> Found | None:
    """The cheapest of trades that meet the target, each of the cheapest ones improved first; None of none."""
    if not starts:
        return None
    ordered = sorted(starts, key=lambda found: found.cost)
    # The plane at the cheapest tells which contracts lower the requirement there, and names the scenario that binds.
    search.support(ordered[0].lots)
    distinct: list[Found] = []
    for found in ordered:
        if all(np.any(found.lots != other.lots) for other in distinct):
            distinct.append(found)
    return min(
        (improved(search, found, ceiling, verify) for found in distinct[:MOST_STARTS]), key=lambda found: found.cost
    )


def without_needless(search: Search, best: Found, verify: Verify) -> Found:
    """The trades without each of those that the target is met without, dearest first."""
    order = np.argsort([-search.program.cost(alone) for alone in _each(best.lots)], kind="stable")
    for k in np.flatnonzero(best.lots)[order]:
        without = best.lots.copy()
        without[k] = 0.0
        if search.program.allows(without) and verify(without) <= 0.0:
            best = Found(without, search.program.cost(without))
    return best


def refuted(search: Search, found: Found, bound: float) -> bool:
    """Whether trades that meet the target cost less than a bound says any do, by more than the solver's gap."""
    return bool(found.cost < bound - max(search.program.gap, LEAST_GAIN) * max(abs(found.cost), 1e-12))
