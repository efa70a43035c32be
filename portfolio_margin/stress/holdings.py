"""Holdings: what every account holds, in a layout that lasts: a place for each contract and for the cash it pays in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.liquidation.trials import cash_row_of
from portfolio_margin.requirement import check_groups
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import DataError, Problem
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays

LINEAR = (Kind.FUTURE, Kind.PERPETUAL)


class Priced(Protocol):
    """(N,) what a contract is worth, margin currency, and its smallest quantity; risk arrays have both."""

    @property
    def value(self) -> FloatArray:
        """Margin currency."""

    @property
    def quantity_step(self) -> FloatArray:
        """Contracts."""


@dataclass(frozen=True)
class Holdings:
    """The book of a venue in a stress; positions stay where they are, also where nothing is held any more.

    book     with a position, be it of 0, for every cash that a contract of the account pays in, and in the margin
             currency
    account  (P,) -> A of each position
    cash     (A,) -> P position of cash in the margin currency
    payer    (P,) -> P position of the cash that a contract settles in; of an asset its own
    asset    (P,) True for collateral
    settled  places -> P of contracts that pay variation margin
    """

    book: Book
    account: IntArray
    cash: IntArray
    payer: IntArray
    asset: BoolArray
    settled: IntArray

    def __len__(self) -> int:
        return len(self.book)

    @property
    def rows(self) -> IntArray:
        """(P,) -> N"""
        return self.book.instrument_idx

    @property
    def quantity(self) -> FloatArray:
        """(P,) contracts, units of assets."""
        return self.book.quantity

    def holding(self, quantity: FloatArray) -> Holdings:
        """The same with these quantities (P,), which are nobody else's from here on."""
        quantity.flags.writeable = False
        return replace(self, book=self.book.holding(quantity))

    def by_account(self, place: IntArray, amounts: FloatArray) -> FloatArray:
        """(A,) sums of amounts (M,) of the positions at `place` (M,)."""
        return np.bincount(self.account[place], amounts, minlength=len(self)).astype(np.float64)

    def paid(self, per_contract: FloatArray) -> Holdings:
        """After every future and perpetual was paid (N,) of its settlement currency a contract held."""
        amount = self.quantity[self.settled] * per_contract[self.rows[self.settled]]
        if not np.any(amount):
            return self
        quantity = self.quantity.copy()
        np.add.at(quantity, self.payer[self.settled], amount)
        return self.holding(quantity)

    def traded(self, place: IntArray, amount: FloatArray, prices: Priced, charge: FloatArray) -> Holdings:
        """After trades at the mark; premiums are paid, assets are exchanged for margin currency.

        place   (M,) -> P, each once; amount (M,) + bought
        charge  (A,) margin currency that is taken beside
        """
        asset, row = self.asset[place], self.rows[place]
        unit = prices.quantity_step[row]
        quantity = self.quantity.copy()
        held = quantity[place] + amount
        # Decimal steps such as 0.1 do not add exactly: a quantity is again the nearest whole multiple.
        quantity[place] = np.where(asset, held, np.rint(held / unit) * unit)
        pays = self.payer[place]
        worth = amount * prices.value[row]
        np.add.at(quantity, pays, np.where(asset, 0.0, -worth) / prices.value[self.rows[pays]])
        np.add.at(quantity, self.cash[self.account[place]], np.where(asset, -worth, 0.0))
        quantity[self.cash] -= charge
        return self.holding(quantity)

    def beside_cash(self, rows: IntArray) -> BoolArray:
        """(A,) whether some accounts, by row, hold anything beside cash in the margin currency; False of the others."""
        found, mine = np.zeros(len(self), dtype=np.bool_), positions_of(self.book, rows)
        other = mine[(self.quantity[mine] != 0.0) & (self.cash[self.account[mine]] != mine)]
        found[self.account[other]] = True
        return found

    def assets_of(self, rows: IntArray) -> IntArray:
        """(M,) -> P places of the assets of some accounts, by row, but for cash in the margin currency."""
        mine = positions_of(self.book, rows)
        return np.asarray(mine[self.asset[mine] & (self.cash[self.account[mine]] != mine)])

    def assets_going(self, before: Holdings, share: FloatArray) -> tuple[IntArray, FloatArray]:
        """Places (M,) -> P and amounts of the assets that go with the contracts of an account.

        before  what was held before the contracts were traded
        share   (A,) of the assets that goes; of what the contracts paid or cost all does
        """
        place = self.assets_of(np.flatnonzero(share > 0.0))
        amount = (1.0 - share[self.account[place]]) * before.quantity[place] - self.quantity[place]
        return place[amount != 0.0], amount[amount != 0.0]

    def without(self, gone: BoolArray, prices: Priced) -> Holdings:
        """After contracts (N,) that have expired are paid what they are worth and held no more."""
        if not np.any(gone):
            return self
        out = np.flatnonzero(gone[self.rows] & ~self.asset & (self.quantity != 0.0))
        return self.traded(out, -self.quantity[out], prices, np.zeros(len(self))) if len(out) else self

    def equity(self, arrays: RiskArrays, threads: int | None = None) -> FloatArray:
        """(A,) what every account is worth at the mark, margin currency."""
        return account_sums(self.book, arrays, arrays.value_rows[:, None], threads=threads)[:, 0]


def positions_of(book: Book, rows: IntArray) -> IntArray:
    """(M,) -> P positions of some accounts, by row."""
    first, last = book.position_ptr[rows], book.position_ptr[rows + 1]
    count = last - first
    return np.asarray(np.repeat(first - np.append(0, np.cumsum(count)[:-1]), count) + np.arange(int(count.sum())))


def prepare_holdings(book: Book, arrays: RiskArrays, hedging: Sequence[str] = ()) -> Holdings:
    """The holdings of a venue at the start.

    hedging  accounts that may come to hold any future or perpetual: places for these are kept

    DataError where the margin currency or a settlement currency is not among the instruments.
    """
    check_groups(book, arrays)
    if not np.any(arrays.instrument_id == arrays.currency):
        remedy = "must be among the instruments: costs and penalties are paid in it"
        raise DataError([Problem("stress", None, "currency", arrays.currency, remedy)])
    own, width = cash_row_of(arrays), len(arrays)
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    contract = ~arrays.is_collateral[book.instrument_idx]
    settles = arrays.cash_row[book.instrument_idx]
    lost = np.unique(book.instrument_idx[contract & (settles < 0)])
    if len(lost):
        remedy = "its settlement currency is not among the instruments, so what it pays cannot be booked"
        names = [str(arrays.instrument_id[row]) for row in lost]
        raise DataError([Problem("stress", None, "instrument", name, remedy) for name in names])
    linear = np.flatnonzero(~arrays.is_collateral & (arrays.value_rows == 0.0) & (arrays.cash_row >= 0))
    linear = linear[np.isin(arrays.kind[linear], LINEAR)]
    hedgers = np.array([book.row_of(name) for name in hedging], dtype=np.int64)
    places = [
        account * width + book.instrument_idx,
        account[contract] * width + settles[contract],
        np.arange(len(book)) * width + own,
        (hedgers[:, None] * width + linear).ravel(),
        (hedgers[:, None] * width + arrays.cash_row[linear]).ravel(),
    ]
    key = np.sort(np.concatenate(places))
    key = key[np.diff(key, prepend=-1) != 0]
    held = np.zeros(len(key))
    held[np.searchsorted(key, places[0])] = book.quantity
    rows = key % width
    # By row numbers, so that the accounts keep their order whatever their names are.
    laid = Book.from_arrays(key // width, rows, held, arrays.expiry_idx, accounts=np.arange(len(book)))
    return _indexed(replace(laid, account_id=book.account_id), arrays)


def _indexed(book: Book, arrays: RiskArrays) -> Holdings:
    width = len(arrays)
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    asset = arrays.is_collateral[book.instrument_idx]
    key = account * width + book.instrument_idx
    order = np.argsort(key)
    pays = np.where(asset, book.instrument_idx, arrays.cash_row[book.instrument_idx])
    payer = order[np.searchsorted(key, account * width + pays, sorter=order)]
    cash = order[np.searchsorted(key, np.arange(len(book)) * width + cash_row_of(arrays), sorter=order)]
    settled = np.flatnonzero(np.isin(arrays.kind, LINEAR)[book.instrument_idx])
    return Holdings(book, account, cash, payer, asset, settled)
