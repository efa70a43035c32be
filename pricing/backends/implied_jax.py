"""Implied vols of flat arrays on jax."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from pricing.arrays import FloatArray, IntArray
from pricing.errors import Status
from pricing.xp import jax as xp
from pricing.xp.devices import filled_up, room_for

COMPILES_FOR_A_SHAPE = True  # too long for a few rows, which numpy takes through further steps


@functools.cache
def _compiled(inversion: ModuleType) -> Any:
    return jax.jit(functools.partial(inversion.implied_vol, xp))


def implied_vol(
    inversion: ModuleType, columns: tuple[FloatArray, ...], resolution: float, threads: int = 1
) -> tuple[FloatArray, NDArray[np.int8], IntArray]:
    """vol and status of each row, and the rows that are NOT_CONVERGED; see the numpy backend."""
    with xp.double_precision():
        rows = len(columns[0])
        vol, status = _compiled(inversion)(*filled_up(columns, room_for(rows)), resolution)
        status = np.asarray(status)[:rows].astype(np.int8)
        return np.array(vol[:rows]), status, np.flatnonzero(status == np.int8(Status.NOT_CONVERGED))
