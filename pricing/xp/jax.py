"""The primitives of the formulas on jax arrays; differentiable everywhere they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from pricing.xp import error_free
from pricing.xp.coefficients import MILLS_DENOMINATOR, MILLS_NUMERATOR, MILLS_REST

FAR = 1.0e20  # beyond it the Mills ratio is 1/x to the last digit

where = jnp.where
sqrt = jnp.sqrt
exp = jnp.exp
log = jnp.log
minimum = jnp.minimum
maximum = jnp.maximum
abs = jnp.abs
normal_cdf = ndtr


def double_precision() -> contextlib.AbstractContextManager[Any]:
    """A context in which jax computes in float64; the host process keeps its own setting."""
    enable: Callable[[bool], contextlib.AbstractContextManager[Any]] | None = getattr(jax, "enable_x64", None)
    if enable is None:
        from jax.experimental import enable_x64

        enable = enable_x64
    return enable(True)


def log_ratio(numerator: Any, denominator: Any) -> Any:
    """ln(numerator / denominator), exact where the two are close."""
    relative = (numerator - denominator) / denominator
    near = jnp.abs(relative) < 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, relative, 0.0)), jnp.log(numerator / denominator))


def _horner(coefficients: tuple[float, ...], x: Any) -> Any:
    total = coefficients[-1] * jnp.ones_like(x)
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


@jax.custom_jvp
def mills_ratio(x: Any) -> Any:
    """N(-x) / phi(x) for x >= 0; its derivative is x M(x) - 1."""
    near = jnp.minimum(x, FAR)
    return _horner(MILLS_NUMERATOR, near) / _horner(MILLS_DENOMINATOR, near)


@mills_ratio.defjvp
def _mills_ratio_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (x_dot,) = primals, tangents
    ratio = mills_ratio(x)
    return ratio, (x * ratio - 1.0) * x_dot


@jax.custom_jvp
def mills_and_rest(x: Any) -> tuple[Any, Any]:
    """M = N(-x) / phi(x) and G = 1 - x M for x >= 0; their derivatives are -G and x G - M."""
    near = jnp.minimum(x, FAR)
    denominator = _horner(MILLS_DENOMINATOR, near)
    return _horner(MILLS_NUMERATOR, near) / denominator, _horner(MILLS_REST, near) / denominator


@mills_and_rest.defjvp
def _mills_and_rest_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (x_dot,) = primals, tangents
    ratio, rest = mills_and_rest(x)
    return (ratio, rest), (-rest * x_dot, (x * rest - ratio) * x_dot)


def mills_and_rest_of_two(x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    """`mills_and_rest` of two numbers."""
    return (*mills_and_rest(x), *mills_and_rest(y))


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return 1.0 / jnp.sqrt(x)


def fused(a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded as it comes."""
    return a * b + c


@jax.custom_jvp
def product_minus(a: Any, b: Any, c: Any) -> Any:
    """a b - c, all but rounded once: what rounding took from c, where c is about a b (Dekker 1971)."""
    return error_free.product_minus(jnp, a, b, c)


@product_minus.defjvp
def _product_minus_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    (a, b, _), (a_dot, b_dot, c_dot) = primals, tangents
    return product_minus(*primals), a_dot * b + a * b_dot - c_dot


@jax.custom_jvp
def log_ratio_parts(numerator: Any, denominator: Any) -> tuple[Any, Any]:
    """ln(numerator / denominator) for positive numbers as a sum of two, right to 1e-17 of the logarithm."""
    return error_free.log_ratio_parts(jnp, numerator, denominator)


@log_ratio_parts.defjvp
def _log_ratio_parts_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    (numerator, denominator), (numerator_dot, denominator_dot) = primals, tangents
    parts = log_ratio_parts(numerator, denominator)
    slope = numerator_dot / numerator - denominator_dot / denominator
    return parts, (slope, jnp.zeros_like(slope))
