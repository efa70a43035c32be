"""Worst losses by a screen: sums in single precision tell which scenarios can be the worst; only those are exact.

An account kernel is bound by the bytes of the rows it gathers, and rows in single precision are half of them. Their
sums are not exact, but they come with a bound, so that every scenario that is surely not the worst can be left out.
Mostly one is left. Its exact sum takes a number a position, from a copy of the table that is laid out column by column:
few columns are ever read, and they stay near. What is returned is that sum. Sums of whole ticks are exact in any order,
so it has the bits of `portfolio_margin.backends.numba`; tables without ticks are not screened. Accounts of which too
many scenarios are left, or which the bound does not hold for, are chosen for that kernel.

**The bound.** With u = 2^-24, held_i rows of magnitude at most w_i, n positions and G = sum |held_i| w_i: a quantity
and a number of a row are each off by a factor 1 + d, |d| <= u, when they are rounded to single precision. A product
that is fused with its sum is rounded once with it, and at most n such roundings follow; if the processor cannot fuse,
one more. So a sum in single precision is off by at most ((1 + u)^(n + 3) - 1) G, less than 1.016 (n + 3) u G for
n <= 2^18 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). What is below the normal numbers,
2^-126, may be lost altogether: of a quantity, times w_i <= 2^64; of a number of a row, times |held_i|; of every sum.
That is less than n 2^-61 + 2^-100 G, because w_i is counted as 2^-20 at least. G is at most 2^100, so |held_i| at most
2^120, and nothing overflows. Products of balances of collateral are rounded to whole ticks in the exact sum: another
half each. All that is less than

    E = 1.0625 (n + 6) u G + n 2^-60 + (number of such products),

by 3 u G at least, which is more than the roundings of E, of the limit below and of G itself. With sums t_s in single
precision, and the lowest exact sum in scenario s*, t_s* <= t_s + 2 E for every s. A loss is a sum below zero, so
t_s* < E besides: only scenarios up to min(lowest t_s + 2 E, E) can be the worst. Several scenarios whose exact sums are
equal are all among them, so that the first of them is found.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np

from portfolio_margin.backends import lanes, steps
from portfolio_margin.backends.steps import CLEARLY_WHOLE, QUOTIENT_ROUNDING
from portfolio_margin.kernel_inputs import POSITIONS_PER_ROW, Table
from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# The bound: by position and gross size, and by position alone.
ROUNDING = 1.0625 * 2.0**-24
SPARE_ROUNDINGS = 6
UNDERFLOW = 2.0**-60
# What it holds for: magnitudes of rows, of accounts, and positions.
LEAST_MAGNITUDE, LARGEST_MAGNITUDE = 2.0**-20, 2.0**64
LARGEST_SIZE = 2.0**100
MOST_POSITIONS = 2**18
# Scenarios of an account that are summed one by one; of more, all at once are quicker.
MOST_LEFT = 4
# Segments, and positions of them, that are screened before their scenarios are summed: they stay in the first caches.
# Where the table has several chunks, each is read once for many more, so that it stays in the second-level cache.
SEGMENTS_AT_ONCE, POSITIONS_AT_ONCE = 64, 4_096
SEGMENTS_BY_CHUNK, POSITIONS_BY_CHUNK = 8_192, 131_072
# Positions that are asked for before they are needed.
AHEAD = 2_560


class Room(NamedTuple):
    """Scratch memory of a thread: rows held by position, in both precisions; what is known of segments.

    held, near   (positions at once,)
    bits, low    (chunks * segments at once,) scenarios of a chunk that can be the worst, and its lowest sum
    gross, odd   (segments at once,) G of the bound, and how many positions are not in `held`; odd -1 where it does
                 not hold
    """

    held: FloatArray
    near: Any
    bits: IntArray
    low: FloatArray
    gross: FloatArray
    odd: IntArray


class Screen(NamedTuple):
    """A table as the screen reads it.

    single     (chunks * N, W) rows in single precision, cut into chunks of `width` columns
    columns    (K, N) the same rows in double precision, scenario by scenario
    weight     (N,) largest magnitude of a row, at least LEAST_MAGNITUDE
    largest    weight of a contract, at most
    width      columns of a chunk: all registers hold twice as many as in the exact kernel
    room       of one thread
    """

    single: Any
    columns: FloatArray
    weight: FloatArray
    largest: float
    width: int
    room: Room

    def for_thread(self, copied: bool) -> Screen:
        """The same with a room of its own, and with tables of its own where they are to be copied."""
        room = _room(len(self.room.bits) // len(self.room.gross))
        if not copied:
            return self._replace(room=room)
        return self._replace(single=lanes.aligned(self.single), columns=lanes.aligned(self.columns), room=room)


def prepared(table: Table, positions: int) -> Screen | None:
    """The screen of a table for so many positions; None where it would not pay, or not hold."""
    most = table.magnitude.max(initial=0.0)
    few = positions < POSITIONS_PER_ROW * len(table.rows)
    if few or not table.rounded or not most <= LARGEST_MAGNITUDE:
        return None
    weight = np.maximum(table.magnitude, LEAST_MAGNITUDE)
    largest = float(weight[table.contract].max(initial=LEAST_MAGNITUDE))
    width, chunks = lanes.width_of(table.rows.shape[1], lanes.WIDTHS[-1])
    single = lanes.chunked(table.rows, width, chunks, lanes.IN_SINGLE)
    return Screen(single, lanes.aligned(table.rows.T), weight, largest, width, _room(chunks))


def _room(chunks: int) -> Room:
    several = chunks > 1
    positions = POSITIONS_BY_CHUNK if several else POSITIONS_AT_ONCE
    segments = SEGMENTS_BY_CHUNK if several else SEGMENTS_AT_ONCE
    held, near = np.empty(positions), np.empty(positions, np.float32)
    bits, low = np.empty(chunks * segments, np.int64), np.empty(chunks * segments)
    return Room(held, near, bits, low, np.empty(segments), np.empty(segments, np.int64))


def _steps_template(tag: str) -> Any:
    def count_steps(first, last, instrument_idx, quantity, per_unit, held, near):
        """Rows held by positions first to last - 1, 0 where that needs another look; how many do."""
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        odd = 0
        for p in range(first, last):
            quotient = quantity[p] * per_unit[instrument_idx[p]]
            whole = lanes.nearest(quotient)
            clear = abs(quotient - whole) + abs(quotient) * QUOTIENT_ROUNDING <= CLEARLY_WHOLE
            units = whole if clear else 0.0
            held[p - first] = units
            near[p - first] = units
            odd += 0 if clear else 1
        return odd

    return count_steps


def _odd_template(tag: str) -> Any:
    def odd_ones(first, last, block, held, values, total):
        """Total with the positions that `held` leaves out; how many, their part of G, whether one is off its step."""
        tag  # noqa: B018
        _, base, (instrument_idx, quantity), terms = block
        per_unit, unit, long_weight, weight = terms
        odd, gross, fault = 0, 0.0, False
        for p in range(first, last):
            if held[p - base] != 0.0:
                continue
            n = instrument_idx[p]
            quotient = quantity[p] * per_unit[n]
            if abs(quotient - lanes.nearest(quotient)) + abs(quotient) * QUOTIENT_ROUNDING <= CLEARLY_WHOLE:
                continue
            contract = not np.isnan(per_unit[n])
            units, off = UNITS(quantity[p], unit[n], contract, long_weight[n])  # noqa: F821
            total = ADD(total, values, n, units, not contract)  # noqa: F821
            gross += abs(units) * weight[n]
            odd += 1
            fault = fault or off
        return total, odd, gross, fault

    return odd_ones


def _sum_template(tag: str) -> Any:
    def summed(first, last, base, instrument_idx, held, column):
        """The sum of the scenario of a column: of whole ticks, so in whatever order."""
        tag  # noqa: B018
        total = 0.0
        for p in range(first, last):
            total += held[p - base] * column[instrument_idx[p]]
        return total

    return summed


def _look_template(tag: str) -> Any:
    def look(low_r, high_r, block, held, single, largest, some_odd, valid, known):
        """What single precision says of segments low_r to high_r - 1 in a chunk, into `known`.

        single  address of the rows of the chunk
        valid   bits of the columns that are scenarios
        known   bits of the scenarios that can be the worst, lowest sum, G, and how many positions are odd: -1 where the
                bound does not hold
        """
        tag  # noqa: B018
        XP.vector_loop()
        start, base, (instrument_idx, quantity), _ = block
        (units, near), (bits, low, gross, odd) = held, known
        for r in range(low_r, high_r):
            first, last, j = start[r], start[r + 1], r - low_r
            for p in range(first + AHEAD, last + AHEAD, XP.LINE):
                XP.prefetch(instrument_idx, p)
                XP.prefetch(quantity, p)
            total, added, others, more, fault = ZEROS(), 0.0, 0, 0.0, last - first > MOST_POSITIONS  # noqa: F821
            for p in range(first, last):
                total = ADD_ROW(total, single, instrument_idx[p], near[p - base])  # noqa: F821
                added += abs(units[p - base])
            if some_odd and not fault:
                total, others, more, fault = ODD(first, last, block, units, single, total)  # noqa: F821
            size = added * largest + more
            least = float(LOWEST(total)[0])  # noqa: F821
            limit = LIMIT(least, last - first, size, others)  # noqa: F821
            low[j], gross[j] = least, size
            bits[j] = BELOW(total, np.float32(limit)) & (valid if size > 0.0 else 0)  # noqa: F821
            odd[j] = -1 if fault or not size <= LARGEST_SIZE else others

    return look


def _limit(low: float, positions: int, gross: float, odd: int) -> float:
    """Up to where a sum in single precision can be that of the worst scenario: see the bound above."""
    bound = ROUNDING * (positions + SPARE_ROUNDINGS) * gross + UNDERFLOW * positions + odd
    return min(low + 2.0 * bound, bound)


def _across_template(tag: str) -> Any:
    def across(positions, chunks, once, known, j):
        """Leave out the scenarios of chunks whose lowest sum is above the limit that all chunks set.

        Returns the bits and the first scenario of the only chunk that is left, or -1 where there are several.
        """
        tag  # noqa: B018
        bits, low, gross, odd = known
        least, found, begins = 0.0, 0, 0
        for chunk in range(chunks):
            least = min(least, low[chunk * once + j])
        limit = LIMIT(least, positions, gross[j], odd[j])  # noqa: F821
        for chunk in range(chunks):
            if low[chunk * once + j] > limit:
                bits[chunk * once + j] = 0
            left = bits[chunk * once + j]
            if left != 0:
                found, begins = (left if found == 0 else -1), chunk * WIDTH  # noqa: F821
        return found, begins

    return across


def _several_template(tag: str) -> Any:
    def several(r, block, held, columns, contracts, chunks, once, known, j, found):
        """Loss of a segment of which several scenarios are left, or that has odd positions; 1 if chosen instead."""
        tag  # noqa: B018
        start, base, (instrument_idx, _), _ = block
        (bits, _, gross, odd), (loss, scenario, size, chosen) = known, found
        first, last, best, where, tried = start[r], start[r + 1], 0.0, -1, 0
        for chunk in range(chunks):
            left = bits[chunk * once + j]
            while left != 0 and tried <= MOST_LEFT:
                s = chunk * WIDTH + lanes.first_place(left)  # noqa: F821
                left, tried = left & (left - 1), tried + 1
                column = lanes.offset(columns, s * contracts)
                total = SUM(first, last, base, instrument_idx, held, column)  # noqa: F821
                if odd[j] > 0:
                    total = ODD(first, last, block, held, column, total)[0]  # noqa: F821
                if total < best:
                    best, where = total, s
        loss[r], scenario[r], size[r] = 0.0 - best, where, gross[j]
        again = odd[j] < 0 or tried > MOST_LEFT
        chosen[r] = again
        return 1 if again else 0

    return several


def _settle_template(tag: str) -> Any:
    def settle(low_r, high_r, block, held, columns, contracts, chunks, once, known, found):
        """Losses of segments low_r to high_r - 1 and their first scenarios; how many are chosen instead."""
        tag  # noqa: B018
        start, base, (instrument_idx, _), _ = block
        (bits, _, gross, odd), (loss, scenario, size, chosen) = known, found
        left_over = 0
        for r in range(low_r, high_r):
            first, last, j = start[r], start[r + 1], r - low_r
            left, s = bits[j], 0
            if chunks > 1:
                left, s = ACROSS(last - first, chunks, once, known, j)  # noqa: F821
            if odd[j] != 0 or left & (left - 1) != 0:
                left_over += SEVERAL(r, block, held, columns, contracts, chunks, once, known, j, found)  # noqa: F821
                continue
            total = 0.0
            if left != 0:
                s += lanes.first_place(left)
                total = SUM(first, last, base, instrument_idx, held, lanes.offset(columns, s * contracts))  # noqa: F821
            best, where = (total, s) if total < 0.0 else (0.0, -1)
            loss[r], scenario[r], size[r], chosen[r] = 0.0 - best, where, gross[j], 0
        return left_over

    return settle


def _screen_template(tag: str) -> Any:
    def screened(segments, instrument_idx, quantity, terms, per_unit, screen, chosen):
        """Fill the segments, or choose them for the exact kernel. Returns how many are chosen."""
        tag  # noqa: B018
        start, loss, scenario, size = segments
        single, columns, weight, largest, (held, near, bits, low, gross, odd) = screen
        at, count, once, high_r, left = lanes.address, len(start) - 1, len(gross), 0, 0
        picked, units = (at(instrument_idx, 0), at(quantity, 0)), (at(held, 0), at(near, 0))
        of = at(per_unit, 0), at(terms[0], 0), at(terms[1], 0), at(weight, 0)
        found = at(loss, 0), at(scenario, 0), at(size, 0), at(chosen, 0)
        begins, contracts, chunks = at(start, 0), len(per_unit), len(single) // len(per_unit)
        while high_r < count:
            low_r = high_r
            while high_r < count and high_r < low_r + once and begins[high_r + 1] - begins[low_r] <= len(held):
                high_r += 1
            if high_r == low_r:  # too many positions for the room
                chosen[low_r] = True
                high_r, left = high_r + 1, left + 1
                continue
            these = low_r, high_r, (begins, begins[low_r], picked, of)
            some_odd = STEPS(begins[low_r], begins[high_r], *picked, of[0], *units) > 0  # noqa: F821
            for chunk in range(chunks):
                # Columns that only fill a vector up are no scenarios.
                rest = columns.shape[0] - chunk * WIDTH  # noqa: F821
                valid = (1 << rest) - 1 if rest < 64 else -1
                known = at(bits, chunk * once), at(low, chunk * once), at(gross, 0), at(odd, 0)
                rows = at(single, chunk * contracts * WIDTH)  # noqa: F821
                LOOK(*these, units, rows, largest, some_odd, valid, known)  # noqa: F821
            known = at(bits, 0), at(low, 0), at(gross, 0), at(odd, 0)
            left += SETTLE(*these, units[0], at(columns, 0), contracts, chunks, once, known, found)  # noqa: F821
        return left

    return screened


def _add_single(width: int) -> Any:
    add_row = lanes.operations(width, lanes.IN_SINGLE).add_row

    @numba.njit(nogil=True, error_model="numpy")
    def add(total: Any, rows: Any, row: int, units: float, rounded: bool) -> Any:
        return add_row(total, rows, row, np.float32(units))

    return add


@numba.njit(nogil=True, error_model="numpy")
def _add_exact(total: float, columns: Any, place: int, units: float, rounded: bool) -> float:
    product = units * columns[place]
    return total + (lanes.nearest(product) if rounded else product)


@functools.cache
def _screened(width: int) -> Any:
    """The kernel for vectors of a width."""
    vector = lanes.operations(width, lanes.IN_SINGLE)
    tag = f"{width} {XP.source_hash(lanes, steps)}"

    def part(template: Any, names: dict[str, Any], tag: str = tag, **options: Any) -> Any:
        return XP.compile_kernel(template(""), tag, None, names, **{"fastmath": False, **options})

    limit = numba.njit(nogil=True, error_model="numpy")(_limit)
    by_row, by_column = (
        part(_odd_template, {"ADD": add, "UNITS": steps.looked_at}, tag + name)
        for name, add in (("single", _add_single(width)), ("exact", _add_exact))
    )
    summed = part(_sum_template, {}, forceinline=True, fastmath={"reassoc", "contract", "nsz"})
    several = part(_several_template, {"SUM": summed, "ODD": by_column, "WIDTH": width})
    across = part(_across_template, {"LIMIT": limit, "WIDTH": width})
    look = {
        "ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "LOWEST": vector.lowest, "BELOW": vector.below,
        "LIMIT": limit, "ODD": by_row,
    }  # fmt: skip
    parts = {
        "STEPS": part(_steps_template, {}),
        "LOOK": part(_look_template, look),
        "SETTLE": part(_settle_template, {"SUM": summed, "SEVERAL": several, "ACROSS": across}),
        "WIDTH": width,
    }
    return part(_screen_template, parts)


def screen(segments: Any, columns: Any, table: Table, per_unit: FloatArray, prepared: Screen) -> tuple[int, BoolArray]:
    """Fill losses, scenarios and sizes of the segments; how many the exact kernel must look at, and (R,) which."""
    chosen = np.empty(len(segments.size), np.uint8)
    given = segments.start, segments.loss, segments.scenario, segments.size
    terms = read_only(table.unit), read_only(table.long_weight)
    table_read = (*prepared[:-2], tuple(prepared.room))
    left = _screened(prepared.width)(given, *columns, terms, per_unit, table_read, chosen)
    return int(left), chosen.view(np.bool_)
