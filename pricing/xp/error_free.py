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
LN2_LOWEST = 1.1612227229362532e-26
ARTANH = tuple(2.0 / (2 * n + 3) for n in range(11))  # lowest power first; eleven terms leave 2e-18
TWO_THIRDS, TWO_FIFTHS = (2.0 / 3.0, 3.700743415417188e-17), (0.4, -2.2204460492503132e-17)
SPLITTER = 134217729.0  # 2^27 + 1
LARGEST_TO_SPLIT = 1.0e290
FIRST_STEP, LAST_STEP = 45, 91  # 64 / sqrt(2) and 64 sqrt(2)
FloatArray = NDArray[np.float64]


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b and what rounding took from it (Knuth 1969)."""
    total = a + b
    shift = total - a
    return total, (a - (total - shift)) + (b - shift)


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


def log_ratio_finely(
    numerator: FloatArray,
    denominator: FloatArray,
    numerator_rest: FloatArray | float = 0.0,
    denominator_rest: FloatArray | float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """`log_ratio_parts` on numpy, right to 1e-30, and to 1e-34 where the quotient is within a thousandth of 1.

    Numerator and denominator may be sums of two numbers themselves. The nearest 64th of the quotient is taken out,
    whose logarithm is known to 32 digits, so that the series begins with numbers below 1/180.
    """
    mantissa, exponent = np.frexp(numerator / denominator)
    exponent = np.where(mantissa < SQRT_HALF, exponent - 1, exponent)
    scaled = np.ldexp(denominator, exponent)
    step = np.rint(64.0 * numerator / scaled)
    reduced = scaled * (step / 64.0)
    reduced_rest = product_minus(np, scaled, step / 64.0, reduced) + np.ldexp(denominator_rest, exponent) * step / 64.0
    rest, rest_of_rest = two_sum(numerator_rest, -reduced_rest)
    difference, lost = two_sum(numerator - reduced, rest)
    difference, difference_rest = two_sum(difference, lost + rest_of_rest)
    total, lost = two_sum(numerator, reduced)
    s = difference / total
    total_rest = lost + (numerator_rest + reduced_rest)
    s_rest = (difference_rest - product_minus(np, s, total, difference) - s * total_rest) / total
    cubic, fifth, tail = _artanh_terms(s, s_rest)
    whole = exponent * LN2_LOW
    tail = tail + (product_minus(np, exponent, LN2_LOW, whole) + exponent * LN2_LOWEST)
    table, place = _logarithms(), step.astype(np.int64) - FIRST_STEP
    high, low = exponent * LN2_HIGH, table[1][place] + (2.0 * s_rest + tail)
    for term in (table[0][place], 2.0 * s, cubic, fifth, whole):
        high, lost = two_sum(high, term)
        low = low + lost
    return two_sum(high, low)


def _artanh_terms(s: FloatArray, s_rest: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """2 artanh(s) - 2 s for s + s_rest below 1/180: two terms of the series, and all else, roundings among it."""
    square = _product(s, s_rest, s, s_rest)
    cube = _product(*square, s, s_rest)
    cubic, cubic_rest = _product(*cube, *TWO_THIRDS)
    fifth, fifth_rest = _product(*_product(*cube, *square), *TWO_FIFTHS)
    return cubic, fifth, cubic_rest + (fifth_rest + cube[0] * square[0] * square[0] * _series(square[0], ARTANH[2:]))


def _product(a: Any, a_rest: Any, b: Any, b_rest: Any) -> tuple[Any, Any]:
    """The product of two sums of two numbers as another (Dekker 1971)."""
    product = a * b
    return product, product_minus(np, a, b, product) + (a * b_rest + a_rest * b)


@functools.cache
def _logarithms() -> tuple[FloatArray, FloatArray]:
    """ln(k / 64) for the k from FIRST_STEP to LAST_STEP, each as a sum of two numbers."""
    with decimal.localcontext(prec=40):
        exact = [(decimal.Decimal(k) / 64).ln() for k in range(FIRST_STEP, LAST_STEP + 1)]
        high = [float(value) for value in exact]
        low = [float(value - decimal.Decimal(first)) for value, first in zip(exact, high, strict=True)]
    return np.array(high), np.array(low)


def _halves(x: Any) -> tuple[Any, Any]:
    """x as a sum of two numbers of 26 bits (Veltkamp 1968)."""
    scaled = SPLITTER * x
    high = scaled - (scaled - x)
    return high, x - high


def _series(x: Any, coefficients: tuple[float, ...] = ARTANH) -> Any:
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total
