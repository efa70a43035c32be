"""Large tables of positions from Parquet: names as codes and numbers as arrays, no Python object for a row.

What is here reads plain files quickly and judges nothing: a file with anything unusual in it is left to the reader that
looks at every row and says what is wrong with which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.io.tables import PARQUET, kind_of_name
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
        if column.null_count:
            return False
        texts = [str(text).strip() for text in column.dictionary.to_pylist()]
        codes = [self.code_of.setdefault(text, len(self.code_of)) for text in texts]
        used = np.asarray(column.indices)
        self.parts.append(np.asarray(codes, dtype=np.int32)[used] if len(codes) else np.zeros(0, np.int32))
        return "" not in self.code_of

    def names(self) -> StrArray:
        return np.array(list(self.code_of) or [""], dtype=np.str_)


def coded_rows(source: object, columns: tuple[str, str, str]) -> CodedRows | None:
    """The rows of a Parquet file with exactly these columns (account, name, number); None for anything else.

    Texts are read without white space around them. None as well where a cell is blank, an account or a name is no text,
    a number is not stored as one of double precision or a whole one, or the file cannot be read.
    """
    if not isinstance(source, (str, Path)):
        return None
    try:
        if kind_of_name(source) != PARQUET:
            return None
        from pyarrow import parquet

        return _coded(parquet.ParquetFile(source, read_dictionary=list(columns[:2])), columns)
    except (ImportError, OSError, DataError, ValueError):  # pyarrow's own errors derive from these
        return None


def _coded(file: Any, columns: tuple[str, str, str]) -> CodedRows | None:
    from pyarrow import types

    schema = file.schema_arrow
    if sorted(schema.names) != sorted(columns):
        return None
    account, name, number = (schema.field(column).type for column in columns)
    plain = all(types.is_dictionary(kind) and _is_text(kind.value_type) for kind in (account, name))
    if not plain or not (types.is_float64(number) or types.is_integer(number)):
        return None
    accounts, names, numbers = _Codes(), _Codes(), []
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
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


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind)
