"""The primitives of the formulas on numpy arrays: the reference of the other two."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from pricing.xp.coefficients import MILLS_DENOMINATOR, MILLS_REST

SQRT_HALF = 0.7071067811865476
SQRT_HALF_PI = 1.2533141373155003
FAR = 1.0e20  # beyond it the Mills ratio is 1/x to the last digit
LN2_HIGH = 0.6931471803691238
LN2_LOW = 1.9082149292705877e-10
ARTANH = tuple(2.0 / (2 * n + 3) for n in range(11))  # lowest power first; eleven terms leave 2e-18
SPLITTER = 134217729.0  # 2^27 + 1
LARGEST_TO_SPLIT = 1.0e290

where = np.where
sqrt = np.sqrt
exp = np.exp
log = np.log
minimum = np.minimum
maximum = np.maximum
abs = np.abs
normal_cdf = special.ndtr


def log_ratio(numerator: Any, denominator: Any) -> Any:
    """ln(numerator / denominator), exact where the two are close: the quotient is never rounded near 1."""
    relative = (numerator - denominator) / denominator
    return np.where(np.abs(relative) < 0.5, np.log1p(np.maximum(relative, -0.75)), np.log(numerator / denominator))


def mills_ratio(x: Any) -> Any:
    """N(-x) / phi(x) for x >= 0."""
    return SQRT_HALF_PI * special.erfcx(SQRT_HALF * x)


def _horner(coefficients: tuple[float, ...], x: Any) -> Any:
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def mills_and_rest(x: Any) -> tuple[Any, Any]:
    """M = N(-x) / phi(x) and 1 - x M for x >= 0; the second by subtraction only where nothing cancels."""
    ratio = mills_ratio(x)
    near = np.minimum(x, FAR)
    rest = _horner(MILLS_REST, near) / _horner(MILLS_DENOMINATOR, near)
    return ratio, np.where(x < 1.0, 1.0 - x * ratio, rest)


def mills_and_rest_of_two(x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    """`mills_and_rest` of two numbers."""
    return (*mills_and_rest(x), *mills_and_rest(y))


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return 1.0 / np.sqrt(x)


def _halves(x: Any) -> tuple[Any, Any]:
    """x as a sum of two numbers of 26 bits (Veltkamp 1968)."""
    scaled = SPLITTER * x
    high = scaled - (scaled - x)
    return high, x - high


def fused(a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded as it comes."""
    return a * b + c


def product_minus(a: Any, b: Any, c: Any) -> Any:
    """a b - c, all but rounded once: what rounding took from c, where c is about a b (Dekker 1971)."""
    a_high, a_low = _halves(np.minimum(a, LARGEST_TO_SPLIT))
    b_high, b_low = _halves(np.minimum(b, LARGEST_TO_SPLIT))
    return ((a_high * b_high - c) + a_high * b_low + a_low * b_high) + a_low * b_low


def log_ratio_parts(numerator: Any, denominator: Any) -> tuple[Any, Any]:
    """ln(numerator / denominator) for positive numbers as a sum of two, right to 1e-17 of the logarithm."""
    mantissa, exponent = np.frexp(numerator / denominator)
    exponent = np.where(mantissa < SQRT_HALF, exponent - 1, exponent)
    scaled = np.ldexp(denominator, exponent)
    difference, total = numerator - scaled, numerator + scaled
    s = difference / total
    larger, smaller = np.maximum(numerator, scaled), np.minimum(numerator, scaled)
    rest = -(product_minus(s, total, difference) + s * ((larger - total) + smaller)) / total
    tail = s * (s * s) * _horner(ARTANH, s * s)
    whole = exponent * LN2_HIGH
    high = whole + 2.0 * s
    low = ((whole - high) + 2.0 * s) + (exponent * LN2_LOW + (2.0 * rest + tail))
    logarithm = high + low
    return logarithm, (high - logarithm) + low
