"""What each position adds to Deribit's risk vectors and the shocks beside them; of one account, exact."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks, underlying_name
from portfolio_margin.currency_debts import currency_debt_lines
from portfolio_margin.deribit_vectors import (
    Portfolio,
    Vectors,
    aggregated,
    long_options,
    shock_of_delta,
    worst_cell,
)
from portfolio_margin.requirement import EXACT, Contribution
from pricing.arrays import FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays

# What a group of coins with one worst cell is called.
SHARED = {"worst_each": "correlation set", "cell_by_cell": "all coins"}


def contributions(book: Book, arrays: RiskArrays, portfolio: Portfolio) -> list[Contribution]:
    """The requirement of the one account of `book`: positions in the worst cell of their underlying, what dampener and
    limits change of it, each position's share of the roll shock of its expiry, the delta shock by underlying."""
    lines: list[Contribution] = []
    with localcontext(EXACT):
        for vectors in portfolio.vectors:
            lines += _matrix_lines(book, arrays, vectors, portfolio)
        lines += _roll_lines(book, arrays, portfolio)
        for vectors in portfolio.vectors:
            lines += _delta_lines(book, arrays, vectors, portfolio)
    if portfolio.currencies is None:
        return lines
    return lines + currency_debt_lines(book, arrays, portfolio.currencies, portfolio.factors)


def _coin(book: Book, arrays: RiskArrays, portfolio: Portfolio) -> IntArray:
    """(P,) first underlying of the coin of each position, -1 for cash that none moves."""
    owner = arrays.underlying_idx[book.instrument_idx]
    return np.where(owner >= 0, np.append(portfolio.terms.family, -1)[owner], -1)


class Group(NamedTuple):
    """Coins with one worst cell: their name, the positions of them, and the cells of each, as they count, in ticks."""

    name: str
    positions: IntArray
    cells: FloatArray


def groups(book: Book, arrays: RiskArrays, vectors: Vectors, portfolio: Portfolio) -> tuple[FloatArray, list[Group]]:
    """(P,S) ticks of every position, and what is held of one set of vectors by groups of coins."""
    product = position_ticks(book, arrays, vectors.rows, haircut=portfolio.haircut)
    owner = _coin(book, arrays, portfolio)
    known = np.unique(owner[owner >= 0])
    sums = np.array([product[owner == u].sum(axis=0) for u in known]).reshape(len(known), product.shape[1])
    cells = aggregated(sums, known, vectors, portfolio.terms, arrays.tick_size)
    member = vectors.together[known]
    sets = [known[[k]] for k in np.flatnonzero(~member)] + ([known[member]] if member.any() else [])
    names = [str(arrays.underlying_id[g[0]]) if len(g) == 1 else SHARED[portfolio.params.coins] for g in sets]
    parts = [(np.flatnonzero(np.isin(owner, group)), cells[np.isin(known, group)]) for group in sets]
    return product, [Group(name, *part) for name, part in zip(names, parts, strict=True)]


def _matrix_lines(book: Book, arrays: RiskArrays, vectors: Vectors, portfolio: Portfolio) -> list[Contribution]:
    product, held = groups(book, arrays, vectors, portfolio)
    lines: list[Contribution] = []
    for name, mine, cells in held:
        loss, column = worst_cell(cells.sum(axis=0, keepdims=True))
        if loss[0] > 0.0:
            positions = mine[product[mine, column[0]] != 0.0]
            lines += _worst_lines(
                book, arrays, product[:, column[0]], positions, (name, float(loss[0]), int(column[0])), portfolio
            )
        saved = float(worst_cell(cells)[0].sum() - loss[0])
        share = portfolio.params.correlation_contingency
        if len(cells) > 1 and share is not None and saved > 0.0:
            amounts = exact_amounts(saved * share, arrays, portfolio.factors)
            lines.append(
                Contribution("correlation_contingency", name, "", "share of what the set saves", 0.0, "", *amounts)
            )
    return lines


def _worst_lines(
    book: Book,
    arrays: RiskArrays,
    ticks: FloatArray,
    positions: IntArray,
    worst: tuple[str, float, int],
    portfolio: Portfolio,
) -> list[Contribution]:
    """Positions in the worst cell; one more line for what limits on gains and the dampener make of their sum."""
    name, loss, column = worst
    label = str(arrays.scenario_set.label[column])
    lines, left = [], Decimal(loss)
    for p in positions:
        amounts = exact_amounts(-float(ticks[p]), arrays, portfolio.factors)
        lines.append(position_line(book, arrays, int(p), "worst_case", amounts, netting_set=name, scenario=label))
        left += Decimal(float(ticks[p]))
    if left != 0:
        amounts = exact_amounts(left, arrays, portfolio.factors)
        lines.append(Contribution("worst_case", name, "", "dampener and limits on gains", 0.0, label, *amounts))
    return lines


def _roll_lines(book: Book, arrays: RiskArrays, portfolio: Portfolio) -> list[Contribution]:
    product = position_ticks(book, arrays, portfolio.legs)
    expiry = arrays.expiry_idx[book.instrument_idx]
    lines = []
    for x in np.unique(expiry[expiry >= 0]):
        here = np.flatnonzero(expiry == x)
        side = np.sign(product[here].sum(axis=0))
        share = (product[here] * side).sum(axis=1) * portfolio.terms.roll[x]
        for p, ticks in zip(here[share != 0.0], share[share != 0.0], strict=True):
            name = underlying_name(arrays, int(book.instrument_idx[p]))
            amounts = exact_amounts(float(ticks), arrays, portfolio.factors)
            lines.append(position_line(book, arrays, int(p), "roll_shock", amounts, netting_set=name))
    return lines


def _delta_lines(book: Book, arrays: RiskArrays, vectors: Vectors, portfolio: Portfolio) -> list[Contribution]:
    if portfolio.params.delta_shock == "none":
        return []
    owner = _coin(book, arrays, portfolio)
    longs = replace(book, quantity=long_options(book, arrays))
    total, options = (position_ticks(b, arrays, vectors.delta[:, None])[:, 0] for b in (book, longs))
    lines = []
    for u in np.unique(owner[owner >= 0]):
        sums = [np.array([values[owner == u].sum()]) for values in (total, options)]
        shock = shock_of_delta(sums[0], sums[1], portfolio.terms, np.array([u]), arrays.tick_size)[0]
        if shock > 0.0:
            name, amounts = str(arrays.underlying_id[u]), exact_amounts(float(shock), arrays, portfolio.factors)
            lines.append(Contribution("delta_shock", name, "", "delta above the threshold", 0.0, "", *amounts))
    return lines
