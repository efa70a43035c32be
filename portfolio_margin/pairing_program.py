"""The cheapest pairing: an integer program over the columns of `pairing`, solved by HiGHS (scipy.optimize.milp).

minimise cost . x subject to: columns use every position once, x whole. Its linear relaxation is solved first: it bounds
the requirement from below, and where it comes out whole it is the answer.

Since 2012 the rules let a spread have any number of legs, as long as every right is sold as often as bought and nothing
bought expires before anything sold. Of two such spreads the losses never add up to less than those of both together, so
one of them for every date that divides sold from bought is enough: how much of each option it takes are variables, its
loss is at least that at every strike.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import csc_array

from portfolio_margin.pairing import Columns, Holding, intrinsic, named
from portfolio_margin.strategy_table import SPREAD, stock_amounts
from pricing.arrays import FloatArray, IntArray
from pricing.errors import NumericalError

# Branch and bound ends here with the best pairing found and a gap; a count, unlike a time, is the same everywhere.
MAX_NODES = 20_000
# Counts off a whole number by less than this are whole; stock left over below this share is binary noise.
WHOLE = 1e-6
STOCK_NOISE = 1e-12
LEGS_NAMED = 4


class Chosen(NamedTuple):
    """The cheapest pairing.

    columns      strategies, spreads of many legs added at the end
    used         column and how often it is used
    cost         (m,) of one of each column, margin currency
    stock_alone, stock_cost   stock units that stand alone and what one asks for
    bound, gap   lower bound that branch and bound has proved, and what the pairing asks for above it
    """

    columns: Columns
    used: list[tuple[int, int]]
    cost: FloatArray
    stock_alone: float
    stock_cost: float
    bound: float
    gap: float


class Program(NamedTuple):
    """Rows and variables as `milp` takes them.

    Variables: one a column, stock alone, then for every spread of many legs the steps it takes of its options, its loss
    and what it asks for. spreads, rows of the legs of each; first, the first variable of each.
    """

    cost: FloatArray
    table: csc_array
    lower: FloatArray
    upper: FloatArray
    whole: IntArray
    spreads: list[IntArray]
    first: list[int]


def choose(held: Holding, columns: Columns, side: int, any_legs: bool) -> Chosen:
    """The cheapest pairing by initial (side 0) or maintenance margin (side 1)."""
    program = _program(held, columns, side, any_legs)
    count, legs = len(columns.strategy), len(held.legs.strike)
    stock_cost = float(program.cost[count])
    if count == legs and not program.spreads:  # nothing pairs with anything
        used = [(row, int(n)) for row, n in enumerate(held.legs.steps)]
        total = float(program.cost[:count] @ held.legs.steps + stock_cost * abs(held.stock))
        return Chosen(columns, used, program.cost[:count], abs(held.stock), stock_cost, total, 0.0)
    result = _solved(program, relaxed=True)
    if result.x is not None and _fraction(program, result.x) > WHOLE:
        result = _solved(program, relaxed=False)
    if result.x is None:
        raise NumericalError(f"no pairing of {legs} options was found: {result.message}")
    counts = np.rint(result.x[:count]).astype(np.int64)
    used = [(int(row), int(counts[row])) for row in np.flatnonzero(counts)]
    alone = abs(held.stock) - sum(n * columns.shares[row] for row, n in used)
    alone = alone if alone > STOCK_NOISE * abs(held.stock) else 0.0
    columns, cost = _with_spreads(held, columns, program, result.x, used)
    total = float(sum(n * cost[row] for row, n in used) + stock_cost * alone)
    proved = result.fun if result.mip_dual_bound is None else result.mip_dual_bound
    bound = total if proved is None else float(proved)
    return Chosen(columns, used, cost, alone, stock_cost, bound, max(total - bound, 0.0))


def relaxation(held: Holding, columns: Columns, side: int, any_legs: bool) -> float:
    """Lower bound of the linear relaxation, margin currency: positions may be cut into fractions."""
    result = _solved(_program(held, columns, side, any_legs), relaxed=True)
    if result.fun is None:
        raise NumericalError(f"the linear relaxation has no solution: {result.message}")
    return float(result.fun)


def _solved(program: Program, relaxed: bool) -> OptimizeResult:
    limits = LinearConstraint(program.table, program.lower, program.upper)
    if relaxed:
        return milp(program.cost, constraints=limits, bounds=Bounds(0, np.inf))
    return milp(
        program.cost,
        constraints=limits,
        integrality=program.whole,
        bounds=Bounds(0, np.inf),
        # Without presolve: HiGHS prints to standard output where a reduced solution is off by a rounding.
        options={"mip_rel_gap": 0.0, "node_limit": MAX_NODES, "presolve": False},
    )


def _fraction(program: Program, x: FloatArray) -> float:
    off = np.abs(x - np.rint(x))[program.whole > 0]
    return float(off.max(initial=0.0))


def _program(held: Holding, columns: Columns, side: int, any_legs: bool) -> Program:
    """Positions by columns, and the rows of the spreads of many legs."""
    legs, count = held.legs, len(columns.strategy)
    rows = len(legs.strike)
    stock = stock_amounts(held.spot, held.rates)[0 if held.stock > 0 else 1]
    cost = [*(c[side] for c in columns.cost), held.stock_size * stock[side]]
    sizes = [len(members) for members in columns.members]
    at = [np.repeat(np.arange(count), sizes), np.arange(count + 1)]
    on = [np.array([m for members in columns.members for m in members], dtype=np.int64), np.full(count + 1, rows)]
    data = [np.ones(len(on[0])), np.array([*columns.shares, 1.0])]
    lower, upper = [*legs.steps, abs(held.stock)], [*legs.steps, abs(held.stock)]
    whole, spreads = [1] * count + [0], _groups(held) if any_legs else []
    first: list[int] = []
    for members in spreads:
        first.append(len(cost))
        block, least, most = _spread_rows(held, members)
        # What the spread takes of its options stands in the rows of the positions too.
        at.append(first[-1] + np.arange(len(members)))
        on.append(members)
        data.append(np.ones(len(members)))
        row, column = np.nonzero(block)
        at.append(first[-1] + column)
        on.append(len(lower) + row)
        data.append(block[row, column])
        lower += least
        upper += most
        cost += [0.0] * (len(members) + 1) + [1.0]
        whole += [1] * len(members) + [0, 0]
    shape = (len(lower), len(cost))
    table = csc_array((np.concatenate(data), (np.concatenate(on), np.concatenate(at))), shape=shape)
    return Program(
        np.array(cost), table, np.array(lower), np.array(upper), np.array(whole, dtype=np.int64), spreads, first
    )


def _groups(held: Holding) -> list[IntArray]:
    """Rows of the options that one spread may take, for every date up to which it sells and from which it buys."""
    legs, found = held.legs, []
    kinds = np.unique(np.column_stack([legs.style, legs.size]), axis=0)
    for style, size in kinds:
        alike = (legs.style == style) & (legs.size == size)
        for date in np.unique(legs.expiry[alike & ~legs.long]):
            fits = alike & np.where(legs.long, legs.expiry >= date, legs.expiry <= date)
            # A right that is only bought, or only sold, cannot take part.
            for right in (True, False):
                own = fits & (legs.call == right)
                if legs.long[own].all() or not legs.long[own].any():
                    fits &= legs.call != right
            if fits.any():
                found.append(np.flatnonzero(fits))
    return found


def _spread_rows(held: Holding, members: IntArray) -> tuple[FloatArray, list[float], list[float]]:
    """Rows of one spread over its steps (n), its loss and what it asks for: as many bought as sold of each right, the
    loss at least that at every strike, what it asks for at least loss and value."""
    legs = held.legs
    sign = np.where(legs.long[members], -1.0, 1.0)
    points = intrinsic(legs, members)
    points = points[:, np.unique(np.round(points, 9), axis=1, return_index=True)[1]]
    balance = np.stack([sign * (legs.call[members] == right) for right in (True, False)])
    loss = (-sign[:, None] * points).T
    value = (sign * legs.value[members])[None, :]
    block = np.zeros((2 + len(loss) + 1, len(members) + 2))
    block[:2, :-2] = balance
    block[2:-1, :-2], block[2:-1, -2] = loss, 1.0
    block[-1, :-2], block[-1, -2], block[-1, -1] = value, -1.0, 1.0
    least = [0.0] * len(block)
    return block, least, [0.0, 0.0, *([np.inf] * (len(block) - 2))]


def _with_spreads(
    held: Holding, columns: Columns, program: Program, x: FloatArray, used: list[tuple[int, int]]
) -> tuple[Columns, FloatArray]:
    """The columns and their cost with the spreads of many legs that the solution has; adds them to `used`."""
    legs = held.legs
    added = Columns(list(columns.strategy), list(columns.members), list(columns.shares), list(columns.cost))
    cost = program.cost[: len(columns.strategy)].tolist()
    for members, first in zip(program.spreads, program.first, strict=True):
        steps = np.rint(x[first : first + len(members)]).astype(np.int64)
        taken = members[steps > 0]
        if not len(taken):
            continue
        steps = steps[steps > 0]
        times = gcd(*steps.tolist())
        rows = tuple(int(row) for row, n in zip(taken, steps, strict=True) for _ in range(n // times))
        sign = np.where(legs.long[list(rows)], -1.0, 1.0)
        worst = max(float((sign[:, None] * intrinsic(legs, np.array(rows))).sum(axis=0).max()), 0.0)
        amount = max(worst - float((sign * legs.value[list(rows)]).sum()), 0.0)
        added.add(named(legs, rows) if len(rows) <= LEGS_NAMED else SPREAD, rows, (amount, amount))
        cost.append(amount)
        used.append((len(cost) - 1, times))
    return added, np.array(cost)
