"""value and greeks of flat arrays on numpy: the reference."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from pricing import exercise
from pricing.arrays import FloatArray, into
from pricing.backends import american_numpy
from pricing.models import black76
from pricing.resolve import is_solved
from pricing.xp import numpy as xp


def value(
    model: ModuleType,
    columns: tuple[FloatArray, ...],
    threads: int = 1,
    out: FloatArray | None = None,
    accuracy: str = "default",
) -> FloatArray:
    """Value of each row, into `out` if given; columns are forward, strike, tau, vol, discount, sign, each (n,).

    A model with CARRY takes a seventh, the cost of carry per year; without it the option is on the future itself.
    accuracy is that of a model that is solved.
    """
    if is_solved(model):
        european = value(black76, columns[:6])
        return into(out, exercise.value(american_numpy, columns, european, accuracy=accuracy))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return into(out, np.asarray(model.value(xp, *columns), dtype=np.float64))


def greeks(
    model: ModuleType,
    columns: tuple[FloatArray, ...],
    threads: int = 1,
    third_order: bool = False,
    accuracy: str = "default",
) -> tuple[FloatArray, ...]:
    """value, delta, gamma, vega, theta, rho, vanna, volga, charm of each row; third order appends five more."""
    if is_solved(model):
        exercise.check_order(third_order)
        return exercise.greeks(american_numpy, columns, greeks(black76, columns[:6]), accuracy=accuracy)
    formula = model.greeks_to_third_order if third_order else model.greeks
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return tuple(np.asarray(column, dtype=np.float64) for column in formula(xp, *columns))
