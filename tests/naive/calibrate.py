"""Calibration written from its text, with plain lists."""

from __future__ import annotations

from math import exp, log, pi


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


def parameters(level: float, kept: float, share: float) -> tuple[float, float, float]:
    """omega, alpha and beta of a point of the search."""
    persistence = (1 - 1e-5) / (1 + exp(-kept))
    part = 1 / (1 + exp(-share))
    return exp(level) * (1 - persistence), persistence * part, persistence * (1 - part)


def garch_search(squares: list[float], begin: list[float]) -> tuple[list[float], float]:
    """The point around which none is likelier (Hooke and Jeeves 1961), and minus the likelihood of a return there."""

    def loss(point: list[float]) -> float:
        omega, alpha, beta = parameters(*point)
        total, variance = 0.0, 1.0
        for square in squares:
            total += 0.5 * (log(2 * pi) + log(variance) + square / variance)
            variance = omega + alpha * square + beta * variance
        return total / len(squares)

    best, least, step = list(begin), loss(begin), 0.5
    while step > 1e-7:
        here, lower = list(best), least
        for n in range(3):
            for side in (step, -step):
                trial = [x + side * (m == n) for m, x in enumerate(here)]
                if loss(trial) < lower:
                    here, lower = trial, loss(trial)
                    break
        if lower == least:
            step /= 2
            continue
        # On in the same direction for as long as it falls.
        while lower < least:
            onward = [2 * new - old for new, old in zip(here, best, strict=True)]
            best, least = here, lower
            here, lower = onward, loss(onward)
    return best, least


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
