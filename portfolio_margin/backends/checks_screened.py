"""Orders in batch against a ledger by a screen of worst losses; see `screen_numba`.

The positions of accounts after their orders are put down as the screen reads them, a block of orders at a time, netting
set by netting set. Row and steps of a position, as one word, and sums of accounts that are no scenarios are kept beside
the buffers of a ledger, which never write a position or figures again: an account that was looked at before is four
bytes a position to read, a third of what rows and quantities are, and its sums change by one order only. Figures are
written anew of every account whose positions are worth anything else. What orders wait for is memory.
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
from portfolio_margin.backends.checks_prepared import ROW_BITS, Prepared, looked_at_of
from portfolio_margin.backends.compact import MOST_STEPS
from portfolio_margin.backends.figures import opened
from portfolio_margin.backends.order_lanes import word
from portfolio_margin.backends.order_parts import INLINED, PER_LINE, entry_of, ledger_at
from portfolio_margin.backends.order_sums import ROOM_BEYOND, account_sums
from portfolio_margin.backends.packed_rows import LINE
from portfolio_margin.backends.screen_numba import SCREEN_PAYS
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.ledger import COUNT, FIGURES, FIRST
from portfolio_margin.order_codes import OK
from portfolio_margin.order_table import (
    COLUMNS,
    CONTRACT,
    LONG_WEIGHT,
    MAGNITUDE,
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
# A word: the row in its lower half, steps in the upper. Where a position stands apart, an asset or more steps than fit,
# steps are what no others are.
ROW, APART = np.int32(2**ROW_BITS - 1), np.int64(-(2**15))
# Sums of an account, ticks: equity, collateral, kept, floor, and the sum of magnitudes, whose bits are 0 where the
# account has not been looked at; a sum of nothing is kept as -0.
SIZE, UNREAD = 4, np.int64(0)


@numba.njit(**INLINED)
def _word(columns: Any, n: int, quantity: float) -> Any:
    """Row and steps of a position as they are kept."""
    steps = lanes.nearest(quantity / columns[n * COLUMNS + UNIT])
    fits = (columns[n * COLUMNS + CONTRACT] != 0.0) & (abs(steps) <= MOST_STEPS)
    return np.int32((np.int64(steps if fits else APART) << ROW_BITS) | n)


@numba.njit(**INLINED)
def _fetch(ledger: Any, words: Any, sums: Any, account: int) -> None:
    """Ask for rows, steps and sums of an account, and the quantity of the first position: assets come first."""
    pages = ledger[1]
    entry = entry_of(ledger, account)
    start, end = pages[entry + FIRST], pages[entry + FIRST] + pages[entry + COUNT]
    XP.prefetch(sums, pages[entry + FIGURES] * PER_LINE)
    XP.prefetch(ledger[3], start)
    for p in range(start, end, 2 * PER_LINE):
        XP.prefetch(words, p)
    # Where the first is not the first of its cache line, the last may be in one more.
    XP.prefetch(words, end - 1)


@numba.njit(**INLINED)
def _fetch_unread(ledger: Any, sums: Any, account: int) -> None:
    """Ask for rows and quantities of an account where they have not been looked at."""
    entry = entry_of(ledger, account)
    if word(sums, ledger[1][entry + FIGURES] * PER_LINE + SIZE) == UNREAD:
        start, end = ledger[1][entry + FIRST], ledger[1][entry + FIRST] + ledger[1][entry + COUNT]
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


@numba.njit(**INLINED)
def _plus(sums: Any, more: Any) -> Any:
    """Sums of an account and more of each, all whole ticks."""
    equity, collateral, kept, floor, size = sums
    return equity + more[0], collateral + more[1], kept + more[2], floor + more[3], size + more[4]


@numba.njit(**INLINED)
def _of_position(columns: Any, n: int, quantity: float) -> Any:
    """What a position adds to the sums of its account."""
    if columns[n * COLUMNS + CONTRACT] == 0.0:
        value, weighted, gross = _of_asset(columns, n, quantity)
        return value, value, weighted, 0.0, gross
    value, least, gross = _of_steps(columns, n, lanes.nearest(quantity / columns[n * COLUMNS + UNIT]))
    return value, 0.0, 0.0, least, gross


@numba.njit(**INLINED)
def _change(columns: Any, n: int, before: float, more: float) -> Any:
    """What sums of an account change by where it holds so much more of one instrument."""
    then, now = _of_position(columns, n, before), _of_position(columns, n, before + more)
    return now[0] - then[0], now[1] - then[1], now[2] - then[2], now[3] - then[3], now[4] - then[4]


def _read_template(tag: str) -> Any:
    def read(columns, words, sums, instrument, quantity, first, count):
        """Fill the words of the positions of an account and its sums, at their addresses."""
        tag  # noqa: B018 - as kernels do
        total = (0.0, 0.0, 0.0, 0.0, 0.0)
        for p in range(first, first + count):
            n = np.int64(instrument[p])
            words[p] = _word(columns, n, quantity[p])
            total = _plus(total, _of_position(columns, n, quantity[p]))
        sums[0], sums[1], sums[2], sums[3] = total[0], total[1], total[2], total[3]
        # Whoever sees the last number sees all that was written before it.
        XP.release()
        sums[SIZE] = total[SIZE] if total[SIZE] != 0.0 else -0.0

    return read


def _laid_template(tag: str) -> Any:
    def laid(columns, flags, positions, first, count, order, into, there):
        """Put down the positions of an account after an order, as the screen reads them, netting set by netting set.

        flags      addresses of `moving` and `netting_set` of `Prepared`
        positions  words and quantity, `count` from `first` on; `order` as of `order_at`
        into       row, held, start of sets, position and units of what stands apart
        there      how many positions, sets, and positions that stand apart, are in there already
        All are addresses. Returns how many are there then, and how much of the contract, and of what is paid with, the
        account holds before the order.
        """
        tag  # noqa: B018 - as kernels do
        XP.vector_loop()
        (moving, netting_set), (words, quantity), (row, contracts, cash, amount) = flags, positions, order
        (rows, held_at, start, position, units), (at, sets, apart) = into, there
        holds, balance, p, end = 0.0, 0.0, first, first + count
        while p < end or row >= 0 or cash >= 0:
            # A netting set: its positions, then of the order and its payment what joined none of them.
            n = np.int64(words[p] & ROW) if p < end else (row if row >= 0 else cash)
            label = netting_set[n]
            start[sets] = at
            sets += 1
            while True:
                while p < end:
                    both = words[p]
                    n, held = np.int64(both & ROW), np.int64(both >> ROW_BITS)
                    if (held == APART) | (n == row) | (netting_set[n] != label):
                        break
                    rows[at], held_at[at] = n, held
                    at, p = at + 1, p + 1
                # What needs a closer look: one that stands apart, or that the order is of.
                n = np.int64(words[p] & ROW) if p < end else np.int64(-1)
                if n >= 0 and netting_set[n] == label:
                    q = quantity[p]
                    p += 1
                    holds, balance = (q if n == row else holds), (q if n == cash else balance)
                elif row >= 0 and netting_set[row] == label:
                    n, q = row, 0.0
                elif cash >= 0 and netting_set[cash] == label:
                    n, q = cash, 0.0
                else:
                    break
                q += contracts if n == row else (amount if n == cash else 0.0)
                row, cash = (np.int64(-1) if n == row else row), (np.int64(-1) if n == cash else cash)
                if columns[n * COLUMNS + CONTRACT] == 0.0:
                    if moving[n] == 0:
                        continue
                    steps, fits = q, False
                else:
                    steps = lanes.nearest(q / columns[n * COLUMNS + UNIT])
                    fits = abs(steps) <= MOST_STEPS
                if not fits:
                    position[apart], units[apart] = at, steps
                    apart += 1
                rows[at], held_at[at] = n, np.int32(steps if fits else 0.0)
                at += 1
            sets -= 1 if start[sets - 1] == at else 0  # of balances that do not move
        return (at, sets, apart), (holds, balance)

    return laid


def _block_template(tag: str) -> Any:
    def block(terms, book, kept, orders, pays, flags, into, known, room, beyond):
        """Put down the accounts of up to BLOCK orders, as far as there is room, and what is known of them.

        kept    addresses of words and sums
        orders  where they lie, the first and the end
        pays    whether they are screened; else they are summed here
        into    as of `laid`, and (BLOCK + 1,) the first netting set of each order
        Returns the number of orders, of sets, and of positions that stand apart.
        """
        tag  # noqa: B018 - as kernels do
        (given, begin, last), (into, opens), columns, pages = orders, into, terms[1], book[1]
        words, known_sums = kept
        count, used, there = 0, 0, (np.int64(0), np.int64(0), np.int64(0))
        while count < BLOCK and begin + count < last:
            k = begin + count
            far, further, near = k + 2 * AHEAD, k + AHEAD, k + AHEAD // 2
            if account_at(given, far, last) >= 0:
                fetch_entry(book, account_at(given, far, last))
            if account_at(given, further, last) >= 0:
                _fetch(book, words, known_sums, account_at(given, further, last))
            if account_at(given, near, last) >= 0:
                _fetch_unread(book, known_sums, account_at(given, near, last))
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
            sums = lanes.offset(known_sums, pages[entry + FIGURES] * PER_LINE)
            if word(sums, SIZE) == UNREAD:
                READ(columns, words, sums, book[2], book[3], first, holds)  # noqa: F821
            size = sums[SIZE]
            XP.acquire()
            before = sums[0], sums[1], sums[2], sums[3], size
            if pays and size <= EXACT_LIMIT:
                positions = words, book[3]
                there, (had, balance) = LAID(columns, flags, positions, first, holds, order, into, there)  # noqa: F821
                after = _plus(before, _change(columns, row, had, contracts))
                if cash >= 0:
                    after = _plus(after, _change(columns, cash, balance, amount))
            else:
                summed, _, sums_of = SUMS(terms, (book[2], book[3]), first, holds, order, beyond)  # noqa: F821
                equity, collateral, kept_up, _, floor, gross = sums_of
                after = equity, collateral, kept_up, floor, gross
            put_known(known, BLOCK, count, summed, after)
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
    def check_screened(table, ledger, kept, orders, first, last, screen, long_weight, flags):
        """`checks_numba.check_slice` by a screen.

        kept     of the buffers of the ledger (P',) words of positions, and (F',PER_LINE) sums of accounts by row of
                 their figures: filled where they are looked at
        screen   as `screen_numba.screened` takes it
        flags    moving, as numbers, and netting_set of `Prepared`
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
        (words, sums), (moving, netting_set) = kept, flags
        looked_at = lanes.address(words, 0), lanes.address(sums, 0)
        labels = lanes.address(moving, 0), lanes.address(netting_set, 0)
        losses, marks = lanes.address(loss, 0), lanes.address(chosen, 0)
        begin, pays = first, True
        while begin < last:
            count, sets, apart = BLOCK_OF(  # noqa: F821
                terms, book, looked_at, (given, begin, last), pays, labels, (into, opens), known, room, beyond
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
        return in_use + len(opening) + len(words) + len(sums) + len(moving) + len(netting_set) + orders.shape[0]

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

    sums, laid, read = account_sums(width), part(_laid_template), part(_read_template)
    names = {
        "BLOCK_OF": part(_block_template, LAID=laid, READ=read, SUMS=sums),
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
    kernel = check_screened(table[0].shape[1], screen.width, sources)
    looked_at = looked_at_of(kept, len(ledger[2]), len(ledger[4]), table)

    def run(part: slice) -> Any:
        own = screen.for_thread(False)
        terms = (*own[:5], tuple(own.room)), found.long_weight, (found.moving, found.netting_set)
        return kernel(table, ledger, looked_at, given, part.start, part.stop, *terms)

    return run
