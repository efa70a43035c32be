"""Orders in batch against a ledger, compiled by numba: each by itself, for worst-loss models.

Orders are put next to those of accounts nearby, since their positions come from memory; answered in that order, several
threads at a time, many ahead being fetched; and the answers are put back. Kernels close over the hash of the files that
their parts stand in, since numba's disk cache does not see those change.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np

from portfolio_margin import kernel_inputs, ledger, order_codes, order_table, statement
from portfolio_margin.backends import figures, lanes, order_lanes, order_parts, order_sums
from portfolio_margin.backends.figures import after_order, opened
from portfolio_margin.backends.order_parts import (
    INLINED,
    entry_of,
    fetch_positions,
    ledger_at,
    order_fault,
    premium_of,
)  # fmt: skip
from portfolio_margin.backends.order_sums import ROOM_BEYOND, account_sums
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.ledger import COUNT, FIGURES, FIRST
from portfolio_margin.order_codes import AVAILABLE, EXCESS, INEXACT, NO_ACCOUNT, OK, WIDTH
from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# Positions lie anywhere in memory: they are fetched for the order that is so many ahead of the one that is worked on,
# and the place where they stand for the one twice as far.
AHEAD = 8
# Of so many orders and accounts, whose positions lie far apart in memory, orders are taken by account: that sorts them.
MANY = 8_192
# Orders whose amounts are rounded together.
BLOCK = 32
# Numbers of an order and of the answer to it, whose last is a verdict: 1 if it fits, 2 if it is allowed, FAULT times
# its code.
NUMBERS, FAULT = 4, 1 << 2
# There are fewer instruments.
NO_ROW = 2**31
# Orders are taken by so many first bits of their account.
BUCKET_BITS = 12
SOURCES = (
    lanes, figures, order_lanes, order_parts, order_sums, kernel_inputs, ledger, order_codes, order_table, statement
)  # fmt: skip
TAG = XP.source_hash(*SOURCES)


@numba.njit(**INLINED)
def _fetch_entry(ledger: Any, account: int) -> None:
    """Ask where the positions of an account stand."""
    XP.prefetch(ledger[1], entry_of(ledger, account))


def _check_template(tag: str) -> Any:
    def check_slice(table: Any, ledger: Any, orders: Any, first: int, last: int) -> int:
        """Answer the orders in turns `first` to `last` - 1, in their place.

        orders  (R,NUMBERS) account, -1 for none there, instrument, quantity, in the order of `in_turn`; afterwards
                initial and maintenance margin, available funds and a verdict
        """
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        terms, book, given = opened(table), ledger_at(ledger), lanes.address(orders, 0)
        columns, pages, known = terms[1], book[1], book[4]
        summed, equity, collateral, kept = XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK)
        floor, funds, liquidity, verdict = XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK)
        initial, maintenance, available = XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK)
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
                at = (start + j) * NUMBERS
                if start + j + 2 * AHEAD < last and given[at + 2 * AHEAD * NUMBERS] >= 0.0:
                    _fetch_entry(book, int(given[at + 2 * AHEAD * NUMBERS]))
                if start + j + AHEAD < last and given[at + AHEAD * NUMBERS] >= 0.0:
                    fetch_positions(book, int(given[at + AHEAD * NUMBERS]))
                account, row, contracts = int(given[at]), int(given[at + 1]), given[at + 2]
                code = order_fault(terms, row, contracts) if account >= 0 else NO_ACCOUNT
                summed[j] = equity[j] = collateral[j] = kept[j] = floor[j] = funds[j] = liquidity[j] = 0.0
                if code == OK:
                    entry, order = entry_of(book, account), (row, contracts, *premium_of(columns, row, contracts))
                    held, before = pages[entry + COUNT], pages[entry + FIGURES] * WIDTH
                    sums = SUMS(terms, (book[2], book[3]), pages[entry + FIRST], held, order, room)  # noqa: F821
                    summed[j], _, (equity[j], collateral[j], kept[j], _, floor[j], size) = sums
                    funds[j], liquidity[j] = known[before + AVAILABLE], known[before + EXCESS]
                    code = OK if size <= EXACT_LIMIT else INEXACT
                verdict[j] = FAULT * code
            # Rounded in a loop of their own, several orders at a time.
            for j in range(count):
                sums = equity[j], collateral[j], kept[j], 0.0, floor[j], 0.0
                initial[j], maintenance[j], available[j], excess = after_order(terms[2], summed[j], sums)
                fits = available[j] >= 0.0
                allowed = fits | ((available[j] >= funds[j]) & (excess >= liquidity[j]))
                verdict[j] += (1.0 if fits else 0.0) + (2.0 if allowed else 0.0)
            for j in range(count):
                at = (start + j) * NUMBERS
                given[at], given[at + 1], given[at + 2] = initial[j], maintenance[j], available[j]
                given[at + 3] = verdict[j]
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
        for i in range(first, last):
            at = place[i]
            numbers[0, i], numbers[1, i], numbers[2, i] = orders[at, 0], orders[at, 1], orders[at, 2]
            verdict = int(orders[at, 3])
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
    table: Any, ledger: Any, orders: tuple[IntArray, IntArray, FloatArray, int], threads: int = 1
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray, BoolArray, IntArray]:
    """(R,) each: initial and maintenance margin and available funds after every order by itself, fits, allowed, a code.

    orders  (R,) account, (R,) -> N instrument, (R,) quantity, number of accounts
    """
    account, instrument, quantity, accounts = orders
    count = len(account)
    given, place = np.empty((count, NUMBERS)), np.empty(count, np.int64)
    bits = BUCKET_BITS if min(count, accounts) >= MANY else 0
    _in_turn(read_only(account), read_only(instrument), read_only(quantity), accounts, bits, given, place)
    check_slice = _check_slice(table[0].shape[1])
    numbers, truths, codes = np.empty((3, count)), np.empty((2, count), np.bool_), np.empty(count, np.int64)
    answers = numbers, truths, codes
    if threads == 1:  # of a few orders, functions for threads take as long as the answers
        check_slice(table, ledger, given, 0, count)
        _in_their_order(given, place, 0, count, *answers)
    else:
        XP.run_in_threads(lambda part: check_slice(table, ledger, given, part.start, part.stop), count, threads)
        XP.run_in_threads(lambda part: _in_their_order(given, place, part.start, part.stop, *answers), count, threads)
    return (*numbers, *truths, codes)
