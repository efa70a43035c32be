"""How much the worst subset of any number of open orders may ask for at most: what a model states of itself for that.

A subset T of an account's orders is cut into parts b1 ... bk, accounts of their own that hold what their orders fill
and pay; a is what the account holds. A model answers `order_excess(arrays, reach)` with one or several `Excess`, each
of which holds for itself. C are the charges it names in `ceilings`, F = funds + C, what is available without them:

  C of a and any subset <= sum of the ceilings                                                               (1)
  F(a + b1 + ... + bk) >= F(a + b1) + F(b2) + ... + F(bk) - sum of |b_i| rates_i - amount                     (2)

so that  funds(a) - funds(a + T) <= funds(a) - F(a + b1) - F(b2) - ... - F(bk) + rates + amount + ceilings.

(2) holds with rates and amount 0 of whatever is convex in the quantities and grows in proportion. A charge that is not
has a ceiling: `most` and `range_of` find the most of anything linear over all subsets, and a charge that rises with
such amounts is highest there. A charge that can be taken off in (2) only from above, R <= S + c with S <= R, is an
`amount`. The proofs by model are in docs/collateral.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from portfolio_margin.balances_owed import BalanceRates
from portfolio_margin.book import Book
from portfolio_margin.currency_debts import CurrencyCells
from portfolio_margin.requirement import MarginModel
from pricing.arrays import BoolArray, FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays


class Excess(NamedTuple):
    """A bound of a model for one account, margin currency of initial margin.

    rates     (N,) per contract or unit of an asset
    ceilings  charge -> the most of it after any subset
    amount    once for the account
    """

    rates: FloatArray
    ceilings: Mapping[str, float] = {}
    amount: float = 0.0


class Reach(NamedTuple):
    """What one account may hold after any subset of its orders.

    held         (N,) quantities now
    row, cash    (O,) -> N, contract of each order and the asset it is paid in, -1 for none
    quantity, paid   (O,) contracts filled, and units of that asset received, below 0 where paid
    low, high    (N,) least and most of each row
    book         one account that holds every row there may be, at `high` where that is above 0, else at `low`
    parts        into how many parts the orders are cut
    """

    held: FloatArray
    row: IntArray
    cash: IntArray
    quantity: FloatArray
    paid: FloatArray
    low: FloatArray
    high: FloatArray
    book: Book
    parts: int

    @property
    def size(self) -> FloatArray:
        """(N,) largest |quantity| of each row."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    @property
    def turns(self) -> BoolArray:
        """(N,) rows that are long in the account or what an order fills and pays, and short in another of these."""
        bought, sold = self.held > 0.0, self.held < 0.0
        paid = self.cash[self.cash >= 0], self.paid[self.cash >= 0]
        for row, amount in ((self.row, self.quantity), paid):
            bought[row[amount > 0.0]] = True
            sold[row[amount < 0.0]] = True
        return np.asarray(bought & sold)

    @property
    def sold(self) -> FloatArray:
        """(N,) largest quantity below 0, as a number of 0 or more."""
        return np.asarray(np.maximum(-self.low, 0.0))


def declared_bounds(model: MarginModel, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
    """What a model states: `order_excess(arrays, reach)`, or `excess_rates(arrays)` where rates hold for all books;
    nothing where it states nothing."""
    stated = getattr(model, "order_excess", None)
    if stated is not None:
        return tuple(stated(arrays, reach))
    rates = getattr(model, "excess_rates", None)
    found = None if rates is None else rates(arrays)
    return () if found is None else (Excess(found),)


def most(
    reach: Reach, rows: FloatArray, key: IntArray | None = None, count: int = 1, haircut: FloatArray | None = None
) -> FloatArray:
    """(G,K) the most that sums of quantity x rows come to after any subset, column by column, by group of rows.

    rows     (N,K) per contract or unit
    key      (N,) -> G, -1 for rows that are in no group; all in one where it is None
    count    G
    haircut  (N,) share of what is held that does not count: sums are of q - haircut max(q, 0)

    An order fills in a column where it adds to it, with what it pays: a maximum over subsets of a sum over orders.
    """
    group = np.zeros(len(rows), dtype=np.int64) if key is None else np.asarray(key)
    cut = np.zeros(len(rows)) if haircut is None else haircut
    total = np.zeros((count, rows.shape[1]))
    counted = reach.held - cut * np.maximum(reach.held, 0.0)
    own = np.flatnonzero((counted != 0.0) & (group >= 0))
    np.add.at(total, group[own], counted[own, None] * rows[own])
    own_group, paid_group = group[reach.row], np.where(reach.cash >= 0, group[reach.cash], -1)
    filled = reach.quantity[:, None] * rows[reach.row]
    paid = reach.paid[:, None] * rows[np.maximum(reach.cash, 0)]
    # A unit more counts with a slope from 1 - haircut to 1: the worse of the two ends.
    paid = np.where(paid > 0.0, paid, paid * (1.0 - cut[np.maximum(reach.cash, 0)])[:, None])
    together = (own_group == paid_group) & (own_group >= 0)
    both = np.maximum(filled + np.where(together[:, None], paid, 0.0), 0.0)
    inside = own_group >= 0
    np.add.at(total, own_group[inside], both[inside])
    apart = (paid_group >= 0) & ~together
    np.add.at(total, paid_group[apart], np.maximum(paid[apart], 0.0))
    return total


def range_of(reach: Reach, rows: FloatArray, key: IntArray | None = None, count: int = 1) -> FloatArray:
    """(G,K) largest size of the same sums, whatever their sign."""
    return np.maximum(most(reach, rows, key, count), most(reach, -rows, key, count))


def sizes_of(reach: Reach, rows: FloatArray, key: IntArray | None = None, count: int = 1) -> FloatArray:
    """(G,K) the most of sums of |quantity| x rows, of rows of 0 or more."""
    group = np.zeros(len(rows), dtype=np.int64) if key is None else np.asarray(key)
    total = np.zeros((count, rows.shape[1]))
    inside = np.flatnonzero((group >= 0) & (reach.size > 0.0))
    np.add.at(total, group[inside], reach.size[inside, None] * rows[inside])
    return total


def per_contract(arrays: RiskArrays, rows: FloatArray) -> FloatArray:
    """(N,K) rows in ticks per unit as margin currency per contract or unit of an asset."""
    return np.asarray(rows * (arrays.tick_size / arrays.unit)[:, None])


def turning_rates(arrays: RiskArrays, haircut: FloatArray, factor: float, rows: FloatArray | None = None) -> FloatArray:
    """(N,) what a balance with a haircut inside the scenarios adds where its sign turns: the haircut times what factor
    x its largest fall is above its value; 0 where it is not, funds being concave there.

    rows  (N,S) as the model counts its scenarios, ticks per unit; those of the arrays where None
    """
    falls = np.maximum(-(arrays.rows if rows is None else rows).min(axis=1, initial=0.0), 0.0)
    beyond = np.maximum(factor * falls - arrays.value_rows, 0.0) * haircut
    return np.where(arrays.is_collateral, beyond * arrays.tick_size / arrays.unit, 0.0)


def backing_ceiling(arrays: RiskArrays, rates: BalanceRates, reach: Reach, need: float = 0.0) -> float:
    """The most of the charge of `balances_owed` after any subset: all that may be owed, and the largest cost of a coin
    per unit of what counts of it for all that may be lacking, at most the cost of all coins there may be.

    need  the most that contracts may ask for beyond the balance of the coin that they pay in, margin currency
    """
    tick, unit = arrays.tick_size, arrays.unit
    owed = float(reach.sold @ (rates.owed[:, 0] * tick / unit))
    back, left = rates.backing[:, 0], rates.left[:, 0]
    held = float(np.maximum(reach.high, 0.0) @ (back * tick / unit))
    value = per_contract(arrays, arrays.value_rows[:, None])
    money = most(reach, -value * rates.money[:, None])[0, 0]
    loans = most(reach, -value * rates.contracts[:, None])[0, 0]
    debts = float(reach.sold @ (rates.risen[:, 0] * tick / unit))
    lacking = max(money + max(loans, 0.0) + debts + need, 0.0)
    backed = held
    if np.isfinite(lacking) and np.all(left[back > 0.0] > 0.0):
        highest = float(np.max(back[back > 0.0] / left[back > 0.0], initial=0.0))
        backed = min(highest * lacking, held)
    # A tick for every balance that is rounded up.
    rounding = tick * float(np.sum((reach.low != 0.0) | (reach.high != 0.0)))
    return owed + backed + rounding


def debts_ceiling(arrays: RiskArrays, view: CurrencyCells, reach: Reach, factor: float) -> float:
    """The most of the charge of `currency_debts` after any subset, times a factor.

    With e the equity in a coin, c its cells and p the prices: m = the least of e and e + c. A coin that is owed has a
    gap of (highest p - 1) x max(-m, 0) at most; coins held have gaps of r = 1 / lowest p - 1 times their least worth,
    of which the share counts that is lacking: r times what is lacking at most. Both sums are convex.
    """
    count, coins = len(view.family), view.coin
    family = np.where(coins, np.append(view.family, -1)[arrays.underlying_idx], -1)
    value = per_contract(arrays, (arrays.value_rows * view.taken)[:, None])
    own = per_contract(arrays, view.own)
    equity = np.where(coins[:, None], value, 0.0)
    cells = np.where(coins[:, None], own, 0.0)
    price = view.price[np.arange(count)]
    short = most(reach, -np.column_stack([equity, equity + cells]), family, count).max(axis=1, initial=0.0)
    owed = float(np.maximum(price.max(axis=1, initial=1.0) - 1.0, 0.0) @ np.maximum(short, 0.0))
    worth = (equity + cells) * np.append(price, np.ones((1, price.shape[1])), axis=0)[family]
    least = np.maximum(most(reach, -worth, family, count).max(axis=1, initial=0.0), 0.0)
    owner = np.where(~coins, np.append(view.family, -1)[arrays.underlying_idx], -1)
    dollars = np.where(coins[:, None], 0.0, own)
    of_dollars = np.maximum(most(reach, -dollars, owner, count).max(axis=1, initial=0.0), 0.0)
    outside = np.maximum(most(reach, -np.where(owner[:, None] >= 0, 0.0, dollars)).max(initial=0.0), 0.0)
    money = most(reach, np.where(coins[:, None], 0.0, -value), haircut=np.where(coins, 0.0, view.haircut))[0, 0]
    lacking = max(float(least.sum() + of_dollars.sum() + outside + money), 0.0)
    kept = np.maximum(most(reach, equity, family, count)[:, 0], 0.0)
    lowest = price.min(axis=1, initial=1.0)
    ratio = np.where(lowest > 0.0, 1.0 / np.where(lowest > 0.0, lowest, 1.0) - 1.0, np.inf)
    some = kept > 0.0
    held = min(float(np.max(ratio[some], initial=0.0)) * lacking if lacking > 0.0 else 0.0, float(kept.sum()))
    return factor * (owed + held + (count * arrays.tick_size if owed + held > 0.0 else 0.0))


def smallest(costs: Sequence[float]) -> int:
    """Which of several bounds is the lowest."""
    return int(np.argmin(costs))
