"""Account kernels on jax: every segment adds up its positions one by one, all segments of a block at a time.

Segments of about as many positions go together in blocks, on one device or shared out among several.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from portfolio_margin.kernel_inputs import (
    QUANTITY_ROUNDING,
    STEP_TOLERANCE,
    Faults,
    Positions,
    Table,
    netting_segments,
    worst_of_losses,
)
from pricing.arrays import FloatArray, IntArray
from pricing.xp.devices import EVERYWHERE, LEAST_ROWS, SHARED, mesh_of, power_of_two, rows_at_once, shared_out
from pricing.xp.jax import double_precision

# Rows as wide as the table that are there at once for each segment, at most.
TEMPORARIES = 4
# Every shape is compiled, which takes longer than to add up what a small one is filled up with: the least numbers of
# positions, rows and columns, and as many numbers as the segments of a small block are filled up to.
LEAST_POSITIONS = 4096
LEAST_TABLE = (128, 16)
LEAST_NUMBERS = 4096
NEVER = np.iinfo(np.int64).max


class _Given(NamedTuple):
    """What every device has whole: the columns of the positions and of the table, both filled up."""

    instrument: Any
    quantity: Any
    rows: Any
    unit: Any
    contract: Any
    long_weight: Any
    magnitude: Any
    row_set: Any


class _Segments(NamedTuple):
    """Consecutive positions that are added up: the first, how many, and the netting set of all of them."""

    first: Any
    count: Any
    netting_set: Any


def _folded(given: _Given, block: _Segments, initial: Any, step: Callable[..., Any]) -> Any:
    """What `step(state, position, row, units held, is a position)` makes of a block's positions, each in its turn."""
    first, count, _ = block

    def body(turn: Any, state: Any) -> Any:
        there = turn < count
        position = jnp.where(there, first + turn, 0)
        row, quantity = given.instrument[position], given.quantity[position]
        balance = jnp.where(quantity > 0, quantity * given.long_weight[row], quantity)
        held = jnp.where(given.contract[row], jnp.rint(quantity / given.unit[row]), balance)
        return step(state, position, row, held, there)

    return jax.lax.fori_loop(0, jnp.max(count), body, initial)


def _sums(given: _Given, block: _Segments, rounded: bool) -> Any:
    """(S,K) sums of a block's segments, in ticks."""

    def step(total: Any, position: Any, row: Any, held: Any, there: Any) -> Any:
        product = held[:, None] * given.rows[row]
        if rounded:
            product = jnp.where(given.contract[row][:, None], product, jnp.rint(product))
        return total + jnp.where(there[:, None], product, 0.0)

    # Of the block, so that every device is known to have its own.
    nothing = jnp.zeros_like(block.count, jnp.float64)[:, None] * jnp.zeros(given.rows.shape[1])
    return _folded(given, block, nothing, step)


def _lowest(given: _Given, block: _Segments, rounded: bool) -> tuple[Any, Any]:
    """(S,) lowest sum of each segment and its column: what leaves the device is two numbers a segment."""
    sums = _sums(given, block, rounded)
    column = jnp.argmin(sums, axis=1)
    return jnp.take_along_axis(sums, column[:, None], axis=1)[:, 0], column


def _checks(given: _Given, block: _Segments, rounded: bool) -> tuple[Any, Any, Any]:
    """(S,) each: first position off its step, sum of magnitudes, first position in another netting set; or NEVER."""

    def step(state: Any, position: Any, row: Any, held: Any, there: Any) -> Any:
        off, magnitude, misplaced = state
        quantity, unit = given.quantity[position], given.unit[row]
        gap = jnp.abs(jnp.rint(quantity / unit) * unit - quantity)
        whole = gap <= STEP_TOLERANCE * unit + QUANTITY_ROUNDING * jnp.abs(quantity)
        bad = there & given.contract[row] & ~whole
        strange = there & (given.row_set[row] != block.netting_set)
        return (
            jnp.minimum(off, jnp.where(bad, position, NEVER)),
            magnitude + jnp.where(there, jnp.abs(held) * given.magnitude[row], 0.0),
            jnp.minimum(misplaced, jnp.where(strange, position, NEVER)),
        )

    never = jnp.full_like(block.first, NEVER)
    return _folded(given, block, (never, jnp.zeros_like(block.count, jnp.float64), never), step)


_RESULTS = {_sums: SHARED, _lowest: (SHARED, SHARED), _checks: (SHARED, SHARED, SHARED)}


@functools.cache
def _compiled(function: Callable[..., Any], mesh: jax.sharding.Mesh, rounded: bool) -> Any:
    inputs = (_Given(*(EVERYWHERE for _ in _Given._fields)), _Segments(SHARED, SHARED, SHARED))
    return shared_out(functools.partial(function, rounded=rounded), mesh, inputs, _RESULTS[function])


class _Job(NamedTuple):
    """Positions and table on the devices that share the segments."""

    mesh: jax.sharding.Mesh
    given: _Given
    rounded: bool
    columns: int


def _job(positions: Positions, table: Table, devices: int | None) -> _Job:
    mesh = mesh_of(devices)
    # Filled up: books and tables of other sizes find what was compiled.
    room = power_of_two(max(len(positions.quantity), LEAST_POSITIONS))
    rows, columns = (_table_room(count, least) for count, least in zip(table.rows.shape, LEAST_TABLE, strict=True))
    # What no position refers to is never read; a column more is the first again, so that no sum is lower than all.
    filled = _filled(table.rows, rows, columns)
    filled[:, table.rows.shape[1] :] = filled[:, :1]
    by_row = (table.unit, table.contract, table.long_weight, table.magnitude, positions.row_set)
    given = _Given(
        _filled(np.asarray(positions.instrument_idx, np.int32), room),
        _filled(positions.quantity, room),
        filled,
        *(_filled(column, rows) for column in by_row),
    )
    everywhere = jax.sharding.NamedSharding(mesh, EVERYWHERE)
    return _Job(mesh, jax.device_put(given, everywhere), table.rounded, columns)


def _filled(values: Any, *room: int) -> Any:
    """The values and zeros behind them."""
    filled = np.zeros(room, values.dtype)
    filled[tuple(map(slice, values.shape))] = values
    return filled


def _table_room(count: int, least: int) -> int:
    """Rows or columns of a table with those it is filled up with: 1, 2 or a multiple of 4 times the least number."""
    step = least if count <= 4 * least else 4 * least
    pieces = -(-count // step)
    return step * (power_of_two(pieces) if step == least else pieces)


def _block_room(segments: int, columns: int) -> int:
    """Segments of a block with those it is filled up with: a power of two, and of four where they are few."""
    least = min(16, power_of_two(max(LEAST_NUMBERS // columns, 1)))
    room = power_of_two(max(segments, least))
    return room if room >= LEAST_ROWS or room.bit_length() % 2 else 2 * room


def _results(function: Callable[..., Any], job: _Job, segments: _Segments) -> Iterator[tuple[IntArray, Any]]:
    """The segments of every block and what the function makes of them, with rows more that are of no segment."""
    compiled = _compiled(function, job.mesh, job.rounded and function is not _checks)
    given, width = job.given, job.columns
    if function is _checks:
        # Which look at no scenario: compiled once for tables of any number of them, rounded or not.
        given, width = given._replace(rows=None), 1
    for chosen in _blocks(segments.count, TEMPORARIES * 8 * width, job.mesh):
        room = job.mesh.size * _block_room(-(-len(chosen) // job.mesh.size), width)
        block = _Segments(*(np.zeros(room, np.int64) for _ in _Segments._fields))
        for column, values in zip(block, segments, strict=True):
            column[: len(chosen)] = values[chosen]
        found = compiled(given, block)
        yield chosen, jax.tree.map(np.asarray, found)


def _blocks(count: IntArray, bytes_each: int, mesh: jax.sharding.Mesh) -> Iterator[IntArray]:
    """Segments that go together: the longest has at most twice the positions of the shortest."""
    order = np.argsort(count, kind="stable")
    ends = 2 ** np.arange(int(count.max(initial=0)).bit_length() + 1)
    bounds = np.searchsorted(count[order], [1, *(ends + 1)])
    for low, high in itertools.pairwise(bounds):
        step = mesh.size * rows_at_once(int(high - low), bytes_each, mesh)
        for start in range(int(low), int(high), step):
            yield order[start : min(start + step, int(high))]


def account_sums(
    positions: Positions, table: Table, threads: int = 1, devices: int | None = None
) -> tuple[FloatArray, Faults]:
    """(A,K) sums in ticks; see the numpy backend. devices share the accounts, None for the one jax uses by default."""
    first = positions.group_ptr[positions.account_ptr]
    out = np.zeros((len(first) - 1, table.rows.shape[1]))
    with double_precision():
        job = _job(positions, table, devices)
        for chosen, sums in _results(_sums, job, _Segments(first[:-1], np.diff(first), np.zeros_like(first[:-1]))):
            out[chosen] = sums[: len(chosen), : out.shape[1]]
        return out, _faults(job, *_netting_segments(positions), len(first) - 1)


def worst_loss(
    positions: Positions, table: Table, threads: int = 1, devices: int | None = None
) -> tuple[FloatArray, IntArray, Faults]:
    """(A,) worst loss in ticks and (A,) its scenario; see the numpy backend. devices as in `account_sums`."""
    segments, account = _netting_segments(positions)
    lowest, scenario = np.zeros(len(account)), np.zeros(len(account), np.int64)
    with double_precision():
        job = _job(positions, table, devices)
        for chosen, found in _results(_lowest, job, segments):
            lowest[chosen], scenario[chosen] = (values[: len(chosen)] for values in found)
        total, worst = worst_of_losses(lowest, scenario, account, len(positions.account_ptr) - 1)
        return total, worst, _faults(job, segments, account, len(total))


def _netting_segments(positions: Positions) -> tuple[_Segments, IntArray]:
    """Every (account, netting set) and its account."""
    starts, account, netting_set = netting_segments(positions)
    return _Segments(starts, np.diff(np.append(starts, len(positions.quantity))), netting_set), account


def _faults(job: _Job, segments: _Segments, account: IntArray, accounts: int) -> Faults:
    """The checks of the numba kernel."""
    off, magnitude, misplaced = np.full(accounts, NEVER), np.zeros(accounts), np.full(accounts, NEVER)
    for chosen, found in _results(_checks, job, segments):
        first_off, sizes, first_misplaced = (values[: len(chosen)] for values in found)
        np.minimum.at(off, account[chosen], first_off)
        np.add.at(magnitude, account[chosen], sizes)
        np.minimum.at(misplaced, account[chosen], first_misplaced)
    return Faults(np.where(off < NEVER, off, -1), magnitude, np.where(misplaced < NEVER, misplaced, -1))
