"""Deribit's risk vectors: what the matrix and the shocks beside it cost an account.

Every coin of an account has a vector of cells, all its underlyings together (BTC and BTC_USDC). Gains count in part
(pnl_offset, at most max_offsetable_pnl), extended cells are damped towards zero, and the worst cell is what the coin
costs. Coins add up; those in a correlation set share one worst cell, and part of what that saves is charged as
correlation contingency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.blocks import BLOCK_NUMBERS, Block, blocks
from portfolio_margin.book import Book
from portfolio_margin.collateral import segregated_assets
from portfolio_margin.currency_debts import CurrencyCells, with_currency_debts
from portfolio_margin.deribit_matrix import Params, Terms
from portfolio_margin.order_bounds import Excess, Reach, debts_ceiling, most, per_contract, range_of, turning_rates
from portfolio_margin.requirement import Requirement, european_on_coins
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.instruments import Kind
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

CHARGES = ("worst_case", "roll_shock", "delta_shock", "correlation_contingency")


def no_segregated_rule(arrays: RiskArrays) -> StrArray:
    """(N,) why a segregated account has no rule for an asset or contract: tokens, early exercise, stocks."""
    assets = segregated_assets(arrays)
    return np.where(assets != "", assets, european_on_coins(arrays, "Deribit"))


@dataclass(frozen=True, eq=False)
class Vectors:
    """One set of risk vectors: contracts that are summed together, underlying by underlying.

    rows      (N,S) cells in ticks per unit; 0 for what does not belong here
    delta     (N,) value of the delta at the index, in ticks per unit
    dampener  (U,S) ticks
    together  (U,) True for underlyings that share one worst cell
    """

    rows: FloatArray
    delta: FloatArray
    dampener: FloatArray
    together: BoolArray


@dataclass(frozen=True, eq=False)
class Portfolio:
    """A book's view on the matrix: what one of the two models makes of risk arrays.

    params, terms  parameters, and what they mean for the arrays
    vectors        the sets of risk vectors; their costs add up
    legs           (N,K) `delta` of each settlement leg, whose roll shocks add up without netting
    haircut        (N,) share of a long balance that does not count, or None
    currencies     the standard cells by currency, where the vectors hold no balances, or None
    """

    params: Params
    terms: Terms
    vectors: tuple[Vectors, ...]
    legs: FloatArray
    haircut: FloatArray | None = None
    currencies: CurrencyCells | None = None

    @property
    def factors(self) -> tuple[float, float]:
        """Of initial and maintenance margin."""
        return 1.0, float(self.params.mm_factor)


@of_arrays
def delta_rows(arrays: RiskArrays) -> FloatArray:
    """(N,) delta of each contract in coins, valued at the index, in ticks per unit; 0 for collateral.

    Options count with their Black delta, also where the coin is the margin currency: a premium held in coin is equity.
    """
    terms = arrays.terms
    held = terms.is_inverse & (terms.currency_underlying[terms.currency_idx] < 0)
    expiry = np.maximum(arrays.expiry_idx, 0)
    at_index = terms.spot[np.maximum(arrays.underlying_idx, 0)] / terms.forward[expiry]
    delta = np.where(terms.is_inverse, arrays.delta + np.where(held, arrays.value, 0.0), arrays.delta * at_index)
    return in_ticks(np.where(arrays.is_collateral, 0.0, delta * arrays.unit / arrays.tick_size)[:, None], arrays)[:, 0]


def own_currency(arrays: RiskArrays) -> FloatArray:
    """(N,S) P&L in the settlement currency at its value now, in ticks per unit.

    A contract worth V that gains G in margin currency while its coin moves by m gains (V + G) / (1 + m) - V.
    """
    moves = np.broadcast_to(arrays.scenario_set.price_move, (arrays.rows.shape[1], len(arrays.underlying_id))).T
    mover = arrays.terms.currency_underlying[arrays.terms.currency_idx]
    moved = np.where((mover >= 0)[:, None], moves[np.maximum(mover, 0)], 0.0)
    value = arrays.value_rows[:, None]
    return np.asarray((arrays.rows + value) / (1.0 + moved) - value)


def in_ticks(rows: FloatArray, arrays: RiskArrays) -> FloatArray:
    """Rows of contracts as whole ticks, where the arrays are rounded."""
    if arrays.tick is None:
        return rows
    return np.where(arrays.is_collateral[:, None], rows, np.rint(rows)) + 0.0


def aggregated(cells: FloatArray, underlying: IntArray, vectors: Vectors, terms: Terms, tick: float) -> FloatArray:
    """(R,S) cells with gains cut to what offsets and extended cells damped; cells in ticks of size `tick`."""
    limit = (terms.cap / tick)[underlying, None]
    gains = np.minimum(np.maximum(cells, 0.0) * terms.offset[underlying, None], limit)
    cut = np.minimum(cells, 0.0) + gains
    size = np.abs(cut)
    return np.asarray(np.sign(cut) * (size - np.minimum(size, vectors.dampener[underlying])) + 0.0)


def worst_cell(cells: FloatArray) -> tuple[FloatArray, IntArray]:
    """(R,) loss in the worst cell, 0 or more, and its column; the first of equal ones."""
    column = np.argmin(cells, axis=1)
    return np.maximum(-cells[np.arange(len(cells)), column], 0.0), column


def shock_of_delta(
    total: FloatArray, long_options: FloatArray, terms: Terms, rows: IntArray, tick: float
) -> FloatArray:
    """(R,) delta shock in ticks, from deltas in ticks: long options may lessen the delta of the rest, not turn it.

    min((|d| index - threshold)+ |d| m_inc, max_delta_shock |d| index), d in coins.
    """
    rest = total - long_options
    lessened = np.where(rest < 0.0, np.minimum(np.maximum(total, rest), 0.0), np.maximum(np.minimum(total, rest), 0.0))
    size = np.abs(lessened)
    above = np.maximum(size - (terms.threshold / tick)[rows], 0.0)
    coins = size * tick / terms.unit[rows]
    return np.asarray(np.minimum(above * coins * terms.m_inc[rows], terms.max_shock[rows] * size))


def requirement(
    book: Book, arrays: RiskArrays, portfolio: Portfolio, *, backend: str, threads: int | None
) -> Requirement:
    """Requirement of every account; charges are those of CHARGES, in the venue's words."""
    ticks = {name: np.zeros(len(book)) for name in CHARGES}
    largest, scenario = np.zeros(len(book)), np.full(len(book), -1)
    for vectors in portfolio.vectors:
        for block, longs in _by_coin(book, arrays, vectors, portfolio, backend, threads):
            here = slice(block.first, block.last)
            loss, column, saved = _losses(block, vectors, portfolio.terms)
            ticks["worst_case"][here] += block.by_account(loss)
            if portfolio.params.correlation_contingency is not None:
                ticks["correlation_contingency"][here] += saved * portfolio.params.correlation_contingency
            if portfolio.params.delta_shock != "none":
                deltas = block.ticks[:, -1], longs.ticks[:, 0]
                shock = shock_of_delta(*deltas, portfolio.terms, block.key, arrays.tick_size)
                ticks["delta_shock"][here] += block.by_account(shock)
            _keep_largest(largest[here], scenario[here], block.account, loss, column)
    for block in blocks(book, arrays, portfolio.legs, by="expiry", backend=backend, threads=threads):
        factor = np.append(portfolio.terms.roll, 0.0)[block.key]
        shock = np.abs(block.ticks).sum(axis=1) * factor
        ticks["roll_shock"][block.first : block.last] = block.by_account(shock)
    amounts = {name: values * arrays.tick_size for name, values in ticks.items()}
    charges = {name: amount[:, None] * np.array(portfolio.factors) for name, amount in amounts.items()}
    total = sum(charges.values())
    required = Requirement(total[:, 0], total[:, 1], scenario, charges)
    if portfolio.currencies is None:
        return required
    return with_currency_debts(
        required, book, arrays, portfolio.currencies, portfolio.factors, backend=backend, threads=threads
    )


def order_excess(arrays: RiskArrays, portfolio: Portfolio, reach: Reach) -> tuple[Excess, ...]:
    """Two bounds for open orders: the dampener counted by contract, and counted once for every part."""
    terms, tick, count = portfolio.terms, arrays.tick_size, len(arrays.underlying_id)
    ceilings, limited = {"delta_shock": 0.0}, np.zeros(len(arrays))
    damped, once = np.zeros(len(arrays)), 0.0
    turning = np.zeros(len(arrays))
    for vectors in portfolio.vectors:
        # Cash that no underlying moves stands with the first coin.
        coin = terms.family[np.maximum(arrays.underlying_idx, 0)] if count else np.full(len(arrays), -1)
        rows = per_contract(arrays, vectors.rows)
        gains = most(reach, rows, coin, count, portfolio.haircut) * terms.offset[:, None]
        binds = (gains > terms.cap[:, None])[coin] if count else np.zeros(rows.shape, np.bool_)
        offset = terms.offset[coin][:, None] if count else 0.0
        limited += np.max(np.where(binds, np.abs(rows) * offset, 0.0), axis=1, initial=0.0)
        damped += np.max(np.where(terms.extended, np.abs(rows), 0.0), axis=1, initial=0.0)
        once += float(vectors.dampener.max(axis=1, initial=0.0)[np.unique(coin)].sum()) * tick if count else 0.0
        if portfolio.haircut is not None:
            turning += turning_rates(arrays, portfolio.haircut, 1.0, vectors.rows)
        if count and portfolio.params.delta_shock != "none":
            delta = range_of(reach, per_contract(arrays, vectors.delta[:, None]), coin, count)[:, 0] / tick
            shock = shock_of_delta(delta, np.zeros(count), terms, np.arange(count), tick)
            ceilings["delta_shock"] += float(shock.sum()) * tick
    if portfolio.currencies is not None:
        ceilings[CHARGE] = debts_ceiling(arrays, portfolio.currencies, reach, portfolio.factors[0])
    by_contract = Excess(limited + damped + turning, ceilings)
    return by_contract, Excess(limited + turning, ceilings, once * (reach.parts - 1))


@of_arrays
def _with_delta(arrays: RiskArrays, vectors: Vectors) -> tuple[FloatArray, FloatArray]:
    """(N,S+1) cells and delta, and (N,1) delta alone."""
    return np.column_stack([vectors.rows, vectors.delta]), np.ascontiguousarray(vectors.delta[:, None])


def _by_coin(
    book: Book, arrays: RiskArrays, vectors: Vectors, portfolio: Portfolio, backend: str, threads: int | None
) -> Iterator[tuple[Block, Block]]:
    """Blocks of cells and delta by coin, and the delta of long options in the same rows; cash that no underlying moves
    gains nothing and stands with the first coin."""
    rows, deltas = _with_delta(arrays, vectors)
    accounts = BLOCK_NUMBERS // rows.shape[1]
    longs = book.holding(long_options(book, arrays))
    family = portfolio.terms.family

    def sums(held: Book, values: FloatArray, haircut: FloatArray | None) -> Iterator[Block]:
        numbers = accounts * values.shape[1]
        by = {"by": "underlying", "backend": backend}
        found = blocks(held, arrays, values, **by, haircut=haircut, threads=threads, numbers=numbers)
        return (_merged(block, family) for block in found)

    yield from zip(sums(book, rows, portfolio.haircut), sums(longs, deltas, None), strict=True)


def _merged(block: Block, family: IntArray) -> Block:
    """The block with the rows of one coin in one, keyed by its first underlying; whole ticks add up exactly."""
    if not len(family):
        return replace(block, account=block.account[:0], key=block.key[:0], ticks=block.ticks[:0])
    coin = family[np.maximum(block.key, 0)]
    code = block.account * len(family) + coin
    known, place = np.unique(code, return_inverse=True)
    if len(known) == len(code):
        return replace(block, key=coin)
    ticks = np.zeros((len(known), block.ticks.shape[1]))
    np.add.at(ticks, place, block.ticks)
    return replace(block, account=known // len(family), key=known % len(family), ticks=ticks)


def long_options(book: Book, arrays: RiskArrays) -> FloatArray:
    """(P,) quantity of positions that are long options, 0 of others."""
    option = arrays.kind[book.instrument_idx] == Kind.OPTION
    return np.where(option & (book.quantity > 0), book.quantity, 0.0)


def _losses(block: Block, vectors: Vectors, terms: Terms) -> tuple[FloatArray, IntArray, FloatArray]:
    """(R,) loss of each row, that of a correlation set in its first row, and the column; (accounts,) what sets save."""
    cells = aggregated(block.ticks[:, :-1], block.key, vectors, terms, block.tick_size)
    loss, column = worst_cell(cells)
    saved = np.zeros(len(block))
    member = vectors.together[block.key]
    if np.any(member):
        account = block.account[member]
        joint = np.zeros((len(block), cells.shape[1]))
        np.add.at(joint, account, cells[member])
        held, first = np.unique(account, return_index=True)
        shared, where = worst_cell(joint[held])
        np.add.at(saved, account, loss[member])
        saved[held] -= shared
        place = np.flatnonzero(member)[first]
        loss[member] = 0.0
        loss[place], column[place] = shared, where
    return loss, column, saved


def _keep_largest(
    largest: FloatArray, scenario: IntArray, account: IntArray, loss: FloatArray, column: IntArray
) -> None:
    """Enter the cell of the underlying that loses most, the first of equal ones, into `scenario`."""
    before = largest.copy()
    np.maximum.at(largest, account, loss)
    rows = np.flatnonzero((loss > before[account]) & (loss == largest[account]))[::-1]
    scenario[account[rows]] = column[rows]
