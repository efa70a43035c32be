"""value and greeks of flat arrays on jax."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np

from pricing import exercise
from pricing.arrays import FloatArray, into
from pricing.backends import american_jax
from pricing.models import black76
from pricing.resolve import is_solved
from pricing.xp import jax as xp
from pricing.xp.devices import filled_up, room_for


@functools.cache
def _compiled(model: ModuleType, name: str) -> Any:
    return jax.jit(functools.partial(getattr(model, name), xp))


def _computed(model: ModuleType, name: str, columns: tuple[FloatArray, ...]) -> Any:
    """What a function of the model makes of the columns, with rows behind them that are to be cut off."""
    with xp.double_precision():
        return _compiled(model, name)(*filled_up(columns, room_for(len(columns[0]))))


def value(
    model: ModuleType,
    columns: tuple[FloatArray, ...],
    threads: int = 1,
    out: FloatArray | None = None,
    accuracy: str = "default",
) -> FloatArray:
    """Value of each row, into `out` if given; see the numpy backend."""
    if is_solved(model):
        european = value(black76, columns[:6])
        return into(out, exercise.value(american_jax, columns, european, accuracy=accuracy))
    return into(out, np.asarray(_computed(model, "value", columns))[: len(columns[0])])


def greeks(
    model: ModuleType,
    columns: tuple[FloatArray, ...],
    threads: int = 1,
    third_order: bool = False,
    accuracy: str = "default",
) -> tuple[FloatArray, ...]:
    """value and eight Greeks of each row, or thirteen; see the numpy backend."""
    if is_solved(model):
        exercise.check_order(third_order)
        return exercise.greeks(american_jax, columns, greeks(black76, columns[:6]), accuracy=accuracy)
    name = "greeks_to_third_order" if third_order else "greeks"
    return tuple(np.asarray(column)[: len(columns[0])] for column in _computed(model, name, columns))
