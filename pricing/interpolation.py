"""Total variance between and beyond fitted expiries, at constant log-moneyness k = ln(K/F) of the expiry asked for.

before the first slice   w scales with time, w = w_1 tau / tau_1: the vol at k stays. Free of butterfly arbitrage where
                         the first slice is: g of c w is concave in c between c = 0, where it is a square, and c = 1
between two slices       w is linear in time. Free of calendar arbitrage where the slices are; butterfly freedom is not
                         a theorem there (Gatheral and Jacquier 2014, section 5.3, interpolate option prices for that)
after the last slice     w moves up in parallel, w = w_X + w_X(0) (tau / tau_X - 1): the vol at the money stays, wings
                         flatten, wing slopes stay within Lee's bound
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.surfaces import svi


def total_variance_at(slices: FloatArray, slice_tau: FloatArray, tau: ArrayLike, k: ArrayLike) -> FloatArray:
    """Total variance of one underlying at times and log-moneyness; tau and k broadcast.

    slices     (X,5) raw SVI, rows of NaN are passed over; NaN everywhere where no row is left
    slice_tau  (X,) years to their expiries, above 0, in any order
    tau        years, 0 or more
    k          ln(strike / forward of that expiry)
    """
    tau, k = np.broadcast_arrays(np.asarray(tau, dtype=np.float64), np.asarray(k, dtype=np.float64))
    slices, slice_tau = np.asarray(slices, dtype=np.float64), np.asarray(slice_tau, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(slices).all(axis=1) & (slice_tau > 0))
    if not len(known):
        return np.full(tau.shape, np.nan)
    known = known[np.argsort(slice_tau[known], kind="stable")]
    slices, times = slices[known], slice_tau[known]
    later = np.searchsorted(times, tau)
    earlier = np.maximum(later - 1, 0)
    at = np.minimum(later, len(times) - 1)
    w_later = svi.total_variance(np, k, *np.moveaxis(slices[at], -1, 0))
    w_earlier = np.where(later > 0, svi.total_variance(np, k, *np.moveaxis(slices[earlier], -1, 0)), 0.0)
    time_earlier = np.where(later > 0, times[earlier], 0.0)
    inside = later < len(times)
    share = (tau - time_earlier) / np.where(inside, times[at] - time_earlier, 1.0)
    growth = svi.total_variance(np, 0.0, *slices[-1]) * (tau / times[-1] - 1.0)
    return np.where(inside, w_earlier + share * (w_later - w_earlier), w_later + growth)


def vol_at(slices: FloatArray, slice_tau: FloatArray, tau: ArrayLike, k: ArrayLike) -> FloatArray:
    """Vol per sqrt(year) at times tau > 0 and log-moneyness k, as `total_variance_at`."""
    return np.sqrt(total_variance_at(slices, slice_tau, tau, k) / np.asarray(tau, dtype=np.float64))
