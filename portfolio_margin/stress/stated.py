"""States of accounts in a stress: what each may do, step by step, by `liquidation.states`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.liquidation.states import Params, States, advance
from portfolio_margin.statement import AccountStatus
from portfolio_margin.stress.measured import Measured
from portfolio_margin.stress.result import StepRow
from pricing.arrays import FloatArray, IntArray


class Seen(NamedTuple):
    """Margins as states take them, (A,) each; accounts go by their rows."""

    account: IntArray
    as_of_ms: int
    status: IntArray
    equity: FloatArray
    margin_balance: FloatArray
    initial_margin: FloatArray
    maintenance_margin: FloatArray


def stated(previous: States | None, found: Sequence[Measured], at_ms: int, params: Params) -> States:
    """The states after margins at a moment, ms UTC, one after the other: those before and after liquidations of a step,
    so that who is below maintenance margin in between is in liquidation, until what is restored lets him out."""
    known = previous
    for each in found:
        figures = (each.equity, each.balance, each.initial, each.maintenance)
        seen = Seen(np.arange(len(each.status)), int(at_ms), np.asarray(each.status, dtype=np.int64), *figures)
        known, _ = advance(known, seen, params)
    if known is None:
        raise AssertionError("a step without margins")
    return known


def with_states(row: StepRow, known: States) -> StepRow:
    """The row of a step with how many accounts are in which state."""
    count = np.bincount(known.state, minlength=len(AccountStatus))
    worst = int(count[AccountStatus.LIQUIDATION] + count[AccountStatus.BANKRUPT])
    calls, only = int(count[AccountStatus.MARGIN_CALL]), int(count[AccountStatus.REDUCE_ONLY])
    return replace(row, margin_calls=calls, reduce_only=only, in_liquidation=worst)
