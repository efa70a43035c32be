"""Derivatives of the early exercise premium where there are two boundaries and the spot is near one of them.

As in `near_boundary`: the integrands of the derivatives are spikes where t is about (ln(S/B)/vol)^2, so that every row
has points of its own. Both integrals, along the upper and along the lower boundary, are taken on them. After the
boundaries have met the spike begins with the time since then, and the points with it.

On numpy whatever the backend.
"""

from __future__ import annotations

import numpy as np

from pricing import near_boundary, two_boundaries
from pricing.arrays import BoolArray, FloatArray
from pricing.collocation import Scheme, basis_at
from pricing.near_boundary import HALF_WAY, LEAST

# The shared points are right to 1e-6 of gamma from so many deviations on.
FAR = 0.2


def distance(terms: tuple[FloatArray, ...], log_spot: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R,) how far the spot lies outside the exercise region, in deviations over the time solved for, below 0 inside;
    (R,) +1 where it lies above, -1 below. Terms and log_spot (R,), y (R,1+2n)."""
    rate, payout, vol, tau = terms
    n = (y.shape[1] - 1) // 2
    span = vol * np.sqrt(np.minimum(y[:, 0], tau))
    above, below = log_spot + y[:, 1], np.log(rate / payout) + y[:, 1 + n] - log_spot
    return np.maximum(above, below) / span, np.where(above > below, 1.0, -1.0)


def is_near(d: FloatArray) -> BoolArray:
    """(R,) whether the shared points miss the spike of a row; d as from `distance`."""
    return np.asarray((d > 0.0) & (d < FAR))


def premium_greeks(
    scheme: Scheme, terms: tuple[FloatArray, ...], log_spot: FloatArray, y: FloatArray, changes: FloatArray
) -> FloatArray:
    """(8,R) as the model's `premium_greeks`; terms and log_spot (R,), y (R,1+2n), changes (3,R,1+2n)."""
    return near_boundary.in_blocks(_block, scheme, terms, log_spot, y, changes)


def _block(
    scheme: Scheme, terms: tuple[FloatArray, ...], log_spot: FloatArray, y: FloatArray, changes: FloatArray
) -> FloatArray:
    rate, payout, vol, tau = terms
    until = np.minimum(y[:, 0], tau)
    since = tau - until
    d, side = distance(terms, log_spot, y)
    log_move = side * np.maximum(LEAST - d, 0.0) * vol * np.sqrt(until)
    log_spot = log_spot + log_move
    spike = np.minimum(np.maximum(np.maximum(d, LEAST), np.sqrt(since / until)), HALF_WAY)
    root, weight = near_boundary.spike_points(spike, scheme.grade)
    time = since[:, None] + until[:, None] * root**2
    basis = basis_at(scheme, (1.0 - root) * (1.0 + root))
    points = two_boundaries.Points(time, until[:, None] * weight, basis)
    result = two_boundaries.greeks_of_points((rate, payout, vol, tau), log_spot, points, y, changes)
    back = np.exp(log_spot) * np.expm1(-log_move)
    for by, by_spot in ((1, 2), (2, 3), (4, 5)):
        result[by] += back * result[by_spot]
    return result
