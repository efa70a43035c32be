"""MarginStatement: one row per account. Amounts are rounded here, once, in the house's favour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.dollars import CENT, money_digits
from portfolio_margin.margin_notes import charges_of_ours
from portfolio_margin.requirement import MarginModel, ParameterSet
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray

if TYPE_CHECKING:
    import pandas as pd

    from portfolio_margin.order_margin import OrderMargins

# Binary noise of sums and products of doubles, in money steps and relative to the amount: far below any tick, so it is
# not money.
ROUNDING_NOISE, RELATIVE_NOISE = 5e-7, 2e-15
# A lack of less, in money steps, is none: charges that models round to some 1e-6 of the currency, so that their sums
# are exact, may together be that much above what they were.
COVER_NOISE = 1e-3
REDUCE_ONLY_LEVEL = 1.10


class AccountStatus(IntEnum):
    """What an account may do, from healthy to lost, by the positions that the model has a rule for.

    NORMAL       margin balance covers initial margin
    MARGIN_CALL  below initial margin: no new risk
    REDUCE_ONLY  below 1.10 times maintenance margin: orders that close only
    LIQUIDATION  below maintenance margin
    BANKRUPT     equity below zero
    """

    NORMAL = 0
    MARGIN_CALL = 1
    REDUCE_ONLY = 2
    LIQUIDATION = 3
    BANKRUPT = 4


@dataclass(frozen=True, repr=False)
class MarginStatement:
    """Margin of every account, columns (A,) in margin currency.

    equity                         value of everything the account holds
    collateral_value_before_haircut, haircut   of its assets
    uncounted_option_value         net value of options where the margin balance is without it, 0 where it counts
    margin_balance                 equity - haircut - uncounted_option_value
    initial_margin, maintenance_margin
    available_funds                margin_balance - initial_margin: free for new risk
    excess_liquidity               margin_balance - maintenance_margin
    mm_rate                        maintenance_margin / margin_balance; liquidation at 1, inf if balance <= 0
    health                         margin_balance / maintenance_margin; where nothing is required inf, or -inf with a
                                   balance below 0: the lower, the nearer to the end
    status                         codes of AccountStatus
    delta_total                    gain for a relative move of 1.00 of every underlying
    worst_scenario                 -> S, -1 where no scenario loses
    charges                        name -> (A,2) initial and maintenance part, before rounding
    scenario_label                 (S,) names behind worst_scenario
    as_of_ms, currency             moment (ms UTC) and margin currency
    model                          the margin model, with its parameters
    parameters_hash, input_hash, engine_version   what reproduces the statement; input_hash is of the book and of the
                                   digest of the risk arrays, which follows the backend that made them, not the one that
                                   added up
    excluded                       number of positions that the model has no rule for
    unmargined                     True where one of them bears risk (a contract, a balance owed): margin and status
                                   are of the rest
    positions_excluded             what was left out of the computation, always listed
    money_step                     smallest amount of the currency, which amounts are whole numbers of
    notes                          what the numbers do not say by themselves: haircuts, charges of ours
    orders                         what open orders ask for, a part of initial_margin; None where none were given
    """

    account: StrArray
    equity: FloatArray
    collateral_value_before_haircut: FloatArray
    haircut: FloatArray
    uncounted_option_value: FloatArray
    margin_balance: FloatArray
    initial_margin: FloatArray
    maintenance_margin: FloatArray
    available_funds: FloatArray
    excess_liquidity: FloatArray
    mm_rate: FloatArray
    health: FloatArray
    status: IntArray
    delta_total: FloatArray
    worst_scenario: IntArray
    charges: dict[str, FloatArray]
    scenario_label: StrArray
    as_of_ms: int
    currency: str
    model: MarginModel
    parameters_hash: str
    input_hash: str
    engine_version: str
    excluded: IntArray
    unmargined: BoolArray
    positions_excluded: tuple[str, ...] = ()
    money_step: float = CENT
    orders: OrderMargins | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.account)

    def __repr__(self) -> str:
        """One line: model, parameters, moment and totals; `frame()` has the accounts."""
        moment = np.datetime64(self.as_of_ms, "ms").astype("datetime64[s]")
        initial, maintenance = float(self.initial_margin.sum()), float(self.maintenance_margin.sum())
        digits = money_digits(self.money_step)
        return (
            f"<MarginStatement of {len(self)} accounts, {self.model.model_id}, {self.parameter_set.label}, {moment}Z: "
            f"initial {initial:.{digits}f}, maintenance {maintenance:.{digits}f} {self.currency}; frame() has the rows>"
        )

    @property
    def parameter_set(self) -> ParameterSet:
        """Where the parameters come from, and whether they are valid at the moment of the statement."""
        return self.model.parameter_set.decided_at(self.as_of_ms)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever uses the margins must know: every output tells it."""
        stale = self.model.parameter_set.warning(self.as_of_ms)
        doubt = self.model.parameter_set.doubt_in_use
        return tuple(f"{self.model.model_id}: {text}" for text in (stale, doubt) if text)

    @property
    def below_maintenance(self) -> np.ndarray:
        """(A,) True where the margin balance does not cover the maintenance margin."""
        return self.status >= AccountStatus.LIQUIDATION

    def columns(self) -> dict[str, Any]:
        """The statement as named columns, in the one order every output uses."""
        labels = np.append(self.scenario_label, "")
        return {
            "as_of_ms": np.full(len(self), self.as_of_ms),
            "account": self.account,
            "margin_mode": np.full(len(self), "portfolio"),
            "currency": np.full(len(self), self.currency),
            "equity": self.equity,
            "collateral_value_before_haircut": self.collateral_value_before_haircut,
            "haircut": self.haircut,
            "uncounted_option_value": self.uncounted_option_value,
            "margin_balance": self.margin_balance,
            "initial_margin": self.initial_margin,
            "maintenance_margin": self.maintenance_margin,
            "available_funds": self.available_funds,
            "excess_liquidity": self.excess_liquidity,
            "mm_rate": self.mm_rate,
            "health": self.health,
            "status": np.array([AccountStatus(code).name for code in self.status], dtype=np.str_),
            "positions_excluded": self.excluded,
            "delta_total": self.delta_total,
            "worst_scenario": labels[self.worst_scenario],
            **self._order_columns(),
            **{f"charge_{name}": up(parts[:, 0], self.money_step) for name, parts in self.charges.items()},
        }

    def _order_columns(self) -> dict[str, Any]:
        """What open orders do, where any were given: initial margin of the positions alone, margin for the orders, how
        many are open and how many of them the worst subset fills, and how that was found."""
        if self.orders is None:
            return {}
        owner, accounts = self.orders.orders.account_idx, len(self)
        return {
            "position_initial_margin": nearest_step(self.initial_margin - self.orders.added, self.money_step),
            "order_margin": nearest_step(self.orders.added, self.money_step),
            "orders_open": np.bincount(owner, minlength=accounts),
            "orders_filled_worst": np.bincount(owner[self.orders.filled], minlength=accounts),
            "order_margin_is": self.orders.method_names,
        }

    def excluded_of(self, rows: Sequence[int]) -> tuple[str, ...]:
        """`positions_excluded` of some accounts, by row: what the caller left out, then theirs."""
        end = np.cumsum(self.excluded) + len(self.positions_excluded) - int(self.excluded.sum())
        own = [line for row in rows for line in self.positions_excluded[end[row] - self.excluded[row] : end[row]]]
        return (*self.positions_excluded[: len(self.positions_excluded) - int(self.excluded.sum())], *own)

    def identity(self, rows: Sequence[int] | None = None) -> dict[str, Any]:
        """What reproduces the statement: model, parameter set, hashes, version, and what was excluded, of the accounts
        in `rows` or of all."""
        return {
            "model_id": self.model.model_id,
            **self.parameter_set.identity(),
            "parameters_hash": self.parameters_hash,
            "input_hash": self.input_hash,
            "engine_version": self.engine_version,
            "positions_excluded": list(self.positions_excluded if rows is None else self.excluded_of(rows)),
            "charges_of_ours": list(charges_of_ours(self.model, self.charges)),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def frame(self) -> pd.DataFrame:
        """pandas frame, one row an account; `identity()` is in its attrs."""
        from portfolio_margin.io.frames import frame

        return frame(self.columns(), self.identity())


def up(amount: FloatArray, step: float = CENT) -> FloatArray:
    """Rounded up to the money step, `dollars.money_step`: requirements."""
    return _rounded(amount, np.ceil, step)


def down(amount: FloatArray, step: float = CENT) -> FloatArray:
    """Rounded down to the money step, `dollars.money_step`: equity."""
    return _rounded(amount, np.floor, step)


def up_to_what_covers(
    amount: FloatArray, cover: FloatArray, rounded_cover: FloatArray, step: float = CENT
) -> FloatArray:
    """Rounded up to the money step, but not beyond what covers it: who lacks nothing lacks no cent by rounding.

    amount, cover   what is required and what is there for it, (A,) each, before rounding
    rounded_cover   what is there, rounded down
    An amount above its cover is rounded up, so that no lack is ever less than it is.
    """
    rounded = up(amount, step)
    noise = np.maximum(COVER_NOISE * step, RELATIVE_NOISE * np.maximum(np.abs(amount), np.abs(cover)))
    capped = np.maximum(np.minimum(rounded, rounded_cover), 0.0)
    return np.asarray(np.where((amount - cover <= noise) & np.isfinite(amount), capped, rounded))


def nearest_step(amount: FloatArray, step: float) -> FloatArray:
    """Differences of rounded amounts, without the binary noise of the difference."""
    return np.asarray(np.round(amount, money_digits(step)) + 0.0)


def _rounded(amount: FloatArray, direction: Any, step: float) -> FloatArray:
    steps = amount / step
    nearest = np.rint(steps)
    noise = np.maximum(ROUNDING_NOISE, RELATIVE_NOISE * np.abs(steps))
    whole = np.where(np.abs(steps - nearest) <= noise, nearest, direction(steps))
    return np.asarray(np.round(whole * step, money_digits(step)) + 0.0)


def account_status(
    equity: FloatArray, balance: FloatArray, initial: FloatArray, maintenance: FloatArray, step: float = CENT
) -> IntArray:
    """(A,) codes of AccountStatus, the gravest that applies, from amounts that are not rounded yet.

    An account is short from half a money step on: where a requirement is exactly the equity, as of options paid
    for in full, rounding one up and the other down must liquidate nobody.
    """
    status = np.full(len(equity), int(AccountStatus.NORMAL))
    covered = balance + 0.5 * step
    status[covered <= initial] = AccountStatus.MARGIN_CALL
    status[covered <= REDUCE_ONLY_LEVEL * maintenance] = AccountStatus.REDUCE_ONLY
    status[covered <= maintenance] = AccountStatus.LIQUIDATION
    status[equity + 0.5 * step <= 0] = AccountStatus.BANKRUPT
    return status


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """numerator / denominator; 0 where nothing is required, inf where the denominator is not positive."""
    positive = denominator > 0
    result = np.full(len(numerator), np.inf)
    np.divide(numerator, denominator, out=result, where=positive)
    result[(numerator == 0) & (denominator >= 0)] = 0.0
    return result


def health(balance: FloatArray, maintenance: FloatArray) -> FloatArray:
    """balance / maintenance; where nothing is required inf, or -inf where the balance is below 0."""
    result = np.where(balance < 0, -np.inf, np.inf)
    np.divide(balance, maintenance, out=result, where=maintenance > 0)
    return result
