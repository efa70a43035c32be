"""value and greeks of flat arrays on numpy: the reference."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from pricing.arrays import FloatArray
from pricing.xp import numpy as xp


def value(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> FloatArray:
    """Value of each row; columns are forward, strike, tau, vol, discount, sign, all of one shape (n,)."""
    with np.errstate(under="ignore"):
        return np.asarray(model.value(xp, *columns), dtype=np.float64)


def greeks(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> tuple[FloatArray, ...]:
    """value, delta, gamma, vega, theta, rho, vanna, volga, charm of each row."""
    with np.errstate(under="ignore"):
        return tuple(np.asarray(column, dtype=np.float64) for column in model.greeks(xp, *columns))
