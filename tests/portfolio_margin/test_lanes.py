"""Vectors of both precisions beside the same in numpy: sums, the lowest and its place, bits up to a limit."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from portfolio_margin.backends import lanes

PRECISIONS = {"double": lanes.IN_DOUBLE, "single": lanes.IN_SINGLE}


def _kernel(width: int, precision: lanes.Precision) -> Any:
    vector = lanes.operations(width, precision)
    zeros, add_row, add_rounded, lowest, below, store = vector

    @numba.njit
    def kernel(rows: Any, held: Any, rounded: Any, limit: Any, out: Any) -> Any:
        total = zeros()
        for n in range(len(held)):
            if rounded:
                total = add_rounded(total, rows, n, held[n])
            else:
                total = add_row(total, lanes.address(rows, 0), n, held[n])
        store(total, out)
        return lowest(total), below(total, limit)

    return kernel


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("width", lanes.WIDTHS)
def test_sums_in_registers_are_those_of_numpy(width: int, precision: str) -> None:
    kind = PRECISIONS[precision]
    kernel, random = _kernel(width, kind), np.random.default_rng(width)
    for held in ([], [1.0], [2.0, -3.0, 0.5, 7.0]):
        amounts = np.array(held, kind.stored)
        rows = random.integers(-9, 9, (len(held), width)).astype(np.float64)
        table = lanes.chunked(rows, width, 1, kind)
        assert table.dtype == kind.stored and (table.size == 0 or table.ctypes.data % lanes.ALIGNMENT == 0)
        for rounded in (False, True):
            products = amounts[:, None] * rows
            sums = (np.rint(products) if rounded else products).sum(axis=0)
            for limit in (sums.min(), sums.min() - 1.0, np.median(sums), np.inf):
                out = np.empty(width + 1, kind.stored)[1:]  # no address that a register needs
                (low, place), bits = kernel(table, amounts, rounded, kind.stored(limit), out)
                assert out.tolist() == sums.tolist()
                assert (low, place) == (sums.min(), sums.argmin())
                assert [bool(bits >> s & 1) for s in range(width)] == (sums <= limit).tolist()
