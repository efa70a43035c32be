"""Implied vols of flat arrays compiled by numba: production."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pricing.arrays import FloatArray, read_only
from pricing.xp import numba as XP


def _template(tag: str) -> Any:
    def implied_vol(columns: Any, resolution: Any, vol: Any, status: Any) -> None:
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        price, forward, strike, tau, discount, sign = columns
        for n in range(vol.shape[0]):
            row = FORMULA(  # type: ignore[name-defined]  # noqa: F821
                XP, price[n], forward[n], strike[n], tau[n], discount[n], sign[n], resolution
            )
            vol[n], status[n] = row

    return implied_vol


@functools.cache
def _kernel(inversion: ModuleType) -> Any:
    return XP.compile_kernel(_template(""), XP.source_hash(inversion), inversion.implied_vol)


def implied_vol(
    inversion: ModuleType, columns: tuple[FloatArray, ...], resolution: float, threads: int = 1
) -> tuple[FloatArray, NDArray[np.int8]]:
    """vol and status of each row; see the numpy backend."""
    vol = np.empty(columns[0].shape)
    status = np.empty(columns[0].shape, dtype=np.int8)
    kernel, given = _kernel(inversion), tuple(read_only(column) for column in columns)

    def run(rows: slice) -> None:
        kernel(tuple(column[rows] for column in given), float(resolution), vol[rows], status[rows])

    XP.run_in_threads(run, vol.size, threads)
    return vol, status
