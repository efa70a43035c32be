"""value and greeks of flat arrays on jax."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np

from pricing import exercise
from pricing.arrays import FloatArray
from pricing.backends import american_jax
from pricing.models import black76
from pricing.resolve import is_solved
from pricing.xp import jax as xp


@functools.cache
def _compiled(model: ModuleType, name: str) -> Any:
    return jax.jit(functools.partial(getattr(model, name), xp))


def value(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> FloatArray:
    """Value of each row; see the numpy backend."""
    if is_solved(model):
        return exercise.value(american_jax, columns, value(black76, columns[:6]))
    with xp.double_precision():
        return np.asarray(_compiled(model, "value")(*columns))


def greeks(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> tuple[FloatArray, ...]:
    """value and eight Greeks of each row; see the numpy backend."""
    if is_solved(model):
        return exercise.greeks(american_jax, columns, greeks(black76, columns[:6]))
    with xp.double_precision():
        return tuple(np.asarray(column) for column in _compiled(model, "greeks")(*columns))
