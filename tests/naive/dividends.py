"""An American call with cash dividends on a dense grid of spots: slow, short, sharing nothing with what it checks."""

from __future__ import annotations

import math

import numpy as np

GRID, POINTS, FAR = 3001, 801, 8.0


def call_with_dividends(
    spot: float,
    strike: float,
    tau: float,
    vol: float,
    rate: float,
    schedule: list[tuple[float, float]],
    escrowed: bool,
) -> float:
    """Backwards from expiry, by the trapezoid rule and linear interpolation: right to about 1e-4 of 100."""
    schedule = [(date, amount) for date, amount in schedule if date < tau]

    def to_come(date: float) -> float:
        return sum(amount * math.exp(-rate * (d - date)) for d, amount in schedule if d >= date) if escrowed else 0.0

    start = spot - to_come(0.0)
    spread = vol * math.sqrt(tau)
    grid = start * np.exp(np.linspace(-FAR * spread, FAR * spread, GRID))
    values = np.maximum(grid - strike, 0.0)
    moments = [0.0, *(date for date, _ in schedule), tau]
    z = np.linspace(-FAR, FAR, POINTS)
    weight = np.exp(-0.5 * z * z)
    weight /= weight.sum()
    for k in range(len(moments) - 2, -1, -1):
        step = moments[k + 1] - moments[k]
        moved = np.exp((rate - 0.5 * vol * vol) * step + vol * math.sqrt(step) * z)
        at = grid if k > 0 else np.array([start])
        left = math.exp(-rate * step) * np.array([weight @ extended(x * moved, grid, values) for x in at])
        if k == 0:
            return float(left[0])
        date, amount = schedule[k - 1]
        if not escrowed:
            left = np.where(grid > amount, extended(np.maximum(grid - amount, grid[0]), grid, left), 0.0)
        values = np.maximum(left, grid + to_come(date) - strike)
    raise AssertionError


def extended(x: np.ndarray, grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolated, and going on as the spot above the grid."""
    return np.interp(x, grid, values) + np.maximum(x - grid[-1], 0.0)
