"""The cumulative normal from a table that stays in vector registers, and sums of options by it.

Of a sum of many options the last digits of each forward and strike count and not those of each price, so N(d) is
wanted to a rounding of 1. The tail Q(z) = N(-z), z >= 0, is a polynomial on each of sixteen intervals, INTERVAL wide
and around whole multiples of it. Sixteen doubles are two registers of 512 bits, of which one instruction picks eight by
their numbers: no exponential, no division. On the last interval the tail is 0, as it is to all digits of 1 from there.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.polynomial import chebyshev

from pricing.arrays import FloatArray
from pricing.xp.arithmetic import ROUND_MAGIC
from scenarios.backends.registers import BITS, INDEX, LANES, REGISTER, SMALL, called, fused, spread

INTERVAL, INTERVALS, DEGREE = 37.0 / 64.0, 16, 12
# Of the series that a polynomial is shortened from; what is left of it is beyond all digits.
TERMS = 26
# The columns of legs that are added up, in the order in which they lie in the room of a kernel.
LOG_MONEYNESS, PER_DEVIATION, HALF, WORTH_GROWN, WORTH_STRIKE = range(5)
# Processors without the instruction take the formula instead.
HAS_LOOK_UP = bool(binding.get_host_cpu_features().get("avx512f", False))


@functools.cache
def tail_coefficients() -> FloatArray:
    """(DEGREE + 1, INTERVALS) coefficients of Q(INTERVAL (k + r)) in r, |r| <= 1/2, lowest power first.

    The Taylor series around the middle, whose terms are Hermite polynomials (Abramowitz and Stegun 1964, section 26.2),
    written in Chebyshev polynomials and cut there: off by 4e-17 at most, mostly by the rounding of the middle.
    """
    table = np.zeros((DEGREE + 1, INTERVALS))
    for k in range(INTERVALS - 1):
        z = INTERVAL * k
        density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        series = [0.5 * math.erfc(z / math.sqrt(2.0))]
        lower, hermite = 0.0, 1.0
        for n in range(1, TERMS):
            series.append((-1.0) ** n * hermite * density * (0.5 * INTERVAL) ** n / math.factorial(n))
            lower, hermite = hermite, z * hermite - (n - 1) * lower
        shortened = chebyshev.cheb2poly(chebyshev.poly2cheb(series)[: DEGREE + 1])
        table[: len(shortened), k] = shortened
    return table * 2.0 ** np.arange(DEGREE + 1)[:, None]


@intrinsic(prefer_literal=True)
def leg_sums(typing_context: Any, room: Any, size: Any, first: Any, blocks: Any, log_growth: Any) -> Any:
    """Sums over legs of c F N(c d1) and c K N(c d2), times what each counts, after a move of the forward.

    room        address of five columns of `size` doubles, a literal number, each on a cache line: ln(F/K); c/v and
                c v/2, both per INTERVAL; c F and c K times what a leg counts. c is 1 for a call and -1 for a put
    first       place of the first leg, a multiple of LANES
    blocks      of LANES legs
    log_growth  ln of the growth of the forward, which the first sum is still to be multiplied with
    """
    if not isinstance(size, types.IntegerLiteral):
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, _, first, count, moved = arguments
        start = builder.gep(start, [first])
        moved = spread(builder, moved)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(REGISTER, [0.0] * LANES)) for _ in range(2)]
        for total in sums:
            builder.store(ir.Constant(REGISTER, [0.0] * LANES), total)
        with cgutils.for_range(builder, count) as loop:

            def column(number: int) -> Any:
                place = builder.add(
                    builder.mul(loop.index, ir.Constant(INDEX, LANES)), ir.Constant(INDEX, number * size.literal_value)
                )
                return builder.load(builder.bitcast(builder.gep(start, [place]), REGISTER.as_pointer()), align=64)

            log_moneyness = builder.fadd(column(LOG_MONEYNESS), moved)
            per_deviation, half = column(PER_DEVIATION), column(HALF)
            deviations = [fused(builder, log_moneyness, per_deviation, shift) for shift in (half, builder.fneg(half))]
            for total, worth, normal in zip(
                sums, (WORTH_GROWN, WORTH_STRIKE), _cumulative(builder, deviations), strict=True
            ):
                builder.store(fused(builder, column(worth), normal, builder.load(total)), total)
        added = [_added(builder, builder.load(total)) for total in sums]
        return context.make_tuple(builder, signature.return_type, added)

    return types.UniTuple(types.float64, 2)(room, size, types.int64, types.int64, types.float64), codegen


def _cumulative(builder: Any, deviations: list[Any]) -> list[Any]:
    """N(d) of registers of numbers, given per INTERVAL.

    One power after the other of all of them, and even and odd powers apart: so the processor works on several short
    chains of operations at a time, and takes each part of the table from memory once.
    """
    far, magic, one, zero = (
        ir.Constant(REGISTER, [number] * LANES) for number in (float(INTERVALS - 1), ROUND_MAGIC, 1.0, 0.0)
    )
    rests, squares, places = [], [], []
    for deviation in deviations:
        magnitude = called(builder, "llvm.fabs.v8f64", deviation)
        magnitude = builder.select(builder.fcmp_ordered("<", magnitude, far), magnitude, far)
        # The nearest whole number is in the low bits of the sum, where the look-up reads it.
        shifted = builder.fadd(magnitude, magic)
        places.append(builder.bitcast(shifted, BITS))
        rests.append(builder.fsub(magnitude, builder.fsub(shifted, magic)))
        squares.append(builder.fmul(rests[-1], rests[-1]))
    sums: list[list[Any]] = [[None, None] for _ in deviations]
    table = tail_coefficients().tolist()
    for power in range(DEGREE, -1, -1):
        for (place, square), total in zip(zip(places, squares, strict=True), sums, strict=True):
            found, higher = _looked_up(builder, table[power], place), total[power % 2]
            total[power % 2] = found if higher is None else fused(builder, higher, square, found)
    tails = [fused(builder, odd, rest, even) for (even, odd), rest in zip(sums, rests, strict=True)]
    return [
        builder.select(builder.fcmp_ordered("<", deviation, zero), tail, builder.fsub(one, tail))
        for deviation, tail in zip(deviations, tails, strict=True)
    ]


def _looked_up(builder: Any, row: list[float], places: Any) -> Any:
    """Of sixteen numbers those at the places."""
    low, high = (ir.Constant(REGISTER, half) for half in (row[:LANES], row[LANES:]))
    return called(builder, "llvm.x86.avx512.vpermi2var.pd.512", low, places, high)


def _added(builder: Any, register: Any) -> Any:
    """The sum of eight numbers, pair by pair."""
    parts = [builder.extract_element(register, ir.Constant(SMALL, lane)) for lane in range(LANES)]
    while len(parts) > 1:
        parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
