"""Moves over a horizon and their quantiles."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.filters import overlapping_sums

# Hyndman and Fan (1996), type 8: unbiased in the median whatever the distribution, which type 7 is not in the tails.
QUANTILE: Literal["median_unbiased"] = "median_unbiased"


def log_returns(close: ArrayLike) -> FloatArray:
    """(T-1,...) log returns of (T,...) prices or vols above 0, oldest first. ConfigError for any other."""
    prices = np.asarray(close, dtype=np.float64)
    if len(prices) < 2 or not np.all(np.isfinite(prices) & (prices > 0.0)):
        raise ConfigError(f"a history of {len(prices)} prices: needs two at least, each a number above 0")
    return np.asarray(np.diff(np.log(prices), axis=0))


def horizon_moves(returns: ArrayLike, steps: int, overlapping: bool = True) -> FloatArray:
    """(M,...) log moves over a horizon of so many steps.

    returns      (T,...) log returns a step, oldest first
    steps        steps of the horizon, 1 or more
    overlapping  from every step on, which uses all there is and makes neighbours depend on each other; or one after the
                 other, counted from the last so that the newest horizon is there
    """
    rows = np.asarray(returns, dtype=np.float64)
    if not 1 <= steps <= len(rows):
        raise ConfigError(
            f"horizon of {steps} steps: a history of {len(rows)} returns has horizons of 1 to {len(rows)}"
        )
    sums = overlapping_sums(rows, int(steps))
    return sums if overlapping else np.asarray(sums[::-1][:: int(steps)][::-1])


def quantile(values: ArrayLike, level: float) -> float:
    """The quantile of a sample at a level in [0, 1]."""
    return float(np.quantile(np.asarray(values, dtype=np.float64), level, method=QUANTILE))


def as_relative(log_move: ArrayLike) -> FloatArray:
    """Relative moves of log moves; -0.10 is -10 %."""
    return np.asarray(np.expm1(np.asarray(log_move, dtype=np.float64)))
