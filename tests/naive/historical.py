"""Historical simulation written from its text: filters and tail measures with lists, the model for one account."""

from __future__ import annotations

from math import ceil, exp, sqrt


def known_variance(returns: list[float], omega: float, alpha: float, beta: float, start: float) -> list[float]:
    known = [start]
    for value in returns:
        known.append(omega + alpha * value * value + beta * known[-1])
    return known


def scaled(
    columns: list[list[float]], known: list[list[float]], floor: float, cap: float, common: bool
) -> list[list[float]]:
    """Columns of returns with the variances known before each and the forecast."""
    steps = range(len(columns[0]))
    ratio = [[(k[-1] / k[t] if k[t] > 0 else 1.0) for t in steps] for k in known]
    if common:
        mean = [sum(row[t] for row in ratio) / len(ratio) for t in steps]
        ratio = [mean] * len(ratio)
    return [[c[t] * min(max(sqrt(r[t]), floor), cap) for t in steps] for c, r in zip(columns, ratio, strict=True)]


def horizon_moves(returns: list[float], steps: int) -> list[float]:
    return [exp(sum(returns[n : n + steps])) - 1.0 for n in range(len(returns) - steps + 1)]


def measure(losses: list[float], confidence: float, kind: str, quantile: str) -> float:
    if not losses:
        return 0.0
    worst, n = sorted(losses, reverse=True), len(losses)
    tail = round(n * (1 - confidence), 9)
    if kind == "es":
        if tail < 1:
            return max(worst[0], 0.0)
        whole = int(tail)
        part = tail - whole
        extra = part * worst[whole] if part > 0 else 0.0
        return max((sum(worst[:whole]) + extra) / tail, 0.0)
    if quantile == "order":
        return max(worst[max(int(tail), 1) - 1], 0.0)
    rising = worst[::-1]
    place = min(max(confidence * n - 0.5, 0.0), n - 1.0)
    low, high = int(place), ceil(place)
    return max(rising[low] + (place - low) * (rising[high] - rising[low]), 0.0)


def correlation_break(sample: list[float], p: dict) -> float:
    whole = measure(sample, p["confidence"], p["measure"], p["quantile"])
    starts = range(0, len(sample) - p["break_window"] + 1, p["break_step"])
    squares = []
    for start in starts:
        window = sample[start : start + p["break_window"]]
        squares.append(max(measure(window, p["confidence"], p["measure"], p["quantile"]) - whole, 0.0) ** 2)
    size = p["break_factor"] * sqrt(sum(squares) / len(squares)) if squares else 0.0
    return min(max(size, p["break_floor"] * whole), p["break_cap"] * whole)


def market_risk(history: list[float], stress: list[float], p: dict) -> tuple[float, float]:
    """Market risk and the mean measure of the sub-samples, from losses in the order of their dates."""
    samples = [history[first :: p["subsamples"]] for first in range(p["subsamples"])]
    measures = [measure(s, p["confidence"], p["measure"], p["quantile"]) for s in samples]
    base = sum(measures) / len(samples)
    broken = base + sum(correlation_break(s, p) for s in samples) / len(samples)
    stressed = measure(stress, p["stress_confidence"], p["measure"], p["quantile"])
    if p["combine"] == "larger":
        return max(broken, p["stress_weight"] * stressed), base
    blend = (1 - p["stress_weight"]) * broken + p["stress_weight"] * stressed
    return max(blend, p["stress_floor"] * stressed), base


def interpolated(x: float, xs: list[float], ys: list[float]) -> float:
    if x >= xs[-1]:
        return ys[-1]
    at = max(n for n in range(len(xs)) if xs[n] <= x)
    return ys[at] + (x - xs[at]) / (xs[at + 1] - xs[at]) * (ys[at + 1] - ys[at])


def requirement(positions: list[dict], still: dict, p: dict) -> float:
    """positions: quantity, P&L per contract in history and stress, notional, delta, underlying; still: capacity, volume
    and sigma by underlying."""
    history = [-sum(q["quantity"] * q["history"][s] for q in positions) for s in range(len(positions[0]["history"]))]
    stress = [-sum(q["quantity"] * q["stress"][s] for q in positions) for s in range(len(positions[0]["stress"]))]
    market, base = market_risk(history, stress, p)
    alone = []
    for q in positions:
        losses = [-q["quantity"] * gain for gain in q["history"]]
        alone.append(measure(losses, p["confidence"], p["measure"], p["quantile"]))
    gross = sum(alone)
    alpha = min(max(base / gross if gross > 0 else 0.0, p["liquidity_alpha"]), 1.0)
    liquidity, delta = 0.0, {}
    for q, risk in zip(positions, alone, strict=True):
        notional = abs(q["quantity"]) * q["notional"]
        size = notional / still["capacity"][q["underlying"]]
        factor = interpolated(size, p["liquidity_sizes"], p["liquidity_factors"])
        liquidity += alpha * (risk * factor + p["half_spread"] * notional)
        delta[q["underlying"]] = delta.get(q["underlying"], 0.0) + q["quantity"] * q["delta"]
    concentration = sum(
        p["impact"] * still["sigma"][u] * abs(d) * sqrt(abs(d) / still["daily_volume"][u]) for u, d in delta.items()
    )
    return market + liquidity + concentration
