"""Orders in batch against a ledger by a screen of worst losses; see `screen_numba`.

The positions of accounts after their orders are put down as the screen reads them, a block of orders at a time, netting
set by netting set; or they are screened where they lie (`checks_in_place`). What was looked at is kept beside the
ledger (`checks_known`). What orders wait for is memory.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import (
    check_parts,
    checks_in_place,
    checks_known,
    compact,
    lanes,
    order_sums,
    packed_rows,
    screen_numba,
)
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
from portfolio_margin.backends.checks_in_place import (
    HELD_AFTER,
    HOLDS,
    NUMBERS_OF_ACCOUNT,
    OF_ROW,
    PLACE,
    STARTS,
    STEPS,
)
from portfolio_margin.backends.checks_known import (
    APART,
    ASSET,
    CLEAR,
    LEADING,
    ROW_BITS,
    fetch_looked_at,
    fetch_unread,
    held_before,
    is_unread,
    looked_at_of,
    read_template,
    row_in,
    sums_after,
    sums_at,
    sums_of,
)
from portfolio_margin.backends.checks_prepared import Prepared
from portfolio_margin.backends.compact import MOST_STEPS
from portfolio_margin.backends.figures import opened
from portfolio_margin.backends.order_parts import entry_of, ledger_at
from portfolio_margin.backends.order_sums import ROOM_BEYOND, account_sums
from portfolio_margin.backends.packed_rows import LINE, MOST_HELD
from portfolio_margin.backends.screen_numba import SCREEN_PAYS
from portfolio_margin.ledger import COUNT, FIRST
from portfolio_margin.order_codes import OK
from portfolio_margin.order_table import COLUMNS, CONTRACT, MAGNITUDE, UNIT
from pricing.arrays import FloatArray
from pricing.xp import numba as XP

# Orders that are put down before they are screened, and positions of each that there is room for: what they take stays
# in the first caches.
BLOCK, USUAL_POSITIONS = 64, 32
ROOM = KNOWN * BLOCK


def _laid_template(tag: str) -> Any:
    def laid(columns, flags, positions, first, count, order, into, there):
        """Put down the positions of an account after an order, as the screen reads them, netting set by netting set.

        flags      addresses of `moving` and `netting_set` of `Prepared`
        positions  words, quantity and sums of the account, `count` from `first` on; `order` as of `order_at`
        into       row, held, start of sets, position and units of what stands apart
        there      how many positions, sets, and positions that stand apart, are in there already
        All are addresses. Returns how many are there then, and how much of the contract, and of what is paid with, the
        account holds before the order.
        """
        tag  # noqa: B018 - as kernels do
        XP.vector_loop()
        (moving, netting_set), (words, quantity, sums), (row, contracts, cash, amount) = flags, positions, order
        (rows, held_at, start, position, units), (at, sets, apart) = into, there
        holds, balance, p, end = 0.0, 0.0, first, first + count
        while p < end or row >= 0 or cash >= 0:
            # A netting set: its positions, then of the order and its payment what joined none of them.
            n = row_in(words[p]) if p < end else (row if row >= 0 else cash)
            label = netting_set[n]
            start[sets] = at
            sets += 1
            while True:
                while p < end:
                    both = words[p]
                    n, held = row_in(both), np.int64(both >> ROW_BITS)
                    if (held == ASSET) | (held == APART) | (n == row) | (netting_set[n] != label):
                        break
                    rows[at], held_at[at] = n, held
                    at, p = at + 1, p + 1
                # What needs a closer look: one that stands apart, or that the order is of.
                n = row_in(words[p]) if p < end else np.int64(-1)
                if n >= 0 and netting_set[n] == label:
                    q = sums[LEADING] if p == first else quantity[p]
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
    def block(terms, book, kept, orders, pays, flags, into, plain, known, room):
        """Put down the accounts of up to BLOCK orders, as far as there is room, and what is known of them.

        kept    addresses of words and sums
        orders  where they lie, the first and the end
        pays    whether they are screened; else they are summed here
        flags   `in_place` of `Prepared` and as of `laid`
        into    as of `laid`, and (BLOCK + 1,) the first netting set of each order
        plain   address of the accounts that are not put down, as `checks_in_place` takes them
        room    for so many positions, and that of the exact kernel
        Returns the number of orders, of sets, of positions that stand apart, and of those accounts.
        """
        tag  # noqa: B018 - as kernels do
        (given, begin, last), (into, opens), columns, pages = orders, into, terms[1], book[1]
        (in_place, flags), (words, known_sums), (most, beyond) = flags, kept, room
        count, used, plains, there = 0, 0, 0, (np.int64(0), np.int64(0), np.int64(0))
        while count < BLOCK and begin + count < last:
            k = begin + count
            far, further, near = k + 2 * AHEAD, k + AHEAD, k + AHEAD // 2
            if account_at(given, far, last) >= 0:
                fetch_entry(book, account_at(given, far, last))
            if account_at(given, further, last) >= 0:
                fetch_looked_at(book, words, known_sums, account_at(given, further, last))
            if account_at(given, near, last) >= 0:
                fetch_unread(book, known_sums, account_at(given, near, last))
            code, opens[count] = fault_at(terms, given, k), there[1]
            if code != OK:
                put_fault(known, BLOCK, count, code)
                count += 1
                continue
            entry, summed = entry_of(book, int(given[k * NUMBERS])), 0.0
            first, holds, sums = pages[entry + FIRST], pages[entry + COUNT], sums_at(book, known_sums, entry)
            order = order_at(terms, given, k)
            row, contracts, cash, amount = order
            if is_unread(sums):
                READ(columns, flags[0], words, sums, (book[2], book[3]), first, holds)  # noqa: F821
            (equity, collateral, kept_up, floor, largest), held = sums_of(sums)
            steps = lanes.nearest(contracts / columns[row * COLUMNS + UNIT])
            largest += abs(steps) * columns[row * COLUMNS + MAGNITUDE]
            largest += abs(amount) * columns[cash * COLUMNS + MAGNITUDE] if cash >= 0 else 0.0
            before = equity, collateral, kept_up, floor, largest
            clear = pays and largest <= CLEAR and holds + ROOM_BEYOND <= most
            still = cash < 0 or flags[0][cash] == 0
            if clear and in_place and still and abs(steps) <= MOST_STEPS and held + abs(steps) <= MOST_HELD:
                had, balance = held_before(columns, (words, sums), book[3], first, holds, order)
                account = lanes.offset(plain, plains * NUMBERS_OF_ACCOUNT)
                account[PLACE], account[STARTS], account[HOLDS] = count, first, holds
                account[OF_ROW], account[STEPS] = row, np.int64(steps)
                account[HELD_AFTER] = np.int64(held + abs(steps))
                after = sums_after(columns, before, order, steps, had, balance)
                plains += 1
            elif clear:
                used += holds + ROOM_BEYOND
                if used > most:
                    break
                positions = words, book[3], sums
                there, (had, balance) = LAID(columns, flags, positions, first, holds, order, into, there)  # noqa: F821
                after = sums_after(columns, before, order, steps, had, balance)
            else:
                summed, _, sums_found = SUMS(terms, (book[2], book[3]), first, holds, order, beyond)  # noqa: F821
                equity, collateral, kept_up, _, floor, size = sums_found
                after = equity, collateral, kept_up, floor, size
            put_known(known, BLOCK, count, summed, after)
            count += 1
        # The end of the last set.
        opens[count], into[2][there[1]] = there[1], there[0]
        return count, there[1], there[2], plains

    return block


def _again_template(tag: str) -> Any:
    def again(terms, book, given, k, beyond):
        """The sum of worst losses after an order, by the exact kernel."""
        tag  # noqa: B018 - as kernels do
        entry, order = entry_of(book, int(given[k * NUMBERS])), order_at(terms, given, k)
        first, holds = book[1][entry + FIRST], book[1][entry + COUNT]
        summed, _, _ = SUMS(terms, (book[2], book[3]), first, holds, order, beyond)  # noqa: F821
        return summed

    return again


def _add_template(tag: str) -> Any:
    def add_up(terms, book, given, begin, count, opens, loss, chosen, known, beyond):
        """Sum the losses of netting sets; of an account that the screen leaves one of, all over again."""
        tag  # noqa: B018 - as kernels do
        for j in range(count):
            left = 0
            for s in range(opens[j], opens[j + 1]):
                known[SUMMED * BLOCK + j] += loss[s]
                left += chosen[s]
            if left > 0:
                known[SUMMED * BLOCK + j] = AGAIN(terms, book, given, begin + j, beyond)  # noqa: F821

    return add_up


def _check_template(tag: str) -> Any:
    def check_screened(table, ledger, kept, orders, first, last, screen, long_weight, flags):
        """`checks_numba.check_slice` by a screen.

        kept     of the buffers of the ledger (P',) words of positions, and (F',PER_LINE) sums of accounts by row of
                 their figures: filled where they are looked at
        screen   as `screen_numba.screened` takes it
        flags    in_place, moving, as numbers, and netting_set of `Prepared`
        """
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        terms, book, given, most = opened(table), ledger_at(ledger), lanes.address(orders, 0), 0
        # The exact kernel notes positions where rows are cut into chunks.
        for k in range(first, last if terms[4] > 1 else first):
            if given[k * NUMBERS] >= 0.0:
                most = max(most, book[1][entry_of(book, int(given[k * NUMBERS])) + COUNT])
        room = BLOCK * USUAL_POSITIONS
        # Arrays are bound once, as each binding counts references.
        row, held, position = np.empty(room, np.int32), np.empty(room + LINE, np.int16), np.empty(room, np.int64)
        units, start, begins = np.empty(room), np.empty(room + 1, np.int64), np.zeros(room + 1, np.int64)
        loss, where, size, chosen = np.empty(room), np.empty(room, np.int64), np.empty(room), np.empty(room, np.uint8)
        picked, picked_units = np.empty(most + ROOM_BEYOND, np.int64), np.empty(most + ROOM_BEYOND)
        opening, known = np.empty(BLOCK + 1, np.int64), XP.scratch(ROOM)
        beyond, opens = (lanes.address(picked, 0), lanes.address(picked_units, 0)), lanes.address(opening, 0)
        rooms = room, beyond
        into = (
            lanes.address(row, 0), lanes.address(held, 0), lanes.address(start, 0), lanes.address(position, 0),
            lanes.address(units, 0),
        )  # fmt: skip
        plain, left_of = np.empty(BLOCK * NUMBERS_OF_ACCOUNT, np.int64), np.empty(BLOCK, np.int64)
        accounts, bits = lanes.address(plain, 0), lanes.address(left_of, 0)
        (words, sums), (in_place, moving, netting_set) = kept, flags
        looked_at = lanes.address(words, 0), lanes.address(sums, 0)
        labels = in_place, (lanes.address(moving, 0), lanes.address(netting_set, 0))
        packed, columns_of, largest = lanes.address(screen[0], 0), lanes.address(screen[2], 0), screen[4]
        scenarios, contracts = screen[2].shape
        valid = (1 << scenarios) - 1 if scenarios < 64 else -1
        losses, marks = lanes.address(loss, 0), lanes.address(chosen, 0)
        begin, pays = first, True
        while begin < last:
            count, sets, apart, plains = BLOCK_OF(  # noqa: F821
                terms, book, looked_at, (given, begin, last), pays, labels, (into, opens), accounts, known, rooms
            )
            left, unclear = 0, 0
            if plains > 0:
                LOOK(plains, looked_at[0], accounts, packed, largest, valid, bits)  # noqa: F821
                of_rows = columns_of, contracts
                left, unclear = SETTLE(plains, looked_at[0], accounts, *of_rows, bits, known, BLOCK)  # noqa: F821
                for i in range(plains if left > 0 else 0):
                    if bits[i] != 0:
                        j = accounts[i * NUMBERS_OF_ACCOUNT + PLACE]
                        known[SUMMED * BLOCK + j] = AGAIN(terms, book, given, begin + j, beyond)  # noqa: F821
            if sets > 0:
                if apart == 0:  # else the screen fills it
                    begins[: sets + 1] = 0
                segments = start[: sets + 1], loss[:sets], where[:sets], size[:sets]
                columns = row, held, position[:apart], units[:apart]
                more, others = SCREENED(segments, columns, screen, long_weight, begins, chosen)  # noqa: F821
                left, unclear = left + more, unclear + others
                ADD_UP(terms, book, given, begin, count, opens, losses, marks, known, beyond)  # noqa: F821
            pays = pays and max(left, unclear) <= SCREEN_PAYS * (sets + plains)
            answer(terms[2], book, known, BLOCK, given, begin, count)
            begin += count
        # The arrays whose addresses were in use are in use to here.
        in_use = len(picked) + len(picked_units) + len(row) + len(held) + len(position) + len(units) + len(start)
        return in_use + len(opening) + len(plain) + len(left_of) + len(words) + len(sums) + orders.shape[0]

    return check_screened


SOURCES = (
    sys.modules[__name__], check_parts, checks_in_place, checks_known, compact, lanes, order_sums, packed_rows,
    screen_numba,
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

    sums, laid, read = account_sums(width), part(_laid_template), part(read_template)
    again, (look, settle) = part(_again_template, SUMS=sums), checks_in_place.in_place(screened_width, tag)
    names = {
        "BLOCK_OF": part(_block_template, LAID=laid, READ=read, SUMS=sums),
        "ADD_UP": part(_add_template, AGAIN=again),
        "AGAIN": again,
        "LOOK": look,
        "SETTLE": settle,
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
        terms = (*own[:5], tuple(own.room)), found.long_weight, (found.in_place, found.moving, found.netting_set)
        return kernel(table, ledger, looked_at, given, part.start, part.stop, *terms)

    return run
