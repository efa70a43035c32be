"""Figures of one account for worst-loss models, as the order kernels compute them: compiled by numba, inlined in them.

Figures are those of `portfolio_margin.margin`, bit by bit: sums are of whole ticks, and what is not a sum of ticks is
computed in the same order; `order_sums` adds. Functions here are handed addresses and not arrays, whose references
would be counted.

Nothing here is cached by itself; kernels that use it close over the hash of this file.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import lanes
from portfolio_margin.backends.order_sums import SIZE, account_sums
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.order_codes import (
    AVAILABLE,
    BALANCE,
    COLLATERAL,
    DELTA,
    EQUITY,
    EXCESS,
    EXCLUDED,
    HAIRCUT,
    HEALTH,
    INEXACT,
    INITIAL,
    MAINTENANCE,
    MM_RATE,
    OK,
    STATUS,
    UNMARGINED,
    WORST,
)  # fmt: skip
from portfolio_margin.order_table import (
    INITIAL_FACTOR,
    MAINTENANCE_FACTOR,
    MONEY_STEP,
    STEPS_PER_UNIT,
    TICK,
)  # fmt: skip
from portfolio_margin.statement import (
    COVER_NOISE,
    REDUCE_ONLY_LEVEL,
    RELATIVE_NOISE,
    ROUNDING_NOISE,
    AccountStatus,
)
from pricing.arrays import FloatArray
from pricing.xp import numba as XP

NORMAL, MARGIN_CALL, REDUCE_ONLY, LIQUIDATION, BANKRUPT = (int(status) for status in AccountStatus)
DELTA_STEPS = 1e4
NO_ROW = np.int64(-1)
INLINED: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}


@numba.njit(**INLINED)
def opened(table: Any) -> Any:
    """What `laid_out` returned as addresses: of rows, of columns and numbers; and how many rows and chunks."""
    values, columns, numbers = table
    found = lanes.address(values, 0), lanes.address(columns, 0), lanes.address(numbers, 0)
    return (*found, columns.shape[0], values.shape[0] // columns.shape[0])


@numba.njit(**INLINED)
def _is_whole(steps: float) -> bool:
    """Whether an amount in money steps is a whole number of them but for binary noise."""
    return np.abs(steps - lanes.nearest(steps)) <= max(ROUNDING_NOISE, RELATIVE_NOISE * np.abs(steps))


@numba.njit(**INLINED)
def _up(amount: float, step: float, per_unit: float) -> float:
    """`statement.up` of one amount; step and steps per unit of the margin currency."""
    steps = amount / step
    whole = lanes.nearest(steps) if _is_whole(steps) else np.ceil(steps)
    return lanes.nearest(whole * step * per_unit) / per_unit + 0.0


@numba.njit(**INLINED)
def _down(amount: float, step: float, per_unit: float) -> float:
    """`statement.down` of one amount; step and steps per unit of the margin currency."""
    steps = amount / step
    whole = lanes.nearest(steps) if _is_whole(steps) else np.floor(steps)
    return lanes.nearest(whole * step * per_unit) / per_unit + 0.0


@numba.njit(**INLINED)
def _needs(numbers: Any, summed: float, sums: Any) -> Any:
    """Initial and maintenance margin, equity and haircut, none of them rounded."""
    equity, collateral, kept, _delta, floor, _size = sums
    loss, least = summed * numbers[TICK], floor * numbers[TICK]
    above = max(least - loss, 0.0)
    initial = loss * numbers[INITIAL_FACTOR] + above * numbers[INITIAL_FACTOR]
    maintenance = loss * numbers[MAINTENANCE_FACTOR] + above * numbers[MAINTENANCE_FACTOR]
    return initial, maintenance, equity * numbers[TICK], collateral * numbers[TICK] - kept * numbers[TICK]


@numba.njit(**INLINED)
def _up_to_what_covers(amount: float, cover: float, rounded_cover: float, step: float, per_unit: float) -> float:
    """As `statement.up_to_what_covers`, of one number."""
    rounded = _up(amount, step, per_unit)
    noise = max(COVER_NOISE * step, RELATIVE_NOISE * max(abs(amount), abs(cover)))
    if amount - cover <= noise and np.isfinite(amount):
        return max(min(rounded, rounded_cover), 0.0)
    return rounded


@numba.njit(**INLINED)
def _rounded(numbers: Any, needed: float, kept_up: float, marked: float, cut: float) -> Any:
    """Equity, haircut, balance, initial and maintenance margin, available funds and excess liquidity, rounded."""
    step, per_unit = numbers[MONEY_STEP], numbers[STEPS_PER_UNIT]
    equity, left = _down(marked, step, per_unit), marked - cut
    haircut = _up_to_what_covers(cut, marked, equity, step, per_unit)
    balance = _down(equity - haircut, step, per_unit)
    initial = _up_to_what_covers(needed, left, balance, step, per_unit)
    maintenance = _up_to_what_covers(kept_up, left, balance, step, per_unit)
    available, excess = _down(balance - initial, step, per_unit), _down(balance - maintenance, step, per_unit)
    return equity, haircut, balance, initial, maintenance, available, excess


@numba.njit(**INLINED)
def after_order(numbers: Any, summed: float, sums: Any) -> Any:
    """Initial and maintenance margin, available funds and excess liquidity of an account with these sums."""
    _, _, _, initial, maintenance, available, excess = _rounded(numbers, *_needs(numbers, summed, sums))
    return initial, maintenance, available, excess


@numba.njit(**INLINED)
def _write(numbers: Any, summed: float, sums: Any, worst: int, out: Any) -> None:
    """The figures that sums in ticks come to."""
    _equity, collateral, _kept, delta, _floor, _size = sums
    tick, step, per_unit = numbers[TICK], numbers[MONEY_STEP], numbers[STEPS_PER_UNIT]
    needed, kept_up, marked, cut = _needs(numbers, summed, sums)
    equity, haircut, balance, initial, maintenance, available, excess = _rounded(numbers, needed, kept_up, marked, cut)
    out[EQUITY], out[HAIRCUT], out[COLLATERAL] = equity, haircut, _down(collateral * tick, step, per_unit)
    out[BALANCE], out[INITIAL], out[MAINTENANCE] = balance, initial, maintenance
    out[AVAILABLE], out[EXCESS] = available, excess
    if maintenance == 0.0 and balance >= 0.0:
        out[MM_RATE] = 0.0
    else:
        out[MM_RATE] = maintenance / balance if balance > 0.0 else np.inf
    if maintenance > 0.0:
        out[HEALTH] = balance / maintenance
    else:
        out[HEALTH] = -np.inf if balance < 0.0 else np.inf
    out[DELTA] = lanes.nearest(delta * tick * DELTA_STEPS) / DELTA_STEPS + 0.0
    status, covered = NORMAL, marked - cut + 0.5 * step
    if covered <= needed:
        status = MARGIN_CALL
    if covered <= REDUCE_ONLY_LEVEL * kept_up:
        status = REDUCE_ONLY
    if covered <= kept_up:
        status = LIQUIDATION
    if marked + 0.5 * step <= 0.0:
        status = BANKRUPT
    out[STATUS], out[WORST] = status, worst
    out[EXCLUDED] = out[UNMARGINED] = 0.0


def _figures_template(tag: str) -> Any:
    def figures(table, positions, first, count, room, out):
        """Figures of an account that holds `count` positions from `first` on, in order of rank, into `out` (WIDTH,).

        INEXACT where sums are beyond whole doubles.
        """
        tag  # noqa: B018 - as kernels do
        summed, worst, sums = SUMS(table, positions, first, count, (NO_ROW, 0.0, NO_ROW, 0.0), room)  # noqa: F821
        if not sums[SIZE] <= EXACT_LIMIT:
            return INEXACT
        _write(table[2], summed, sums, worst, out)
        return OK

    return figures


@functools.cache
def account_figures(width: int) -> Any:
    """The function that writes the figures of an account, for tables whose rows are so wide."""
    return numba.njit(**INLINED)(XP.bound(_figures_template(""), {"SUMS": account_sums(width)}, str(width)))


def laid_out(table: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
    """An `OrderTable` as the kernels take it, its rows as those of the account kernels."""
    rows, *others = table
    return (lanes.chunked(rows, *lanes.width_of(rows.shape[1])), *others)
