"""Products and logarithms with what rounding takes from them, for any array library that has numpy's functions.

numba has its own, from instructions that multiply and add at once.
"""

from __future__ import annotations

import decimal
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

SQRT_HALF = 0.7071067811865476
LN2_HIGH = 0.6931471803691238
LN2_LOW = 1.9082149292705877e-10
ARTANH = tuple(2.0 / (2 * n + 3) for n in range(11))  # lowest power first; eleven terms leave 2e-18
SPLITTER = 134217729.0  # 2^27 + 1
LARGEST_TO_SPLIT = 1.0e290
FIRST_STEP, LAST_STEP = 45, 91  # 64 / sqrt(2) and 64 sqrt(2)
FloatArray = NDArray[np.float64]


def product_minus(library: Any, a: Any, b: Any, c: Any) -> Any:
    """a b - c, all but rounded once: what rounding took from c, where c is about a b (Dekker 1971)."""
    a_high, a_low = _halves(library.minimum(a, LARGEST_TO_SPLIT))
    b_high, b_low = _halves(library.minimum(b, LARGEST_TO_SPLIT))
    return ((a_high * b_high - c) + a_high * b_low + a_low * b_high) + a_low * b_low


def log_ratio_parts(library: Any, numerator: Any, denominator: Any) -> tuple[Any, Any]:
    """ln(numerator / denominator) for positive numbers as a sum of two, right to 1e-17 of the logarithm."""
    mantissa, exponent = library.frexp(numerator / denominator)
    exponent = library.where(mantissa < SQRT_HALF, exponent - 1, exponent)
    scaled = library.ldexp(denominator, exponent)
    difference, total = numerator - scaled, numerator + scaled
    s = difference / total
    larger, smaller = library.maximum(numerator, scaled), library.minimum(numerator, scaled)
    rest = -(product_minus(library, s, total, difference) + s * ((larger - total) + smaller)) / total
    tail = s * (s * s) * _series(s * s)
    whole = exponent * LN2_HIGH
    high = whole + 2.0 * s
    low = ((whole - high) + 2.0 * s) + (exponent * LN2_LOW + (2.0 * rest + tail))
    logarithm = high + low
    return logarithm, (high - logarithm) + low


def log_ratio_finely(numerator: FloatArray, denominator: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`log_ratio_parts` on numpy, right to 1e-22: the series is that of a quotient within 1/128 of one, for which the
    nearest 64th is taken out, whose logarithm is known to 30 digits."""
    mantissa, exponent = np.frexp(numerator / denominator)
    exponent = np.where(mantissa < SQRT_HALF, exponent - 1, exponent)
    scaled = np.ldexp(denominator, exponent)
    step = np.rint(64.0 * numerator / scaled)
    reduced = scaled * (step / 64.0)
    lost = product_minus(np, scaled, step / 64.0, reduced)
    difference, difference_rest = _two_sum(numerator - reduced, -lost)
    total, total_rest = _two_sum(numerator, reduced)
    s = difference / total
    rest = (difference_rest - product_minus(np, s, total, difference) - s * (total_rest + lost)) / total
    tail = s * (s * s) * _series(s * s)
    table = _logarithms()
    place = step.astype(np.int64) - FIRST_STEP
    high, first = _two_sum(exponent * LN2_HIGH, table[0][place])
    high, second = _two_sum(high, 2.0 * s)
    return _two_sum(high, first + second + (table[1][place] + (exponent * LN2_LOW + (2.0 * rest + tail))))


@functools.cache
def _logarithms() -> tuple[FloatArray, FloatArray]:
    """ln(k / 64) for the k from FIRST_STEP to LAST_STEP, each as a sum of two numbers."""
    with decimal.localcontext(prec=40):
        exact = [(decimal.Decimal(k) / 64).ln() for k in range(FIRST_STEP, LAST_STEP + 1)]
        high = [float(value) for value in exact]
        low = [float(value - decimal.Decimal(first)) for value, first in zip(exact, high, strict=True)]
    return np.array(high), np.array(low)


def _two_sum(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """a + b and what rounding took from it (Knuth 1969)."""
    total = a + b
    shift = total - a
    return total, (a - (total - shift)) + (b - shift)


def _halves(x: Any) -> tuple[Any, Any]:
    """x as a sum of two numbers of 26 bits (Veltkamp 1968)."""
    scaled = SPLITTER * x
    high = scaled - (scaled - x)
    return high, x - high


def _series(x: Any) -> Any:
    total = ARTANH[-1]
    for coefficient in ARTANH[-2::-1]:
        total = total * x + coefficient
    return total
