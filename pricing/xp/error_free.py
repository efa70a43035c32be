"""Products and logarithms with what rounding takes from them, for any array library that has numpy's functions.

numba has its own, from instructions that multiply and add at once.
"""

from __future__ import annotations

from typing import Any

SQRT_HALF = 0.7071067811865476
LN2_HIGH = 0.6931471803691238
LN2_LOW = 1.9082149292705877e-10
ARTANH = tuple(2.0 / (2 * n + 3) for n in range(11))  # lowest power first; eleven terms leave 2e-18
SPLITTER = 134217729.0  # 2^27 + 1
LARGEST_TO_SPLIT = 1.0e290


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
