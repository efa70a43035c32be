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
from types import ModuleType
from typing import NamedTuple

import numpy as np

from pricing.arbitrage import LEE_SLOPE, butterfly_minimum
from pricing.arrays import BoolArray, FloatArray, IntArray, row_problems
from pricing.errors import ConfigError, DataError, Problem
from pricing.surfaces import svi

FEWEST_STRIKES = 5
SMALLEST_VARIANCE_SHARE = 1e-3
SMALLEST_SIGMA_DEVIATIONS = 0.05
M_CELLS, SIGMA_CELLS = 24, 16
STARTS = 2
MAX_EVALUATIONS = 200
TOLERANCE = 1e-12
G_MARGIN = 1e-6
# Of the repair of one slice: refits at most, and how far one of them may lead from the quotes.
FIRST_PENALTY, REFITS, STRAYED, LEAST_RAISED = 1e2, 24, 1.5, 1.2
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


def weighted_squares(slices: Sequence[SliceData], raw: FloatArray) -> FloatArray:
    """(X,) sums of the squared weighted errors of raw slices (X,5), each against its quotes."""
    errors = [one.weight * (svi.total_variance(np, one.k, *row) - one.w) for one, row in zip(slices, raw, strict=True)]
    return np.array([error @ error for error in errors])


def fit_slice(data: SliceData) -> SliceFit:
    """The least-squares slice with w > 0 everywhere and wing slopes in [0, 2], from five strikes or more."""
    low, high = slice_bounds(data)
    return min((_polish(data, start) for start in _starts(data, low, high)), key=lambda fit: fit.cost)


def fit_slices(slices: Sequence[SliceData], threads: int = 1) -> list[SliceFit]:
    """`fit_slice` of many slices in compiled code; the same minimum to rounding, some hundred times as fast.

    slices   five quotes or more each, at different strikes; lists and arrays alike
    threads  how many to use

    Least squares alone: no quote is judged, and g may fall below 0, see `butterfly_free`. `fit` does both. DataError
    names slices that have too few quotes, columns of unequal length, a k that is no number, a w or a weight that is not
    above 0.
    """
    if not isinstance(threads, (int, np.integer)) or isinstance(threads, bool) or threads < 1:
        raise ConfigError(f"threads = {threads!r}: must be a whole number, 1 or more")
    if not len(slices):
        return []
    columns, first_quote = _checked(slices)
    wings, cost, converged = _kernels().fit_slices(*columns, first_quote, threads)
    return [SliceFit(*row) for row in zip(wings, cost.tolist(), converged.tolist(), strict=True)]


def search_slices(slices: Sequence[SliceData], backend: str) -> tuple[FloatArray, BoolArray]:
    """Wing parameters (X,5) and convergence (X,) of `fit_slice` ("numpy") or `fit_slices` ("numba") of each."""
    if backend == "numba":
        wings, _, converged = _kernels().fit_slices(*_columns(slices))
        return wings, converged
    found = [fit_slice(one) for one in slices]
    return np.array([one.wings for one in found]), np.array([one.converged for one in found])


def remove_butterflies(slices: Sequence[SliceData], wings: FloatArray, backend: str) -> tuple[FloatArray, BoolArray]:
    """Refits of slices (X,5) with a growing penalty on max(margin - g(k), 0) until g >= 0 on the whole line.

    Wing parameters (X,5) of the last refits and whether they converged (X,); whether g >= 0 holds is for the caller to
    measure, with `butterfly_minimum`. A steep penalty may throw a search far from the quotes: it then starts again from
    where it was, with a penalty that is raised by less.
    """
    polish = _polish_compiled if backend == "numba" else _polish_each
    wings, converged = np.array(wings), np.ones(len(wings), dtype=np.bool_)
    squares, penalty, raised = (
        np.full(len(wings), np.inf),
        np.full(len(wings), FIRST_PENALTY),
        np.full(len(wings), 10.0),
    )
    left, lowest = np.arange(len(wings)), butterfly_minimum(raw_from_wings(wings)).k
    watched = _scales(slices).deviation[:, None] * np.sinh(np.linspace(-7.0, 7.0, 121))
    for _ in range(REFITS):
        # Dips of g may slide on between the points: where one was is watched from then on.
        watched = np.concatenate([watched, _watched_about(lowest, wings[left])], axis=1)
        about = wings[left, 3:4] + wings[left, 4:5] * np.sinh(np.linspace(-9.0, 9.0, 161))
        own = [slices[x] for x in left.tolist()]
        refit, ended = polish(own, wings[left], np.concatenate([watched, about], axis=1), penalty[left])
        found, now = butterfly_minimum(raw_from_wings(refit)), weighted_squares(own, raw_from_wings(refit))
        near = (now <= STRAYED * squares[left]) | (raised[left] < LEAST_RAISED)
        kept, back = left[near], left[~near]
        wings[kept], converged[kept], squares[kept] = refit[near], ended[near], now[near]
        penalty[back] /= raised[back]
        raised[back] = np.sqrt(raised[back])
        penalty[left] *= raised[left]
        still: BoolArray = ~near | (found.value < 0)
        left, lowest, watched = left[still], found.k[still], watched[still]
        if not len(left):
            break
    return wings, converged


def _watched_about(k: FloatArray, wings: FloatArray) -> FloatArray:
    """(X,points) k (X,) and points to both sides of it; NaN where it lies in a wing limit."""
    k = np.where(np.isfinite(k), k, np.nan)
    return np.concatenate([k[:, None], points_about(k, *wings[:, 3:].T)], axis=1)


def points_about(k: FloatArray, m: FloatArray, sigma: FloatArray) -> FloatArray:
    """(X,points) to both sides of each k (X,), even in t of k = m + sigma sinh t."""
    t = np.arcsinh((k - m) / sigma)[:, None] + np.linspace(-DIP_T, DIP_T, DIP_POINTS)
    return np.asarray(m[:, None] + sigma[:, None] * np.sinh(t))


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


def _kernels() -> ModuleType:
    from pricing.backends import slices_numba

    return slices_numba


def _columns(slices: Sequence[SliceData]) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """k, w and weight of all slices, one after the other, and where each begins, with the end."""
    k, w, weight = (np.concatenate(column) for column in zip(*slices, strict=True))
    return k, w, weight, np.concatenate([[0], np.cumsum([len(one.k) for one in slices])])


def _checked(slices: Sequence[SliceData]) -> tuple[list[FloatArray], IntArray]:
    lengths = np.array([[len(column) for column in one] for one in slices])
    unequal = (lengths != lengths[:, :1]).any(axis=1)
    problems = row_problems("fit_slices", "k, w, weight", unequal, lengths, "must be of one length")
    few = lengths[:, 0] < FEWEST_STRIKES
    problems += row_problems("fit_slices", "k", few, lengths[:, 0], f"needs {FEWEST_STRIKES} quotes or more")
    if not problems:
        *columns, first_quote = _columns(slices)
        columns = [np.asarray(column, dtype=np.float64) for column in columns]
        for name, column in zip(SliceData._fields, columns, strict=True):
            good = np.isfinite(column) if name == "k" else (column > 0) & np.isfinite(column)
            remedy = "must be a number" if name == "k" else "must be a number above 0"
            bad = np.flatnonzero(np.add.reduceat(~good, first_quote[:-1]))
            worst = [int(np.flatnonzero(~good[first_quote[x] : first_quote[x + 1]])[0]) for x in bad]
            problems += [
                Problem("fit_slices", x, f"{name}[{at}]", float(column[first_quote[x] + at]), remedy)
                for x, at in zip(bad.tolist(), worst, strict=True)
            ]
    if problems:
        raise DataError(problems)
    return columns, first_quote


def _polish_each(
    slices: Sequence[SliceData], wings: FloatArray, watched: FloatArray, penalty: FloatArray
) -> tuple[FloatArray, BoolArray]:
    found = [_polish(*row) for row in zip(slices, wings, watched, penalty.tolist(), strict=True)]
    return np.array([one.wings for one in found]), np.array([one.converged for one in found])


def _polish_compiled(
    slices: Sequence[SliceData], wings: FloatArray, watched: FloatArray, penalty: FloatArray
) -> tuple[FloatArray, BoolArray]:
    kernels = _kernels()
    room = -watched.shape[1] % kernels.LANES
    watched = np.pad(watched, ((0, 0), (0, room)), constant_values=np.nan)
    counted = np.isfinite(watched)
    watched, weight = np.where(counted, watched, wings[:, 3:4]), np.where(counted, penalty[:, None] ** 2, 0.0)
    *columns, first_quote = _columns(slices)
    start = np.clip(wings, *slice_boxes(slices))
    wings, _, converged = kernels.polish_slices(tuple(columns), first_quote, watched, weight, start)
    return wings, converged


def _polish(data: SliceData, start: FloatArray, watched: FloatArray | None = None, penalty: float = 0.0) -> SliceFit:
    """Trust-region least squares from `start`, inside the bounds; g is penalised at the points `watched`."""
    from scipy.optimize import least_squares

    points = np.empty(0) if watched is None else watched[np.isfinite(watched)]

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
    low, high = slice_boxes([data])
    return low[0], high[0]


def slice_boxes(slices: Sequence[SliceData]) -> tuple[FloatArray, FloatArray]:
    """The same of many slices, (X,5) each."""
    scales = _scales(slices)
    low, high = np.zeros((2, len(slices), 5))
    low[:, 0], low[:, 4] = SMALLEST_VARIANCE_SHARE * scales.w_low, SMALLEST_SIGMA_DEVIATIONS * scales.deviation
    low[:, 3], high[:, 3] = scales.k_low - 0.5 * scales.span, scales.k_high + 0.5 * scales.span
    high[:, 0], high[:, 1:3], high[:, 4] = np.inf, np.sqrt(LEE_SLOPE), scales.span
    return low, high


def at_bound(wings: FloatArray, low: FloatArray, high: FloatArray) -> BoolArray:
    """(X,5) whether wing parameters stand at an end of their box; the smallest w has but a lower one."""
    reach = AT_BOUND_SHARE * np.where(np.isfinite(high), high - low, low)
    at: BoolArray = (wings <= low + reach) | (wings >= high - reach)
    return at


class _Scales(NamedTuple):
    """(X,) standard deviation of ln(F_T/F) at the money; span of the strikes in k, not below it; ends, smallest w."""

    deviation: FloatArray
    span: FloatArray
    k_low: FloatArray
    k_high: FloatArray
    w_low: FloatArray


def _scales(slices: Sequence[SliceData]) -> _Scales:
    k, w, _, first_quote = _columns(slices)
    first = first_quote[:-1]
    nearest = np.lexsort((np.abs(k), np.repeat(np.arange(len(slices)), np.diff(first_quote))))[first]
    deviation = np.sqrt(w[nearest])
    k_low, k_high = np.minimum.reduceat(k, first), np.maximum.reduceat(k, first)
    return _Scales(deviation, np.maximum(k_high - k_low, deviation), k_low, k_high, np.minimum.reduceat(w, first))


def _starts(data: SliceData, low: FloatArray, high: FloatArray) -> FloatArray:
    """(up to STARTS,5) wing parameters at the lowest local minima of the cost over the (m, sigma) grid."""
    deviation = _scales([data]).deviation[0]
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
