"""explain: from a requirement down to charge, netting set, position and scenario; everything sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.margin_notes import CollateralLine, collateral_lines
from portfolio_margin.requirement import EXACT, Contribution, covered
from portfolio_margin.scenario_moves import ScenarioMoves, moves_of
from portfolio_margin.statement import MarginStatement, nearest_step
from pricing.errors import ConfigError, DataError, Problem
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    import pandas as pd

# Below a netting set stands an expiry, or what a model names instead: Contribution.level.
LEVELS = ("requirement", "charge", "netting_set", "expiry", "position")


@dataclass(frozen=True)
class ExplainedLine:
    """One line of the tree; `depth` 0 is the requirement, its children follow it one deeper. `ours` marks lines of a
    charge that no rule of the venue has, `Traits.ours`.
    """

    depth: int
    level: str
    name: str
    quantity: float | None
    scenario: str
    initial: Decimal
    maintenance: Decimal
    ours: bool = False


@dataclass(frozen=True)
class Explanation:
    """Why one account is required to hold what it is, in exact decimals of the margin currency.

    Each line is the exact sum of the lines one deeper below it, where there are any: what belongs to no expiry or
    position has none. The line "rounding" is what rounding adds to the two totals, or takes off.
    Beside them `collateral`, the balances with what counts of each, and `scenarios`, the moves of all that lines name.
    """

    account: str
    currency: str
    model_id: str
    margin_balance: float
    status: str
    lines: tuple[ExplainedLine, ...]
    collateral: tuple[CollateralLine, ...] = ()
    scenarios: tuple[ScenarioMoves, ...] = ()

    def columns(self) -> dict[str, list[Any]]:
        """The lines as named columns; amounts as Decimal."""
        names = ("depth", "level", "name", "quantity", "scenario", "initial", "maintenance", "ours")
        return {name: [getattr(line, name) for line in self.lines] for name in names}

    def frame(self) -> pd.DataFrame:
        """pandas frame, one row a line."""
        from portfolio_margin.io.frames import frame

        return frame(self.columns(), {"account": self.account, "currency": self.currency, "model_id": self.model_id})


def explain(statement: MarginStatement, book: Book, arrays: RiskArrays, account: str) -> Explanation:
    """Explain one account of a statement.

    DataError where book or arrays are not the statement's, ConfigError where an argument is of another kind.
    """
    check_kinds(statement, book, arrays)
    row = book.row_of(account)
    if row >= len(statement) or statement.account[row] != account:
        raise DataError([Problem("statement", None, "account", account, "the statement was made for another book")])
    totals = (
        Decimal(repr(float(statement.initial_margin[row]))),
        Decimal(repr(float(statement.maintenance_margin[row]))),
    )
    with localcontext(EXACT):
        seen, _ = covered(statement.model, book.select(account), arrays)
        contributions = statement.model.contributions(seen, arrays) + _order_lines(statement, arrays, row)
        exact = _sum(contributions)
        rounding = (totals[0] - exact[0], totals[1] - exact[1])
        if any(not abs(amount) <= 2 * Decimal(repr(statement.money_step)) for amount in rounding):
            raise DataError(
                [Problem("statement", None, "initial_margin", str(totals[0]), f"positions and arrays give {exact[0]}")]
            )
        lines = [
            ExplainedLine(0, "requirement", account, None, "", *totals),
            *_marked(_tree(contributions, 1), statement.model.traits.ours),
            ExplainedLine(1, "rounding", "to the money step", None, "", *rounding),
        ]
    columns = statement.columns()
    named = [line.scenario for line in lines]
    return Explanation(
        account=account,
        currency=statement.currency,
        model_id=statement.model.model_id,
        margin_balance=float(statement.margin_balance[row]),
        status=str(columns["status"][row]),
        lines=tuple(lines),
        collateral=collateral_lines(book.select(account), arrays, statement.model),
        scenarios=moves_of(arrays, [*named, str(columns["worst_scenario"][row])], book.select(account)),
    )


def check_kinds(statement: MarginStatement, book: Book, arrays: RiskArrays) -> None:
    """ConfigError for the first of the three that is something else: they are easily given in another order."""
    kinds = (("statement", statement, MarginStatement), ("book", book, Book), ("arrays", arrays, RiskArrays))
    for name, given, kind in kinds:
        if not isinstance(given, kind):
            raise ConfigError(f"{name} is a {type(given).__name__}: must be a {kind.__name__}")


def _marked(lines: list[ExplainedLine], ours: tuple[str, ...]) -> list[ExplainedLine]:
    """The lines with those of our own charges marked."""
    marked, own = [], False
    for line in lines:
        own = line.name in ours if line.level == "charge" else own
        marked.append(replace(line, ours=own))
    return marked


def _order_lines(statement: MarginStatement, arrays: RiskArrays, row: int) -> list[Contribution]:
    """Margin for the open orders of an account, as a whole: what one order of the worst subset adds depends on the
    others. The orders of the subset are named below it, with their quantities and no amounts of their own."""
    found = statement.orders
    if found is None or not found.method[row]:
        return []
    name, nothing = f"worst subset, {found.method_names[row]}", Decimal(0)
    amount = Decimal(repr(float(nearest_step(found.added[row : row + 1], statement.money_step)[0])))
    lines = [Contribution("open_orders", name, "", "all of it together", 0.0, "", amount, nothing)]
    for o in np.flatnonzero((found.orders.account_idx == row) & found.filled).tolist():
        order = f"fills {arrays.instrument_id[found.orders.instrument_idx[o]]}"
        quantity = float(found.orders.quantity[o])
        lines.append(Contribution("open_orders", name, "", order, quantity, "", nothing, nothing))
    return lines


_KEYS: tuple[tuple[str, Callable[[Contribution], str]], ...] = (
    ("charge", lambda line: line.charge),
    ("netting_set", lambda line: line.netting_set),
    ("expiry", lambda line: line.expiry),
)


def _below(line: Contribution, depth: int) -> bool:
    """Whether a contribution has a name on a level deeper than `depth`."""
    return bool(line.instrument) or any(key(line) for _, key in _KEYS[depth:])


def _tree(contributions: list[Contribution], depth: int, key_number: int = 0) -> list[ExplainedLine]:
    """Lines of the levels from key `key_number` on, parents before children, in order of appearance.

    What belongs to no expiry has no line on that level: its positions stand where expiries would.
    """
    if key_number == len(_KEYS):
        return [
            ExplainedLine(depth, "position", c.instrument, c.quantity, c.scenario, c.initial, c.maintenance)
            for c in contributions
        ]
    level, key = _KEYS[key_number]
    lines: list[ExplainedLine] = []
    for name in dict.fromkeys(key(c) for c in contributions):
        members = [c for c in contributions if key(c) == name]
        below = any(_below(c, key_number + 1) for c in members)
        if level == "expiry" and not name and below:
            lines += _tree(members, depth, key_number + 1)
            continue
        scenarios = {c.scenario for c in members}
        scenario = scenarios.pop() if len(scenarios) == 1 else ""
        shown = members[0].level if level == "expiry" else level
        lines.append(ExplainedLine(depth, shown, name, None, scenario, *_sum(members)))
        # What belongs to no expiry or position ends here: there is nothing to name below.
        if below:
            lines += _tree(members, depth + 1, key_number + 1)
    return lines


def _sum(contributions: Iterable[Contribution]) -> tuple[Decimal, Decimal]:
    members = list(contributions)
    zero = Decimal(0)
    return sum((c.initial for c in members), zero), sum((c.maintenance for c in members), zero)
