"""The primitives of the formulas on jax arrays; differentiable everywhere they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from pricing.xp.coefficients import MILLS_DENOMINATOR, MILLS_NUMERATOR

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
        from jax.experimental import enable_x64  # type: ignore[attr-defined]

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
    near = jnp.minimum(x, 1.0e20)
    return _horner(MILLS_NUMERATOR, near) / _horner(MILLS_DENOMINATOR, near)


@mills_ratio.defjvp
def _mills_ratio_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (x_dot,) = primals, tangents
    ratio = mills_ratio(x)
    return ratio, (x * ratio - 1.0) * x_dot
