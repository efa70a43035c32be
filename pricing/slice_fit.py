"""Least-squares fit of one raw SVI slice to total variances.

Every admissible slice is a point of a box in the wing parameters: smallest total variance v, wing slopes
p (left) and q (right), m and sigma, with

    w(k) = v + p (r - x)/2 + q (r + x)/2 - sigma sqrt(p q),   x = k - m,  r = sqrt(x^2 + sigma^2),

so b = (p + q)/2, rho = (q - p)/(p + q), a = v - sigma sqrt(p q). Positivity is v > 0 (a may well be
negative), |rho| <= 1 is p, q >= 0, and Lee's bound is p, q <= 2. The search runs over P = sqrt(p) and
Q = sqrt(q), in which w is a polynomial, smooth up to the edge of the box.

Start: for given m and sigma the slice is linear in (a, p, q); that small problem is solved exactly on a
whole grid of (m, sigma) (De Marco and Martini 2009: quasi-explicit calibration). The best local minima
of the grid are polished by trust-region least squares with the exact Jacobian. Quotes cannot tell a bend
wider than their own span from a parabola, so sigma ends there; else the wings would be anybody's guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pricing.arbitrage import LEE_SLOPE, butterfly_minimum
from pricing.arrays import BoolArray, FloatArray
from pricing.surfaces import svi

SMALLEST_VARIANCE_SHARE = 1e-3
SMALLEST_SIGMA_DEVIATIONS = 0.05
M_CELLS, SIGMA_CELLS = 24, 16
STARTS = 2
MAX_EVALUATIONS = 200
TOLERANCE = 1e-12
G_MARGIN = 1e-4
PENALTIES = (1e2, 1e3, 1e4, 1e5, 1e6)
# Then for what is left: dips of g narrower than the watched points, which slide on between them.
LAST_PENALTIES = (1e4, 1e4, 1e4, 1e5, 1e5, 1e5)
DIP_T = 0.4
DIP_POINTS = 41
# Of the width of the box: nearer to an end than this, a search from inside would have gone beyond.
AT_BOUND_SHARE = 1e-4


class SliceData(NamedTuple):
    """One expiry's quotes: log-moneyness, total variance and the weight of a total-variance error, each (Q,)."""

    k: FloatArray
    w: FloatArray
    weight: FloatArray


class SliceFit(NamedTuple):
    """Wing parameters (v, P, Q, m, sigma), half the weighted sum of squares, and whether the search converged."""

    wings: FloatArray
    cost: float
    converged: bool

    @property
    def raw(self) -> FloatArray:
        """(5,) raw parameters a b rho m sigma."""
        return raw_from_wings(self.wings)


def raw_from_wings(wings: FloatArray) -> FloatArray:
    """(5,) or (X,5) raw parameters a b rho m sigma from wing parameters v P Q m sigma."""
    lowest, left, right, m, sigma = wings.T
    twice_b = left * left + right * right
    rho = (right * right - left * left) / np.where(twice_b > 0, twice_b, 1.0)
    return np.stack([lowest - sigma * left * right, 0.5 * twice_b, rho, m, sigma], axis=-1)


def flat_slice(data: SliceData) -> FloatArray:
    """(5,) raw parameters of the flat slice at the weighted mean total variance."""
    square = data.weight * data.weight
    return np.array([np.sum(square * data.w) / np.sum(square), 0.0, 0.0, 0.0, 1.0])


def weighted_squares(slices: Sequence[SliceData], raw: FloatArray) -> float:
    """Sum of the squared weighted errors of raw slices (X,5), each against its quotes."""
    errors = [one.weight * (svi.total_variance(np, one.k, *row) - one.w) for one, row in zip(slices, raw, strict=True)]
    return float(sum(error @ error for error in errors))


def fit_slice(data: SliceData) -> SliceFit:
    """The least-squares slice with w > 0 everywhere and wing slopes in [0, 2], from five strikes or more."""
    low, high = slice_bounds(data)
    return min((_polish(data, start) for start in _starts(data, low, high)), key=lambda fit: fit.cost)


def fit_slices(slices: Sequence[SliceData], threads: int = 1) -> list[SliceFit]:
    """`fit_slice` of many slices in compiled code; the same minimum to rounding, some hundred times as fast."""
    from pricing.backends import slices_numba

    k, w, weight = (np.concatenate(column) for column in zip(*slices, strict=True))
    first_quote = np.concatenate([[0], np.cumsum([len(data.k) for data in slices])])
    wings, cost, converged = slices_numba.fit_slices(k, w, weight, first_quote, threads)
    return [SliceFit(*row) for row in zip(wings, cost.tolist(), converged.tolist(), strict=True)]


def remove_butterfly(data: SliceData, fit: SliceFit) -> SliceFit:
    """Refit with a growing penalty on max(margin - g(k), 0) until g >= 0 on the whole line.

    Returns the last refit; whether g >= 0 holds is for the caller to measure, with `butterfly_minimum`.
    """
    deviation, _ = _scales(data)
    far = deviation * np.sinh(np.linspace(-7.0, 7.0, 121))
    found = butterfly_minimum(fit.raw)
    dips: list[FloatArray] = []
    for step, penalty in enumerate((*PENALTIES, *LAST_PENALTIES)):
        m, sigma = fit.wings[3:]
        lowest = found.k[np.isfinite(found.k)]
        if step >= len(PENALTIES):
            dips.append(points_about(lowest, m, sigma))
        watched = [far, m + sigma * np.sinh(np.linspace(-9.0, 9.0, 161)), lowest, *dips]
        fit = _polish(data, fit.wings, np.concatenate(watched), penalty)
        found = butterfly_minimum(fit.raw)
        if found.value[0] >= 0:
            break
    return fit


def points_about(k: FloatArray, m: float, sigma: float) -> FloatArray:
    """Points to both sides of each k, even in t of k = m + sigma sinh t."""
    t = np.arcsinh((k - m) / sigma)[:, None] + np.linspace(-DIP_T, DIP_T, DIP_POINTS)
    return np.asarray(m + sigma * np.sinh(t)).ravel()


def wing_jacobian(k: FloatArray, wings: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Derivatives of w, dw/dk and d2w/dk2 with respect to the five wing parameters, each (Q,5)."""
    _, left, right, m, sigma = wings
    x = k - m
    root = np.sqrt(x * x + sigma * sigma)
    tilt, bend = x / root, sigma * sigma / root**3
    b = 0.5 * (left * left + right * right)
    slope = 0.5 * (left * left * (tilt - 1.0) + right * right * (tilt + 1.0))
    zero = np.zeros_like(x)
    by_left, by_right = left * (root - x) - sigma * right, right * (root + x) - sigma * left
    w = (zero + 1.0, by_left, by_right, -slope, b * sigma / root - left * right)
    first = (zero, left * (tilt - 1.0), right * (tilt + 1.0), -b * bend, -b * tilt * sigma / (root * root))
    by_sigma = b * (2.0 * sigma / root**3 - 3.0 * sigma**3 / root**5)
    second = (zero, left * bend, right * bend, 3.0 * b * x * bend / (root * root), by_sigma)
    return np.stack(w, axis=1), np.stack(first, axis=1), np.stack(second, axis=1)


def butterfly_gradient(k: FloatArray, wings: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Durrleman's g (Q,) and its derivatives with respect to the five wing parameters (Q,5)."""
    w, slope, curvature = svi.derivatives(np, k, *raw_from_wings(wings))
    dw, dslope, dcurvature = wing_jacobian(k, wings)
    inner = 1.0 - 0.5 * k * slope / w
    g = inner * inner - 0.25 * slope * slope * (1.0 / w + 0.25) + 0.5 * curvature
    by_w = (inner * k * slope + 0.25 * slope * slope) / (w * w)
    by_slope = -inner * k / w - 0.5 * slope * (1.0 / w + 0.25)
    return g, by_w[:, None] * dw + by_slope[:, None] * dslope + 0.5 * dcurvature


def _polish(data: SliceData, start: FloatArray, watched: FloatArray | None = None, penalty: float = 0.0) -> SliceFit:
    """Trust-region least squares from `start`, inside the bounds; g is penalised at the points `watched`."""
    from scipy.optimize import least_squares

    points = np.empty(0) if watched is None else watched

    def error(wings: FloatArray) -> FloatArray:
        return np.asarray(data.weight * (svi.total_variance(np, data.k, *raw_from_wings(wings)) - data.w))

    def residuals(wings: FloatArray) -> FloatArray:
        shortfall = np.maximum(G_MARGIN - svi.butterfly_g(np, points, *raw_from_wings(wings)), 0.0)
        return np.concatenate([error(wings), penalty * shortfall])

    def jacobian(wings: FloatArray) -> FloatArray:
        g, gradient = butterfly_gradient(points, wings)
        shortfall = np.where((g < G_MARGIN)[:, None], -penalty * gradient, 0.0)
        return np.concatenate([data.weight[:, None] * wing_jacobian(data.k, wings)[0], shortfall])

    bounds = slice_bounds(data)
    result = least_squares(
        residuals,
        np.clip(start, *bounds),
        jacobian,
        bounds=bounds,
        x_scale="jac",
        ftol=TOLERANCE,
        xtol=TOLERANCE,
        gtol=TOLERANCE,
        max_nfev=MAX_EVALUATIONS,
    )
    left_over = error(result.x)
    return SliceFit(result.x, 0.5 * float(left_over @ left_over), bool(result.success))


def slice_bounds(data: SliceData) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest wing parameters (v, P, Q, m, sigma)."""
    deviation, span = _scales(data)
    steepest = np.sqrt(LEE_SLOPE)
    left, right = data.k.min() - 0.5 * span, data.k.max() + 0.5 * span
    smallest_sigma = SMALLEST_SIGMA_DEVIATIONS * deviation
    low = np.array([SMALLEST_VARIANCE_SHARE * data.w.min(), 0.0, 0.0, left, smallest_sigma])
    return low, np.array([np.inf, steepest, steepest, right, span])


def at_bound(wings: FloatArray, low: FloatArray, high: FloatArray) -> BoolArray:
    """(5,) whether wing parameters stand at an end of their box; the smallest w has but a lower one."""
    reach = AT_BOUND_SHARE * np.where(np.isfinite(high), high - low, low)
    at: BoolArray = (wings <= low + reach) | (wings >= high - reach)
    return at


def _scales(data: SliceData) -> tuple[float, float]:
    """Standard deviation of ln(F_T/F) at the money, and the span of the strikes in k, not below it."""
    deviation = float(np.sqrt(data.w[np.argmin(np.abs(data.k))]))
    return deviation, max(float(np.ptp(data.k)), deviation)


def _starts(data: SliceData, low: FloatArray, high: FloatArray) -> FloatArray:
    """(up to STARTS,5) wing parameters at the lowest local minima of the cost over the (m, sigma) grid."""
    deviation, _ = _scales(data)
    near = np.clip(deviation * np.linspace(-4.0, 4.0, M_CELLS // 2), low[3], high[3])
    m_axis = np.unique(np.concatenate([near, np.linspace(low[3], high[3], M_CELLS // 2)]))
    sigma_axis = np.geomspace(low[4], high[4], SIGMA_CELLS)
    m, sigma = (axis.ravel() for axis in np.meshgrid(m_axis, sigma_axis, indexing="ij"))
    lowest, p, q, cost = _solve_cells(data, m, sigma, low[0])
    wings = np.stack([lowest, np.sqrt(p), np.sqrt(q), m, sigma], axis=1)
    table = np.pad(cost.reshape(len(m_axis), len(sigma_axis)), 1, constant_values=np.inf)
    centre = table[1:-1, 1:-1]
    around = (table[:-2, 1:-1], table[2:, 1:-1], table[1:-1, :-2], table[1:-1, 2:])
    local = np.all([centre <= other for other in around], axis=0).ravel()
    return wings[np.argsort(np.where(local, cost, np.inf), kind="stable")[: min(STARTS, int(local.sum()))]]


def _solve_cells(
    data: SliceData, m: FloatArray, sigma: FloatArray, floor: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Best (v, p, q) and the cost, up to a constant, for every (m, sigma).

    Exact in p and q over [0, 2]^2 with a free; where that makes v fall below `floor`, a is raised.
    """
    square = data.weight * data.weight
    total = square.sum()
    x = data.k - m[:, None]
    root = np.sqrt(x * x + (sigma * sigma)[:, None])
    left, right = 0.5 * (root - x), 0.5 * (root + x)
    left_mean, right_mean, mean = left @ square / total, right @ square / total, square @ data.w / total
    left, right, target = left - left_mean[:, None], right - right_mean[:, None], square * (data.w - mean)
    normal = (left * left @ square, left * right @ square, right * right @ square, left @ target, right @ target)
    p, q, cost = _box_least_squares(*normal)
    lowest = mean - p * left_mean - q * right_mean + sigma * np.sqrt(p * q)
    lift = np.maximum(floor - lowest, 0.0)
    return lowest + lift, p, q, cost + total * lift * lift


def _box_least_squares(
    pp: FloatArray, pq: FloatArray, qq: FloatArray, p_target: FloatArray, q_target: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The p, q in [0, 2] with the least pp p^2 + 2 pq p q + qq q^2 - 2 (p_target p + q_target q), and that value."""
    determinant = pp * qq - pq * pq
    regular = determinant > 1e-14 * pp * qq
    safe = np.where(regular, determinant, 1.0)
    p, q = (p_target * qq - q_target * pq) / safe, (q_target * pp - p_target * pq) / safe
    inside = regular & (p >= 0) & (p <= LEE_SLOPE) & (q >= 0) & (q <= LEE_SLOPE)
    candidates = [(np.where(inside, p, 0.0), np.where(inside, q, 0.0))]
    for edge in (0.0, LEE_SLOPE):
        fixed = np.full_like(p, edge)
        candidates.append((fixed, _clipped_ratio(q_target - pq * edge, qq)))
        candidates.append((_clipped_ratio(p_target - pq * edge, pp), fixed))
    p, q = (np.stack(column) for column in zip(*candidates, strict=True))
    value = pp * p * p + 2.0 * pq * p * q + qq * q * q - 2.0 * (p_target * p + q_target * q)
    best = np.argmin(value, axis=0), np.arange(value.shape[1])
    return p[best], q[best], value[best]


def _clipped_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    positive = denominator > 0
    return np.clip(np.where(positive, numerator, 0.0) / np.where(positive, denominator, 1.0), 0.0, LEE_SLOPE)
