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
LARGEST = 1e300
G_MARGIN = 1e-6
NOTHING = (0.0,) * 21  # before the first quote of a system
SAME_COST, SAME_POINT = 1e-3, 1e-2
# Sums over quotes become vectors only where their order is free; what is fitted is no sum of record.
FAST_FLAGS = {*XP.FAST_FLAGS, "reassoc"}

SETTINGS = {"fastmath": FAST_FLAGS, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
compiled = numba.njit(**SETTINGS)
Columns = tuple[FloatArray, FloatArray, FloatArray]


def _formula(name: str) -> Any:
    return XP.compile_formula(getattr(FORMULAS, name))


ADD_TO_BOX, ADD_TO_CELL, ADD_TO_SYSTEM = map(_formula, ("add_to_box", "add_to_cell", "add_to_system"))
CENTRED, INSIDE, ON_EDGES = map(_formula, ("centred_cell", "slopes_inside", "slopes_on_edges"))
WINGS, STEP, SAME = map(_formula, ("wings_of_cell", "damped_step", "same_point"))
ADD_SHORTFALL = _formula("add_shortfall")


@compiled
def _box(k, w):
    """Bounds of the box of one slice, as `slice_fit.slice_bounds`, and the deviation at the money."""
    box = (k[0], k[0], w[0], XP.abs(k[0]), w[0])
    for q in range(1, k.shape[0]):
        box = ADD_TO_BOX(XP, box, k[q], w[q])
    k_low, k_high, w_low, _, at_the_money = box
    deviation = at_the_money**0.5
    span = XP.maximum(k_high - k_low, deviation)
    low = (SMALLEST_VARIANCE_SHARE * w_low, 0.0, 0.0, k_low - 0.5 * span, SMALLEST_SIGMA_DEVIATIONS * deviation)
    return low, (LARGEST, STEEPEST, STEEPEST, k_high + 0.5 * span, span), deviation


@compiled
def _cell(k, w, square, total, mean, floor, m, sigma):
    """The cost, up to a constant, of the best slice at this m and sigma, and its parameters."""
    sums = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for q in range(k.shape[0]):
        sums = ADD_TO_CELL(XP, sums, k[q], w[q], square[q], m, sigma, mean)
    left, right, cell = CENTRED(XP, sums, total)
    inside, p, q, value = INSIDE(XP, cell, LEE_SLOPE, REGULAR)
    slopes = (p, q, value) if inside else ON_EDGES(XP, cell, LEE_SLOPE)
    return WINGS(XP, slopes, (left, right), total, mean, floor, m, sigma)


@compiled
def _starts(k, w, square, low, high, deviation):
    """Parameters of the two best cells of the grid, no two of one m."""
    total = weighted = 0.0
    for q in range(k.shape[0]):
        total += square[q]
        weighted += square[q] * w[q]
    mean = weighted / total
    first_cost = second_cost = LARGEST
    first = second = low
    ratio = (high[4] / low[4]) ** (1.0 / (SIGMA_CELLS - 1))
    for i in range(M_CELLS):
        m = M_DEVIATIONS * deviation * (2.0 * i / (M_CELLS - 1) - 1.0)
        m = XP.minimum(XP.maximum(m, low[3]), high[3])
        lowest, best, sigma = LARGEST, low, low[4]
        for _ in range(SIGMA_CELLS):
            cost, cell = _cell(k, w, square, total, mean, low[0], m, sigma)
            if cost < lowest:
                lowest, best = cost, cell
            sigma *= ratio
        if lowest < first_cost and first_cost >= second_cost:
            first_cost, first = lowest, best
        elif lowest < second_cost:
            second_cost, second = lowest, best
    return first, second


@compiled
def _system(k, w, square, watched, penalty, point):
    """The sums of `wings.add_to_system` over the quotes of one slice, and of `add_shortfall` where g is watched."""
    sums = NOTHING
    for q in range(k.shape[0]):
        sums = ADD_TO_SYSTEM(XP, sums, k[q], w[q], square[q], point)
    for q in range(watched.shape[0]):
        sums = ADD_SHORTFALL(XP, sums, watched[q], penalty[q], G_MARGIN, point)
    return sums


@compiled
def _polish(k, w, square, watched, penalty, low, high, point, known, known_cost):
    """Projected Levenberg-Marquardt: half the weighted sum of squares, whether the search ended, and where.

    A search that comes close to the minimum `known` with its cost, from above, ends there: it is the same one.
    """
    sums, damping = _system(k, w, square, watched, penalty, point), 1e-3
    for _ in range(MAX_ITERATIONS):
        cost, gain = sums[0], -1.0
        while damping < HIGHEST_DAMPING:
            regular, moved = STEP(XP, sums, damping, point, low, high)
            if regular:
                trial = _system(k, w, square, watched, penalty, moved)
                if trial[0] < cost:
                    gain = cost - trial[0]
                    break
            damping *= 5.0
        if gain < 0.0:
            return 0.5 * cost, True, point
        sums, point = trial, moved
        damping = XP.maximum(0.1 * damping, 1e-14)
        if gain <= SMALLEST_GAIN * cost:
            return 0.5 * sums[0], True, point
        if known_cost <= 0.5 * sums[0] <= known_cost * (1.0 + SAME_COST) and SAME(XP, point, known, SAME_POINT):
            return 0.5 * sums[0], True, point
    return 0.5 * sums[0], False, point


def _template(tag):
    def fit_slices(quotes, first_quote, padded, watches, wings, costs, converged):
        tag  # noqa: B018 - enters the key of the disk cache
        k_all, w_all, weight_all = quotes
        watched, penalty = watches
        search = watched.shape[1] == 0
        for s in range(wings.shape[0]):
            begin, end = first_quote[s], first_quote[s + 1]
            # Rows without weight fill the last vector: no quote is left for a scalar remainder.
            count = (end - begin + LANES - 1) // LANES * LANES
            k, w, square = padded[0, :count], padded[1, :count], padded[2, :count]
            for q in range(count):
                real = begin + q < end
                at = begin + q if real else begin
                k[q], w[q], square[q] = k_all[at], w_all[at], weight_all[at] * weight_all[at] if real else 0.0
            low, high, deviation = _box(k, w)
            best_cost, best, best_ended = LARGEST, low, False
            given = wings[s, 0], wings[s, 1], wings[s, 2], wings[s, 3], wings[s, 4]
            starts = _starts(k, w, square, low, high, deviation) if search else (given, given)
            for start in starts:
                cost, ended, point = _polish(k, w, square, watched[s], penalty[s], low, high, start, best, best_cost)
                if cost < best_cost:
                    best_cost, best, best_ended = cost, point, ended
                if not search:
                    break
            costs[s], converged[s] = best_cost, best_ended
            wings[s, 0], wings[s, 1], wings[s, 2], wings[s, 3], wings[s, 4] = best

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
    return _over_slices((k, w, weight), first_quote, np.empty((2, count, 0)), np.empty((count, 5)), threads)


def polish_slices(
    quotes: Columns,
    first_quote: IntArray,
    watched: FloatArray,
    penalty: FloatArray,
    start: FloatArray,
    threads: int = 1,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """The same from the wing parameters `start` (X,5), with g penalised below G_MARGIN where it is watched.

    quotes             k, w and weight; they, first_quote and threads as in `fit_slices`
    watched, penalty   (X,P) log-moneyness, and by what the square of a shortfall of g counts there; P above 0
    The half sums of squares include the penalties.
    """
    watches = np.stack([watched, penalty])
    return _over_slices(quotes, first_quote, watches, np.array(start, dtype=np.float64, order="C"), threads)


def _over_slices(
    quotes: Columns, first_quote: IntArray, watches: FloatArray, wings: FloatArray, threads: int
) -> tuple[FloatArray, FloatArray, BoolArray]:
    count = len(wings)
    costs, converged = np.empty(count), np.empty(count, dtype=np.bool_)
    columns = tuple(read_only(np.ascontiguousarray(column, dtype=np.float64)) for column in quotes)
    first = np.ascontiguousarray(first_quote, dtype=np.int64)
    kernel, edges = _kernel(), np.linspace(0, count, max(1, min(threads, count)) + 1).astype(int)
    room = int(-(-np.diff(first).max(initial=0) // LANES) * LANES)

    def part(low: int, high: int) -> None:
        padded, watched = np.empty((3, room)), tuple(read_only(column[low:high]) for column in watches)
        kernel(columns, first[low : high + 1], padded, watched, wings[low:high], costs[low:high], converged[low:high])

    if len(edges) == 2:
        part(0, count)
    else:  # the kernel runs without the interpreter's lock
        with ThreadPoolExecutor(len(edges) - 1) as pool:
            list(pool.map(part, edges[:-1], edges[1:]))
    return wings, costs, converged
