"""What orders in batch are screened with, `checks_screened`: whether that pays, and the table.

A screen of a table is made again at every tick, in about a millisecond, once there are so many orders that it pays.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin import ledger, order_table
from portfolio_margin.backends import check_parts, compact, figures, lanes, order_parts, screen_numba
from portfolio_margin.backends.check_parts import NUMBERS
from portfolio_margin.backends.checks_known import ROW_BITS
from portfolio_margin.backends.compact import MOST_STEPS
from portfolio_margin.backends.figures import opened
from portfolio_margin.backends.order_parts import entry_of, ledger_at
from portfolio_margin.backends.screen_numba import SCREEN_PAYS, Screen
from portfolio_margin.kernel_inputs import POSITIONS_PER_ROW, Table
from portfolio_margin.ledger import COUNT, FIRST
from portfolio_margin.order_table import COLUMNS, CONTRACT, LONG_WEIGHT, NETTING_SET, SCENARIOS, UNIT
from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# Rows that words have room for.
MOST_ROWS = 2**ROW_BITS
# Of fewer orders, making a screen of a table takes longer than it saves; positions that an order is counted as there.
PREPARED_FROM, USUAL_ORDER_POSITIONS = 8_192, 20
# Orders whose accounts are looked at first, and products of the exact kernel that a netting set costs a screen.
SAMPLED, PRODUCTS_OF_SET = 64, 384
# Packed rows of more bytes lie too far away, for a block of orders at a time.
LARGEST_PACKED = 4 * 2**20
# The name of what is kept beside the buffers of a ledger.
SCREEN = "screen"
SOURCES = (sys.modules[__name__], check_parts, compact, figures, lanes, ledger, order_parts, order_table)


class Prepared(NamedTuple):
    """A table as orders are screened with it.

    screen       of the table
    long_weight  (N,) as of `Table`
    moving       (N,) True for assets that have other rows than zeros
    netting_set  (N,) label of the set
    in_place     True where all nets with all, and scenarios are one chunk: positions are screened where they lie
    """

    screen: Screen
    long_weight: FloatArray
    moving: BoolArray
    netting_set: IntArray
    in_place: bool


def _sample_template(tag: str) -> Any:
    def sample(table: Any, ledger: Any, orders: Any, stride: int) -> tuple[int, int, int]:
        """Contracts held by the accounts of every so many orders, runs of them in one netting set, and how many are of
        more steps than fit."""
        tag  # noqa: B018 - enters the key of the disk cache
        columns, book, given = opened(table)[1], ledger_at(ledger), lanes.address(orders, 0)
        held, runs, large = 0, 0, 0
        for k in range(0, orders.shape[0], stride):
            if given[k * NUMBERS] < 0.0:
                continue
            entry = entry_of(book, int(given[k * NUMBERS]))
            first, before = book[1][entry + FIRST], np.nan
            for p in range(first, first + book[1][entry + COUNT]):
                place = np.int64(book[2][p]) * COLUMNS
                if columns[place + CONTRACT] != 0.0:
                    held += 1
                    runs += columns[place + NETTING_SET] != before
                    large += not abs(book[3][p]) <= MOST_STEPS * columns[place + UNIT]
                    before = columns[place + NETTING_SET]
        return held, runs, large

    return sample


_sample = XP.compile_kernel(_sample_template(""), XP.source_hash(*SOURCES), None, fastmath=False)


def pays(table: Any, ledger: Any, orders: FloatArray) -> bool:
    """Whether a screen is quicker for accounts like these: each netting set costs as much as so many products."""
    held, runs, large = _sample(table, ledger, orders, max(1, len(orders) // SAMPLED))
    return bool(held * table[2][SCENARIOS] >= PRODUCTS_OF_SET * runs and large <= SCREEN_PAYS * held and held > 0)


def prepared(table: Any, kept: dict[Any, Any], orders: int) -> Prepared | None:
    """A table as that many orders are screened with it, which is kept; None where it would not pay, or not hold."""
    of, found = kept.get(SCREEN, (None, None))
    if of is not table:
        values, columns, numbers = table
        rows, width = len(columns), values.shape[1]
        few = orders < PREPARED_FROM or orders * USUAL_ORDER_POSITIONS < POSITIONS_PER_ROW * rows
        if few or rows > MOST_ROWS or values.size * np.dtype(np.int16).itemsize > LARGEST_PACKED:
            return None
        # As the table was before it was cut into chunks.
        every = values.reshape(-1, rows, width).swapaxes(0, 1).reshape(rows, -1)[:, : int(numbers[SCENARIOS])]
        contract, magnitude = columns[:, CONTRACT] != 0.0, np.abs(every).max(axis=1, initial=0.0)
        whole = Table(every, columns[:, UNIT], contract, read_only(columns[:, LONG_WEIGHT].copy()), magnitude, True)
        found, screen = None, screen_numba.prepared(whole, orders * USUAL_ORDER_POSITIONS)
        moving = ~contract & (magnitude > 0.0)
        labels = read_only(np.unique(columns[:, NETTING_SET], return_inverse=True)[1].astype(np.int64))
        if screen is not None:
            at_once = bool(labels.max(initial=0) == 0 and len(screen.columns) <= screen.width)
            found = Prepared(screen, whole.long_weight, moving, labels, at_once)
        kept[SCREEN] = table, found
    return found
