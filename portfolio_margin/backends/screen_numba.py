"""Worst losses by a screen: rounded sums tell which scenarios can be the worst; only those are exact.

An account kernel is bound by the bytes of the rows it gathers, and by how much is added at once. Rows in sixteen bits
are a quarter of them, and are added up in whole numbers (`packed_rows`); positions are six bytes each, read once for a
book (`compact`). The sums come with a bound, so that every scenario that is surely not the worst can be left out.
Mostly one is left; where several are, sums in single precision say more. The exact sum of what is left takes a number a
position, from a copy of the table that is laid out column by column: few columns are ever read, and they stay near.
What is returned is that sum. Sums of whole ticks are exact in any order, so it has the bits of
`portfolio_margin.backends.numba`; tables without ticks are not screened. Accounts of which too many scenarios are left,
or which the bound does not hold for, are chosen for that kernel.

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

by 3 u G at least, which is more than the roundings of E, of the limit below and of G itself.

Sums of packed rows are exact. A row that is rounded to whole shares is off by half a share, each time that it is held;
the sum is rounded to single precision, and so are the share and their product, which is three roundings. Positions that
stand apart, m of them, are added in single precision as above. So the bound of such a sum is E with m for n, and half a
share for each row held of those that do not stand apart.

With sums t_s, and the lowest exact sum in scenario s*, t_s* <= t_s + 2 E for every s. A loss is a sum below zero, so
t_s* < E besides: only scenarios up to min(lowest t_s + 2 E, E) can be the worst. Several scenarios whose exact sums are
equal are all among them, so that the first of them is found.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np

from portfolio_margin.backends import lanes, packed_rows
from portfolio_margin.backends.compact import Apart, Compact
from portfolio_margin.backends.packed_rows import LINE, MOST_HELD, SHARES
from portfolio_margin.kernel_inputs import POSITIONS_PER_ROW, Table
from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# The bound: by position and gross size, by position alone, and by row held, in shares.
ROUNDING = 1.0625 * 2.0**-24
SPARE_ROUNDINGS = 6
UNDERFLOW = 2.0**-60
HALF = 0.5 * (1.0 + 2.0**-20)
# What it holds for: magnitudes of rows, of accounts, and positions.
LEAST_MAGNITUDE, LARGEST_MAGNITUDE = 2.0**-20, 2.0**64
LARGEST_SIZE = 2.0**100
MOST_POSITIONS = 2**18
# A screen that leaves more than this share of a block to the exact kernel, or to more than packed rows, is no help with
# the others.
SCREEN_PAYS = 0.3
# Scenarios of an account that are summed one by one; of more, all at once are quicker.
MOST_LEFT = 4
# Segments that are screened before their scenarios are summed: they stay in the first caches. Where the table has
# several chunks, each is read once for many more, so that it stays in the second-level cache.
SEGMENTS_AT_ONCE, SEGMENTS_BY_CHUNK = 64, 8_192
# Positions that are asked for before they are needed.
AHEAD = 640


class Room(NamedTuple):
    """Scratch memory of a thread: what is known of segments.

    bits, low      (chunks * segments at once,) scenarios of a chunk that can be the worst, and its lowest sum
    gross, bound   (segments at once,) G, and how far rounded sums can be from exact ones
    others         (segments at once,) how many positions stand apart; -1 where bits say nothing
    lists          (2 * segments at once + 2,) segments of which one scenario is left, and others
    """

    bits: IntArray
    low: FloatArray
    gross: FloatArray
    bound: FloatArray
    others: IntArray
    lists: IntArray


class Screen(NamedTuple):
    """A table as the screen reads it.

    packed     (chunks * N, words) rows in shares of 16 bits, cut into chunks of `width` columns; 0 for assets
    single     (chunks * N, W) rows in single precision
    columns    (K, N) the same rows in double precision, scenario by scenario
    weight     (N,) largest magnitude of a row, at least LEAST_MAGNITUDE
    largest    weight of a contract, at most: SHARES shares
    width      columns of a chunk: all registers hold twice as many as in the exact kernel
    room       of one thread
    """

    packed: Any
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
        packed, single, columns = (lanes.aligned(table) for table in (self.packed, self.single, self.columns))
        return self._replace(packed=packed, single=single, columns=columns, room=room)


def prepared(table: Table, positions: int) -> Screen | None:
    """The screen of a table for so many positions; None where it would not pay, or not hold."""
    most = table.magnitude.max(initial=0.0)
    few = positions < POSITIONS_PER_ROW * len(table.rows)
    if few or not table.rounded or not most <= LARGEST_MAGNITUDE:
        return None
    weight = np.maximum(table.magnitude, LEAST_MAGNITUDE)
    largest = float(weight[table.contract].max(initial=LEAST_MAGNITUDE))
    width, chunks = lanes.width_of(table.rows.shape[1], lanes.WIDTHS[-1])
    contracts = table.rows if table.contract.all() else np.where(table.contract[:, None], table.rows, 0.0)
    packed = packed_rows.packed(contracts, largest / SHARES, width, chunks)
    single = lanes.chunked(table.rows, width, chunks, lanes.IN_SINGLE)
    return Screen(packed, single, lanes.aligned(table.rows.T), weight, largest, width, _room(chunks))


def _room(chunks: int) -> Room:
    segments = SEGMENTS_BY_CHUNK if chunks > 1 else SEGMENTS_AT_ONCE
    bits, low = np.empty(chunks * segments, np.int64), np.empty(chunks * segments)
    others, lists = np.empty(segments, np.int64), np.empty(2 * segments + 2, np.int64)
    return Room(bits, low, np.empty(segments), np.empty(segments), others, lists)


def _apart_template(tag: str) -> Any:
    def add_apart(total, low, high, row, apart, single, weight):
        """A vector with the rows of positions that stand apart, low to high - 1 of them, and their part of G.

        apart  addresses of positions, units and long weights
        """
        tag  # noqa: B018 - enters the key of the disk cache
        position, units, long_weight = apart
        gross = 0.0
        for a in range(low, high):
            n = np.int64(row[position[a]])
            amount = units[a] * long_weight[n] if units[a] > 0.0 else units[a]
            total = ADD_ROW(total, single, n, np.float32(amount))  # noqa: F821
            gross += abs(amount) * weight[n]
        return total, gross

    return add_apart


def _exact_template(tag: str) -> Any:
    def exact(first, last, low, high, picked, column):
        """The sum of the scenario of a column: of whole ticks, so in whatever order."""
        tag  # noqa: B018
        row, held, (position, units, long_weight) = picked
        total = SUM(first, last, row, held, column)  # noqa: F821
        for a in range(low, high):
            n = row[position[a]]
            amount = units[a] * long_weight[n] if units[a] > 0.0 else units[a]
            # Of whole steps a whole number already.
            total += lanes.nearest(amount * column[n])
        return total

    return exact


def _sum_template(tag: str) -> Any:
    def summed(first, last, row, held, column):
        tag  # noqa: B018
        total = 0.0
        for p in range(first, last):
            total += np.float64(held[p]) * column[row[p]]
        return total

    return summed


def _left_template(tag: str) -> Any:
    def left(total, off):
        """Bits of the columns that can be the worst, where sums are off by so much at most; and the lowest sum."""
        tag  # noqa: B018
        least = float(LOWEST(total)[0])  # noqa: F821
        return BELOW(total, np.float32(min(least + 2.0 * off, off))), least  # noqa: F821

    return left


def _look_template(tag: str) -> Any:
    def look(low_r, high_r, start, begins, picked, tables, weights, valid, known):
        """What rounded sums say of segments low_r to high_r - 1 in a chunk, into `known`.

        begins  of `apart`, by segment
        tables  addresses of the packed rows of the chunk, and of those in single precision
        valid   bits of the columns that are scenarios
        """
        tag  # noqa: B018
        XP.vector_loop()
        (row, held, apart), (packed, single), (weight, largest) = picked, tables, weights
        bits, low, gross, bound, others = known
        share = np.float32(largest / SHARES)
        for r in range(low_r, high_r):
            first, last, j, count = start[r], start[r + 1], r - low_r, 0
            for p in range(first, last, LINE):
                XP.prefetch(row, p + AHEAD)
                XP.prefetch(row, p + AHEAD + LINE // 2)
                XP.prefetch(held, p + AHEAD)
                count += packed_rows.size_of(held, p, min(last - p, LINE))
            whole = NOTHING()  # noqa: F821
            for p in range(first, last - 1, 2):
                whole = ADD_PAIR(whole, packed, row[p], row[p + 1], packed_rows.pair_at(held, p))  # noqa: F821
            if (last - first) % 2 == 1:
                n, alone = row[last - 1], np.int32(held[last - 1]) & np.int32(0xFFFF)
                whole = ADD_PAIR(whole, packed, n, n, alone)  # noqa: F821
            total, more, size = SCALED(whole, share), begins[r + 1] - begins[r], count * largest  # noqa: F821
            if more > 0:
                total, added = APART(total, begins[r], begins[r + 1], row, apart, single, weight)  # noqa: F821
                size += added
            off = BOUND(more, size) + HALF * count * (largest / SHARES)  # noqa: F821
            left, least = LEFT(total, off)  # noqa: F821
            low[j], gross[j], bound[j] = least, size, off
            bits[j] = left & (valid if size > 0.0 else 0)
            others[j] = more if count <= MOST_HELD and size <= LARGEST_SIZE and more <= MOST_POSITIONS else -1

    return look


def _bound(positions: int, gross: float) -> float:
    """How far a sum in single precision can be from the exact one: see the bound above."""
    return ROUNDING * (positions + SPARE_ROUNDINGS) * gross + UNDERFLOW * positions + positions


def _across_template(tag: str) -> Any:
    def across(chunks, once, known, j):
        """Leave out the scenarios of chunks whose lowest sum is above the limit that all chunks set.

        Returns the bits and the first scenario of the only chunk that is left, or -1 where there are several.
        """
        tag  # noqa: B018
        bits, low, _, bound, _ = known
        least, found, begins = 0.0, 0, 0
        for chunk in range(chunks):
            least = min(least, low[chunk * once + j])
        limit = min(least + 2.0 * bound[j], bound[j])
        for chunk in range(chunks):
            if low[chunk * once + j] > limit:
                bits[chunk * once + j] = 0
            left = bits[chunk * once + j]
            if left != 0:
                found, begins = (left if found == 0 else -1), chunk * WIDTH  # noqa: F821
        return found, begins

    return across


def _several_template(tag: str) -> Any:
    def several(r, start, begins, picked, tables, weight, shape, known, j, found):
        """Loss of a segment of which several scenarios are left; 1 if it is chosen instead."""
        tag  # noqa: B018
        (row, held, apart), (single, columns), (contracts, scenarios, once) = picked, tables, shape
        (bits, _, _, _, others), (loss, scenario, size, chosen) = known, found
        first, last, low, high, best, where, tried = start[r], start[r + 1], begins[r], begins[r + 1], 0.0, -1, 0
        # Rows of their own magnitudes: the largest of all may be far above those that are held.
        _, own = APART(ZEROS(), low, high, row, apart, single, weight)  # noqa: F821
        for p in range(first, last):
            own += abs(np.float64(held[p])) * weight[row[p]]
        off, holds = BOUND(last - first, own), own <= LARGEST_SIZE and last - first <= MOST_POSITIONS  # noqa: F821
        for place in range(0, scenarios if holds else 0, WIDTH):  # noqa: F821
            left = bits[place // WIDTH * once + j] if others[j] >= 0 else -1  # noqa: F821
            second = left & (left - 1)
            if second & (second - 1) != 0:
                # Of more than two, sums in single precision leave fewer. Of the chunks before the best is exact.
                rows, total = lanes.offset(single, place * contracts), ZEROS()  # noqa: F821
                for p in range(first, last):
                    total = ADD_ROW(total, rows, np.int64(row[p]), np.float32(held[p]))  # noqa: F821
                total, _ = APART(total, low, high, row, apart, rows, weight)  # noqa: F821
                least = min(float(LOWEST(total)[0]), best + off)  # noqa: F821
                left = left & BELOW(total, np.float32(min(least + 2.0 * off, off)))  # noqa: F821
            while left != 0 and tried <= MOST_LEFT:
                s = place + lanes.first_place(left)
                left &= left - 1
                # Columns that only fill a vector up are no scenarios.
                if s < scenarios:
                    exact = EXACT(first, last, low, high, picked, lanes.offset(columns, s * contracts))  # noqa: F821
                    tried += 1
                    if exact < best:
                        best, where = exact, s
        again = tried > MOST_LEFT or not holds
        loss[r], scenario[r], size[r], chosen[r] = 0.0 - best, where, own, again
        return 1 if again else 0

    return several


def _split_template(tag: str) -> Any:
    def split(low_r, high_r, shape, known, found, one, many):
        """Lists of segments low_r to high_r - 1: those of which one scenario is left, or none, and the others.

        Returns how long the lists are. The scenario that is left is written beside the segment.
        """
        tag  # noqa: B018
        bits, _, gross, _, others = known
        _, scenario, size, chosen = found
        _, scenarios, once = shape
        ones, more = 0, 0
        for r in range(low_r, high_r):
            j = r - low_r
            left, s = bits[j], 0
            if scenarios > WIDTH:  # noqa: F821
                left, s = ACROSS(-(-scenarios // WIDTH), once, known, j)  # noqa: F821
            several = (others[j] < 0) | (left & (left - 1) != 0)
            scenario[r] = s + lanes.first_place(left) if left != 0 else -1
            size[r], chosen[r] = gross[j], 0
            one[ones] = many[more] = r
            ones, more = ones + (not several), more + several
        return ones, more

    return split


def _settle_template(tag: str) -> Any:
    def settle(those, count, start, begins, picked, columns, contracts, loss, scenario):
        """Losses of the segments of a list, of which the scenario is known."""
        tag  # noqa: B018
        for k in range(count):
            r = those[k]
            s = scenario[r]
            column = lanes.offset(columns, max(s, 0) * contracts)
            total = EXACT(start[r], start[r + 1], begins[r], begins[r + 1], picked, column)  # noqa: F821
            loses = (s >= 0) & (total < 0.0)
            loss[r], scenario[r] = (0.0 - total, s) if loses else (0.0, -1)

    return settle


def _screen_template(tag: str) -> Any:
    def screened(segments, compact, screen, long_weight, begins, chosen):
        """Fill the segments, or choose them for the exact kernel. Returns how many are chosen, and of how many packed
        rows did not leave one scenario.

        begins  (R+1,) room for where the positions of each segment that stand apart begin
        """
        tag  # noqa: B018
        start, loss, scenario, size = segments
        row, held, position, units = compact
        packed, single, columns, weight, largest, (bits, low, gross, bound, others, lists) = screen
        at, count, once, left, among, unclear = lanes.address, len(start) - 1, len(gross), 0, 0, 0
        for r in range(count + 1 if len(position) > 0 else 0):
            while among < len(position) and position[among] < start[r]:
                among += 1
            begins[r] = among
        picked = at(row, 0), at(held, 0), (at(position, 0), at(units, 0), at(long_weight, 0))
        found = at(loss, 0), at(scenario, 0), at(size, 0), at(chosen, 0)
        scenarios, contracts = columns.shape
        where, one, many = (at(start, 0), at(begins, 0), picked), at(lists, 0), at(lists, once + 1)
        for low_r in range(0, count, once):
            high_r = min(low_r + once, count)
            for chunk in range(-(-scenarios // WIDTH)):  # noqa: F821
                # Columns that only fill a vector up are no scenarios.
                rest = scenarios - chunk * WIDTH  # noqa: F821
                valid = (1 << rest) - 1 if rest < 64 else -1
                known = at(bits, chunk * once), at(low, chunk * once), at(gross, 0), at(bound, 0), at(others, 0)
                tables = at(packed, chunk * contracts * packed.shape[1]), at(single, chunk * contracts * WIDTH)  # noqa: F821
                LOOK(low_r, high_r, *where, tables, (at(weight, 0), largest), valid, known)  # noqa: F821
            known = at(bits, 0), at(low, 0), at(gross, 0), at(bound, 0), at(others, 0)
            tables, shape = (at(single, 0), at(columns, 0)), (contracts, scenarios, once)
            ones, more = SPLIT(low_r, high_r, shape, known, found, one, many)  # noqa: F821
            SETTLE(one, ones, *where, tables[1], contracts, found[0], found[1])  # noqa: F821
            unclear += more
            for k in range(more):
                j = many[k] - low_r
                left += SEVERAL(many[k], *where, tables, at(weight, 0), shape, known, j, found)  # noqa: F821
        return left, unclear

    return screened


@functools.cache
def bound() -> Any:
    """`_bound`, compiled."""
    return numba.njit(nogil=True, error_model="numpy")(_bound)


@functools.cache
def left(width: int) -> Any:
    """The function that says which columns are left; see its template."""
    vector = lanes.operations(width, lanes.IN_SINGLE)
    names = {"LOWEST": vector.lowest, "BELOW": vector.below}
    inlined: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}
    return numba.njit(**inlined)(XP.bound(_left_template(""), names, str(width)))


@functools.cache
def screened(width: int) -> Any:
    """The kernel for vectors of a width; see its template."""
    vector = lanes.operations(width, lanes.IN_SINGLE)
    tag = f"{width} {packed_rows.PRODUCTS} {XP.source_hash(lanes, packed_rows)}"

    def part(template: Any, names: dict[str, Any], **options: Any) -> Any:
        return XP.compile_kernel(template(""), tag, None, names, **{"fastmath": False, **options})

    apart = part(_apart_template, {"ADD_ROW": vector.add_row}, forceinline=True)
    summed = part(_sum_template, {}, forceinline=True, fastmath={"reassoc", "contract", "nsz"})
    exact = part(_exact_template, {"SUM": summed}, forceinline=True)
    single = {
        "ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "LOWEST": vector.lowest, "BELOW": vector.below,
        "BOUND": bound(), "APART": apart,
    }  # fmt: skip
    look = {
        "NOTHING": packed_rows.nothing(width), "ADD_PAIR": packed_rows.add_pair(width),
        "SCALED": packed_rows.scaled(width), "LEFT": left(width), **single,
    }  # fmt: skip
    several = part(_several_template, {"EXACT": exact, "WIDTH": width, **single})
    across = part(_across_template, {"WIDTH": width})
    parts = {
        "LOOK": part(_look_template, look),
        "SPLIT": part(_split_template, {"ACROSS": across, "WIDTH": width}),
        "SETTLE": part(_settle_template, {"EXACT": exact}),
        "SEVERAL": several,
        "WIDTH": width,
    }
    return part(_screen_template, parts)


def screen(segments: Any, made: Compact, apart: Apart, table: Table, prepared: Screen) -> tuple[int, BoolArray, int]:
    """Fill losses, scenarios and sizes of the segments; how many the exact kernel must look at, (R,) which, and of how
    many packed rows did not leave one scenario."""
    count = len(segments.size)
    chosen, begins = np.empty(count, np.uint8), np.zeros(count + 1, np.int64)
    given = segments.start, segments.loss, segments.scenario, segments.size
    columns = tuple(read_only(column) for column in (made.row, made.held, *apart))
    read = (*prepared[:5], tuple(prepared.room)), read_only(table.long_weight)
    left, unclear = screened(prepared.width)(given, columns, *read, begins, chosen)
    return int(left), chosen.view(np.bool_), int(unclear)
