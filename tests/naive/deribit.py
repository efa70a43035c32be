"""Plain-Python twin of Deribit's portfolio margin, from the words of the rule: one cell, one contract at a time.

A contract: coin, settle (the coin, or a dollar), kind, strike, sign, forward, years, vol, units (coins a contract),
inverse. A market: index by coin. Amounts come out in dollars, coins counted at the index.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from tests.naive.pricing import value

Held = list[tuple[dict[str, Any], float]]
VOLS = ("up", "same", "down")


def cells(pair: dict[str, float], extended: list[float], count: int) -> list[tuple[float, str, bool]]:
    """(move, vol case, extended or not) of every cell."""
    standard = [pair["price_range"] * k / count for k in range(-count, count + 1)]
    return [(move, vol, False) for move in standard for vol in VOLS] + [(move, "up", True) for move in extended]


def shocked_vol(vol: float, years: float, case: str, pair: dict[str, float], floor: float = 1.0) -> float:
    days = years * 365
    power = pair["short_term_vega_power"] if days < 30 else pair["long_term_vega_power"]
    growth = (30 / max(days, floor)) ** power
    if case == "up":
        return max(vol * (1 + pair["volatility_range_up"] * growth), pair["min_volatility_for_shock_up"])
    if case == "down":
        return max(vol * (1 - pair["volatility_range_down"] * growth), 0.0)
    return vol


def price(contract: dict[str, Any], move: float, case: str, pair: dict[str, float]) -> float:
    """In dollars of one coin of an option, or the price of a future, after a cell."""
    forward = contract["forward"] * (1 + move)
    if contract["kind"] != "option":
        return forward
    vol = shocked_vol(contract["vol"], contract["years"], case, pair)
    return value(forward, contract["strike"], contract["years"], vol, 1.0, contract["sign"])


def gain(contract: dict[str, Any], move: float, case: str, pair: dict[str, float], index: float) -> float:
    """P&L of one contract in its settlement currency: coins, or dollars."""
    before, after = price(contract, 0.0, "same", pair), price(contract, move, case, pair)
    if not contract["inverse"]:
        return contract["units"] * (after - before)
    if contract["kind"] == "option":
        return contract["units"] * (after / (contract["forward"] * (1 + move)) - before / contract["forward"])
    return contract["units"] * move / (1 + move)


def delta(contract: dict[str, Any]) -> float:
    """Coins."""
    if contract["kind"] != "option":
        return contract["units"]
    root = contract["vol"] * math.sqrt(contract["years"])
    d1 = math.log(contract["forward"] / contract["strike"]) / root + root / 2
    return contract["units"] * contract["sign"] * NormalDist().cdf(contract["sign"] * d1)


def cut(cell: float, risk: dict[str, Any], damp: float) -> float:
    if cell > 0:
        cell = min(cell * risk["pnl_offset"], risk["max_offsetable_pnl"])
    return math.copysign(max(abs(cell) - damp, 0.0), cell)


def delta_shock(held: Held, pair: dict[str, float], index: float) -> float:
    longs = sum(q * delta(c) for c, q in held if c["kind"] == "option" and q > 0)
    rest = sum(q * delta(c) for c, q in held if not (c["kind"] == "option" and q > 0))
    d = abs(min(max(longs + rest, rest), 0.0) if rest < 0 else max(min(longs + rest, rest), 0.0))
    above = max(d * index - pair["delta_total_liq_shock_threshold"], 0.0)
    return min(above * d * pair["m_inc"], pair["max_delta_shock"] * d * index)


def roll_shock(held: Held, risk: dict[str, Any], index: float) -> float:
    total = 0.0
    for expiry in {(c["settle"], c["years"]) for c, _ in held}:
        net = sum(q * delta(c) for c, q in held if (c["settle"], c["years"]) == expiry)
        rate = max(risk["min_annualised_move"], math.exp(risk["annualised_move_risk"] * expiry[1]) - 1)
        total += abs(net) * index * rate
    return total


def segregated(held: Held, params: dict[str, Any], index: dict[str, float]) -> dict[str, float]:
    """Every settlement currency of every coin by itself; the charges in dollars."""
    total = {"worst_case": 0.0, "roll_shock": 0.0, "delta_shock": 0.0}
    for coin, settle in {(c["coin"], c["settle"]) for c, _ in held}:
        mine = [(c, q) for c, q in held if (c["coin"], c["settle"]) == (coin, settle)]
        pair, risk, spot = params["pair"][coin], params["risk"][coin], index[coin]
        worst = 0.0
        for move, case, extended in cells(pair, params["extended"], params["count"]):
            per_unit = spot if settle == coin else 1.0
            cell = sum(q * gain(c, move, case, pair, spot) for c, q in mine) * per_unit
            damp = 0.0
            if extended:
                edge = 1 + math.copysign(pair["price_range"], move)
                cell *= pair["extended_table_factor"] * pair["price_range"] / abs(move)
                cell *= (1 + move) / edge if settle == coin else 1.0
                damp = max(abs(move) / pair["price_range"] - 1, 0.0) * risk["extended_dampener"]
                damp /= edge if settle == coin else 1.0
            worst = max(worst, -cut(cell, risk, damp))
        total["worst_case"] += worst
        total["roll_shock"] += roll_shock(mine, risk, spot)
        total["delta_shock"] += delta_shock(mine, pair, spot)
    return total


def crossed(held: Held, cash: dict[str, float], params: dict[str, Any], index: dict[str, float]) -> dict[str, float]:
    """All settlement currencies of a coin in dollars, with what the account owns of the coin itself."""
    total = {"worst_case": 0.0, "roll_shock": 0.0, "delta_shock": 0.0}
    for coin in index:
        mine = [(c, q) for c, q in held if c["coin"] == coin]
        pair, risk, spot = params["pair"][coin], params["risk"][coin], index[coin]
        premiums = [q * c["units"] * price(c, 0.0, "same", pair) / c["forward"] for c, q in mine
                    if c["kind"] == "option" and c["inverse"]]  # fmt: skip
        balance = cash.get(coin, 0.0)
        equity = balance * (1 - risk["haircut"] if balance > 0 else 1.0) + sum(premiums)
        worst = 0.0
        for move, case, extended in cells(pair, params["extended"], params["count"]):
            cell = equity * spot * move if risk["equity_side_impact"] == "both" else 0.0
            for c, q in mine:
                per_unit = spot * (1 + move) if c["inverse"] else 1.0
                cell += q * gain(c, move, case, pair, spot) * per_unit
            damp = 0.0
            if extended:
                cell *= pair["extended_table_factor"] * pair["price_range"] / abs(move)
                damp = max(abs(move) / pair["price_range"] - 1, 0.0) * risk["extended_dampener"]
            worst = max(worst, -cut(cell, risk, damp))
        total["worst_case"] += worst
        total["roll_shock"] += roll_shock(mine, risk, spot)
        total["delta_shock"] += delta_shock(mine, pair, spot)
    return total
