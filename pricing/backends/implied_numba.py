"""Implied vols of flat arrays compiled by numba: production."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pricing.arrays import FloatArray, IntArray, read_only
from pricing.errors import Status
from pricing.xp import numba as XP

OK, EXPIRED, NOT_FINITE = float(Status.OK), float(Status.EXPIRED), float(Status.NOT_FINITE)
NOT_CONVERGED = float(Status.NOT_CONVERGED)
LINE = XP.LINE
STAGES = {"MEASURED": "measured", "FIRST": "first_deviation", "REFINED": "refined_deviation"}
BLOCK = 512  # rows; the four columns between stages stay in the fastest cache


def _template(tag: str) -> Any:
    def implied_vol(columns, resolution, steps, taken, own, far, vol, status):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        price, forward, strike, tau, discount, sign = columns
        s, x, value, rest = XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK)
        rows, blocks, parts = np.uint64(vol.shape[0]), far.shape[0], taken.shape[0] // LINE
        for turn in range(parts):
            # The blocks of this thread's own part first, then what others have not begun of theirs.
            part = (own + turn) % parts
            first, last = blocks * part // parts, blocks * (part + 1) // parts
            block = first + XP.next_of(taken, part * LINE)
            while block < last:
                # Unsigned, so that no index is looked at for whether it counts from the end: that halves the vectors.
                start = np.uint64(block) * np.uint64(BLOCK)
                count = min(np.uint64(BLOCK), rows - start)
                for m in range(count):
                    n = start + m
                    row = MEASURED(XP, price[n], forward[n], strike[n], discount[n], sign[n])  # noqa: F821
                    s[m], x[m], value[m], rest[m] = row
                    XP.side_by_side(2)
                for m in range(count):
                    s[m] = FIRST(XP, s[m], x[m], value[m], rest[m])  # noqa: F821
                    XP.side_by_side(2)
                for _ in range(steps):
                    for m in range(count):
                        s[m] = REFINED(XP, s[m], x[m], value[m], rest[m])  # noqa: F821
                        XP.side_by_side(2)
                left = 0
                for m in range(count):
                    n = start + m
                    contract = (price[n], forward[n], strike[n], tau[n], discount[n], sign[n])
                    root, outcome = FORMULA(XP, (s[m], x[m], value[m], rest[m]), contract, resolution)  # noqa: F821
                    fit = XP.fit_quote(price[n], forward[n], strike[n], tau[n], discount[n], sign[n], SIGNED)  # noqa: F821
                    outcome = (outcome if tau[n] > 0.0 else EXPIRED) if fit else NOT_FINITE
                    vol[n] = XP.nan_unless(outcome == OK, root)
                    status[n] = outcome
                    left += 1 if outcome == NOT_CONVERGED else 0
                    XP.side_by_side(2)
                far[block] = left
                block = first + XP.next_of(taken, part * LINE)
        XP.settle_loops()

    return implied_vol


@functools.cache
def _kernel(inversion: ModuleType) -> Any:
    stages = {name: XP.compile_formula(getattr(inversion, formula)) for name, formula in STAGES.items()}
    bound = {**stages, "SIGNED": getattr(inversion, "SIGNED_PRICES", False)}
    return XP.compile_kernel(_template(""), XP.source_hash(inversion), inversion.vol_and_status, bound)


def implied_vol(
    inversion: ModuleType, columns: tuple[FloatArray, ...], resolution: float, threads: int = 1, steps: int = 1
) -> tuple[FloatArray, NDArray[np.int8], IntArray]:
    """vol and status of each row, NaN where the status is not OK, and the rows that are NOT_CONVERGED.

    Any number will do, the status tells it. Blocks of rows go to whichever thread is free.
    steps  before the last one; one is enough for all but absurd contracts
    """
    vol = np.empty(columns[0].shape)
    status = np.empty(columns[0].shape, dtype=np.int8)
    kernel, given = _kernel(inversion), tuple(read_only(column) for column in columns)
    workers = XP.workers_of(threads)
    # How many blocks of each part are taken, on a cache line each; how many rows of a block are far from their vol.
    taken, far = np.zeros(workers * LINE, dtype=np.int64), np.empty((vol.size + BLOCK - 1) // BLOCK, dtype=np.int64)

    def run(own: slice) -> None:
        kernel(given, float(resolution), steps, taken, own.start, far, vol, status)

    XP.run_in_threads(run, workers, workers, block=1)
    return vol, status, _not_converged(far, status)


def _not_converged(far: IntArray, status: NDArray[np.int8]) -> IntArray:
    """The rows of that status, looked for in the blocks that have some: a pass over all is one that nobody shares."""
    rows = (np.flatnonzero(far)[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
    rows = rows[rows < status.size]
    return rows[status[rows] == np.int8(Status.NOT_CONVERGED)]
