"""Orders against a ledger, compiled by numba: the figures of one account after its orders, for worst-loss models.

Kernels close over the hash of the files that their parts stand in, since numba's disk cache does not see those change.
"""

from __future__ import annotations

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
    fetch_positions,
    ledger_at,
    merged,
    order_fault,
    premium_of,
    room_at,
)  # fmt: skip
from portfolio_margin.backends.order_sums import ROOM_BEYOND
from portfolio_margin.ledger import COUNT, FIRST
from portfolio_margin.order_codes import ASSET, NO_CASH, OK, WIDTH
from portfolio_margin.order_table import CASH_ROW, COLUMNS
from pricing.arrays import FloatArray, IntArray
from pricing.xp import numba as XP

__all__ = ["addresses", "after_fills", "after_order", "after_orders", "check_orders", "figures_of", "laid_out"]

# Addresses of a table and a ledger, and the three counts of a table.
WORDS = 11


def _addresses_template(tag: str) -> Any:
    def addresses(table: Any, ledger: Any, words: Any) -> None:
        """Write where a table and a ledger lie to `words` (WORDS,)."""
        tag  # noqa: B018 - enters the key of the disk cache
        values, columns, numbers, rows, chunks, width = opened(table)
        root, pages, instrument, quantity, known = ledger_at(ledger)
        words[0], words[1], words[2] = lanes.number_of(values), lanes.number_of(columns), lanes.number_of(numbers)
        words[3], words[4], words[5] = rows, chunks, width
        words[6], words[7], words[8] = lanes.number_of(root), lanes.number_of(pages), lanes.number_of(instrument)
        words[9], words[10] = lanes.number_of(quantity), lanes.number_of(known)

    return addresses


@numba.njit(**INLINED)
def _pointed(words: Any) -> Any:
    """What `opened` and `ledger_at` return, from addresses."""
    table = lanes.doubles_at(words[0]), lanes.doubles_at(words[1]), lanes.doubles_at(words[2])
    book = lanes.integers_at(words[6]), lanes.integers_at(words[7]), lanes.small_at(words[8])
    terms = (*table, words[3], words[4], words[5])
    return terms, (*book, lanes.doubles_at(words[9]), lanes.doubles_at(words[10]))


@numba.njit(**INLINED)
def _room_of(held: int, count: int) -> int:
    """Words that `_figures_after` works in."""
    return 4 * count + 4 * (held + 2 * count + ROOM_BEYOND)


@numba.njit(**INLINED)
def _figures_after(terms: Any, book: Any, account: int, orders: Any, count: int, room: Any, out: Any) -> int:
    """Figures of an account before and after orders filled at the mark, into `out`; the code of the first at fault.

    orders  addresses of rows and quantities
    room    address of `_room_of` words
    """
    columns, pages, entry, adds = terms[1], book[1], entry_of(book, account), 0
    fetch_positions(book, account)
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
    return account_figures(terms, into, 0, kept, beyond, lanes.offset(out, WIDTH))


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
        code = _figures_after(terms, book, account, orders, count, room, into)
        # Arrays whose addresses were in use are in use to here.
        return code if block.shape[0] + words.shape[0] + rows.shape[0] + out.shape[0] > 0 else OK

    return after_orders


def _order_template(tag: str) -> Any:
    def after_order(words: Any, account: int, row: int, quantity: float) -> Any:
        """`after_orders` of one order: its code, and figures before and after as numbers of Python."""
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
        code = _figures_after(terms, book, account, orders, 1, lanes.address(block, 2 * WIDTH + 2), out)
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
        count, entry, adds = fill_row.shape[0], entry_of(book, account), 0
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
        code = account_figures(terms, names, 0, kept, room_at(whole, real), lanes.address(out, WIDTH))
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
            worst_code = max(worst_code, account_figures(terms, (book[2], book[3]), start, held, room, at))
        return worst_code if len(picked) + len(units) > 0 else OK

    return margin_slice


def _compiled(template: Any, names: dict[str, Any] | None = None) -> Any:
    return XP.compile_kernel(template(""), TAG, None, names, fastmath=False)


TAG = XP.source_hash(checks_numba, *checks_numba.SOURCES)
after_orders, after_fills = _compiled(_orders_template), _compiled(_fills_template)
after_order = _compiled(_order_template, {"FIGURES_AT": lanes.numbers_at(WIDTH)})
_addresses, _margin_slice = _compiled(_addresses_template), _compiled(_margin_template)


def addresses(table: Any, ledger: Any) -> IntArray:
    """(WORDS,) where a table and a ledger lie, for kernels that one order is asked of: numba takes numbers that come as
    one array several times as fast as eight arrays. Only good as long as both are there."""
    words = np.empty(WORDS, np.int64)
    _addresses(table, ledger, words)
    return words


def figures_of(table: Any, ledger: Any, accounts: IntArray, threads: int = 1) -> tuple[FloatArray, bool]:
    """(R,WIDTH) figures of accounts as they stand, and whether all sums were exact."""
    out = np.empty((len(accounts), WIDTH))
    codes: list[int] = []
    XP.run_in_threads(
        lambda part: codes.append(_margin_slice(table, ledger, accounts, part.start, part.stop, out)),
        len(accounts),
        threads,
    )
    return out, max(codes) == OK
