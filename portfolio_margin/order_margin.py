"""Margin for open orders, under any margin model: what the account could lose in funds if the worst of them filled.

    order margin = available funds as they stand - least available funds after any subset T of the orders filled

with what a fill pays or receives at its limit booked in the settlement currency. It is asked for beside the initial
margin of the positions; maintenance margin, by which accounts are liquidated, does not know orders. An order fills
wholly or not at all: available funds that are concave in the quantity of a fill are least at one of the two ends.

Three ways to the least, the first that applies:

  exact, worst loss   the model is a worst loss with a floor of options sold (`order_table`): maxima over scenarios and
                      over subsets change places (`worst_fill`), for any number of orders; not where a balance of coins
                      could turn its sign
  exact, all subsets  at most ENUMERATED orders: the model margins the account after every subset
  bound               more orders, of a model that states `excess_rates`, (N,) x with

                        funds(a + b) >= funds(a) + funds(b) - sum over i of |b_i| x_i   for all books a and b

                      Orders are cut into groups of contracts that stand close together; the one that is worst alone is
                      tried in all subsets with the account, every other one in all subsets alone:

                        order margin <= worst of the first with the account
                                        + sum over the other groups of (-least funds alone + sum |b_i| x_i)

A model that states no rates is refused for an account with more orders, by name: there is no number that would be safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.convexity import declared_excess
from portfolio_margin.fills import Additions, merged
from portfolio_margin.ledger import Positions, book_of
from portfolio_margin.order_table import (
    INITIAL_FACTOR,
    LONG_WEIGHT,
    NETTING_SET,
    SHORT_TICKS,
    OrderTable,
    rank_of,
)
from portfolio_margin.requirement import MarginModel
from portfolio_margin.worst_fill import OpenOrders, check_orders, worst_fill
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.risk_arrays import RiskArrays

# Orders of one account whose subsets are all tried, 4,096 of them.
ENUMERATED = 12
# Orders of one group of a bound, 256 subsets.
GROUP = 8
# Accounts after fills that are margined at once.
AT_ONCE = 16_384
# Available funds are off by a money step for either rounding; a bound takes both from the account.
ROUNDINGS = 2.0
NO_ORDERS, EXACT, BOUND = range(3)
METHODS = ("", "exact", "bound")

# Available funds (A,) of the accounts of a book, and (A,) whether one bears risk that the model has no rule for.
Funds = Callable[[Book], tuple[FloatArray, BoolArray]]


class OrderMargins(NamedTuple):
    """What open orders ask for beside the initial margin of the positions.

    orders      the orders
    added       (A,) margin currency, 0 or more
    method      (A,) -> METHODS; "" for accounts without orders
    filled      (O,) True for the orders of the subset that `added` is of; of a bound, those that it adds up
    unmargined  (A,) True where an order could fill, or a debt begin, that the model has no rule for
    left_out    "account instrument: order, reason" for every order that the model has no rule for
    """

    orders: OpenOrders
    added: FloatArray
    method: IntArray
    filled: BoolArray
    unmargined: BoolArray
    left_out: tuple[str, ...]

    @property
    def method_names(self) -> StrArray:
        """(A,) "exact" or "bound", "" for accounts without orders."""
        return np.array(METHODS)[self.method]


class _Tried(NamedTuple):
    """Subsets of orders that are tried on one account.

    account  row, -1 for an account that holds nothing
    own      (o,) rows of the orders
    subsets  (K,o) which of them fill; the first is none of them
    """

    account: int
    own: IntArray
    subsets: BoolArray


class _Ask(NamedTuple):
    """What every step takes."""

    book: Book
    arrays: RiskArrays
    orders: OpenOrders
    funds: Funds
    step: float


def order_margins(
    book: Book, arrays: RiskArrays, model: MarginModel, orders: OpenOrders, funds: Funds, step: float
) -> OrderMargins:
    """The margin for the open orders of every account.

    funds  of any book on these arrays under the model, rounded to money steps
    step   the money step

    DataError naming every order that is none, or whose settlement currency is not among the instruments; ConfigError
    naming the accounts with more orders than can be tried, of a model that states no bound.
    """
    check_orders(book, arrays, orders)
    _check_paid(arrays, orders)
    reason = np.asarray(model.not_covered(arrays), dtype=np.str_)[orders.instrument_idx]
    accounts, names = book.account_id[orders.account_idx], arrays.instrument_id[orders.instrument_idx]
    out = np.flatnonzero(reason != "")
    left_out = tuple(f"{accounts[o]} {names[o]}: order, {reason[o]}" for o in out)
    blind = np.bincount(orders.account_idx[out], minlength=len(book)) > 0
    added, method = np.zeros(len(book)), np.full(len(book), NO_ORDERS)
    filled = np.zeros(len(orders), dtype=np.bool_)
    ask = _Ask(book, arrays, orders, funds, step)
    tried, many = _plan(ask, model, np.flatnonzero(reason == ""))
    for job, available, unseen in _results(ask, tried):
        worst = int(np.argmin(available))
        added[job.account] = available[0] - available[worst]
        filled[job.own], method[job.account] = job.subsets[worst], EXACT
        blind[job.account] |= bool(np.any(unseen & ~unseen[0]))
    excess = declared_excess(model, arrays) if many else None
    refused = []
    for account, own in many:
        found = None if excess is None else _bound(ask, account, own, excess)
        if found is None:
            refused.append(f"{book.account_id[account]} has {len(own)}")
            continue
        added[account], filled[own], method[account] = *found, BOUND
    if refused:
        raise ConfigError(
            f"{model.model_id} states no bound for the worst of more than {ENUMERATED} open orders of one account: "
            f"{', '.join(refused[:10])}; merge or cancel some, or use a model that does (docs/collateral.md)"
        )
    method[np.bincount(orders.account_idx, minlength=len(book)) == 0] = NO_ORDERS
    return OrderMargins(orders, np.maximum(added, 0.0), method, filled, blind, left_out)


def _plan(ask: _Ask, model: MarginModel, seen: IntArray) -> tuple[list[_Tried], list[tuple[int, IntArray]]]:
    """What is tried on every account, and the accounts with too many orders for that, with these."""
    make = getattr(model, "order_table", None)
    table = None if make is None else make(ask.arrays)
    account = ask.orders.account_idx[seen]
    order = np.argsort(account, kind="stable")
    rows, first = np.unique(account[order], return_index=True)
    tried, many = [], []
    for row, own in zip(rows.tolist(), np.split(seen[order], first[1:]) if len(rows) else [], strict=True):
        subset = None if table is None else _worst_loss_subset(ask, table, row, own)
        if subset is not None:
            tried.append(_Tried(row, own, np.array([np.zeros(len(own), np.bool_), subset])))
        elif len(own) <= ENUMERATED:
            tried.append(_Tried(row, own, every_subset(len(own))))
        else:
            many.append((row, own))
    return tried, many


def every_subset(count: int) -> BoolArray:
    """(2^count, count) all subsets of so many, none of them first."""
    return np.asarray((np.arange(2**count)[:, None] >> np.arange(count)) & 1, dtype=np.bool_)


def paid_for(arrays: RiskArrays, orders: OpenOrders) -> FloatArray:
    """(O,) units of the settlement currency that an account receives when an order fills, below 0 where it pays."""
    cost = orders.quantity * arrays.value[orders.instrument_idx] - orders.gain
    cash = arrays.cash_row[orders.instrument_idx]
    return np.asarray(np.where(cost == 0.0, 0.0, -cost / arrays.value[np.maximum(cash, 0)]))


def filled_book(
    book: Book, arrays: RiskArrays, orders: OpenOrders, tried: Sequence[tuple[int, IntArray, BoolArray]]
) -> Book:
    """One account for every subset of every entry, with what its account holds and the orders of the subset filled.

    tried  (row of the account or -1 for one that holds nothing, (o,) rows of orders, (K,o) subsets)
    """
    paid = paid_for(arrays, orders)
    held, lengths, owners, rows = [], [], [], []
    number = 0
    for account, own, subsets in tried:
        here = np.arange(*book.position_ptr[account : account + 2]) if account >= 0 else np.zeros(0, np.int64)
        held.append(np.tile(here, len(subsets)))
        lengths.append(np.full(len(subsets), len(here)))
        trial, order = np.nonzero(subsets)
        owners.append(number + trial)
        rows.append(own[order])
        number += len(subsets)
    pointer = np.append(0, np.cumsum(np.concatenate(lengths)))
    position, owner, order = (np.concatenate(parts) for parts in (held, owners, rows))
    positions = Positions(pointer, book.instrument_idx[position], book.quantity[position])
    pays = paid[order] != 0.0
    additions = Additions(
        np.concatenate([owner, owner[pays]]),
        np.concatenate([orders.instrument_idx[order], arrays.cash_row[orders.instrument_idx[order[pays]]]]),
        np.concatenate([orders.quantity[order], paid[order[pays]]]),
    )
    grouped = not len(book.group_key) or book.group_key.min() != UNGROUPED
    group = arrays.expiry_idx if grouped else np.full(len(arrays), UNGROUPED)
    rank = rank_of(arrays) if grouped else np.arange(len(arrays))
    names = np.char.zfill(np.arange(number).astype(np.str_), len(str(number)))
    return book_of(names, merged(positions, additions, arrays, rank), group)


def _results(ask: _Ask, tried: Sequence[_Tried]) -> Iterator[tuple[_Tried, FloatArray, BoolArray]]:
    """Every entry with (K,) available funds after its subsets and (K,) risk without a rule, many accounts at a time."""
    first = 0
    while first < len(tried):
        last, trials = first, 0
        while last < len(tried) and (last == first or trials + len(tried[last].subsets) <= AT_ONCE):
            trials += len(tried[last].subsets)
            last += 1
        part = tried[first:last]
        available, unseen = ask.funds(filled_book(ask.book, ask.arrays, ask.orders, part))
        ends = np.cumsum([len(job.subsets) for job in part])[:-1]
        yield from zip(part, np.split(available, ends), np.split(unseen, ends), strict=True)
        first = last


def _worst_loss_subset(ask: _Ask, table: OrderTable, account: int, own: IntArray) -> BoolArray | None:
    """(o,) the worst subset of the orders of an account by a worst-loss table; None where a balance that bears risk or
    a haircut could turn its sign, or is not in the netting set of what it pays for."""
    arrays, orders = ask.arrays, ask.orders.take(own)
    columns, cash = table.columns, np.maximum(arrays.cash_row[orders.instrument_idx], 0)
    paid = paid_for(arrays, orders)
    book = ask.book.accounts(account, account + 1)
    sets = columns[:, NETTING_SET]
    weight = np.ones(len(own))
    for row in np.unique(cash[paid != 0.0]).tolist():
        pays = (cash == row) & (paid != 0.0)
        moves = bool(np.any(table.rows[row]))
        if not moves and columns[row, LONG_WEIGHT] == 1.0:
            continue
        held = float(book.quantity[book.instrument_idx == row].sum())
        long = held + np.minimum(paid[pays], 0.0).sum() >= 0.0
        short = held + np.maximum(paid[pays], 0.0).sum() <= 0.0
        apart = moves and np.any(sets[row] != sets[orders.instrument_idx[pays]])
        if apart or not (long or short):
            return None
        weight[pays] = columns[row, LONG_WEIGHT] if long else 1.0
    worth = orders.quantity * arrays.value[orders.instrument_idx] + paid * weight * arrays.value[cash]
    mine = OpenOrders(np.zeros(len(own), np.int64), orders.instrument_idx, orders.quantity, worth)
    found = worst_fill(
        book,
        arrays,
        mine,
        netting="joint" if not np.any(sets) else "per_underlying",
        haircut=1.0 - columns[:, LONG_WEIGHT],
        factor=float(table.numbers[INITIAL_FACTOR]),
        short_rows=columns[:, SHORT_TICKS],
        paid_rows=(paid * weight)[:, None] * table.rows[cash],
    )
    return found.filled


def _bound(ask: _Ask, account: int, own: IntArray, excess: FloatArray) -> tuple[float, BoolArray] | None:
    """What the orders of an account may ask for at most, and (o,) those that add to it; None where an order alone is a
    debt without a rule, of which the model's funds say nothing."""
    arrays, orders = ask.arrays, ask.orders
    row = orders.instrument_idx[own]
    order = np.lexsort((row, arrays.expiry_idx[row], arrays.underlying_idx[row]))
    groups = [order[low : low + GROUP] for low in range(0, len(order), GROUP)]
    alone = list(_results(ask, [_Tried(-1, own[g], every_subset(len(g))) for g in groups]))
    if any(np.any(unseen) for _, _, unseen in alone):
        return None
    paid = np.abs(paid_for(arrays, orders)[own])
    beyond = np.abs(orders.quantity[own]) * excess[row]
    beyond += paid * excess[np.maximum(arrays.cash_row[row], 0)]
    costs, subsets = [], []
    for group, (job, available, _) in zip(groups, alone, strict=True):
        asked = np.where(job.subsets, beyond[group], 0.0).sum(axis=1) - available
        worst = int(np.argmax(asked))
        costs.append(float(asked[worst]))
        subsets.append(job.subsets[worst])
    largest = int(np.argmax(costs))
    joined = _Tried(account, own[groups[largest]], every_subset(len(groups[largest])))
    (_, available, unseen), *_ = _results(ask, [joined])
    if np.any(unseen & ~unseen[0]):
        return None
    worst = int(np.argmin(available))
    costs[largest], subsets[largest] = float(available[0] - available[worst]), joined.subsets[worst]
    filled = np.zeros(len(own), dtype=np.bool_)
    for group, subset in zip(groups, subsets, strict=True):
        filled[group] = subset
    steps = np.ceil(sum(costs) / ask.step - 1e-6) + ROUNDINGS
    return float(steps * ask.step), filled


def _check_paid(arrays: RiskArrays, orders: OpenOrders) -> None:
    cost = orders.quantity * arrays.value[orders.instrument_idx] - orders.gain
    missing = np.flatnonzero((arrays.cash_row[orders.instrument_idx] < 0) & (cost != 0.0))
    if len(missing):
        remedy = "its settlement currency is not among the instruments, so what a fill pays cannot be booked"
        names = arrays.instrument_id[orders.instrument_idx]
        raise DataError([Problem("orders", int(o) + 1, "instrument", str(names[o]), remedy) for o in missing])
