"""Positions as the screen of worst losses reads them: six bytes each instead of a book's sixteen, made once for a book.

A tick changes what contracts are worth, not who holds how many. So rows and whole steps are kept beside the positions,
for as long as those live, and read at every tick. What does not fit, balances of collateral and quantities of many
steps, stands apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from portfolio_margin.backends import lanes
from portfolio_margin.backends.packed_rows import LINE
from portfolio_margin.backends.steps import CLEARLY_WHOLE, QUOTIENT_ROUNDING
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import FloatArray, IntArray, read_only

# Steps of a position that does not stand apart: sixteen of them stay within what packed rows may be held.
MOST_STEPS = 2.0**12
# The name of what is kept of positions.
KEPT = "compact"


class Apart(NamedTuple):
    """Positions that stand apart, in their order.

    position (M,) -> P, units (M,) rows held: balances as they count, steps of contracts; NaN where they are not clear
    """

    position: IntArray
    units: FloatArray


class Compact(NamedTuple):
    """The positions of a book.

    row        (P,) -> N, 32 bits
    held       (P + LINE,) steps, 16 bits, 0 where the position stands apart
    apart      by first and last position of a block; one that is missing has not been read
    made_with  unit, contract and long weight (N,) that all this depends on
    """

    row: Any
    held: Any
    apart: dict[tuple[int, int], Apart]
    made_with: tuple[Any, ...]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _read(
    first: int, last: int, instrument_idx: Any, quantity: Any, per_unit: Any, long_weight: Any, row: Any, held: Any,
    position: Any, units: Any,
) -> int:  # fmt: skip
    """Fill the columns of positions first to last - 1, and the first of `position` and `units`; how many of those."""
    count = 0
    for p in range(first, last):
        n = instrument_idx[p]
        amount = quantity[p]
        quotient = amount * per_unit[n]
        whole = lanes.nearest(quotient)
        clear = abs(quotient - whole) + abs(quotient) * QUOTIENT_ROUNDING <= CLEARLY_WHOLE
        row[p] = n
        if clear and abs(whole) <= MOST_STEPS:
            held[p] = np.int32(whole)
            continue
        held[p] = 0
        position[count] = p
        if per_unit[n] == per_unit[n]:
            units[count] = whole if clear else np.nan
        else:
            units[count] = amount * long_weight[n] if amount > 0.0 else amount
        count += 1
    return count


def compact(positions: Positions, table: Table) -> Compact:
    """The positions for the steps of a table: those that are kept, if they were made with the same ones."""
    made_with = table.unit, table.contract, table.long_weight
    found = None if positions.kept is None else positions.kept.get(KEPT)
    if found is not None and all(map(np.array_equal, found.made_with, made_with)):
        return found
    count = len(positions.quantity)
    # Quantities are read by lines.
    made = Compact(np.empty(count, np.int32), np.empty(count + LINE, np.int16), {}, made_with)
    if positions.kept is not None:
        positions.kept[KEPT] = made
    return made


def read(made: Compact, positions: Positions, table: Table, per_unit: FloatArray, first: int, last: int) -> Apart:
    """What stands apart of positions first to last - 1; their columns are filled then.

    Several threads may fill the same ones: with the same numbers, and none looks at them before they are there.
    """
    found = made.apart.get((first, last))
    if found is None:
        position, units = np.empty(last - first, np.int64), np.empty(last - first)
        columns = positions.instrument_idx, positions.quantity, per_unit, read_only(table.long_weight)
        count = _read(first, last, *columns, made.row, made.held, position, units)
        found = made.apart[first, last] = Apart(position[:count].copy(), units[:count].copy())
    return found
