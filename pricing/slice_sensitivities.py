"""How total variance, vol and value move with the parameters of a slice, in raw SVI, jump wings or natural SVI.

Jump wings are what traders quote and shock: v (level), psi (skew), p and c (wings), v_tilde (smallest variance). The
value of a book moves with them by vega times d vol / d parameter, contract by contract.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray, row_problems
from pricing.columns import numbers, slice_rows
from pricing.errors import ConfigError, DataError, Problem
from pricing.parametrisations import natural_from_raw
from pricing.surfaces import jump_wing, natural

QUANTITIES = ("total_variance", "vol")
PARAMETERS = {
    "raw": ("a", "b", "rho", "m", "sigma"),
    "jump_wing": ("v", "psi", "p", "c", "v_tilde"),
    "natural": ("delta", "mu", "rho", "omega", "zeta"),
}


def parameter_derivatives(
    k: ArrayLike, slices: ArrayLike, tau: ArrayLike, *, quantity: str = "vol", parameters: str = "raw"
) -> FloatArray:
    """(Q,5) derivatives at log-moneyness k by the parameters of each row's slice, by jax.

    k           (Q,) ln(K/F)
    slices      (Q,5) or (5,) raw parameters of the slice of each row, w > 0 at k
    tau         (Q,) or () years of the slice, above 0
    quantity    "total_variance", or "vol" = sqrt(w / tau), per sqrt(year)
    parameters  by "raw" a b rho m sigma, by "jump_wing" v psi p c v_tilde, NaN where psi is 0, or by "natural" delta
                mu rho omega zeta, where |rho| < 1 and b and sigma are above 0, refused elsewhere
    """
    if quantity not in QUANTITIES:
        raise ConfigError(f"quantity = {quantity!r}: must be one of {', '.join(QUANTITIES)}")
    if parameters not in PARAMETERS:
        raise ConfigError(f"parameters = {parameters!r}: must be one of {', '.join(PARAMETERS)}")
    from pricing.backends import sensitivities_jax

    at, rows = numbers("parameter_derivatives", "k", k), slice_rows("parameter_derivatives", "slices", slices)
    years = numbers("parameter_derivatives", "tau", tau)
    at = np.atleast_1d(at)
    if at.ndim != 1 or len(rows) not in (1, len(at)) or years.shape not in ((), (1,), at.shape):
        shapes = f"k {at.shape}, slices {rows.shape}, tau {years.shape}"
        remedy = "needs k (Q,), slices (Q, 5) or (5,), tau (Q,) or one number"
        raise DataError([Problem("parameter_derivatives", None, "shapes", shapes, remedy)])
    early: BoolArray = ~(np.isfinite(years) & (years > 0.0))
    if early.any():
        years = np.atleast_1d(years)
        raise DataError(row_problems("parameter_derivatives", "tau", np.atleast_1d(early), years, "years, above 0"))
    rows = np.ascontiguousarray(np.broadcast_to(rows, (len(at), 5)))
    times = np.ascontiguousarray(np.broadcast_to(years, at.shape))
    by_raw = sensitivities_jax.parameter_derivatives(at, rows, times, quantity == "vol")
    if parameters == "raw":
        return by_raw
    if parameters == "natural":
        raw_by_natural = sensitivities_jax.map_jacobian(natural.to_raw, natural_from_raw(rows))
        return np.einsum("qr,qrp->qp", by_raw, raw_by_natural)
    a, b, rho, m, sigma = rows.T
    wings = np.stack(jump_wing.from_raw(np, a, b, rho, m, sigma, times), axis=1)
    raw_by_wings = sensitivities_jax.map_jacobian(jump_wing.to_raw, wings, times)
    return np.einsum("qr,qrp->qp", by_raw, raw_by_wings)
