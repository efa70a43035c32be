"""Portfolios of least expected shortfall at a required return: of a normal law, or of scenarios.

    minimise ES(w)   subject to   sum w = budget,  mean' w >= required return,  w >= 0 where long only

Rockafellar and Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2 (2000): of scenarios the linear
program of its eq. 17, min a + mean of max(loss - a, 0) / (1 - confidence), a the value at risk; of a normal law
ES = -mean' w + n(z) / (1 - confidence) sqrt(w' C w), z the quantile (its section 4), a convex program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog, lsq_linear, minimize
from scipy.sparse import eye_array, hstack, vstack

from pricing.arrays import FloatArray
from pricing.columns import numbers
from pricing.errors import ConfigError, DataError, InfeasibleError, NumericalError, Problem
from scenarios.backtest.shortfall import normal_tail

# Of the slopes of the objective: what the conditions of the optimum may miss.
STATIONARY = 1e-6
# Of the largest weight: one that counts as none.
NONE_HELD = 1e-7


class LeastShortfall(NamedTuple):
    """The portfolio, losses positive.

    weights        (N,) they sum to the budget
    value_at_risk  loss exceeded with the probability 1 - confidence
    cvar           expected shortfall: mean loss of that tail
    mean           expected return
    """

    weights: FloatArray
    value_at_risk: float
    cvar: float
    mean: float


def min_cvar_portfolio(
    mean: ArrayLike,
    covariance: ArrayLike,
    *,
    confidence: float,
    required_return: float | None = None,
    budget: float = 1.0,
    long_only: bool = True,
) -> LeastShortfall:
    """Of normal returns.

    mean             (N,) expected return of each
    covariance       (N,N) of the returns, positive definite
    confidence       above 0.5 and below 1
    required_return  of the portfolio at least, in units of weight x mean; None for none
    budget           sum of the weights, above 0
    long_only        whether no weight is below 0

    DataError for shapes, numbers and covariances that are none; ConfigError for the rest; InfeasibleError with the
    largest return where the required one is out of reach; NumericalError where the optimum is not confirmed by its
    conditions (Karush, Kuhn and Tucker), as where selling short without limit is free of risk.
    """
    centre, spread = _moments(mean, covariance)
    _check(confidence, budget)
    _reachable(centre, required_return, budget, long_only)
    depth = float(normal_tail(0.0, 1.0, confidence).expected_shortfall)
    count = len(centre)

    def shortfall(w: FloatArray) -> tuple[float, FloatArray]:
        swept = spread @ w
        deviation = float(np.sqrt(w @ swept))
        return depth * deviation - float(centre @ w), depth * swept / deviation - centre

    start = np.full(count, budget / count)
    size = max(abs(shortfall(start)[0]), depth * float(np.sqrt(np.trace(spread))) * budget)
    limits: list[dict[str, Any]] = [{"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones(count)}]
    if required_return is not None:
        reach = float(np.abs(centre).max()) or 1.0
        least = required_return / budget
        limits.append({"type": "ineq", "fun": lambda w: (centre @ w - least) / reach, "jac": lambda w: centre / reach})

    def scaled(w: FloatArray) -> tuple[float, FloatArray]:
        value, slope = shortfall(w * budget)
        return value / size, slope * (budget / size)

    solve: Any = minimize
    found = solve(
        scaled,
        start / budget,
        jac=True,
        bounds=[(0.0 if long_only else None, None)] * count,
        constraints=limits,
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 1_000},
    )
    weights = np.asarray(found.x * budget)
    weights[np.abs(weights) < NONE_HELD * np.abs(weights).max()] = 0.0
    _confirm(shortfall(weights)[1], weights, centre, required_return, long_only)
    tail = normal_tail(float(centre @ weights), float(np.sqrt(weights @ spread @ weights)), confidence)
    return LeastShortfall(weights, float(tail.value_at_risk), float(tail.expected_shortfall), float(centre @ weights))


def min_cvar_of_scenarios(
    returns: ArrayLike,
    *,
    confidence: float,
    required_return: float | None = None,
    budget: float = 1.0,
    long_only: bool = True,
) -> LeastShortfall:
    """Of equally likely scenarios.

    returns          (S,N) of each in every scenario
    confidence       above 0.5 and below 1
    required_return  mean of the portfolio at least; None for none
    budget           sum of the weights, above 0
    long_only        whether no weight is below 0

    Raises what `min_cvar_portfolio` raises; NumericalError also where the shortfall has no least value, as where
    selling short without limit gains in every scenario.
    """
    rows = numbers("min_cvar_of_scenarios", "returns", returns)
    if rows.ndim != 2 or not rows.size or not np.all(np.isfinite(rows)):
        _refuse("returns", rows.shape, "must be scenarios by instruments, finite numbers")
    _check(confidence, budget)
    count, wide = rows.shape
    centre = rows.mean(axis=0)
    _reachable(centre, required_return, budget, long_only)
    # Variables: weights, the value at risk, what every scenario loses beyond it.
    objective = np.concatenate([np.zeros(wide), [1.0], np.full(count, 1.0 / (count * (1.0 - confidence)))])
    parts: Any = [-rows, -np.ones((count, 1)), -eye_array(count)]
    limits: Any = hstack(parts, format="csr")
    most = np.zeros(count)
    if required_return is not None:
        both: Any = [limits, np.concatenate([-centre, np.zeros(1 + count)])[None, :]]
        limits = vstack(both, format="csr")
        most = np.append(most, -required_return)
    found = linprog(
        objective,
        A_ub=limits,
        b_ub=most,
        A_eq=np.concatenate([np.ones(wide), np.zeros(1 + count)])[None, :],
        b_eq=[budget],
        bounds=[(0.0 if long_only else None, None)] * wide + [(None, None)] + [(0.0, None)] * count,
        method="highs",
    )
    if found.x is None:
        raise NumericalError(f"the program of the least shortfall was not solved: {found.message}")
    weights = np.asarray(found.x[:wide])
    return LeastShortfall(weights, float(found.x[wide]), float(objective @ found.x), float(centre @ weights))


def _confirm(
    slope: FloatArray, weights: FloatArray, centre: FloatArray, required: float | None, long_only: bool
) -> None:
    """At the optimum slope = a + b mean + c, with b >= 0 where the return binds and c >= 0 of what is not held."""
    columns, low = [np.ones(len(weights))], [-np.inf]
    if required is not None and centre @ weights - required <= 1e-6 * float(np.abs(centre) @ np.abs(weights)):
        columns, low = [*columns, centre / (np.abs(centre).max() or 1.0)], [*low, 0.0]
    if long_only:
        empty = np.flatnonzero(weights <= 0.0)
        columns, low = [*columns, *np.eye(len(weights))[empty]], [*low, *np.zeros(len(empty))]
    answer = lsq_linear(np.array(columns).T, slope, bounds=(low, np.inf), tol=1e-14)
    missed = float(np.abs(answer.fun).max())
    if not missed <= STATIONARY * float(np.abs(slope).max()):
        raise NumericalError(
            f"the least shortfall was not found: its slopes miss the conditions of the optimum by {missed:.3g}"
        )


def _reachable(centre: FloatArray, required: float | None, budget: float, long_only: bool) -> None:
    if required is None:
        return
    if not np.isfinite(required):
        raise ConfigError(f"required_return = {required!r}: must be a finite number, or None")
    most = budget * float(centre.max())
    if required > most and (long_only or np.ptp(centre) == 0.0):
        raise InfeasibleError(f"no portfolio returns {required:.6g}: the largest return is {most:.6g}", most)


def _check(confidence: float, budget: float) -> None:
    if not 0.5 < confidence < 1.0 or not 0.0 < budget < np.inf:
        raise ConfigError(f"confidence = {confidence!r}, budget = {budget!r}: must be within (0.5, 1), and above 0")


def _moments(mean: ArrayLike, covariance: ArrayLike) -> tuple[FloatArray, FloatArray]:
    centre = np.atleast_1d(numbers("min_cvar_portfolio", "mean", mean))
    spread = numbers("min_cvar_portfolio", "covariance", covariance)
    if centre.ndim != 1 or not len(centre) or not np.all(np.isfinite(centre)):
        _refuse("mean", centre.tolist(), "must be one finite number an instrument")
    if spread.shape != (len(centre), len(centre)) or not np.all(np.isfinite(spread)):
        _refuse("covariance", spread.shape, f"must be {len(centre)} x {len(centre)}, finite numbers")
    if np.abs(spread - spread.T).max() > 1e-9 * np.abs(spread).max() or np.linalg.eigvalsh(spread)[0] <= 0.0:
        _refuse("covariance", "", "must be symmetric and positive definite")
    return centre, spread


def _refuse(field: str, value: object, remedy: str) -> None:
    raise DataError([Problem("least_shortfall", None, field, value, remedy)])
