"""Book: accounts -> groups -> positions, sorted once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.nearest import did_you_mean_or_known
from pricing.arrays import MAX_ACCOUNTS, BoolArray, FloatArray, IntArray, StrArray, freeze, freeze_fields
from pricing.errors import DataError, Problem

UNGROUPED = -2


@dataclass(frozen=True)
class Book:
    """The positions of all accounts, rows sorted by account, group and instrument.

    account_id      (A,) unique names, sorted (integers by size)
    account_ptr     (A+1,) first group of each account
    group_key       (G,) expiry row of the group -> X, -1 for cash that no underlying moves,
                    UNGROUPED where the book was built without groups
    group_ptr       (G+1,) first position of each group
    instrument_idx  (P,) -> N
    quantity        (P,) contracts, + long; units of currency for collateral

    Built by `Book.from_arrays`; an account without positions is an account with no groups.
    """

    account_id: StrArray
    account_ptr: IntArray
    group_key: IntArray
    group_ptr: IntArray
    instrument_idx: IntArray
    quantity: FloatArray

    def __post_init__(self) -> None:
        integers = dict.fromkeys(("account_ptr", "group_key", "group_ptr", "instrument_idx"), np.int64)
        freeze_fields(self, {"account_id": np.str_, "quantity": np.float64, **integers})
        levels = (
            ("account_ptr", self.account_ptr, len(self.account_id), len(self.group_key)),
            ("group_ptr", self.group_ptr, len(self.group_key), len(self.instrument_idx)),
        )
        for name, pointers, rows, end in levels:
            whole = (
                len(pointers) == rows + 1
                and pointers[0] == 0
                and pointers[-1] == end
                and not np.any(np.diff(pointers) < 0)
            )
            if not whole:
                remedy = "does not lead from 0 through the rows to their end: build a book with Book.from_arrays"
                raise DataError([Problem("book", None, name, pointers[:8].tolist(), remedy)])
        if self.instrument_idx.ndim != 1 or np.any(self.instrument_idx < 0):
            remedy = "must be one row of an instrument a position: build a book with Book.from_arrays"
            raise DataError([Problem("book", None, "instrument_idx", self.instrument_idx.ravel()[:8].tolist(), remedy)])
        if self.quantity.shape != self.instrument_idx.shape:
            remedy = "needs one quantity a position: build a book with Book.from_arrays"
            raise DataError([Problem("book", None, "quantity", self.quantity.shape, remedy)])

    @classmethod
    def from_arrays(
        cls,
        account_id: ArrayLike,
        instrument_idx: ArrayLike,
        quantity: ArrayLike,
        group_of_instrument: ArrayLike | None = None,
        accounts: ArrayLike | None = None,
    ) -> Book:
        """A book from loose positions, in any order.

        account_id           (P,) account of each position: names or integers
        instrument_idx       (P,) -> N
        quantity             (P,) contracts, + long
        group_of_instrument  (N,) margin group of each instrument, `instruments.expiry_idx` for a margin
                             model that looks inside an account by underlying or expiry; `margin`
                             refuses any other
        accounts             further accounts that may hold nothing

        Raises DataError for unequal lengths, quantities that are not finite, instruments outside the
        table and the same (account, instrument) twice.
        """
        names = _account_names(account_id)
        instrument = _whole_rows(instrument_idx)
        amount = _amounts(quantity)
        keys = None if group_of_instrument is None else _whole_rows(group_of_instrument, "group_of_instrument")
        _check_columns(names, instrument, amount, None if keys is None else len(keys))
        further = names[:0] if accounts is None else _account_names(accounts)
        if len(names) and len(further) and names.dtype.kind != further.dtype.kind:
            names, further = names.astype(np.str_), further.astype(np.str_)
        listed = np.unique(np.concatenate([part for part in (names, further) if len(part)] or [names]))
        if len(listed) > MAX_ACCOUNTS:
            raise DataError([Problem("book", None, "accounts", len(listed), f"at most {MAX_ACCOUNTS}")])
        account = np.searchsorted(listed, names)
        group = np.full(len(instrument), UNGROUPED, dtype=np.int64) if keys is None else keys[instrument]
        order = np.lexsort((instrument, group, account))
        account, group, instrument, amount = account[order], group[order], instrument[order], amount[order]
        _check_duplicates(listed, account, instrument)
        return cls.from_sorted(listed.astype(np.str_), account, group, instrument, amount)

    @classmethod
    def from_codes(
        cls, accounts: StrArray, account: IntArray, instrument: IntArray, quantity: FloatArray, group: IntArray
    ) -> Book:
        """A book from positions whose accounts are given by number, for books of many millions.

        accounts    (A,) distinct names, in any order; one that no position has is an account that holds nothing
        account     (P,) -> A
        instrument  (P,) -> N, and quantity (P,) contracts, + long
        group       (N,) margin group of each instrument

        Equal to `from_arrays` of the same positions. Raises DataError for the same instrument twice in an account.
        """
        by_name = np.argsort(accounts)
        # One number a position that sorts as account, group and instrument do.
        of_instrument, place = np.lexsort((np.arange(len(group)), group)), np.empty(len(group), np.int64)
        place[of_instrument] = np.arange(len(group))
        of_account = np.empty(len(accounts), np.int64)
        of_account[by_name] = np.arange(len(accounts)) * max(len(group), 1)
        key = of_account[account] + place[instrument]
        if np.any(key[1:] <= key[:-1]):
            order = np.argsort(key, kind="stable")
            key, quantity = key[order], quantity[order]
        owner, where = np.divmod(key, max(len(group), 1))
        sorted_instrument = of_instrument[where]
        _check_duplicates(accounts[by_name], owner, sorted_instrument)
        sorted_group = group[sorted_instrument]
        return cls.from_sorted(accounts[by_name], owner, sorted_group, sorted_instrument, quantity)

    @classmethod
    def from_sorted(
        cls, accounts: StrArray, account: IntArray, group: IntArray, instrument: IntArray, quantity: FloatArray
    ) -> Book:
        """A book from positions that stand in its order: by account, group and instrument, none twice.

        accounts   (A,) names in their order; account (P,) -> A
        group      (P,) margin group, instrument (P,) -> N, quantity (P,) contracts
        """
        opens = np.ones(len(account), dtype=np.bool_)
        opens[1:] = (account[1:] != account[:-1]) | (group[1:] != group[:-1])
        first = np.flatnonzero(opens)
        return cls(
            account_id=accounts,
            account_ptr=np.searchsorted(account[first], np.arange(len(accounts) + 1)),
            group_key=group[first],
            group_ptr=np.append(first, len(account)),
            instrument_idx=instrument,
            quantity=quantity,
        )

    def __len__(self) -> int:
        return len(self.account_id)

    def holding(self, quantity: FloatArray) -> Book:
        """The same positions with other quantities (P,); DataError where they are not so many.

        What is known of the positions is not looked at again, which for a venue takes as long as to add them up.
        """
        if quantity.shape != self.instrument_idx.shape:
            return replace(self, quantity=quantity)
        # Looked at once here, and handed on to all that follow.
        _ = self.position_ptr, self.last_instrument, self.is_grouped
        book = object.__new__(type(self))
        book.__dict__.update(self.__getstate__(), quantity=quantity)
        freeze_fields(book, {"quantity": np.float64})
        return book

    def __getstate__(self) -> dict[str, Any]:
        """Without what is kept of the positions, which is made again where it is asked for."""
        return {name: value for name, value in self.__dict__.items() if name != "kept"}

    @cached_property
    def kept(self) -> dict[Any, Any] | None:
        """What account kernels make of the positions once and read at every tick; it goes into no file and no copy.

        None where the columns are views of memory that others may write to, a file that is mapped among them.
        """
        return {} if all(_stays(column) for column in (self.instrument_idx, self.quantity)) else None

    @cached_property
    def position_ptr(self) -> IntArray:
        """(A+1,) first position of each account."""
        return freeze(self.group_ptr[self.account_ptr], np.int64)

    @cached_property
    def last_instrument(self) -> int:
        """Highest row of an instrument that is held, -1 where nothing is; a book of a venue is asked on every tick."""
        return int(self.instrument_idx.max(initial=-1))

    @cached_property
    def is_grouped(self) -> bool:
        """Whether no group is UNGROUPED."""
        return not bool(np.any(self.group_key == UNGROUPED))

    def row_of(self, account: str) -> int:
        """Row number of an account. DataError with the nearest names where there is none."""
        account = str(account)
        row = self.find(account)
        if row is not None:
            return row
        remedy = "no such account" + did_you_mean_or_known(account, [str(name) for name in self.account_id])
        raise DataError([Problem("book", None, "account", account, remedy)])

    def find(self, account: str) -> int | None:
        """Row number of an account, None where there is none."""
        row = int(np.searchsorted(self.account_id, account))
        if row < len(self) and self.account_id[row] == account:
            return row
        # Integer accounts are sorted as numbers, not as names.
        found = np.flatnonzero(self.account_id == account)
        return int(found[0]) if len(found) else None

    def select(self, account: str) -> Book:
        """The book of one account alone."""
        row = self.row_of(account)
        return self.accounts(row, row + 1)

    def accounts(self, first: int, last: int) -> Book:
        """The book of the accounts in rows first to last - 1."""
        if first == 0 and last == len(self):
            return self
        groups = slice(self.account_ptr[first], self.account_ptr[last])
        positions = slice(self.group_ptr[groups.start], self.group_ptr[groups.stop])
        return Book(
            account_id=self.account_id[first:last],
            account_ptr=self.account_ptr[first : last + 1] - groups.start,
            group_key=self.group_key[groups],
            group_ptr=self.group_ptr[groups.start : groups.stop + 1] - positions.start,
            instrument_idx=self.instrument_idx[positions],
            quantity=self.quantity[positions],
        )

    def keep(self, wanted: BoolArray) -> Book:
        """The same accounts with the positions only where `wanted` (P,) is true."""
        group = np.repeat(np.arange(len(self.group_key)), np.diff(self.group_ptr))[wanted]
        left = np.unique(group)
        account = np.repeat(np.arange(len(self)), np.diff(self.account_ptr))[left]
        return Book(
            account_id=self.account_id,
            account_ptr=np.searchsorted(account, np.arange(len(self) + 1)),
            group_key=self.group_key[left],
            group_ptr=np.append(np.searchsorted(group, left), len(group)),
            instrument_idx=self.instrument_idx[wanted],
            quantity=self.quantity[wanted],
        )


def _stays(column: np.ndarray) -> bool:
    """Whether the numbers of a frozen column are nobody else's to change."""
    owner = column if column.base is None else column.base
    return isinstance(owner, np.ndarray) and bool(owner.flags.owndata) and not owner.flags.writeable


def _account_names(values: ArrayLike) -> np.ndarray:
    """Accounts as texts or whole numbers; a decimal number is no name, and neither is nothing."""
    # Before numpy takes them: it would turn a number beside a text into one, and drop a NUL at the end.
    if np.ma.is_masked(values) or values is None:
        remedy = "accounts are texts that are not empty, or whole numbers"
        raise DataError([Problem("book", None, "account_id", "masked" if values is not None else None, remedy)])
    given = values if isinstance(values, np.ndarray) and values.dtype.kind != "O" else list(_plain(values))
    names = np.asarray(given)
    if names.ndim != 1 or not names.size:
        return names
    remedy = "accounts are texts that are not empty, or whole numbers"
    if names.dtype.kind not in "Uiu" or (isinstance(given, list) and len({isinstance(v, str) for v in given}) > 1):
        raise DataError([Problem("book", None, "account_id", str(names.dtype), remedy)])
    if names.dtype.kind == "U":
        texts = given if isinstance(given, list) else names.tolist()
        bad = [row for row, text in enumerate(texts) if not text or "\0" in text]
        if bad:
            raise DataError([Problem("book", row, "account_id", texts[row], remedy) for row in bad])
    return names


def _plain(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else [values] if np.isscalar(values) else values


def _array(values: Any, field: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError([Problem("book", None, field, str(error), "must be one array")]) from None
    if np.ma.is_masked(values):
        raise DataError([Problem("book", None, field, "masked values", "leave their rows out")])
    return array


def _amounts(values: ArrayLike) -> FloatArray:
    amount = _array(values, "quantity")
    if amount.size and amount.dtype.kind not in "fiu":
        raise DataError([Problem("book", None, "quantity", str(amount.dtype), "must be numbers")])
    return amount.astype(np.float64)


def _whole_rows(values: ArrayLike, field: str = "instrument_idx") -> IntArray:
    rows = _array(values, field)
    if rows.dtype.kind not in "iuf" and rows.size:
        raise DataError([Problem("book", None, field, str(rows.dtype), "must be whole numbers")])
    if rows.dtype.kind in "iu" or not rows.size:
        return rows.astype(np.int64)
    with np.errstate(invalid="ignore"):
        broken = np.flatnonzero(~(np.rint(rows) == rows))
    if len(broken):
        remedy = "must be a whole number"
        raise DataError([Problem("book", int(row), field, rows.ravel()[row].item(), remedy) for row in broken])
    return rows.astype(np.int64)


def _check_columns(names: np.ndarray, instrument: IntArray, amount: FloatArray, instruments: int | None) -> None:
    if not (names.shape == instrument.shape == amount.shape) or names.ndim != 1:
        shapes = f"{names.shape}, {instrument.shape}, {amount.shape}"
        remedy = "account_id, instrument_idx and quantity need one row a position"
        raise DataError([Problem("book", None, "shapes", shapes, remedy)])
    outside = instrument < 0 if instruments is None else (instrument < 0) | (instrument >= instruments)
    problems = [
        Problem("book", int(row), "instrument_idx", int(instrument[row]), "no such instrument row")
        for row in np.flatnonzero(outside)
    ]
    problems += [
        Problem("book", int(row), "quantity", float(amount[row]), "must be a finite number")
        for row in np.flatnonzero(~np.isfinite(amount))
    ]
    if problems:
        raise DataError(problems)


def _check_duplicates(listed: np.ndarray, account: IntArray, instrument: IntArray) -> None:
    """Rows are sorted by account, group and instrument, and an instrument has one group."""
    repeated = np.flatnonzero((np.diff(account) == 0) & (np.diff(instrument) == 0))
    if len(repeated):
        raise DataError(
            [
                Problem("book", str(listed[account[row]]), "instrument_idx", int(instrument[row]), "listed twice")
                for row in repeated
            ]
        )
