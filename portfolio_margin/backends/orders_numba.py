"""Orders against a ledger, compiled by numba: the figures of one account after its orders, for worst-loss models.

Kernels close over the hash of the files that their parts stand in, since numba's disk cache does not see those change.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin import kernel_inputs, ledger, order_codes, order_table, statement
from portfolio_margin.backends import figures, lanes
from portfolio_margin.backends.figures import ROOM_BEYOND, account_figures, account_sums, after_order, laid_out, opened
from portfolio_margin.kernel_inputs import EXACT_LIMIT, QUANTITY_ROUNDING, STEP_TOLERANCE
from portfolio_margin.ledger import COUNT, FIGURES, FIRST, PAGE, PAGE_BITS
from portfolio_margin.order_codes import (
    ASSET,
    AVAILABLE,
    EXCESS,
    INEXACT,
    NO_ACCOUNT,
    NO_CASH,
    NO_INSTRUMENT,
    NOT_FINITE,
    NOTHING,
    OFF_STEP,
    OK,
    WIDTH,
)  # fmt: skip
from portfolio_margin.order_table import CASH_ROW, COLUMNS, CONTRACT, RANK, UNIT, VALUE
from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.xp import numba as XP

__all__ = ["after_fills", "after_orders", "check_orders", "figures_of", "laid_out"]

INLINED: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}
ROOM = 256
# Orders that are ahead of the one that is worked on: for those the positions are fetched, for those twice as far ahead
# the place where the positions stand. They lie anywhere in memory.
AHEAD, PER_LINE = 8, 8
# Of so many orders and accounts, whose positions lie far apart in memory, orders are taken by account: that sorts them.
MANY = 8_192
# Orders whose amounts are rounded together.
BLOCK = 32
# Numbers of an account in a page.
ENTRY = 3
TAG = XP.source_hash(lanes, figures, kernel_inputs, ledger, order_codes, order_table, statement)


@numba.njit(**INLINED)
def _order_fault(table: Any, row: int, quantity: float) -> int:
    """What is wrong with an order."""
    columns, at = table[1], row * COLUMNS
    if row < 0 or row >= table[3]:
        return NO_INSTRUMENT
    if not np.isfinite(quantity):
        return NOT_FINITE
    if columns[at + CONTRACT] == 0.0:
        return ASSET
    unit = columns[at + UNIT]
    gap = abs(lanes.nearest(quantity / unit) * unit - quantity)
    if not gap <= STEP_TOLERANCE * unit + QUANTITY_ROUNDING * abs(quantity):
        return OFF_STEP
    if quantity == 0.0:
        return NOTHING
    if columns[at + CASH_ROW] < 0.0 and quantity * columns[at + VALUE] != 0.0:
        return NO_CASH
    return OK


@numba.njit(**INLINED)
def _premium(columns: Any, row: int, quantity: float) -> tuple[int, float]:
    """Row and amount of what an order costs, -1 where it costs nothing."""
    cost = quantity * columns[row * COLUMNS + VALUE]
    if cost == 0.0:
        return -1, 0.0
    cash = int(columns[row * COLUMNS + CASH_ROW])
    return cash, -cost / columns[cash * COLUMNS + VALUE]


@numba.njit(**INLINED)
def _add(columns: Any, row: int, quantity: float, add_row: Any, add_quantity: Any, count: int) -> int:
    """Put an addition in its place by rank, behind those of the same instrument: sums of doubles need their order."""
    place, rank = count, columns[row * COLUMNS + RANK]
    while place > 0 and columns[add_row[place - 1] * COLUMNS + RANK] > rank:
        add_row[place], add_quantity[place] = add_row[place - 1], add_quantity[place - 1]
        place -= 1
    add_row[place], add_quantity[place] = row, quantity
    return count + 1


@numba.njit(**INLINED)
def _merged(columns: Any, held: Any, additions: Any, into: Any) -> int:
    """Positions `held` (instrument, quantity, first, count) with additions, both in order of rank; how many stay."""
    instrument, quantity, first, count = held
    add_row, add_quantity, adds = additions
    row_into, quantity_into = into
    p, k, kept = first, 0, 0
    while p < first + count or k < adds:
        of_account = p < first + count
        if of_account and k < adds:
            rank = columns[np.int64(instrument[p]) * COLUMNS + RANK]
            of_account = rank <= columns[add_row[k] * COLUMNS + RANK]
        if of_account:
            n, q = np.int64(instrument[p]), quantity[p]
            p += 1
        else:
            n, q = add_row[k], add_quantity[k]
            k += 1
        while k < adds and add_row[k] == n:
            q += add_quantity[k]
            k += 1
        if columns[n * COLUMNS + CONTRACT] != 0.0:
            # Decimal steps such as 0.1 do not add exactly: a quantity is again the nearest whole multiple.
            unit = columns[n * COLUMNS + UNIT]
            q = lanes.nearest(q / unit) * unit
        if q != 0.0:
            row_into[kept], quantity_into[kept] = n, q
            kept += 1
    return kept


@numba.njit(**INLINED)
def _ledger(ledger: Any) -> Any:
    """Addresses of root, pages, instrument_idx, quantity, figures of a `Ledger`."""
    root, pages, instrument, quantity, known = ledger
    found = lanes.address(root, 0), lanes.address(pages, 0), lanes.address(instrument, 0), lanes.address(quantity, 0)
    return (*found, lanes.address(known, 0))


@numba.njit(**INLINED)
def _entry(ledger: Any, account: int) -> int:
    """Where in the pages the numbers of an account stand."""
    return (ledger[0][account >> PAGE_BITS] * PAGE + (account & (PAGE - 1))) * ENTRY


@numba.njit(**INLINED)
def _copy_known(ledger: Any, entry: int, out: Any) -> None:
    """The figures of an account as they are known."""
    for i in range(WIDTH):
        out[i] = ledger[4][ledger[1][entry + FIGURES] * WIDTH + i]


@numba.njit(**INLINED)
def _room(whole: Any, real: Any) -> Any:
    """Addresses of rows picked, units of each, first of each netting set, in arrays of 2 R and R numbers."""
    return lanes.address(whole, 0), lanes.address(real, 0), lanes.address(whole, len(real))


def _orders_template(tag: str) -> Any:
    def after_orders(table: Any, ledger: Any, account: int, add: Any, out: Any) -> int:
        """Figures of an account before and after orders filled at the mark, into `out` (2, WIDTH); returns a code.

        table   what `laid_out` returns
        ledger  root, pages, instrument_idx, quantity, figures of a `Ledger`
        add     rows (M,), quantities (M,): instrument and signed contracts of each order
        The code is that of the first order at fault, or INEXACT.
        """
        tag  # noqa: B018 - enters the key of the disk cache
        terms, book = opened(table), _ledger(ledger)
        columns, pages = terms[1], book[1]
        count, entry, adds = add[0].shape[0], _entry(book, account), 0
        held = pages[entry + COUNT]
        # Additions and the positions with them: as many rows as there may be, in one array each.
        most = held + 2 * count + ROOM_BEYOND
        added, amounts = np.empty(2 * count, np.int64), np.empty(2 * count)
        names, quantities = np.empty(most, np.int32), np.empty(most)
        whole, real = np.empty(2 * most, np.int64), np.empty(most)
        rows, sizes = lanes.address(added, 0), lanes.address(amounts, 0)
        orders = lanes.address(add[0], 0), lanes.address(add[1], 0)
        for i in range(count):
            code = _order_fault(terms, orders[0][i], orders[1][i])
            if code != OK:
                return code
            adds = _add(columns, orders[0][i], orders[1][i], rows, sizes, adds)
        for i in range(count):
            cash, amount = _premium(columns, orders[0][i], orders[1][i])
            if cash >= 0:
                adds = _add(columns, cash, amount, rows, sizes, adds)
        _copy_known(book, entry, lanes.address(out, 0))
        into = lanes.address(names, 0), lanes.address(quantities, 0)
        kept = _merged(columns, (book[2], book[3], pages[entry + FIRST], held), (rows, sizes, adds), into)
        code = account_figures(terms, into, 0, kept, _room(whole, real), lanes.address(out, WIDTH))
        in_use = len(added) + len(amounts) + len(names) + len(quantities) + len(whole) + len(real)
        return code if in_use > 0 else OK

    return after_orders


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
        terms, book = opened(table), _ledger(ledger)
        columns, pages = terms[1], book[1]
        fill_row, fill_quantity, fill_paid = fills
        count, entry, adds = fill_row.shape[0], _entry(book, account), 0
        held = pages[entry + COUNT]
        most = held + 2 * count + ROOM_BEYOND
        added, amounts = np.empty(2 * count, np.int64), np.empty(2 * count)
        whole, real = np.empty(2 * most, np.int64), np.empty(most)
        rows, sizes = lanes.address(added, 0), lanes.address(amounts, 0)
        for i in range(count):
            code = _order_fault(terms, fill_row[i], fill_quantity[i])
            if code != OK and not (transfers and code == ASSET):
                return code, 0
            adds = _add(columns, fill_row[i], fill_quantity[i], rows, sizes, adds)
        for i in range(count):
            if transfers:
                break
            cash, amount = int(columns[fill_row[i] * COLUMNS + CASH_ROW]), -fill_paid[i]
            if np.isnan(amount):
                cash, amount = _premium(columns, fill_row[i], fill_quantity[i])
            elif amount != 0.0 and cash < 0:
                return NO_CASH, 0
            if amount != 0.0:
                adds = _add(columns, cash, amount, rows, sizes, adds)
        _copy_known(book, entry, lanes.address(out, 0))
        names = lanes.address(into[0], 0), lanes.address(into[1], 0)
        kept = _merged(columns, (book[2], book[3], pages[entry + FIRST], held), (rows, sizes, adds), names)
        code = account_figures(terms, names, 0, kept, _room(whole, real), lanes.address(out, WIDTH))
        in_use = len(added) + len(amounts) + len(whole) + len(real)
        return (code if in_use > 0 else OK), kept

    return after_fills


@numba.njit(**INLINED)
def _fetch_positions(ledger: Any, account: int) -> None:
    """Ask for the positions of an account and its figures."""
    _, pages, instrument, quantity, known = ledger
    entry = _entry(ledger, account)
    XP.prefetch(known, pages[entry + FIGURES] * WIDTH + AVAILABLE)
    start, end = pages[entry + FIRST], pages[entry + FIRST] + pages[entry + COUNT]
    for p in range(start, end, PER_LINE):
        XP.prefetch(quantity, p)
    for p in range(start, end, 2 * PER_LINE):
        XP.prefetch(instrument, p)


def _check_template(tag: str) -> Any:
    def check_slice(table: Any, ledger: Any, orders: Any, first: int, last: int, answers: Any) -> None:
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        terms, book = opened(table), _ledger(ledger)
        columns, pages, known = terms[1], book[1], book[4]
        account_of, row_of, quantity_of, accounts = orders
        initial, maintenance, available, fits, allowed, codes = answers
        summed, equity, collateral, kept = XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK)
        floor, funds, liquidity = XP.scratch(BLOCK), XP.scratch(BLOCK), XP.scratch(BLOCK)
        whole, real = np.empty(2 * ROOM, np.int64), np.empty(ROOM)
        room = _room(whole, real)
        for start in range(first, last, BLOCK):
            count = min(BLOCK, last - start)
            for j in range(count):
                i = start + j
                if i + 2 * AHEAD < last and 0 <= account_of[i + 2 * AHEAD] < accounts:
                    XP.prefetch(pages, _entry(book, account_of[i + 2 * AHEAD]))
                if i + AHEAD < last and 0 <= account_of[i + AHEAD] < accounts:
                    _fetch_positions(book, account_of[i + AHEAD])
                account, row, contracts = account_of[i], row_of[i], quantity_of[i]
                code = _order_fault(terms, row, contracts) if 0 <= account < accounts else NO_ACCOUNT
                summed[j] = equity[j] = collateral[j] = kept[j] = floor[j] = funds[j] = liquidity[j] = 0.0
                if code == OK:
                    entry, order = _entry(book, account), (row, contracts, *_premium(columns, row, contracts))
                    held, before = pages[entry + COUNT], pages[entry + FIGURES] * WIDTH
                    if held + ROOM_BEYOND > len(real):
                        whole, real = np.empty(4 * (held + ROOM_BEYOND), np.int64), np.empty(2 * (held + ROOM_BEYOND))
                        room = _room(whole, real)
                    found = account_sums(terms, (book[2], book[3]), pages[entry + FIRST], held, order, room)
                    summed[j], _, (equity[j], collateral[j], kept[j], _, floor[j], size) = found
                    funds[j], liquidity[j] = known[before + AVAILABLE], known[before + EXCESS]
                    code = OK if size <= EXACT_LIMIT else INEXACT
                codes[i] = code
            # Rounded in a loop of their own, several orders at a time.
            for j in range(count):
                i, sums = start + j, (equity[j], collateral[j], kept[j], 0.0, floor[j], 0.0)
                initial[i], maintenance[i], available[i], excess = after_order(terms[2], summed[j], sums)
                fits[i] = available[i] >= 0.0
                allowed[i] = (available[i] >= 0.0) | ((available[i] >= funds[j]) & (excess >= liquidity[j]))
        codes[last - 1] += 0 * (len(whole) + len(real))

    return check_slice


def _margin_template(tag: str) -> Any:
    def margin_slice(table: Any, ledger: Any, accounts: Any, first: int, last: int, out: Any) -> int:
        tag  # noqa: B018 - enters the key of the disk cache
        terms, book = opened(table), _ledger(ledger)
        pages, into = book[1], lanes.address(out, 0)
        whole, real = np.empty(2 * ROOM, np.int64), np.empty(ROOM)
        room, worst_code = _room(whole, real), OK
        for i in range(first, last):
            entry = _entry(book, accounts[i])
            held = pages[entry + COUNT]
            if held + ROOM_BEYOND > len(real):
                whole, real = np.empty(4 * (held + ROOM_BEYOND), np.int64), np.empty(2 * (held + ROOM_BEYOND))
                room = _room(whole, real)
            at = lanes.offset(into, i * WIDTH)
            worst_code = max(
                worst_code, account_figures(terms, (book[2], book[3]), pages[entry + FIRST], held, room, at)
            )
        return worst_code if len(whole) + len(real) > 0 else OK

    return margin_slice


def _compiled(template: Any) -> Any:
    return XP.compile_kernel(template(""), TAG, None, fastmath=False)


after_orders, after_fills = _compiled(_orders_template), _compiled(_fills_template)
_check_slice, _margin_slice = _compiled(_check_template), _compiled(_margin_template)


def check_orders(
    table: Any, ledger: Any, orders: tuple[IntArray, IntArray, FloatArray, int], threads: int = 1
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray, BoolArray, IntArray]:
    """(R,) each: initial and maintenance margin and available funds after every order by itself, fits, allowed, a code.

    orders  (R,) account, (R,) -> N instrument, (R,) quantity, number of accounts
    """
    count = len(orders[0])
    truths = np.empty((2, count), np.bool_)
    answers = (np.empty(count), np.empty(count), np.empty(count), *truths, np.empty(count, np.int64))
    account, instrument, quantity, accounts = orders
    turn = np.argsort(account) if min(count, accounts) >= MANY else None
    if turn is not None:
        account, instrument, quantity = account[turn], instrument[turn], quantity[turn]
    given = (read_only(account), read_only(instrument), read_only(quantity), accounts)
    XP.run_in_threads(lambda part: _check_slice(table, ledger, given, part.start, part.stop, answers), count, threads)
    if turn is None:
        return answers
    found = tuple(np.empty_like(column) for column in answers)
    for into, column in zip(found, answers, strict=True):
        into[turn] = column
    return found


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
