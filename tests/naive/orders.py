"""Plain-Python twin of the order kernels: whole ticks as integers, amounts as exact fractions rounded to cents."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

Position = tuple[int, float]
CENT = Fraction(1, 100)


def after_orders(held: list[Position], orders: list[Position], table: dict[str, Any]) -> dict[str, Any]:
    """Figures of an account after orders filled at the mark."""
    holding = dict(held)
    for row, quantity in orders:
        _add(holding, row, quantity)
    for row, quantity in orders:
        cost = quantity * table["value"][row]
        if cost:
            _add(holding, table["cash_row"][row], -cost / table["value"][table["cash_row"][row]])
    return figures_of(sorted(holding.items()), table)


def check_orders(
    accounts: list[list[Position]], orders: list[tuple[int, int, float]], table: dict[str, Any]
) -> list[dict[str, Any]]:
    """Figures of its account after every order by itself."""
    return [after_orders(accounts[account], [(row, quantity)], table) for account, row, quantity in orders]


def figures_of(held: list[Position], table: dict[str, Any]) -> dict[str, Any]:
    """Figures of an account that holds these positions."""
    scenarios = range(len(table["rows"][0]))
    tick = Fraction(table["tick"])
    loss, largest, worst = 0, 0, -1
    for name in sorted({table["netting_set"][row] for row, _ in held}):
        inside = [(row, q) for row, q in held if table["netting_set"][row] == name]
        sums = [sum(_ticks(row, q, table["rows"][row][s], table, True) for row, q in inside) for s in scenarios]
        lost = -min(sums)
        if lost > 0:
            loss += lost
            if lost > largest:
                largest, worst = lost, sums.index(min(sums))
    least = sum(
        _steps(row, -q, table) * int(table["short"][row]) for row, q in held if q < 0 and table["contract"][row]
    )
    value = sum(_ticks(row, q, table["worth"][row], table, False) for row, q in held)
    assets = [(row, q) for row, q in held if not table["contract"][row]]
    gross = sum(_ticks(row, q, table["worth"][row], table, False) for row, q in assets)
    counted = sum(_ticks(row, q, table["worth"][row], table, True) for row, q in assets)
    needed = max(loss, least) * tick
    equity, left = _down(value * tick), (value - gross + counted) * tick
    haircut = _up_to_cover((gross - counted) * tick, value * tick, equity)
    balance = equity - haircut
    initial, maintenance = (_up_to_cover(needed * Fraction(factor), left, balance) for factor in table["factors"])
    return {
        "equity": equity,
        "collateral_value_before_haircut": _down(gross * tick),
        "haircut": haircut,
        "margin_balance": balance,
        "initial_margin": initial,
        "maintenance_margin": maintenance,
        "available_funds": balance - initial,
        "excess_liquidity": balance - maintenance,
        "worst_scenario": worst,
    }


def _add(holding: dict[int, float], row: int, quantity: float) -> None:
    holding[row] = holding.get(row, 0.0) + quantity


def _steps(row: int, quantity: float, table: dict[str, Any]) -> int:
    return round(quantity / table["unit"][row])


def _ticks(row: int, quantity: float, ticks: float, table: dict[str, Any], weighted: bool) -> int:
    if table["contract"][row]:
        return _steps(row, quantity, table) * int(ticks)
    held = quantity * table["long_weight"][row] if weighted and quantity > 0 else quantity
    return round(held * float(ticks))


def _up(amount: Fraction) -> Fraction:
    """To the next cent, where the amount is more than binary noise beyond one."""
    return ceil(round(amount / CENT, 6)) * CENT


def _up_to_cover(amount: Fraction, cover: Fraction, rounded_cover: Fraction) -> Fraction:
    """To the next cent, but not beyond what covers the amount, to a thousandth of a cent."""
    covered = amount - cover <= CENT / 1000
    return max(min(_up(amount), rounded_cover), Fraction(0)) if covered else _up(amount)


def _down(amount: Fraction) -> Fraction:
    return floor(round(amount / CENT, 6)) * CENT
