"""Which contracts a program of whole lots has to look at: those that the program without whole lots does not price out.

The dual of the relaxed program gives a reduced cost d of buying and of selling every contract. Whatever satisfies the
program costs at least z + d x for x lots of a contract that the relaxed solution does not trade, z its optimum
(weak duality; Wolsey, Integer Programming, 1998, section 7.2, fixing by reduced costs). So the whole lots of few
contracts bound those of all: a solution either trades the few only, or at least one lot of another contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.hedge_program import INFEASIBLE, SOLVED, STOPPED, Answer, Bands, Plane, Program
from portfolio_margin.search_watch import forever
from pricing.arrays import FloatArray, IntArray
from pricing.errors import NumericalError

# Contracts of a program of whole lots; a branch takes a second and more with a thousand of them.
MOST_COLUMNS = 60
WIDER = 4


class Relaxed(NamedTuple):
    """The solution of a program whose lots need not be whole.

    answer   lots, bound and status
    dearer   (n,) by how much the objective rises at least with a lot bought or sold, margin currency; below 0 for what
             is traded up to its limit
    """

    answer: Answer
    dearer: FloatArray


class WholeLots(NamedTuple):
    """The best whole lots of a program, and what bounds them.

    answer   with the lower bound over all contracts
    outside  lower bound of all solutions that trade a contract left out; inf where none was
    """

    answer: Answer
    outside: float


def relaxed(program: Program, ceiling: float, *, cost_weight: float = 1.0, margin_weight: float = 0.0) -> Relaxed:
    """The best trades by the planes known, of lots that need not be whole; ceiling and weights as `Program.solve`."""
    from scipy.optimize import linprog

    stated = program.stated(ceiling, cost_weight, margin_weight)
    below, above = np.isfinite(stated.high), np.isfinite(stated.low)
    found = linprog(
        stated.objective,
        A_ub=np.vstack([stated.matrix[below], -stated.matrix[above]]),
        b_ub=np.concatenate([stated.high[below], -stated.low[above]]),
        bounds=list(zip(stated.lower.tolist(), stated.upper.tolist(), strict=True)),
        method="highs",
    )
    count = len(program.buy_cost)
    if found.status == INFEASIBLE:
        return Relaxed(Answer(None, np.inf, INFEASIBLE), np.zeros(count))
    if found.x is None or found.fun is None or found.status != SOLVED:
        raise NumericalError(f"the solver of the hedge program failed: {found.message}")
    rises = (found.lower.marginals + found.upper.marginals) * stated.unit
    lots = found.x[:count] - found.x[count : 2 * count]
    dearer = np.minimum(rises[:count], rises[count : 2 * count])
    return Relaxed(Answer(lots + 0.0, float(found.fun) * stated.unit, SOLVED), dearer)


def whole_lots(
    program: Program,
    ceiling: float,
    *,
    cost_weight: float = 1.0,
    margin_weight: float = 0.0,
    most: int = MOST_COLUMNS,
    left: Callable[[], float] = forever,
) -> WholeLots:
    """The best whole lots of the `most` contracts that raise the objective least, and a bound over all contracts.

    More contracts are taken where whole lots of so few do not satisfy the program. left, seconds for the solver.
    """
    weights = {"cost_weight": cost_weight, "margin_weight": margin_weight}
    count = len(program.buy_cost)
    if count <= most:
        every = np.ones(count, dtype=np.bool_)
        return WholeLots(program.solve(ceiling, whole=every, seconds=left(), **weights), np.inf)
    loose = relaxed(program, ceiling, **weights)
    if loose.answer.lots is None:
        return WholeLots(loose.answer, np.inf)
    order = np.lexsort((loose.dearer, loose.answer.lots == 0.0))
    while True:
        few = np.sort(order[:most])
        part = narrowed(program, few)
        answer = part.solve(ceiling, whole=np.ones(len(few), dtype=np.bool_), seconds=left(), **weights)
        if answer.status != INFEASIBLE or most >= count:
            break
        most *= WIDER
    outside = loose.answer.bound + float(loose.dearer[order[most:]].min()) if most < count else np.inf
    bound = max(min(answer.bound, outside), loose.answer.bound)
    status = answer.status if outside >= answer.bound or answer.status == INFEASIBLE else STOPPED
    return WholeLots(Answer(widened(answer.lots, few, count), bound, status), outside)


def narrowed(program: Program, few: IntArray) -> Program:
    """The program with the contracts `few` only."""
    return replace(
        program,
        buy_cost=program.buy_cost[few],
        sell_cost=program.sell_cost[few],
        most_bought=program.most_bought[few],
        most_sold=program.most_sold[few],
        bands=Bands(program.bands.by_lot[:, few], program.bands.low, program.bands.high),
        planes=[Plane(plane.constant, plane.gradient[few], plane.label) for plane in program.planes],
    )


def widened(lots: FloatArray | None, few: IntArray, count: int) -> FloatArray | None:
    """(count,) trades of the contracts `few` among all; None of None."""
    return None if lots is None else spread(lots, few, count)


def spread(lots: FloatArray, few: IntArray, count: int) -> FloatArray:
    """(count,) trades of the contracts `few` among all."""
    result = np.zeros(count)
    result[few] = lots
    return result
