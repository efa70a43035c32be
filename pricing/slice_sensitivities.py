"""How total variance, vol and value move with the parameters of a slice, in raw SVI or in jump wings.

Jump wings are what traders quote and shock: v (level), psi (skew), p and c (wings), v_tilde (smallest variance). The
value of a book moves with them by vega times d vol / d parameter, contract by contract.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from pricing.surfaces import jump_wing

QUANTITIES = ("total_variance", "vol")
PARAMETERS = {"raw": ("a", "b", "rho", "m", "sigma"), "jump_wing": ("v", "psi", "p", "c", "v_tilde")}


def parameter_derivatives(
    k: ArrayLike, slices: ArrayLike, tau: ArrayLike, *, quantity: str = "vol", parameters: str = "raw"
) -> FloatArray:
    """(Q,5) derivatives at log-moneyness k by the parameters of each row's slice, by jax.

    k           (Q,) ln(K/F)
    slices      (Q,5) or (5,) raw parameters of the slice of each row, w > 0 at k
    tau         (Q,) or () years of the slice, above 0
    quantity    "total_variance", or "vol" = sqrt(w / tau), per sqrt(year)
    parameters  by "raw" a b rho m sigma, or by "jump_wing" v psi p c v_tilde, NaN where psi is 0
    """
    if quantity not in QUANTITIES:
        raise ConfigError(f"quantity = {quantity!r}: must be one of {', '.join(QUANTITIES)}")
    if parameters not in PARAMETERS:
        raise ConfigError(f"parameters = {parameters!r}: must be one of {', '.join(PARAMETERS)}")
    from pricing.backends import sensitivities_jax

    k = np.atleast_1d(np.asarray(k, dtype=np.float64))
    rows = np.ascontiguousarray(np.broadcast_to(np.asarray(slices, dtype=np.float64), (len(k), 5)))
    times = np.ascontiguousarray(np.broadcast_to(np.asarray(tau, dtype=np.float64), k.shape))
    by_raw = sensitivities_jax.parameter_derivatives(k, rows, times, quantity == "vol")
    if parameters == "raw":
        return by_raw
    a, b, rho, m, sigma = rows.T
    wings = np.stack(jump_wing.from_raw(np, a, b, rho, m, sigma, times), axis=1)
    raw_by_wings = sensitivities_jax.map_jacobian(jump_wing.to_raw, wings, times)
    return np.einsum("qr,qrp->qp", by_raw, raw_by_wings)
