"""Orders in batch against a ledger by a screen of worst losses; see `screen_numba`.

The positions of accounts after their orders are put down as the screen reads them, a block of orders at a time, netting
set by netting set. Row and steps of a position, as one word, are kept beside the buffers of a ledger, which never write
a position again: an account that was looked at before is four bytes a position to read, a third of what rows and
quantities are. What orders wait for is memory.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import check_parts, compact, lanes, order_sums, packed_rows, screen_numba
from portfolio_margin.backends.check_parts import (
    AHEAD,
    KNOWN,
    NUMBERS,
    SUMMED,
    account_at,
    answer,
    fault_at,
    fetch_entry,
    order_at,
    put_fault,
    put_known,
)  # fmt: skip
from portfolio_margin.backends.checks_prepared import ROW_BITS, Prepared, words_of
from portfolio_margin.backends.compact import MOST_STEPS
from portfolio_margin.backends.figures import opened
from portfolio_margin.backends.order_lanes import word
from portfolio_margin.backends.order_parts import INLINED, PER_LINE, entry_of, ledger_at
from portfolio_margin.backends.order_sums import ROOM_BEYOND, account_sums
from portfolio_margin.backends.packed_rows import LINE
from portfolio_margin.backends.screen_numba import SCREEN_PAYS
from portfolio_margin.ledger import COUNT, FIRST
from portfolio_margin.order_codes import OK
from portfolio_margin.order_table import (
    COLUMNS,
    CONTRACT,
    LONG_WEIGHT,
    MAGNITUDE,
    NETTING_SET,
    SHORT_TICKS,
    UNIT,
    VALUE_TICKS,
)  # fmt: skip
from pricing.arrays import FloatArray
from pricing.xp import numba as XP

# Orders that are put down before they are screened, and positions of each that there is room for: what they take stays
# in the first caches.
BLOCK, USUAL_POSITIONS = 64, 32
ROOM = KNOWN * BLOCK
# A word: the row in its lower half, steps in the upper. Of a position that has not been looked at it is 0, and where it
# stands apart, an asset or more steps than fit, steps are what no others are.
ROW, UNREAD, APART = np.int32(2**ROW_BITS - 1), np.int32(0), np.int64(-(2**15))


@numba.njit(**INLINED)
def _word(columns: Any, n: int, quantity: float) -> Any:
    """Row and steps of a position as they are kept."""
    steps = lanes.nearest(quantity / columns[n * COLUMNS + UNIT])
    fits = (columns[n * COLUMNS + CONTRACT] != 0.0) & (abs(steps) <= MOST_STEPS)
    return np.int32((np.int64(steps if fits else APART) << ROW_BITS) | n)


@numba.njit(**INLINED)
def _row_at(words: Any, instrument: Any, p: int) -> Any:
    """Row of a position."""
    return np.int64(instrument[p] if words[p] == UNREAD else words[p] & ROW)


@numba.njit(**INLINED)
def _fetch(ledger: Any, words: Any, account: int) -> None:
    """Ask for rows and steps of an account, and the quantity of the first: assets come first."""
    pages = ledger[1]
    entry = entry_of(ledger, account)
    start, end = pages[entry + FIRST], pages[entry + FIRST] + pages[entry + COUNT]
    XP.prefetch(ledger[3], start)
    for p in range(start, end, 2 * PER_LINE):
        XP.prefetch(words, p)
    # Where the first is not the first of its cache line, the last may be in one more.
    XP.prefetch(words, end - 1)


@numba.njit(**INLINED)
def _fetch_unread(ledger: Any, words: Any, account: int) -> None:
    """Ask for rows and quantities of an account where they have not been looked at."""
    entry = entry_of(ledger, account)
    start, end = ledger[1][entry + FIRST], ledger[1][entry + FIRST] + ledger[1][entry + COUNT]
    if end > start and words[end - 1] == UNREAD:
        for p in range(start, end, PER_LINE):
            XP.prefetch(ledger[3], p)
        for p in range(start, end, 2 * PER_LINE):
            XP.prefetch(ledger[2], p)


@numba.njit(**INLINED)
def _of_steps(columns: Any, n: int, steps: float) -> Any:
    """Value, floor of what is short, and magnitude of so many steps of a contract, ticks."""
    place = n * COLUMNS
    floor = max(-steps, 0.0) * columns[place + SHORT_TICKS]
    return steps * columns[place + VALUE_TICKS], floor, abs(steps) * columns[place + MAGNITUDE]


@numba.njit(**INLINED)
def _of_asset(columns: Any, n: int, amount: float) -> Any:
    """Value of an amount of an asset and what of it counts, both in whole ticks, and its magnitude."""
    place = n * COLUMNS
    weighted = amount * columns[place + LONG_WEIGHT] if amount > 0.0 else amount
    value, kept = (
        lanes.nearest(amount * columns[place + VALUE_TICKS]),
        lanes.nearest(weighted * columns[place + VALUE_TICKS]),
    )
    return value, kept, abs(amount) * columns[place + MAGNITUDE]


def _laid_template(tag: str) -> Any:
    def laid(columns, moving, positions, first, count, order, into, there):
        """Put down the positions of an account after an order, as the screen reads them, netting set by netting set.

        moving     (N,) as of `Prepared`, as numbers
        positions  words, instrument and quantity, `count` from `first` on; `order` as of `order_at`
        into       row, held, start of sets, position and units of what stands apart
        there      how many positions, sets, and positions that stand apart, are in there already
        All are addresses. Returns how many are there then, and equity, collateral, kept, floor, size of `order_sums`.
        """
        tag  # noqa: B018 - as kernels do
        XP.vector_loop()
        (words, instrument, quantity), (row, contracts, cash, amount) = positions, order
        (rows, held_at, start, position, units), (at, sets, apart) = into, there
        equity, collateral, kept, floor, size, p, end = 0.0, 0.0, 0.0, 0.0, 0.0, first, first + count
        while p < end or row >= 0 or cash >= 0:
            # A netting set: its positions, then of the order and its payment what joined none of them.
            n = _row_at(words, instrument, p) if p < end else (row if row >= 0 else cash)
            netting_set = word(columns, n * COLUMNS + NETTING_SET)
            start[sets] = at
            sets += 1
            while True:
                while p < end:
                    both = words[p]
                    n, held = np.int64(both & ROW), np.int64(both >> ROW_BITS)
                    closely = (both == UNREAD) | (held == APART) | (n == row)
                    if closely | (word(columns, n * COLUMNS + NETTING_SET) != netting_set):
                        break
                    steps = float(held)
                    value, least, gross = _of_steps(columns, n, steps)
                    equity, floor, size = equity + value, floor + least, size + gross
                    rows[at], held_at[at] = n, held
                    at, p = at + 1, p + 1
                # What needs a closer look: one that has not been read, that stands apart, or that the order is of.
                n = _row_at(words, instrument, p) if p < end else np.int64(-1)
                if n >= 0 and word(columns, n * COLUMNS + NETTING_SET) == netting_set:
                    q = quantity[p]
                    if words[p] == UNREAD:
                        words[p] = _word(columns, n, q)
                    q += contracts if n == row else 0.0
                    row = -1 if n == row else row
                    p += 1
                elif row >= 0 and word(columns, row * COLUMNS + NETTING_SET) == netting_set:
                    n, q, row = row, contracts, np.int64(-1)
                elif cash >= 0 and word(columns, cash * COLUMNS + NETTING_SET) == netting_set:
                    n, q = cash, 0.0
                else:
                    break
                if columns[n * COLUMNS + CONTRACT] == 0.0:
                    q += amount if n == cash else 0.0
                    cash = -1 if n == cash else cash
                    value, weighted, gross = _of_asset(columns, n, q)
                    equity, collateral, kept, size = equity + value, collateral + value, kept + weighted, size + gross
                    if moving[n] == 0:
                        continue
                    steps, fits = q, False
                else:
                    steps = lanes.nearest(q / columns[n * COLUMNS + UNIT])
                    fits = abs(steps) <= MOST_STEPS
                    value, least, gross = _of_steps(columns, n, steps)
                    equity, floor, size = equity + value, floor + least, size + gross
                if not fits:
                    position[apart], units[apart] = at, steps
                    apart += 1
                rows[at], held_at[at] = n, np.int32(steps if fits else 0.0)
                at += 1
            sets -= 1 if start[sets - 1] == at else 0  # of balances that do not move
        return (at, sets, apart), (equity, collateral, kept, floor, size)

    return laid


def _block_template(tag: str) -> Any:
    def block(terms, book, words, orders, pays, moving, into, known, room, beyond):
        """Put down the accounts of up to BLOCK orders, as far as there is room, and what is known of them.

        orders  where they lie, the first and the end
        pays    whether they are screened; else they are summed here
        into    as of `laid`, and (BLOCK + 1,) the first netting set of each order
        Returns the number of orders, of sets, and of positions that stand apart.
        """
        tag  # noqa: B018 - as kernels do
        (given, begin, last), (into, opens), columns, pages = orders, into, terms[1], book[1]
        count, used, there = 0, 0, (np.int64(0), np.int64(0), np.int64(0))
        while count < BLOCK and begin + count < last:
            k = begin + count
            far, further, near = k + 2 * AHEAD, k + AHEAD, k + AHEAD // 2
            if account_at(given, far, last) >= 0:
                fetch_entry(book, account_at(given, far, last))
            if account_at(given, further, last) >= 0:
                _fetch(book, words, account_at(given, further, last))
            if account_at(given, near, last) >= 0:
                _fetch_unread(book, words, account_at(given, near, last))
            code, opens[count] = fault_at(terms, given, k), there[1]
            if code != OK:
                put_fault(known, BLOCK, count, code)
                count += 1
                continue
            entry, summed = entry_of(book, int(given[k * NUMBERS])), 0.0
            first, holds = pages[entry + FIRST], pages[entry + COUNT]
            used += holds + ROOM_BEYOND
            if used > room:
                break
            row, contracts, cash, amount = order_at(terms, given, k)
            order = row, contracts, cash, amount
            if pays:
                positions = words, book[2], book[3]
                there, sums = LAID(columns, moving, positions, first, holds, order, into, there)  # noqa: F821
                equity, collateral, kept, floor, size = sums
            else:
                summed, _, sums_of = SUMS(terms, (book[2], book[3]), first, holds, order, beyond)  # noqa: F821
                equity, collateral, kept, _, floor, size = sums_of
            put_known(known, BLOCK, count, summed, (equity, collateral, kept, floor, size))
            count += 1
        # The end of the last set.
        opens[count], into[2][there[1]] = there[1], there[0]
        return count, there[1], there[2]

    return block


def _add_template(tag: str) -> Any:
    def add_up(terms, book, given, begin, count, opens, loss, chosen, known, beyond):
        """Sum the losses of netting sets; of an account that the screen leaves one of, all over again."""
        tag  # noqa: B018 - as kernels do
        for j in range(count):
            again = 0
            for s in range(opens[j], opens[j + 1]):
                known[SUMMED * BLOCK + j] += loss[s]
                again += chosen[s]
            if again > 0:
                row, contracts, cash, amount = order_at(terms, given, begin + j)
                entry, order = entry_of(book, int(given[(begin + j) * NUMBERS])), (row, contracts, cash, amount)
                first, holds = book[1][entry + FIRST], book[1][entry + COUNT]
                summed, _, _ = SUMS(terms, (book[2], book[3]), first, holds, order, beyond)  # noqa: F821
                known[SUMMED * BLOCK + j] = summed

    return add_up


def _check_template(tag: str) -> Any:
    def check_screened(table, ledger, words, orders, first, last, screen, long_weight, moving):
        """`checks_numba.check_slice` by a screen.

        words    (P',) of the positions in the buffers of the ledger, filled where they are looked at
        screen   as `screen_numba.screened` takes it
        moving   (N,) as of `Prepared`, as numbers
        """
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        terms, book, given, most = opened(table), ledger_at(ledger), lanes.address(orders, 0), 0
        for k in range(first, last):
            if given[k * NUMBERS] >= 0.0:
                most = max(most, book[1][entry_of(book, int(given[k * NUMBERS])) + COUNT])
        room = max(BLOCK * USUAL_POSITIONS, most + ROOM_BEYOND)
        # Arrays are bound once, as each binding counts references.
        row, held, position = np.empty(room, np.int32), np.empty(room + LINE, np.int16), np.empty(room, np.int64)
        units, start, begins = np.empty(room), np.empty(room + 1, np.int64), np.zeros(room + 1, np.int64)
        loss, where, size, chosen = np.empty(room), np.empty(room, np.int64), np.empty(room), np.empty(room, np.uint8)
        picked, picked_units = np.empty(most + ROOM_BEYOND, np.int64), np.empty(most + ROOM_BEYOND)
        opening, known = np.empty(BLOCK + 1, np.int64), XP.scratch(ROOM)
        beyond, opens = (lanes.address(picked, 0), lanes.address(picked_units, 0)), lanes.address(opening, 0)
        into = (
            lanes.address(row, 0), lanes.address(held, 0), lanes.address(start, 0), lanes.address(position, 0),
            lanes.address(units, 0),
        )  # fmt: skip
        kept, flags = lanes.address(words, 0), lanes.address(moving, 0)
        losses, marks = lanes.address(loss, 0), lanes.address(chosen, 0)
        begin, pays = first, True
        while begin < last:
            count, sets, apart = BLOCK_OF(  # noqa: F821
                terms, book, kept, (given, begin, last), pays, flags, (into, opens), known, room, beyond
            )
            if sets > 0:
                if apart == 0:  # else the screen fills it
                    begins[: sets + 1] = 0
                segments = start[: sets + 1], loss[:sets], where[:sets], size[:sets]
                columns = row, held, position[:apart], units[:apart]
                left, unclear = SCREENED(segments, columns, screen, long_weight, begins, chosen)  # noqa: F821
                ADD_UP(terms, book, given, begin, count, opens, losses, marks, known, beyond)  # noqa: F821
                pays = max(left, unclear) <= SCREEN_PAYS * sets
            answer(terms[2], book, known, BLOCK, given, begin, count)
            begin += count
        # The arrays whose addresses were in use are in use to here.
        in_use = len(picked) + len(picked_units) + len(row) + len(held) + len(position) + len(units) + len(start)
        return in_use + len(opening) + len(words) + len(moving) + orders.shape[0]

    return check_screened


SOURCES = (
    sys.modules[__name__], check_parts, compact, lanes, order_sums, packed_rows, screen_numba
)  # fmt: skip


@functools.cache
def check_screened(width: int, screened_width: int, sources: str) -> Any:
    """The kernel for tables whose rows are so wide, in the kernels of orders and in the screen.

    sources   the hash of what the kernels of orders are made of
    """
    tag = f"{width} {screened_width} {packed_rows.PRODUCTS} {sources} {XP.source_hash(*SOURCES)}"
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

    def part(template: Any, **names: Any) -> Any:
        return numba.njit(**options)(XP.bound(template(""), names, tag))

    sums, laid = account_sums(width), part(_laid_template)
    names = {
        "BLOCK_OF": part(_block_template, LAID=laid, SUMS=sums),
        "ADD_UP": part(_add_template, SUMS=sums),
        "SCREENED": screen_numba.screened(screened_width),
    }
    return XP.compile_kernel(_check_template(""), tag, None, names, fastmath=False)


def runner(
    table: Any, ledger: Any, given: FloatArray, kept: dict[Any, Any], found: Prepared, sources: str
) -> Callable[[slice], Any]:
    """What answers a slice of orders, in the order of `checks_numba.in_turn`, in their place.

    kept     of the buffers of the ledger
    sources  the hash of what the kernels of orders are made of
    """
    screen = found.screen
    kernel, words = check_screened(table[0].shape[1], screen.width, sources), words_of(kept, len(ledger[2]), table)

    def run(part: slice) -> Any:
        own = screen.for_thread(False)
        terms = (*own[:5], tuple(own.room)), found.long_weight, found.moving
        return kernel(table, ledger, words, given, part.start, part.stop, *terms)

    return run
