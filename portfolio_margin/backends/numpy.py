"""Account kernels on numpy: the reference."""

from __future__ import annotations

import numpy as np

from portfolio_margin.kernel_inputs import (
    Faults,
    Positions,
    Table,
    faults,
    netting_segments,
    units_held,
    worst_of_segments,
)
from pricing.arrays import FloatArray, IntArray

BLOCK_POSITIONS = 50_000


def account_sums(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, Faults]:
    """(A,K) sum over each account's positions of rows times units held, in ticks."""
    accounts = len(positions.account_ptr) - 1
    first = positions.group_ptr[positions.account_ptr]
    filled = np.flatnonzero(np.diff(first) > 0)
    held = units_held(positions, table)
    out = np.zeros((accounts, table.rows.shape[1]))
    out[filled] = _segment_sums(positions, table, held, first[filled])
    return out, faults(positions, table, held)


def worst_loss(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, IntArray, Faults]:
    """(A,) worst loss in ticks, summed over netting sets, and (A,) its scenario; -1 where nothing is lost."""
    starts, account, _ = netting_segments(positions)
    held = units_held(positions, table)
    sums = _segment_sums(positions, table, held, starts)
    return *worst_of_segments(sums, account, len(positions.account_ptr) - 1), faults(positions, table, held)


def _segment_sums(positions: Positions, table: Table, held: FloatArray, starts: IntArray) -> FloatArray:
    """(segments, K) sums over consecutive positions, computed in blocks of whole segments."""
    out = np.empty((len(starts), table.rows.shape[1]))
    ends = np.append(starts[1:], len(held))
    low = 0
    while low < len(starts):
        high = max(low + 1, int(np.searchsorted(ends, starts[low] + BLOCK_POSITIONS, side="right")))
        block = slice(starts[low], ends[high - 1])
        row = positions.instrument_idx[block]
        with np.errstate(over="ignore", invalid="ignore"):  # sums that are not finite are refused by their magnitude
            product = held[block, None] * table.rows[row]
        asset = np.flatnonzero(~table.contract[row])
        if table.rounded and len(asset):
            product[asset] = np.rint(product[asset])
        # Adding 0 turns -0 into 0, as in the compiled sums, which start from 0.
        out[low:high] = np.add.reduceat(product, starts[low:high] - starts[low], axis=0) + 0.0
        low = high
    return out
