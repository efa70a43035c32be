"""Account kernels on jax: blocks of positions gathered and summed by segment."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from portfolio_margin.kernel_inputs import (
    Faults,
    Positions,
    Table,
    faults,
    segment_starts,
    units_held,
    worst_of_segments,
)
from pricing.arrays import FloatArray, IntArray
from pricing.xp.jax import double_precision

BLOCK_POSITIONS = 65_536


@functools.partial(jax.jit, static_argnames="rounded")
def _block_sums(rows: Any, asset: Any, held: Any, instrument: Any, segment: Any, rounded: bool) -> Any:
    product = held[:, None] * rows[instrument]
    if rounded:
        product = jnp.where(asset[instrument][:, None], jnp.rint(product), product)
    return jax.ops.segment_sum(product, segment, num_segments=BLOCK_POSITIONS, indices_are_sorted=True)


def account_sums(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, Faults]:
    """(A,K) sums in ticks; see the numpy backend."""
    first = positions.group_ptr[positions.account_ptr]
    filled = np.flatnonzero(np.diff(first) > 0)
    held = units_held(positions, table)
    out = np.zeros((len(first) - 1, table.rows.shape[1]))
    out[filled] = _segment_sums(positions, table, held, first[filled])
    return out, faults(positions, table, held)


def worst_loss(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, IntArray, Faults]:
    """(A,) worst loss in ticks and (A,) its scenario; see the numpy backend."""
    starts, account = segment_starts(positions)
    held = units_held(positions, table)
    sums = _segment_sums(positions, table, held, starts)
    return *worst_of_segments(sums, account, len(positions.account_ptr) - 1), faults(positions, table, held)


def _segment_sums(positions: Positions, table: Table, held: FloatArray, starts: IntArray) -> FloatArray:
    """(segments, K) sums; blocks have one fixed size, so that one compilation serves any book."""
    out = np.zeros((len(starts), table.rows.shape[1]))
    segment = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(held))))
    with double_precision():
        rows, asset = jnp.asarray(table.rows), jnp.asarray(~table.contract)
        for low in range(0, len(held), BLOCK_POSITIONS):
            block = slice(low, low + BLOCK_POSITIONS)
            pad = BLOCK_POSITIONS - len(held[block])
            local = segment[block] - segment[low]
            columns = (
                np.pad(held[block], (0, pad)),
                np.pad(positions.instrument_idx[block], (0, pad)),
                np.pad(local, (0, pad), constant_values=BLOCK_POSITIONS - 1),
            )
            sums = np.asarray(_block_sums(rows, asset, *columns, rounded=table.rounded))
            # A segment may straddle two blocks; whole ticks add exactly.
            out[segment[low] : segment[low] + local[-1] + 1] += sums[: local[-1] + 1]
    return out
