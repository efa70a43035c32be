"""Orders in batch against a ledger, compiled by numba: each by itself, for worst-loss models.

Orders are put next to those of accounts nearby, since their positions come from memory; answered in that order, several
threads at a time, many ahead being fetched; and the answers are put back. Kernels close over the hash of the files that
their parts stand in, since numba's disk cache does not see those change.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from portfolio_margin import kernel_inputs, ledger, order_codes, order_table, statement
from portfolio_margin.backends import (
    check_parts,
    checks_prepared,
    checks_screened,
    figures,
    lanes,
    order_lanes,
    order_parts,
    order_sums,
)
from portfolio_margin.backends.check_parts import (
    AHEAD,
    FAULT,
    KNOWN,
    NUMBERS,
    account_at,
    answer,
    fault_at,
    fetch_entry,
    order_at,
    put_fault,
    put_known,
)  # fmt: skip
from portfolio_margin.backends.figures import opened
from portfolio_margin.backends.order_parts import entry_of, fetch_positions, ledger_at
from portfolio_margin.backends.order_sums import ROOM_BEYOND, account_sums
from portfolio_margin.ledger import COUNT, FIRST
from portfolio_margin.order_codes import OK
from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# Of so many orders and accounts, whose positions lie far apart in memory, orders are taken by account: that sorts them.
MANY = 8_192
# Of fewer orders, the room that a screen takes costs more than it saves.
SCREENED_FROM = 512
# Orders whose amounts are rounded together.
BLOCK = 32
ROOM = KNOWN * BLOCK
# Slices of many orders for a thread.
TURNS = 8
# There are fewer instruments.
NO_ROW = 2**31
# Orders are taken by so many first bits of their account.
BUCKET_BITS = 12
# Answers that are asked for before they are put back.
ANSWERS_AHEAD = 16
SOURCES = (
    lanes, figures, check_parts, order_lanes, order_parts, order_sums, kernel_inputs, ledger, order_codes, order_table,
    statement,
)  # fmt: skip
TAG = XP.source_hash(*SOURCES)


def _check_template(tag: str) -> Any:
    def check_slice(table: Any, ledger: Any, orders: Any, first: int, last: int) -> int:
        """Answer the orders in turns `first` to `last` - 1, in their place.

        orders  (R,NUMBERS) account, -1 for none there, instrument, quantity, in the order of `in_turn`; afterwards
                initial and maintenance margin, available funds and a verdict
        """
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        terms, book, given = opened(table), ledger_at(ledger), lanes.address(orders, 0)
        pages, known = book[1], XP.scratch(ROOM)
        # Arrays that are bound once: another binding in the loop would count references, which takes as long as a sum.
        most = 0
        for k in range(first, last if terms[4] > 1 else first):
            if given[k * NUMBERS] >= 0.0:
                most = max(most, pages[entry_of(book, int(given[k * NUMBERS])) + COUNT])
        picked, units = np.empty(most + ROOM_BEYOND, np.int64), np.empty(most + ROOM_BEYOND)
        room = lanes.address(picked, 0), lanes.address(units, 0)
        for start in range(first, last, BLOCK):
            count = min(BLOCK, last - start)
            for j in range(count):
                k = start + j
                if account_at(given, k + 2 * AHEAD, last) >= 0:
                    fetch_entry(book, account_at(given, k + 2 * AHEAD, last))
                if account_at(given, k + AHEAD, last) >= 0:
                    fetch_positions(book, account_at(given, k + AHEAD, last))
                code = fault_at(terms, given, k)
                if code != OK:
                    put_fault(known, BLOCK, j, code)
                    continue
                entry, order = entry_of(book, int(given[k * NUMBERS])), order_at(terms, given, k)
                positions, held = (book[2], book[3]), pages[entry + COUNT]
                summed, _, sums = SUMS(terms, positions, pages[entry + FIRST], held, order, room)  # noqa: F821
                equity, collateral, kept, _, floor, size = sums
                put_known(known, BLOCK, j, summed, (equity, collateral, kept, floor, size))
            answer(terms[2], book, known, BLOCK, given, start, count)
        # The arrays whose addresses were in use are in use to here.
        return len(picked) + len(units) + orders.shape[0]

    return check_slice


def _turns_template(tag: str) -> Any:
    def in_turn(
        account: Any, instrument: Any, quantity: Any, accounts: int, bits: int, orders: Any, place: Any
    ) -> None:
        """Put orders next to those of accounts nearby, by so many of the first bits of the account.

        account, instrument, quantity (R,)   as of `check_orders`
        orders   (R,NUMBERS), filled as `check_slice` takes it; place (R,), filled with the row of each order there
        """
        tag  # noqa: B018 - enters the key of the disk cache
        begins = np.zeros((1 << bits) + 1, np.int64)
        shift = 0
        while accounts - 1 >> shift >= 1 << bits:
            shift += 1
        for i in range(len(account)):
            begins[(max(min(account[i], accounts - 1), 0) >> shift) + 1] += 1
        for bucket in range(1 << bits):
            begins[bucket + 1] += begins[bucket]
        for i in range(len(account)):
            bucket = max(min(account[i], accounts - 1), 0) >> shift
            at = begins[bucket]
            begins[bucket] += 1
            place[i] = at
            orders[at, 0] = account[i] if 0 <= account[i] < accounts else -1
            orders[at, 1] = instrument[i] if 0 <= instrument[i] < NO_ROW else -1
            orders[at, 2] = quantity[i]

    return in_turn


def _answers_template(tag: str) -> Any:
    def in_their_order(orders: Any, place: Any, first: int, last: int, numbers: Any, truths: Any, codes: Any) -> None:
        """Answers to orders `first` to `last` - 1 from where they were put: numbers (3,R), truths (2,R), codes (R,)."""
        tag  # noqa: B018 - enters the key of the disk cache
        given = lanes.address(orders, 0)
        for i in range(first, last):
            # They lie anywhere there.
            XP.prefetch(given, place[min(i + ANSWERS_AHEAD, last - 1)] * NUMBERS)
            at = place[i] * NUMBERS
            numbers[0, i], numbers[1, i], numbers[2, i] = given[at], given[at + 1], given[at + 2]
            verdict = int(given[at + 3])
            truths[0, i], truths[1, i], codes[i] = verdict & 1, (verdict >> 1) & 1, verdict // FAULT

    return in_their_order


@functools.cache
def _check_slice(width: int) -> Any:
    """The kernel for tables whose rows are so wide."""
    names = {"SUMS": account_sums(width)}
    return XP.compile_kernel(_check_template(""), f"{width} {TAG}", None, names, fastmath=False)


_in_turn = XP.compile_kernel(_turns_template(""), TAG, None, fastmath=False)
_in_their_order = XP.compile_kernel(_answers_template(""), TAG, None, fastmath=False)


def check_orders(
    table: Any,
    ledger: Any,
    orders: tuple[IntArray, IntArray, FloatArray, int],
    threads: int = 1,
    kept: dict[Any, Any] | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray, BoolArray, IntArray]:
    """(R,) each: initial and maintenance margin and available funds after every order by itself, fits, allowed, a code.

    orders  (R,) account, (R,) -> N instrument, (R,) quantity, number of accounts
    kept    of the buffers of the ledger; None where nothing is to be kept, which is slower in large batches
    """
    account, instrument, quantity, accounts = orders
    count = len(account)
    given, place = np.empty((count, NUMBERS)), np.empty(count, np.int64)
    bits = BUCKET_BITS if min(count, accounts) >= MANY else 0
    _in_turn(read_only(account), read_only(instrument), read_only(quantity), accounts, bits, given, place)
    numbers, truths, codes = np.empty((3, count)), np.empty((2, count), np.bool_), np.empty(count, np.int64)
    answers = numbers, truths, codes
    run = _runner(table, ledger, given, kept)
    if threads == 1:  # of a few orders, functions for threads take as long as the answers
        run(slice(0, count))
        _in_their_order(given, place, 0, count, *answers)
    else:
        XP.run_in_threads(run, count, threads, turns=TURNS if count >= MANY else 1)
        XP.run_in_threads(lambda part: _in_their_order(given, place, part.start, part.stop, *answers), count, threads)
    return (*numbers, *truths, codes)


def _runner(table: Any, ledger: Any, given: FloatArray, kept: dict[Any, Any] | None) -> Callable[[slice], Any]:
    """What answers a slice of the orders in turn: by a screen, where that pays."""
    if kept is not None and len(given) >= SCREENED_FROM and checks_prepared.pays(table, ledger, given):
        found = checks_prepared.prepared(table, kept, len(given))
        if found is not None:
            return checks_screened.runner(table, ledger, given, kept, found, TAG)
    check_slice = _check_slice(table[0].shape[1])
    return lambda part: check_slice(table, ledger, given, part.start, part.stop)
