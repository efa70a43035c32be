"""Plain-Python twin of OKX's portfolio margin, one underlying of linear contracts."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from tests.naive.deribit import delta
from tests.naive.pricing import value

Held = list[tuple[dict[str, Any], float]]


def straight(days: float, at: tuple[float, ...], values: tuple[float, ...]) -> float:
    """On straight lines between the points, level outside."""
    if days <= at[0]:
        return values[0]
    for k in range(1, len(at)):
        if days <= at[k]:
            return values[k - 1] + (values[k] - values[k - 1]) * (days - at[k - 1]) / (at[k] - at[k - 1])
    return values[-1]


def price(contract: dict[str, Any], move: float, sign: float, passed: float, params: Any) -> float:
    if contract["kind"] == "perpetual":
        return contract["forward"] + contract["index"] * move
    forward = contract["forward"] * (1 + move)
    if contract["kind"] != "option":
        return forward
    days, vol = contract["years"] * 365, contract["vol"]
    points = sign * straight(days, params.vol_days, params.vol_points)
    percent = sign * straight(days, params.vol_days, params.vol_percent) * vol
    change = points if abs(points) > abs(percent) else percent
    left = max(contract["years"] - passed / 365, 0.0)
    return value(forward, contract["strike"], left, max(vol + change, 0.0), 1.0, contract["sign"])


def vega(contract: dict[str, Any]) -> float:
    if contract["kind"] != "option":
        return 0.0
    root = math.sqrt(contract["years"])
    d1 = math.log(contract["forward"] / contract["strike"]) / (contract["vol"] * root) + contract["vol"] * root / 2
    return contract["units"] * contract["forward"] * NormalDist().pdf(d1) * root


def maintenance(held: Held, params: Any, group: Any) -> dict[str, float]:
    """MR1 to MR7 and MMR."""

    def loss(move: float, sign: float, passed: float = 0.0) -> float:
        changes = (
            q * c["units"] * (price(c, move, sign, passed, params) - price(c, 0.0, 0.0, 0.0, params)) for c, q in held
        )
        return max(0.0, -sum(changes))

    moves = [0.0, *group.price_moves, *(-m for m in group.price_moves)]
    end = params.extreme_multiple * group.price_moves[-1]
    in_dollars = [(c, q, q * delta(c) * c["forward"]) for c, q in held]
    expiries = {c["years"] for c, _ in held}
    mr = {
        1: max(loss(move, sign) for move in moves for sign in (1.0, 0.0, -1.0)),
        2: loss(0.0, 0.0, params.theta_days),
        6: params.extreme_share * max(loss(end, 0.0), loss(-end, 0.0)),
    }
    vegas = [sum(q * vega(c) for c, q in held if c["years"] == x) for x in expiries]
    mr[3] = params.term_structure_vol * (sum(map(abs, vegas)) - abs(sum(vegas))) / 2
    deltas = {x: sum(d for c, _, d in in_dollars if c["years"] == x) for x in expiries}
    mr[4] = sum(abs(d) * max(group.basis_perpetual, group.basis_annual * x) for x, d in deltas.items())
    mr[5] = params.rate_move * abs(sum(d * x for x, d in deltas.items()))
    raw = group.minimum * sum(abs(d) for *_, d in in_dollars)
    mr[7], below = 0.0, 0.0
    for limit, multiplier in zip((*params.tier_limits, math.inf), params.tier_multipliers, strict=True):
        mr[7] += multiplier * max(0.0, min(raw, limit) - below)
        below = limit
    sums = max(mr[1], mr[2], mr[6]) + mr[3] + mr[4] + mr[5]
    return {**{f"mr{k}": v for k, v in mr.items()}, "mmr": max(sums, mr[7])}
