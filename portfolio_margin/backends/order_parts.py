"""What kernels of orders share: what is wrong with an order, what it costs, and where an account stands in a ledger.

Inlined in kernels, which close over the hash of this file. Arrays go in as addresses, whose references nobody counts.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import lanes
from portfolio_margin.kernel_inputs import QUANTITY_ROUNDING, STEP_TOLERANCE
from portfolio_margin.ledger import COUNT, FIGURES, FIRST, PAGE, PAGE_BITS
from portfolio_margin.order_codes import (
    ASSET,
    AVAILABLE,
    NO_CASH,
    NO_INSTRUMENT,
    NOT_FINITE,
    NOTHING,
    OFF_STEP,
    OK,
    WIDTH,
)  # fmt: skip
from portfolio_margin.order_table import CASH_ROW, COLUMNS, CONTRACT, RANK, UNIT, VALUE
from pricing.xp import numba as XP

INLINED: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}
# Quantities in a cache line.
PER_LINE = 8
# Numbers of an account in a page.
ENTRY = 3


@numba.njit(**INLINED)
def order_fault(table: Any, row: int, quantity: float) -> int:
    """What is wrong with an order."""
    columns, at = table[1], row * COLUMNS
    if row < 0 or row >= table[3]:
        return NO_INSTRUMENT
    if not np.isfinite(quantity):
        return NOT_FINITE
    if columns[at + CONTRACT] == 0.0:
        return ASSET
    unit = columns[at + UNIT]
    steps = lanes.nearest(quantity / unit)
    gap = abs(steps * unit - quantity)
    if not gap <= STEP_TOLERANCE * unit + QUANTITY_ROUNDING * abs(quantity):
        return OFF_STEP
    if quantity == 0.0:
        return NOTHING
    if steps == 0.0:
        return OFF_STEP
    if columns[at + CASH_ROW] < 0.0 and quantity * columns[at + VALUE] != 0.0:
        return NO_CASH
    return OK


@numba.njit(**INLINED)
def premium_of(columns: Any, row: int, quantity: float) -> tuple[int, float]:
    """Row and amount of what an order costs, -1 where it costs nothing."""
    cost = quantity * columns[row * COLUMNS + VALUE]
    if cost == 0.0:
        return -1, 0.0
    cash = int(columns[row * COLUMNS + CASH_ROW])
    return cash, -cost / columns[cash * COLUMNS + VALUE]


@numba.njit(**INLINED)
def add(columns: Any, row: int, quantity: float, add_row: Any, add_quantity: Any, count: int) -> int:
    """Put an addition in its place by rank, behind those of the same instrument: sums of doubles need their order."""
    place, rank = count, columns[row * COLUMNS + RANK]
    while place > 0 and columns[add_row[place - 1] * COLUMNS + RANK] > rank:
        add_row[place], add_quantity[place] = add_row[place - 1], add_quantity[place - 1]
        place -= 1
    add_row[place], add_quantity[place] = row, quantity
    return count + 1


@numba.njit(**INLINED)
def merged(columns: Any, held: Any, additions: Any, into: Any) -> int:
    """Positions `held` (instrument, quantity, first, count) with additions, both in order of rank; how many stay."""
    instrument, quantity, first, count = held
    add_row, add_quantity, adds = additions
    row_into, quantity_into = into
    p, k, kept = first, 0, 0
    while p < first + count or k < adds:
        of_account = p < first + count
        if of_account and k < adds:
            rank = columns[np.int64(instrument[p]) * COLUMNS + RANK]
            of_account = rank <= columns[add_row[k] * COLUMNS + RANK]
        if of_account:
            n, q = np.int64(instrument[p]), quantity[p]
            p += 1
        else:
            n, q = add_row[k], add_quantity[k]
            k += 1
        while k < adds and add_row[k] == n:
            q += add_quantity[k]
            k += 1
        if columns[n * COLUMNS + CONTRACT] != 0.0:
            # Decimal steps such as 0.1 do not add exactly: a quantity is again the nearest whole multiple.
            unit = columns[n * COLUMNS + UNIT]
            q = lanes.nearest(q / unit) * unit
        if q != 0.0:
            row_into[kept], quantity_into[kept] = n, q
            kept += 1
    return kept


@numba.njit(**INLINED)
def ledger_at(ledger: Any) -> Any:
    """Addresses of root, pages, instrument_idx, quantity, figures of a `Ledger`."""
    root, pages, instrument, quantity, known = ledger
    found = lanes.address(root, 0), lanes.address(pages, 0), lanes.address(instrument, 0), lanes.address(quantity, 0)
    return (*found, lanes.address(known, 0))


@numba.njit(**INLINED)
def entry_of(ledger: Any, account: int) -> int:
    """Where in the pages the numbers of an account stand."""
    return (ledger[0][account >> PAGE_BITS] * PAGE + (account & (PAGE - 1))) * ENTRY


@numba.njit(**INLINED)
def fetch_known(ledger: Any, entry: int) -> None:
    """Ask for all the figures of an account."""
    start = ledger[1][entry + FIGURES] * WIDTH
    for place in range(start, start + WIDTH, PER_LINE):
        XP.prefetch(ledger[4], place)
    XP.prefetch(ledger[4], start + WIDTH - 1)


@numba.njit(**INLINED)
def copy_known(ledger: Any, entry: int, out: Any) -> None:
    """The figures of an account as they are known."""
    for i in range(WIDTH):
        out[i] = ledger[4][ledger[1][entry + FIGURES] * WIDTH + i]


@numba.njit(**INLINED)
def room_at(whole: Any, real: Any) -> Any:
    """Addresses of rows picked and units of each."""
    return lanes.address(whole, 0), lanes.address(real, 0)


@numba.njit(**INLINED)
def fetch_positions(ledger: Any, account: int) -> None:
    """Ask for the positions of an account and its figures."""
    _, pages, instrument, quantity, known = ledger
    entry = entry_of(ledger, account)
    XP.prefetch(known, pages[entry + FIGURES] * WIDTH + AVAILABLE)
    start, end = pages[entry + FIRST], pages[entry + FIRST] + pages[entry + COUNT]
    for p in range(start, end, PER_LINE):
        XP.prefetch(quantity, p)
    for p in range(start, end, 2 * PER_LINE):
        XP.prefetch(instrument, p)
    # Where the first is not the first of its cache line, the last may be in one more.
    XP.prefetch(quantity, end - 1)
    XP.prefetch(instrument, end - 1)
