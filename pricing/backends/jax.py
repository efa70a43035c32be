"""value and greeks of flat arrays on jax."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np

from pricing.arrays import FloatArray
from pricing.xp import jax as xp


@functools.cache
def _compiled(model: ModuleType, name: str) -> Any:
    return jax.jit(functools.partial(getattr(model, name), xp))


def value(
    model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1, out: FloatArray | None = None
) -> FloatArray:
    """Value of each row, into `out` if given; see the numpy backend."""
    with xp.double_precision():
        values = np.asarray(_compiled(model, "value")(*columns))
    if out is None:
        return values
    out[:] = values
    return out


def greeks(
    model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1, third_order: bool = False
) -> tuple[FloatArray, ...]:
    """value and eight Greeks of each row, or thirteen; see the numpy backend."""
    name = "greeks_to_third_order" if third_order else "greeks"
    with xp.double_precision():
        return tuple(np.asarray(column) for column in _compiled(model, name)(*columns))
