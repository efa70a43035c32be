"""Sums by account, underlying or expiry, in blocks of accounts: what margin models reduce as they see fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import check_faults, kernel_positions, kernel_table, threads_for
from portfolio_margin.book import UNGROUPED, Book
from pricing.arrays import FloatArray, IntArray, freeze
from pricing.errors import ConfigError
from pricing.price import load_backend
from scenarios.risk_arrays import RiskArrays

LEVELS = ("account", "underlying", "expiry")
# Numbers in the sums of one block, 32 MB: a million accounts never need all their sums at once.
BLOCK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Block:
    """Sums of consecutive accounts; R rows, each one account or one part of one.

    first, last  accounts of the block: rows first to last - 1 of the book
    account      (R,) account of each row, counted from `first`, not decreasing
    key          (R,) expiry row -> X, or underlying -> U; -1 for cash that no underlying moves, and for accounts
    ticks        (R,K) sums in ticks; whole numbers, and so exact, where the arrays are rounded
    tick_size    margin currency per tick
    """

    first: int
    last: int
    account: IntArray
    key: IntArray
    ticks: FloatArray
    tick_size: float

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def amounts(self) -> FloatArray:
        """(R,K) margin currency."""
        return self.ticks * self.tick_size

    def by_account(self, values: FloatArray) -> FloatArray:
        """(R,...) values of the rows added up by account, (last - first, ...), in the order of the rows."""
        total = np.zeros((len(self), *values.shape[1:]))
        np.add.at(total, self.account, values)
        return total


class _Parts(NamedTuple):
    """How a book falls apart: ptr (R+1,) -> groups, account (R,), key (R,)."""

    ptr: IntArray
    account: IntArray
    key: IntArray


def blocks(
    book: Book,
    arrays: RiskArrays,
    rows: FloatArray | None = None,
    *,
    by: str = "account",
    haircut: FloatArray | None = None,
    backend: str = "numba",
    threads: int | None = None,
    numbers: int = BLOCK_NUMBERS,
) -> Iterator[Block]:
    """Sums over positions of rows (N,K) in ticks per unit, block after block of accounts.

    rows     `arrays.rows`, the P&L under every scenario, where left out; `arrays.value_rows[:, None]` gives values,
             and np.column_stack of both gives both in one pass
    by       "account"; "underlying" or "expiry": every part of an account on its own, for a book with groups. Coins
             belong to the undated expiry row of their underlying
    haircut  (N,) share of a long collateral balance that does not count, or None
    numbers  sums a block holds at most, unless one account alone needs more

    Equal for every backend, number of threads, order of positions and size of blocks. An account without positions
    has a row by account and none by its parts. Raises what `worst_loss` raises.
    """
    rows = arrays.rows if rows is None else rows
    parts = _parts(book, arrays, by)
    table = kernel_table(arrays, rows, haircut)
    module = load_backend("portfolio_margin", backend)
    workers = threads_for(book, rows.shape[1], threads)
    first_row = np.searchsorted(parts.account, np.arange(len(book) + 1))
    most = max(1, numbers // max(rows.shape[1], 1))
    first = 0
    while first < len(book):
        last = max(first + 1, int(np.searchsorted(first_row, first_row[first] + most, side="right")) - 1)
        own = book.accounts(first, last)
        here = slice(first_row[first], first_row[last])
        ptr = parts.ptr[first_row[first] : first_row[last] + 1] - book.account_ptr[first]
        positions = kernel_positions(own, arrays, "joint")._replace(account_ptr=freeze(ptr, np.int64))
        account = parts.account[here] - first
        sums, found = module.account_sums(positions, table, workers)
        check_faults(own, arrays, found, account)
        yield Block(first, last, account, parts.key[here], sums, arrays.tick_size)
        first = last


def _parts(book: Book, arrays: RiskArrays, by: str) -> _Parts:
    if by not in LEVELS:
        raise ConfigError(f"by = {by!r}: must be one of {', '.join(LEVELS)}")
    if by == "account":
        return _Parts(book.account_ptr, np.arange(len(book)), np.full(len(book), -1))
    if np.any(book.group_key == UNGROUPED):
        raise ConfigError(
            f"sums by {by} need a book with groups: Book.from_arrays(..., group_of_instrument=instruments.expiry_idx)"
        )
    groups = np.arange(len(book.group_key) + 1)
    account = np.repeat(np.arange(len(book)), np.diff(book.account_ptr))
    if by == "expiry":
        return _Parts(groups, account, book.group_key)
    underlying = arrays.underlying_idx[book.instrument_idx[book.group_ptr[:-1]]]
    # Expiry rows are sorted by underlying, so its groups stand together inside an account.
    opens = np.ones(len(account), dtype=np.bool_)
    opens[1:] = (np.diff(account) != 0) | (np.diff(underlying) != 0)
    return _Parts(np.append(groups[:-1][opens], len(account)), account[opens], underlying[opens])
