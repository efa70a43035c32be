"""unit_pnl of a formula as jax traces it, for those who compile it and those who differentiate it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax.numpy as jnp

from pricing.resolve import PricingInputs
from pricing.xp import jax as xp
from scenarios.bind import ShockedInputs


def unit_pnl_of(model: ModuleType) -> Callable[[PricingInputs, ShockedInputs], Any]:
    """(N,S) P&L of one contract each by a formula, to be compiled or differentiated."""

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

    return unit_pnl
