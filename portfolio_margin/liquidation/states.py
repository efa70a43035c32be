"""States: what each account may do, driven by statements. Worse at once, better only with room to spare.

A statement says what an account is at a moment (`AccountStatus`); a state remembers. An account gets a graver state as
soon as a statement says so. It leaves a state only when its margin balance clears that state's exit level, which lies
above the level it was entered at, so that an account at the edge is not stopped and released at every tick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from portfolio_margin.statement import REDUCE_ONLY_LEVEL, AccountStatus
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.shocks import check_bounds

NEVER = -1
MS_PER_HOUR = 3_600_000


@dataclass(frozen=True)
class Params:
    """Exit levels and the time that a margin call is left open, with bounds.

    leave_margin_call   margin balance per initial margin, 1 to 10
    leave_reduce_only   margin balance per maintenance margin, 1.1 to 10
    leave_liquidation   likewise, 1 to leave_reduce_only; also the way out of a bankruptcy, once equity is above 0. The
                        default is below what policies restore (1 + 1/9), so that who is cut so far is out of it
    call_hours          a margin call unanswered for so long makes the account reduce only, 0 to 1e6; 0: at once
    """

    leave_margin_call: float = 1.02
    leave_reduce_only: float = 1.2
    leave_liquidation: float = REDUCE_ONLY_LEVEL
    call_hours: float = 24.0

    def __post_init__(self) -> None:
        bounds = {"leave_margin_call": (1.0, 10.0), "leave_reduce_only": (REDUCE_ONLY_LEVEL, 10.0)}
        check_bounds(self, {**bounds, "leave_liquidation": (1.0, 10.0), "call_hours": (0.0, 1e6)})
        if self.leave_liquidation > self.leave_reduce_only:
            text = f"must not exceed leave_reduce_only = {self.leave_reduce_only!r}"
            raise ConfigError(f"leave_liquidation = {self.leave_liquidation!r}: {text}")


class Standing(Protocol):
    """What states are driven by, as a `MarginStatement` has it: (A,) names and figures at a moment, ms UTC."""

    @property
    def account(self) -> Any: ...
    @property
    def as_of_ms(self) -> int: ...
    @property
    def status(self) -> Any: ...
    @property
    def equity(self) -> FloatArray: ...
    @property
    def margin_balance(self) -> FloatArray: ...
    @property
    def initial_margin(self) -> FloatArray: ...
    @property
    def maintenance_margin(self) -> FloatArray: ...


class States(NamedTuple):
    """One row an account.

    account    (A,) names
    state      (A,) codes of AccountStatus
    since_ms   (A,) when the account got into its state, ms UTC
    called_ms  (A,) since when it has not been NORMAL, ms UTC; -1 where it is
    at_ms      moment of the last statement
    """

    account: StrArray
    state: IntArray
    since_ms: IntArray
    called_ms: IntArray
    at_ms: int


class Change(NamedTuple):
    """An account that got into another state."""

    account: str
    before: AccountStatus
    after: AccountStatus
    at_ms: int


def advance(
    previous: States | None, statement: Standing, params: Params | None = None
) -> tuple[States, tuple[Change, ...]]:
    """The states after a statement, and what changed. Accounts without a state begin NORMAL before the statement.

    An account that the statement does not hold keeps its state. DataError where the statement is older than the last.
    """
    rules, now = params or Params(), statement.as_of_ms
    if previous is not None and now < previous.at_ms:
        remedy = f"must not be before the last statement, {previous.at_ms}"
        raise DataError([Problem("statement", None, "as_of_ms", now, remedy)])
    before = _aligned(previous, statement.account, now)
    status = np.asarray(statement.status, dtype=np.int64)
    kept = _not_left(before.state, statement, rules)
    state = np.maximum(status, kept)
    called = np.where(state == AccountStatus.NORMAL, NEVER, np.where(before.called_ms == NEVER, now, before.called_ms))
    overdue = (state == AccountStatus.MARGIN_CALL) & (now - called >= rules.call_hours * MS_PER_HOUR)
    state = np.where(overdue, int(AccountStatus.REDUCE_ONLY), state)
    changed = state != before.state
    since = np.where(changed, now, before.since_ms)
    changes = tuple(
        Change(str(statement.account[row]), AccountStatus(before.state[row]), AccountStatus(state[row]), now)
        for row in np.flatnonzero(changed)
    )
    return _joined(previous, States(statement.account, state, since, called, now)), changes


def exit_levels(statement: Standing, params: Params) -> FloatArray:
    """(A,5) margin balance that clears each state, by code of AccountStatus; NORMAL needs none."""
    initial, maintenance = statement.initial_margin, statement.maintenance_margin
    clears_liquidation = params.leave_liquidation * maintenance
    return np.column_stack(
        [
            np.full(len(initial), -np.inf),
            params.leave_margin_call * initial,
            params.leave_reduce_only * maintenance,
            clears_liquidation,
            clears_liquidation,
        ]
    )


def _not_left(state: IntArray, statement: Standing, params: Params) -> IntArray:
    """(A,) the gravest state, up to the present one, whose exit level the balance does not clear."""
    short = statement.margin_balance[:, None] < exit_levels(statement, params)
    short[:, AccountStatus.BANKRUPT] &= statement.equity <= 0
    codes = np.arange(len(AccountStatus))
    holding: BoolArray = short & (codes <= state[:, None])
    return np.asarray(np.max(np.where(holding, codes, int(AccountStatus.NORMAL)), axis=1, initial=0))


def _aligned(previous: States | None, account: StrArray, now: int) -> States:
    """The states of these accounts, in their order."""
    if previous is not None and np.array_equal(previous.account, account):
        return previous
    size = len(account)
    state, since, called = np.zeros(size, np.int64), np.full(size, now), np.full(size, NEVER)
    if previous is not None:
        row_of = {name: row for row, name in enumerate(previous.account.tolist())}
        rows = np.array([row_of.get(name, -1) for name in account.tolist()], dtype=np.int64)
        known = rows >= 0
        for ours, theirs in ((state, previous.state), (since, previous.since_ms), (called, previous.called_ms)):
            ours[known] = theirs[rows[known]]
    return States(account, state, since, called, now)


def _joined(previous: States | None, current: States) -> States:
    """The current states and those of accounts that only the previous ones hold."""
    if previous is None or np.array_equal(previous.account, current.account):
        return current
    rest = ~np.isin(previous.account, current.account)
    columns = [np.concatenate([new, old[rest]]) for new, old in zip(current[:4], previous[:4], strict=True)]
    return States(columns[0], columns[1], columns[2], columns[3], current.at_ms)
