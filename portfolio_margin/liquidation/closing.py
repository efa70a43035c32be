"""Closing: what can be done to an account in liquidation, one rule a function, and the plan that takes rules in turn.

A rule looks at the account as it is and gives the trades it would do next, tried by full recomputation, or None where
none of its trades helps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from portfolio_margin.liquidation.plan import DEFAULT_BUFFER, Action, LiquidationPlan, Outcome, Step, Trade
from portfolio_margin.liquidation.trials import (
    Case,
    Trial,
    best_size,
    cash_row_of,
    cut_sizes,
    held_after,
    is_better,
    taken,
    try_trades,
)
from portfolio_margin.requirement import covered
from portfolio_margin.statement import AccountStatus
from pricing.instruments import Kind
from scenarios.shocks import check_bounds

Rule = Callable[[Case], Trial | None]

MOST_STEPS = 1_000
# Of an account that is cut, or an asset that is converted, as a last resort.
FINE_SLICES = 100
LINEAR_KINDS = (Kind.FUTURE, Kind.PERPETUAL)


@dataclass(frozen=True)
class Buffer:
    """Parameters of a policy that trades step after step.

    buffer  share of the maintenance margin that is restored above it, 0 to 10
    """

    buffer: float = DEFAULT_BUFFER

    def __post_init__(self) -> None:
        check_bounds(self, {"buffer": (0.0, 10.0)})


def close_largest(case: Case) -> Trial | None:
    """Closes of the contract that contributes most to the maintenance margin; the next one where it cannot be traded or
    closing it does not help; None where nothing does."""
    amounts: dict[str, float] = {}
    seen, _ = covered(case.model, case.book, case.arrays)
    for line in case.model.contributions(seen, case.arrays):
        amounts[line.instrument] = amounts.get(line.instrument, 0.0) + float(line.maintenance)
    held = dict(zip(case.book.instrument_idx.tolist(), case.book.quantity.tolist(), strict=True))
    contract = case.costs.tradable & ~case.arrays.is_collateral
    by_row = [
        (amounts.get(str(case.arrays.instrument_id[row]), 0.0), row) for row in held if held[row] and contract[row]
    ]
    for _, row in sorted(by_row, key=lambda pair: (-pair[0], pair[1])):
        unit = -float(np.sign(held[row]) * case.arrays.quantity_step[row])
        found = best_size(case, round(abs(held[row] / unit)), _one_trade(row, unit, Action.CLOSE))
        if found:
            return found
    return None


def hedge_delta(case: Case) -> Trial | None:
    """The trade of a future or perpetual that lowers the margin most, of the underlying with the largest delta where it
    helps; the cheapest contract by delta. None where none does."""
    arrays, delta = case.arrays, case.arrays.delta
    held = case.book.quantity * delta[case.book.instrument_idx]
    owner = arrays.underlying_idx[case.book.instrument_idx]
    total = np.bincount(owner[owner >= 0], held[owner >= 0], minlength=len(arrays.underlying_id))
    linear = np.isin(arrays.kind, LINEAR_KINDS) & case.costs.tradable & (delta != 0.0)
    for u in np.argsort(-np.abs(total), kind="stable"):
        rows = np.flatnonzero(linear & (arrays.underlying_idx == u))
        if not len(rows) or total[u] == 0.0:
            continue
        row = int(rows[np.argmin(case.costs.trading[rows] / np.abs(delta[rows]))])
        unit = float(arrays.quantity_step[row])
        wanted = -total[u] / (delta[row] * unit)
        found = best_size(case, int(abs(wanted)), _one_trade(row, float(np.sign(wanted)) * unit, Action.HEDGE))
        if found:
            return found
    return None


def cut_all(case: Case, slices: int) -> Trial | None:
    """Cuts of every contract that can be traded by the same share: the smallest number of slices that restores the
    buffer, else the one that leaves least missing; None where none helps.

    slices  equal parts that the account is cut into, 1 or more

    Positions are cut in whole quantity steps, rounded up.
    """
    rows, held = case.book.instrument_idx, case.book.quantity
    wanted = (held != 0.0) & (case.costs.tradable & ~case.arrays.is_collateral)[rows]
    rows, held = rows[wanted], held[wanted]
    unit = case.arrays.quantity_step[rows]

    def trades(count: int) -> list[Trade]:
        sizes = cut_sizes(held, unit, count / slices)
        return [Trade(int(row), float(size), Action.CLOSE) for row, size in zip(rows, sizes, strict=True)]

    return best_size(case, slices, trades) if len(rows) else None


def cut_finely(case: Case) -> Trial | None:
    """`cut_all` by hundredths: where two scenarios are equally bad no trade helps alone."""
    return cut_all(case, FINE_SLICES)


def convert_assets(case: Case) -> Trial | None:
    """Conversions of one asset, held or owed, into the margin currency: of the one with the largest value where that
    helps; None where none does. Premiums of coin-settled contracts come in coin, which is a risk of its own."""
    rows, held = case.book.instrument_idx, case.book.quantity
    value = np.abs(held * case.arrays.value[rows])
    for position in np.argsort(-value, kind="stable"):
        row = int(rows[position])
        if value[position] > 0.0 and _is_convertible(case, row):
            found = best_size(case, FINE_SLICES, _conversions(row, -float(held[position])))
            if found:
                return found
    return None


def close_out(case: Case) -> Trial | None:
    """Everything that can be traded is closed and every asset converted, if that helps: where a liquidation ends."""
    rows, held = case.book.instrument_idx, case.book.quantity
    contract = case.costs.tradable & ~case.arrays.is_collateral
    trades = [Trade(int(r), -float(q), Action.CLOSE) for r, q in zip(rows, held, strict=True) if q and contract[r]]
    after, quantity = held_after(case, [trades])
    left = zip(after.tolist(), quantity[0].tolist(), strict=True)
    trades += [Trade(row, -amount, Action.CONVERT) for row, amount in left if amount and _is_convertible(case, row)]
    (trial,) = try_trades(case, [trades])
    return trial if trades and is_better(case, trial) else None


# What every policy that trades step after step ends with.
LAST_RESORTS: tuple[Rule, ...] = (cut_finely, convert_assets, close_out)
LARGEST_FIRST: tuple[Rule, ...] = (close_largest, hedge_delta, *LAST_RESORTS)
HEDGE_FIRST: tuple[Rule, ...] = (hedge_delta, close_largest, *LAST_RESORTS)


def cut_once(start: Case, slices: int) -> tuple[Rule, ...]:
    """Rules of an account that is cut by the same share everywhere, once.

    slices  equal parts that the account is cut into, 1 or more
    """

    def cut(now: Case) -> Trial | None:
        return cut_all(now, slices) if now is start else None

    return cut, convert_assets, close_out


def run(case: Case, policy: str, rules: Sequence[Rule]) -> LiquidationPlan:
    """The plan that takes, step after step, the first rule that helps, until the buffer is there or none does.

    policy  name for the plan
    """
    start = case
    steps: list[Step] = []
    outcome = Outcome.EXHAUSTED
    if case.margins.status != AccountStatus.LIQUIDATION:
        outcome = Outcome.BANKRUPT if case.margins.status == AccountStatus.BANKRUPT else Outcome.SAFE
    while outcome is Outcome.EXHAUSTED and len(steps) < MOST_STEPS:
        done = next((found for rule in rules if (found := rule(case)) is not None), None)
        if done is None:
            break
        case = taken(case, done)
        steps.append(done.step)
        if case.shortfall <= 0.0:
            outcome = Outcome.UNMARGINED if case.margins.unmargined else Outcome.RESTORED
        elif case.margins.status == AccountStatus.BANKRUPT:
            outcome = Outcome.BANKRUPT
    name, currency = str(start.book.account_id[0]), start.arrays.currency
    return LiquidationPlan(name, policy, currency, outcome, tuple(steps), start.margins, case.margins, case.book)


def _is_convertible(case: Case, row: int) -> bool:
    asset = case.arrays.is_collateral[row] and row != cash_row_of(case.arrays)
    return bool(asset and case.costs.tradable[row])


def _conversions(row: int, whole: float) -> Callable[[int], list[Trade]]:
    def trades(count: int) -> list[Trade]:
        amount = whole if count == FINE_SLICES else whole * count / FINE_SLICES
        return [Trade(row, amount, Action.CONVERT)]

    return trades


def _one_trade(row: int, unit: float, action: Action) -> Callable[[int], list[Trade]]:
    return lambda size: [Trade(row, size * unit, action)]
