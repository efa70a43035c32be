"""Filters of volatility: EWMA, and GARCH(1,1) by maximum likelihood. Either is the recursion of `scenarios.filters`.

v[t+1] = omega + alpha r[t]^2 + beta v[t]; EWMA is omega = 0, alpha = 1 - decay, beta = decay. A Gaussian likelihood is
used whatever the distribution of the residuals is (quasi maximum likelihood, Bollerslev and Wooldridge 1992); their
tail is fitted afterwards (McNeil and Frey 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError, NumericalError
from scenarios.backends.garch_numba import garch_likelihood, known_variance

LEAST_RETURNS = 100
# Persistence and share of alpha from which searches start; the likelihood has more than one hill on short histories.
STARTS = ((0.98, 0.06), (0.90, 0.15), (0.60, 0.40))
# alpha + beta stays below 1 by this much: beyond it the long-run variance means nothing.
LEAST_REVERSION = 1e-5
# A filter with less alpha or beta, or whose variance reverts by less a day, is at the end of its scale. Of real files
# alpha is 0.08 to 0.17, beta 0.72 to 0.91, and 0.01 to 0.13 of a surprise is gone a day later.
LEAST_ALPHA, LEAST_BETA, LITTLE_REVERSION = 1e-3, 1e-3, 1e-4
# The search ends where the likelihood of a return changes by less than this per unit of its scale; scales end at FAR.
GRADIENT, FAR = 1e-7, 25.0


class Filter(NamedTuple):
    """A filter of volatility.

    omega, alpha, beta  of the recursion
    start               variance before the first return
    log_likelihood      of the returns it was fitted to, NaN where it was not fitted
    """

    omega: float
    alpha: float
    beta: float
    start: float
    log_likelihood: float

    @property
    def persistence(self) -> float:
        """Share of a surprise that is left a step later."""
        return self.alpha + self.beta

    @property
    def long_run_variance(self) -> float:
        """Of a step; infinite where the filter does not revert, as EWMA."""
        return self.omega / (1.0 - self.persistence) if self.persistence < 1.0 else float("inf")

    def variance(self, returns: ArrayLike) -> FloatArray:
        """(T+1,) variance known before each return, the last one the forecast."""
        moves = np.ascontiguousarray(returns, dtype=np.float64)
        return known_variance(moves * moves, self.omega, self.alpha, self.beta, self.start)

    def horizon_variance(self, variance: ArrayLike, steps: int) -> FloatArray:
        """(...) variance of a sum of so many steps, seen from where the next step has this variance."""
        known = np.asarray(variance, dtype=np.float64)
        left = self.persistence ** np.arange(steps)
        if self.persistence >= 1.0:
            return np.asarray(known * steps + self.omega * np.arange(steps).sum())
        return np.asarray(steps * self.long_run_variance + (known - self.long_run_variance) * left.sum())


def ewma(returns: ArrayLike, decay: float) -> Filter:
    """The filter of RiskMetrics (1996), which starts at the mean square of the returns."""
    if not 0.0 <= decay < 1.0:
        raise ConfigError(f"decay = {decay!r}: must be a number from 0 to below 1")
    return Filter(0.0, 1.0 - decay, decay, _mean_square(returns), float("nan"))


def fit_garch(returns: ArrayLike, near: Filter | None = None) -> Filter:
    """The GARCH(1,1) of a history of (T,) returns, by maximum likelihood; it starts at their mean square.

    near  where the search starts, of a history much alike; None for several starts

    Searched are the long-run variance, the persistence and the share of alpha in it, each on a scale without bounds, by
    BFGS with exact derivatives. ConfigError for a history that is too short; NumericalError where no start ends.
    """
    from scipy.optimize import minimize

    moves = np.ascontiguousarray(returns, dtype=np.float64)
    if len(moves) < LEAST_RETURNS or not np.all(np.isfinite(moves)) or not np.any(moves):
        raise ConfigError(f"a history of {len(moves)} returns: GARCH needs {LEAST_RETURNS}, finite and not all 0")
    start = _mean_square(moves)
    # In units of the deviation everything is of the size of 1.
    squares = moves * moves / start

    def loss(point: FloatArray) -> tuple[float, FloatArray]:
        (omega, alpha, beta), chain = _parameters(point)
        found = garch_likelihood(squares, omega, alpha, beta, 1.0)
        return -float(found[0]) / len(squares), -(found[1:] @ chain) / len(squares)

    best = None
    for persistence, share in STARTS if near is None else (_of_filter(near),):
        begin = np.array([0.0, _logit(persistence / (1.0 - LEAST_REVERSION)), _logit(share)])
        # Of three numbers; a method for many hands them to threads, which takes a hundred times as long.
        found = minimize(loss, begin, jac=True, method="BFGS", options={"gtol": GRADIENT})
        if np.isfinite(found.fun) and (best is None or found.fun < best.fun):
            best = found
    if best is None:
        raise NumericalError("the likelihood of GARCH is finite at none of its starts")
    (omega, alpha, beta), _ = _parameters(best.x)
    likelihood = -best.fun * len(squares) - 0.5 * len(squares) * np.log(start)
    return Filter(omega * start, alpha, beta, start, float(likelihood))


def degenerate(fitted: Filter) -> str:
    """Why a fitted GARCH filters nothing, or nothing that can be relied on; "" where its parameters are inside their
    bounds. One jump that is no move of the market is enough: what stands before it and after it is alike beside it."""
    if fitted.alpha < LEAST_ALPHA:
        return f"alpha = {fitted.alpha:.1e}: no move changes the deviation, as without a filter"
    if fitted.beta < LEAST_BETA:
        return f"beta = {fitted.beta:.1e}: the deviation remembers the last day alone"
    if 1.0 - fitted.persistence < LITTLE_REVERSION:
        return f"alpha + beta = {fitted.persistence:.6f}: the deviation never reverts"
    return ""


def residuals(returns: ArrayLike, used: Filter) -> FloatArray:
    """(T,) returns over the deviation known before each."""
    return np.asarray(np.asarray(returns, dtype=np.float64) / np.sqrt(used.variance(returns)[:-1]))


def simulate(used: Filter, innovations: ArrayLike) -> FloatArray:
    """(D,T) returns of the recursion from (D,T) innovations of mean square 1."""
    return simulate_each([used] * len(np.asarray(innovations)), innovations)


def simulate_each(used: Sequence[Filter], innovations: ArrayLike) -> FloatArray:
    """(D,T) returns, each row of a recursion of its own, from (D,T) innovations of mean square 1."""
    z = np.asarray(innovations, dtype=np.float64)
    omega, alpha, beta, variance = np.array([(f.omega, f.alpha, f.beta, f.start) for f in used]).T
    path = np.empty_like(z)
    for step in range(z.shape[1]):
        path[:, step] = z[:, step] * np.sqrt(variance)
        variance = omega + alpha * path[:, step] ** 2 + beta * variance
    return path


def _mean_square(returns: ArrayLike) -> float:
    moves = np.asarray(returns, dtype=np.float64)
    return float(np.mean(moves * moves))


def _of_filter(known: Filter) -> tuple[float, float]:
    """Persistence and share of alpha of a filter, away from the ends of their scales."""
    persistence = min(max(known.persistence, 0.05), 0.999)
    return persistence, min(max(known.alpha / known.persistence, 1e-3), 0.95) if known.persistence > 0.0 else 0.1


def _logit(share: float) -> float:
    return float(np.log(share / (1.0 - share)))


def _parameters(point: FloatArray) -> tuple[tuple[float, float, float], FloatArray]:
    """omega, alpha, beta of a point of the search, and their derivatives by it, (3,3)."""
    level = float(np.exp(np.clip(point[0], -FAR, FAR)))
    kept, share = (float(1.0 / (1.0 + np.exp(-x))) for x in np.clip(point[1:], -FAR, FAR))
    persistence = (1.0 - LEAST_REVERSION) * kept
    by_kept, by_share = persistence * (1.0 - kept), share * (1.0 - share)
    alpha, beta = persistence * share, persistence * (1.0 - share)
    chain = np.array(
        [
            [level * (1.0 - persistence), -level * by_kept, 0.0],
            [0.0, share * by_kept, persistence * by_share],
            [0.0, (1.0 - share) * by_kept, -persistence * by_share],
        ]
    )
    return (level * (1.0 - persistence), alpha, beta), chain
