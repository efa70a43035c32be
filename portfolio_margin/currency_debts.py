"""currency_debts: what it costs to owe one currency and hold another, for models that move no balances themselves.

What a coin lacks and dollars or other coins must make up bears the price between them. For every coin, in every cell of
the model, the equity in the coin and everything else whose price hangs on it is revalued in the margin currency:

    E      equity in the coin: its balance and, where they are margined in the coin, the contracts paid in it
    a      the least that this equity is worth in any cell
    loss   the most that it and the contracts counted in dollars lose together in any cell
    own    the worst cell of contracts counted in the coin, at today's index, + that of those counted in dollars; added
           up over underlyings of the coin that the model margins apart
    gap    (loss - own - haircut of the coin held)+, what the price takes beyond what is asked for already

    charge = g x sum of gap over coins with a < 0  +  f x sum of gap over the others
    g      = min(1, what the other currencies have to spare / what is lacking), at today's index, after haircuts
    f      = min(1, what is lacking after these losses / sum of a over the others)

A coin that is owed costs its gap as far as there is anything to make it up, a coin that is held as far as it stands
against something owed; an account of one currency costs nothing. If own is charged at least, an account whose margin
balance covers the requirement is worth 0 or more whatever cell each coin ends in: where f < 1 by what f compares, where
f = 1 because own and all gaps cover all losses. Hedges inside a coin are those of the cells, so a coin held against
contracts sold nets with them, and nothing is counted twice. Underlyings of one coin that have the same moves are one
coin here, whether or not the model margins them together; those that may part are coins of their own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from decimal import localcontext
from typing import NamedTuple

import numpy as np

from portfolio_margin.balances_owed import CHARGE, NOISE_DIGITS, against
from portfolio_margin.blocks import BLOCK_NUMBERS, Block, blocks
from portfolio_margin.book import Book
from portfolio_margin.contributions import exact_amounts
from portfolio_margin.dollars import is_own_money
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.requirement import EXACT, Contribution, Requirement
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import NumericalError
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

# Moves of two underlyings are the same up to roundings, where a model states them in money and each has its spot.
ALIKE = 1e-12


@dataclass(frozen=True, eq=False)
class CurrencyCells:
    """How a model that margins currencies apart sees risk arrays.

    own     (N,K) P&L of one unit in the currency it settles in, at its value now, ticks; 0 for balances
    price   (U,K) price of each coin in the cells, per unit of today's
    family  (U,) -> U the first of the underlyings that stand for one coin and have the same moves
    unit    (U,) -> U the first of those of a family whose contracts the model margins together
    coin    (N,) is counted in a coin: balances, and contracts margined in it; all else counts as dollars
    haircut (N,) share of a balance held that does not count
    taken   (N,) False for assets that no account is of, which count for nothing
    """

    own: FloatArray
    price: FloatArray
    family: IntArray
    unit: IntArray
    coin: BoolArray
    haircut: FloatArray
    taken: BoolArray


class Debts(NamedTuple):
    """The charge by coin, (R,) each: account, underlying of the coin, ticks; owed False where the coin is held."""

    account: IntArray
    coin: IntArray
    ticks: FloatArray
    owed: BoolArray


class _Legs(NamedTuple):
    """Sums of a block, ticks: R coins of accounts, (R,) and (R,K); money (accounts,) by account.

    equity   value of what is counted in the coin;  cells, dollar_cells   P&L in coin and in dollars, at its value now
    of_coin, of_dollars   what the model asks for these, worst cells of units added up
    haircut  what does not count of the coin held
    """

    account: IntArray
    coin: IntArray
    equity: FloatArray
    cells: FloatArray
    dollar_cells: FloatArray
    of_coin: FloatArray
    of_dollars: FloatArray
    haircut: FloatArray
    money: FloatArray


def cells_by_currency(
    arrays: RiskArrays, own: FloatArray, moves: FloatArray, coins: list[str], taken: BoolArray
) -> CurrencyCells:
    """The cells of a model that margins every currency by itself.

    own    (N,K) P&L of contracts in the currency they settle in, ticks per unit
    moves  (U,K) relative moves of the underlyings
    coins  (U,) name of the coin of each underlying
    taken  (N,) False for what counts for nothing
    """
    mover = arrays.terms.currency_underlying[arrays.terms.currency_idx]
    cells = np.where((arrays.is_collateral | ~taken)[:, None], 0.0, own)
    family = _families(coins, moves)
    return CurrencyCells(cells, 1.0 + moves, family, family, (mover >= 0) & taken, np.where(taken, 0.0, 1.0), taken)


def cells_in_dollars(
    arrays: RiskArrays,
    rows: FloatArray,
    coins: list[str],
    haircut: FloatArray,
    money: BoolArray,
    together: IntArray | None = None,
) -> CurrencyCells:
    """The cells of a model that counts every contract in dollars: a coin is nothing but its balance.

    rows      (N,K) P&L of one unit as the model counts its scenarios, ticks, of assets as well
    coins     (U,) name of the coin of each underlying
    haircut   (N,) share of a balance held that does not count
    money     (N,) what is money to the model
    together  (U,) equal for underlyings that the model margins together; None where it margins each by itself
    """
    asset = arrays.is_collateral
    coin = asset & ~money & np.any(rows != 0.0, axis=1) & (arrays.underlying_idx >= 0) & (arrays.value_rows > 0.0)
    moves = np.zeros((len(arrays.underlying_id), rows.shape[1]))
    at = np.flatnonzero(coin)[::-1]
    moves[arrays.underlying_idx[at]] = rows[at] / arrays.value_rows[at, None]
    moves = _moves_of_coins(arrays, coins, moves, np.unique(arrays.underlying_idx[at]))
    own, every = np.where(asset[:, None], 0.0, rows), np.ones(len(arrays), np.bool_)
    family = _families(coins, moves)
    parts = np.arange(len(coins)) if together is None else together
    unit = _first_alike(list(zip(family.tolist(), parts.tolist(), strict=True)))
    return CurrencyCells(own, 1.0 + moves, family, unit, coin, haircut, every)


def _moves_of_coins(arrays: RiskArrays, coins: list[str], moves: FloatArray, known: IntArray) -> FloatArray:
    """(U,K) moves, those of underlyings without a balance being of the first one of their coin that the scenarios move
    alike; `known` are the underlyings with a balance."""
    shape = (len(arrays.scenario_set), len(coins))
    alike = np.broadcast_to(arrays.scenario_set.price_move, shape).T
    source = np.arange(len(coins))
    for u in np.setdiff1d(source, known):
        ours = [v for v in known if coins[v] == coins[u]]
        same = [v for v in ours if np.allclose(alike[v], alike[u], rtol=0.0, atol=ALIKE)]
        source[u] = same[0] if same else u
    return moves[source]


def _families(coins: list[str], moves: FloatArray) -> IntArray:
    return _first_alike([(coin, tuple(row)) for coin, row in zip(coins, moves.tolist(), strict=True)])


def _first_alike(keys: Sequence[Hashable]) -> IntArray:
    """(U,) -> U the first with the same key."""
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(key, place) for place, key in enumerate(keys)], dtype=np.int64)


def coins_or_money(arrays: RiskArrays, view: CurrencyCells) -> BoolArray:
    """(N,) assets whose balance owed is charged here, and what is money."""
    moves = np.append(np.any(view.price > 1.0, axis=1), False)[arrays.underlying_idx]
    return np.asarray(is_own_money(arrays) | (arrays.is_collateral & view.coin & moves))


def with_currency_debts(
    required: Requirement,
    book: Book,
    arrays: RiskArrays,
    view: CurrencyCells,
    factors: tuple[float, float],
    *,
    backend: str,
    threads: int | None,
) -> Requirement:
    """A requirement with the charge on top of it, times `factors` of initial and maintenance margin.

    NumericalError where ticks cannot hold it exactly.
    """
    sums = np.zeros(len(book))
    debts = currency_debts(book, arrays, view, backend=backend, threads=threads)
    # Whole ticks add up exactly in any order.
    np.add.at(sums, debts.account, debts.ticks)
    if arrays.tick is not None and sums.max(initial=0.0) > EXACT_LIMIT:
        raise NumericalError(
            f"account {book.account_id[np.argmax(sums)]} owes too much for exact sums at tick {arrays.tick:g}"
        )
    amounts = (sums * arrays.tick_size)[:, None] * np.array(factors)
    charges = {**required.charges, CHARGE: required.charges.get(CHARGE, 0.0) + amounts}
    initial, maintenance = required.initial + amounts[:, 0], required.maintenance + amounts[:, 1]
    return required._replace(initial=initial, maintenance=maintenance, charges=charges)


def currency_debt_lines(
    book: Book, arrays: RiskArrays, view: CurrencyCells, factors: tuple[float, float]
) -> list[Contribution]:
    """The charge of the one account of `book`, coin by coin."""
    debts, lines = currency_debts(book, arrays, view, backend="numpy", threads=1), []
    with localcontext(EXACT):
        for coin, ticks, owed in zip(debts.coin, debts.ticks, debts.owed, strict=True):
            name, amounts = str(arrays.underlying_id[coin]), exact_amounts(float(ticks), arrays, factors)
            text = f"{name} owed" if owed else f"{name} held against what is owed"
            lines.append(Contribution(CHARGE, name, "", text, 0.0, "", *amounts))
    return lines


def currency_debts(
    book: Book, arrays: RiskArrays, view: CurrencyCells, *, backend: str = "numba", threads: int | None = None
) -> Debts:
    """The charge of every account by coin; whole ticks, rounded up, where the arrays are rounded."""
    chosen = _several_currencies(book, arrays, view)
    if not chosen.any():
        none = np.zeros(0, np.int64)
        return Debts(none, none, np.zeros(0), np.zeros(0, np.bool_))
    several = book.keep(chosen[book_account(book)])
    (rows, counted), count = _rows_of(arrays, view), view.own.shape[1]
    accounts = max(BLOCK_NUMBERS // rows.shape[1], 1)

    def sums(values: FloatArray, haircut: FloatArray | None) -> Iterator[Block]:
        numbers, by = accounts * values.shape[1], "underlying"
        return blocks(
            several, arrays, values, by=by, haircut=haircut, backend=backend, threads=threads, numbers=numbers
        )

    found = []
    for block, after in zip(sums(rows, None), sums(counted, view.haircut), strict=True):
        legs = _legs(block, after, view, count)
        ticks, owed = _charge(legs, view.price[legs.coin])
        if arrays.tick is not None:
            ticks = np.ceil(np.round(ticks, NOISE_DIGITS)) + 0.0
        some = ticks > 0.0
        found.append(Debts(block.first + legs.account[some], legs.coin[some], ticks[some], owed[some]))
    return Debts(*(np.concatenate(column) for column in zip(*found, strict=True)))


@of_arrays
def _rows_of(arrays: RiskArrays, view: CurrencyCells) -> tuple[FloatArray, FloatArray]:
    """(N,2K+1) cells counted in the coin, those counted in dollars, and what is worth something in the coin; (N,2) what
    is worth something in the coin and in dollars; ticks."""
    value, in_coin = (arrays.value_rows * view.taken)[:, None], view.coin[:, None]
    counted = np.column_stack([value * in_coin, value * ~in_coin])
    return np.column_stack([view.own * in_coin, view.own * ~in_coin, counted[:, :1]]), counted


def book_account(book: Book) -> IntArray:
    """(P,) row of the account of each position."""
    return np.repeat(np.arange(len(book)), np.diff(book.position_ptr))


def _several_currencies(book: Book, arrays: RiskArrays, view: CurrencyCells) -> BoolArray:
    """(A,) accounts that hold or owe more than one coin, or a coin and dollars: all others bear no price."""
    row = book.instrument_idx
    owner = np.append(view.family, -1)[arrays.underlying_idx[row]]
    currency = np.where(view.coin[row], owner, -1)
    there = (book.quantity != 0.0) & view.taken[row]
    account = book_account(book)[there]
    least, most = np.full(len(book), len(view.family)), np.full(len(book), -2)
    np.minimum.at(least, account, currency[there])
    np.maximum.at(most, account, currency[there])
    return np.asarray(least < most)


def _legs(block: Block, counted: Block, view: CurrencyCells, count: int) -> _Legs:
    """Underlyings of one coin put together, `counted` after haircuts; whole ticks add up exactly."""
    inside, width = block.key >= 0, max(len(view.family), 1)
    sums = np.column_stack([block.ticks, counted.ticks[:, 0]])[inside]
    code, sums = _put_together(block.account[inside] * width + view.unit[block.key[inside]], sums)
    worst = [
        np.maximum(-cells.min(axis=1, initial=0.0), 0.0) for cells in (sums[:, :count], sums[:, count : 2 * count])
    ]
    code, sums = _put_together(code - code % width + view.family[code % width], np.column_stack([sums, *worst]))
    return _Legs(
        account=code // width,
        coin=code % width,
        equity=sums[:, 2 * count],
        cells=sums[:, :count],
        dollar_cells=sums[:, count : 2 * count],
        of_coin=sums[:, -2],
        of_dollars=sums[:, -1],
        haircut=sums[:, 2 * count] - sums[:, 2 * count + 1],
        money=block.by_account(counted.ticks[:, 1]),
    )


def _put_together(code: IntArray, values: FloatArray) -> tuple[IntArray, FloatArray]:
    """Codes that occur, ascending, and the sums of the rows of each."""
    known, place = np.unique(code, return_inverse=True)
    if len(known) == len(code):
        return known, values[np.argsort(code)]
    sums = np.zeros((len(known), values.shape[1]))
    np.add.at(sums, place, values)
    return known, sums


def _charge(legs: _Legs, price: FloatArray) -> tuple[FloatArray, BoolArray]:
    """(R,) the charge of each coin, in ticks, and whether it is owed; price (R,K) of the coin in the cells."""

    def by_account(values: FloatArray) -> FloatArray:
        total = np.zeros(len(legs.money))
        np.add.at(total, legs.account, values)
        return total

    equity = legs.equity[:, None]
    worth = (equity + legs.cells) * price
    least = worth.min(axis=1, initial=np.inf)
    loss = legs.equity - (worth + legs.dollar_cells).min(axis=1, initial=np.inf)
    gap = np.maximum(loss - legs.of_coin - legs.of_dollars - legs.haircut, 0.0)
    owed = least < 0.0
    dollars, spare = legs.money - by_account(legs.of_dollars), legs.equity - legs.haircut - legs.of_coin
    lacking = by_account(np.where(owed, np.maximum(-spare, 0.0), 0.0)) + np.maximum(-dollars, 0.0)
    others = by_account(np.where(owed, 0.0, np.maximum(spare, 0.0))) + np.maximum(dollars, 0.0)
    lacking_then = by_account(np.where(owed, -least, 0.0)) - dollars
    share_owed = against(others, lacking)
    share_held = against(lacking_then, by_account(np.where(owed, 0.0, least)))
    return gap * np.where(owed, share_owed[legs.account], share_held[legs.account]), owed
