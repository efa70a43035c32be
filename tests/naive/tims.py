"""TIMS written from its text: one account, plain dictionaries, one point at a time."""

from __future__ import annotations

from typing import Any

Held = list[tuple[str, float, list[float], float]]


def requirement(held: Held, groups: dict[str, Any], points: int, level: str = "class_group") -> float:
    """held: underlying, quantity, P&L per contract by point, minimum per contract (0 for stock)."""
    portfolios: dict[str, list[float]] = {}
    products: dict[str, list[float]] = {}
    classes: dict[str, list[float]] = {}
    minimum: dict[str, dict[str, float]] = {}
    for underlying, quantity, gains, least in held:
        group = groups["class_group"].get(underlying, underlying)
        row = classes.setdefault(group, [0.0] * points)
        for point in range(points):
            row[point] += quantity * gains[point]
        product = groups["product_group"].get(group, group)
        portfolio = groups["portfolio_group"].get(product, product)
        of_class = minimum.setdefault(portfolio, {})
        of_class[group] = of_class.get(group, 0.0) + abs(quantity) * least
    lack = {p: sum(max(0.0, m + min(0.0, *classes[c])) for c, m in each.items()) for p, each in minimum.items()}
    if level == "portfolio_group":
        lack = dict.fromkeys(lack, 0.0)
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
    return sum(max(max(0.0, -min(row)) + lack[name], sum(minimum[name].values())) for name, row in portfolios.items())


def _add(total: dict[str, list[float]], name: str, row: list[float], share: float) -> None:
    sums = total.setdefault(name, [0.0] * len(row))
    for point, value in enumerate(row):
        sums[point] += value if value < 0 else share * value
