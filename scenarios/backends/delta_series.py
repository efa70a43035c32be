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
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pricing.xp import numba as XP
from pricing.xp.tracing import float_bits, where
from scenarios.backends.leg_sums import (
    HALF,
    INTERVAL,
    LOG_MONEYNESS,
    PER_DEVIATION,
    WORTH_GROWN,
    leg_sums,
)
from scenarios.backends.registers import INDEX, LANES, REGISTER, called, fused, joined, line, spread

# Legs of two registers, which are worked on side by side and share the order of their series.
PAIR = 2 * LANES
# Orders are multiples of STEP up to ORDER.
STEP, ORDER = 4, 48
# The moves as one group, as two and as four, each with a series around its middle.
LEVELS = 3
STARTS = (1 << LEVELS) - 1 + LEVELS
# Operations of a leg: what its series takes besides four a term, and looking up a move. Without AVX-512 those are 150
# and 93 (EPYC with AVX2, beside its terms), which tells the same number of moves from which series pay.
SERIES_COST, TERM_COST, MOVE_COST = 100, 4, 65
# Moves that are further from the middle have no series; the bound supposes so.
LONGEST_REACH = 1.0
# Moves that are closer are one move.
SMALLEST_REACH = 1e-200
# Further powers from which weights are found downwards: what is wrong at first is divided by the order each time.
FURTHER = 8
ROWS = ORDER + FURTHER
MOST_STEPS = ORDER // STEP
TAIL = 2.0**-55
# Legs are sorted by their variance to a quarter of a power of two, from 2^-18 to 2^6.
SMALLEST_BUCKET, BUCKETS = (1023 - 18) << 2, 96
FLAGS = {
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
    "fastmath": set(XP.FAST_FLAGS),
}


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


SPREADS = tuple(largest_spread(order) for order in range(STEP, ORDER + 1, STEP))


def _bucket(variance: Any) -> Any:
    place = (float_bits(variance) >> 50) - SMALLEST_BUCKET
    place = where(place > 0, place, 0)
    return where(place < BUCKETS - 1, place, BUCKETS - 1)


def _steps(spread: Any) -> Any:
    """The least order, in STEP, of a series that reaches over so many deviations."""
    steps = where(spread > SPREADS[0], 2, 1)
    for largest in SPREADS[1:-1]:
        steps = steps + where(spread > largest, 1, 0)
    return steps


bucket_of, steps_of = XP.compile_formula(_bucket), XP.compile_formula(_steps)


def room_of_rows(legs: int) -> int:
    """Numbers that `sort_legs` works in for so many legs at most: rows in their order, and what finds it."""
    return 2 * legs + BUCKETS + 1


def room_of_weights(moves: int) -> int:
    """Numbers of `weigh_moves` for so many moves."""
    return LEVELS * -(-moves // LANES) * ROWS * LANES


@numba.njit(**FLAGS)
def sort_legs(first: int, count: int, vol: Any, tau: Any, rows: Any, size: int) -> None:
    """Set rows to first ... first + count - 1 by the variance of the legs; there is room for `size` of them."""
    ends = 2 * size
    for b in range(BUCKETS + 1):
        rows[ends + b] = 0.0
    for n in range(count):
        bucket = bucket_of(vol[first + n] * vol[first + n] * tau[first + n])
        rows[size + n] = bucket
        rows[ends + bucket + 1] += 1.0
    for b in range(BUCKETS):
        rows[ends + b + 1] += rows[ends + b]
    for n in range(count):
        place = ends + int(rows[size + n])
        rows[int(rows[place])] = first + n
        rows[place] += 1.0


@intrinsic
def integrate_powers(typing_context: Any, weights: Any, start: Any, reach: Any) -> Any:
    """Set ROWS registers of an array from `start` on to weights as `weigh_moves` describes them.

    The first of them holds the growth times distance / reach of LANES moves, the second distance / reach.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, reach = arguments
        data = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [start])
        rows = [line(builder, data, n * LANES) for n in range(ROWS)]
        ratio, reach = builder.load(rows[1], align=8), spread(builder, reach)
        power = builder.load(rows[0], align=8)
        for row in rows[1:]:
            power = builder.fmul(power, ratio)
            builder.store(power, row, align=8)
        # Downwards, as every integral is reach / (n + 1) of what the next one leaves of its power.
        higher = ir.Constant(REGISTER, [0.0] * LANES)
        for n in reversed(range(ROWS)):
            power = builder.load(rows[n], align=8)
            factorial = ir.Constant(REGISTER, [1.0 / math.factorial(n + 1)] * LANES)
            builder.store(builder.fmul(higher, factorial), rows[n], align=8)
            share = builder.fmul(reach, ir.Constant(REGISTER, [1.0 / (n + 1)] * LANES))
            higher = builder.fmul(share, builder.fsub(power, higher))
        return context.get_dummy_value()

    return types.none(weights, types.int64, types.float64), codegen


@numba.njit(**FLAGS)
def weigh_moves(moves: Any, count: int, weights: Any, limits: Any, starts: Any) -> bool:
    """Set weights to what term n = 1, 2, ... of a sum of series counts in the value after each move; if any is used.

    moves    `count` factors of growth, ascending, and their logarithms; the groups of a level are equally wide
    weights  (LEVELS, blocks of moves, ROWS, LANES) as one column
    limits   address of the most deviations that a group of each level may reach over, 0 where series do not pay
    starts   address of where the groups begin, of all levels one after the other, each with its end

    The weight is e^c / n! times the integral of e^s (s / reach)^n over s from 0 to the distance from the middle c.
    Integration by parts gives each from the next.
    """
    XP.vector_loop()
    least, blocks = moves[count], (count + LANES - 1) // LANES
    used = False
    for level in range(LEVELS):
        reach = (moves[2 * count - 1] - least) / (2 << level)
        steps = (MOVE_COST * (count >> level) - SERIES_COST) // (TERM_COST * STEP)
        limits[level] = 0.0
        if steps < 1 or reach > LONGEST_REACH:
            continue
        used, limits[level] = True, SPREADS[steps - 1 if steps < MOST_STEPS else MOST_STEPS - 1]
        per_reach, group, first = 1.0 / reach if reach > SMALLEST_REACH else 0.0, 0, (1 << level) + level - 1
        starts[first] = 0.0
        for s in range(blocks * LANES):
            row = ((level * blocks + s // LANES) * ROWS) * LANES + s % LANES
            weights[row] = weights[row + LANES] = 0.0
            if s < count:
                while group + 1 < 1 << level and moves[count + s] > least + (2 * group + 2) * reach:
                    group += 1
                    starts[first + group] = s
                ratio = (moves[count + s] - (least + (2 * group + 1) * reach)) * per_reach
                weights[row], weights[row + LANES] = moves[s] * ratio, ratio
        for block in range(blocks):
            integrate_powers(weights, (level * blocks + block) * ROWS * LANES, reach)
        while group < 1 << level:
            group += 1
            starts[first + group] = count
    return used


@intrinsic
def largest_of_pair(typing_context: Any, column: Any, place: Any) -> Any:
    """The largest magnitude of the numbers of PAIR legs from a place of a column, both on a cache line."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = builder.gep(arguments[0], [arguments[1]])
        registers = [
            called(builder, "llvm.fabs.v8f64", builder.load(line(builder, start, register * LANES), align=64))
            for register in (0, 1)
        ]

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return builder.extract_element(joined(builder, larger(*registers), larger), ir.Constant(ir.IntType(32), 0))

    return types.float64(column, types.int64), codegen


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

        def column(number: int, register: int) -> Any:
            offset = ir.Constant(INDEX, number * size.literal_value + register * LANES)
            return builder.load(line(builder, start, builder.add(place, offset)), align=64)

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
                target = line(builder, sums, builder.mul(row, ir.Constant(INDEX, LANES)))
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
                term, weight = (builder.load(line(builder, origin, place), align=8) for origin in (sums, data))
                builder.store(fused(builder, term, weight, builder.load(total)), total)
        pairs = [builder.fadd(builder.load(a), builder.load(b)) for a, b in zip(totals[::2], totals[1::2], strict=True)]
        builder.store(builder.fadd(*pairs), line(builder, target, 0), align=64)
        return context.get_dummy_value()

    return types.none(sums, types.int64, weights, types.int64, target), codegen


@intrinsic
def total_rows(typing_context: Any, sums: Any, rows: Any) -> Any:
    """Set all LANES numbers of each row to their sum."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, rows = arguments
        with cgutils.for_range(builder, rows) as loop:
            place = line(builder, sums, builder.mul(loop.index, ir.Constant(INDEX, LANES)))
            builder.store(joined(builder, builder.load(place, align=64), builder.fadd), place, align=64)
        return context.get_dummy_value()

    return types.none(sums, types.int64), codegen


def values_of(size: int) -> Any:
    """The function that finds what all legs are worth after every move, for so many legs at most."""
    log_moneyness, per_deviation = LOG_MONEYNESS * size, PER_DEVIATION * size
    half, grown = HALF * size, WORTH_GROWN * size
    density = 1.0 / math.sqrt(2.0 * math.pi)

    @numba.njit(**FLAGS)
    def add_series(rooms: Any, run: Any, scale: float, place: Any, group: Any, moves: Any, target: Any) -> None:
        """Add what pairs of legs, from which to which, are worth after each move of a group: its middle and reach."""
        XP.vector_loop()
        columns, seeds, sums, widest = rooms
        (first, last), (middle, reach), (low, high, weights, start), (out, cell) = run, place, group, target
        for n in range(first * PAIR, last * PAIR):
            far = columns[per_deviation + n] * INTERVAL
            d, r = (columns[log_moneyness + n] + middle) * far + columns[half + n] * INTERVAL, far * reach
            seeds[n] = columns[grown + n] * r * (density * XP.exp(-0.5 * (d * d)))
            seeds[size + n], seeds[2 * size + n] = -(d * r), r * r
        most = 0
        for pair in range(first, last):
            steps = steps_of(scale * widest[pair])
            for n in range(most * STEP * LANES, steps * STEP * LANES):
                sums[n] = 0.0
            most = steps if steps > most else most
            add_terms(seeds, size, pair * PAIR, steps, sums)
        total_rows(sums, most * STEP)
        forwards, strikes = leg_sums(columns, size, first * PAIR, (last - first) * (PAIR // LANES), middle)
        after = XP.scratch(LANES)
        for block in range(low // LANES, (high + LANES - 1) // LANES):
            weigh_terms(sums, most, weights, start + block * ROWS * LANES, after)
            for s in range(block * LANES, (block + 1) * LANES):
                if low <= s < high:
                    out[cell + s] += moves[s] * forwards - strikes + after[s - block * LANES]

    @numba.njit(**FLAGS)
    def find_values(rooms: Any, pairs: int, per_factor: float, plan: Any, grid: Any, target: Any) -> None:
        """Set numbers of an array, from a place on, to what all legs are worth after every move.

        rooms       addresses of the columns of `leg_sums`, of what series take, of their sums, of `largest_of_pair`
        per_factor  what the deviations of the latter count
        plan        limits, starts and weights of `weigh_moves`
        grid        moves and their count, as there
        """
        (columns, _, _, widest), (limits, starts, weights), (moves, count), (out, cell) = rooms, plan, grid, target
        last, least, most = pairs, moves[count], moves[2 * count - 1]
        for s in range(count):
            out[cell + s] = 0.0
        for level in range(LEVELS):
            reach = (most - least) / (2 << level)
            scale, first, places = per_factor * INTERVAL * reach, last, (1 << level) + level - 1
            # Legs are in the order of their deviations but for a few: down to the last that needs smaller groups.
            while first > 0 and scale * widest[first - 1] < limits[level]:
                first -= 1
            for group in range(1 << level if first < last else 0):
                low, high = int(starts[places + group]), int(starts[places + group + 1])
                if low < high:
                    place = least + (2 * group + 1) * reach, reach
                    found = low, high, weights, level * ((count + LANES - 1) // LANES) * ROWS * LANES
                    add_series(rooms, (first, last), scale, place, found, moves, target)
            last = first
        for s in range(count if last > 0 else 0):
            forwards, strikes = leg_sums(columns, size, 0, last * (PAIR // LANES), moves[count + s])
            out[cell + s] += moves[s] * forwards - strikes

    return find_values
