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


def shrunk_correlation(rows: list[list[float]]) -> tuple[list[list[float]], float]:
    """Ledoit and Wolf (2004), section 3: m, d^2, b^2 of standardised rows, sum by sum."""
    count, wide = len(rows), len(rows[0])
    columns = []
    for n in range(wide):
        mean = sum(row[n] for row in rows) / count
        deviation = (sum((row[n] - mean) ** 2 for row in rows) / count) ** 0.5
        columns.append([(row[n] - mean) / deviation for row in rows])
    sample = [[sum(a * b for a, b in zip(x, y, strict=True)) / count for y in columns] for x in columns]
    m = sum(sample[n][n] for n in range(wide)) / wide
    d2 = sum((sample[i][j] - m * (i == j)) ** 2 for i in range(wide) for j in range(wide)) / wide
    b2 = 0.0
    for t in range(count):
        b2 += sum((columns[i][t] * columns[j][t] - sample[i][j]) ** 2 for i in range(wide) for j in range(wide)) / wide
    intensity = min(b2 / count**2, d2) / d2
    shrunk = [[intensity * m * (i == j) + (1 - intensity) * sample[i][j] for j in range(wide)] for i in range(wide)]
    return shrunk, intensity
