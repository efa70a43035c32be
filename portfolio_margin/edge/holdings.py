"""holdings: what an account holds in a moved market, once futures have paid and what expires has been settled.

What expires settles in cash, at the forward of its expiry at that moment: an option pays what it is in the money, in
coin N max(s (F - K), 0) / F, a future its last variation margin; then it is gone. Delivery is not followed: an option
with early exercise that is held to its end pays the same in cash.
"""

from __future__ import annotations

import numpy as np

from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.edge.moved import Mover, States
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import DataError, Problem
from pricing.instruments import Instruments, Kind

# Moments are whole ms, and a time in years that is one may come out just below it.
MOMENT_MS = 1


def holdings(own: Book, mover: Mover, states: States) -> tuple[IntArray, FloatArray]:
    """(P,) rows of the table held in any state, and (K,P) how much: what futures and settled contracts have paid is in
    the cash it is paid in."""
    table = mover.instruments
    held, amount = own.instrument_idx, own.quantity
    cash = cash_rows(table)[held]
    gone = expiring(mover, states.years)[held] if states.settled else np.zeros(len(held), dtype=np.bool_)
    settled = np.flatnonzero(table.is_settled[held])
    ended = np.flatnonzero(gone & table.is_option[held])
    rows = np.unique(np.concatenate([held[~gone], cash[settled], cash[ended]]))
    quantity = np.zeros((len(states), len(rows)))
    np.add.at(quantity.T, np.searchsorted(rows, held[~gone]), amount[~gone, None])
    for paying, each in (
        (settled, mover.variation(held[settled], states)),
        (ended, _payoff(mover, held[ended], states)),
    ):
        np.add.at(quantity.T, np.searchsorted(rows, cash[paying]), (each * amount[paying]).T)
    return rows, quantity


def expiring(mover: Mover, years: float) -> BoolArray:
    """(N,) options and dated futures whose last moment is that after so many years."""
    table = mover.instruments
    dated = (table.kind == Kind.OPTION) | (table.kind == Kind.FUTURE)
    time = mover.market.expiry_time[np.maximum(table.expiry_idx, 0)]
    return np.asarray(dated & (time <= mover.moment(years) + MOMENT_MS))


def _payoff(mover: Mover, rows: IntArray, states: States) -> FloatArray:
    """(K,n) what one option of `rows` pays at expiry, in its settlement currency."""
    inputs = mover.inputs
    forward = mover.forwards(states)[:, inputs.expiry_idx[rows]]
    worth = inputs.multiplier[rows] * np.maximum(inputs.sign[rows] * (forward - inputs.strike[rows]), 0.0)
    return np.asarray(worth / np.where(inputs.inverse[rows] > 0, forward, 1.0))


def groups_of(own: Book, expiry_idx: IntArray) -> IntArray | None:
    """Groups of a book as those of the account."""
    key = own.group_key
    return None if len(key) and key.min() == UNGROUPED else expiry_idx


def cash_rows(table: Instruments) -> IntArray:
    """(N,) row of the cash that each contract settles in, -1 where there is none."""
    cash = np.flatnonzero(table.kind == Kind.CASH)
    row = np.full(int(table.currency_idx.max(initial=0)) + 1, -1)
    row[table.currency_idx[cash]] = cash
    return np.asarray(row[table.currency_idx])


def check_cash(own: Book, table: Instruments) -> None:
    """DataError where a future or perpetual has no cash to pay into."""
    lost = own.instrument_idx[table.is_settled[own.instrument_idx] & (cash_rows(table)[own.instrument_idx] < 0)]
    if len(lost):
        remedy = "its settlement currency is not among the instruments, so variation margin cannot be booked"
        names = table.instrument_id[lost]
        raise DataError([Problem("instruments", None, "instrument", str(name), remedy) for name in names])
