"""Large tables of positions from Parquet and Arrow: names as codes and numbers as arrays, no Python object for a row.

What is here reads plain files quickly and judges nothing: a file with anything unusual in it is left to the reader that
looks at every row and says what is wrong with which.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.io.arrow_tables import failures, ipc_table, is_sound
from portfolio_margin.io.tables import ARROW, PARQUET, TABLES, is_arrow, kind_of_name
from pricing.arrays import FloatArray, IntArray, StrArray
from pricing.errors import DataError

BATCH_ROWS = 1_000_000


class CodedRows(NamedTuple):
    """Rows of one table: accounts (A,) distinct names, account (P,) -> A; names (M,), name (P,) -> M; number (P,)."""

    accounts: StrArray
    account: IntArray
    names: StrArray
    name: IntArray
    number: FloatArray


class _Codes:
    """Distinct texts of a column, in the order of their first appearance, and the code of every row."""

    def __init__(self) -> None:
        self.code_of: dict[str, int] = {}
        self.parts: list[IntArray] = []

    def add(self, column: Any) -> bool:
        """Take in a dictionary column of a batch; False where a cell is blank."""
        if column.null_count or column.dictionary.null_count:  # a null may stand in either
            return False
        texts = np.array(column.dictionary.to_pylist(), dtype=object)
        index = np.asarray(column.indices)
        # A column that was cut down still has the names of what it was cut from.
        used = np.flatnonzero(np.bincount(index, minlength=len(texts)) > 0)
        codes = np.zeros(len(texts), dtype=np.int32)
        codes[used] = [self.code_of.setdefault(str(text).strip(), len(self.code_of)) for text in texts[used]]
        self.parts.append(codes[index])
        return "" not in self.code_of

    def names(self) -> StrArray:
        return np.array(list(self.code_of) or [""], dtype=np.str_)


class Rows(NamedTuple):
    """Which rows of a file: those of some row groups whose account lies between two names, both included."""

    groups: tuple[int, ...]
    first: str
    last: str


def coded_rows(source: object, columns: tuple[str, str, str], of: Rows | None = None) -> CodedRows | None:
    """The rows of a Parquet or Arrow file, or of an Arrow table or record batch, with exactly these columns (account,
    name, number); None for anything else.

    of  only some rows of a Parquet file; None for all

    Texts are read without white space around them. None as well where a cell is blank, an account or a name is no text,
    a number is not stored as one of double precision or a whole one, or the file cannot be read.
    """
    if not (is_arrow(source) or isinstance(source, (str, Path))):
        return None
    try:
        import pyarrow  # noqa: F401 - told apart from what it raises
    except ImportError:
        return None
    try:
        return _rows_of(source, columns, of)
    except DataError:
        return None
    except failures():
        return None


def _rows_of(source: Any, columns: tuple[str, str, str], of: Rows | None) -> CodedRows | None:
    from pyarrow import parquet

    if is_arrow(source):
        if not is_sound(source):
            return None
        table = _with_dictionaries(source, columns)
        return _coded(table.schema, table.to_batches(max_chunksize=BATCH_ROWS), columns, None)
    kind = kind_of_name(source, TABLES)
    if kind == ARROW:
        return _rows_of(ipc_table(Path(source).read_bytes()), columns, None)
    if kind != PARQUET or not set(columns) <= set(parquet.read_schema(source).names):
        return None
    with parquet.ParquetFile(source, read_dictionary=list(columns[:2])) as file:
        groups = {} if of is None else {"row_groups": list(of.groups)}
        batches = file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns), **groups)
        sound = (batch if is_sound(batch) else None for batch in batches)
        return _coded(file.schema_arrow, sound, columns, of)


def _with_dictionaries(source: Any, columns: tuple[str, str, str]) -> Any:
    """An Arrow table of a table or a record batch, its texts as dictionaries."""
    import pyarrow

    table = source if isinstance(source, pyarrow.Table) else pyarrow.Table.from_batches([source])
    for place, field in enumerate(table.schema):
        if field.name in columns and _is_text(field.type):
            table = table.set_column(place, field.name, table.column(place).dictionary_encode())
    return table


def data_columns(schema: Any, wanted: Collection[str]) -> list[str]:
    """The columns of an Arrow schema without those that pandas wrote as the index of a frame, which say nothing of a
    row unless they are wanted."""
    marked = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name in wanted or name not in marked]


def distinct_texts(file: Any, group: int, column: str) -> set[str] | None:
    """The distinct texts of a column in one row group of an open Parquet file that reads it as a dictionary, without
    white space around them; None where it holds anything else, or blanks."""
    from pyarrow import types

    kind = file.schema_arrow.field(column).type
    if not (types.is_dictionary(kind) and _is_text(kind.value_type)):
        return None
    codes = _Codes()
    for part in file.read_row_group(group, columns=[column]).column(column).chunks:
        if not (is_sound(part) and codes.add(part)):
            return None
    return set(codes.code_of)


def _coded(schema: Any, batches: Iterable[Any], columns: tuple[str, str, str], of: Rows | None) -> CodedRows | None:
    from pyarrow import types

    if sorted(data_columns(schema, columns)) != sorted(columns):
        return None
    account, name, number = (schema.field(column).type for column in columns)
    plain = all(types.is_dictionary(kind) and _is_text(kind.value_type) for kind in (account, name))
    if not plain or not (types.is_float64(number) or types.is_integer(number)):
        return None
    accounts, names, numbers = _Codes(), _Codes(), []
    for whole in batches:
        batch = whole if of is None or whole is None else _within(whole, columns[0], of)
        if batch is None:
            return None
        by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
        if by_name[columns[2]].null_count:
            return None
        if not (accounts.add(by_name[columns[0]]) and names.add(by_name[columns[1]])):
            return None
        numbers.append(np.asarray(by_name[columns[2]], dtype=np.float64))
    if not numbers:
        return None
    return CodedRows(
        accounts.names(), np.concatenate(accounts.parts), names.names(), np.concatenate(names.parts),
        np.concatenate(numbers),
    )  # fmt: skip


def _within(batch: Any, column: str, of: Rows) -> Any:
    """The rows of a batch whose account lies between two names; None where one is blank."""
    import pyarrow

    account = batch.column(batch.schema.names.index(column))
    if account.null_count or account.dictionary.null_count:
        return None
    wanted = np.array([of.first <= str(text).strip() <= of.last for text in account.dictionary.to_pylist()], dtype=bool)
    if wanted.all():
        return batch
    return batch.filter(pyarrow.array(wanted[np.asarray(account.indices)]))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind)
