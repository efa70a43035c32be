"""balances_owed: one rule for debts, for models that do not move balances in their scenarios.

Who owes one currency and holds another bears the price between the two, so every coin owed costs what the model takes
for a rise of its price, and assets held cost what it takes for a fall as far as they stand against money owed:

    charge = sum over assets owed of |q| x rate owed + f x sum over assets held of q x rate backing
    f      = min(1, money owed / value after haircut of the assets held)

Money is owed through contracts as well: whoever has sold boxes has taken a loan. Where a model counts the gains of
contracts in money, a net value of them below 0 is owed like a balance; above 0 it is no money, for options can lose it.

A model states its rates only; what a haircut has taken off an asset held is not charged once more.
"""

from __future__ import annotations

from decimal import localcontext
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.contributions import exact_amounts, position_line, underlying_name
from portfolio_margin.dollars import is_own_money
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.requirement import EXACT, Contribution, Requirement
from pricing.arrays import BoolArray, FloatArray
from pricing.errors import NumericalError
from scenarios.risk_arrays import RiskArrays

CHARGE = "balances_owed"
# Digits of a tick that are the noise of a product of doubles.
NOISE_DIGITS = 6


class BalanceRates(NamedTuple):
    """What a model asks for balances of assets, initial and maintenance margin in ticks per unit.

    owed     (N,2) of one unit owed
    backing  (N,2) of one unit held that stands against money owed, beyond the haircut
    haircut  (N,) share of a balance held that does not count
    money    (N,) True for what is money to the model: owed, it is owed as such
    by_contracts  whether the net value of an account's contracts, where it is below 0, is money owed
    """

    owed: FloatArray
    backing: FloatArray
    haircut: FloatArray
    money: BoolArray
    by_contracts: bool = False


def scenario_rates(
    arrays: RiskArrays,
    rows: FloatArray,
    factors: FloatArray,
    haircut: FloatArray,
    money: BoolArray | None = None,
    *,
    by_contracts: bool = False,
) -> BalanceRates:
    """The rates of a model with scenarios: the largest rise and fall of each asset in them.

    rows     (N,S) P&L of one unit as the model counts its scenarios, ticks; contracts are left out
    factors  (2,) or (N,2) initial and maintenance margin per unit of loss
    haircut  (N,) share of a balance held that does not count
    money    (N,) what is money to the model; the margin currency and dollars like it where left out
    by_contracts  True where the gains of contracts are counted in money too, not in a coin that stands still
    """
    shares = np.broadcast_to(factors, (len(arrays), 2))
    rise, fall = rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0)
    beyond = np.maximum(fall - haircut * arrays.value_rows, 0.0)
    rates = _rates(arrays, rise[:, None] * shares, beyond[:, None] * shares, haircut, money)
    return rates._replace(by_contracts=by_contracts)


def share_rates(arrays: RiskArrays, shares: FloatArray, haircut: FloatArray) -> BalanceRates:
    """The rates of a model without scenarios: (N,2) shares of the value of each asset, whichever way it goes."""
    value = arrays.value_rows[:, None]
    return _rates(arrays, shares * value, np.maximum(shares - haircut[:, None], 0.0) * value, haircut, None)


def _rates(
    arrays: RiskArrays, owed: FloatArray, backing: FloatArray, haircut: FloatArray, money: BoolArray | None
) -> BalanceRates:
    own = is_own_money(arrays) if money is None else money
    asset = (arrays.is_collateral & ~own)[:, None]
    return BalanceRates(np.where(asset, owed, 0.0), np.where(asset, backing, 0.0), haircut, own)


def charged_when_owed(rates: BalanceRates) -> BoolArray:
    """(N,) assets whose balance owed costs margin at these rates, and what is money."""
    return rates.money | (rates.owed[:, 0] > 0.0)


def with_balances(required: Requirement, book: Book, arrays: RiskArrays, rates: BalanceRates) -> Requirement:
    """A requirement with the charge for balances on top of it. NumericalError where ticks cannot hold it exactly."""
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    ticks, sums = balance_ticks(book, arrays, rates), np.zeros((len(book), 2))
    if np.any(ticks):
        # Whole ticks add up exactly in any order.
        np.add.at(sums, account, ticks)
    if arrays.tick is not None and sums.max(initial=0.0) > EXACT_LIMIT:
        name = book.account_id[np.argmax(sums.max(axis=1))]
        raise NumericalError(f"account {name} owes too much for exact sums at tick {arrays.tick:g}")
    amounts = sums * arrays.tick_size
    charges = {**required.charges, CHARGE: amounts}
    initial, maintenance = required.initial + amounts[:, 0], required.maintenance + amounts[:, 1]
    return required._replace(initial=initial, maintenance=maintenance, charges=charges)


def balance_lines(book: Book, arrays: RiskArrays, rates: BalanceRates) -> list[Contribution]:
    """The charge of the one account of `book`, balance by balance."""
    ticks, lines = balance_ticks(book, arrays, rates), []
    with localcontext(EXACT):
        for p in np.flatnonzero(ticks.any(axis=1)):
            initial, _ = exact_amounts(float(ticks[p, 0]), arrays, (1.0, 1.0))
            maintenance, _ = exact_amounts(float(ticks[p, 1]), arrays, (1.0, 1.0))
            name = underlying_name(arrays, int(book.instrument_idx[p]))
            lines.append(position_line(book, arrays, int(p), CHARGE, (initial, maintenance), netting_set=name))
    return lines


def balance_ticks(book: Book, arrays: RiskArrays, rates: BalanceRates) -> FloatArray:
    """(P,2) what every balance costs, ticks; whole ones, rounded up, where the arrays are rounded."""
    row, quantity = book.instrument_idx, book.quantity
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    loan = _loan_by_contracts(book, arrays, account) if rates.by_contracts else np.zeros(len(book))
    if not np.any(arrays.is_collateral[row] & (quantity < 0)) and not np.any(loan):
        return np.zeros((len(row), 2))
    own = rates.money
    asset = (arrays.is_collateral & ~own)[row]
    held = np.where(asset, np.maximum(quantity, 0.0), 0.0)
    value = arrays.value_rows[row]
    money = _added(np.where(own[row], quantity, 0.0) * value, account, book, arrays)
    counted = _added(held * value * (1.0 - rates.haircut[row]), account, book, arrays)
    owed = np.maximum(loan - money, 0.0)
    share = np.where(counted > 0.0, np.minimum(owed, counted) / np.where(counted > 0.0, counted, 1.0), 0.0)
    short = np.where(asset, np.maximum(-quantity, 0.0), 0.0)
    ticks = short[:, None] * rates.owed[row] + (held * share[account])[:, None] * rates.backing[row]
    return ticks if arrays.tick is None else np.asarray(np.ceil(np.round(ticks, NOISE_DIGITS)) + 0.0)


def _loan_by_contracts(book: Book, arrays: RiskArrays, account: np.ndarray) -> FloatArray:
    """(A,) what the net value of the contracts of each account is below 0, ticks, as a number of 0 or more."""
    row = book.instrument_idx
    worth = np.where(arrays.is_collateral[row], 0.0, book.quantity / arrays.unit[row]) * arrays.value_rows[row]
    return np.maximum(-_added(worth, account, book, arrays), 0.0)


def _added(ticks: FloatArray, account: np.ndarray, book: Book, arrays: RiskArrays) -> FloatArray:
    """(A,) amounts of positions added up by account, every one rounded to whole ticks where the arrays are."""
    total = np.zeros(len(book))
    np.add.at(total, account, ticks if arrays.tick is None else np.rint(ticks))
    return total
