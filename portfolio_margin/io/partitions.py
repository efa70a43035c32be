"""A Parquet book in parts: which accounts belong together, and their rows out of files of any size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.io.arrow_columns import Rows, coded_rows, data_columns, distinct_texts
from portfolio_margin.io.arrow_tables import damaged, frame_of
from portfolio_margin.io.positions import (
    COLLATERAL_COLUMNS,
    POSITION_COLUMNS,
    Listed,
    plain_book,
    read_book,
    read_collateral,
)
from portfolio_margin.io.tables import PARQUET, Table, kind_of_name, refuse, require_columns, text_column
from pricing.arrays import BoolArray, IntArray
from pricing.errors import ConfigError
from pricing.market import Market

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet

DEFAULT_ACCOUNTS = 50_000


class BookFiles(NamedTuple):
    """The Parquet files of a book: positions, and collateral or None."""

    positions: str
    collateral: str | None = None


class Partition(NamedTuple):
    """Accounts that are read and margined together.

    number       from 0, in order of account
    first, last  names of its first and last account, in order of code points
    positions, collateral   row groups of the two files that hold rows of them
    """

    number: int
    first: str
    last: str
    positions: tuple[int, ...]
    collateral: tuple[int, ...] = ()


def partitions(files: BookFiles, accounts_each: int = DEFAULT_ACCOUNTS) -> tuple[Partition, ...]:
    """The partitions of a book: accounts in order of name, `accounts_each` to each but the last.

    Reads the account columns once, a row group at a time. A file in order of account is then read once; otherwise
    every partition looks through all row groups that may hold one of its accounts. DataError where a file is missing,
    is no Parquet or has other columns; ConfigError for a count below 1.
    """
    if accounts_each < 1:
        raise ConfigError(f"accounts_each = {accounts_each!r}: must be a whole number above 0")
    given = [(files.positions, POSITION_COLUMNS), (files.collateral, COLLATERAL_COLUMNS)]
    scans = [[] if path is None else _scan(path, columns) for path, columns in given]
    names = sorted(set().union(*(group.accounts for scan in scans for group in scan)))
    if not scans[0]:
        refuse(files.positions, "rows", 0, "an empty portfolio; give at least one position")
    found = []
    for number, low in enumerate(range(0, len(names), accounts_each)):
        first, last = names[low], names[min(low + accounts_each, len(names)) - 1]
        groups = (tuple(g.number for g in scan if g.first <= last and first <= g.last) for scan in scans)
        found.append(Partition(number, first, last, *groups))
    return tuple(found)


def read_partition(
    files: BookFiles,
    partition: Partition,
    listed: Listed,
    market: Market | None,
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Book:
    """The book of the accounts of a partition; listed, market and left_out as `read_book` takes them.

    DataError that lists every bad row of theirs by file and row.
    """
    plain = _plain(files, partition, listed, market)
    if plain is not None:
        return plain
    positions = _rows(files.positions, POSITION_COLUMNS, partition.positions, partition)
    collateral = None
    if files.collateral is not None:
        collateral = _rows(files.collateral, COLLATERAL_COLUMNS, partition.collateral, partition)
    if len(positions.frame):
        return read_book(positions, collateral, listed, market, left_out=left_out)
    if collateral is None:
        raise AssertionError("a partition has accounts, so one of the files has rows of them")
    held = read_collateral(collateral, listed)
    return Book.from_arrays(held.account, held.instrument_idx, held.quantity, listed.expiry_idx)


def _plain(files: BookFiles, partition: Partition, listed: Listed, market: Market | None) -> Book | None:
    """The book where all its rows are plain and right, read without an object for each; else None."""
    span = partition.first, partition.last
    held = coded_rows(files.positions, POSITION_COLUMNS, Rows(partition.positions, *span))
    owned = None
    if files.collateral is not None and partition.collateral:
        owned = coded_rows(files.collateral, COLLATERAL_COLUMNS, Rows(partition.collateral, *span))
        if owned is None:
            return None
    # Row groups that may hold rows of these accounts need not.
    some = owned is not None and len(owned.account) > 0
    return plain_book(held, owned, some, listed, market)


class _Group(NamedTuple):
    """A row group with rows: its accounts, the first and last of them by name."""

    number: int
    accounts: set[str]
    first: str
    last: str


def _scan(path: str, columns: Sequence[str]) -> list[_Group]:
    """The accounts of every row group that has rows."""
    import pandas as pd

    with _opened(path) as file:
        header = Table(path, pd.DataFrame(columns=data_columns(file.schema_arrow, columns)), np.zeros(0, np.int64))
        require_columns(header, columns, only=True)
        found, starts = [], _starts(file)
        for number in range(file.num_row_groups):
            accounts = distinct_texts(file, number, "account")
            if accounts is None:
                column = file.read_row_group(number, columns=["account"])
                accounts = set(_accounts(path, column, int(starts[number])).unique().tolist())
            if accounts:
                found.append(_Group(number, accounts, min(accounts), max(accounts)))
        return found


def _rows(path: str, columns: Sequence[str], groups: Sequence[int], partition: Partition) -> Table:
    """The rows of a partition's accounts, numbered as in the file."""
    import pyarrow

    with _opened(path) as file:
        starts, names = _starts(file), data_columns(file.schema_arrow, columns)
        parts, rows = [file.schema_arrow.empty_table().select(names)], [np.zeros(0, np.int64)]
        for number in groups:
            read = file.read_row_group(number, columns=names)
            mine = _in_partition(_accounts(path, read, int(starts[number])), partition)
            parts.append(read.filter(pyarrow.array(mine)))
            rows.append(starts[number] + np.flatnonzero(mine))
        return Table(path, _frame(path, pyarrow.concat_tables(parts), 1), np.concatenate(rows))


def _starts(file: Any) -> IntArray:
    """(G + 1,) number of the first row of each row group of an open file, and of one after the last."""
    return np.cumsum([1, *(file.metadata.row_group(g).num_rows for g in range(file.num_row_groups))])


def _accounts(path: str, read: Any, first: int) -> pd.Series[str]:
    """Account of every row of an Arrow table whose first row has this number, as `read_book` names them."""
    frame = _frame(path, read, first)
    return text_column(Table(path, frame, first + np.arange(len(frame))), "account")


def _frame(path: str, read: Any, first: int) -> pd.DataFrame:
    """The frame of an Arrow table; what pandas noted in the file would take the columns of an index out of it."""
    return frame_of(read.replace_schema_metadata(None), path, PARQUET, first)


def _in_partition(account: pd.Series[str], partition: Partition) -> BoolArray:
    return np.asarray((account >= partition.first) & (account <= partition.last), dtype=np.bool_)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[pyarrow.parquet.ParquetFile]:
    """A Parquet file, open. DataError where it is missing, none, or damaged."""
    if kind_of_name(path, (PARQUET,)) != PARQUET:
        refuse(path, "file type", Path(path).suffix, "a book in parts is read from Parquet; save it as .parquet")
    try:
        import pyarrow.parquet

        # A column that is not there cannot be a dictionary either.
        names = [name for name in ("account",) if name in pyarrow.parquet.read_schema(path).names]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=names) as file:
            yield file
    except ImportError:
        refuse(path, "file type", PARQUET, "reading Parquet needs pyarrow: install portfolio-margin[io]")
    except FileNotFoundError:
        refuse(path, "file", Path(path).name, "no such file")
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise damaged(path, error, PARQUET) from None
