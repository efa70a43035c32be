"""Figures of one account for worst-loss models, as the order kernels compute them: compiled by numba, inlined in them.

Figures are those of `portfolio_margin.margin`, bit by bit: sums are of whole ticks, and what is not a sum of ticks is
computed in the same order. One pass over the positions adds up what is one number and notes how many rows each holds,
a second adds these rows, in registers (`lanes`). Functions here are handed addresses and not arrays, whose references
would be counted.

Nothing here is cached by itself; kernels that use it close over the hash of this file.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import lanes
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
    COLUMNS,
    CONTRACT,
    DELTA_TICKS,
    INITIAL_FACTOR,
    LONG_WEIGHT,
    MAGNITUDE,
    MAINTENANCE_FACTOR,
    MONEY_STEP,
    NETTING_SET,
    SHORT_TICKS,
    STEPS_PER_UNIT,
    TICK,
    UNIT,
    VALUE_TICKS,
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
INLINED: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}
# Rows of an order and what is paid for it, and the end of the last netting set.
ROOM_BEYOND = 3
# Place in the sums of an account, ticks: equity, collateral, kept, delta, floor, size.
SIZE = 5
# Sets are numbered from -1 on.
NO_SET = -2.0


def _least_template(tag: str) -> Any:
    def least(values, shift, picked, units, first, last):
        """Smallest sum of units * rows and its first place; rows picked below 0 are assets, whose products round."""
        tag  # noqa: B018 - as kernels do
        XP.vector_loop()
        total = ZEROS()  # noqa: F821
        for i in range(first, last):
            n = picked[i]
            if n >= 0:
                total = ADD_ROW(total, values, shift + n, units[i])  # noqa: F821
            else:
                total = ADD_ROUNDED(total, values, shift - 1 - n, units[i])  # noqa: F821
        return LOWEST(total)  # noqa: F821

    return least


def _least(width: int) -> Any:
    vector = lanes.operations(width)
    names = {
        "ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded, "LOWEST": vector.lowest
    }  # fmt: skip
    return numba.njit(nogil=True, error_model="numpy")(XP.bound(_least_template(""), names, str(width)))


LEAST_OF_16, LEAST_OF_32, LEAST_OF_48, LEAST_OF_64 = (_least(width) for width in lanes.WIDTHS)


@numba.njit(**INLINED)
def opened(table: Any) -> Any:
    """What `laid_out` returned as addresses: of rows, of columns and numbers; and how many rows, chunks and lanes."""
    values, columns, numbers = table
    found = lanes.address(values, 0), lanes.address(columns, 0), lanes.address(numbers, 0)
    return (*found, columns.shape[0], values.shape[0] // columns.shape[0], values.shape[1])


@numba.njit(nogil=True, error_model="numpy")
def _least_sum(
    values: Any, width: int, shift: int, picked: Any, units: Any, first: int, last: int
) -> tuple[float, int]:
    if width == 64:
        return LEAST_OF_64(values, shift, picked, units, first, last)
    if width == 48:
        return LEAST_OF_48(values, shift, picked, units, first, last)
    if width == 32:
        return LEAST_OF_32(values, shift, picked, units, first, last)
    return LEAST_OF_16(values, shift, picked, units, first, last)


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
def account_sums(table: Any, positions: Any, first: int, count: int, order: Any, room: Any) -> Any:
    """Sum of the worst losses, worst scenario, and sums of an account after one order, in ticks.

    positions  instrument and quantity in order of rank: `count` from `first` on
    order      row and contracts, row and amount of what is paid; row -1 for nothing
    room       rows picked, units of each, first of each netting set: for ROOM_BEYOND more than there are positions
    An order is not put in its place among the positions, as sums of whole ticks do not depend on it.
    """
    instrument, quantity = positions
    columns = table[1]
    row, contracts, cash, amount = order
    picked, units, begins = room
    equity, collateral, kept, delta, floor, size = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    netting_set, sets, pending, end = NO_SET, 0, 0, first + count
    for p in range(first, end + 2):
        if p < end:
            n, q = np.int64(instrument[p]), quantity[p]
            if columns[n * COLUMNS + NETTING_SET] != netting_set:
                netting_set = columns[n * COLUMNS + NETTING_SET]
                begins[sets] = pending
                sets += 1
            # No branches, as nobody could foresee them.
            q += contracts if n == row else 0.0
            q += amount if n == cash else 0.0
            row, cash = (-1 if n == row else row), (-1 if n == cash else cash)
        else:
            begins[sets] = pending
            n, q = (row, contracts) if p == end else (cash, amount)
            if n < 0:
                continue
        at = n * COLUMNS
        if columns[at + CONTRACT] != 0.0:
            steps = lanes.nearest(q / columns[at + UNIT])
            equity += steps * columns[at + VALUE_TICKS]
            delta += steps * columns[at + DELTA_TICKS]
            floor -= min(steps, 0.0) * columns[at + SHORT_TICKS]
            size += abs(steps) * columns[at + MAGNITUDE]
            picked[pending], units[pending] = n, steps
        else:
            weighted = q * columns[at + LONG_WEIGHT] if q > 0.0 else q
            value = lanes.nearest(q * columns[at + VALUE_TICKS])
            equity += value
            collateral += value
            kept += lanes.nearest(weighted * columns[at + VALUE_TICKS])
            delta += lanes.nearest(q * columns[at + DELTA_TICKS])
            size += abs(q) * columns[at + MAGNITUDE]
            picked[pending], units[pending] = -1 - n, weighted
        pending += 1
        if p >= end:
            sets = _join_set(columns, picked, units, begins, sets, pending)
    summed, worst = _losses(table, room, sets)
    return summed, worst, (equity, collateral, kept, delta, floor, size)


@numba.njit(**INLINED)
def account_figures(table: Any, positions: Any, first: int, count: int, room: Any, out: Any) -> int:
    """Figures of an account that holds `count` positions from `first` on, in order of rank, into `out` (WIDTH,).

    INEXACT where sums are beyond whole doubles.
    """
    summed, worst, sums = account_sums(table, positions, first, count, (-1, 0.0, -1, 0.0), room)
    if not sums[SIZE] <= EXACT_LIMIT:
        return INEXACT
    _write(table[2], summed, sums, worst, out)
    return OK


@numba.njit(nogil=True, error_model="numpy")
def _join_set(columns: Any, picked: Any, units: Any, begins: Any, sets: int, pending: int) -> int:
    """Move the last row noted, which is in no netting set yet, to the end of its own or else to a new one.

    Returns how many sets there are.
    """
    last, held = picked[pending - 1], units[pending - 1]
    label = _set_of(columns, last)
    for number in range(sets - 1, -1, -1):
        if begins[number] == begins[number + 1] or _set_of(columns, picked[begins[number]]) != label:
            continue
        for i in range(pending - 1, begins[number + 1], -1):
            picked[i], units[i] = picked[i - 1], units[i - 1]
        picked[begins[number + 1]], units[begins[number + 1]] = last, held
        for after in range(number + 1, sets + 1):
            begins[after] += 1
        return sets
    begins[sets + 1] = pending
    return sets + 1


@numba.njit(**INLINED)
def _set_of(columns: Any, picked: int) -> float:
    """Netting set of a row picked, which is below 0 for an asset."""
    return columns[(picked if picked >= 0 else -1 - picked) * COLUMNS + NETTING_SET]


@numba.njit(**INLINED)
def _losses(table: Any, room: Any, sets: int) -> tuple[float, int]:
    """Worst losses of the netting sets, added, and the scenario of the one that loses most, -1 for none."""
    values, _, _, rows, chunks, width = table
    picked, units, begins = room
    summed, largest, worst = 0.0, 0.0, -1
    for number in range(sets):
        lowest, where = 0.0, -1
        for chunk in range(chunks):
            low, place = _least_sum(values, width, chunk * rows, picked, units, begins[number], begins[number + 1])
            if low < lowest:
                lowest, where = low, chunk * width + place
        summed -= lowest
        if -lowest > largest:
            largest, worst = -lowest, where
    return summed, worst


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


def laid_out(table: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
    """An `OrderTable` as the kernels take it, its rows as those of the account kernels."""
    rows, *others = table
    return (lanes.chunked(rows, *lanes.width_of(rows.shape[1])), *others)
