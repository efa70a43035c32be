"""Options along moves of the forward that lie close together: their deltas as one power series of the move.

Of all options together the value gains e^x A(x) dx where the logarithm of the forward moves by dx, A being the sum of
their deltas times forwards. N(d1) is a series in the move whose terms are Hermite polynomials (Abramowitz and Stegun
1964, section 26.2), which the next follows from the two before by four operations, and A has the sum of them all: what
a further move costs no longer depends on how many options there are. Series are cut where what is left out is below the
last digit of the forward for any d1, which the bound of Cramer shows (ibid., 22.14.17); where that would take more
terms than there are, for moves of more than a few deviations, N(d1) and N(d2) are looked up at each of them.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pricing.xp import numba as XP
from pricing.xp.tracing import float_bits, where
from scenarios.backends.normal_tail import (
    HALF,
    INDEX,
    INTERVAL,
    LANES,
    LOG_MONEYNESS,
    PER_DEVIATION,
    REGISTER,
    WORTH_GROWN,
    fused,
    leg_sums,
)

# Legs of two registers, which are worked on side by side and share the order of their series.
PAIR = 2 * LANES
# Orders are multiples of STEP up to ORDER.
STEP, ORDER = 4, 48
# The moves as one group, as two and as four, each with a series around its middle.
LEVELS = 3
GROUPS = 1 << (LEVELS - 1)
# Operations of a leg: what its series takes besides four a term, and looking up a move.
SERIES_COST, TERM_COST, MOVE_COST = 100, 4, 65
# Moves that are further from the middle have no series; the bound supposes so.
LONGEST_REACH = 1.0
# Further powers from which weights are found downwards: what is wrong at first is divided by the order each time.
FURTHER = 6
ROWS = ORDER + FURTHER
INVERSE_FACTORIALS = np.array([1.0 / math.factorial(n) for n in range(ROWS + 1)])
TAIL = 2.0**-55
# Legs are sorted by their variance to a quarter of a power of two, from 2^-18 to 2^6.
SMALLEST_BUCKET, BUCKETS = (1023 - 18) << 2, 96
FLAGS = {"nogil": True, "error_model": "numpy", "fastmath": set(XP.FAST_FLAGS)}


def largest_spread(order: int) -> float:
    """The most deviations from the middle to the furthest move where a series may end with this order.

    With |He_n(d)| phi(d) <= 1.0865 sqrt(n!) / sqrt(2 pi) term n of N(d1 + r) is at most 0.4335 r^n / (n sqrt((n-1)!)),
    and the value gains LONGEST_REACH / (n + 1) of it.
    """

    def left_out(spread: float) -> float:
        return sum(
            0.4335 * LONGEST_REACH * math.exp(n * math.log(spread) - 0.5 * math.lgamma(n)) / (n * (n + 1))
            for n in range(order + 1, order + 80)
        )

    low, high = 1e-9, 10.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if left_out(middle) < TAIL else (low, middle)
    return low


SPREADS = np.array([largest_spread(order) for order in range(STEP, ORDER + 1, STEP)])


def _bucket(variance: Any) -> Any:
    place = (float_bits(variance) >> 50) - SMALLEST_BUCKET
    place = where(place > 0, place, 0)
    return where(place < BUCKETS - 1, place, BUCKETS - 1)


BUCKET = XP.compile_formula(_bucket)


@numba.njit(**FLAGS)
def sort_legs(first: int, count: int, vol: Any, tau: Any, rows: Any) -> None:
    """Fill rows with first ... first + count - 1 by the least variance that a leg has at any time."""
    ends, bucket = np.zeros(BUCKETS + 1, np.int64), np.empty(count, np.int64)
    for n in range(count):
        left = tau[0, first + n]
        for t in range(1, len(tau)):
            left = min(left, tau[t, first + n])
        bucket[n] = BUCKET(vol[first + n] * vol[first + n] * left)
    for n in range(count):
        ends[bucket[n] + 1] += 1
    for b in range(BUCKETS):
        ends[b + 1] += ends[b]
    for n in range(count):
        rows[ends[bucket[n]]] = first + n
        ends[bucket[n]] += 1


@numba.njit(**FLAGS)
def group_moves(log_growth: Any) -> Any:
    """The moves by the smallest groups that series are for: places (M,), where groups begin (GROUPS+1,), least, most.

    Groups are equally wide.
    """
    least = most = log_growth[0]
    for m in range(len(log_growth)):
        least, most = min(least, log_growth[m]), max(most, log_growth[m])
    group, starts = np.empty(len(log_growth), np.int64), np.zeros(GROUPS + 1, np.int64)
    per_group = GROUPS / (most - least) if most > least else 0.0
    for m in range(len(log_growth)):
        group[m] = min(GROUPS - 1, int((log_growth[m] - least) * per_group))
        starts[group[m] + 1] += 1
    for g in range(GROUPS):
        starts[g + 1] += starts[g]
    ends, places = starts.copy(), np.empty(len(log_growth), np.int64)
    for m in range(len(log_growth)):
        places[ends[group[m]]] = m
        ends[group[m]] += 1
    return places, starts, least, most


@numba.njit(**FLAGS)
def move_weights(moved: Any, growth: Any, starts: Any, least: float, most: float) -> Any:
    """What term n = 1, 2, ... of a sum of series counts in the value after each move, moves in blocks of LANES.

    (LEVELS, blocks, ORDER + FURTHER, LANES) as one column; also (LEVELS,) the most deviations that a group may reach
    over, 0 where series do not pay. The weight is e^c / n! times the integral of e^s (s / reach)^n over s from 0 to the
    distance from the middle c. Integration by parts gives each from the next one.
    """
    XP.vector_loop()
    count = len(moved)
    blocks = (count + LANES - 1) // LANES
    weights, limits = np.zeros(LEVELS * blocks * ROWS * LANES), np.zeros(LEVELS)
    ratio, higher = XP.scratch(LANES), XP.scratch(LANES)
    for level in range(LEVELS):
        groups = 1 << level
        reach = (most - least) / (2 * groups)
        steps = min(ORDER, (MOVE_COST * count // groups - SERIES_COST) // TERM_COST) // STEP
        if steps < 1 or reach > LONGEST_REACH:
            continue
        limits[level] = SPREADS[steps - 1]
        per_reach = 1.0 / reach if reach > 0.0 else 0.0
        for block in range(blocks):
            start = (level * blocks + block) * ROWS * LANES
            for lane in range(LANES):
                ratio[lane] = higher[lane] = 0.0
            for s in range(block * LANES, min(count, (block + 1) * LANES)):
                group = 0
                while s >= starts[(group + 1) << (LEVELS - 1 - level)]:
                    group += 1
                ratio[s - block * LANES] = (moved[s] - (least + (2 * group + 1) * reach)) * per_reach
                weights[start + s - block * LANES] = growth[s] * ratio[s - block * LANES]
            for n in range(1, ROWS):
                for lane in range(LANES):
                    weights[start + n * LANES + lane] = weights[start + (n - 1) * LANES + lane] * ratio[lane]
            for n in range(ROWS - 1, -1, -1):
                inverse = reach / (n + 1)
                for lane in range(LANES):
                    power = weights[start + n * LANES + lane]
                    weights[start + n * LANES + lane] = higher[lane] * INVERSE_FACTORIALS[n + 1]
                    higher[lane] = inverse * (power - higher[lane])
    return weights, limits


@numba.njit(**FLAGS)
def plan_moves(log_growth: Any, growth: Any) -> Any:
    """`group_moves` and, in that order, the moves themselves, and `move_weights`."""
    places, starts, least, most = group_moves(log_growth)
    grown, moved = np.empty(len(places)), np.empty(len(places))
    for s in range(len(places)):
        grown[s], moved[s] = growth[places[s]], log_growth[places[s]]
    weights, limits = move_weights(moved, grown, starts, least, most)
    return places, (starts, least, most, grown, moved, weights, limits)


@numba.njit(**FLAGS)
def widest_of_pairs(per_root: Any, pairs: int, widest: Any) -> None:
    """The most deviations that an interval of the logarithm is to any leg of each pair."""
    for pair in range(pairs):
        most = 0.0
        for n in range(pair * PAIR, (pair + 1) * PAIR):
            most = max(most, abs(per_root[n]))
        widest[pair] = most


@numba.njit(**FLAGS)
def group_range(starts: Any, level: int, group: int) -> Any:
    """From where to where the moves of a group of a level are."""
    smallest = 1 << (LEVELS - 1 - level)
    return starts[group * smallest], starts[(group + 1) * smallest]


@numba.njit(**FLAGS)
def steps_of(spread: float) -> int:
    """The least order, in STEP, for a series that reaches over so many deviations."""
    steps = 1
    while steps < ORDER // STEP and SPREADS[steps - 1] < spread:
        steps += 1
    return steps


@intrinsic(prefer_literal=True)
def add_terms(typing_context: Any, seeds: Any, size: Any, place: Any, steps: Any, sums: Any) -> Any:
    """Add the terms of the series of PAIR legs to rows of LANES sums, one row an order.

    seeds   address of three columns of `size` doubles: the first term; -d r and r^2, r being the deviations reached
    place   of the first of the legs
    steps   orders of it, in STEP
    """
    if not isinstance(size, types.IntegerLiteral):
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, _, place, steps, sums = arguments

        def line(address: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(address, [place]), REGISTER.as_pointer())

        def column(number: int, register: int) -> Any:
            offset = ir.Constant(INDEX, number * size.literal_value + register * LANES)
            return builder.load(line(start, builder.add(place, offset)), align=64)

        nothing = ir.Constant(REGISTER, [0.0] * LANES)
        slopes, squares = ([column(number, register) for register in (0, 1)] for number in (1, 2))
        # Of each register the last term, the one before, and how often its r^2 counts next.
        kept = [
            [cgutils.alloca_once_value(builder, ir.Constant(REGISTER, ir.Undefined)) for _ in range(3)] for _ in (0, 1)
        ]
        for register in (0, 1):
            for slot, value in zip(kept[register], (column(0, register), nothing, nothing), strict=True):
                builder.store(value, slot)
        with cgutils.for_range(builder, steps) as loop:
            state = [[builder.load(slot) for slot in slots] for slots in kept]
            for step in range(STEP):
                row = builder.add(builder.mul(loop.index, ir.Constant(INDEX, STEP)), ir.Constant(INDEX, step))
                target = line(sums, builder.mul(row, ir.Constant(INDEX, LANES)))
                both = builder.fadd(state[0][0], state[1][0])
                builder.store(builder.fadd(builder.load(target, align=64), both), target, align=64)
                for register in (0, 1):
                    term, before, times = state[register]
                    lower = builder.fneg(builder.fmul(times, before))
                    following = fused(builder, slopes[register], term, lower)
                    state[register] = [following, term, builder.fadd(times, squares[register])]
            for slots, values in zip(kept, state, strict=True):
                for slot, value in zip(slots, values, strict=True):
                    builder.store(value, slot)
        return context.get_dummy_value()

    return types.none(seeds, size, types.int64, types.int64, sums), codegen


@intrinsic
def weigh_terms(typing_context: Any, sums: Any, steps: Any, weights: Any, start: Any, target: Any) -> Any:
    """Set LANES numbers to the sum over terms of their total times what they count after each of LANES moves.

    sums, steps   as in `add_terms`; rows hold totals in all lanes
    weights       array; from `start` LANES numbers a term
    target        address
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, steps, weights, start, target = arguments
        data = builder.gep(context.make_array(signature.args[2])(context, builder, weights).data, [start])
        nothing = ir.Constant(REGISTER, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, nothing) for _ in range(STEP)]
        for total in totals:
            builder.store(nothing, total)
        with cgutils.for_range(builder, steps) as loop:
            for step, total in enumerate(totals):
                row = builder.add(builder.mul(loop.index, ir.Constant(INDEX, STEP)), ir.Constant(INDEX, step))
                place = builder.mul(row, ir.Constant(INDEX, LANES))
                term, weight = (
                    builder.load(builder.bitcast(builder.gep(origin, [place]), REGISTER.as_pointer()), align=8)
                    for origin in (sums, data)
                )
                builder.store(fused(builder, term, weight, builder.load(total)), total)
        pairs = [builder.fadd(builder.load(a), builder.load(b)) for a, b in zip(totals[::2], totals[1::2], strict=True)]
        builder.store(builder.fadd(*pairs), builder.bitcast(target, REGISTER.as_pointer()), align=64)
        return context.get_dummy_value()

    return types.none(sums, types.int64, weights, types.int64, target), codegen


@intrinsic
def total_rows(typing_context: Any, sums: Any, rows: Any) -> Any:
    """Set all LANES numbers of each row to their sum."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, rows = arguments
        with cgutils.for_range(builder, rows) as loop:
            place = builder.gep(sums, [builder.mul(loop.index, ir.Constant(INDEX, LANES))])
            place = builder.bitcast(place, REGISTER.as_pointer())
            total = builder.load(place, align=64)
            for distance in (4, 2, 1):
                order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [n ^ distance for n in range(LANES)])
                total = builder.fadd(total, builder.shuffle_vector(total, total, order))
            builder.store(total, place, align=64)
        return context.get_dummy_value()

    return types.none(sums, types.int64), codegen


def values_of(size: int) -> Any:
    """The function that finds what all legs are worth after every move, for rooms of so many legs."""
    log_moneyness, per_deviation = LOG_MONEYNESS * size, PER_DEVIATION * size
    half, grown = HALF * size, WORTH_GROWN * size
    density = 1.0 / math.sqrt(2.0 * math.pi)

    @numba.njit(**FLAGS)
    def seed(room: Any, seeds: Any, first: int, last: int, middle: float, reach: float) -> None:
        """What `add_terms` takes, of some legs."""
        XP.vector_loop()
        for n in range(first, last):
            d = ((room[log_moneyness + n] + middle) * room[per_deviation + n] + room[half + n]) * INTERVAL
            r = room[per_deviation + n] * (INTERVAL * reach)
            seeds[n] = room[grown + n] * r * (density * XP.exp(-0.5 * (d * d)))
            seeds[size + n], seeds[2 * size + n] = -(d * r), r * r

    @numba.njit(**FLAGS)
    def add_series(rooms: Any, first: int, last: int, scale: float, middle: float, reach: float, moves: Any) -> None:
        """Add what pairs of legs are worth after each move of a group."""
        room, seeds, sums, widest = rooms
        low, high, start, growth, weights, values = moves
        seed(room, seeds, first * PAIR, last * PAIR, middle, reach)
        most = 0
        for pair in range(first, last):
            most = max(most, steps_of(scale * widest[pair]))
        for n in range(most * STEP * LANES):
            sums[n] = 0.0
        for pair in range(first, last):
            add_terms(seeds, size, pair * PAIR, steps_of(scale * widest[pair]), sums)
        forwards, strikes = leg_sums(room, size, first * PAIR, (last - first) * (PAIR // LANES), middle)
        for s in range(low, high):
            values[s] += growth[s] * forwards - strikes
        total_rows(sums, most * STEP)
        after = XP.scratch(LANES)
        for block in range(low // LANES, (high + LANES - 1) // LANES):
            weigh_terms(sums, most, weights, start + block * ROWS * LANES, after)
            for s in range(max(low, block * LANES), min(high, (block + 1) * LANES)):
                values[s] += after[s - block * LANES]

    @numba.njit(**FLAGS)
    def find_values(rooms: Any, pairs: int, per_factor: float, plan: Any, values: Any) -> None:
        """rooms: addresses of the columns of `leg_sums`, of what series take, of their sums, of `widest_of_pairs`.

        per_factor: what the deviations of the latter count.
        """
        room, widest = rooms[0], rooms[3]
        starts, least, most, growth, log_growth, weights, limits = plan
        for s in range(len(values)):
            values[s] = 0.0
        last = pairs
        for level in range(LEVELS):
            reach = (most - least) / (2 << level)
            scale, first = per_factor * INTERVAL * reach, last
            # Legs are in the order of their deviations but for a few: down to the last that needs smaller groups.
            while first > 0 and scale * widest[first - 1] < limits[level]:
                first -= 1
            if first < last:
                for group in range(1 << level):
                    low, high = group_range(starts, level, group)
                    middle = least + (2 * group + 1) * reach
                    if low < high:
                        start = level * ((len(values) + LANES - 1) // LANES) * ROWS * LANES
                        moves = low, high, start, growth, weights, values
                        add_series(rooms, first, last, scale, middle, reach, moves)
            last = first
        if last > 0:
            for s in range(len(values)):
                forwards, strikes = leg_sums(room, size, 0, last * (PAIR // LANES), log_growth[s])
                values[s] += growth[s] * forwards - strikes

    return find_values
