"""Derivatives of slices by their parameters, by jax."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pricing.arrays import FloatArray
from pricing.surfaces import svi
from pricing.xp import jax as xp


@functools.cache
def _gradient(of_vol: bool) -> Any:
    def quantity(parameters: Any, k: Any, tau: Any) -> Any:
        w = svi.total_variance(xp, k, *parameters)
        return xp.sqrt(w / tau) if of_vol else w

    return jax.jit(jax.vmap(jax.grad(quantity)))


@functools.cache
def _jacobian(formula: Callable[..., Any]) -> Any:
    return jax.jit(jax.vmap(jax.jacfwd(lambda parameters, *rest: jnp.stack(formula(xp, *parameters, *rest)))))


def parameter_derivatives(k: FloatArray, slices: FloatArray, tau: FloatArray, of_vol: bool) -> FloatArray:
    """(Q,5) derivatives of total variance, or of vol, at k (Q,) by the raw parameters (Q,5)."""
    with xp.double_precision():
        return np.array(_gradient(of_vol)(slices, k, tau))


def map_jacobian(formula: Callable[..., Any], parameters: FloatArray, *rest: FloatArray) -> FloatArray:
    """(X,out,in) Jacobian of a map between parametrisations `formula(xp, *parameters, *rest)` at (X,in)."""
    with xp.double_precision():
        return np.array(_jacobian(formula)(parameters, *rest))
