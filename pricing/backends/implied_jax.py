"""Implied vols of flat arrays on jax."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from pricing.arrays import FloatArray
from pricing.xp import jax as xp

COMPILES_FOR_A_SHAPE = True  # too long for a few rows, which numpy takes through further steps


@functools.cache
def _compiled(inversion: ModuleType) -> Any:
    return jax.jit(functools.partial(inversion.implied_vol, xp))


def implied_vol(
    inversion: ModuleType, columns: tuple[FloatArray, ...], resolution: float, threads: int = 1
) -> tuple[FloatArray, NDArray[np.int8]]:
    """vol and status of each row; see the numpy backend."""
    with xp.double_precision():
        vol, status = _compiled(inversion)(*columns, resolution)
        return np.array(vol), np.asarray(status).astype(np.int8)
