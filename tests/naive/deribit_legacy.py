"""Plain-Python twin of Deribit's portfolio margin before the risk matrix, amounts in dollars at the index."""

from __future__ import annotations

from typing import Any

from tests.naive.pricing import value

Held = list[tuple[dict[str, Any], float]]


def gain(contract: dict[str, Any], move: float, vol_move: float) -> float:
    """Coins, of a contract that pays in coin."""
    if contract["kind"] != "option":
        return contract["units"] * move / (1 + move)
    forward, after = contract["forward"], contract["forward"] * (1 + move)
    days = max(contract["years"] * 365, 1.0)

    def coins(price: float, vol: float) -> float:
        return value(price, contract["strike"], contract["years"], max(vol, 0.0), 1.0, contract["sign"]) / price

    shocked = contract["vol"] * (1 + vol_move * (30 / days) ** contract["power"])
    return contract["units"] * (coins(after, shocked) - coins(forward, contract["vol"]))


def maintenance(held: Held, params: Any, index: float) -> dict[str, float]:
    """Of one coin."""
    worst = 0.0
    for k in range(-params.buckets, params.buckets + 1):
        for vol_move in (params.vol_range, 0.0, -params.vol_range):
            move = params.price_range * k / params.buckets
            total = sum(q * gain({**c, "power": params.vega_power}, move, vol_move) for c, q in held)
            worst = max(worst, -total * index)
    options = [(c, q) for c, q in held if c["kind"] == "option"]
    strikes = {(c["years"], c["strike"]) for c, _ in options}
    net = [sum(q for c, q in options if (c["years"], c["strike"]) == place) for place in strikes]
    futures = [(c, q) for c, q in held if c["kind"] != "option"]
    sides = [sum(q * c["units"] for c, q in futures if c["years"] == x) for x in {c["years"] for c, _ in futures}]
    offset = min(sum(s for s in sides if s > 0), -sum(s for s in sides if s < 0))
    return {
        "scan": worst,
        "short_options": params.short_option_rate * sum(max(-n, 0.0) for n in net) * index,
        "all_options": params.option_rate * sum(abs(q) for _, q in options) * index,
        "futures": params.futures_rate * offset * index,
    }
