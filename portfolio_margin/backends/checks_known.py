"""What orders in batch know of accounts that were looked at before, beside the buffers of a ledger: see `looked_at_of`.

Words: row and steps of a position, four bytes where rows and quantities are twelve. Sums: all of an account that no
scenario is in, in one cache line, of which an order changes little. A ledger never writes a position or figures again;
figures are written anew of every account that holds anything that has changed, and the sums go by them, while words do
not depend on what positions are worth. Inlined in kernels, which close over the hash of this file.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import lanes
from portfolio_margin.backends.compact import MOST_STEPS
from portfolio_margin.backends.order_lanes import word
from portfolio_margin.backends.order_parts import INLINED, PER_LINE, entry_of
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.ledger import COUNT, FIGURES, FIRST
from portfolio_margin.order_table import (
    COLUMNS,
    CONTRACT,
    LONG_WEIGHT,
    MAGNITUDE,
    SHORT_TICKS,
    UNIT,
    VALUE_TICKS,
)  # fmt: skip
from pricing.xp import numba as XP

# The name of what is kept.
LOOKED_AT = "looked at"
# A word: the row in its lower half, steps in the upper. Steps are 0 of an asset, which stands apart if it moves, and
# what no others are of a contract that stands apart, since it has more of them than fit.
ROW_BITS = 16
ROW, ASSET, APART = np.int32(2**ROW_BITS - 1), np.int64(0), np.int64(-(2**15))
# Sums of an account, ticks: equity, collateral, kept, floor, and the sum of magnitudes. Then the quantity of its first
# position, assets come first; and steps of all contracts, their magnitudes added up, infinite where any stands apart.
# The bits of the sum of magnitudes are 0 where the account has not been looked at; a sum of nothing is kept as -0.
# A quantity may be off its step by what it is rounded by, an eighth of a step where it is CLEAR of them: up to there,
# whole steps of a position and of an order add up to those of their sum.
SIZE, LEADING, HELD = 4, 5, 6
UNREAD, CLEAR = np.int64(0), EXACT_LIMIT / 64


def looked_at_of(kept: dict[Any, Any], positions: int, figures: int, table: Any) -> tuple[Any, Any]:
    """(P',) words and (F',PER_LINE) sums beside buffers of so many positions and figures, as far as accounts have been
    looked at."""
    _, columns, _ = table
    of = columns[:, UNIT], columns[:, CONTRACT]
    made_with, found = kept.get(LOOKED_AT, (None, None))
    if found is None or not all(map(np.array_equal, made_with, of)):
        # Pages of memory that nobody has looked at take no room. Sums of an account are one cache line.
        room = np.zeros((figures + 1) * PER_LINE)
        begin = -room.ctypes.data // room.itemsize % PER_LINE
        found = np.zeros(positions, np.int32), room[begin : begin + figures * PER_LINE].reshape(figures, PER_LINE)
        kept[LOOKED_AT] = of, found
    return found


@numba.njit(**INLINED)
def row_in(both: Any) -> Any:
    """The row of a word."""
    return np.int64(both & ROW)


@numba.njit(**INLINED)
def sums_at(ledger: Any, sums: Any, entry: int) -> Any:
    """Address of the sums of an account."""
    return lanes.offset(sums, ledger[1][entry + FIGURES] * PER_LINE)


@numba.njit(**INLINED)
def is_unread(sums: Any) -> bool:
    """Whether an account has not been looked at."""
    return word(sums, SIZE) == UNREAD


@numba.njit(**INLINED)
def sums_of(sums: Any) -> Any:
    """The sums of an account that has been looked at, and its steps."""
    size = sums[SIZE]
    XP.acquire()
    return (sums[0], sums[1], sums[2], sums[3], size), sums[HELD]


@numba.njit(**INLINED)
def fetch_looked_at(ledger: Any, words: Any, sums: Any, account: int) -> None:
    """Ask for words and sums of an account."""
    entry = entry_of(ledger, account)
    start, end = ledger[1][entry + FIRST], ledger[1][entry + FIRST] + ledger[1][entry + COUNT]
    XP.prefetch(sums_at(ledger, sums, entry), 0)
    for p in range(start, end, 2 * PER_LINE):
        XP.prefetch(words, p)
    # Where the first is not the first of its cache line, the last may be in one more.
    XP.prefetch(words, end - 1)


@numba.njit(**INLINED)
def fetch_unread(ledger: Any, sums: Any, account: int) -> None:
    """Ask for rows and quantities of an account that has not been looked at."""
    entry = entry_of(ledger, account)
    if is_unread(sums_at(ledger, sums, entry)):
        start, end = ledger[1][entry + FIRST], ledger[1][entry + FIRST] + ledger[1][entry + COUNT]
        for p in range(start, end, PER_LINE):
            XP.prefetch(ledger[3], p)
        for p in range(start, end, 2 * PER_LINE):
            XP.prefetch(ledger[2], p)


@numba.njit(**INLINED)
def _of_asset(columns: Any, n: int, amount: float) -> Any:
    """Value of an amount of an asset and what of it counts, both in whole ticks."""
    ticks = columns[n * COLUMNS + VALUE_TICKS]
    weighted = amount * columns[n * COLUMNS + LONG_WEIGHT] if amount > 0.0 else amount
    return lanes.nearest(amount * ticks), lanes.nearest(weighted * ticks)


@numba.njit(**INLINED)
def sums_after(columns: Any, sums: Any, order: Any, steps: float, had: float, balance: float) -> Any:
    """Sums of an account after an order of `check_parts.order_at`; whole ticks, which add up exactly.

    sums           before; the last one, of magnitudes, is not below what it is afterwards
    steps          of the order
    had, balance   what the account holds before of the contract, and of what is paid with
    """
    (equity, collateral, kept, floor, size), (row, _, cash, amount) = sums, order
    place = row * COLUMNS
    equity += steps * columns[place + VALUE_TICKS]
    if columns[place + SHORT_TICKS] != 0.0:
        before = lanes.nearest(had / columns[place + UNIT])
        floor += (max(-before - steps, 0.0) - max(-before, 0.0)) * columns[place + SHORT_TICKS]
    if cash >= 0:
        then, kept_then = _of_asset(columns, cash, balance)
        now, kept_now = _of_asset(columns, cash, balance + amount)
        equity, collateral, kept = equity + (now - then), collateral + (now - then), kept + (kept_now - kept_then)
    return equity, collateral, kept, floor, size


@numba.njit(**INLINED)
def held_before(columns: Any, kept: Any, quantity: Any, first: int, count: int, order: Any) -> Any:
    """What an account holds of the contract of an order, as far as sums depend on it, and of what is paid with.

    kept   addresses of words and of the sums of the account
    """
    (words, sums), (row, _, cash, _), had, balance = kept, order, 0.0, 0.0
    # Values are so much a step, whatever is held; a floor is of what is short.
    if columns[row * COLUMNS + SHORT_TICKS] != 0.0:
        p = _place_of(words, first, count, row)
        had = quantity[p] if p >= 0 else 0.0
    if cash >= 0 and count > 0 and row_in(words[first]) == cash:
        balance = sums[LEADING]
    elif cash >= 0:
        p = _place_of(words, first, count, cash)
        balance = quantity[p] if p >= 0 else 0.0
    return had, balance


@numba.njit(**INLINED)
def _place_of(words: Any, first: int, count: int, row: int) -> int:
    """Which position is of this row; -1 for none."""
    end = first + count
    found = end
    for p in range(first, end):
        found = min(found, p if row_in(words[p]) == row else end)
    return found if found < end else -1


def read_template(tag: str) -> Any:
    """What looks at an account."""

    def read(columns, moving, words, sums, positions, first, count):
        """Fill the words of the positions of an account and its sums.

        All are addresses; moving as of `checks_prepared.Prepared`, positions are instrument and quantity
        """
        tag  # noqa: B018 - as kernels do
        (instrument, quantity), held = positions, 0.0
        equity, collateral, kept, floor, size = 0.0, 0.0, 0.0, 0.0, 0.0
        for p in range(first, first + count):
            n, place = np.int64(instrument[p]), np.int64(instrument[p]) * COLUMNS
            if columns[place + CONTRACT] == 0.0:
                value, counts = _of_asset(columns, n, quantity[p])
                equity, collateral, kept = equity + value, collateral + value, kept + counts
                part, alone, amount = ASSET, moving[n] != 0, quantity[p]
            else:
                amount = lanes.nearest(quantity[p] / columns[place + UNIT])
                alone = not abs(amount) <= MOST_STEPS
                part = APART if alone else np.int64(amount)
                equity += amount * columns[place + VALUE_TICKS]
                floor += max(-amount, 0.0) * columns[place + SHORT_TICKS]
                held += abs(amount)
            held, size = (np.inf if alone else held), size + abs(amount) * columns[place + MAGNITUDE]
            words[p] = np.int32((part << ROW_BITS) | n)
        sums[0], sums[1], sums[2], sums[3] = equity, collateral, kept, floor
        sums[LEADING], sums[HELD] = (quantity[first] if count > 0 else 0.0), held
        # Whoever sees the last number sees all that was written before it.
        XP.release()
        sums[SIZE] = size if size != 0.0 else -0.0

    return read
