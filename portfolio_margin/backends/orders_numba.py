"""Orders against a ledger, compiled by numba: the figures of one account after its orders, for worst-loss models.

Kernels close over the hash of the files that their parts stand in, since numba's disk cache does not see those change.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import checks_numba, lanes
from portfolio_margin.backends.checks_numba import check_orders
from portfolio_margin.backends.figures import account_figures, laid_out, opened
from portfolio_margin.backends.order_parts import (
    INLINED,
    add,
    copy_known,
    entry_of,
    fetch_known,
    fetch_positions,
    ledger_at,
    merged,
    order_fault,
    premium_of,
    room_at,
)  # fmt: skip
from portfolio_margin.backends.order_sums import NONE, ROOM_BEYOND
from portfolio_margin.ledger import COUNT, FIRST
from portfolio_margin.order_codes import ASSET, NO_CASH, OK, TOLD, WIDTH
from portfolio_margin.order_table import CASH_ROW, COLUMNS, OrderKernels
from pricing.arrays import FloatArray, IntArray
from pricing.xp import numba as XP

__all__ = ["kernels_of", "laid_out"]
ONE = np.int64(1)


@numba.njit(**INLINED)
def _pointed(words: Any) -> Any:
    """What `opened` and `ledger_at` return, from addresses."""
    table = lanes.doubles_at(words[0]), lanes.doubles_at(words[1]), lanes.doubles_at(words[2])
    book = lanes.integers_at(words[5]), lanes.integers_at(words[6]), lanes.small_at(words[7])
    return (*table, words[3], words[4]), (*book, lanes.doubles_at(words[8]), lanes.doubles_at(words[9]))


@numba.njit(**INLINED)
def _room_of(held: int, count: int) -> int:
    """Words that `_figures_after` works in."""
    return 4 * count + 4 * (held + 2 * count + ROOM_BEYOND)


def _figures_after_template(tag: str) -> Any:
    def figures_after(terms: Any, book: Any, account: int, orders: Any, count: int, room: Any, out: Any) -> int:
        """Figures of an account before and after orders filled at the mark, into `out`; the code of the first at fault.

        orders  addresses of rows and quantities
        room    address of `_room_of` words
        """
        tag  # noqa: B018 - enters the key of the disk cache
        columns, pages, entry, adds = terms[1], book[1], entry_of(book, account), NONE
        fetch_positions(book, account)
        fetch_known(book, entry)
        held, start = pages[entry + COUNT], lanes.number_of(room)
        # Additions and the positions with them: as many rows as there may be. Words are eight bytes.
        most, rows, sizes = held + 2 * count + ROOM_BEYOND, room, lanes.doubles_at(start + 8 * 2 * count)
        end = start + 8 * 4 * count
        for i in range(count):
            code = order_fault(terms, orders[0][i], orders[1][i])
            if code != OK:
                return code
            adds = add(columns, orders[0][i], orders[1][i], rows, sizes, adds)
        for i in range(count):
            cash, amount = premium_of(columns, orders[0][i], orders[1][i])
            if cash >= 0:
                adds = add(columns, cash, amount, rows, sizes, adds)
        copy_known(book, entry, out)
        into = lanes.small_at(end), lanes.doubles_at(end + 8 * most)
        kept = merged(columns, (book[2], book[3], pages[entry + FIRST], held), (rows, sizes, adds), into)
        beyond = lanes.integers_at(end + 8 * 2 * most), lanes.doubles_at(end + 8 * 3 * most)
        return FIGURES(terms, into, NONE, kept, beyond, lanes.offset(out, WIDTH))  # noqa: F821

    return figures_after


def _orders_template(tag: str) -> Any:
    def after_orders(words: Any, account: int, rows: Any, quantities: Any, out: Any) -> int:
        """Figures of an account before and after orders filled at the mark, into `out` (2, WIDTH); returns a code.

        words   what `addresses` returns of a table and a ledger, which must be in use
        rows (M,), quantities (M,)   instrument and signed contracts of each order
        The code is that of the first order at fault, or INEXACT.
        """
        tag  # noqa: B018 - enters the key of the disk cache
        terms, book = _pointed(lanes.address(words, 0))
        count = rows.shape[0]
        block = np.empty(_room_of(book[1][entry_of(book, account) + COUNT], count), np.int64)
        orders = lanes.address(rows, 0), lanes.address(quantities, 0)
        room, into = lanes.address(block, 0), lanes.address(out, 0)
        code = FIGURES_AFTER(terms, book, account, orders, count, room, into)  # noqa: F821
        # Arrays whose addresses were in use are in use to here.
        return code if block.shape[0] + words.shape[0] + rows.shape[0] + out.shape[0] > 0 else OK

    return after_orders


def _order_template(tag: str) -> Any:
    def after_order(words: Any, account: int, row: int, quantity: float) -> Any:
        """`after_orders` of one order: its code, and the first TOLD figures before and after as numbers of Python."""
        tag  # noqa: B018 - enters the key of the disk cache
        terms, book = _pointed(lanes.address(words, 0))
        block = np.empty(2 * WIDTH + 2 + _room_of(book[1][entry_of(book, account) + COUNT], 1), np.int64)
        start = lanes.number_of(lanes.address(block, 0))
        out, orders = (
            lanes.doubles_at(start),
            (lanes.address(block, 2 * WIDTH), lanes.doubles_at(start + 16 * WIDTH + 8)),
        )
        orders[0][0], orders[1][0] = row, quantity
        for i in range(2 * WIDTH):
            out[i] = 0.0
        room = lanes.address(block, 2 * WIDTH + 2)
        code = FIGURES_AFTER(terms, book, account, orders, ONE, room, out)  # noqa: F821
        before, after = FIGURES_AT(out), FIGURES_AT(lanes.offset(out, WIDTH))  # noqa: F821
        return (code if block.shape[0] + words.shape[0] > 0 else OK), before, after

    return after_order


def _fills_template(tag: str) -> Any:
    def after_fills(
        table: Any, ledger: Any, account: int, fills: Any, transfers: bool, into: Any, out: Any
    ) -> tuple[int, int]:
        """Positions of an account after fills, into `into`, and its figures before and after, into `out` (2, WIDTH).

        table   as of `after_orders`
        fills   rows (M,), quantities (M,), paid (M,): as of `events.Fill`, NaN at the mark
        transfers   True where what moves are assets, and nothing is paid for them
        into    instrument (P + 2 M,), quantity (P + 2 M,)
        Returns the code of the first fill at fault, or INEXACT, and the number of positions.
        """
        tag  # noqa: B018 - enters the key of the disk cache
        terms, book = opened(table), ledger_at(ledger)
        columns, pages = terms[1], book[1]
        fill_row, fill_quantity, fill_paid = fills
        count, entry, adds = fill_row.shape[0], entry_of(book, account), NONE
        held = pages[entry + COUNT]
        most = held + 2 * count + ROOM_BEYOND
        added, amounts = np.empty(2 * count, np.int64), np.empty(2 * count)
        whole, real = np.empty(2 * most, np.int64), np.empty(most)
        rows, sizes = lanes.address(added, 0), lanes.address(amounts, 0)
        for i in range(count):
            code = order_fault(terms, fill_row[i], fill_quantity[i])
            if code != OK and not (transfers and code == ASSET):
                return code, 0
            adds = add(columns, fill_row[i], fill_quantity[i], rows, sizes, adds)
        for i in range(count):
            if transfers:
                break
            cash, amount = int(columns[fill_row[i] * COLUMNS + CASH_ROW]), -fill_paid[i]
            if np.isnan(amount):
                cash, amount = premium_of(columns, fill_row[i], fill_quantity[i])
            elif amount != 0.0 and cash < 0:
                return NO_CASH, 0
            if amount != 0.0:
                adds = add(columns, cash, amount, rows, sizes, adds)
        copy_known(book, entry, lanes.address(out, 0))
        names = lanes.address(into[0], 0), lanes.address(into[1], 0)
        kept = merged(columns, (book[2], book[3], pages[entry + FIRST], held), (rows, sizes, adds), names)
        room = room_at(whole, real)
        code = FIGURES(terms, names, NONE, kept, room, lanes.address(out, WIDTH))  # noqa: F821
        in_use = len(added) + len(amounts) + len(whole) + len(real)
        return (code if in_use > 0 else OK), kept

    return after_fills


def _margin_template(tag: str) -> Any:
    def margin_slice(table: Any, ledger: Any, accounts: Any, first: int, last: int, out: Any) -> int:
        tag  # noqa: B018 - enters the key of the disk cache
        terms, book = opened(table), ledger_at(ledger)
        pages, into, worst_code, most = book[1], lanes.address(out, 0), OK, 0
        for i in range(first, last):
            most = max(most, pages[entry_of(book, accounts[i]) + COUNT])
        picked, units = np.empty(most + ROOM_BEYOND, np.int64), np.empty(most + ROOM_BEYOND)
        room = lanes.address(picked, 0), lanes.address(units, 0)
        for i in range(first, last):
            entry = entry_of(book, accounts[i])
            start, held, at = pages[entry + FIRST], pages[entry + COUNT], lanes.offset(into, i * WIDTH)
            code = FIGURES(terms, (book[2], book[3]), start, held, room, at)  # noqa: F821
            worst_code = max(worst_code, code)
        return worst_code if len(picked) + len(units) > 0 else OK

    return margin_slice


TAG = XP.source_hash(checks_numba, *checks_numba.SOURCES)


@functools.cache
def _compiled(template: Any, width: int) -> Any:
    """The kernel of a template for tables whose rows are so wide; it compiles when it is first called."""
    names = {"FIGURES": account_figures(width), "FIGURES_AT": lanes.numbers_at(TOLD)}
    after = XP.bound(_figures_after_template(""), names, str(width))
    names["FIGURES_AFTER"] = numba.njit(**INLINED)(after)
    return XP.compile_kernel(template(""), f"{width} {TAG}", None, names, fastmath=False)


def kernels_of(width: int) -> OrderKernels:
    """The kernels for tables whose rows are so wide, as `laid_out` made them."""
    one, several, fills = (
        _compiled(template, width) for template in (_order_template, _orders_template, _fills_template)
    )
    return OrderKernels(addresses, one, several, fills, check_orders, figures_of)


def addresses(table: Any, ledger: Any) -> IntArray:
    """(10,) where a table and a ledger lie, and the two counts of a table, for kernels that one order is asked of:
    numba takes numbers that come as one array several times as fast as eight arrays. Only good as long as both are
    there."""
    rows, instruments = len(table[0]), len(table[1])
    places = [array.__array_interface__["data"][0] for array in (*table, *ledger)]
    return np.array([*places[:3], instruments, rows // instruments, *places[3:]], dtype=np.int64)


def figures_of(table: Any, ledger: Any, accounts: IntArray, threads: int = 1) -> tuple[FloatArray, bool]:
    """(R,WIDTH) figures of accounts as they stand, and whether all sums were exact."""
    out = np.empty((len(accounts), WIDTH))
    codes: list[int] = []
    margin_slice = _compiled(_margin_template, table[0].shape[1])
    XP.run_in_threads(
        lambda part: codes.append(margin_slice(table, ledger, accounts, part.start, part.stop, out)),
        len(accounts),
        threads,
    )
    return out, max(codes) == OK
