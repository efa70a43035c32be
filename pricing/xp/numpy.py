"""The primitives of the formulas on numpy arrays: the reference of the other two."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from pricing.xp import error_free
from pricing.xp.coefficients import MILLS_DENOMINATOR, MILLS_REST

SQRT_HALF = 0.7071067811865476
SQRT_HALF_PI = 1.2533141373155003
FAR = 1.0e20  # beyond it the Mills ratio is 1/x to the last digit

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


def fused(a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded as it comes."""
    return a * b + c


def product_minus(a: Any, b: Any, c: Any) -> Any:
    """a b - c, all but rounded once: what rounding took from c, where c is about a b (Dekker 1971)."""
    return error_free.product_minus(np, a, b, c)


def log_ratio_parts(numerator: Any, denominator: Any) -> tuple[Any, Any]:
    """ln(numerator / denominator) for positive numbers as a sum of two, right to 1e-17 of the logarithm."""
    return error_free.log_ratio_parts(np, numerator, denominator)
