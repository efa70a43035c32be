"""Plain-Python twins of the margins of Bybit and Delta Exchange, one underlying of linear contracts."""

from __future__ import annotations

from typing import Any

from tests.naive.pricing import value

Held = list[tuple[dict[str, Any], float]]


def worst_loss(held: Held, grid: Any) -> float:
    """Over every price move with vols up, the same and down."""

    def price(contract: dict[str, Any], move: float, vol_move: float) -> float:
        forward = contract["forward"] * (1 + move)
        if contract["kind"] != "option":
            return forward
        vol = contract["vol"] * (1 + vol_move)
        return value(forward, contract["strike"], contract["years"], vol, 1.0, contract["sign"])

    worst = 0.0
    for move in grid.price_moves:
        for vol_move in (grid.vol_up, 0.0, -grid.vol_down):
            gain = sum(q * c["units"] * (price(c, move, vol_move) - price(c, 0.0, 0.0)) for c, q in held)
            worst = max(worst, -gain)
    return worst


def bybit(held: Held, index: float, params: Any, grid: Any) -> dict[str, float]:
    options = sum(q * c["units"] for c, q in held if c["kind"] == "option")
    futures = sum(abs(q) * c["units"] for c, q in held if c["kind"] != "option")
    return {
        "scan": worst_loss(held, grid),
        "short_options": params.short_option_coefficient * index * max(-options, 0.0),
        "futures": params.futures_factor * index * futures,
    }


def delta_exchange(held: Held, index: float, params: Any, grid: Any) -> tuple[float, float]:
    """Risk margin and margin floor."""
    floor = 0.0
    for contract, quantity in held:
        rate = params.futures_floor
        if contract["kind"] == "option":
            rate = params.short_option_floor if quantity < 0 else params.long_option_floor
        floor += rate * abs(quantity) * contract["units"] * index
    return worst_loss(held, grid), floor
