"""Static-arbitrage checks of raw SVI slices: butterfly within a slice, calendar between two.

Butterfly (Gatheral and Jacquier 2014, lemma 2.2): g(k) >= 0 for all k, w > 0, and wing slopes of at most
2 (Lee 2004). Towards a wing of slope s > 0, w ~ s |k| and so g -> 1/4 - s^2 / 16 in closed form; the
limit is 1 where the slope is 0. Calendar: w of the later expiry is nowhere below w of the earlier one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray
from pricing.surfaces import svi

LEE_SLOPE = 2.0
GRID_POINTS = 601
FARTHEST_SIGMAS = 1e8
CALENDAR_DEVIATIONS = 10.0
CALENDAR_POINTS = 121
BRACKETS = 6
REFINEMENTS = 9
REFINED_POINTS = 21
SAME_POINT_SHARE = 1e-6
BLOCK_ROWS = 64


Bound = float | FloatArray


class Minimum(NamedTuple):
    """Smallest value per slice (X,) and the log-moneyness where it lies; k is -inf or inf for a wing limit."""

    value: FloatArray
    k: FloatArray


def butterfly_minimum(slices: FloatArray, k_low: float = -np.inf, k_high: float = np.inf) -> Minimum:
    """Smallest g of raw slices (X,5) on [k_low, k_high], by default on the whole line with both wing limits.

    Found on a grid that is even near m and geometric towards the wings, then by refining every bracket
    of a local minimum. NaN rows give NaN. Where w falls to 0 or below on the interval there is no
    density: the value is -inf, the location that of the smallest w.
    """
    slices = np.asarray(slices, dtype=np.float64).reshape(-1, 5)
    columns = slices.T[:, :, None]
    found = smallest_on_grid(lambda k, rows: svi.butterfly_g(np, k, *columns[:, rows]), _grid(slices, k_low, k_high))
    if np.isinf(k_low):
        found = _lower_of(found, _wing_limit(slices, 0), -np.inf)
    if np.isinf(k_high):
        found = _lower_of(found, _wing_limit(slices, 1), np.inf)
    lowest = _lowest_variance(slices, k_low, k_high)
    empty = lowest.value <= 0
    return Minimum(np.where(empty, -np.inf, found.value), np.where(empty, lowest.k, found.k))


def calendar_minimum(
    earlier: FloatArray, later: FloatArray, k_low: ArrayLike = -np.inf, k_high: ArrayLike = np.inf
) -> Minimum:
    """Smallest w_later - w_earlier of slice pairs (X,5) on [k_low, k_high], bounds () or (X,).

    The interval never reaches beyond 10 standard deviations of the later slice at the money; farther out
    the wing slopes decide, see `wing_slopes`. An empty interval gives NaN.
    """
    earlier, later = (np.asarray(slices, dtype=np.float64).reshape(-1, 5) for slices in (earlier, later))
    near, far = earlier.T[:, :, None], later.T[:, :, None]
    reach = CALENDAR_DEVIATIONS * np.sqrt(np.maximum(svi.total_variance(np, 0.0, *later.T), 0.0))
    low = np.maximum(np.broadcast_to(k_low, reach.shape), -reach)[:, None]
    high = np.minimum(np.broadcast_to(k_high, reach.shape), reach)[:, None]
    low, high = (np.where(low > high, np.nan, bound) for bound in (low, high))
    grids = [_grid(slices, low, high, CALENDAR_POINTS) for slices in (earlier, later)]
    grid = np.sort(np.concatenate(grids, axis=1), axis=1)

    def gap(k: FloatArray, rows: IntArray) -> FloatArray:
        return svi.total_variance(np, k, *far[:, rows]) - svi.total_variance(np, k, *near[:, rows])

    return smallest_on_grid(gap, grid)


def wing_slopes(slices: FloatArray) -> FloatArray:
    """(X,2) slopes of w towards k -> -inf and k -> inf of raw slices (X,5), as positive numbers."""
    return np.stack(svi.wing_slopes(*np.asarray(slices, dtype=np.float64).reshape(-1, 5).T), axis=1)


def _wing_limit(slices: FloatArray, wing: int) -> FloatArray:
    slope = wing_slopes(slices)[:, wing]
    return np.where(slope == 0.0, 1.0, 0.25 - slope * slope / 16.0)


def _lowest_variance(slices: FloatArray, k_low: float, k_high: float) -> Minimum:
    """Smallest w on [k_low, k_high]: at m - rho sigma / sqrt(1 - rho^2), or at an end."""
    _, _, rho, m, sigma = slices.T
    steepness = np.sqrt(np.maximum((1.0 - rho) * (1.0 + rho), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        tilt = np.where(rho == 0.0, 0.0, -rho / steepness)
    far = np.full_like(tilt, FARTHEST_SIGMAS)
    reach = np.stack([np.clip(tilt, -far, far), -far, far])
    k = np.clip(m + np.where(sigma > 0, sigma, 1.0) * reach, k_low, k_high)
    w = svi.total_variance(np, k, *slices.T)
    row = np.arange(len(slices))
    best = np.argmin(np.where(np.isnan(w), np.inf, w), axis=0)
    return Minimum(w[best, row], k[best, row])


def _lower_of(found: Minimum, limit: FloatArray, k: float) -> Minimum:
    lower = limit < found.value
    return Minimum(np.where(lower, limit, found.value), np.where(lower, k, found.k))


def _grid(slices: FloatArray, k_low: Bound, k_high: Bound, points: int = GRID_POINTS) -> FloatArray:
    """(X,points) increasing: m + sigma sinh(t) with t even, between the bounds given, () or (X,1)."""
    m, sigma = slices[:, 3:4], slices[:, 4:5]
    scale = np.where(sigma > 0, sigma, 1.0)
    low, high = (np.clip((bound - m) / scale, -FARTHEST_SIGMAS, FARTHEST_SIGMAS) for bound in (k_low, k_high))
    share = np.linspace(0.0, 1.0, points)
    t = np.arcsinh(low) + share * (np.arcsinh(high) - np.arcsinh(low))
    return np.clip(m + scale * np.sinh(t), k_low, k_high)


def smallest_on_grid(
    function: Callable[[FloatArray, IntArray], FloatArray],
    grid: FloatArray,
    brackets: int = BRACKETS,
    refinements: int = REFINEMENTS,
) -> Minimum:
    """Smallest value over an increasing grid (X,K), each of the lowest local minima refined in its bracket.

    function  values (B,M) at points (B,M) of the rows (B,) of the grid
    """

    def values_at(k: FloatArray, rows: IntArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            values = function(k, rows)
        return np.where(np.isnan(values), np.inf, values)

    value, place = np.full(len(grid), np.nan), np.full(len(grid), np.nan)
    for first in range(0, len(grid), BLOCK_ROWS):  # what is computed between stays in the processor's cache
        block = np.arange(first, min(first + BLOCK_ROWS, len(grid)))
        rows, columns = _local_minima(values_at(grid[block], block), brackets)
        rows += first
        k = grid[rows, columns]
        ends = grid[rows, np.maximum(columns - 1, 0)], grid[rows, np.minimum(columns + 1, grid.shape[1] - 1)]
        k = _refined(partial(values_at, rows=rows), k, ends, refinements)
        values = values_at(k[:, None], rows)[:, 0]
        order = np.lexsort((values, rows))
        found, best = np.unique(rows[order], return_index=True)
        value[found], place[found] = values[order[best]], k[order[best]]
    return Minimum(value, place)


def _local_minima(values: FloatArray, most: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of the lowest local minima (X,K), at most so many a row."""
    padded = np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    local = (values <= padded[:, :-2]) & (values <= padded[:, 2:]) & np.isfinite(values)
    rows, columns = np.nonzero(local)
    order = np.lexsort((values[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    count = np.bincount(rows, minlength=len(values))
    rank = np.arange(len(rows)) - (np.cumsum(count) - count)[rows]
    return rows[rank < most], columns[rank < most]


def _refined(
    values_at: Callable[[FloatArray], FloatArray], k: FloatArray, ends: tuple[FloatArray, FloatArray], rounds: int
) -> FloatArray:
    """(B,) where the function is lowest between the ends, from local minima k (B,) of a coarser grid."""
    left, right = ends
    share = np.linspace(0.0, 1.0, REFINED_POINTS)
    for _ in range(rounds):
        inner = np.concatenate([left[:, None] + share * (right - left)[:, None], k[:, None]], axis=1)
        inner.sort(axis=1)
        k = np.take_along_axis(inner, np.argmin(values_at(inner), axis=1)[:, None], axis=1)
        # The point kept may stand beside a new one that is the same but for rounding: the neighbours that
        # count are the nearest distinct ones, else the bracket collapses onto one side.
        same = SAME_POINT_SHARE * (inner[:, -1:] - inner[:, :1])
        left = np.where(inner < k - same, inner, inner[:, :1]).max(axis=1)
        right = np.where(inner > k + same, inner, inner[:, -1:]).min(axis=1)
        k = k[:, 0]
    return k
