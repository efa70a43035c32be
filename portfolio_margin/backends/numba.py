"""Account kernels compiled by numba: production. Accounts are shared out among threads; inside one, positions in order.

Scenarios are cut into vectors that fit the registers (`lanes`), and the table of rows is laid out vector by vector, so
that the part of it that positions are picked from stays in the second-level cache. Each thread picks from a copy of
its own where the table is small.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np

from portfolio_margin.backends import compact, lanes, screen_numba, steps
from portfolio_margin.backends.screen_numba import SCREEN_PAYS, Screen
from portfolio_margin.kernel_inputs import (
    EXACT_LIMIT,
    NO_FAULTS,
    Faults,
    Positions,
    Table,
    faults,
    units_held,
)
from pricing.arrays import FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# Positions of a block, the work that a thread takes at a time: what it holds beside the table fits the caches. A screen
# holds little: of its blocks there are so many at most, because each costs a call.
BLOCK_POSITIONS, MOST_BLOCKS = 65_536, 64
# A table up to this size is copied for each thread.
OWN_COPY_BYTES = 4 * 2**20
# A table up to this size is kept as it is laid out, for as long as the table itself.
LARGEST_KEPT = 64 * 2**20
# Of the bound that spares the exact one: twenty million roundings are less.
MARGIN_OF_BOUND = 1.0 + 2.0**-20


class Rows(NamedTuple):
    """A table as the kernels pick from it.

    values        (chunks * N, W) rows cut into chunks of W columns, padded with zeros, each row aligned
    per_unit      (N,) 1 / unit of a contract; NaN for an asset
    largest       largest magnitude of a contract's row
    limit         what sums of magnitudes may reach
    screen        the table as the screen reads it, or None
    """

    values: FloatArray
    per_unit: FloatArray
    largest: float
    limit: float
    screen: Screen | None

    def for_thread(self, copied: bool) -> Rows:
        """The same for a thread of its own, with tables of its own where they are to be copied."""
        screen = None if self.screen is None else self.screen.for_thread(copied)
        return self._replace(values=lanes.aligned(self.values) if copied else self.values, screen=screen)


class Found(NamedTuple):
    """How many faults a block has: positions off their step or in a group of another set, accounts beyond the limit."""

    off_step: int
    misplaced: int
    too_large: int


class Segments(NamedTuple):
    """Runs of positions that are summed on their own, and what is found of each.

    start     (R+1,) first position of each
    loss      (R,) worst loss, and scenario (R,) where; or (0,) where sums are wanted
    sums      (R,K) or (0,0) where losses are wanted
    size      (R,) a bound of the sum of magnitudes
    """

    start: IntArray
    loss: FloatArray
    scenario: IntArray
    sums: FloatArray
    size: FloatArray


def _sweep_template(tag: str) -> Any:
    def sweep(segments, instrument_idx, quantity, terms, rows, chosen, held, odd):
        """Fill the segments, chunk after chunk of scenarios. Returns how many positions are off their step.

        chosen (R,) segments to fill, or (0,) for all
        held (P,) and odd (R,) carry rows held, and whether some are not in there, from the first chunk to the others.
        """
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        # Arrays are taken out of the tuples once, and none is sliced: either would count references, by account.
        start, loss, scenario, sums, size = segments
        unit, contract, long_weight, magnitude, rounded = terms
        values, per_unit, largest = rows
        contracts, keep, low, off_step = len(per_unit), len(held) > 0, start[0], 0
        chunk_sums = np.empty(WIDTH)  # noqa: F821
        for chunk in range(len(values) // contracts):
            shift, place = chunk * contracts, chunk * WIDTH  # noqa: F821
            for r in range(len(start) - 1):
                if len(chosen) > 0 and not chosen[r]:
                    continue
                total = ZEROS()  # noqa: F821
                if chunk == 0:
                    added, left = 0.0, False
                    for p in range(start[r], start[r + 1]):
                        n = lanes.take(instrument_idx, p)
                        steps = lanes.take(quantity, p) * lanes.take(per_unit, n)
                        units = lanes.nearest(steps)
                        if not IS_CLEAR(steps, units):  # noqa: F821
                            units, left = 0.0, True
                        total = ADD_ROW(total, values, n, units)  # noqa: F821
                        added += abs(units)
                        if keep:
                            held[p - low] = units
                    size[r], odd[r] = added * largest, left
                else:
                    for p in range(start[r], start[r + 1]):
                        total = ADD_ROW(total, values, shift + lanes.take(instrument_idx, p), lanes.take(held, p - low))  # noqa: F821
                if odd[r]:
                    for p in range(start[r], start[r + 1]):
                        n = instrument_idx[p]
                        steps = quantity[p] * per_unit[n]
                        if IS_CLEAR(steps, lanes.nearest(steps)):  # noqa: F821
                            continue
                        units, off = UNITS(quantity[p], unit[n], contract[n], long_weight[n])  # noqa: F821
                        if chunk == 0:
                            off_step += off
                            size[r] += abs(units) * magnitude[n]
                        if rounded and not contract[n]:
                            total = ADD_ROUNDED(total, values, shift + n, units)  # noqa: F821
                        else:
                            total = ADD_ROW(total, values, shift + n, units)  # noqa: F821
                if len(loss):
                    least, where = LOWEST(total)  # noqa: F821
                    best = 0.0 if chunk == 0 else -loss[r]
                    if least < best:
                        loss[r], scenario[r] = -least, place + where
                    elif chunk == 0:
                        loss[r], scenario[r] = 0.0, -1
                if len(sums):
                    STORE(total, chunk_sums)  # noqa: F821
                    for s in range(min(sums.shape[1] - place, WIDTH)):  # noqa: F821
                        sums[r, place + s] = chunk_sums[s]
        return off_step

    return sweep


@functools.cache
def _sweep(width: int) -> Any:
    """The kernel for vectors of a width."""
    vector = lanes.operations(width)
    names = {
        "ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded, "UNITS": steps.looked_at,
        "IS_CLEAR": steps.is_clear,
        "LOWEST": vector.lowest, "STORE": vector.store, "WIDTH": width,
    }  # fmt: skip
    tag = f"{width} {XP.source_hash(lanes, steps)}"
    return XP.compile_kernel(_sweep_template(""), tag, None, names, fastmath=False)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _netting_sets(first: int, last: int, positions: Any, start: Any, opens: Any) -> Any:
    """Where the netting sets of accounts first to last - 1 begin, and the first of each account, (A+1,).

    Returns how many sets there are and how many positions stand in a group of another set.
    """
    account_ptr, group_ptr, netting_set, instrument_idx, _, row_set = positions
    sets, misplaced = 0, 0
    for a in range(first, last):
        opens[a - first] = sets
        for g in range(account_ptr[a], account_ptr[a + 1]):
            if g == account_ptr[a] or netting_set[g] != netting_set[g - 1]:
                start[sets] = group_ptr[g]
                sets += 1
            for p in range(group_ptr[g], group_ptr[g + 1]):
                misplaced += row_set[instrument_idx[p]] != netting_set[g]
    opens[last - first] = sets
    start[sets] = group_ptr[account_ptr[last]]
    return sets, misplaced


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_up(opens: Any, found: Any, loss: Any, scenario: Any, size: Any) -> None:
    """Accounts from their netting sets: losses added, the scenario of the set that loses most, bounds added."""
    _, set_loss, set_scenario, _, set_size = found
    for a in range(len(loss)):
        summed, largest, worst, bound = 0.0, 0.0, -1, 0.0
        for s in range(opens[a], opens[a + 1]):
            summed += set_loss[s]
            bound += set_size[s]
            if set_loss[s] > largest:
                largest, worst = set_loss[s], set_scenario[s]
        loss[a], scenario[a], size[a] = summed, worst, bound


def account_sums(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, Faults]:
    """(A,K) sums in ticks; see the numpy backend."""
    job = Job(positions, table)
    sums = np.empty((len(positions.account_ptr) - 1, table.rows.shape[1]))
    nothing, nowhere = np.empty(0), np.empty(0, np.int64)

    def run(first: int, last: int, rows: Rows) -> Found:
        start = job.starts(first, last)
        segments = Segments(start, nothing, nowhere, sums[first:last], np.empty(last - first))
        off_step = job.sweep(segments, rows)
        return Found(off_step, 0, job.too_large(start, segments.size))

    return sums, job.faults(job.run(run, threads))


def worst_loss(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, IntArray, Faults]:
    """(A,) worst loss in ticks and (A,) its scenario; see the numpy backend."""
    job = Job(positions, table, screened=True)
    accounts = len(positions.account_ptr) - 1
    loss, scenario, no_sums = np.empty(accounts), np.empty(accounts, np.int64), np.empty((0, 0))
    joint = not np.any(positions.row_set) and not np.any(positions.netting_set)

    def run(first: int, last: int, rows: Rows) -> Found:
        start, here = job.starts(first, last), slice(first, last)
        size = np.empty(last - first)
        if joint:
            off_step = job.sweep(Segments(start, loss[here], scenario[here], no_sums, size), rows)
            return Found(off_step, 0, job.too_large(start, size))
        groups = int(positions.account_ptr[last] - positions.account_ptr[first])
        bounds, opens = np.empty(groups + 1, np.int64), np.empty(last - first + 1, np.int64)
        sets, misplaced = _netting_sets(first, last, positions[:-1], bounds, opens)
        found = Segments(bounds[: sets + 1], np.empty(sets), np.empty(sets, np.int64), no_sums, np.empty(sets))
        off_step = job.sweep(found, rows)
        _add_up(opens, found, loss[here], scenario[here], size)
        return Found(off_step, misplaced, job.too_large(start, size))

    return loss, scenario, job.faults(job.run(run, threads))


class Job:
    """The positions and the table of one call, and how its blocks of accounts are shared out."""

    def __init__(self, positions: Positions, table: Table, width: int | None = None, *, screened: bool = False) -> None:
        """width  of the vectors that the columns are cut into, a multiple of LANES; None for whatever suits them.

        screened  whether losses are wanted, and may be found by a screen where that pays
        """
        self.positions, self.table = positions, table
        columns = table.rows.shape[1]
        self.width = lanes.width_of(columns)[0] if width is None else width
        self.chunks = max(1, -(-columns // self.width))
        given = table, self.width, self.chunks
        self.rows, self.terms = _rows(*given), _terms(table)
        if screened:
            self.rows = self.rows._replace(screen=screen_numba.prepared(table, len(positions.quantity)))
        self.screen_pays = self.rows.screen is not None
        if self.screen_pays:
            self.compact = compact.compact(positions, table)

    def starts(self, first: int, last: int) -> IntArray:
        """(last - first + 1,) first position of accounts first to last: block by block, while their groups are near."""
        return self.positions.group_ptr[self.positions.account_ptr[first : last + 1]]

    def sweep(self, segments: Segments, rows: Rows) -> int:
        """Fill the segments; positions off their step, where there are any at least one."""
        held = np.empty(segments.start[-1] - segments.start[0] if self.chunks > 1 else 0)
        odd = np.empty(len(segments.size), np.bool_)
        columns, chosen = (self.positions.instrument_idx, self.positions.quantity), np.empty(0, np.bool_)
        if rows.screen is not None and self.screen_pays:
            ends = int(segments.start[0]), int(segments.start[-1])
            apart = compact.read(self.compact, self.positions, rows.per_unit, *ends)
            left, chosen, unclear = screen_numba.screen(segments, self.compact, apart, self.table, rows.screen)
            # Of several threads each may find that out; the numbers are the same either way.
            self.screen_pays = max(left, unclear) <= SCREEN_PAYS * len(chosen)
            if left == 0:
                return 0
        return int(_sweep(self.width)(segments, *columns, self.terms, rows[:3], chosen, held, odd))

    def too_large(self, start: IntArray, size: FloatArray) -> int:
        """How many accounts exceed the limit; most are known not to by the bound of their size."""
        if size.max(initial=0.0) * MARGIN_OF_BOUND <= self.rows.limit:
            return 0
        columns = self.positions.instrument_idx, self.positions.quantity
        suspects = np.flatnonzero(~(size * MARGIN_OF_BOUND <= self.rows.limit))
        exact = (steps.magnitude(start[a], start[a + 1], *columns, self.terms) for a in suspects)
        return sum(not magnitude <= self.rows.limit for magnitude in exact)

    def run(self, run: Callable[[int, int, Rows], Found], threads: int) -> list[Found]:
        """Blocks of accounts, each to the next thread that is free."""
        count = len(self.positions.quantity)
        blocks = iter(_blocks(self.positions, -(-count // MOST_BLOCKS) if self.screen_pays else 0))
        own = self.rows.values.nbytes <= OWN_COPY_BYTES

        def work(rows: Rows) -> list[Found]:
            return [run(low, high, rows) for low, high in blocks]

        def work_on_copy() -> list[Found]:
            return work(self.rows.for_thread(own))

        workers = min(threads, numba.config.NUMBA_NUM_THREADS, -(-len(self.positions.quantity) // BLOCK_POSITIONS))
        if workers <= 1:
            return work(self.rows)
        with ThreadPoolExecutor(workers - 1) as pool:
            waiting = [pool.submit(work_on_copy) for _ in range(workers - 1)]
            return [*work(self.rows), *(found for future in waiting for found in future.result())]

    def faults(self, found: list[Found]) -> Faults:
        """No faults, as a rule; where a block has some, all there are."""
        if not any(any(counts) for counts in found):
            return NO_FAULTS
        return faults(self.positions, self.table, units_held(self.positions, self.table))


def _blocks(positions: Positions, least: int = 0) -> list[tuple[int, int]]:
    """Bounds of blocks of accounts of so many positions, `least` or more, of an account at least."""
    account_ptr, group_ptr = positions.account_ptr, positions.group_ptr
    accounts, size = len(account_ptr) - 1, max(BLOCK_POSITIONS, least)
    count = int(group_ptr[account_ptr[-1]])
    if 0 < accounts <= size and count <= size:
        return [(0, accounts)]
    by_position = np.searchsorted(account_ptr, np.searchsorted(group_ptr, np.arange(0, count, size)))
    # A block of empty accounts ends, too.
    bounds = np.unique(np.concatenate([by_position, np.arange(0, accounts, size), [accounts]]))
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


def _rows(table: Table, width: int, chunks: int) -> Rows:
    """The table laid out; once where others ask for it as well."""
    if table.kept is None or table.rows.nbytes > LARGEST_KEPT:
        return _laid_out(table, width, chunks)
    of, found = table.kept.get((width, chunks), (None, None))
    # A table of other rows that was made of this one has come by its dictionary.
    if of is not table.rows:
        found = _laid_out(table, width, chunks)
        table.kept[width, chunks] = table.rows, found
    return found


def _laid_out(table: Table, width: int, chunks: int) -> Rows:
    largest = float(table.magnitude[table.contract].max(initial=0.0))
    limit = EXACT_LIMIT if table.rounded else float(np.finfo(np.float64).max)
    per_unit = read_only(np.where(table.contract, 1.0 / table.unit, np.nan))
    return Rows(lanes.chunked(table.rows, width, chunks), per_unit, largest, limit, None)


def _terms(table: Table) -> tuple[Any, ...]:
    """Everything beside the rows, as kernels take it."""
    return (*(read_only(column) for column in table[1:5]), table.rounded)
