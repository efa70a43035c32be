"""Implied vols of flat arrays on numpy: the reference."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from pricing.arrays import FloatArray, IntArray
from pricing.errors import Status
from pricing.xp import numpy as xp


def implied_vol(
    inversion: ModuleType, columns: tuple[FloatArray, ...], resolution: float, threads: int = 1, steps: int = 1
) -> tuple[FloatArray, NDArray[np.int8], IntArray]:
    """vol and status of each row, and the rows that are NOT_CONVERGED.

    Columns are price, forward, strike, tau, discount, sign, all of one shape (n,).
    steps  before the last one; one is enough for all but absurd contracts
    """
    # Branches that are not taken may overflow; a scaled price beside a plain one may underflow.
    with np.errstate(all="ignore"):
        vol, status = inversion.implied_vol(xp, *columns, resolution, steps)
    status = np.asarray(status).astype(np.int8)
    return np.asarray(vol, dtype=np.float64), status, np.flatnonzero(status == np.int8(Status.NOT_CONVERGED))
