"""Result: what a stress has done to a venue, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.liquidation.states import States
from portfolio_margin.statement import AccountStatus
from portfolio_margin.stress.balances import TICK, Balances
from portfolio_margin.stress.fates import Fates, account_columns
from portfolio_margin.stress.path import StressPath
from pricing.arrays import BoolArray, FloatArray, StrArray

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StepRow:
    """One step; amounts in margin currency, flows are of the step alone.

    hours           since the start
    liquidated      accounts that were traded in the step
    bankrupt        accounts closed in the step that owed something
    waiting         accounts below maintenance at the end of the step
    shortfall       what closed accounts owed
    from_fund, deleveraged, socialised   who bore it, and what was left over of earlier steps
    uncovered       what closed accounts owe still at the end, of all steps
    costs, penalties   that accounts paid for being closed
    fund            insurance fund at the end
    equity          of all accounts at the end; owed of it, by accounts below 0 that are not closed or not covered
    owed            0 or more
    initial_margin, maintenance_margin   in force at the end
    margin_calls, reduce_only, in_liquidation   accounts in these states of `liquidation.states` at the end; bankrupt
                    ones are among the last
    """

    hours: float
    liquidated: int
    bankrupt: int
    waiting: int
    shortfall: float
    from_fund: float
    deleveraged: float
    socialised: float
    uncovered: float
    costs: float
    penalties: float
    fund: float
    equity: float
    owed: float
    initial_margin: float
    maintenance_margin: float
    margin_calls: int = 0
    reduce_only: int = 0
    in_liquidation: int = 0


@dataclass(frozen=True)
class Followed:
    """One account through a stress, (T,) each, in margin currency, as a statement says it at the prices that the venue
    sees.

    row        its row in the book
    equity, balance, initial, maintenance   at the end of a step
    balance_before, initial_before, maintenance_before   within the step, before anybody is liquidated in it
    traded     True where the account was liquidated in the step
    expired    True where a contract that it held at the start expired since the step before
    """

    row: int
    equity: FloatArray
    balance: FloatArray
    initial: FloatArray
    maintenance: FloatArray
    balance_before: FloatArray
    initial_before: FloatArray
    maintenance_before: FloatArray
    traded: BoolArray
    expired: BoolArray

    def columns(self) -> dict[str, Any]:
        """One row a step."""
        names = [f.name for f in fields(self) if f.name != "row"]
        return {f"account_{name}": getattr(self, name) for name in names}


def followed_by(row: int, lines: Sequence[tuple[Any, ...]]) -> Followed:
    """An account by its lines, one a step: its figures in the order of `Followed`, the last how many contracts that it
    held at the start have expired by then; where it holds nothing any more, 0."""
    columns = [np.array(column) for column in zip(*lines, strict=True)]
    columns[-1] = np.diff(columns[-1], prepend=0) > 0
    return Followed(row, *columns)


@dataclass(frozen=True)
class Result:
    """What a stress has done to a venue.

    path       the path
    currency   margin currency
    rows       one a step
    price      (T,U) of each underlying at the end of a step, what forced trades did included
    vol        (T,U) at 30 days, as a factor on the start; pushed (T,U) log price by forced trades
    underlying_id   (U,) names
    fates      of each account; states, what each may do at the end
    balances   of everybody at the end; opening those at the start
    fund       insurance fund at the start
    drawn      of it at most, at any time, and its floor where anything was
    drawn_beside   the same without the debts of accounts that were below 0 before the path
    digests    of the rows of the book, by partition, where it was read in partitions
    followed   the account that was to be followed, None for nobody; its columns are in the frame
    """

    path: StressPath
    currency: str
    rows: tuple[StepRow, ...]
    price: FloatArray
    vol: FloatArray
    pushed: FloatArray
    underlying_id: Any
    fates: Fates
    states: States
    balances: Balances
    opening: Balances
    fund: float
    drawn: float
    drawn_beside: float
    digests: tuple[str, ...] = ()
    followed: Followed | None = None

    def total(self, name: str) -> float:
        """Sum of a flow over the steps, or of a count."""
        return float(sum(getattr(row, name) for row in self.rows))

    @property
    def liquidated(self) -> BoolArray:
        """(A,) True for accounts that were traded in any step."""
        return np.asarray(self.fates.steps > 0)

    @property
    def accounts_below_before(self) -> int:
        """Accounts below 0 before the path begins."""
        return int(np.count_nonzero(self.fates.below_before))

    @property
    def owed_before(self) -> float:
        """What they owe then, margin currency."""
        return TICK * float(np.maximum(-self.fates.before, 0).sum())

    @property
    def shortfall_before(self) -> float:
        """Of the shortfall, what closing them left: their debt, the cost of closing and what prices did until then."""
        return TICK * float(self.fates.owed_before)

    def accounts(self, account_id: StrArray) -> dict[str, Any]:
        """Columns of `fates.account_columns`, of the accounts by these names (A,) that were traded or closed, and
        `state_after`, what each may do at the end."""
        table = account_columns(self.fates, account_id, self.path.hours, self.balances.trader)
        row_of = {name: row for row, name in enumerate(account_id.tolist())}
        rows = [row_of[name] for name in table["account"].tolist()]
        names = [AccountStatus(code).name for code in self.states.state[rows].tolist()]
        return table | {"state_after": np.array(names, dtype=np.str_)}

    @property
    def survived(self) -> bool:
        """Whether the fund was enough: nothing was taken from other accounts, and nothing stays owed."""
        return self.total("deleveraged") + self.total("socialised") + self.rows[-1].owed == 0.0

    @property
    def fund_needed(self) -> float:
        """The smallest fund at the start that would have borne every shortfall, given what penalties bring in.

        NaN where this one did not: others that pay for a loss are then closed sooner or later than they would have
        been. `prevention.fund_needed` runs the path again with a fund that bears all.
        """
        return round(self.drawn, 2) if self.survived else float("nan")

    @property
    def fund_needed_beside(self) -> float:
        """`fund_needed` without the debts of accounts that were below 0 before the path; their forced trades, and what
        these do to prices, stay in it."""
        return round(self.drawn_beside, 2) if self.survived else float("nan")

    def columns(self) -> dict[str, Any]:
        """One row a step."""
        table: dict[str, Any] = {"step": np.arange(1, len(self.rows) + 1)}
        table["hours"] = np.array([row.hours for row in self.rows])
        for u, name in enumerate(self.underlying_id):
            table |= {f"price_{name}": self.price[:, u], f"vol_{name}": self.vol[:, u]}
            table[f"pushed_{name}"] = self.pushed[:, u]
        names = [f.name for f in fields(StepRow) if f.name != "hours"]
        table |= {name: np.array([getattr(row, name) for row in self.rows]) for name in names}
        return table if self.followed is None else table | self.followed.columns()

    def frame(self) -> pd.DataFrame:
        """pandas frame, one row a step."""
        from portfolio_margin.io.frames import frame

        attributes = {"path": self.path.name, "source": self.path.source, "currency": self.currency}
        return frame(self.columns(), attributes)
