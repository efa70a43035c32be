"""Plain-Python twin of standard margin: one position at a time, from the words of the rule."""

from __future__ import annotations

from typing import Any


def short_option(contract: dict[str, Any], rates: dict[str, float]) -> tuple[float, float]:
    """Initial and maintenance margin of one short option in what it settles in: strike sign index mark inverse."""
    index, mark = contract["index"], contract["mark"]
    distance = contract["strike"] - index if contract["sign"] > 0 else index - contract["strike"]
    out_of_the_money = max(distance, 0.0)
    price = 1.0 if contract["inverse"] else index
    initial = max(rates["initial"] - out_of_the_money / index, rates["initial_minimum"]) * price + mark
    if contract["sign"] > 0:
        maintenance = rates["maintenance"] * price + mark
    else:
        maintenance = max(rates["maintenance"] * price, rates["put_mark"] * mark) + mark
    return max(initial, maintenance), maintenance


def future(coins: float, price: float, rates: dict[str, float]) -> tuple[float, float]:
    """Of a position of `coins`, each worth `price`."""
    size = abs(coins)
    initial = rates["initial"] + rates.get("initial_per_coin", 0.0) * size
    maintenance = rates["maintenance"] + rates.get("maintenance_per_coin", 0.0) * size
    return initial * size * price, maintenance * size * price
