"""American options with cash dividends, a call on a dense grid and a put on a tree: slow, short, sharing nothing."""

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


def put_with_dividends(
    spot: float, strike: float, tau: float, vol: float, rate: float, schedule: list[tuple[float, float]]
) -> float:
    """An American put, dividends escrowed, by a binomial tree of what is left of the spot: right to 5e-3 of 100."""
    steps = 3000
    schedule = [(date, amount) for date, amount in schedule if date < tau]
    step = tau / steps
    up = math.exp(vol * math.sqrt(step))
    chance = (math.exp(rate * step) - 1.0 / up) / (up - 1.0 / up)
    start = spot - sum(amount * math.exp(-rate * date) for date, amount in schedule)
    values = np.zeros(0)
    for n in range(steps, -1, -1):
        now = n * step
        rest = start * up ** (2.0 * np.arange(n + 1) - n)
        to_come = sum(amount * math.exp(-rate * (date - now)) for date, amount in schedule if date >= now)
        exercise = np.maximum(strike - to_come - rest, 0.0)
        if n < steps:
            exercise = np.maximum(
                exercise, math.exp(-rate * step) * (chance * values[1:] + (1.0 - chance) * values[:-1])
            )
        values = exercise
    return float(values[0])
