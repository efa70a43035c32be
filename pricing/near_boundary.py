"""Derivatives of the early exercise premium where the spot is near the exercise boundary.

With d = ln(s/B(tau)) / (vol sqrt tau) and rho = sqrt(t/tau), the integrands of the second and third derivative by
spot, and of the one by vol and spot, grow like exp(-d^2 / (2 rho^2)) / rho^2 and more: a spike around rho = d, of which
half a jump of gamma is made (Kim 1990, eq. 5, differentiated). Points that all rows share miss it. Here every row has
points of its own, which are Gauss-Legendre on equal panels of ln(rho) from where the spike begins to HALF_WAY, and
from there on in the angle f with u = tau sin(f)^(2 grade), as everywhere.

On numpy whatever the backend, for few rows are near.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.collocation import Scheme, basis_at
from pricing.models import american
from pricing.xp import numpy as xp

ROWS_AT_ONCE = 32
# At SPIKE deviations the density is 0 to a double. Nearer than LEAST, where rounding is magnified by 1/d, the
# derivatives are those at LEAST, moved back by the next ones.
SPIKE, LEAST = 10.0, 1e-5
HALF_WAY = 0.5
PANELS, POINTS, LATE_POINTS = 10, 16, 48
# The shared points are right to about 1e-8 of gamma (fast: 1e-5) from this distance on, divided by their number.
FAR = 16.0


def distance(terms: tuple[FloatArray, ...], log_spot: FloatArray, y: FloatArray) -> FloatArray:
    """(R,) d: how far the spot lies above the boundary, in deviations to expiry; terms and log_spot (R,), y (R,n)."""
    rate, payout, vol, tau = terms
    edge = np.log(american.limit_at_expiry(xp, rate, payout)) - y[:, 0]
    return np.asarray((log_spot - edge) / (vol * np.sqrt(tau)))


def is_near(scheme: Scheme, d: FloatArray) -> BoolArray:
    """(R,) whether the points of the scheme miss the spike of a row; d as from `distance`."""
    return np.asarray((d > 0.0) & (d < FAR / len(scheme.premium_root)))


def premium_greeks(
    scheme: Scheme, terms: tuple[FloatArray, ...], log_spot: FloatArray, y: FloatArray, changes: FloatArray
) -> FloatArray:
    """(8,R) as the model's `premium_greeks`; terms and log_spot (R,), y (R,n), changes (3,R,n)."""
    return in_blocks(_block, scheme, terms, log_spot, y, changes)


Block = Callable[[Scheme, tuple[FloatArray, ...], FloatArray, FloatArray, FloatArray], FloatArray]


def in_blocks(
    greeks: Block,
    scheme: Scheme,
    terms: tuple[FloatArray, ...],
    log_spot: FloatArray,
    y: FloatArray,
    changes: FloatArray,
) -> FloatArray:
    """(8,R) of `greeks` for a few rows at a time, so that points of every row's own fit into the caches."""
    out = np.empty((8, len(log_spot)))
    for start in range(0, len(log_spot), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        here = tuple(term[block] for term in terms)
        with np.errstate(all="ignore"):
            out[:, block] = greeks(scheme, here, log_spot[block], y[block], changes[:, block])
    return out


def _block(
    scheme: Scheme, terms: tuple[FloatArray, ...], log_spot: FloatArray, y: FloatArray, changes: FloatArray
) -> FloatArray:
    d = distance(terms, log_spot, y)
    kept = np.maximum(d, LEAST)
    log_move = (kept - d) * terms[2] * np.sqrt(terms[3])
    log_spot = log_spot + log_move
    root, weight = spike_points(kept, scheme.grade)
    basis = basis_at(scheme, (1.0 - root) * (1.0 + root))

    def at_points(values: FloatArray) -> FloatArray:
        return np.asarray((basis @ values[:, :, None])[:, :, 0])

    y_u = np.sqrt(np.maximum(at_points(y * y), american.LEAST_DISTANCE))
    moves = tuple(at_points(y * change) / y_u for change in changes)
    result = np.array(american.premium_greeks_of_points(xp, terms, log_spot, root, weight, y_u, moves))
    back = np.exp(log_spot) * np.expm1(-log_move)
    for by, by_spot in ((1, 2), (2, 3), (4, 5)):
        result[by] += back * result[by_spot]
    return result


def spike_points(d: FloatArray, grade: int) -> tuple[FloatArray, FloatArray]:
    """(R,p) rho and weights of dt/tau, from the distances (R,)."""
    share, share_weight = _panels()
    first = np.log(d / SPIKE)[:, None]
    length = np.log(HALF_WAY) - first
    early = np.exp(first + length * share)
    late, late_weight = _late(grade)
    root = np.concatenate([early, np.broadcast_to(late, (len(d), len(late)))], axis=1)
    weight = [2.0 * early * early * length * share_weight, np.broadcast_to(late_weight, (len(d), len(late)))]
    return root, np.concatenate(weight, axis=1)


@functools.cache
def _panels() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of Gauss-Legendre on equal panels of [0, 1]."""
    node, weight = np.polynomial.legendre.leggauss(POINTS)
    share = (np.arange(PANELS)[:, None] + 0.5 * (node + 1.0)) / PANELS
    return share.ravel(), np.tile(0.5 * weight / PANELS, PANELS)


@functools.cache
def _late(grade: int) -> tuple[FloatArray, FloatArray]:
    """rho and weights of dt/tau from HALF_WAY to 1."""
    node, weight = np.polynomial.legendre.leggauss(LATE_POINTS)
    last = np.arcsin((1.0 - HALF_WAY**2) ** (0.5 / grade))
    f = 0.5 * last * (node + 1.0)
    sine, cosine = np.sin(f), np.cos(f)
    root = np.sqrt(1.0 - sine ** (2 * grade))
    return root, 0.5 * last * weight * 2.0 * grade * sine ** (2 * grade - 1) * cosine
