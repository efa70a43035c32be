"""Trades that make the margin of given P&L rows and their own costs the least together.

For those who have the rows at hand and no venue: no lots, no charges, sizes that need not be whole. The margin is the
worst loss or an expected shortfall. It is the program of `hedge_program` without a ceiling,

    minimise t + c |h|   subject to   t >= -P_s (x + h) for every scenario s,  t >= 0,  |h| <= limits

(for expected shortfall Rockafellar and Uryasev, Journal of Risk 2, 2000, eq. 17, with planes added where a solution
violates them: Kelley 1960). Solutions may not be unique; the objective is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.hedge_program import Bands, Plane, Program
from portfolio_margin.tail_measures import scenario_weights, tail_measure, tail_weights
from pricing.arrays import FloatArray, IntArray
from pricing.columns import numbers
from pricing.errors import ConfigError, DataError, NumericalError, Problem

NAME = "min_margin_hedge"
MEASURES = ("worst_loss", "expected_shortfall")
MOST_ROUNDS = 500
# Of the largest number at stake: what the program may miss.
CLOSE = 1e-9


class ScenarioHedge(NamedTuple):
    """What is traded, and what the margin becomes.

    margin_before  of the positions, 0 or more
    objective      margin after the trades and their costs
    trades         (H,) of the hedge instruments, bought positive
    margin_after   of positions and trades
    cost           of the trades
    gap            objective less its lower bound: no trades have an objective lower by more
    """

    margin_before: float
    objective: float
    trades: FloatArray
    margin_after: float
    cost: float
    gap: float


def min_margin_hedge(
    pnl_per_unit: ArrayLike,
    positions: ArrayLike,
    hedge_instruments: ArrayLike,
    cost_per_unit: ArrayLike,
    max_abs_trade: ArrayLike,
    *,
    measure: str = "worst_loss",
    confidence: float = 0.99,
) -> ScenarioHedge:
    """The trades after which margin and costs are the least together.

    pnl_per_unit       (S,N) gain of one unit of every instrument in every scenario
    positions          (N,) units, + long
    hedge_instruments  (H,) places of those that may be traded, from 0
    cost_per_unit      (H,) of a unit bought or sold, 0 or more
    max_abs_trade      (H,) units, 0 or more
    measure            "worst_loss", or "expected_shortfall": the mean of the worst S (1 - confidence), equally likely
    confidence         above 0 and below 1, of the shortfall

    DataError names what has a wrong shape or is out of bounds, ConfigError measure and confidence; NumericalError where
    the solver fails.
    """
    if measure not in MEASURES or not 0.0 < confidence < 1.0:
        known = " or ".join(MEASURES)
        raise ConfigError(f"measure = {measure!r}, confidence = {confidence!r}: must be {known}, and within (0, 1)")
    pnl, held, places, cost, most = _checked(pnl_per_unit, positions, hedge_instruments, cost_per_unit, max_abs_trade)
    shortfall = measure == "expected_shortfall"
    weights = tail_weights(len(pnl), confidence, "es") if shortfall else np.ones(1)
    base, by_unit = -(pnl @ held), -pnl[:, places]
    program = _program(cost, most, float(np.abs(base).max() + np.abs(by_unit).max(axis=0, initial=0.0) @ most))
    nothing = np.zeros(len(places))
    program.planes.append(Plane(0.0, nothing, ""))
    if not shortfall:
        program.planes.extend(Plane(float(c), g, str(s)) for s, (c, g) in enumerate(zip(base, by_unit, strict=True)))
    before = float(tail_measure(base[None, :], weights)[0])
    best, bound = _Best(nothing, before, before), -np.inf
    for _ in range(MOST_ROUNDS):
        answer = program.solve(np.inf, whole=np.zeros(len(places), dtype=np.bool_), margin_weight=1.0)
        if answer.lots is None:
            raise NumericalError("the program of the hedge was not solved: rescale P&L and sizes")
        bound = max(bound, answer.bound)
        trades = np.clip(answer.lots, -most, most)
        losses = base + by_unit @ trades
        after = float(tail_measure(losses[None, :], weights)[0])
        reached = after + float(cost @ np.abs(trades))
        best = _Best(trades, after, reached) if reached < best.objective else best
        if not shortfall or best.objective - bound <= CLOSE * program.scale:
            break
        share = scenario_weights(losses, weights)
        program.planes.append(Plane(float(share @ base), share @ by_unit, ""))
    spent = float(cost @ np.abs(best.trades))
    return ScenarioHedge(before, best.objective, best.trades, best.after, spent, max(best.objective - bound, 0.0))


class _Best(NamedTuple):
    trades: FloatArray
    after: float
    objective: float


def _program(cost: FloatArray, most: FloatArray, scale: float) -> Program:
    count = len(cost)
    return Program(
        buy_cost=cost,
        sell_cost=cost,
        most_bought=most,
        most_sold=most,
        bands=Bands(np.zeros((0, count)), np.zeros(0), np.zeros(0)),
        total_cost=np.inf,
        spent=0.0,
        scale=max(scale, 1e-300),
        nodes=1,
        gap=0.0,
    )


def _checked(
    pnl_per_unit: ArrayLike,
    positions: ArrayLike,
    hedge_instruments: ArrayLike,
    cost_per_unit: ArrayLike,
    max_abs_trade: ArrayLike,
) -> tuple[FloatArray, FloatArray, IntArray, FloatArray, FloatArray]:
    pnl = numbers(NAME, "pnl_per_unit", pnl_per_unit)
    if pnl.ndim != 2 or not pnl.size:
        _refuse("pnl_per_unit", None, pnl.shape, "must be scenarios by instruments, one of each at least")
    count = pnl.shape[1]
    places = np.atleast_1d(numbers(NAME, "hedge_instruments", hedge_instruments))
    if places.ndim != 1 or len(np.unique(places)) != len(places):
        _refuse("hedge_instruments", None, places.tolist(), "must be one list without repetition")
    held = np.atleast_1d(numbers(NAME, "positions", positions))
    columns = {
        name: np.atleast_1d(numbers(NAME, name, given))
        for name, given in (("cost_per_unit", cost_per_unit), ("max_abs_trade", max_abs_trade))
    }
    for name, column, wanted in (("positions", held, count), *((n, c, len(places)) for n, c in columns.items())):
        if column.shape != (wanted,):
            _refuse(name, None, column.shape, f"must be {wanted} numbers")
    good = {
        "pnl_per_unit": (pnl, np.isfinite(pnl).all(axis=1), "must be finite numbers"),
        "positions": (held, np.isfinite(held), "must be a finite number"),
        "hedge_instruments": (
            places,
            (places == np.rint(places)) & (places >= 0) & (places < count),
            f"must be a whole number from 0 to {count - 1}",
        ),
        **{name: (c, np.isfinite(c) & (c >= 0.0), "must be 0 or more") for name, c in columns.items()},
    }
    for name, (values, passes, remedy) in good.items():
        for row in np.flatnonzero(~passes)[:1]:
            _refuse(name, int(row), values[row].tolist(), remedy)
    return pnl, held, places.astype(np.int64), columns["cost_per_unit"], columns["max_abs_trade"]


def _refuse(field: str, row: int | None, value: object, remedy: str) -> None:
    raise DataError([Problem(NAME, row, field, value, remedy)])
