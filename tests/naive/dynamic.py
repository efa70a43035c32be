"""The dynamic requirement of one account written from docs/dynamic-margin.md: lists, loops and sums, nothing shared.

Contracts are plain records: underlying, expiry, option or not, collateral or not, quantity, P&L in every scenario,
delta, vega, value, notional, days to expiry. Amounts are margin currency.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any

Position = dict[str, Any]


def multiplier(x: float, curve: str, exponent: float, tiers: list[float], factors: list[float]) -> float:
    if curve == "continuous":
        return (1 + x) ** exponent
    if x == 0:
        return factors[0]
    total = 0.0
    for n, (start, factor) in enumerate(zip(tiers, factors, strict=True)):
        end = tiers[n + 1] if n + 1 < len(tiers) else float("inf")
        total += factor * max(0.0, min(x, end) - start)
    return total / x


def shares(value: float, nodes: list[float]) -> list[float]:
    """Weights of linear interpolation, by looking for the two neighbours."""
    found = [0.0] * len(nodes)
    if value <= nodes[0]:
        found[0] = 1.0
    elif value >= nodes[-1]:
        found[-1] = 1.0
    else:
        for n in range(len(nodes) - 1):
            if nodes[n] <= value <= nodes[n + 1]:
                found[n + 1] = (value - nodes[n]) / (nodes[n + 1] - nodes[n])
                found[n] = 1 - found[n + 1]
                break
    return found


def cost(size: float, spread: float, move: float, volume: float, impact: float) -> float:
    return abs(size) * (spread + impact * move * sqrt(abs(size) / volume))


def counted(value: float, tiers: list[float], shares: list[float]) -> float:
    total = 0.0
    for n, (start, share) in enumerate(zip(tiers, shares, strict=True)):
        end = tiers[n + 1] if n + 1 < len(tiers) else float("inf")
        total += share * max(0.0, min(value, end) - start)
    return total


def widening(share: float, threshold: float, slope: float, cap: float) -> float:
    return min(cap, slope * max(0.0, share - threshold))


def extra_move(age: float, confidence: float, day_move: float, p: Any) -> float:
    return p.confidence_factor * confidence + p.stale_factor * day_move * sqrt(max(0.0, age - p.grace_seconds) / 86400)


def gap_share(days: float, p: Any) -> float:
    left = min(1.0, days * 1440 / p.averaging_minutes) if p.averaging_minutes else 1.0
    return p.rate * max(0.0, 1 - days / p.window_days) * left


def charges(positions: list[Position], tier: list[int], gap: tuple[int, int], floor: float, p: Any) -> dict[str, float]:
    """Parts of the requirement of one account before the factors of initial and maintenance margin.

    tier  of every scenario; gap, the scenarios one bucket down and up; floor, the short option minimum
    """
    names = ("scan", "volatility_regime", "crowding", "oracle")
    parts = dict.fromkeys((*names, "near_expiry", "concentration", "liquidity", "basis"), 0.0)
    for u in sorted({position["underlying"] for position in positions}):
        mine = [position for position in positions if position["underlying"] == u]
        before = 0.0
        for k, name in enumerate(names):
            chosen = [s for s in range(len(tier)) if tier[s] <= k]
            worst = max([0.0] + [-sum(m["counted"] * m["pnl"][s] for m in mine) for s in chosen])
            parts[name] += worst - before
            before = worst
        contracts = [m for m in mine if not m["collateral"]]
        for expiry in {m["expiry"] for m in contracts if m["option"]}:
            inside = [m for m in contracts if m["option"] and m["expiry"] == expiry]
            both = sum(m["quantity"] * (m["pnl"][gap[0]] + m["pnl"][gap[1]]) for m in inside)
            parts["near_expiry"] += gap_share(inside[0]["days"], p.near_expiry) * max(0.0, -both)
        if contracts:
            more, closing = size_and_cost(contracts, len(tier), p.underlyings[u], p)
            parts["concentration"] += more
            parts["liquidity"] += closing
            parts["basis"] += basis(contracts, p.underlyings[u])
    market = sum(parts[name] for name in names)
    return {**parts, "short_option_minimum": max(0.0, floor - market)}


def basis(contracts: list[Position], state: Any) -> float:
    """The worst of the corners: the curve turns up or down, every forward rises or falls by itself."""
    net: dict[int, float] = {}
    years: dict[int, float] = {}
    for m in contracts:
        net[m["expiry"]] = net.get(m["expiry"], 0.0) + m["quantity"] * m["delta"]
        years[m["expiry"]] = m["days"] / 365
    worst = 0.0
    for turn in (-state.basis_rate_move, state.basis_rate_move):
        loss = 0.0
        for expiry, delta in net.items():
            loss += max(-delta * (turn * years[expiry] + alone) for alone in (-state.basis_move, state.basis_move))
        worst = max(worst, loss)
    return worst


def size_and_cost(contracts: list[Position], scenarios: int, state: Any, p: Any) -> tuple[float, float]:
    c, liquid = p.concentration, p.liquidity
    delta = sum(m["quantity"] * m["delta"] for m in contracts)
    gross = sum(abs(m["quantity"]) * m["notional"] for m in contracts)
    buckets: dict[tuple[int, int], float] = {}
    for m in contracts:
        d = abs(m["delta"] / m["notional"]) if m["option"] else 0.0
        by_days = shares(log(max(m["days"], 0.01)), [log(day) for day in liquid.days])
        by_delta = shares(min(d, 1 - d), list(liquid.deltas))
        spread = sum(w * v * liquid.half_spreads[i][j] for i, w in enumerate(by_days) for j, v in enumerate(by_delta))
        # No bid below 0: half a spread of an option is its value at most.
        vega_of_one = min(m["vega"], m["value"] / spread) if m["option"] and spread > 0 else m["vega"]
        for i, w in enumerate(by_days):
            for j, v in enumerate(by_delta):
                buckets[i, j] = buckets.get((i, j), 0.0) + w * v * m["quantity"] * vega_of_one
    vega = sum(abs(value) for value in buckets.values())
    once = c.participation * c.horizon_days
    x = max(
        abs(delta) / (once * state.daily_volume),
        vega / (once * state.daily_vega_volume),
        gross / (c.share_reference * state.open_interest),
    )
    loss = max([0.0] + [-sum(m["quantity"] * m["pnl"][s] for m in contracts) for s in range(scenarios)])
    more = (multiplier(x, c.curve, c.exponent, list(c.tiers), list(c.factors)) - 1) * loss
    closing = cost(delta, state.half_spread, state.day_move, state.daily_volume, liquid.impact)
    futures = [m for m in contracts if not m["option"]]
    legs = 0.0
    for expiry in {m["expiry"] for m in futures}:
        legs += abs(sum(m["quantity"] * m["delta"] for m in futures if m["expiry"] == expiry))
    closing += state.half_spread * max(0.0, legs - abs(delta))
    for (i, j), value in buckets.items():
        spread = liquid.half_spreads[i][j]
        closing += cost(value, spread, state.day_vol_change, state.daily_vega_volume, liquid.impact)
    return more, closing
