"""Orders against a ledger, compiled by numba: the figures of one account after its orders, for worst-loss models.

Figures are those of `portfolio_margin.margin`, bit by bit: sums are of whole ticks, and what is not a sum of ticks is
computed in the same order.

Places of columns come from `order_table` and `order_codes`. numba's disk cache does not see when those files change, so
whoever moves a column touches this file as well.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin.kernel_inputs import EXACT_LIMIT, QUANTITY_ROUNDING, STEP_TOLERANCE
from portfolio_margin.ledger import COUNT, FIGURES, FIRST, PAGE, PAGE_BITS
from portfolio_margin.order_codes import (
    ASSET,
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
    NO_ACCOUNT,
    NO_CASH,
    NO_INSTRUMENT,
    NOT_FINITE,
    NOTHING,
    OFF_STEP,
    OK,
    STATUS,
    UNMARGINED,
    WIDTH,
    WORST,
)  # fmt: skip
from portfolio_margin.order_table import (
    CASH_ROW,
    CONTRACT,
    DELTA_TICKS,
    INITIAL_FACTOR,
    LONG_WEIGHT,
    MAGNITUDE,
    MAINTENANCE_FACTOR,
    MONEY_STEP,
    NETTING_SET,
    RANK,
    SHORT_TICKS,
    STEPS_PER_UNIT,
    TICK,
    UNIT,
    VALUE,
    VALUE_TICKS,
)  # fmt: skip
from portfolio_margin.statement import (
    REDUCE_ONLY_LEVEL,
    RELATIVE_NOISE,
    ROUNDING_NOISE,
    AccountStatus,
)
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.xp import numba as XP

NORMAL, MARGIN_CALL, REDUCE_ONLY, LIQUIDATION, BANKRUPT = (int(status) for status in AccountStatus)
DELTA_STEPS = 1e4
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
# Sums of whole ticks are exact, so their order is free.
EXACT_SUMS = {"contract", "reassoc", "nsz", "nnan", "ninf"}
ROOM = 256
# Orders whose positions are fetched together, and doubles in a cache line.
AHEAD, PER_LINE = 16, 8
# Sets are numbered from -1 on.
NO_SET = -2.0


@numba.njit(**OPTIONS, fastmath=EXACT_SUMS)
def _add_contracts(total: Any, rows: Any, row: Any, held: Any, count: int) -> None:
    """total += sum of held * rows, four rows in one pass over the scenarios."""
    XP.vector_loop()
    i = 0
    while i + 4 <= count:
        a, b, c, d = row[i], row[i + 1], row[i + 2], row[i + 3]
        p, q, r, t = held[i], held[i + 1], held[i + 2], held[i + 3]
        for s in range(total.shape[0]):
            total[s] += (p * rows[a, s] + q * rows[b, s]) + (r * rows[c, s] + t * rows[d, s])
        i += 4
    while i < count:
        a, p = row[i], held[i]
        for s in range(total.shape[0]):
            total[s] += p * rows[a, s]
        i += 1


@numba.njit(**OPTIONS)
def _add_asset(total: Any, rows: Any, row: int, held: float) -> None:
    """total += held * row, every product rounded to whole ticks."""
    XP.vector_loop()
    for s in range(total.shape[0]):
        total[s] += np.rint(held * rows[row, s])


@numba.njit(**OPTIONS, fastmath={"nnan", "ninf", "nsz"})
def _take_lowest(total: Any, named: bool) -> tuple[float, int]:
    """Smallest element below 0 and, where `named`, its first position, else 0 and -1; all are 0 afterwards."""
    lowest, where = 0.0, -1
    for s in range(total.shape[0]):
        lowest = total[s] if total[s] < lowest else lowest
    if named and lowest < 0.0:
        where = 0
        while total[where] != lowest:
            where += 1
    for s in range(total.shape[0]):
        total[s] = 0.0
    return lowest, where


@numba.njit(**OPTIONS, forceinline=True)
def _is_whole(steps: float) -> bool:
    """Whether an amount in money steps is a whole number of them but for binary noise."""
    return np.abs(steps - np.rint(steps)) <= max(ROUNDING_NOISE, RELATIVE_NOISE * np.abs(steps))


@numba.njit(**OPTIONS, forceinline=True)
def _up(amount: float, step: float, per_unit: float) -> float:
    """`statement.up` of one amount; step and steps per unit of the margin currency."""
    steps = amount / step
    whole = np.rint(steps) if _is_whole(steps) else np.ceil(steps)
    return np.rint(whole * step * per_unit) / per_unit + 0.0


@numba.njit(**OPTIONS, forceinline=True)
def _down(amount: float, step: float, per_unit: float) -> float:
    """`statement.down` of one amount; step and steps per unit of the margin currency."""
    steps = amount / step
    whole = np.rint(steps) if _is_whole(steps) else np.floor(steps)
    return np.rint(whole * step * per_unit) / per_unit + 0.0


@numba.njit(**OPTIONS, forceinline=True)
def _order_fault(columns: Any, row: int, quantity: float) -> int:
    """What is wrong with an order."""
    if row < 0 or row >= columns.shape[0]:
        return NO_INSTRUMENT
    if not np.isfinite(quantity):
        return NOT_FINITE
    if columns[row, CONTRACT] == 0.0:
        return ASSET
    unit = columns[row, UNIT]
    gap = abs(np.rint(quantity / unit) * unit - quantity)
    if not gap <= STEP_TOLERANCE * unit + QUANTITY_ROUNDING * abs(quantity):
        return OFF_STEP
    if quantity == 0.0:
        return NOTHING
    if columns[row, CASH_ROW] < 0.0 and quantity * columns[row, VALUE] != 0.0:
        return NO_CASH
    return OK


@numba.njit(**OPTIONS, forceinline=True)
def _add(columns: Any, row: int, quantity: float, add_row: Any, add_quantity: Any, count: int) -> int:
    """Put an addition in its place by rank, behind those of the same instrument: sums of doubles need their order."""
    place, rank = count, columns[row, RANK]
    while place > 0 and columns[add_row[place - 1], RANK] > rank:
        add_row[place], add_quantity[place] = add_row[place - 1], add_quantity[place - 1]
        place -= 1
    add_row[place], add_quantity[place] = row, quantity
    return count + 1


@numba.njit(**OPTIONS, forceinline=True)
def _premium(columns: Any, row: int, quantity: float) -> tuple[int, float]:
    """Row and amount of what an order costs, -1 where it costs nothing."""
    cost = quantity * columns[row, VALUE]
    if cost == 0.0:
        return -1, 0.0
    cash = int(columns[row, CASH_ROW])
    return cash, -cost / columns[cash, VALUE]


@numba.njit(**OPTIONS, forceinline=True)
def _figures(
    table: Any, positions: Any, first: int, count: int, additions: Any, scratch: Any, named: bool, out: Any
) -> int:
    """Figures of an account that holds `count` positions from `first` on and these additions, both in order of rank.

    The worst scenario is looked for where `named`. INEXACT where sums are beyond whole doubles.
    """
    instrument, quantity = positions
    rows, columns, numbers = table
    add_row, add_quantity, adds = additions
    picked, units, total = scratch
    equity, collateral, kept, delta, floor, size = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    summed, largest, worst, netting_set = 0.0, 0.0, -1, NO_SET
    p, k, pending = 0, 0, 0
    while p < count or k < adds:
        if p < count and (k >= adds or columns[instrument[first + p], RANK] <= columns[add_row[k], RANK]):
            n, q = np.int64(instrument[first + p]), quantity[first + p]
            p += 1
        else:
            n, q = add_row[k], add_quantity[k]
            k += 1
        while k < adds and add_row[k] == n:
            q += add_quantity[k]
            k += 1
        if columns[n, NETTING_SET] != netting_set:
            if netting_set != NO_SET:
                # What is pending belongs to the set before.
                _add_contracts(total, rows, picked, units, pending)
                lowest, where = _take_lowest(total, named)
                pending = 0
                if lowest < 0.0:
                    summed -= lowest
                    if -lowest > largest:
                        largest, worst = -lowest, where
            netting_set = columns[n, NETTING_SET]
        if columns[n, CONTRACT] != 0.0:
            steps = np.rint(q / columns[n, UNIT])
            equity += steps * columns[n, VALUE_TICKS]
            delta += steps * columns[n, DELTA_TICKS]
            floor -= min(steps, 0.0) * columns[n, SHORT_TICKS]
            size += abs(steps) * columns[n, MAGNITUDE]
            picked[pending], units[pending] = n, steps
            pending += 1
        elif q != 0.0:
            weighted = q * columns[n, LONG_WEIGHT] if q > 0.0 else q
            value = np.rint(q * columns[n, VALUE_TICKS])
            equity += value
            collateral += value
            kept += np.rint(weighted * columns[n, VALUE_TICKS])
            delta += np.rint(q * columns[n, DELTA_TICKS])
            size += abs(q) * columns[n, MAGNITUDE]
            _add_asset(total, rows, n, weighted)
    _add_contracts(total, rows, picked, units, pending)
    lowest, where = _take_lowest(total, named)
    if lowest < 0.0:
        summed -= lowest
        if -lowest > largest:
            worst = where
    if not size <= EXACT_LIMIT:
        return INEXACT
    _write(numbers, (summed, floor, equity, collateral, kept, delta), worst, out)
    return OK


@numba.njit(**OPTIONS, forceinline=True)
def _write(numbers: Any, sums: Any, worst: int, out: Any) -> None:
    """The figures that sums in ticks come to."""
    summed, floor, equity, collateral, kept, delta = sums
    tick, first_factor, second_factor = numbers[TICK], numbers[INITIAL_FACTOR], numbers[MAINTENANCE_FACTOR]
    step, per_unit = numbers[MONEY_STEP], numbers[STEPS_PER_UNIT]
    loss, least = summed * tick, floor * tick
    above = max(least - loss, 0.0)
    needed = loss * first_factor + above * first_factor
    kept_up = loss * second_factor + above * second_factor
    marked, cut = equity * tick, collateral * tick - kept * tick
    out[EQUITY], out[HAIRCUT] = _down(marked, step, per_unit), _up(cut, step, per_unit)
    out[COLLATERAL] = _down(collateral * tick, step, per_unit)
    balance = _down(out[EQUITY] - out[HAIRCUT], step, per_unit)
    initial, maintenance = _up(needed, step, per_unit), _up(kept_up, step, per_unit)
    out[BALANCE], out[INITIAL], out[MAINTENANCE] = balance, initial, maintenance
    out[AVAILABLE], out[EXCESS] = _down(balance - initial, step, per_unit), _down(balance - maintenance, step, per_unit)
    if maintenance == 0.0 and balance >= 0.0:
        out[MM_RATE] = 0.0
    else:
        out[MM_RATE] = maintenance / balance if balance > 0.0 else np.inf
    out[HEALTH] = balance / maintenance if maintenance > 0.0 else np.inf
    out[DELTA] = np.rint(delta * tick * DELTA_STEPS) / DELTA_STEPS + 0.0
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


@numba.njit(**OPTIONS)
def _room(scenarios: int, positions: int) -> Any:
    """Space for contracts and sums of an account."""
    return np.empty(positions, np.int64), np.empty(positions), np.zeros(scenarios)


@numba.njit(**OPTIONS)
def after_orders(table: Any, ledger: Any, account: int, add: Any, out: Any) -> int:
    """Figures of an account before and after orders filled at the mark, into `out` (2, WIDTH); returns a code.

    table   OrderTable, as a plain tuple
    ledger  root, pages, instrument_idx, quantity, figures of a `Ledger`
    add     rows (M,), quantities (M,): instrument and signed contracts of each order
    The code is that of the first order at fault, or INEXACT.
    """
    rows, columns, _numbers = table
    root, pages, instrument, quantity, figures = ledger
    order_row, order_quantity = add
    count = order_row.shape[0]
    add_row, add_quantity, adds = np.empty(2 * count, np.int64), np.empty(2 * count), 0
    for i in range(count):
        code = _order_fault(columns, order_row[i], order_quantity[i])
        if code != OK:
            return code
        adds = _add(columns, order_row[i], order_quantity[i], add_row, add_quantity, adds)
    for i in range(count):
        cash, amount = _premium(columns, order_row[i], order_quantity[i])
        if cash >= 0:
            adds = _add(columns, cash, amount, add_row, add_quantity, adds)
    entry = pages[root[account >> PAGE_BITS], account & (PAGE - 1)]
    for i in range(WIDTH):
        out[0, i] = figures[entry[FIGURES], i]
    scratch = _room(rows.shape[1], entry[COUNT] + adds)
    additions = (add_row, add_quantity, adds)
    return _figures(table, (instrument, quantity), entry[FIRST], entry[COUNT], additions, scratch, True, out[1])


@numba.njit(**OPTIONS, forceinline=True)
def _merged(columns: Any, held: Any, additions: Any, into: Any) -> int:
    """Positions `held` (instrument, quantity, first, count) with additions, both in order of rank; how many stay."""
    instrument, quantity, first, count = held
    add_row, add_quantity, adds = additions
    row_into, quantity_into = into
    p, k, kept = 0, 0, 0
    while p < count or k < adds:
        if p < count and (k >= adds or columns[instrument[first + p], RANK] <= columns[add_row[k], RANK]):
            n, q = np.int64(instrument[first + p]), quantity[first + p]
            p += 1
        else:
            n, q = add_row[k], add_quantity[k]
            k += 1
        while k < adds and add_row[k] == n:
            q += add_quantity[k]
            k += 1
        if columns[n, CONTRACT] != 0.0:
            # Decimal steps such as 0.1 do not add exactly: a quantity is again the nearest whole multiple.
            q = np.rint(q / columns[n, UNIT]) * columns[n, UNIT]
        if q != 0.0:
            row_into[kept], quantity_into[kept] = n, q
            kept += 1
    return kept


@numba.njit(**OPTIONS)
def after_fills(
    table: Any, ledger: Any, account: int, fills: Any, transfers: bool, into: Any, out: Any
) -> tuple[int, int]:
    """Positions of an account after fills, into `into`, and its figures before and after, into `out` (2, WIDTH).

    table   as of `after_orders`
    fills   rows (M,), quantities (M,), paid (M,): as of `events.Fill`, NaN at the mark
    transfers   True where what moves are assets, and nothing is paid for them
    into    instrument (P + 2 M,), quantity (P + 2 M,)
    Returns the code of the first fill at fault, or INEXACT, and the number of positions.
    """
    rows, columns, _numbers = table
    root, pages, instrument, quantity, figures = ledger
    fill_row, fill_quantity, fill_paid = fills
    count = fill_row.shape[0]
    add_row, add_quantity, adds = np.empty(2 * count, np.int64), np.empty(2 * count), 0
    for i in range(count):
        code = _order_fault(columns, fill_row[i], fill_quantity[i])
        if code != OK and not (transfers and code == ASSET):
            return code, 0
        adds = _add(columns, fill_row[i], fill_quantity[i], add_row, add_quantity, adds)
    for i in range(count):
        if transfers:
            break
        cash, amount = int(columns[fill_row[i], CASH_ROW]), -fill_paid[i]
        if np.isnan(amount):
            cash, amount = _premium(columns, fill_row[i], fill_quantity[i])
        elif amount != 0.0 and cash < 0:
            return NO_CASH, 0
        if amount != 0.0:
            adds = _add(columns, cash, amount, add_row, add_quantity, adds)
    entry = pages[root[account >> PAGE_BITS], account & (PAGE - 1)]
    for i in range(WIDTH):
        out[0, i] = figures[entry[FIGURES], i]
    held = (instrument, quantity, entry[FIRST], entry[COUNT])
    kept = _merged(columns, held, (add_row, add_quantity, adds), into)
    scratch = _room(rows.shape[1], kept)
    return _figures(table, into, 0, kept, (add_row, add_quantity, 0), scratch, True, out[1]), kept


@numba.njit(**OPTIONS)
def _fetch(ledger: Any, account_of: Any, accounts: int, first: int, last: int) -> None:
    """Ask for the positions that orders first to last - 1 are about to need: they lie anywhere in memory."""
    root, pages, instrument, quantity, figures = ledger
    for i in range(first, last):
        if 0 <= account_of[i] < accounts:
            page, place = root[account_of[i] >> PAGE_BITS], account_of[i] & (PAGE - 1)
            XP.prefetch(figures, pages[page, place, FIGURES] * WIDTH + AVAILABLE)
            start, end = pages[page, place, FIRST], pages[page, place, FIRST] + pages[page, place, COUNT]
            for p in range(start, end, PER_LINE):
                XP.prefetch(quantity, p)
            for p in range(start, end, 2 * PER_LINE):
                XP.prefetch(instrument, p)


@numba.njit(**OPTIONS)
def _check_slice(table: Any, ledger: Any, orders: Any, first: int, last: int, answers: Any) -> None:
    rows, columns, _numbers = table
    root, pages, instrument, quantity, figures = ledger
    account_of, row_of, quantity_of, accounts = orders
    initial, maintenance, available, fits, allowed, codes = answers
    add_row, add_quantity, out = np.empty(2, np.int64), np.empty(2), np.empty(WIDTH)
    capacity, positions = ROOM, (instrument, quantity)
    scratch = _room(rows.shape[1], capacity)
    for i in range(first, last):
        if (i - first) % AHEAD == 0:
            _fetch(ledger, account_of, accounts, i, min(i + AHEAD, last))
        account, row, contracts = account_of[i], row_of[i], quantity_of[i]
        code = _order_fault(columns, row, contracts) if 0 <= account < accounts else NO_ACCOUNT
        if code == OK:
            adds = _add(columns, row, contracts, add_row, add_quantity, 0)
            cash, amount = _premium(columns, row, contracts)
            if cash >= 0:
                adds = _add(columns, cash, amount, add_row, add_quantity, adds)
            page, place = root[account >> PAGE_BITS], account & (PAGE - 1)
            held = pages[page, place, COUNT]
            if held + 2 > capacity:
                capacity = 2 * (held + 2)
                scratch = _room(rows.shape[1], capacity)
            additions = (add_row, add_quantity, adds)
            first_position = pages[page, place, FIRST]
            code = _figures(table, positions, first_position, held, additions, scratch, False, out)
            initial[i], maintenance[i], available[i] = out[INITIAL], out[MAINTENANCE], out[AVAILABLE]
            before = pages[page, place, FIGURES]
            fits[i] = out[AVAILABLE] >= 0.0
            no_worse = out[AVAILABLE] >= figures[before, AVAILABLE] and out[EXCESS] >= figures[before, EXCESS]
            allowed[i] = fits[i] or no_worse
        codes[i] = code


@numba.njit(**OPTIONS)
def _margin_slice(table: Any, ledger: Any, accounts: Any, first: int, last: int, out: Any) -> int:
    root, pages, instrument, quantity, _ = ledger
    capacity, scenarios = ROOM, table[0].shape[1]
    scratch, positions = _room(scenarios, capacity), (instrument, quantity)
    additions = (np.empty(0, np.int64), np.empty(0), 0)
    worst_code = OK
    for i in range(first, last):
        page, place = root[accounts[i] >> PAGE_BITS], accounts[i] & (PAGE - 1)
        held = pages[page, place, COUNT]
        if held > capacity:
            capacity = 2 * held
            scratch = _room(scenarios, capacity)
        first_position = pages[page, place, FIRST]
        code = _figures(table, positions, first_position, held, additions, scratch, True, out[i])
        worst_code = max(worst_code, code)
    return worst_code


KERNELS = (after_orders, after_fills, _check_slice, _margin_slice)


def check_orders(
    table: Any, ledger: Any, orders: tuple[IntArray, IntArray, FloatArray, int], threads: int = 1
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray, BoolArray, IntArray]:
    """(R,) each: initial and maintenance margin and available funds after every order by itself, fits, allowed, a code.

    orders  (R,) account, (R,) -> N instrument, (R,) quantity, number of accounts
    """
    count = len(orders[0])
    truths = np.zeros((2, count), np.bool_)
    answers = (np.empty(count), np.empty(count), np.empty(count), *truths, np.empty(count, np.int64))
    XP.run_in_threads(lambda part: _check_slice(table, ledger, orders, part.start, part.stop, answers), count, threads)
    return answers


def figures_of(table: Any, ledger: Any, accounts: IntArray, threads: int = 1) -> tuple[FloatArray, bool]:
    """(R,WIDTH) figures of accounts as they stand, and whether all sums were exact."""
    out = np.empty((len(accounts), WIDTH))
    codes: list[int] = []
    XP.run_in_threads(
        lambda part: codes.append(_margin_slice(table, ledger, accounts, part.start, part.stop, out)),
        len(accounts),
        threads,
    )
    return out, max(codes) == OK
