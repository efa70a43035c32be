"""balances_owed: one rule for debts, for models that have no scenarios, or count no coin that is held.

Models with scenarios beside which coins stand against debts have the rule of `currency_debts`, which nets cell by cell.

Who owes one currency and holds another bears the price between the two, so every coin owed costs what the model takes
for a rise of its price, and assets held cost what it takes for a fall as far as they stand against something owed:

    charge  = sum over assets owed of |q| x rate owed + f x sum over assets held of q x rate backing
    f       = min(1, lacking / what counts of the assets held after their fall)
    lacking = coins owed after their rise + what contracts need - dollars

What contracts need that pay in dollars is what the model asks for them, or, where it asks for all contracts together,
what their net value is below 0: whoever has sold boxes has taken a loan. What a model asks for contracts that pay in a
coin is met by the balance of that coin first; only what that lacks is lacking, and only the rest of it stands against
anything else. So an account of one currency, and one whose dollars cover what is asked, pays for no coin it holds.

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
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import NumericalError
from scenarios.risk_arrays import RiskArrays

CHARGE = "balances_owed"
# Digits of a tick that are the noise of a product of doubles.
NOISE_DIGITS = 6


class BalanceRates(NamedTuple):
    """What a model asks for balances of assets, initial and maintenance margin in ticks per unit.

    owed     (N,2) of one unit owed
    backing  (N,2) of one unit held that stands against something owed, beyond the haircut
    risen    (N,2) what one unit owed is worth after its rise
    left     (N,2) what counts of one unit held after its fall
    money    (N,) True for what is money to the model: owed, it is owed as such
    contracts  (N,) contracts whose net value in an account, where it is below 0, is money owed
    charged  (N,2) of one unit of a contract sold: what the model asks for the money owed through it already
    """

    owed: FloatArray
    backing: FloatArray
    risen: FloatArray
    left: FloatArray
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
    backing = np.maximum(shares - haircut[:, None], 0.0) * value
    return _rates(arrays, shares * value, backing, haircut, None)._replace(charged=charged)


def paid_in_money(arrays: RiskArrays) -> BoolArray:
    """(N,) contracts that pay in a currency that no underlying moves: linear ones, not those paid in their coin."""
    moved = arrays.terms.currency_underlying[arrays.terms.currency_idx] >= 0
    return np.asarray(~arrays.is_collateral & ~moved)


def _rates(
    arrays: RiskArrays, owed: FloatArray, backing: FloatArray, haircut: FloatArray, money: BoolArray | None
) -> BalanceRates:
    own = is_own_money(arrays) if money is None else money
    asset, value = (arrays.is_collateral & ~own)[:, None], arrays.value_rows[:, None]
    left = np.maximum((1.0 - haircut[:, None]) * value - backing, 0.0)
    none, nothing = np.zeros(len(arrays), np.bool_), np.zeros((len(arrays), 2))
    cost, back, risen, after = (np.where(asset, amounts, 0.0) for amounts in (owed, backing, value + owed, left))
    return BalanceRates(cost, back, risen, after, own, none, nothing)


def charged_when_owed(rates: BalanceRates) -> BoolArray:
    """(N,) assets whose balance owed costs margin at these rates, and what is money."""
    return rates.money | (rates.owed[:, 0] > 0.0)


def with_balances(
    required: Requirement, book: Book, arrays: RiskArrays, rates: BalanceRates, asked: FloatArray | None = None
) -> Requirement:
    """A requirement with the charge for balances on top of it. NumericalError where ticks cannot hold it exactly.

    asked  (P,2) what the model asks for every position by itself, whole ticks; None where it asks for them together
    """
    (places, ticks), sums = _ticks(book, arrays, rates, asked), np.zeros((len(book), 2))
    if np.any(ticks):
        # Whole ticks add up exactly in any order.
        np.add.at(sums, np.searchsorted(book.position_ptr, places, side="right") - 1, ticks)
    if arrays.tick is not None and sums.max(initial=0.0) > EXACT_LIMIT:
        name = book.account_id[np.argmax(sums.max(axis=1))]
        raise NumericalError(f"account {name} owes too much for exact sums at tick {arrays.tick:g}")
    amounts = sums * arrays.tick_size
    charges = {**required.charges, CHARGE: amounts}
    initial, maintenance = required.initial + amounts[:, 0], required.maintenance + amounts[:, 1]
    return required._replace(initial=initial, maintenance=maintenance, charges=charges)


def balance_lines(
    book: Book, arrays: RiskArrays, rates: BalanceRates, asked: FloatArray | None = None
) -> list[Contribution]:
    """The charge of the one account of `book`, balance by balance; `asked` as above."""
    ticks, lines = balance_ticks(book, arrays, rates, asked), []
    with localcontext(EXACT):
        for p in np.flatnonzero(ticks.any(axis=1)):
            initial, _ = exact_amounts(float(ticks[p, 0]), arrays, (1.0, 1.0))
            maintenance, _ = exact_amounts(float(ticks[p, 1]), arrays, (1.0, 1.0))
            name = underlying_name(arrays, int(book.instrument_idx[p]))
            lines.append(position_line(book, arrays, int(p), CHARGE, (initial, maintenance), netting_set=name))
    return lines


def balance_ticks(book: Book, arrays: RiskArrays, rates: BalanceRates, asked: FloatArray | None = None) -> FloatArray:
    """(P,2) what every balance costs, ticks; whole ones, rounded up, where the arrays are rounded. `asked` as above."""
    found = np.zeros((len(book.instrument_idx), 2))
    places, ticks = _ticks(book, arrays, rates, asked)
    found[places] = ticks
    return found


def _ticks(
    book: Book, arrays: RiskArrays, rates: BalanceRates, asked: FloatArray | None
) -> tuple[IntArray, FloatArray]:
    """(B,) -> P the balances of the book, for contracts cost nothing here, and (B,2) what they cost."""
    here = np.flatnonzero((arrays.is_collateral | rates.money)[book.instrument_idx])
    row, quantity = book.instrument_idx[here], book.quantity[here]
    short, held = np.maximum(-quantity, 0.0)[:, None], np.maximum(quantity, 0.0)[:, None]
    backing = held * rates.backing[row]
    ticks = short * rates.owed[row]
    if np.any(backing):
        everyone = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
        account = everyone[here]
        debts = _added(short * rates.risen[row], account, book, arrays)
        money = _added(np.where(rates.money[row], quantity, 0.0) * arrays.value_rows[row], account, book, arrays)
        owed = debts - money[:, None]
        if asked is None:
            need, free = _loan_by_contracts(book, arrays, rates.contracts, everyone)[:, None], np.ones((1, 1))
        else:
            sold = np.maximum(-book.quantity, 0.0)[:, None] * rates.charged[book.instrument_idx]
            need, shares = _unmet(book, arrays, everyone, asked - _whole(sold, arrays))
            free = shares[here]
        backing = backing * free
        left = _added(held * rates.left[row] * free, account, book, arrays)
        share = against(owed + need, left)
        if np.any(rates.charged):
            share = share - _charged_already(book, everyone, rates, (account, backing), share - against(owed, left))
        ticks = ticks + backing * share[account]
    return here, ticks if arrays.tick is None else np.asarray(np.ceil(np.round(ticks, NOISE_DIGITS)) + 0.0)


def against(owed: FloatArray, left: FloatArray) -> FloatArray:
    """Share, from 0 to 1, of assets that stands against what is owed: owed / left; 1 of nothing where there is some."""
    some = left > 0.0
    return np.where(some, np.clip(owed, 0.0, left) / np.where(some, left, 1.0), owed > 0.0)


def _unmet(book: Book, arrays: RiskArrays, account: np.ndarray, asked: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(A,2) what is asked for contracts beyond the balance of the coin that they pay in, all of it where that is no
    coin; (P,2) share of every balance that is not asked for that way."""
    row = book.instrument_idx
    coin = arrays.terms.currency_underlying[arrays.terms.currency_idx[row]]
    code = account * (len(arrays.underlying_id) + 1) + coin + 1
    known, place = np.unique(code, return_inverse=True)
    held = np.where(arrays.is_collateral[row] & (coin >= 0), np.maximum(book.quantity, 0.0), 0.0)
    balance, needed = np.zeros((len(known), 1)), np.zeros((len(known), 2))
    np.add.at(balance, place, _whole(held * arrays.value_rows[row], arrays)[:, None])
    np.add.at(needed, place, asked)
    unmet = np.zeros((len(book), 2))
    np.add.at(unmet, known // (len(arrays.underlying_id) + 1), np.maximum(needed - balance, 0.0))
    return unmet, 1.0 - against(needed, balance)[place]


def _charged_already(
    book: Book,
    account: np.ndarray,
    rates: BalanceRates,
    backing: tuple[IntArray, FloatArray],
    by_contracts: FloatArray,
) -> FloatArray:
    """(A,2) share of the assets held that contracts have been charged for, at most that which backs them.

    account  (P,) of every position
    backing  (B,) accounts of balances, and (B,2) what each costs where all of it stands against something owed, ticks
    """
    sold, whole = np.zeros((len(book), 2)), np.zeros((len(book), 2))
    np.add.at(sold, account, np.maximum(-book.quantity, 0.0)[:, None] * rates.charged[book.instrument_idx])
    np.add.at(whole, *backing)
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
    """(A,) or (A,2) amounts of positions added up by account, every one rounded to whole ticks where the arrays are."""
    total = np.zeros((len(book), *ticks.shape[1:]))
    np.add.at(total, account, _whole(ticks, arrays))
    return total


def _whole(ticks: FloatArray, arrays: RiskArrays) -> FloatArray:
    return ticks if arrays.tick is None else np.rint(ticks)
