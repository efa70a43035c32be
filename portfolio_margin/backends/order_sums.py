"""Sums of one account after one order, for worst-loss models: in one pass over its positions, in registers.

Rows of scenarios and what is one number a position (`order_lanes`) are added side by side. Where scenarios take more
than one row of registers (`lanes`), how many rows each position holds is noted, and the others are added after it.
Functions here are handed addresses and not arrays, whose references would be counted.

Each width of rows has functions of its own, which are compiled where a table is that wide. Nothing here is cached by
itself; kernels that use it close over the hash of this file.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import lanes
from portfolio_margin.backends.order_lanes import add_asset_terms, add_terms, no_terms, terms_of, word
from portfolio_margin.order_table import COLUMNS, CONTRACT, LONG_WEIGHT, NETTING_SET, UNIT, VALUE_TICKS
from pricing.xp import numba as XP

# Rows of an order and what is paid for it, and the end of the last netting set.
ROOM_BEYOND = 3
# Of a type of its own, not the number itself, for which functions would be compiled again.
NONE = np.int64(0)
# Place in the sums of an account, ticks: equity, collateral, kept, delta, floor, size.
SIZE = 5


@numba.njit(nogil=True, error_model="numpy", forceinline=True)
def _weighted(columns: Any, n: int, amount: float) -> float:
    """An amount of an asset, a long balance as far as it counts."""
    return amount * columns[n * COLUMNS + LONG_WEIGHT] if amount > 0.0 else amount


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


def _sums_template(tag: str) -> Any:
    def sums(table, positions, first, count, order, room):
        """See `account_sums`."""
        tag  # noqa: B018 - as kernels do
        XP.vector_loop()
        values, columns, _, rows, chunks = table
        instrument, quantity = positions
        row, contracts, cash, amount = order
        picked, units = room
        added, collateral, kept = no_terms(), 0.0, 0.0
        summed, largest, worst, pending, p, end = 0.0, 0.0, -1, NONE, first, first + count
        while p < end or row >= 0 or cash >= 0:
            # A netting set: its positions, then of the order and its payment what joined none of them.
            n = np.int64(instrument[p]) if p < end else (row if row >= 0 else cash)
            netting_set, total, begin = word(columns, n * COLUMNS + NETTING_SET), ZEROS(), pending  # noqa: F821
            while True:
                # Contracts have a loop of their own: what two branches have in common LLVM would take out of both.
                while p < end:
                    n, q = np.int64(instrument[p]), quantity[p]
                    if (
                        word(columns, n * COLUMNS + NETTING_SET) != netting_set
                        or word(columns, n * COLUMNS + CONTRACT) == 0
                    ):
                        break
                    # No branch, as nobody could foresee it.
                    q += contracts if n == row else 0.0
                    row = -1 if n == row else row
                    held = lanes.nearest(q / columns[n * COLUMNS + UNIT])
                    added = add_terms(added, columns, n, held)
                    total = ADD_ROW(total, values, n, held)  # noqa: F821
                    if chunks > 1:
                        picked[pending], units[pending] = n, held
                        pending += 1
                    p += 1
                n, q = cash, 0.0
                if p < end and word(columns, np.int64(instrument[p]) * COLUMNS + NETTING_SET) == netting_set:
                    n, q = np.int64(instrument[p]), quantity[p]
                    p += 1
                elif cash < 0 or word(columns, cash * COLUMNS + NETTING_SET) != netting_set:
                    break
                q += amount if n == cash else 0.0
                cash = -1 if n == cash else cash
                held, worth = _weighted(columns, n, q), columns[n * COLUMNS + VALUE_TICKS]
                collateral += lanes.nearest(q * worth)
                kept += lanes.nearest(held * worth)
                added = add_asset_terms(added, columns, n, q)
                total = ADD_ROUNDED(total, values, n, held)  # noqa: F821
                if chunks > 1:
                    picked[pending], units[pending] = -1 - n, held
                    pending += 1
            if row >= 0 and word(columns, row * COLUMNS + NETTING_SET) == netting_set:
                held = lanes.nearest(contracts / columns[row * COLUMNS + UNIT])
                added = add_terms(added, columns, row, held)
                total = ADD_ROW(total, values, row, held)  # noqa: F821
                if chunks > 1:
                    picked[pending], units[pending] = row, held
                    pending += 1
                row = -1
            lowest, where = LOWEST(total)  # noqa: F821
            for chunk in range(1, chunks):
                low, place = LEAST(values, chunk * rows, picked, units, begin, pending)  # noqa: F821
                if low < lowest:
                    lowest, where = low, chunk * WIDTH + place  # noqa: F821
            summed -= min(lowest, 0.0)
            if -lowest > largest:
                largest, worst = -lowest, where
        equity, delta, floor, size = terms_of(added)
        return summed, worst, (equity, collateral, kept, delta, floor, size)

    return sums


@functools.cache
def account_sums(width: int) -> Any:
    """The function (table, positions, first, count, order, room) for tables whose rows are so wide.

    It returns the sum of the worst losses, the worst scenario, and sums of an account after one order, in ticks:
    table      what `figures.opened` returns
    positions  instrument and quantity in order of rank: `count` from `first` on
    order      row and contracts, row and amount of what is paid; row -1 for nothing
    room       rows picked, units of each: for ROOM_BEYOND more than there are positions
    An order is not put in its place among the positions, as sums of whole ticks do not depend on it.
    """
    vector = lanes.operations(width)
    names = {
        "ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded, "LOWEST": vector.lowest,
        "WIDTH": width,
    }  # fmt: skip
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    names["LEAST"] = numba.njit(**options)(XP.bound(_least_template(""), names, str(width)))
    return numba.njit(**options)(XP.bound(_sums_template(""), names, str(width)))
