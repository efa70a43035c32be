"""Filters of return histories: volatility known before each return, and returns scaled to the volatility of today.

Filtered historical simulation (Hull and White 1998; Barone-Adesi, Giannopoulos and Vosper 1999): a return of a calm day
is stretched, one of a wild day shrunk, by the ratio of the forecast to the volatility known before that day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError


def ewma_variance(returns: ArrayLike, decay: float, initial_variance: ArrayLike) -> FloatArray:
    """(T+1,...) variance known before each of T returns, the last one the forecast (RiskMetrics 1996).

    returns            (T,...) one row a step, oldest first
    decay              weight of what was known, in [0, 1)
    initial_variance   variance before the first return

    v[t+1] = decay v[t] + (1 - decay) r[t]^2
    """
    return garch_variance(returns, 0.0, 1.0 - decay, decay, initial_variance)


def garch_variance(
    returns: ArrayLike, omega: ArrayLike, alpha: float, beta: float, initial_variance: ArrayLike
) -> FloatArray:
    """(T+1,...) variance known before each of T returns, the last one the forecast (Bollerslev 1986, GARCH(1,1)).

    returns            (T,...) one row a step, oldest first
    omega              constant of the recursion, 0 or more
    alpha, beta        weights of the last return squared and of what was known, 0 or more
    initial_variance   variance before the first return

    v[t+1] = omega + alpha r[t]^2 + beta v[t]
    """
    moves = np.asarray(returns, dtype=np.float64)
    if alpha < 0.0 or beta < 0.0 or np.any(np.asarray(omega) < 0.0) or np.any(np.asarray(initial_variance) < 0.0):
        raise ConfigError(f"alpha = {alpha!r}, beta = {beta!r}, omega and initial variance: all must be 0 or more")
    variance = np.empty((len(moves) + 1, *moves.shape[1:]))
    variance[0] = initial_variance
    for step in range(len(moves)):
        variance[step + 1] = omega + alpha * moves[step] ** 2 + beta * variance[step]
    return variance


def scaled_returns(
    returns: ArrayLike, variance: ArrayLike, floor: float = 0.0, cap: float = np.inf, common: bool = False
) -> FloatArray:
    """(T,...) returns times the ratio of the forecast to the volatility known before each.

    returns    (T,...) one row a step, oldest first
    variance   (T+1,...) known before each return, then the forecast; where it was 0 a return keeps its size
    floor, cap bounds of the ratio
    common     one ratio for all factors (columns) of a step, the root of the mean ratio of variances: scaling factor by
               factor would undo the correlation there was on that day
    """
    known = np.asarray(variance, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(known[:-1] > 0.0, known[-1] / known[:-1], 1.0)
    if common and ratio.ndim > 1:
        ratio = np.broadcast_to(ratio.mean(axis=1, keepdims=True), ratio.shape)
    return np.asarray(np.asarray(returns, dtype=np.float64) * np.clip(np.sqrt(ratio), floor, cap))


def overlapping_sums(values: ArrayLike, steps: int) -> FloatArray:
    """(T-steps+1,...) sums of consecutive rows: log returns over a horizon of so many steps, starting at every one; NaN
    where one of its rows is."""
    rows = np.asarray(values, dtype=np.float64)
    lacking = np.isnan(rows)
    sums = _window(np.where(lacking, 0.0, rows), steps)
    # Running sums would carry a NaN on to all later horizons.
    return np.where(_window(lacking.astype(np.float64), steps) > 0.0, np.nan, sums) if lacking.any() else sums


def _window(rows: FloatArray, steps: int) -> FloatArray:
    total = np.concatenate([np.zeros((1, *rows.shape[1:])), np.cumsum(rows, axis=0)])
    return np.asarray(total[steps:] - total[:-steps])
