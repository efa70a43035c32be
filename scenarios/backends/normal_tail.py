"""The cumulative normal from a table that stays in vector registers, for processors with AVX-512.

The tail Q(z) = N(-z), z >= 0, is a polynomial on each of sixteen intervals, INTERVAL wide and around whole multiples of
it. Sixteen doubles are two registers of 512 bits, of which one instruction picks eight by their numbers: no
exponential, no division. On the last interval the tail is 0, as it is to all digits of 1 from there.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.polynomial import chebyshev

from pricing.arrays import FloatArray
from pricing.xp.arithmetic import ROUND_MAGIC
from scenarios.backends.registers import BITS, LANES, REGISTER, called, fused

INTERVAL, INTERVALS, DEGREE = 37.0 / 64.0, 16, 12
# Of the series that a polynomial is shortened from; what is left of it is beyond all digits.
TERMS = 26


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


def cumulative(builder: Any, deviations: list[Any]) -> list[Any]:
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
