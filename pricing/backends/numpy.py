"""value and greeks of flat arrays on numpy: the reference."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from pricing.arrays import FloatArray
from pricing.xp import numpy as xp


def value(
    model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1, out: FloatArray | None = None
) -> FloatArray:
    """Value of each row, into `out` if given; columns are forward, strike, tau, vol, discount, sign, each (n,)."""
    with np.errstate(under="ignore"):
        values = np.asarray(model.value(xp, *columns), dtype=np.float64)
    if out is None:
        return values
    out[:] = values
    return out


def greeks(
    model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1, third_order: bool = False
) -> tuple[FloatArray, ...]:
    """value, delta, gamma, vega, theta, rho, vanna, volga, charm of each row; third order appends five more."""
    formula = model.greeks_to_third_order if third_order else model.greeks
    with np.errstate(under="ignore"):
        return tuple(np.asarray(column, dtype=np.float64) for column in formula(xp, *columns))
