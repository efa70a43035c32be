"""balances_owed: one rule for debts, for models that have no scenarios, or count no coin that is held.

Models with scenarios beside which coins stand against debts have the rule of `currency_debts`, which nets cell by cell.

Who owes one currency and holds another bears the price between the two, so every coin owed costs what the model takes
for a rise of its price, and assets held cost what it takes for a fall as far as they stand against money owed:

    charge = sum over assets owed of |q| x rate owed + f x sum over assets held of q x rate backing
    f      = min(1, money owed / value after haircut of the assets held)

Money is owed through contracts as well: whoever has sold boxes has taken a loan. A net value below 0 of the contracts
whose gains a model counts in money is owed like a balance; above 0 it is no money, for options can lose it.

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
    contracts  (N,) contracts whose net value in an account, where it is below 0, is money owed
    charged  (N,2) of one unit of such a contract sold: what the model asks for the money owed through it already
    """

    owed: FloatArray
    backing: FloatArray
    haircut: FloatArray
    money: BoolArray
    contracts: BoolArray
    charged: FloatArray


def scenario_rates(arrays: RiskArrays, rows: FloatArray, factors: FloatArray, haircut: FloatArray) -> BalanceRates:
    """The rates of a model with scenarios: the largest rise and fall of each asset in them.

    rows     (N,S) P&L of one unit as the model counts its scenarios, ticks; contracts are left out
    factors  (2,) or (N,2) initial and maintenance margin per unit of loss
    haircut  (N,) share of a balance held that does not count
    """
    shares = np.broadcast_to(factors, (len(arrays), 2))
    rise, fall = rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0)
    beyond = np.maximum(fall - haircut * arrays.value_rows, 0.0)
    return _rates(arrays, rise[:, None] * shares, beyond[:, None] * shares, haircut, None)


def owed_rates(arrays: RiskArrays, owed: FloatArray, haircut: FloatArray, money: BoolArray) -> BalanceRates:
    """The rates of a model that asks for balances owed alone: (N,) of one unit, for both margins, in ticks.

    money  (N,) what is money to the model
    """
    return _rates(arrays, owed[:, None] + np.zeros(2), np.zeros((len(arrays), 2)), haircut, money)


def share_rates(arrays: RiskArrays, shares: FloatArray, haircut: FloatArray, charged: FloatArray) -> BalanceRates:
    """The rates of a model without scenarios: (N,2) shares of the value of each asset, whichever way it goes.

    charged  (N,2) what is asked for money owed through one unit of a contract already, ticks
    """
    value = arrays.value_rows[:, None]
    rates = _rates(arrays, shares * value, np.maximum(shares - haircut[:, None], 0.0) * value, haircut, None)
    return rates._replace(contracts=paid_in_money(arrays), charged=charged)


def paid_in_money(arrays: RiskArrays) -> BoolArray:
    """(N,) contracts that pay in a currency that no underlying moves: linear ones, not those paid in their coin."""
    moved = arrays.terms.currency_underlying[arrays.terms.currency_idx] >= 0
    return np.asarray(~arrays.is_collateral & ~moved)


def _rates(
    arrays: RiskArrays, owed: FloatArray, backing: FloatArray, haircut: FloatArray, money: BoolArray | None
) -> BalanceRates:
    own = is_own_money(arrays) if money is None else money
    asset = (arrays.is_collateral & ~own)[:, None]
    none, nothing = np.zeros(len(arrays), np.bool_), np.zeros((len(arrays), 2))
    costs = np.where(asset, owed, 0.0), np.where(asset, backing, 0.0)
    return BalanceRates(*costs, haircut, own, none, nothing)


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


def excess_of_balances(arrays: RiskArrays, rates: BalanceRates) -> FloatArray:
    """(N,) margin currency that a unit of a contract or an asset can add to the charge through what another book holds.

    The charge for backing is m B / V, m the money owed up to V, V the value and B the cost of what is held, so it moves
    by no more than r = max B / V of a single asset for every unit of money that m or V move by: r |value| of a unit.
    """
    counted = arrays.value_rows * (1.0 - rates.haircut)
    some = (rates.backing[:, 0] > 0.0) & (counted > 0.0)
    highest = float(np.max(rates.backing[some, 0] / counted[some], initial=0.0))
    return np.where(rates.contracts | arrays.is_collateral, highest * np.abs(arrays.value), 0.0)


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
    loan = _loan_by_contracts(book, arrays, rates.contracts, account)
    if not np.any(arrays.is_collateral[row] & (quantity < 0)) and not np.any(loan):
        return np.zeros((len(row), 2))
    own = rates.money
    asset = (arrays.is_collateral & ~own)[row]
    held = np.where(asset, np.maximum(quantity, 0.0), 0.0)
    value = arrays.value_rows[row]
    money = _added(np.where(own[row], quantity, 0.0) * value, account, book, arrays)
    counted = _added(held * value * (1.0 - rates.haircut[row]), account, book, arrays)
    backing = held[:, None] * rates.backing[row]
    share = _against(loan - money, counted)[:, None]
    if np.any(rates.charged):
        share = share - _charged_already(book, account, rates, backing, share - _against(-money, counted)[:, None])
    short = np.where(asset, np.maximum(-quantity, 0.0), 0.0)
    ticks = short[:, None] * rates.owed[row] + backing * share[account]
    return ticks if arrays.tick is None else np.asarray(np.ceil(np.round(ticks, NOISE_DIGITS)) + 0.0)


def _against(owed: FloatArray, counted: FloatArray) -> FloatArray:
    """(A,) share of the assets held, worth `counted`, that stands against money owed."""
    some = counted > 0.0
    return np.where(some, np.clip(owed, 0.0, counted) / np.where(some, counted, 1.0), 0.0)


def _charged_already(
    book: Book, account: np.ndarray, rates: BalanceRates, backing: FloatArray, by_contracts: FloatArray
) -> FloatArray:
    """(A,2) share of the assets held that contracts have been charged for, at most that which backs them, (A,1).

    backing  (P,2) what each balance costs where all of it stands against money owed, ticks
    """
    sold, whole = np.zeros((len(book), 2)), np.zeros((len(book), 2))
    np.add.at(sold, account, np.maximum(-book.quantity, 0.0)[:, None] * rates.charged[book.instrument_idx])
    np.add.at(whole, account, backing)
    paid = np.where(whole > 0.0, sold / np.where(whole > 0.0, whole, 1.0), 0.0)
    return np.asarray(np.minimum(paid, by_contracts))


def _loan_by_contracts(book: Book, arrays: RiskArrays, contracts: BoolArray, account: np.ndarray) -> FloatArray:
    """(A,) what the net value of such contracts of each account is below 0, ticks, as a number of 0 or more."""
    if not np.any(contracts):
        return np.zeros(len(book))
    row = book.instrument_idx
    worth = np.where(contracts[row], book.quantity / arrays.unit[row], 0.0) * arrays.value_rows[row]
    return np.maximum(-_added(worth, account, book, arrays), 0.0)


def _added(ticks: FloatArray, account: np.ndarray, book: Book, arrays: RiskArrays) -> FloatArray:
    """(A,) amounts of positions added up by account, every one rounded to whole ticks where the arrays are."""
    total = np.zeros(len(book))
    np.add.at(total, account, ticks if arrays.tick is None else np.rint(ticks))
    return total
