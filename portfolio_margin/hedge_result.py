"""Hedge: trades that bring an account to its target, what they cost, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.hedge_terms import TradeTerms
from portfolio_margin.sensitivities import WhatIf
from portfolio_margin.trial_margins import Trials
from pricing.arrays import FloatArray

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class HedgeTrade:
    """One trade: quantity in contracts, + bought, and its cost beside the mark in margin currency.

    price  of a contract that it is filled at, as the venue quotes it: an option that pays in coin in coin, others in
           quote currency; without fees, which the cost has as well
    """

    instrument: str
    quantity: float
    cost: float
    price: float

    @property
    def side(self) -> str:
        """buy or sell."""
        return "buy" if self.quantity > 0.0 else "sell"


@dataclass(frozen=True)
class Hedge:
    """Trades of one account, verified by computing its margin anew after them.

    account, currency, model_id
    measure, target   what was asked for; "" and NaN for the smallest margin of a book
    trades      in the order of the risk arrays; none where the target was met already
    cost        of all trades, margin currency: fees and what lies between mark and fill
    lower_bound the least any such trades cost, NaN where none is proven; of a smallest margin, the least objective
    gap         (cost - lower_bound) / cost, or of the objective; 0 where proven best, NaN where nothing is proven
    convex      True where the model declares its requirement convex in the quantities and no trade evaluated speaks
                against it; False: a bound is proven only where no trades are the cheapest, or all were looked at
    margins     the account before and after, the trades filled at the mark; `balance_after` counts their cost as well
    binding     labels of the scenarios behind the planes that bind at the trades
    planes, rounds   of the program: planes found, and programs solved
    notes       what whoever uses the trades must know
    finished    False where a time limit ended the search
    """

    account: str
    currency: str
    model_id: str
    measure: str
    target: float
    trades: tuple[HedgeTrade, ...]
    cost: float
    lower_bound: float
    gap: float
    convex: bool
    margins: WhatIf
    binding: tuple[str, ...]
    planes: int
    rounds: int
    notes: tuple[str, ...] = ()
    finished: bool = True

    @property
    def orders(self) -> tuple[tuple[str, float], ...]:
        """(instrument, quantity) as `what_if` takes them."""
        return tuple((trade.instrument, trade.quantity) for trade in self.trades)

    def after(self, measure: str) -> float:
        """A measure of the account after the trades and their cost."""
        value = self.margins.post[measure]
        return value - self.cost if measure in ("available_funds", "excess_liquidity", "margin_balance") else value

    def columns(self) -> dict[str, list[Any]]:
        """The trades as named columns."""
        names = ("instrument", "side", "quantity", "price", "cost")
        return {name: [getattr(trade, name) for trade in self.trades] for name in names}

    def identity(self) -> dict[str, Any]:
        """Everything else, by name; NaN as None."""
        stated = {
            name: getattr(self, name)
            for name in ("account", "currency", "model_id", "measure", "target", "cost", "lower_bound", "gap", "convex")
        }
        stated = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in stated.items()}
        names = ("margin_balance", "initial_margin", "maintenance_margin", "available_funds", "excess_liquidity")
        stated |= {f"pre_{name}": self.margins.pre[name] for name in names}
        stated |= {f"post_{name}": self.after(name) for name in names}
        return {
            **stated,
            "binding_scenarios": list(self.binding),
            "planes": self.planes,
            "rounds": self.rounds,
            "finished": self.finished,
            "notes": list(self.notes),
            "positions_excluded": list(self.margins.positions_excluded),
        }

    def frame(self) -> pd.DataFrame:
        """pandas frame, one row a trade; `identity()` is in its attrs."""
        from portfolio_margin.io.frames import frame

        return frame(self.columns(), self.identity())


def trades_of(trials: Trials, terms: TradeTerms, lots: FloatArray) -> tuple[HedgeTrade, ...]:
    """Whole lots (n,) as trades."""
    found = []
    for k in np.argsort(trials.rows, kind="stable"):
        size = float(np.rint(lots[k]))
        if size == 0.0:
            continue
        # Decimal steps such as 0.1 do not multiply exactly: 3 of them are 0.3.
        quantity = float(np.round(size * trials.step[k], 12))
        by_lot, price = (terms.buy_cost, terms.buy_price) if size > 0.0 else (terms.sell_cost, terms.sell_price)
        cost = float(by_lot[k] * abs(size))
        found.append(HedgeTrade(str(trials.names[k]), quantity, cost, float(np.round(price[k], 10))))
    return tuple(found)
