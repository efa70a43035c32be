"""Least-squares fit of raw SVI slices, slow and simple: a grid over (m, sigma), Gauss-Newton from its best cells."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np


def fit_slices(k, w, weight, first_quote):
    """Raw a b rho m sigma and half the weighted sum of squares of each slice."""
    slices = []
    for begin, end in pairwise(first_quote):
        slices.append(_fit(k[begin:end], w[begin:end], weight[begin:end]))
    return slices


def polish_slices(quotes, first_quote, watched, penalty, start):
    """Wing parameters and half the sum of squares of each slice, with what g lacks of 1e-6 where it is watched."""
    found = []
    for s, (begin, end) in enumerate(pairwise(first_quote)):
        k, w, weight = (column[begin:end] for column in quotes)
        low, high, _ = _box(k, w)
        extra = list(zip(watched[s], np.sqrt(penalty[s]), strict=True))
        cost, point = _descend(np.clip(start[s], low, high), low, high, k, w, weight, extra)
        found.append((point, cost))
    return found


def _fit(k, w, weight):
    low, high, deviation = _box(k, w)
    tried = []
    for m in np.linspace(-3.0 * deviation, 3.0 * deviation, 9):
        for sigma in np.geomspace(low[4], high[4], 6):
            for left in (0.2, 0.5, 0.9):
                for right in (0.2, 0.5, 0.9):
                    point = np.clip(
                        [min(w), left * math.sqrt(deviation), right * math.sqrt(deviation), m, sigma], low, high
                    )
                    tried.append((_cost(point, k, w, weight), tuple(point)))
    best = min(
        (_descend(np.array(point), low, high, k, w, weight) for _, point in sorted(tried)[:6]), key=lambda x: x[0]
    )
    cost, (lowest, left, right, m, sigma) = best
    a, b = lowest - sigma * left * right, (left**2 + right**2) / 2
    return (a, b, (right**2 - left**2) / (2 * b), m, sigma), cost


def _box(k, w):
    deviation = math.sqrt(w[int(np.argmin(np.abs(k)))])
    span = max(max(k) - min(k), deviation)
    low = np.array([1e-3 * min(w), 0.0, 0.0, min(k) - span / 2, 0.05 * deviation])
    high = np.array([math.inf, math.sqrt(2.0), math.sqrt(2.0), max(k) + span / 2, span])
    return low, high, deviation


def _shortfall(point, k):
    """What Durrleman's g lacks of 1e-6, by the text-book formula in a b rho m sigma."""
    lowest, left, right, m, sigma = point
    a, b = lowest - sigma * left * right, (left**2 + right**2) / 2
    rho = (right**2 - left**2) / (2 * b) if b else 0.0
    root = math.hypot(k - m, sigma)
    w, slope, bend = a + b * (rho * (k - m) + root), b * (rho + (k - m) / root), b * sigma**2 / root**3
    g = (1 - k * slope / (2 * w)) ** 2 - slope**2 / 4 * (1 / w + 1 / 4) + bend / 2
    return max(1e-6 - g, 0.0)


def _residuals(point, k, w, weight, extra=()):
    lowest, left, right, m, sigma = point
    found = []
    for one_k, one_w, one_weight in zip(k, w, weight, strict=True):
        root = math.hypot(one_k - m, sigma)
        rising = left**2 * (root - (one_k - m)) / 2 + right**2 * (root + (one_k - m)) / 2
        found.append(one_weight * (lowest + rising - sigma * left * right - one_w))
    return np.array(found + [factor * _shortfall(point, at) for at, factor in extra])


def _cost(point, k, w, weight, extra=()):
    return 0.5 * float(np.sum(_residuals(point, k, w, weight, extra) ** 2))


def _descend(point, low, high, k, w, weight, extra=()):
    """Damped Gauss-Newton with differences for derivatives; a parameter at a bound it is pushed through stays."""
    cost, damping = _cost(point, k, w, weight, extra), 1e-3
    for _ in range(200):
        error = _residuals(point, k, w, weight, extra)
        columns = []
        for i in range(5):
            step = np.zeros(5)
            step[i] = 1e-7 * max(abs(point[i]), 1e-3)
            up, down = (_residuals(point + side * step, k, w, weight, extra) for side in (1.0, -1.0))
            columns.append((up - down) / (2.0 * step[i]))
        jacobian = np.array(columns).T
        gradient = jacobian.T @ error
        free = ~(((point <= low) & (gradient > 0)) | ((point >= high) & (gradient < 0)))
        normal = (jacobian.T @ jacobian)[np.ix_(free, free)]
        improved = False
        while damping < 1e12 and not improved:
            step = np.zeros(5)
            step[free] = -np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-300), gradient[free])
            moved = np.clip(point + step, low, high)
            trial = _cost(moved, k, w, weight, extra)
            improved = trial < cost
            damping *= 0.1 if improved else 5.0
        if not improved:
            break
        point, gain, cost = moved, cost - trial, trial
        if gain < 1e-12 * cost:
            break
    return cost, point
