"""Least-squares fit of many raw SVI slices at once, compiled by numba.

The algorithm of `pricing.slice_fit`, slice by slice without leaving compiled code: the small problem that is linear
for given (m, sigma) solved on a grid, then a projected Levenberg-Marquardt in the wing parameters with the exact
Jacobian from the best cells of the grid. Sums run over the quotes of one slice as vectors, so their order differs
from numpy's and between processors: results agree to rounding, not to the bit.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.surfaces import wings as FORMULAS
from pricing.xp import numba as XP

M_CELLS, SIGMA_CELLS = 9, 5
M_DEVIATIONS = 3.0
MAX_ITERATIONS = 200
SMALLEST_GAIN = 1e-9
HIGHEST_DAMPING = 1e12
SMALLEST_VARIANCE_SHARE = 1e-3
SMALLEST_SIGMA_DEVIATIONS = 0.05
LEE_SLOPE = 2.0
STEEPEST = LEE_SLOPE**0.5
REGULAR = 1e-14
LANES = 16
SAME_COST, SAME_POINT = 1e-3, 1e-2
# Sums over quotes become vectors only where their order is free; what is fitted is no sum of record.
FAST_FLAGS = {*XP.FAST_FLAGS, "reassoc"}

# Rows of five numbers in the work space of a thread.
LOW, HIGH, CELL, BEST, STARTS, GRADIENT, TRIAL_GRADIENT, STEP, MOVED = 0, 1, 2, 3, 4, 6, 7, 8, 9
NORMAL, TRIAL, FACTOR, ROWS = 10, 15, 20, 25

_TERMS = XP.compile_formula(FORMULAS.total_variance_and_derivatives)


SETTINGS = {"fastmath": FAST_FLAGS, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
compiled = numba.njit(**SETTINGS)
inlined = numba.njit(inline="always", **SETTINGS)


@inlined
def _copy(source, target):
    for i in range(5):
        target[i] = source[i]


@compiled
def _scale_bounds(k, w, low, high):
    """Bounds of the box of one slice, as `slice_fit.slice_bounds`; returns the deviation at the money."""
    k_low, k_high, w_low, nearest, at_the_money = k[0], k[0], w[0], XP.abs(k[0]), w[0]
    for q in range(1, k.shape[0]):
        k_low, k_high, w_low = XP.minimum(k_low, k[q]), XP.maximum(k_high, k[q]), XP.minimum(w_low, w[q])
        distance = XP.abs(k[q])
        at_the_money = XP.where(distance < nearest, w[q], at_the_money)
        nearest = XP.minimum(distance, nearest)
    deviation = XP.sqrt(at_the_money)
    span = XP.maximum(k_high - k_low, deviation)
    low[0], low[1], low[2] = SMALLEST_VARIANCE_SHARE * w_low, 0.0, 0.0
    low[3], low[4] = k_low - 0.5 * span, SMALLEST_SIGMA_DEVIATIONS * deviation
    high[0], high[1], high[2], high[3], high[4] = np.inf, STEEPEST, STEEPEST, k_high + 0.5 * span, span
    return deviation


@compiled
def _clipped(numerator, denominator):
    return XP.bounded(numerator / denominator, 0.0, LEE_SLOPE) if denominator > 0.0 else 0.0


@compiled
def _best_slopes(pp, pq, qq, p_target, q_target):
    """The p, q in [0, 2] with the least pp p^2 + 2 pq p q + qq q^2 - 2 (p_target p + q_target q), and that value."""
    determinant = pp * qq - pq * pq
    if determinant > REGULAR * pp * qq:
        p, q = (p_target * qq - q_target * pq) / determinant, (q_target * pp - p_target * pq) / determinant
        if 0.0 <= p <= LEE_SLOPE and 0.0 <= q <= LEE_SLOPE:
            return p, q, -p_target * p - q_target * q
    best_p, best_q, best = 0.0, 0.0, np.inf
    for side in range(4):
        edge = LEE_SLOPE if side % 2 else 0.0
        if side < 2:
            p, q = edge, _clipped(q_target - pq * edge, qq)
        else:
            p, q = _clipped(p_target - pq * edge, pp), edge
        value = pp * p * p + 2.0 * pq * p * q + qq * q * q - 2.0 * (p_target * p + q_target * q)
        if value < best:
            best_p, best_q, best = p, q, value
    return best_p, best_q, best


@compiled
def _cell(k, w, square, total, mean, floor, m, sigma, wings):
    """The best slice at this m and sigma into `wings`; returns the cost up to a constant."""
    left_sum = right_sum = pp = pq = qq = p_target = q_target = 0.0
    for q in range(k.shape[0]):
        x = k[q] - m
        root = (x * x + sigma * sigma) ** 0.5
        left, right, weight = 0.5 * (root - x), 0.5 * (root + x), square[q]
        weighted_left, weighted_right = weight * left, weight * right
        left_sum += weighted_left
        right_sum += weighted_right
        pp += weighted_left * left
        pq += weighted_left * right
        qq += weighted_right * right
        p_target += weighted_left * (w[q] - mean)
        q_target += weighted_right * (w[q] - mean)
    left_mean, right_mean = left_sum / total, right_sum / total
    p, q, cost = _best_slopes(
        pp - left_sum * left_mean,
        pq - left_sum * right_mean,
        qq - right_sum * right_mean,
        p_target,
        q_target,
    )
    lowest = mean - p * left_mean - q * right_mean + sigma * (p * q) ** 0.5
    lift = XP.maximum(floor - lowest, 0.0)
    wings[0], wings[1], wings[2], wings[3], wings[4] = lowest + lift, p**0.5, q**0.5, m, sigma
    return cost + total * lift * lift


@compiled
def _starts(k, w, square, low, high, deviation, small, starts):
    """Wing parameters of the best cells of the grid into `starts`, no two of one m."""
    total = weighted = 0.0
    for q in range(k.shape[0]):
        total += square[q]
        weighted += square[q] * w[q]
    mean = weighted / total
    cell, best = small[CELL], small[BEST]
    first = second = np.inf
    ratio = (high[4] / low[4]) ** (1.0 / (SIGMA_CELLS - 1))
    for i in range(M_CELLS):
        m = M_DEVIATIONS * deviation * (2.0 * i / (M_CELLS - 1) - 1.0)
        m = XP.bounded(m, low[3], high[3])
        lowest, sigma = np.inf, low[4]
        for _ in range(SIGMA_CELLS):
            cost = _cell(k, w, square, total, mean, low[0], m, sigma, cell)
            if cost < lowest:
                lowest = cost
                _copy(cell, best)
            sigma *= ratio
        if first >= second and lowest < first:
            first = lowest
            _copy(best, starts[0])
        elif lowest < second:
            second = lowest
            _copy(best, starts[1])


@compiled
def _solve(normal, gradient, damping, fixed, factor, step):
    """Step of the damped normal equations by Cholesky, 0 where `fixed`; False where they are not regular."""
    size = gradient.shape[0]  # a length the compiler does not know: it would unroll all three loops
    for i in range(size):
        for j in range(i + 1):
            value = normal[i, j]
            if fixed[i] or fixed[j]:
                value = 1.0 if i == j else 0.0
            elif i == j:
                value += damping * value + 1e-300
            for n in range(j):
                value -= factor[i, n] * factor[j, n]
            if i == j:
                if not value > 0.0:
                    return False
                factor[i, i] = value**0.5
            else:
                factor[i, j] = value / factor[j, j]
    for i in range(size):
        value = 0.0 if fixed[i] else -gradient[i]
        for n in range(i):
            value -= factor[i, n] * step[n]
        step[i] = value / factor[i, i]
    for i in range(size - 1, -1, -1):
        value = step[i]
        for n in range(i + 1, size):
            value -= factor[n, i] * step[n]
        step[i] = value / factor[i, i]
    return True


@compiled
def _system(k, w, square, point, normal, gradient):
    """J'J (lower half), J'r and half the weighted sum of squares at a point."""
    lowest, left, right, m, sigma = point[0], point[1], point[2], point[3], point[4]
    cost = g0 = g1 = g2 = g3 = g4 = 0.0
    n00 = n10 = n11 = n20 = n21 = n22 = n30 = n31 = n32 = n33 = n40 = n41 = n42 = n43 = n44 = 0.0
    for q in range(k.shape[0]):
        value, j1, j2, j3, j4 = _TERMS(XP, k[q], lowest, left, right, m, sigma)
        weight = square[q]
        error = value - w[q]
        weighted = weight * error
        w1, w2, w3, w4 = weight * j1, weight * j2, weight * j3, weight * j4
        cost += weighted * error
        g0 += weighted
        g1 += weighted * j1
        g2 += weighted * j2
        g3 += weighted * j3
        g4 += weighted * j4
        n00 += weight
        n10 += w1
        n20 += w2
        n30 += w3
        n40 += w4
        n11 += w1 * j1
        n21 += w2 * j1
        n31 += w3 * j1
        n41 += w4 * j1
        n22 += w2 * j2
        n32 += w3 * j2
        n42 += w4 * j2
        n33 += w3 * j3
        n43 += w4 * j3
        n44 += w4 * j4
    gradient[0], gradient[1], gradient[2], gradient[3], gradient[4] = g0, g1, g2, g3, g4
    normal[0, 0], normal[1, 0], normal[1, 1], normal[2, 0], normal[2, 1] = n00, n10, n11, n20, n21
    normal[2, 2], normal[3, 0], normal[3, 1], normal[3, 2], normal[3, 3] = n22, n30, n31, n32, n33
    normal[4, 0], normal[4, 1], normal[4, 2], normal[4, 3], normal[4, 4] = n40, n41, n42, n43, n44
    return 0.5 * cost


@compiled
def _polish(k, w, square, low, high, point, known, known_cost, small, fixed):
    """Projected Levenberg-Marquardt from `point`, in place; half the weighted sum of squares, and if it ended.

    A search that comes close to the minimum `known` with its cost, from above, ends there: it is the same one.
    """
    normal, trial_normal, factor = small[NORMAL : NORMAL + 5], small[TRIAL : TRIAL + 5], small[FACTOR : FACTOR + 5]
    gradient, trial_gradient, step, moved = small[GRADIENT], small[TRIAL_GRADIENT], small[STEP], small[MOVED]
    for i in range(5):
        point[i] = XP.bounded(point[i], low[i], high[i])
    cost, damping = _system(k, w, square, point, normal, gradient), 1e-3
    for _ in range(MAX_ITERATIONS):
        for i in range(5):
            at_low, at_high = point[i] <= low[i] and gradient[i] > 0.0, point[i] >= high[i] and gradient[i] < 0.0
            fixed[i] = at_low or at_high
        gain = -1.0
        while damping < HIGHEST_DAMPING:
            if _solve(normal, gradient, damping, fixed, factor, step):
                for i in range(5):
                    moved[i] = XP.bounded(point[i] + step[i], low[i], high[i])
                trial = _system(k, w, square, moved, trial_normal, trial_gradient)
                if trial < cost:
                    gain = cost - trial
                    break
            damping *= 5.0
        if gain < 0.0:
            return cost, True
        normal, trial_normal = trial_normal, normal
        gradient, trial_gradient = trial_gradient, gradient
        _copy(moved, point)
        damping = XP.maximum(0.1 * damping, 1e-14)
        if gain <= SMALLEST_GAIN * cost:
            return trial, True
        if known_cost <= trial <= known_cost * (1.0 + SAME_COST):
            near = True
            for i in range(5):
                near = near and XP.abs(point[i] - known[i]) <= SAME_POINT * (XP.abs(known[i]) + known[4])
            if near:
                return trial, True
        cost = trial
    return cost, False


def _template(tag):
    def fit_slices(quotes, first_quote, padded, small, fixed, wings, costs, converged):
        tag  # noqa: B018 - enters the key of the disk cache
        k_all, w_all, weight_all = quotes
        low, high, starts = small[LOW], small[HIGH], small[STARTS : STARTS + 2]
        for s in range(wings.shape[0]):
            begin, end = first_quote[s], first_quote[s + 1]
            # Rows without weight fill the last vector: no quote is left for a scalar remainder.
            count = (end - begin + LANES - 1) // LANES * LANES
            k, w, square = padded[0, :count], padded[1, :count], padded[2, :count]
            for q in range(count):
                real = begin + q < end
                at = begin + q if real else begin
                k[q], w[q], square[q] = k_all[at], w_all[at], weight_all[at] * weight_all[at] if real else 0.0
            deviation = _scale_bounds(k, w, low, high)
            _starts(k, w, square, low, high, deviation, small, starts)
            costs[s] = np.inf
            for i in range(5):
                wings[s, i] = 0.0
            for start in range(2):
                point = starts[start]
                cost, ended = _polish(k, w, square, low, high, point, wings[s], costs[s], small, fixed)
                if cost < costs[s]:
                    costs[s], converged[s] = cost, ended
                    _copy(point, wings[s])

    return fit_slices


@functools.cache
def _kernel() -> Any:
    formula = FORMULAS.total_variance_and_derivatives
    return XP.compile_kernel(_template(""), XP.source_hash(FORMULAS), formula, fastmath=FAST_FLAGS)


def fit_slices(
    k: FloatArray, w: FloatArray, weight: FloatArray, first_quote: IntArray, threads: int = 1
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Wing parameters (X,5), half the weighted sums of squares (X,), and whether the searches converged (X,).

    k, w, weight   (Q,) log-moneyness, total variance and weight of its error, slice after slice
    first_quote    (X+1,) where each slice begins, and the end; no slice is empty
    threads        how many to use
    """
    count = len(first_quote) - 1
    wings, costs, converged = np.empty((count, 5)), np.empty(count), np.empty(count, dtype=np.bool_)
    quotes = tuple(read_only(np.ascontiguousarray(column, dtype=np.float64)) for column in (k, w, weight))
    first = np.ascontiguousarray(first_quote, dtype=np.int64)
    kernel, edges = _kernel(), np.linspace(0, count, max(1, min(threads, count)) + 1).astype(int)
    room = int(-(-np.diff(first).max(initial=0) // LANES) * LANES)

    def part(low: int, high: int) -> None:
        padded, small, fixed = np.empty((3, room)), np.zeros((ROWS, 5)), np.empty(5, dtype=np.bool_)
        kernel(
            quotes, first[low : high + 1], padded, small, fixed, wings[low:high], costs[low:high], converged[low:high]
        )

    if len(edges) == 2:
        part(0, count)
    else:  # the kernel runs without the interpreter's lock
        with ThreadPoolExecutor(len(edges) - 1) as pool:
            list(pool.map(part, edges[:-1], edges[1:]))
    return wings, costs, converged
