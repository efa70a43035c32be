"""unit_pnl on jax: accelerators and derivatives."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pricing.arrays import FloatArray
from pricing.backends import jax as pricing_jax
from pricing.resolve import PricingInputs, is_solved
from pricing.xp import jax as xp
from scenarios.backends.numpy import solved_pnl
from scenarios.bind import ShockedInputs


@functools.cache
def _compiled(model: ModuleType) -> Any:
    def unit_pnl(inputs: PricingInputs, shocked: ShockedInputs) -> Any:
        row = inputs.expiry_idx
        forward = shocked.forward[row]
        strike, sign = inputs.strike[:, None], inputs.sign[:, None]
        base = model.value(xp, inputs.forward, inputs.strike, inputs.tau, inputs.vol, inputs.discount, inputs.sign)
        value = model.value(xp, forward, strike, shocked.tau[row], shocked.vol, shocked.discount[row], sign)
        conversion = shocked.fx[inputs.currency_idx] / jnp.where(inputs.inverse[:, None] > 0, forward, 1.0)
        base_conversion = shocked.base_fx[inputs.currency_idx] / jnp.where(inputs.inverse > 0, inputs.forward, 1.0)
        kept = (base * base_conversion * (1.0 - inputs.settled))[:, None]
        gain = (value - (base * inputs.settled)[:, None]) * conversion - kept
        return shocked.weight * (inputs.multiplier[:, None] * gain)

    return jax.jit(unit_pnl)


def unit_pnl(
    model: ModuleType, inputs: PricingInputs, shocked: ShockedInputs, threads: int = 1, accuracy: str = "default"
) -> FloatArray:
    """(N,S) P&L of one long contract in margin currency, weighted; see the numpy backend."""
    if is_solved(model):
        return solved_pnl(functools.partial(pricing_jax.value, accuracy=accuracy), model, inputs, shocked)
    with xp.double_precision():
        return np.asarray(_compiled(model)(inputs, shocked))
