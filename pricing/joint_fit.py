"""Raw SVI slices of one underlying fitted together, free of butterfly and of calendar arbitrage.

The slices keep their five parameters each; what makes them one surface are penalties: on g(k) below 0 in every slice
(Durrleman), and on w_later(k) below w_earlier(k) for neighbours in time, both watched from the money out to
thousands of standard deviations, and on wing slopes that fall with time. The weights of the penalties grow until
nothing is violated; small margins keep the end strictly inside. The search is a projected Levenberg-Marquardt on the
normal equations, which are block tridiagonal in the expiries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pricing.arbitrage import butterfly_minimum, calendar_minimum, smallest_on_grid, wing_slopes
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.butterfly import butterfly_free
from pricing.calendar_spread import calendar_free
from pricing.slice_fit import (
    SliceData,
    butterfly_gradient,
    points_about,
    raw_from_wings,
    slice_bounds,
    wing_jacobian,
)
from pricing.surfaces import svi

PENALTIES = (1e1, 1e2, 1e3, 1e4, 1e4, 1e4, 1e5)
# Then for what is left: dips of g that slide on between the watched points.
LAST_PENALTIES = (1e4, 1e4, 1e4, 1e5, 1e5, 1e5)
G_MARGIN = 1e-4
CALENDAR_MARGIN = 1e-5
SLOPE_MARGIN = 1e-5
SMALLEST_WING_SHARE = 0.02
FARTHEST_T = 8.0
WATCHED_POINTS = 141
PAIR_POINTS = 601
MAX_ITERATIONS = 100
SMALLEST_GAIN = 1e-9
HIGHEST_DAMPING = 1e10


class JointFit(NamedTuple):
    """Wing parameters (X,5) v P Q m sigma, whether each slice is free of both arbitrages, and convergence."""

    wings: FloatArray
    free: BoolArray
    converged: bool

    @property
    def raw(self) -> FloatArray:
        """(X,5) raw parameters a b rho m sigma."""
        return raw_from_wings(self.wings)


def fit_joint(expiries: Sequence[SliceData], start: FloatArray) -> JointFit:
    """Slices of one underlying in the order of time, from the wing parameters `start` (X,5).

    Slices that violate nothing are left as they are. Where the last penalty still leaves a violation the slices
    concerned are marked; a calendar violation marks the later slice.
    """
    wings, converged = start, True
    free = ~_violated(wings)
    bounds = [joint_bounds(data) for data in expiries]
    low, high = (np.stack(column) for column in zip(*bounds, strict=True))
    watched = _watched(expiries, wings)
    for step, penalty in enumerate((*PENALTIES, *LAST_PENALTIES)):
        if free.all():
            break
        # Where something is lowest is watched from then on: a dip may hide between the points.
        added = _lowest_points(wings)
        if step >= len(PENALTIES):
            added = [*_dips(wings, added, ~free), *added[len(wings) :]]
        watched = [np.concatenate([points, lowest]) for points, lowest in zip(watched, added, strict=True)]
        wings = np.clip(wings, low, high)
        problem = _Problem(expiries, low, high, watched[: len(wings)], watched[len(wings) :], penalty)
        wings, converged = _search(problem, wings)
        free = ~_violated(wings)
    return JointFit(wings, free, converged)


def wings_from_raw(raw: FloatArray) -> FloatArray:
    """(X,5) wing parameters v P Q m sigma of raw slices (X,5)."""
    a, b, rho, m, sigma = np.asarray(raw).T
    left, right = np.sqrt(np.maximum(b * (1.0 - rho), 0.0)), np.sqrt(np.maximum(b * (1.0 + rho), 0.0))
    return np.stack([a + sigma * left * right, left, right, m, sigma], axis=1)


class _Problem(NamedTuple):
    expiries: Sequence[SliceData]
    low: FloatArray
    high: FloatArray
    slice_points: list[FloatArray]
    pair_points: list[FloatArray]
    penalty: float


def joint_bounds(data: SliceData) -> tuple[FloatArray, FloatArray]:
    """Those of one slice, with wings that are never quite flat: w does not change with P or Q where both are 0."""
    low, high = slice_bounds(data)
    low[1:3] = SMALLEST_WING_SHARE * np.sqrt(_deviation(data))
    return low, high


def _violated(wings: FloatArray) -> BoolArray:
    """(X,) slices with a butterfly, or that cross the one before; measured first, for what passes decided exactly."""
    raw = raw_from_wings(wings)
    bad = butterfly_minimum(raw).value < 0
    crossed = calendar_minimum(raw[:-1], raw[1:]).value < 0
    bad[1:] |= crossed | (np.diff(wing_slopes(raw), axis=0) < 0).any(axis=1)
    if not bad.any():
        bad = ~butterfly_free(raw)
        bad[1:] |= ~calendar_free(raw[:-1], raw[1:])
    return bad


def _deviation(data: SliceData) -> float:
    return float(np.sqrt(data.w[np.argmin(np.abs(data.k))]))


def _watched(expiries: Sequence[SliceData], wings: FloatArray) -> list[FloatArray]:
    """Where g is watched, slice by slice, then where w_later - w_earlier is, pair by pair: about the money and m."""
    t = np.sinh(np.linspace(-FARTHEST_T, FARTHEST_T, WATCHED_POINTS))
    points = [
        np.concatenate([_deviation(data) * t, row[3] + row[4] * t]) for data, row in zip(expiries, wings, strict=True)
    ]
    return [*points, *points[1:]]


def _lowest_points(wings: FloatArray) -> list[FloatArray]:
    """Where each g is lowest now, and each w_later - w_earlier relative to w_later, on the whole line."""
    raw = raw_from_wings(wings)
    lowest = butterfly_minimum(raw).k
    if len(raw) > 1:
        near, far = raw[:-1].T[:, :, None], raw[1:].T[:, :, None]
        m, sigma = far[3:5]
        grid = m + sigma * np.sinh(np.linspace(-FARTHEST_T, FARTHEST_T, PAIR_POINTS))

        def ratio_at(k: FloatArray, rows: IntArray) -> FloatArray:
            return -svi.total_variance(np, k, *near[:, rows]) / svi.total_variance(np, k, *far[:, rows])

        ratio = smallest_on_grid(ratio_at, grid)
        lowest = np.concatenate([lowest, ratio.k])
    return [np.array([k]) if np.isfinite(k) else np.empty(0) for k in lowest]


def _dips(wings: FloatArray, lowest: list[FloatArray], violated: BoolArray) -> list[FloatArray]:
    """Where each g is lowest and, in slices with a violation, points about it."""
    found = zip(wings[:, 3:], lowest[: len(wings)], violated, strict=True)
    return [
        np.concatenate([k, points_about(k, *shape[:, None]).ravel()]) if wanted else k for shape, k, wanted in found
    ]


def _search(problem: _Problem, wings: FloatArray) -> tuple[FloatArray, bool]:
    """Projected Levenberg-Marquardt; True where it ended because nothing was left to gain."""
    low, high = problem.low.ravel(), problem.high.ravel()
    damping, cost = 1e-3, _cost(problem, wings)
    for _ in range(MAX_ITERATIONS):
        normal, gradient = _normal_equations(problem, wings)
        point = wings.ravel()
        free = ~(((point <= low) & (gradient > 0)) | ((point >= high) & (gradient < 0)))
        scale = np.maximum(np.diag(normal)[free], 1e-300)
        gain = 0.0
        while damping < HIGHEST_DAMPING:
            step = np.zeros_like(point)
            step[free] = -np.linalg.solve(normal[np.ix_(free, free)] + np.diag(damping * scale), gradient[free])
            moved = np.clip(point + step, low, high).reshape(wings.shape)
            trial = _cost(problem, moved)
            if trial < cost:
                gain, wings, cost, damping = (cost - trial) / cost, moved, trial, max(damping / 5.0, 1e-12)
                break
            damping *= 4.0
        if gain < SMALLEST_GAIN:
            return wings, True
    return wings, False


def _cost(problem: _Problem, wings: FloatArray) -> float:
    total = 0.0
    raw = raw_from_wings(wings)
    for data, points, row in zip(problem.expiries, problem.slice_points, raw, strict=True):
        total += float(np.sum((data.weight * (svi.total_variance(np, data.k, *row) - data.w)) ** 2))
        total += _penalised(problem, G_MARGIN - svi.butterfly_g(np, points, *row))
    for i, points in enumerate(problem.pair_points):
        earlier, later = (svi.total_variance(np, points, *row) for row in raw[i : i + 2])
        total += _penalised(problem, CALENDAR_MARGIN - 1.0 + earlier / later)
    return total + _penalised(problem, SLOPE_MARGIN - np.diff(wings[:, 1:3], axis=0))


def _penalised(problem: _Problem, shortfall: FloatArray) -> float:
    return float(np.sum((problem.penalty * np.maximum(shortfall, 0.0)) ** 2))


def _normal_equations(problem: _Problem, wings: FloatArray) -> tuple[FloatArray, FloatArray]:
    """J'J (5X,5X) and J'r (5X,) of quotes and active penalties."""
    size = wings.size
    normal, gradient = np.zeros((size, size)), np.zeros(size)

    def add(first: int, jacobian: FloatArray, residual: FloatArray) -> None:
        block = slice(5 * first, 5 * first + jacobian.shape[1])
        normal[block, block] += jacobian.T @ jacobian
        gradient[block] += jacobian.T @ residual

    raw = raw_from_wings(wings)
    for i, (data, points) in enumerate(zip(problem.expiries, problem.slice_points, strict=True)):
        error = data.weight * (svi.total_variance(np, data.k, *raw[i]) - data.w)
        add(i, data.weight[:, None] * wing_jacobian(data.k, wings[i])[0], error)
        points = points[svi.butterfly_g(np, points, *raw[i]) < G_MARGIN]
        if len(points):
            g, by_wings = butterfly_gradient(points, wings[i])
            add(i, -problem.penalty * by_wings, problem.penalty * (G_MARGIN - g))
    for i, points in enumerate(problem.pair_points):
        earlier, later = (svi.total_variance(np, points, *row) for row in raw[i : i + 2])
        short = np.flatnonzero(1.0 - earlier / later < CALENDAR_MARGIN)
        if len(short):
            earlier, later, points = earlier[short, None], later[short, None], points[short]
            by_earlier, by_later = (wing_jacobian(points, wings[row])[0] for row in (i, i + 1))
            jacobian = np.concatenate([by_earlier / later, -by_later * earlier / (later * later)], axis=1)
            add(i, problem.penalty * jacobian, problem.penalty * (CALENDAR_MARGIN - 1.0 + earlier / later)[:, 0])
        shortfall = SLOPE_MARGIN - np.diff(wings[i : i + 2, 1:3], axis=0)[0]
        jacobian = np.zeros((2, 10))
        jacobian[[0, 1], [1, 2]], jacobian[[0, 1], [6, 7]] = problem.penalty, -problem.penalty
        add(i, jacobian[shortfall > 0], problem.penalty * shortfall[shortfall > 0])
    return normal, gradient
