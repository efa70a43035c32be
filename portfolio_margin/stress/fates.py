"""Fates: what a stress has done to each account: when it was cut and closed, and what that cost whom."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.stress.balances import TICK
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray

NEVER = -1


class Round(NamedTuple):
    """What a round of trades did to accounts, (A,) each, and the fund after it.

    cost, penalty   ticks paid
    owed     ticks that accounts closed in the round owed: what their closing left below 0
    closed   accounts that hold nothing but cash from then on
    fund     ticks of the insurance fund after it has borne what it bears
    """

    cost: IntArray
    penalty: IntArray
    owed: IntArray
    closed: BoolArray
    fund: int


class Fates(NamedTuple):
    """Each account, (A,) all; steps count from 0, -1: never.

    before           ticks of equity at the start
    first, last      steps in which it was first and last traded
    steps            number of steps in which it was
    closed           step in which it was closed whole
    cost, penalty    ticks paid for being traded
    owed             ticks that it owed when it was closed: its part of the shortfall
    fund, fund_beside   ticks of the fund at its lowest; and had nobody been below 0 before the path, their own debts
                     alone taken out
    owed_before      ticks of the shortfall by now that accounts below 0 before the path owed
    """

    before: IntArray
    first: IntArray
    last: IntArray
    steps: IntArray
    closed: IntArray
    cost: IntArray
    penalty: IntArray
    owed: IntArray
    fund: int
    fund_beside: int
    owed_before: int = 0

    @property
    def below_before(self) -> BoolArray:
        """(A,) accounts below 0 before anything moved."""
        return np.asarray(self.before < 0)


def no_fates(equity: IntArray, fund: int) -> Fates:
    """Before the first step, of accounts worth so many ticks (A,)."""
    size = len(equity)
    never, nothing = np.full(size, NEVER), np.zeros(size, dtype=np.int64)
    return Fates(equity, never, never, nothing, never, nothing, nothing, nothing, fund, fund)


def after_step(fates: Fates, step: int, touched: BoolArray, rounds: list[Round]) -> Fates:
    """After a step in which accounts (A,) were traded, by its rounds in order."""
    fates = fates._replace(
        first=np.where(touched & (fates.first == NEVER), step, fates.first),
        last=np.where(touched, step, fates.last),
        steps=fates.steps + touched,
    )
    for found in rounds:
        own = fates.owed_before + int(found.owed[fates.below_before].sum())
        fates = fates._replace(
            closed=np.where(found.closed & (fates.closed == NEVER), step, fates.closed),
            cost=fates.cost + found.cost,
            penalty=fates.penalty + found.penalty,
            owed=fates.owed + found.owed,
            fund=min(fates.fund, found.fund),
            fund_beside=min(fates.fund_beside, found.fund + own),
            owed_before=own,
        )
    return fates


def account_columns(fates: Fates, account_id: StrArray, hours: FloatArray, after: IntArray) -> dict[str, Any]:
    """One row an account that was traded or closed, the dearest first: what it owed, then what it paid.

    account_id  (A,) names
    hours       (T,) of the steps
    after       (A,) ticks of equity at the end

    account, liquidated_hours (of the first time), last_hours, steps (in how many), closed_hours (NaN: something is
    still held), bankrupt (closed, and owed something), below_0_before (the path began); cost, penalty, shortfall,
    equity_before and equity_after in margin currency.
    """
    rows = np.flatnonzero((fates.steps > 0) | (fates.closed != NEVER))
    rows = rows[np.lexsort((rows, -(fates.cost + fates.penalty)[rows], -fates.owed[rows]))]

    def time_of(steps: IntArray) -> FloatArray:
        return np.where(steps[rows] == NEVER, np.nan, hours[steps[rows]])

    table: dict[str, Any] = {"account": account_id[rows], "liquidated_hours": time_of(fates.first)}
    table |= {"last_hours": time_of(fates.last), "steps": fates.steps[rows], "closed_hours": time_of(fates.closed)}
    table |= {"bankrupt": fates.owed[rows] > 0, "below_0_before": fates.below_before[rows]}
    amounts = {"cost": fates.cost, "penalty": fates.penalty, "shortfall": fates.owed}
    amounts |= {"equity_before": fates.before, "equity_after": after}
    return table | {name: np.round(TICK * ticks[rows], 2) for name, ticks in amounts.items()}
