"""A pairing in words: which strategies positions were cut into, what each takes of them, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.contributions import underlying_name
from portfolio_margin.pairing import MICRO, Columns, Holding
from portfolio_margin.pairing_program import Chosen
from portfolio_margin.requirement import Contribution
from pricing.arrays import IntArray
from scenarios.risk_arrays import RiskArrays

LEVEL = "strategy"
PAIRINGS = ("initial pairing", "maintenance pairing")
ONE_PAIRING = "one pairing for both margins"


@dataclass(frozen=True)
class StrategyUsed:
    """One strategy of the cheapest pairing, margin currency.

    underlying, strategy, charge   names; charge, the column of the statement it stands in
    count        how often it is used, in steps of its options, or units of stock
    instrument   what it is made of, once per contract used
    required     what all of them ask for
    """

    underlying: str
    strategy: str
    charge: str
    count: float
    instrument: tuple[str, ...]
    required: float


class Solved(NamedTuple):
    """One account on one underlying: rows of its options in the book, row of its stock or -1, the problem, its columns,
    and the cheapest pairing for initial and maintenance margin."""

    account: int
    options: IntArray
    stock: int
    held: Holding
    columns: Columns
    chosen: tuple[Chosen, Chosen]


def _micro(amount: float) -> int:
    """Millionths of the margin currency, in the house's favour but for binary noise."""
    return int(np.ceil(amount * MICRO - 1e-3))


def amounts_by_charge(chosen: Chosen, held: Holding, side: int) -> dict[str, int]:
    """Millionths of the margin currency by charge."""
    total: dict[str, int] = {}
    for column, count in chosen.used:
        charge = chosen.columns.strategy[column].charge
        total[charge] = total.get(charge, 0) + count * _micro(float(chosen.cost[column]))
    if chosen.stock_alone > 0:
        total["stock"] = total.get("stock", 0) + _micro(chosen.stock_alone * chosen.stock_cost)
    return total


class _Use(NamedTuple):
    """One strategy of a pairing.

    charge, name   where its requirement is shown, and what the rules call it
    members        rows of the legs, once per step used
    times          how often it is formed
    shares         units of stock that one uses
    amounts        initial and maintenance margin of all of them, millionths
    """

    charge: str
    name: str
    members: tuple[int, ...]
    times: float
    shares: float
    amounts: tuple[int, int]


def strategy_lines(book: Book, arrays: RiskArrays, solved: Solved) -> list[Contribution]:
    """The lines of both pairings of one account on one underlying; of one where they are the same, with both amounts.

    The quantity of a line is what the strategy takes of the position, in contracts.
    """
    first, second = (_uses(solved, side) for side in (0, 1))
    if [use[:-1] for use in first] == [use[:-1] for use in second]:
        both = [a._replace(amounts=(a.amounts[0], b.amounts[1])) for a, b in zip(first, second, strict=True)]
        return _lines(book, arrays, solved, both, ONE_PAIRING)
    return _lines(book, arrays, solved, first, PAIRINGS[0]) + _lines(book, arrays, solved, second, PAIRINGS[1])


def _uses(solved: Solved, side: int) -> list[_Use]:
    """The strategies of one pairing; only its own side asks for anything."""
    chosen, uses = solved.chosen[side], []

    def amounts(micro: int) -> tuple[int, int]:
        return (micro, 0) if side == 0 else (0, micro)

    columns = chosen.columns
    for column, count in chosen.used:
        strategy, cost = columns.strategy[column], count * _micro(float(chosen.cost[column]))
        members, shares = columns.members[column], float(columns.shares[column])
        uses.append(_Use(strategy.charge, strategy.name, members, float(count), shares, amounts(cost)))
    if chosen.stock_alone > 0:
        cost = _micro(chosen.stock_alone * chosen.stock_cost)
        uses.append(_Use("stock", _stock_name(solved), (), 1.0, float(chosen.stock_alone), amounts(cost)))
    return uses


def _lines(book: Book, arrays: RiskArrays, solved: Solved, uses: list[_Use], pairing: str) -> list[Contribution]:
    lines, seen = [], dict[str, int]()
    for use in uses:
        seen[use.name] = seen.get(use.name, 0) + 1
        name = use.name if seen[use.name] == 1 else f"{use.name} ({seen[use.name]})"
        parts = _parts(solved, use, pairing)
        for position, (quantity, amounts) in parts.items():
            row = book.instrument_idx[position]
            place, instrument = f"{underlying_name(arrays, row)}, {pairing}", str(arrays.instrument_id[row])
            held = float(quantity * _unit(book, arrays, solved, position))
            exact = [Decimal(micro) / Decimal(int(MICRO)) for micro in amounts]
            lines.append(Contribution(use.charge, place, name, instrument, held, "", exact[0], exact[1], LEVEL))
    return lines


def _parts(solved: Solved, use: _Use, pairing: str) -> dict[int, tuple[float, list[int]]]:
    """Position in the book -> what a strategy takes of it (signed, steps of an option or units of stock), and its two
    amounts: the value of what is bought or sold, the rest with the stock, else with the first of what is sold."""
    legs, parts = solved.held.legs, dict[int, tuple[float, list[int]]]()
    sides = [side for side in (0, 1) if pairing in (ONE_PAIRING, PAIRINGS[side])]
    left = [use.amounts[0], use.amounts[1]]
    for m in use.members:
        position, long = int(solved.options[m]), bool(legs.long[m])
        taken, amounts = parts.get(position, (0.0, [0, 0]))
        value = int(use.times) * _micro(float(legs.value[m]) if long else -float(legs.value[m]))
        for side in sides:
            amounts[side] += value
            left[side] -= value
        parts[position] = (taken + (use.times if long else -use.times), amounts)
    if use.shares:
        sign = 1.0 if solved.held.stock > 0 else -1.0
        parts[solved.stock] = (sign * use.times * use.shares, left)
        return parts
    bearer = next((m for m in use.members if not legs.long[m]), use.members[0])
    amounts = parts[int(solved.options[bearer])][1]
    amounts[0], amounts[1] = amounts[0] + left[0], amounts[1] + left[1]
    return parts


def _unit(book: Book, arrays: RiskArrays, solved: Solved, position: int) -> float:
    """Contracts in one step of an option, or in one unit of stock."""
    row = book.instrument_idx[position]
    if position == solved.stock:
        return 1.0 / float(arrays.terms.multiplier[row])
    return float(arrays.quantity_step[row])


def _stock_name(solved: Solved) -> str:
    return "long stock" if solved.held.stock > 0 else "short stock"


def strategies_used(book: Book, arrays: RiskArrays, solved: Solved, side: int) -> list[StrategyUsed]:
    """The strategies of one pairing, for initial (side 0) or maintenance margin (1)."""
    chosen = solved.chosen[side]
    name = underlying_name(arrays, book.instrument_idx[solved.options[0] if len(solved.options) else solved.stock])
    names = arrays.instrument_id[book.instrument_idx]
    used = []
    for column, count in chosen.used:
        strategy, members = chosen.columns.strategy[column], chosen.columns.members[column]
        required = count * _micro(float(chosen.cost[column])) / MICRO
        legs = tuple(str(names[solved.options[m]]) for m in members)
        legs = (*legs, str(names[solved.stock])) if chosen.columns.shares[column] else legs
        used.append(StrategyUsed(name, strategy.name, strategy.charge, count, legs, required))
    if chosen.stock_alone > 0:
        required = _micro(chosen.stock_alone * chosen.stock_cost) / MICRO
        legs = (str(names[solved.stock]),)
        used.append(StrategyUsed(name, _stock_name(solved), "stock", chosen.stock_alone, legs, required))
    return used
