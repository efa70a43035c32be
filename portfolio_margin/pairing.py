"""pairing: the ways in which options and stock of one account on one underlying form strategies.

Every way to form one strategy is a column: which positions it uses, and what it asks for. Combinations that ask for no
less than their parts are no columns. `pairing_program` finds the cheapest set of columns that uses every position once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.strategy_table import (
    SINGLES,
    STRADDLE,
    WITH_STOCK,
    Legs,
    Rates,
    Strategy,
    naked_amount,
    name_of_spread,
    out_of_the_money,
    stock_amounts,
)
from pricing.arrays import FloatArray, IntArray
from pricing.errors import NumericalError

# Amounts are whole millionths of the margin currency, so that sums are exact.
MICRO = 1e6
MAX_COLUMNS = 200_000
SAVING = 0.5 / MICRO


class Holding(NamedTuple):
    """What one account holds on one underlying: options, stock units (signed), spot in quote currency, rates, and
    margin currency per unit of quote currency of one stock unit."""

    legs: Legs
    stock: float
    spot: float
    rates: Rates
    stock_size: float


class Columns(NamedTuple):
    """Ways to form one strategy each.

    strategy  of each column
    members   positions of each column: rows of the legs, once per contract used
    shares    stock units each uses
    cost      (m,2) initial and maintenance of one, margin currency
    """

    strategy: list[Strategy]
    members: list[tuple[int, ...]]
    shares: list[float]
    cost: list[tuple[float, float]]

    def add(self, strategy: Strategy, members: tuple[int, ...], cost: tuple[float, float], shares: float = 0.0) -> None:
        """One more column; a requirement is never below 0, and maintenance never above initial."""
        maintenance = max(cost[1], 0.0)
        self.strategy.append(strategy)
        self.members.append(members)
        self.shares.append(shares)
        self.cost.append((max(cost[0], maintenance), maintenance))


def columns_of(held: Holding, spreads: bool) -> Columns:
    """Every strategy that the positions allow and that saves anything; with `spreads`, those of options alone with two
    and four legs among them."""
    found = Columns([], [], [], [])
    legs, naked = held.legs, naked_amount(held.legs, held.spot, held.rates)
    share = np.where(legs.long_dated, held.rates.long_dated, 1.0)
    alone = np.where(legs.long, share * legs.value, naked)
    for row in range(len(legs.strike)):
        text = ("C" if legs.call[row] else "P") if legs.long[row] else ("c" if legs.call[row] else "p")
        found.add(_single(text), (row,), (float(alone[row]),) * 2)
    if spreads:
        pairs, loss, cost = _spreads(held, alone)
        for (short, long), amount in zip(pairs, cost, strict=True):
            found.add(named(legs, (short, long)), (int(short), int(long)), (float(amount),) * 2)
        _combinations(held, pairs, loss, alone, found)
    _straddles(held, naked, found)
    if held.stock:
        _with_stock(held, found)
    if len(found.strategy) > MAX_COLUMNS:
        raise NumericalError(f"{len(found.strategy)} ways to pair {len(legs.strike)} options, at most {MAX_COLUMNS}")
    return found


def _single(text: str) -> Strategy:
    return next(row for row in SINGLES if row.legs == text)


def named(legs: Legs, rows: tuple[int, ...]) -> Strategy:
    """The row of the table that a spread of these legs, listed once per contract, falls under."""
    order = sorted(rows, key=lambda r: (legs.strike[r], not legs.call[r], not legs.long[r]))
    # A short iron butterfly lists its body as call before put, whichever is long.
    text = "".join((("C" if legs.call[r] else "P") if legs.long[r] else ("c" if legs.call[r] else "p")) for r in order)
    strikes = legs.strike[order]
    marks = "".join("=" if same else "<" for same in strikes[1:] == strikes[:-1])
    return name_of_spread(text, marks, len(set(legs.expiry[list(rows)].tolist())) == 1)


def _spreads(held: Holding, alone: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """(p,2) short and long leg of every spread of two, (p,k) its intrinsic loss at every strike, (p,) what it asks.

    All that may be part of a larger spread are among them, those that save nothing by themselves too.
    """
    legs = held.legs
    sold, bought = np.flatnonzero(~legs.long), np.flatnonzero(legs.long)
    short, long = np.repeat(sold, len(bought)), np.tile(bought, len(sold))
    fits = (legs.call[short] == legs.call[long]) & (legs.expiry[long] >= legs.expiry[short])
    fits &= (legs.style[short] == legs.style[long]) & (legs.size[short] == legs.size[long])
    short, long = short[fits], long[fits]
    loss = intrinsic(legs, short) - intrinsic(legs, long)
    worst = np.maximum(loss.max(axis=1, initial=0.0), 0.0)
    cost = np.maximum(worst + legs.value[long] - legs.value[short], 0.0)
    return np.column_stack([short, long]), loss, cost


def intrinsic(legs: Legs, rows: IntArray) -> FloatArray:
    """(r,k) margin currency of one step of each option at expiry, at every strike of the account, at 0 and beyond."""
    top = 2.0 * legs.strike.max(initial=1.0)
    points = np.unique(np.concatenate([[0.0, top], legs.strike]))
    sign = np.where(legs.call[rows], 1.0, -1.0)[:, None]
    worth = np.maximum(sign * (points[None, :] - legs.strike[rows, None]), 0.0)
    return np.asarray(worth * legs.size[rows, None])


def _combinations(held: Holding, pairs: IntArray, loss: FloatArray, alone: FloatArray, found: Columns) -> None:
    """Butterflies, condors, boxes and the like: two spreads whose worst losses fall on different prices."""
    legs = held.legs
    value = legs.value[pairs[:, 1]] - legs.value[pairs[:, 0]] if len(pairs) else np.zeros(0)
    apart = np.minimum(np.maximum(loss.max(axis=1, initial=0.0), 0.0) + value, alone[pairs].sum(axis=1))
    apart = np.maximum(apart, 0.0)
    seen: dict[tuple[int, ...], float] = {}
    for first in range(len(pairs)):
        rest = np.arange(first, len(pairs))
        worst = np.maximum((loss[first] + loss[rest]).max(axis=1), 0.0)
        cost = np.maximum(worst + value[first] + value[rest], 0.0)
        last_short = np.maximum(legs.expiry[pairs[first, 0]], legs.expiry[pairs[rest, 0]])
        first_long = np.minimum(legs.expiry[pairs[first, 1]], legs.expiry[pairs[rest, 1]])
        fits = (first_long >= last_short) & (legs.size[pairs[rest, 0]] == legs.size[pairs[first, 0]])
        fits &= legs.style[pairs[rest, 0]] == legs.style[pairs[first, 0]]
        for second in rest[fits & (cost < apart[first] + apart[rest] - SAVING)]:
            members = tuple(sorted((*pairs[first].tolist(), *pairs[second].tolist())))
            seen.setdefault(members, float(cost[second - first]))
        if len(seen) > MAX_COLUMNS:
            raise NumericalError(f"more than {MAX_COLUMNS} ways to pair {len(legs.strike)} options")
    for members, amount in seen.items():
        found.add(named(legs, members), members, (amount,) * 2)


def _straddles(held: Holding, naked: FloatArray, found: Columns) -> None:
    """The larger requirement of the two sides, its value included, and the value of the other side."""
    legs = held.legs
    calls, puts = np.flatnonzero(legs.call & ~legs.long), np.flatnonzero(~legs.call & ~legs.long)
    total = naked + legs.value
    for call in calls:
        for put in puts[legs.size[puts] == legs.size[call]]:
            greater = call if total[call] >= total[put] else put
            found.add(STRADDLE, (int(call), int(put)), (float(naked[greater]),) * 2)


def _with_stock(held: Holding, found: Columns) -> None:
    legs, long_stock = held.legs, held.stock > 0
    for row in WITH_STOCK:
        if (row.legs[0] == "S") != long_stock:
            continue
        rows = [_matching(legs, letter) for letter in row.legs[1:]]
        for members in [(a,) for a in rows[0]] if len(rows) == 1 else [(a, b) for a in rows[0] for b in rows[1]]:
            if _allowed(legs, row, members):
                cost = _hedged_cost(held, row, members)
                found.add(row, members, cost, float(legs.shares[members[0]]))


def _matching(legs: Legs, letter: str) -> list[int]:
    wanted = (legs.call == (letter in "Cc")) & (legs.long == letter.isupper())
    return [int(row) for row in np.flatnonzero(wanted)]


def _allowed(legs: Legs, row: Strategy, members: tuple[int, ...]) -> bool:
    if len(members) == 1:
        return True
    first, second = members
    same = legs.expiry[first] == legs.expiry[second] and legs.size[first] == legs.size[second]
    low, high = legs.strike[first], legs.strike[second]
    return bool(same and (low == high if row.strikes == "=" else low < high))


def _hedged_cost(held: Holding, row: Strategy, members: tuple[int, ...]) -> tuple[float, float]:
    """Initial and maintenance of stock with options against it, margin currency."""
    legs, spot, rates = held.legs, held.spot, held.rates
    first = members[0]
    size = float(legs.size[first])
    amounts = stock_amounts(spot, rates)[0 if held.stock > 0 else 1]
    value = sum(float(legs.value[m] if legs.long[m] else -legs.value[m]) for m in members)
    strike, away = float(legs.strike[first]), float(out_of_the_money(legs, spot)[first])
    sold = [m for m in members if not legs.long[m]]
    # Stock that may be called away, or put, at a strike is worth no more than that strike.
    given = sum(max(spot - legs.strike[m] if legs.call[m] else legs.strike[m] - spot, 0.0) for m in sold)
    # Regulation T 220.4(b)(4)(ii): valued at no more than the strike, so that the share to open is of that as well.
    initial = amounts[0] * min([1.0, *(float(legs.strike[m]) / spot for m in sold if legs.call[m])])
    if row.name == "covered call":
        maintenance = rates.stock_long * min(spot, strike)
    elif row.name == "covered put":
        maintenance = amounts[1]
    elif row.name in ("conversion", "reverse conversion"):
        maintenance = rates.hedged * strike
    elif row.name == "collar":
        maintenance = min(rates.hedged * strike + away, rates.collar * float(legs.strike[members[1]]))
    else:
        maintenance = min(rates.hedged * strike + away, amounts[1])
    return size * (initial + given) + value, size * (maintenance + given) + value
