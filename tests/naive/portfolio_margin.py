"""Plain-Python twins of the account kernels: integers, one position at a time."""

from __future__ import annotations

from typing import Any

Position = tuple[int, float]


def account_sums(accounts: list[list[Position]], table: dict[str, Any]) -> list[list[int]]:
    """Sums in ticks by account and column, as Python integers."""
    return [_sums(positions, table) for positions in accounts]


def worst_loss(accounts: list[list[Position]], table: dict[str, Any], netting_set: list[int]) -> list[tuple[int, int]]:
    """(loss in ticks, scenario of the netting set that loses most or -1) of each account."""
    result = []
    for positions in accounts:
        total, largest, scenario = 0, 0, -1
        for name in dict.fromkeys(netting_set[row] for row, _ in positions):
            sums = _sums([(row, q) for row, q in positions if netting_set[row] == name], table)
            loss = -min(sums)
            if loss > 0:
                total += loss
                if loss > largest:
                    largest, scenario = loss, sums.index(min(sums))
        result.append((total, scenario))
    return result


def _sums(positions: list[Position], table: dict[str, Any]) -> list[int]:
    columns = range(len(table["rows"][0]))
    sums = [0 for _ in columns]
    for row, quantity in positions:
        for column in columns:
            unit = float(table["rows"][row][column])
            if table["contract"][row]:
                sums[column] += round(quantity / float(table["unit"][row])) * int(unit)
            else:
                held = quantity * float(table["long_weight"][row]) if quantity > 0 else quantity
                sums[column] += round(held * unit)
    return sums
