"""Calibration written from its text, with plain lists."""

from __future__ import annotations

from math import log, pi


def garch_likelihood(squares: list[float], omega: float, alpha: float, beta: float, start: float) -> list[float]:
    """Log-likelihood, and derivatives by differences of it so small that four digits and more are right."""

    def likelihood(w: float, a: float, b: float) -> float:
        total, variance = 0.0, start
        for square in squares:
            total -= 0.5 * (log(2 * pi) + log(variance) + square / variance)
            variance = w + a * square + b * variance
        return total

    point = [omega, alpha, beta]
    result = [likelihood(*point)]
    for n in range(3):
        step = 1e-5 * point[n]
        up, down = list(point), list(point)
        up[n] += step
        down[n] -= step
        result.append((likelihood(*up) - likelihood(*down)) / (2 * step))
    return result
