"""LiquidationPlan: what of an account is closed, what it costs, and its margin before and after, recomputed in full."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.book import Book
from pricing.arrays import BoolArray, FloatArray, freeze_fields
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays

# Amounts are whole money steps, of 1e-8 at least: a sum is rid of binary noise.
NOISE_DIGITS = 8

# Defaults of every policy, of `liquidate`, `report` and a stress alike: margin restored above maintenance, as Paradex
# cuts to 90 %; cost of trading and penalty on closing, shares of the notional, which are ours.
DEFAULT_BUFFER = 1.0 / 9.0
DEFAULT_COST, DEFAULT_PENALTY = 0.0005, 0.0025


class Outcome(StrEnum):
    """How a plan ends.

    SAFE       the account is not below its maintenance margin: nothing is done
    RESTORED   the buffer above the maintenance margin is there again
    UNMARGINED it is there again for what the model has rules for, but the account holds risk beside that
    EXHAUSTED  no close, and no hedge that the policy takes, brings it nearer: the rest is auctioned or taken over
    BANKRUPT   its equity is not above 0, from the start or after what its trades cost: it is taken over, and the
               waterfall bears the deficit
    """

    SAFE = "safe"
    RESTORED = "restored"
    UNMARGINED = "unmargined"
    EXHAUSTED = "exhausted"
    BANKRUPT = "bankrupt"


class Action(StrEnum):
    """What a trade of a plan is for; an asset is converted into the margin currency."""

    CLOSE = "close"
    HEDGE = "hedge"
    CONVERT = "convert"


@dataclass(frozen=True)
class Costs:
    """What trading costs and a liquidation charges, margin currency.

    trading        (N,) a contract traded or a unit of an asset converted, against the mark: spread, impact, fees; 0 or
                   more
    penalty        (N,) a contract closed, 0 or more; hedges and conversions pay none
    penalty_share  of the maintenance margin that a close frees, 0 to 1
    tradable       (N,) whether there is a market for the contract or asset now

    Built by `Costs.of`, which takes a number for all contracts too.
    """

    trading: FloatArray
    penalty: FloatArray
    penalty_share: float
    tradable: BoolArray

    def __post_init__(self) -> None:
        freeze_fields(self, {"trading": np.float64, "penalty": np.float64, "tradable": np.bool_})

    @classmethod
    def of(
        cls,
        arrays: RiskArrays,
        trading: ArrayLike = 0.0,
        penalty: ArrayLike = 0.0,
        penalty_share: float = 0.0,
        tradable: ArrayLike = True,
    ) -> Costs:
        """Costs of the contracts of these arrays.

        trading        (N,) or one number: margin currency a contract traded
        penalty        (N,) or one number: margin currency a contract closed
        penalty_share  of the maintenance margin freed, 0 to 1
        tradable       (N,) or one truth value

        DataError naming every contract with a cost that is no number of 0 or more.
        """
        problems = []
        columns = {}
        for name, given in (("trading", trading), ("penalty", penalty)):
            column = np.broadcast_to(np.asarray(given, dtype=np.float64), len(arrays)).copy()
            columns[name] = column
            for row in np.flatnonzero(~(np.isfinite(column) & (column >= 0.0))):
                text = "must be a finite number, 0 or more"
                problems.append(Problem("costs", str(arrays.instrument_id[row]), name, float(column[row]), text))
        if not 0.0 <= penalty_share <= 1.0:
            problems.append(Problem("costs", None, "penalty_share", penalty_share, "must be from 0 to 1"))
        if problems:
            raise DataError(problems)
        market = np.broadcast_to(np.asarray(tradable, dtype=np.bool_), len(arrays))
        return cls(columns["trading"], columns["penalty"], float(penalty_share), market)


class Margins(NamedTuple):
    """Of one account, margin currency, as a statement says them; status is a code of AccountStatus, and `unmargined`
    says that the account holds risk without a rule, which is in none of the amounts."""

    equity: float
    balance: float
    initial: float
    maintenance: float
    status: int
    unmargined: bool

    def shortfall(self, buffer: float) -> float:
        """What is missing to the maintenance margin and a buffer, as a share of it; 0 or less where nothing is."""
        return (1.0 + buffer) * self.maintenance - self.balance


class Trade(NamedTuple):
    """Contracts, or units of an asset, that a plan trades, + bought, at the mark."""

    row: int
    quantity: float
    action: Action


class Step(NamedTuple):
    """Trades done together, what they cost and charge, and the margins after them."""

    trades: tuple[Trade, ...]
    cost: float
    penalty: float
    after: Margins


@dataclass(frozen=True)
class LiquidationPlan:
    """What becomes of one account.

    account, policy, currency
    outcome   how it ends
    steps     in order
    before, after   margins, both recomputed in full
    book      the account afterwards, costs and penalties paid
    """

    account: str
    policy: str
    currency: str
    outcome: Outcome
    steps: tuple[Step, ...]
    before: Margins
    after: Margins
    book: Book

    @property
    def cost(self) -> float:
        """What trading costs against the mark, of all steps."""
        return round(sum((step.cost for step in self.steps), 0.0), NOISE_DIGITS)

    @property
    def penalty(self) -> float:
        """What is charged, of all steps."""
        return round(sum((step.penalty for step in self.steps), 0.0), NOISE_DIGITS)

    def columns(self, arrays: RiskArrays) -> dict[str, Any]:
        """One row a trade; cost, penalty and margins are those of its step and stand in its last row."""
        rows: list[tuple[Any, ...]] = []
        for number, step in enumerate(self.steps, start=1):
            for trade in step.trades:
                last = trade is step.trades[-1]
                told = (step.cost, step.penalty, *step.after[:4]) if last else (0.0, 0.0, *[np.nan] * 4)
                rows.append((number, trade.action.value, str(arrays.instrument_id[trade.row]), trade.quantity, *told))
        names = ["step", "action", "instrument", "quantity", "cost", "penalty", "equity", "margin_balance"]
        names += ["initial_margin", "maintenance_margin"]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        return dict(zip(names, (np.array(column) for column in columns), strict=True))
