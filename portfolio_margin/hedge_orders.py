"""hedge_with_orders: trades that meet a target of initial margin while open orders stay open.

The margin for open orders is that of the worst subset, and which one that is changes with the trades. The account is
hedged, margined with its orders, and where it misses the target, what it holds after the trades and the worst subset
filled is hedged to the target in turn; its trades are added to those before, until the account with its orders meets
the target. Every round does just enough for the subset that was worst, so rounds are few where there is a way at all.

What comes out meets the target with every subset of the orders filled; it is not proven the cheapest. Orders only ask
for more, so what is proven of hedging the positions alone is a lower bound here as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.convexity import INITIAL
from portfolio_margin.hedge import hedge
from portfolio_margin.hedge_result import Hedge, HedgeTrade
from portfolio_margin.hedge_terms import FLOORS, Limits, Target
from portfolio_margin.margin import margin
from portfolio_margin.order_margin import filled_book
from portfolio_margin.requirement import MarginModel
from portfolio_margin.sensitivities import what_if, with_orders
from portfolio_margin.worst_fill import OpenOrders
from pricing.errors import InfeasibleError
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

# How often the worst subset is hedged.
ROUNDS = 12
NOTE = "open orders stay open: the target is met with the worst subset of them; cheaper trades are not ruled out"


def hedge_with_orders(
    book: Book,
    arrays: RiskArrays,
    market: Market | None,
    model: MarginModel,
    account: str,
    target: Target,
    orders: OpenOrders,
    **terms: Any,
) -> Hedge:
    """Trades that bring the margin of one account to the target with its open orders counted.

    orders  of the accounts of the book, as `margin` takes them
    terms   instruments, costs, limits, backend of `hedge`, which has all else as well. Measures other than those of
            initial margin do not know orders: for these it is `hedge`

    InfeasibleError where no trades within the limits are found, as `hedge` raises it.
    """
    alone = hedge(book, arrays, market, model, account, target, **terms)
    if target.measure not in INITIAL:
        return alone
    row = book.row_of(account)
    own, mine = book.select(account), orders.between(row, row + 1)
    backend, limits = terms.get("backend", "numba"), terms.get("limits") or Limits()
    found = alone
    for _ in range(ROUNDS):
        margins = what_if(own, arrays, market, model, account, found.orders, backend=backend, open_orders=mine)
        found = replace(found, margins=margins)
        missed = target.missed_by(found.after(target.measure))
        if missed <= 0.0:
            return _stated(found, alone)
        after = with_orders(own, arrays, found.orders)
        filled = margin(after, arrays, market, model, backend=backend, orders=mine).orders
        subset = np.zeros(len(mine), np.bool_) if filled is None else filled.filled
        worst = filled_book(after, arrays, mine, [(0, np.arange(len(mine)), subset[None, :])])
        spent = found.cost if target.measure in FLOORS else 0.0
        name = str(worst.account_id[0])
        try:
            more = hedge(worst, arrays, market, model, name, Target(target.measure, target.amount + spent), **terms)
        except InfeasibleError:
            break
        if not more.trades or not _within(trades := _together(found.trades, more.trades), limits):
            break
        found = replace(found, trades=trades, cost=sum(trade.cost for trade in trades), binding=more.binding)
    raise InfeasibleError(
        f"{account}: no trades were found that bring {target.measure} to {target.amount:.2f} whichever of its open "
        f"orders fill; the last ones miss it by {missed:.2f}",
        found.after(target.measure),
        found.orders,
    )


def _together(first: Sequence[HedgeTrade], second: Sequence[HedgeTrade]) -> tuple[HedgeTrade, ...]:
    """Trades one after the other as one of each contract, at what a contract costs on the side that is left."""
    total: dict[str, HedgeTrade] = {trade.instrument: trade for trade in first}
    for trade in second:
        before = total.get(trade.instrument)
        if before is None:
            total[trade.instrument] = trade
            continue
        quantity = float(np.round(before.quantity + trade.quantity, 12))
        sides = [(t.cost / abs(t.quantity), t.price) for t in (before, trade) if t.quantity * quantity > 0.0]
        cost, price = max(sides, default=(0.0, trade.price))
        total[trade.instrument] = HedgeTrade(trade.instrument, quantity, cost * abs(quantity), price)
    return tuple(trade for trade in total.values() if trade.quantity != 0.0)


def _within(trades: Sequence[HedgeTrade], limits: Limits) -> bool:
    """Whether trades together keep the limits that each part kept by itself."""
    for trade in trades:
        most = limits.size.get(trade.instrument) if isinstance(limits.size, Mapping) else limits.size
        if most is None:
            continue
        sold, bought = most if isinstance(most, tuple) else (most, most)
        if not -sold <= trade.quantity <= bought:
            return False
    return limits.total_cost is None or sum(trade.cost for trade in trades) <= limits.total_cost


def _stated(found: Hedge, alone: Hedge) -> Hedge:
    """The trades with what is proven of them: they cost no less than the positions alone need."""
    lower = min(alone.lower_bound, found.cost)
    gap = (found.cost - lower) / found.cost if found.cost > 0.0 else 0.0
    return replace(found, lower_bound=lower, gap=np.nan if np.isnan(lower) else gap, notes=(*found.notes, NOTE))
