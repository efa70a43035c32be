"""Surfaces free of static arbitrage by construction: SSVI and extended SSVI fitted to all expiries of an underlying.

Every parametrisation here maps a box onto surfaces (theta, rho, psi) per expiry, and every point of the box is free
of butterfly and calendar arbitrage, so that plain bounded least squares with the exact Jacobian is enough.

Extended SSVI (Mingone 2022): rho_i in (-1, 1), a_i > 0, c_i in (0, 1) and, with p_i the wing ratio of two rho,

    theta_i = theta_(i-1) p_i + a_i,   psi_i = A_i + c_i (C_i - A_i),   A_i = psi_(i-1) p_i,
    C_i = min[ psi_(i-1) theta_i / theta_(i-1),  f_i,  f_(i+1) / p_(i+1),  f_(i+2) / (p_(i+1) p_(i+2)), ... ],

f_i being the largest psi free of butterflies, exact (`largest_psi`). The bounds on psi at later expiries keep an
early slice from leaving no room for the later ones.

SSVI (Gatheral and Jacquier 2014): one rho, an increasing theta, and phi(theta) of two numbers (power law) or one
(Heston-like) inside their own sufficient bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray
from pricing.butterfly import largest_psi
from pricing.slice_fit import SliceData
from pricing.surfaces import ssvi

STEEPEST_RHO = 0.995
# Bounds are kept at this relative distance: sums of rounded numbers must not end on the wrong side.
INSIDE = 1e-7
SHARE_BOUNDS = (1e-4, 1.0)
GAMMA_BOUNDS = (1e-3, 0.5)
SMALLEST_STEP_SHARE = 1e-4
DERIVATIVE_STEP = 1e-5
STARTING_RHO = (-0.7, -0.3, 0.0, 0.3, 0.7)
STARTING_SHARE = (0.1, 0.3, 0.7)
MAX_EVALUATIONS = 150
EDGE_DISTANCES = (0.05, 1e-4)
TOLERANCE = 1e-9


class SurfaceFit(NamedTuple):
    """theta rho psi per expiry (X,3), half the weighted sum of squares, and whether the search converged."""

    parameters: FloatArray
    cost: float
    converged: bool

    @property
    def raw(self) -> FloatArray:
        """(X,5) raw parameters a b rho m sigma."""
        theta, rho, psi = self.parameters.T
        return np.stack(np.broadcast_arrays(*ssvi.to_raw(np, theta, rho, psi / theta)), axis=1)


class Box(NamedTuple):
    """A parametrisation: its bounds and start (n,), and its map to (X,3) with the Jacobian (X,3,n)."""

    low: FloatArray
    high: FloatArray
    start: FloatArray
    surface: Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def fit_essvi(expiries: Sequence[SliceData]) -> SurfaceFit:
    """Extended SSVI for the expiries of one underlying, in the order of time, each with one quote or more."""
    separate = _separate_slices(expiries)
    # The box has kinks where a search from its edge, or one that must reach it, can stop: the better of the two.
    fits = [_search(expiries, _essvi_box(separate, distance)) for distance in EDGE_DISTANCES]
    return min(fits, key=lambda fit: fit.cost)


def fit_ssvi(expiries: Sequence[SliceData], phi: str) -> SurfaceFit:
    """SSVI with phi "power_law" or "heston_like" for the expiries of one underlying, in the order of time."""
    return _search(expiries, _ssvi_box(_separate_slices(expiries), phi))


def essvi_surface(box: FloatArray) -> tuple[FloatArray, FloatArray]:
    """theta rho psi (X,3) of a point of Mingone's box (3X,), rho then a then c, and its Jacobian (X,3,3X)."""
    count = len(box) // 3
    rho, added, share = box.reshape(3, count)
    d_rho, d_added, d_share = np.eye(3 * count).reshape(3, count, 3 * count)
    theta, d_theta = np.empty(count), np.empty((count, 3 * count))
    ratio, d_ratio = np.ones(count), np.zeros((count, 3 * count))
    theta[0], d_theta[0] = added[0], d_added[0]
    for i in range(1, count):
        ratio[i], d_ratio[i] = _wing_ratio(rho[i - 1], rho[i], d_rho[i - 1], d_rho[i])
        theta[i] = theta[i - 1] * ratio[i] + added[i]
        d_theta[i] = ratio[i] * d_theta[i - 1] + theta[i - 1] * d_ratio[i] + d_added[i]
    cap, d_cap = _caps(theta, rho, d_theta, d_rho)
    for i in range(count - 2, -1, -1):  # room that the later expiries leave
        later = cap[i + 1] / ratio[i + 1]
        if later < cap[i]:
            cap[i], d_cap[i] = later, (d_cap[i + 1] - later * d_ratio[i + 1]) / ratio[i + 1]
    psi, d_psi = np.empty(count), np.empty((count, 3 * count))
    for i in range(count):
        lowest, d_lowest = (psi[i - 1] * ratio[i], ratio[i] * d_psi[i - 1] + psi[i - 1] * d_ratio[i]) if i else (0.0, 0)
        highest, d_highest = cap[i], d_cap[i]
        if i and psi[i - 1] * theta[i] / theta[i - 1] < highest:
            growth = theta[i] / theta[i - 1]
            highest = psi[i - 1] * growth
            d_highest = growth * d_psi[i - 1] + psi[i - 1] * (d_theta[i] - growth * d_theta[i - 1]) / theta[i - 1]
        psi[i] = lowest + share[i] * (highest - lowest)
        d_psi[i] = (1.0 - share[i]) * d_lowest + share[i] * d_highest + (highest - lowest) * d_share[i]
    return np.stack([theta, rho, psi], axis=1), np.stack([d_theta, d_rho, d_psi], axis=1)


def ssvi_surface(box: FloatArray, phi: str) -> tuple[FloatArray, FloatArray]:
    """theta rho psi (X,3) of a point of the SSVI box, and its Jacobian.

    The box is (X steps of theta, rho, share) for "heston_like" and one more, gamma, for "power_law"; share in
    (0, 1] is the ratio to the largest eta, or of the smallest rate, free of arbitrage.
    """
    count = len(box) - (3 if phi == "power_law" else 2)
    wings = box[count:]
    theta = np.cumsum(box[:count])
    rho, share = wings[0], wings[1]

    def psi(theta: FloatArray, rho: float, share: float, gamma: float) -> FloatArray:
        steep = 1.0 + np.abs(rho)
        if phi == "power_law":
            return theta * ssvi.power_law(np, theta, 2.0 * share / steep, gamma)
        return theta * ssvi.heston_like(np, theta, 0.25 * steep / share)

    at = [theta, rho, share, wings[2] if phi == "power_law" else 0.0]
    jacobian = np.zeros((count, 3, len(box)))
    jacobian[:, 0, :count] = np.tril(np.ones((count, count)))
    jacobian[:, 1, count] = 1.0
    for column in range(1 + len(wings)):
        step = DERIVATIVE_STEP * np.maximum(np.abs(at[column]), 1e-3)
        up, down = ([*at[:column], at[column] + sign * step, *at[column + 1 :]] for sign in (1.0, -1.0))
        slope = (psi(*up) - psi(*down)) / (2.0 * step)
        if column == 0:
            jacobian[:, 2, :count] = slope[:, None] * jacobian[:, 0, :count]
        else:
            jacobian[:, 2, count + column - 1] = slope
    return np.stack([theta, np.full(count, rho), psi(*at)], axis=1), jacobian


def _wing_ratio(first: float, second: float, d_first: FloatArray, d_second: FloatArray) -> tuple[float, FloatArray]:
    """`ssvi.wing_ratio` and its derivative: of the two ratios the larger one."""
    side = 1.0 if (1.0 + first) / (1.0 + second) >= (1.0 - first) / (1.0 - second) else -1.0
    ratio = (1.0 + side * first) / (1.0 + side * second)
    return ratio, side * (d_first - ratio * d_second) / (1.0 + side * second)


def _caps(theta: FloatArray, rho: FloatArray, d_theta: FloatArray, d_rho: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(X,) largest psi, kept inside by a hair, and its derivative by the box."""
    steps = DERIVATIVE_STEP * theta, np.full(len(rho), DERIVATIVE_STEP)
    thetas = np.concatenate([theta, theta + steps[0], theta - steps[0], theta, theta])
    rhos = np.concatenate([rho, rho, rho, rho + steps[1], rho - steps[1]])
    cap, theta_up, theta_down, rho_up, rho_down = (1.0 - INSIDE) * largest_psi(thetas, rhos).reshape(5, -1)
    by_theta, by_rho = (theta_up - theta_down) / (2.0 * steps[0]), (rho_up - rho_down) / (2.0 * steps[1])
    return cap, by_theta[:, None] * d_theta + by_rho[:, None] * d_rho


def _essvi_box(separate: FloatArray, distance: float) -> Box:
    """Mingone's box around slices fitted one by one: the start is the point of the box nearest to them in turn.

    The start keeps this distance from the edges of the box, as a share of its width and of a fifth of theta.
    """
    count = len(separate)
    theta, rho, psi = separate.T
    rho = np.clip(rho, -0.97, 0.97)
    smallest = SMALLEST_STEP_SHARE * theta[0]
    low = np.concatenate([np.full(count, -STEEPEST_RHO), np.full(count, smallest * INSIDE), np.full(count, INSIDE)])
    high = np.concatenate([np.full(count, STEEPEST_RHO), np.full(count, np.inf), np.full(count, 1.0 - INSIDE)])
    start = np.concatenate([rho, np.full(count, smallest), np.full(count, 0.5)])
    found = theta[0]
    start[count] = found
    for i in range(1, count):
        least = found * float(ssvi.wing_ratio(np, rho[i - 1], rho[i]))
        start[count + i] = max(theta[i] - least, 0.2 * distance * found)
        found = least + start[count + i]
    for i in range(count):  # psi is linear in its own share once the earlier ones are set
        bounds = []
        for share in (0.0, 1.0):
            start[2 * count + i] = share
            bounds.append(essvi_surface(start)[0][i, 2])
        width = max(bounds[1] - bounds[0], 1e-300)
        start[2 * count + i] = np.clip((psi[i] - bounds[0]) / width, distance, 1.0 - distance)
    return Box(low, high, start, essvi_surface)


def _ssvi_box(separate: FloatArray, phi: str) -> Box:
    theta = np.maximum.accumulate(separate[:, 0])
    smallest = SMALLEST_STEP_SHARE * theta[0]
    steps = np.maximum(np.diff(theta, prepend=0.0), smallest)
    rho = float(np.clip(np.median(separate[:, 1]), -0.9, 0.9))
    wings = [rho, 0.5] + ([0.4] if phi == "power_law" else [])
    wings_low = [-STEEPEST_RHO, SHARE_BOUNDS[0]] + ([GAMMA_BOUNDS[0]] if phi == "power_law" else [])
    wings_high = [STEEPEST_RHO, SHARE_BOUNDS[1] - INSIDE] + ([GAMMA_BOUNDS[1]] if phi == "power_law" else [])
    low = np.concatenate([np.full(len(theta), smallest * INSIDE), wings_low])
    high = np.concatenate([np.full(len(theta), np.inf), wings_high])
    return Box(low, high, np.concatenate([steps, wings]), lambda box: ssvi_surface(box, phi))


def _separate_slices(expiries: Sequence[SliceData]) -> FloatArray:
    """(X,3) theta rho psi of each expiry on its own, from the best of a few starts; not free of arbitrage yet."""
    found = np.empty((len(expiries), 3))
    for i, data in enumerate(expiries):
        order = np.argsort(data.k)
        theta = float(np.interp(0.0, data.k[order], data.w[order]))
        rho, share = (axis.ravel() for axis in np.meshgrid(STARTING_RHO, STARTING_SHARE))
        psi = share * largest_psi(theta, rho)
        w = ssvi.total_variance(np, data.k[:, None], theta, rho, psi / theta)
        best = int(np.argmin(np.sum((data.weight[:, None] * (w - data.w[:, None])) ** 2, axis=0)))
        start = np.array([theta, rho[best], psi[best]])
        low, high = np.array([1e-3 * theta, -0.99, 1e-6 * theta]), np.array([1e3 * theta, 0.99, 2.0])
        box = Box(low, high, start, lambda point: (point[None, :], np.eye(3)[None]))
        found[i] = _search([data], box).parameters[0]
    return found


def _search(expiries: Sequence[SliceData], box: Box) -> SurfaceFit:
    """Bounded trust-region least squares over a box with the exact Jacobian."""
    from scipy.optimize import least_squares

    @lru_cache(maxsize=1)
    def reduced(point: bytes) -> tuple[FloatArray, FloatArray]:
        return reduced_residuals(expiries, *box.surface(np.frombuffer(point)))

    def residuals(point: FloatArray) -> FloatArray:
        return reduced(point.tobytes())[0]

    def jacobian(point: FloatArray) -> FloatArray:
        return reduced(point.tobytes())[1]

    result = least_squares(
        residuals,
        np.clip(box.start, box.low, box.high),
        jacobian,
        bounds=(box.low, box.high),
        x_scale="jac",
        ftol=TOLERANCE,
        xtol=TOLERANCE,
        gtol=TOLERANCE,
        max_nfev=MAX_EVALUATIONS,
    )
    return SurfaceFit(box.surface(result.x)[0], float(result.cost), bool(result.success))


def reduced_residuals(
    expiries: Sequence[SliceData], surface: FloatArray, by_point: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Residuals (4X,) and Jacobian (4X,n) with the sums of squares and products of those of every quote.

    A slice has three numbers, so its Jacobian is Q R by_point with R (3,3): turned by Q, all but three of its
    residuals do not move with the point to first order, and are one number. Rows of quotes never meet in one large
    matrix, which a threaded linear algebra would spend more time on sharing out than on multiplying.
    """
    residuals, jacobian = np.empty((len(expiries), 4)), np.zeros((len(expiries), 4, by_point.shape[2]))
    for i, (data, (theta, rho, psi), slopes) in enumerate(zip(expiries, surface, by_point, strict=True)):
        error = data.weight * (ssvi.total_variance(np, data.k, theta, rho, psi / theta) - data.w)
        by_slice = np.stack(ssvi.parameter_derivatives(np, data.k, theta, rho, psi), axis=1)
        q, r = np.linalg.qr(data.weight[:, None] * by_slice)
        turned = q.T @ error
        rank, rest = len(turned), error - q @ turned
        residuals[i, :rank], residuals[i, rank:] = turned, 0.0
        residuals[i, 3] = np.sqrt(rest @ rest)
        jacobian[i, :rank] = r @ slopes
    return residuals.ravel(), jacobian.reshape(-1, by_point.shape[2])
