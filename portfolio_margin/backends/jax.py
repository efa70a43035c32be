"""Account kernels on jax: blocks of whole segments, gathered and summed on one device or shared out among several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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
    worst_of_losses,
)
from pricing.arrays import FloatArray, IntArray
from pricing.xp.devices import EVERYWHERE, SHARED, mesh_of, power_of_two, rows_at_once, shared_out
from pricing.xp.jax import double_precision

# Rows as wide as the table that are there at once for each position, at most.
TEMPORARIES = 4


def _sums(rows: Any, asset: Any, block: Any, segments: int, rounded: bool) -> Any:
    """(1,segments,K) sums of the one block that this device has."""
    held, instrument, segment = (column[0] for column in block)
    product = held[:, None] * rows[instrument]
    if rounded:
        product = jnp.where(asset[instrument][:, None], jnp.rint(product), product)
    return jax.ops.segment_sum(product, segment, num_segments=segments, indices_are_sorted=True)[None]


def _lowest(rows: Any, asset: Any, block: Any, segments: int, rounded: bool) -> tuple[Any, Any]:
    """(1,segments) lowest sum of each segment and its column: what leaves the device is two numbers a segment."""
    sums = _sums(rows, asset, block, segments, rounded)
    column = jnp.argmin(sums, axis=2)
    return jnp.take_along_axis(sums, column[:, :, None], axis=2)[:, :, 0], column


@functools.cache
def _compiled(function: Callable[..., Any], mesh: jax.sharding.Mesh, segments: int, rounded: bool) -> Any:
    call = functools.partial(function, segments=segments, rounded=rounded)
    results = (SHARED, SHARED) if function is _lowest else SHARED
    return shared_out(call, mesh, (EVERYWHERE, EVERYWHERE, (SHARED, SHARED, SHARED)), results)


def account_sums(
    positions: Positions, table: Table, threads: int = 1, devices: int | None = None
) -> tuple[FloatArray, Faults]:
    """(A,K) sums in ticks; see the numpy backend. devices share the accounts, None for the one jax uses by default."""
    first = positions.group_ptr[positions.account_ptr]
    filled = np.flatnonzero(np.diff(first) > 0)
    held = units_held(positions, table)
    out = np.zeros((len(first) - 1, table.rows.shape[1]))
    starts = first[filled]
    for launch, sums in _launches(_sums, positions, table, (held, starts), devices):
        for block, summed in zip(launch, np.asarray(sums), strict=False):
            out[filled[block.first : block.last]] = summed[: block.last - block.first]
    return out, faults(positions, table, held)


def worst_loss(
    positions: Positions, table: Table, threads: int = 1, devices: int | None = None
) -> tuple[FloatArray, IntArray, Faults]:
    """(A,) worst loss in ticks and (A,) its scenario; see the numpy backend. devices as in `account_sums`."""
    starts, account = segment_starts(positions)
    held = units_held(positions, table)
    lowest, scenario = np.empty(len(starts)), np.empty(len(starts), np.int64)
    for launch, found in _launches(_lowest, positions, table, (held, starts), devices):
        for block, values, columns in zip(launch, *map(np.asarray, found), strict=False):
            count = block.last - block.first
            lowest[block.first : block.last] = values[:count]
            scenario[block.first : block.last] = columns[:count]
    total, worst = worst_of_losses(lowest, scenario, account, len(positions.account_ptr) - 1)
    return total, worst, faults(positions, table, held)


class _Block(NamedTuple):
    """Whole segments first to last - 1, whose positions are low to high - 1."""

    first: int
    last: int
    low: int
    high: int


def _blocks(starts: IntArray, positions: int, size: int) -> list[_Block]:
    """Segments in blocks of at most `size` positions; a segment that is larger is a block of its own."""
    ends = np.append(starts[1:], positions)
    blocks, first = [], 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + size, side="right")))
        blocks.append(_Block(first, last, int(starts[first]), int(ends[last - 1])))
        first = last
    return blocks


def _launches(
    function: Callable[..., Any],
    positions: Positions,
    table: Table,
    segments: tuple[FloatArray, IntArray],
    devices: int | None,
) -> Iterator[tuple[list[_Block], Any]]:
    """The function of every block, as many at a time as there are devices; shapes are the same for all of them."""
    held, starts = segments
    mesh = mesh_of(devices)
    size = rows_at_once(len(held), TEMPORARIES * 8 * table.rows.shape[1], mesh)
    blocks = _blocks(starts, len(held), size)
    if not blocks:
        return
    width = power_of_two(max(block.high - block.low for block in blocks))
    # One segment more than there are takes what blocks are filled up with.
    count = power_of_two(1 + max(block.last - block.first for block in blocks))
    segment = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(held))))
    with double_precision():
        compiled = _compiled(function, mesh, count, table.rounded)
        everywhere = jax.sharding.NamedSharding(mesh, EVERYWHERE)
        rows, asset = jax.device_put((table.rows, ~table.contract), everywhere)
        for low in range(0, len(blocks), mesh.size):
            launch = blocks[low : low + mesh.size]
            columns = (np.zeros((mesh.size, width)), *(np.zeros((mesh.size, width), np.int64) for _ in range(2)))
            columns[2][:] = count - 1
            for place, block in enumerate(launch):
                part, filled = slice(block.low, block.high), slice(block.high - block.low)
                columns[0][place, filled] = held[part]
                columns[1][place, filled] = positions.instrument_idx[part]
                columns[2][place, filled] = segment[part] - block.first
            yield launch, compiled(rows, asset, columns)
