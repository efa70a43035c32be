"""Implied vols of flat arrays compiled by numba: production."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pricing.arrays import FloatArray, read_only
from pricing.errors import Status
from pricing.xp import numba as XP

OK, EXPIRED, NOT_FINITE = float(Status.OK), float(Status.EXPIRED), float(Status.NOT_FINITE)
STAGES = {"MEASURED": "measured", "FIRST": "first_deviation", "REFINED": "refined_deviation"}
BLOCK = 512  # rows; the four columns between stages stay in the fastest cache


def _template(tag: str) -> Any:
    def implied_vol(columns, resolution, steps, scratch, vol, status):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        price, forward, strike, tau, discount, sign = columns
        s, x, value, rest = scratch
        rows = np.uint64(vol.shape[0])
        for block in range((vol.shape[0] + BLOCK - 1) // BLOCK):
            # Unsigned, so that no index is looked at for whether it counts from the end: that halves the vectors.
            start = np.uint64(block) * np.uint64(BLOCK)
            count = min(np.uint64(BLOCK), rows - start)
            for m in range(count):
                n = start + m
                row = MEASURED(XP, price[n], forward[n], strike[n], discount[n], sign[n])  # noqa: F821
                s[m], x[m], value[m], rest[m] = row
            for m in range(count):
                s[m] = FIRST(XP, s[m], x[m], value[m], rest[m])  # noqa: F821
            for _ in range(steps):
                for m in range(count):
                    s[m] = REFINED(XP, s[m], x[m], value[m], rest[m])  # noqa: F821
            for m in range(count):
                n = start + m
                contract = (price[n], forward[n], strike[n], tau[n], discount[n], sign[n])
                root, outcome = FORMULA(XP, (s[m], x[m], value[m], rest[m]), contract, resolution)  # noqa: F821
                fit = XP.fit_quote(price[n], forward[n], strike[n], tau[n], discount[n], sign[n], SIGNED)  # noqa: F821
                outcome = (outcome if tau[n] > 0.0 else EXPIRED) if fit else NOT_FINITE
                vol[n] = XP.nan_unless(outcome == OK, root)
                status[n] = outcome

    return implied_vol


@functools.cache
def _kernel(inversion: ModuleType) -> Any:
    stages = {name: XP.compile_formula(getattr(inversion, formula)) for name, formula in STAGES.items()}
    bound = {**stages, "SIGNED": getattr(inversion, "SIGNED_PRICES", False)}
    return XP.compile_kernel(_template(""), XP.source_hash(inversion), inversion.vol_and_status, bound)


def implied_vol(
    inversion: ModuleType, columns: tuple[FloatArray, ...], resolution: float, threads: int = 1, steps: int = 1
) -> tuple[FloatArray, NDArray[np.int8]]:
    """vol and status of each row, NaN where the status is not OK; any number will do, the status tells it.

    steps  before the last one; one is enough for all but absurd contracts
    """
    vol = np.empty(columns[0].shape)
    status = np.empty(columns[0].shape, dtype=np.int8)
    kernel, given = _kernel(inversion), tuple(read_only(column) for column in columns)

    def run(rows: slice) -> None:
        scratch = tuple(np.empty(BLOCK) for _ in range(4))
        kernel(tuple(column[rows] for column in given), float(resolution), steps, scratch, vol[rows], status[rows])

    XP.run_in_threads(run, vol.size, threads)
    return vol, status
