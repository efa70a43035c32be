"""What each position of an account asks for: by itself, at the margin, and as its share of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.explain import explain
from portfolio_margin.requirement import EXACT, covered
from portfolio_margin.statement import MarginStatement, nearest_step, up
from pricing.arrays import FloatArray
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    import pandas as pd

# Positions of the reduced books that are computed at once.
ROWS_AT_ONCE = 2_000_000
OTHER = "no position"


@dataclass(frozen=True)
class PositionMargins:
    """The margin of one account by position, (P,) each with (P,2) for initial and maintenance, margin currency.

    instrument, quantity   what is held
    standalone   requirement of an account that holds nothing else
    marginal     requirement of the account less its requirement without the position; negative for a hedge
    share        exact Decimal contributions in the worst scenario; with `other` they add up to the requirement
    other        what no single position is charged with: floors less what they replace, open orders, rounding
    """

    account: str
    currency: str
    instrument: tuple[str, ...]
    quantity: FloatArray
    standalone: FloatArray
    marginal: FloatArray
    share: tuple[tuple[Decimal, Decimal], ...]
    other: tuple[Decimal, Decimal]

    def columns(self) -> dict[str, list[Any]]:
        """Named columns, one row a position and a last one for what no position is charged with."""
        named: dict[str, list[Any]] = {
            "instrument": [*self.instrument, OTHER],
            "quantity": [*self.quantity.tolist(), None],
        }
        for part, name in enumerate(("initial", "maintenance")):
            named[f"standalone_{name}"] = [*self.standalone[:, part].tolist(), None]
            named[f"marginal_{name}"] = [*self.marginal[:, part].tolist(), None]
            named[f"share_{name}"] = [*(share[part] for share in self.share), self.other[part]]
        return named

    def frame(self) -> pd.DataFrame:
        """pandas frame of the columns."""
        from portfolio_margin.io.frames import frame

        return frame(self.columns(), {"account": self.account, "currency": self.currency})


def position_margins(statement: MarginStatement, book: Book, arrays: RiskArrays, account: str) -> PositionMargins:
    """The margin of one account of a statement by position.

    statement, book, arrays   as `margin` made it and took them
    account                   whose positions they are

    DataError where book or arrays are not the statement's or there is no such account, ConfigError where an argument is
    of another kind.
    """
    explanation = explain(statement, book, arrays, account)
    own, row = book.select(account), book.row_of(account)
    names = tuple(str(arrays.instrument_id[i]) for i in own.instrument_idx)
    for_orders = 0.0 if statement.orders is None else float(statement.orders.added[row])
    # Of the positions alone: what orders ask for without one of them is another question.
    whole = np.array([statement.initial_margin[row] - for_orders, statement.maintenance_margin[row]])
    standalone, without = _reduced(own, arrays, statement)
    with localcontext(EXACT):
        zero = Decimal(0)
        shares = dict.fromkeys(names, (zero, zero))
        for line in explanation.lines:
            if line.level == "position" and line.name in shares:
                initial, maintenance = shares[line.name]
                shares[line.name] = (initial + line.initial, maintenance + line.maintenance)
        charged = [sum((share[part] for share in shares.values()), zero) for part in (0, 1)]
        total = explanation.lines[0]
        other = (total.initial - charged[0], total.maintenance - charged[1])
    return PositionMargins(
        account=account,
        currency=statement.currency,
        instrument=names,
        quantity=own.quantity,
        standalone=standalone,
        marginal=nearest_step(whole - without, statement.money_step),
        share=tuple(shares[name] for name in names),
        other=other,
    )


def _reduced(own: Book, arrays: RiskArrays, statement: MarginStatement) -> tuple[FloatArray, FloatArray]:
    """(P,2) requirements of every position alone, and of the account without every position."""
    count = len(own.quantity)
    alone, without = np.zeros((count, 2)), np.zeros((count, 2))
    ungrouped = count > 0 and own.group_key.min() == UNGROUPED
    groups = None if ungrouped else arrays.expiry_idx
    money = statement.money_step
    step = max(1, ROWS_AT_ONCE // max(count, 1))
    for start in range(0, count, step):
        chosen = np.arange(start, min(count, start + step))
        kept = chosen[:, None] != np.arange(count)
        account, position = np.nonzero(kept)
        held = np.concatenate([chosen, position])
        book = Book.from_arrays(
            np.concatenate([np.arange(len(chosen)), len(chosen) + account]),
            own.instrument_idx[held],
            own.quantity[held],
            group_of_instrument=groups,
            accounts=np.arange(2 * len(chosen)),
        )
        required = statement.model.requirement(covered(statement.model, book, arrays)[0], arrays)
        both = np.column_stack([up(required.initial, money), up(required.maintenance, money)])
        alone[chosen], without[chosen] = both[: len(chosen)], both[len(chosen) :]
    return alone, without
