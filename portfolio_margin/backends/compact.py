"""Positions as the screen of worst losses reads them: six bytes each instead of a book's sixteen, made once for a book.

A tick changes what contracts are worth, not who holds how many. So rows and whole steps are kept beside the positions,
for as long as those live, and read at every tick. What does not fit, balances of collateral and quantities of many
steps, stands apart.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backends import lanes, steps
from portfolio_margin.backends.packed_rows import LINE
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import FloatArray, IntArray
from pricing.xp import numba as XP

# Steps of a position that does not stand apart.
MOST_STEPS = 2.0**15 - 1.0
# The name of what is kept of positions.
KEPT = "compact"


class Apart(NamedTuple):
    """Positions that stand apart, in their order.

    position (M,) -> P, units (M,) balances, and steps of contracts, NaN where they are not clear
    """

    position: IntArray
    units: FloatArray


class Compact(NamedTuple):
    """The positions of a book.

    row        (P,) -> N, 32 bits
    held       (P + LINE,) steps, 16 bits, 0 where the position stands apart
    apart      by first and last position of a block; one that is missing has not been read
    made_with  unit and contract (N,) that all this depends on
    """

    row: Any
    held: Any
    apart: dict[tuple[int, int], Apart]
    made_with: tuple[Any, ...]


def _read_template(tag: str) -> Any:
    def read(first, last, instrument_idx, quantity, per_unit, row, held):
        """Fill the columns of positions first to last - 1; how many stand apart."""
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        apart = 0
        for p in range(first, last):
            quotient = quantity[p] * per_unit[instrument_idx[p]]
            whole = lanes.nearest(quotient)
            fits = steps.is_clear(quotient, whole) & (abs(whole) <= MOST_STEPS)
            row[p], held[p] = instrument_idx[p], np.int32(whole if fits else 0.0)
            apart += 0 if fits else 1
        return apart

    return read


def _apart_template(tag: str) -> Any:
    def read_apart(first, last, instrument_idx, quantity, per_unit, position, units):
        """Fill the columns of what stands apart of positions first to last - 1."""
        tag  # noqa: B018
        count = 0
        for p in range(first, last):
            n = instrument_idx[p]
            quotient = quantity[p] * per_unit[n]
            whole = lanes.nearest(quotient)
            clear = steps.is_clear(quotient, whole)
            if clear and abs(whole) <= MOST_STEPS:
                continue
            of_contract = whole if clear else np.nan
            position[count], units[count] = p, of_contract if per_unit[n] == per_unit[n] else quantity[p]
            count += 1

    return read_apart


@functools.cache
def _kernels() -> tuple[Any, Any]:
    tag = XP.source_hash(lanes, steps)
    read, apart = (
        XP.compile_kernel(template(""), tag, None, {}, fastmath=False) for template in (_read_template, _apart_template)
    )
    return read, apart


def compact(positions: Positions, table: Table) -> Compact:
    """The positions for the steps of a table: those that are kept, if they were made with the same ones."""
    made_with = table.unit, table.contract
    found = None if positions.kept is None else positions.kept.get(KEPT)
    if found is not None and all(map(np.array_equal, found.made_with, made_with)):
        return found
    count = len(positions.quantity)
    # Quantities are read by lines.
    made = Compact(np.empty(count, np.int32), np.empty(count + LINE, np.int16), {}, made_with)
    if positions.kept is not None:
        positions.kept[KEPT] = made
    return made


def read(made: Compact, positions: Positions, per_unit: FloatArray, first: int, last: int) -> Apart:
    """What stands apart of positions first to last - 1; their columns are filled then.

    Several threads may fill the same ones: with the same numbers, and none looks at them before they are there.
    """
    found = made.apart.get((first, last))
    if found is None:
        columns = positions.instrument_idx, positions.quantity, per_unit
        read_all, read_apart = _kernels()
        count = int(read_all(first, last, *columns, made.row, made.held))
        found = Apart(np.empty(count, np.int64), np.empty(count))
        if count:
            read_apart(first, last, *columns, *found)
        made.apart[first, last] = found
    return found
