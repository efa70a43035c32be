"""value and greeks of flat arrays on numpy: the reference."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from pricing import exercise
from pricing.arrays import FloatArray
from pricing.backends import american_numpy
from pricing.models import black76
from pricing.resolve import is_solved
from pricing.xp import numpy as xp


def value(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> FloatArray:
    """Value of each row; columns are forward, strike, tau, vol, discount, sign, all of one shape (n,).

    A model with CARRY takes a seventh, the cost of carry per year; without it the option is on the future itself.
    """
    if is_solved(model):
        return exercise.value(american_numpy, columns, value(black76, columns[:6]))
    with np.errstate(under="ignore"):
        return np.asarray(model.value(xp, *columns), dtype=np.float64)


def greeks(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> tuple[FloatArray, ...]:
    """value, delta, gamma, vega, theta, rho, vanna, volga, charm of each row."""
    if is_solved(model):
        return exercise.greeks(american_numpy, columns, greeks(black76, columns[:6]))
    with np.errstate(under="ignore"):
        return tuple(np.asarray(column, dtype=np.float64) for column in model.greeks(xp, *columns))
