"""What an account holds or owes beside the contracts that a file scans: coins, stocks, other money.

Owed, an asset costs its haircut or, where the scenarios move it and that is more, its largest rise; held, the fall
beyond its haircut as far as it stands against something owed (`portfolio_margin.currency_debts`).
"""

from __future__ import annotations

import numpy as np

from portfolio_margin.balances_owed import BalanceRates, balance_lines, owed_rates, with_balances
from portfolio_margin.book import Book
from portfolio_margin.currency_debts import CurrencyCells, cells_in_dollars, currency_debt_lines, with_currency_debts
from portfolio_margin.deribit_matrix import coin_of
from portfolio_margin.requirement import Contribution, Requirement
from portfolio_margin.span.rules import SpanRules
from pricing.arrays import BoolArray, FloatArray, IntArray
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

FACTORS = (1.0, 1.0)


def debts_charged(arrays: RiskArrays, rules: SpanRules, haircut: FloatArray) -> BoolArray:
    """(N,) assets whose balance owed costs margin, and money; haircut (N,) of a balance held."""
    beside, rows = _beside(arrays, rules)
    scanned, money = arrays.is_collateral & ~beside, arrays.instrument_id == arrays.currency
    charged = beside & (np.any(rows > 0.0, axis=1) | (haircut * arrays.value_rows > 0.0))
    return np.asarray(scanned | money | charged)


def with_debts(
    required: Requirement,
    book: Book,
    arrays: RiskArrays,
    rules: SpanRules,
    haircut: FloatArray,
    *,
    backend: str,
    threads: int | None,
) -> Requirement:
    """A requirement with the charge for what is owed on top of it, initial and maintenance margin alike."""
    beside = with_balances(required, book, arrays, rates_beside(arrays, rules, haircut))
    cells = cells_beside(arrays, rules, haircut)
    return with_currency_debts(beside, book, arrays, cells, FACTORS, backend=backend, threads=threads)


def debt_lines(book: Book, arrays: RiskArrays, rules: SpanRules, haircut: FloatArray) -> list[Contribution]:
    """The charge of the one account of `book`: balances with a haircut, then coin by coin."""
    lines = balance_lines(book, arrays, rates_beside(arrays, rules, haircut))
    return lines + currency_debt_lines(book, arrays, cells_beside(arrays, rules, haircut), FACTORS)


def _beside(arrays: RiskArrays, rules: SpanRules) -> tuple[BoolArray, FloatArray]:
    """(N,) assets that the file does not scan, and (N,S) P&L of one unit of them in ticks, 0 for all else."""
    beside = arrays.is_collateral & ~rules.covered
    return beside, np.where(beside[:, None], arrays.rows, 0.0)


@of_arrays
def rates_beside(arrays: RiskArrays, rules: SpanRules, haircut: FloatArray) -> BalanceRates:
    """The haircut of what is owed, as far as it is more than the largest rise."""
    beside, rows = _beside(arrays, rules)
    money = arrays.instrument_id == arrays.currency
    more = np.maximum(haircut * arrays.value_rows - rows.max(axis=1, initial=0.0), 0.0)
    return owed_rates(arrays, np.where(beside & ~money, more, 0.0), haircut, money)


@of_arrays
def cells_beside(arrays: RiskArrays, rules: SpanRules, haircut: FloatArray) -> CurrencyCells:
    """What is held or owed beside the scan; contracts are all counted in money."""
    _, beside = _beside(arrays, rules)
    rows = np.where(arrays.is_collateral[:, None], beside, arrays.rows)
    coins = [coin_of(str(name)) for name in arrays.underlying_id]
    money = arrays.instrument_id == arrays.currency
    return cells_in_dollars(arrays, rows, coins, haircut, money, _scanned_together(arrays, rules))


def _scanned_together(arrays: RiskArrays, rules: SpanRules) -> IntArray:
    """(U,) the first underlying whose contracts are in one commodity with those of each; with credits between
    commodities, which take off what each is scanned for, all are counted as one."""
    group = np.arange(len(arrays.underlying_id))
    if rules.before or rules.between:
        return np.zeros_like(group)
    ours = rules.covered & (arrays.underlying_idx >= 0)
    pairs = np.unique(np.column_stack([rules.commodity[ours], arrays.underlying_idx[ours]]), axis=0)
    commodities, count = np.unique(pairs[:, 0], return_counts=True)
    for commodity in commodities[count > 1]:
        inside = np.unique(group[pairs[pairs[:, 0] == commodity, 1]])
        group[np.isin(group, inside)] = inside[0]
    return group
