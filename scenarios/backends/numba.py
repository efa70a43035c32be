"""unit_pnl compiled by numba: production. Contracts are shared out among threads, as in `pricing.backends.numba`."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from pricing.arrays import FloatArray
from pricing.backends import numba as pricing_numba
from pricing.resolve import PricingInputs, is_solved
from pricing.xp import numba as XP
from scenarios.backends.numpy import solved_pnl
from scenarios.bind import ShockedInputs


def _template(tag: str) -> Any:
    def unit_pnl(first, last, inputs, shocked, out):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        for n in range(first, last):
            x, c = inputs.expiry_idx[n], inputs.currency_idx[n]
            strike, sign, multiplier = inputs.strike[n], inputs.sign[n], inputs.multiplier[n]
            inverse = inputs.inverse[n] > 0.0
            settled = inputs.settled[n]
            f0 = inputs.forward[n]
            base = FORMULA(XP, f0, strike, inputs.tau[n], inputs.vol[n], inputs.discount[n], sign)  # noqa: F821
            kept = base * (shocked.base_fx[c] / (f0 if inverse else 1.0)) * (1.0 - settled)
            base_settled = base * settled
            forward, tau, discount = shocked.forward[x], shocked.tau[x], shocked.discount[x]
            fx, vol, row, weight = shocked.fx[c], shocked.vol[n], out[n], shocked.weight
            for s in range(row.shape[0]):
                f = forward[s]
                value = FORMULA(XP, f, strike, tau[s], vol[s], discount[s], sign)  # noqa: F821
                conversion = fx[s] / (f if inverse else 1.0)
                row[s] = weight[s] * (multiplier * ((value - base_settled) * conversion - kept))

    return unit_pnl


@functools.cache
def _kernel(model: ModuleType) -> Any:
    return XP.compile_kernel(_template(""), XP.source_hash(model), model.value)


def unit_pnl(
    model: ModuleType, inputs: PricingInputs, shocked: ShockedInputs, threads: int = 1, accuracy: str = "default"
) -> FloatArray:
    """(N,S) P&L of one long contract in margin currency, weighted; see the numpy backend."""
    if is_solved(model):
        price = functools.partial(pricing_numba.value, threads=threads, accuracy=accuracy)
        return solved_pnl(price, model, inputs, shocked)
    out = np.empty(shocked.vol.shape)
    kernel = _kernel(model)
    XP.run_in_threads(lambda rows: kernel(rows.start, rows.stop, inputs, shocked, out), len(out), threads, block=1)
    return out
