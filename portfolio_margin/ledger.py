"""Ledger: the positions and figures of every account, as a value that a change copies next to nothing of.

Rows of positions and figures are appended to shared buffers and never written again; what belongs to an account is
three numbers in a page of a few accounts; a ledger is the list of its pages. A change appends the rows of the accounts
it touches and their pages, and makes a new list. Ledgers before it stay as they are, for whoever still reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from portfolio_margin.book import Book
from portfolio_margin.name_index import NameIndex
from portfolio_margin.nearest import COMPARED, did_you_mean
from pricing.arrays import MAX_ACCOUNTS, FloatArray, IntArray, StrArray
from pricing.errors import DataError, Problem

PAGE_BITS = 4
PAGE = 1 << PAGE_BITS
FIRST, COUNT, FIGURES = range(3)
# Room in every buffer beyond what the number of accounts and positions asks for.
SPARE_ROWS = 65_536
# Before a buffer is full its ledger moves to new ones, so many accounts with every change, so that none takes long.
MOVED_AT_ONCE = 64
# Room for changes of so many accounts, as a share of all, is left when a move begins.
LEFT_SHARE = 1 / 16
# By how much a move is ahead of the changes that use up the room that is left.
AHEAD = 1.5
MOVED_TOGETHER = 8_192


class Positions(NamedTuple):
    """Positions of some accounts: those of the i-th are rows pointer[i] to pointer[i+1] - 1.

    pointer (R+1,), instrument_idx (P,) -> N, quantity (P,)
    """

    pointer: IntArray
    instrument_idx: IntArray
    quantity: FloatArray


@dataclass
class Buffers:
    """What ledgers of one history share; rows beyond `used` are free, all others are never written again.

    pages           (M, PAGE, 3) of every account: first position, number of positions, row of its figures
    instrument_idx, quantity   (P',) positions by group and instrument inside an account
    figures         (F, K) figures of an account
    used            rows in use of pages, positions and figures
    enough          rows in use from which on a ledger begins to move to others
    kept            what backends make of the positions and ask for again, by what they call it
    """

    pages: IntArray
    instrument_idx: NDArray[np.int32]
    quantity: FloatArray
    figures: FloatArray
    used: list[int]
    enough: tuple[int, int, int]
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def low(self) -> bool:
        """Whether there is little room left."""
        pages, positions, figures = self.used
        return pages > self.enough[0] or positions > self.enough[1] or figures > self.enough[2]

    def used_since(self, before: tuple[int, ...]) -> float:
        """Share that is used up of the room that there was when so many rows were in use; of what is used up most."""
        capacity = (len(self.pages), len(self.quantity), len(self.figures))
        rows = zip(self.used, before, capacity, strict=True)
        return max((now - then) / (end - then) if end > then else 1.0 for now, then, end in rows)

    def room_for(self, pages: int, positions: int, figures: int) -> bool:
        """Whether so many rows can be appended."""
        capacity = (len(self.pages), len(self.quantity), len(self.figures))
        return all(u + n <= c for u, n, c in zip(self.used, (pages, positions, figures), capacity, strict=True))


@dataclass
class Accounts:
    """Names of the accounts of all ledgers of one history, in the order they were opened; only added to."""

    names: list[str]
    row: NameIndex = field(init=False)

    def __post_init__(self) -> None:
        self.row = NameIndex(self.names)


@dataclass(frozen=True)
class Ledger:
    """Positions and figures of the first `count` of `accounts`; page i holds the accounts from row i * PAGE on.

    root     (pages,) -> M, where each page is in `buffers`
    held     number of positions of all accounts
    moving   None unless the ledger is on its way to other buffers
    """

    accounts: Accounts
    count: int
    root: IntArray
    buffers: Buffers
    held: int
    moving: Moving | None = None

    @classmethod
    def from_book(cls, book: Book, width: int, rank: IntArray) -> Ledger:
        """A ledger of a book, all figures 0.

        width  number of figures of an account
        rank   (N,) place of each instrument inside an account
        """
        account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
        order = np.lexsort((rank[book.instrument_idx], account))
        positions = Positions(book.position_ptr.copy(), book.instrument_idx[order], book.quantity[order])
        accounts = Accounts([str(name) for name in book.account_id])
        return _built(accounts, len(book), positions, np.zeros((len(book), width)))

    def __len__(self) -> int:
        return self.count

    def row_of(self, account: str) -> int:
        """Row of an account. DataError where there is none, with the nearest names unless there are very many."""
        if not isinstance(account, str):
            raise DataError([Problem("engine", None, "account", account, "no such account: a name is a text")])
        row = self.accounts.row.get(account, -1)
        if not 0 <= row < self.count:
            few = self.count <= COMPARED
            remedy = "no such account" + (did_you_mean(str(account), self.accounts.names[: self.count]) if few else "")
            raise DataError([Problem("engine", None, "account", account, remedy)])
        return row

    def names(self, rows: IntArray) -> StrArray:
        """(R,) names of the accounts in these rows."""
        return np.array([self.accounts.names[row] for row in rows.tolist()], dtype=np.str_)

    def figures(self, rows: IntArray) -> FloatArray:
        """(R,K) figures of the accounts in these rows."""
        return self.buffers.figures[self._entries(rows)[:, FIGURES]]

    def positions_of(self, row: int) -> int:
        """Number of positions of the account in this row."""
        return int(self.buffers.pages[self.root[row >> PAGE_BITS], row & (PAGE - 1), COUNT])

    def positions(self, rows: IntArray) -> Positions:
        """Positions of the accounts in these rows."""
        entries = self._entries(rows)
        pointer = np.append(0, np.cumsum(entries[:, COUNT]))
        place = np.arange(pointer[-1]) + np.repeat(entries[:, FIRST] - pointer[:-1], entries[:, COUNT])
        instrument = self.buffers.instrument_idx[place].astype(np.int64)
        return Positions(pointer, instrument, self.buffers.quantity[place])

    def book(self, rows: IntArray, group_of_instrument: IntArray) -> Book:
        """The accounts in these rows as a book, in this order."""
        return book_of(self.names(rows), self.positions(rows), group_of_instrument)

    def all_rows(self) -> IntArray:
        """(A,) the rows of all accounts."""
        return np.arange(self.count)

    def changed(self, rows: IntArray, positions: Positions | None, figures: FloatArray | None) -> Ledger:
        """The ledger with other positions or figures (R,K) of the accounts in these rows, all different."""
        after = self._appended(rows, positions, figures)
        if after is None:
            pages = len(np.unique(rows >> PAGE_BITS))
            further = 0 if positions is None else len(positions.quantity)
            return self._renewed((pages, further, len(rows))).changed(rows, positions, figures)
        return after._moved_on(rows, positions is not None, figures is not None)

    def _appended(self, rows: IntArray, positions: Positions | None, figures: FloatArray | None) -> Ledger | None:
        """`changed` within the buffers as they are; None where they have no room."""
        root, buffers = self.root, self.buffers
        pages, page_of = np.unique(rows >> PAGE_BITS, return_inverse=True)
        wanted = (len(pages), 0 if positions is None else len(positions.quantity), 0 if figures is None else len(rows))
        if not buffers.room_for(*wanted):
            return None
        page, position, figure = buffers.used
        buffers.used = [used + count for used, count in zip(buffers.used, wanted, strict=True)]
        held = self.held
        made = slice(page, page + len(pages))
        buffers.pages[made] = buffers.pages[root[pages]]
        entry = (page + page_of, rows & (PAGE - 1))
        if positions is not None:
            held += wanted[1] - int(self._entries(rows)[:, COUNT].sum())
            buffers.instrument_idx[position : position + wanted[1]] = positions.instrument_idx
            buffers.quantity[position : position + wanted[1]] = positions.quantity
            buffers.pages[(*entry, FIRST)] = position + positions.pointer[:-1]
            buffers.pages[(*entry, COUNT)] = np.diff(positions.pointer)
        if figures is not None:
            buffers.figures[figure : figure + len(rows)] = figures
            buffers.pages[(*entry, FIGURES)] = figure + np.arange(len(rows))
        root = root.copy()
        root[pages] = np.arange(page, page + len(pages))
        return replace(self, root=root, held=held)

    def with_account(
        self, row: int, instrument: NDArray[np.integer], quantity: FloatArray, figures: FloatArray
    ) -> Ledger:
        """`changed` of one account: its positions (P,) and figures (K,)."""
        buffers, root, count = self.buffers, self.root, len(quantity)
        if not buffers.room_for(1, count, 1):
            positions = Positions(np.array([0, count]), instrument.astype(np.int64), quantity)
            return self.changed(np.array([row]), positions, figures[None, :])
        page, position, figure = buffers.used
        buffers.used = [page + 1, position + count, figure + 1]
        index = row >> PAGE_BITS
        buffers.pages[page] = buffers.pages[root[index]]
        buffers.instrument_idx[position : position + count] = instrument
        buffers.quantity[position : position + count] = quantity
        buffers.figures[figure] = figures
        held = self.held + count - int(buffers.pages[page, row & (PAGE - 1), COUNT])
        buffers.pages[page, row & (PAGE - 1)] = position, count, figure
        root = root.copy()
        root[index] = page
        after = Ledger(self.accounts, self.count, root, buffers, held, self.moving)
        return after if self.moving is None and not buffers.low else after._moved_on(np.array([row]), True, True)

    def opened(self, names: Sequence[str]) -> Ledger:
        """The ledger with further accounts that hold nothing. DataError for a name that is there or is none."""
        problems = []
        fresh: dict[str, int] = {}
        for number, name in enumerate(names, start=1):
            if not isinstance(name, str) or not name or "\0" in name:
                problems.append(Problem("accounts", number, "account", name, "must be a text that is not empty"))
            elif self.accounts.row.get(name, self.count) < self.count or name in fresh:
                problems.append(Problem("accounts", number, "account", name, "there is an account of this name"))
            else:
                fresh[name] = self.count + len(fresh)
        if self.count + len(fresh) > MAX_ACCOUNTS:
            problems.append(Problem("accounts", None, "accounts", self.count + len(fresh), f"at most {MAX_ACCOUNTS}"))
        if problems:
            raise DataError(problems)
        accounts = self.accounts
        if len(accounts.names) != self.count:
            # Another ledger has gone on from here with accounts of its own.
            accounts = Accounts(accounts.names[: self.count])
        # Its row before its name: a reader that finds no row yet has no account either.
        accounts.names.extend(fresh)
        accounts.row.extend(list(fresh))
        count = self.count + len(fresh)
        ledger = self._with_pages(-(-count // PAGE) - len(self.root))
        nobody = Positions(np.zeros(len(fresh) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0))
        width = self.buffers.figures.shape[1]
        ledger = replace(ledger, accounts=accounts, count=count)
        return ledger.changed(np.arange(self.count, count), nobody, np.zeros((len(fresh), width)))

    def _with_pages(self, more: int) -> Ledger:
        """The ledger with further pages of nobody."""
        if not self.buffers.room_for(more, 0, 0):
            return self._renewed((more, 0, 0))._with_pages(more)
        first = self.buffers.used[0]
        self.buffers.used = [first + more, *self.buffers.used[1:]]
        self.buffers.pages[first : first + more] = 0
        return replace(self, root=np.append(self.root, np.arange(first, first + more)))

    def _moved_on(self, rows: IntArray, positions: bool, figures: bool) -> Ledger:
        """The ledger some accounts further on its way to other buffers, or in them; the ledger itself where it is on
        no way and has room.

        rows  accounts that have changed, and whether their positions and their figures have

        A change of R accounts moves MOVED_AT_ONCE, or as many as keep the move ahead of the room that changes use up:
        about R x AHEAD / LEFT_SHARE at most.
        """
        moving = self.moving
        if moving is None:
            if not self.buffers.low:
                return self
            moving = Moving(self._beginning(), tuple(self.buffers.used))
        there: Ledger | None = moving.there
        known = rows[rows < moving.there.count]
        if len(known):
            there = moving.there._appended(
                known, self.positions(known) if positions else None, self.figures(known) if figures else None
            )
        if there is not None:
            wanted = int(AHEAD * self.buffers.used_since(moving.since) * self.count)
            there = there._followed_by(self, max(there.count + MOVED_AT_ONCE, wanted))
        if there is None:
            # Other ledgers of this history have taken its room: once more, from the beginning.
            return self._renewed((0, 0, 0))
        if there.count < self.count:
            return replace(self, moving=moving._replace(there=there))
        return replace(self, root=there.root, buffers=there.buffers, moving=None)

    def _beginning(self) -> Ledger:
        """A ledger of nobody, in buffers that have room for what this one holds and as much again."""
        empty = _buffers_for(self.count, self.held, self.buffers.figures.shape[1])
        return Ledger(self.accounts, 0, np.zeros(0, np.int64), empty, 0)

    def _followed_by(self, other: Ledger, last: int) -> Ledger | None:
        """The ledger with the accounts of another one from its own end on, up to row `last` or to their end; None where
        there is no room."""
        low, high = self.count, min(-(-last // PAGE) * PAGE, other.count)
        rows = np.arange(low, high)
        positions = other.positions(rows)
        wanted, buffers = (-(-len(rows) // PAGE), len(positions.quantity), len(rows)), self.buffers
        if not buffers.room_for(*wanted):
            return None
        page, position, figure = buffers.used
        buffers.used = [used + count for used, count in zip(buffers.used, wanted, strict=True)]
        buffers.instrument_idx[position : position + wanted[1]] = positions.instrument_idx
        buffers.quantity[position : position + wanted[1]] = positions.quantity
        buffers.figures[figure : figure + len(rows)] = other.figures(rows)
        entries = buffers.pages[page : page + wanted[0]].reshape(-1, 3)
        entries[len(rows) :] = 0
        entries[: len(rows), FIRST] = position + positions.pointer[:-1]
        entries[: len(rows), COUNT] = np.diff(positions.pointer)
        entries[: len(rows), FIGURES] = figure + np.arange(len(rows))
        root = np.append(self.root, np.arange(page, page + wanted[0]))
        return replace(self, count=high, root=root, held=self.held + wanted[1])

    def _entries(self, rows: IntArray) -> IntArray:
        return self.buffers.pages[self.root[rows >> PAGE_BITS], rows & (PAGE - 1)]

    def _renewed(self, spare: Sequence[int]) -> Ledger:
        """The ledger in buffers of its own, with room for so many pages, positions and figures more.

        Some accounts at a time, whose columns stay in the caches on their way: columns of all positions at once take
        several times as long.
        """
        counts = self._entries(self.all_rows())[:, COUNT]
        pointer = np.append(0, np.cumsum(counts))
        buffers = _empty_buffers(pointer, self.buffers.figures.shape[1], spare)
        for low in range(0, self.count, MOVED_TOGETHER):
            rows = np.arange(low, min(low + MOVED_TOGETHER, self.count))
            positions, here = self.positions(rows), slice(pointer[low], pointer[rows[-1] + 1])
            buffers.instrument_idx[here], buffers.quantity[here] = positions.instrument_idx, positions.quantity
            buffers.figures[low : rows[-1] + 1] = self.figures(rows)
        return replace(self, root=np.arange(len(self.root)), buffers=buffers, moving=None)


class Moving(NamedTuple):
    """A ledger's way to other buffers: a ledger of its first accounts as they are by now, and the rows that were in use
    when it began."""

    there: Ledger
    since: tuple[int, ...]


def book_of(names: StrArray, positions: Positions, group_of_instrument: IntArray) -> Book:
    """Positions, in order of group and instrument inside each account, as a book."""
    pointer, instrument, quantity = positions
    account = np.repeat(np.arange(len(names)), np.diff(pointer))
    group = group_of_instrument[instrument]
    starts = np.ones(len(instrument), dtype=np.bool_)
    starts[1:] = (np.diff(account) != 0) | (np.diff(group) != 0)
    first = np.flatnonzero(starts)
    return Book(
        account_id=names,
        account_ptr=np.searchsorted(account[first], np.arange(len(names) + 1)),
        group_key=group[first],
        group_ptr=np.append(first, len(instrument)),
        instrument_idx=instrument,
        quantity=quantity,
    )


def _built(accounts: Accounts, count: int, positions: Positions, figures: FloatArray) -> Ledger:
    """A ledger in buffers of its own."""
    buffers = _empty_buffers(positions.pointer, figures.shape[1])
    buffers.instrument_idx[: len(positions.quantity)] = positions.instrument_idx
    buffers.quantity[: len(positions.quantity)] = positions.quantity
    buffers.figures[:count] = figures
    return Ledger(accounts, count, np.arange(buffers.used[0]), buffers, len(positions.quantity))


def _empty_buffers(pointer: IntArray, width: int, spare: Sequence[int] = (0, 0, 0)) -> Buffers:
    """Buffers with the pages of accounts whose positions are by this pointer, and with room for as much again."""
    count, held = len(pointer) - 1, int(pointer[-1])
    buffers = _buffers_for(count, held, width, spare)
    buffers.used = [-(-count // PAGE), held, count]
    entries = buffers.pages[: buffers.used[0]].reshape(-1, 3)
    entries[count:] = 0
    entries[:count, FIRST] = pointer[:-1]
    entries[:count, COUNT] = np.diff(pointer)
    entries[:count, FIGURES] = np.arange(count)
    return buffers


def _buffers_for(count: int, held: int, width: int, spare: Sequence[int] = (0, 0, 0)) -> Buffers:
    """Buffers that nothing is in yet, with room for so many accounts and positions and as much again."""
    # A tick of many holders takes as many pages as figures.
    room = [
        used + beyond + more + SPARE_ROWS
        for used, beyond, more in zip((-(-count // PAGE), held, count), (count, held, count), spare, strict=True)
    ]
    pages, positions, figures = (
        rows - int(LEFT_SHARE * live) for rows, live in zip(room, (count, held, count), strict=True)
    )
    # Memory beyond what is written stays untouched, and the system gives none for it.
    return Buffers(
        pages=np.empty((room[0], PAGE, 3), np.int64),
        instrument_idx=np.empty(room[1], np.int32),
        quantity=np.empty(room[1]),
        figures=np.empty((room[2], width)),
        used=[0, 0, 0],
        enough=(pages, positions, figures),
    )
