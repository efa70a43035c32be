"""TIMS written from its text: one account, plain dictionaries, one point at a time."""

from __future__ import annotations

from typing import Any

Held = list[tuple[str, float, list[float], float]]


def requirement(held: Held, groups: dict[str, Any], points: int) -> float:
    """held: underlying, quantity, P&L per contract by point, minimum per contract (0 for stock)."""
    portfolios: dict[str, list[float]] = {}
    products: dict[str, list[float]] = {}
    classes: dict[str, list[float]] = {}
    minimum: dict[str, float] = {}
    for underlying, quantity, gains, least in held:
        group = groups["class_group"].get(underlying, underlying)
        row = classes.setdefault(group, [0.0] * points)
        for point in range(points):
            row[point] += quantity * gains[point]
        product = groups["product_group"].get(group, group)
        portfolio = groups["portfolio_group"].get(product, product)
        minimum[portfolio] = minimum.get(portfolio, 0.0) + abs(quantity) * least
    for group, row in classes.items():
        product = groups["product_group"].get(group, group)
        peers = {c for c in groups["all_classes"] if groups["product_group"].get(c, c) == product}
        share = groups["product_offset"].get(product, 0.0) if len(peers) > 1 else 1.0
        _add(products, product, row, share)
    for product, row in products.items():
        portfolio = groups["portfolio_group"].get(product, product)
        every = {groups["product_group"].get(c, c) for c in groups["all_classes"]}
        peers = {p for p in every if groups["portfolio_group"].get(p, p) == portfolio}
        share = groups["portfolio_offset"].get(portfolio, 0.0) if len(peers) > 1 else 1.0
        _add(portfolios, portfolio, row, share)
    return sum(max(0.0, -min(row), minimum[name]) for name, row in portfolios.items())


def _add(total: dict[str, list[float]], name: str, row: list[float], share: float) -> None:
    sums = total.setdefault(name, [0.0] * len(row))
    for point, value in enumerate(row):
        sums[point] += value if value < 0 else share * value
