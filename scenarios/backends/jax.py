"""unit_pnl on jax: accelerators and derivatives. Contracts are shared out among devices, block by block."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np

from pricing.arrays import FloatArray
from pricing.backends import jax as pricing_jax
from pricing.resolve import PricingInputs, is_solved
from pricing.xp import jax as xp
from pricing.xp.devices import EVERYWHERE, SHARED, mesh_of, rows_at_once, shared_out
from scenarios.backends.formula_jax import unit_pnl_of
from scenarios.backends.numpy import solved_pnl
from scenarios.bind import ShockedInputs

# Arrays as wide as the scenarios that are there at once while a block is computed, at most.
TEMPORARIES = 16


@functools.cache
def _compiled(model: ModuleType, mesh: jax.sharding.Mesh) -> Any:
    moves = ShockedInputs._make(SHARED if name == "vol" else EVERYWHERE for name in ShockedInputs._fields)
    given = (PricingInputs._make(SHARED for _ in PricingInputs._fields), moves)
    return shared_out(unit_pnl_of(model), mesh, given, SHARED)


def unit_pnl(
    model: ModuleType,
    inputs: PricingInputs,
    shocked: ShockedInputs,
    threads: int = 1,
    accuracy: str = "default",
    devices: int | None = None,
) -> FloatArray:
    """(N,S) P&L of one long contract in margin currency, weighted; see the numpy backend.

    devices  that share the contracts, None for the one jax uses by default; a model that is solved uses that one
    """
    if is_solved(model):
        return solved_pnl(functools.partial(pricing_jax.value, accuracy=accuracy), model, inputs, shocked)
    mesh = mesh_of(devices)
    contracts, scenarios = shocked.vol.shape
    out = np.empty((contracts, scenarios))
    step = mesh.size * rows_at_once(contracts, TEMPORARIES * 8 * scenarios, mesh)
    with xp.double_precision():
        for low in range(0, contracts, step):
            # The last block is filled up with its last contract: one shape, one compilation.
            chosen = np.minimum(np.arange(low, low + step), contracts - 1)
            block = PricingInputs._make(column[chosen] for column in inputs)
            pnl = _compiled(model, mesh)(block, shocked._replace(vol=shocked.vol[chosen]))
            out[low : low + step] = np.asarray(pnl)[: contracts - low]
    return out
