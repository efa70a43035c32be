"""Derivatives of unit_pnl along a direction, on jax."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np

from pricing.arrays import FloatArray
from pricing.resolve import PricingInputs
from pricing.xp import jax as xp
from scenarios.backends.formula_jax import unit_pnl_of
from scenarios.bind import ShockedInputs

INDEX_COLUMNS = ("expiry_idx", "currency_idx")


@functools.cache
def _compiled_tangent(model: ModuleType) -> Any:
    value = unit_pnl_of(model)

    def tangent(inputs: Any, shocked: Any, inputs_tangent: Any, shocked_tangent: Any) -> Any:
        def along(amount: Any) -> Any:
            moved = [
                column if name in INDEX_COLUMNS else column + amount * change
                for name, column, change in zip(PricingInputs._fields, inputs, inputs_tangent, strict=True)
            ]
            shocks = [column + amount * change for column, change in zip(shocked, shocked_tangent, strict=True)]
            return value(PricingInputs(*moved), ShockedInputs(*shocks))

        return jax.jvp(along, (0.0,), (1.0,))[1]

    return jax.jit(tangent)


def unit_pnl_tangent(
    model: ModuleType,
    inputs: PricingInputs,
    shocked: ShockedInputs,
    inputs_tangent: PricingInputs,
    shocked_tangent: ShockedInputs,
) -> FloatArray:
    """(N,S) derivative of `unit_pnl` along the tangents, of models that have a formula."""
    with xp.double_precision():
        return np.asarray(_compiled_tangent(model)(inputs, shocked, inputs_tangent, shocked_tangent))
