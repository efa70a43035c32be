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
from pricing.xp import numba as XP

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
def _read(first: int, last: int, instrument_idx: Any, quantity: Any, per_unit: Any, row: Any, held: Any) -> int:
    """Fill the columns of positions first to last - 1; how many stand apart."""
    XP.vector_loop()
    apart = 0
    for p in range(first, last):
        quotient = quantity[p] * per_unit[instrument_idx[p]]
        whole = lanes.nearest(quotient)
        clear = abs(quotient - whole) + abs(quotient) * QUOTIENT_ROUNDING <= CLEARLY_WHOLE
        fits = clear & (abs(whole) <= MOST_STEPS)
        row[p], held[p] = instrument_idx[p], np.int32(whole if fits else 0.0)
        apart += 0 if fits else 1
    return apart


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _read_apart(
    first: int,
    last: int,
    instrument_idx: Any,
    quantity: Any,
    per_unit: Any,
    long_weight: Any,
    position: Any,
    units: Any,
) -> None:
    """Fill the columns of what stands apart of positions first to last - 1."""
    count = 0
    for p in range(first, last):
        n, amount = instrument_idx[p], quantity[p]
        quotient = amount * per_unit[n]
        whole = lanes.nearest(quotient)
        clear = abs(quotient - whole) + abs(quotient) * QUOTIENT_ROUNDING <= CLEARLY_WHOLE
        if clear and abs(whole) <= MOST_STEPS:
            continue
        if per_unit[n] == per_unit[n]:
            held = whole if clear else np.nan
        else:
            held = amount * long_weight[n] if amount > 0.0 else amount
        position[count], units[count] = p, held
        count += 1


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
        columns = positions.instrument_idx, positions.quantity, per_unit
        count = _read(first, last, *columns, made.row, made.held)
        found = Apart(np.empty(count, np.int64), np.empty(count))
        if count:
            _read_apart(first, last, *columns, read_only(table.long_weight), *found)
        made.apart[first, last] = found
    return found
