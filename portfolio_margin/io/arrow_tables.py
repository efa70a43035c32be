"""Arrow tables out of the bytes of Parquet and Arrow files, checked before a value is touched, and as pandas frames.

Arrow follows the offsets and indices of a file wherever they point: those of a damaged one end the process. `validate`
looks at all of them, and at every text, at about 0.015 s for each million rows of a book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pricing.errors import DataError, Problem

if TYPE_CHECKING:
    import pandas as pd

# What begins every message of an Arrow stream, and what ends it (Arrow columnar format, "IPC streaming format").
STREAM = b"\xff\xff\xff\xff"
END_OF_STREAM = STREAM + bytes(4)
NOT_UTF8 = "not UTF-8; write the text as UTF-8"
NOT_READ = "a column of this kind is not read; write it as text or numbers"


def failures() -> tuple[type[Exception], ...]:
    """What Arrow and pandas raise on content that is damaged or of a kind they do not take."""
    from pyarrow import ArrowException

    return (ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, NotImplementedError)


def parquet_table(content: bytes) -> Any:
    """The table of a Parquet file, unchecked; one of `failures` where it is damaged."""
    from pyarrow import BufferReader, parquet

    # Of the file alone: what reads sets of files refuses a column that is given twice as if it were damage.
    return parquet.ParquetFile(BufferReader(content)).read()


def ipc_table(content: bytes) -> Any:
    """The table of an Arrow file, a Feather file of either version or an Arrow stream, unchecked; one of `failures`
    where it is damaged."""
    from pyarrow import BufferReader, feather, ipc

    if content[:4] != STREAM:
        return feather.read_table(BufferReader(content), memory_map=False)
    # Readers take a stream that was cut off between two messages for a whole one.
    if not content.endswith(END_OF_STREAM):
        raise ValueError("an Arrow stream without its end")
    return ipc.open_stream(BufferReader(content)).read_all()


def is_sound(table: Any) -> bool:
    """Whether the values of an Arrow table, record batch or chunk can be looked at."""
    from pyarrow import ArrowException

    try:
        table.validate(full=True)
    except ArrowException:
        return False
    return True


def damaged(file: str, error: Exception, kind: str) -> DataError:
    """The error of a file that cannot be read as what it is."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError([Problem(file, None, "file", said, f"damaged {kind} file; fetch or write it again")])


def frame_of(table: Any, file: str, kind: str, first: int = 1) -> pd.DataFrame:
    """The pandas frame of an Arrow table; file, kind and the number of its first row are what messages call it.

    Raises DataError that names every row whose text is not UTF-8, every column of a kind that is not read, or the file
    where it is damaged.
    """
    try:
        return _checked_frame(table, file, kind, first)
    except UnicodeDecodeError as error:  # in the name of a column
        raise damaged(file, error, kind) from None


def _checked_frame(table: Any, file: str, kind: str, first: int) -> pd.DataFrame:
    from pyarrow import ArrowException

    try:
        table.validate(full=True)
    except ArrowException as error:
        problems = [
            Problem(file, first + row, name, text, NOT_UTF8)
            for name, column in zip(table.schema.names, table.columns, strict=True)
            for row, text in _not_utf8(column)
        ]
        raise (DataError(problems) if problems else damaged(file, error, kind)) from None
    try:
        for place, field in enumerate(table.schema):
            table = table.set_column(place, field.name, _plain(table.column(place)))
        frame: pd.DataFrame = table.to_pandas()
    except failures() as error:
        fields = zip(table.schema, table.columns, strict=True)
        unread = [Problem(file, None, f.name, str(f.type), NOT_READ) for f, column in fields if not _is_read(column)]
        raise (DataError(unread) if unread else damaged(file, error, kind)) from None
    return frame


def _plain(column: Any) -> Any:
    """A column without run ends, and without a dictionary that holds a null: pandas takes neither."""
    from pyarrow import compute, types

    if types.is_run_end_encoded(column.type):
        return compute.run_end_decode(column)
    if types.is_dictionary(column.type) and any(chunk.dictionary.null_count for chunk in column.chunks):
        return column.cast(column.type.value_type)
    return column


def _is_read(column: Any) -> bool:
    try:
        _plain(column).to_pandas()
    except failures():
        return False
    return True


def _not_utf8(column: Any) -> list[tuple[int, bytes]]:
    """Row from 0 and bytes of every text of a column that is not UTF-8; none where the column is damaged otherwise."""
    found: list[tuple[int, bytes]] = []
    start = 0
    for chunk in column.chunks:
        cells = _bytes_of(chunk)
        if cells is None:
            return []
        listed = enumerate(cells.to_pylist(), start)
        found += [(row, cell) for row, cell in listed if cell is not None and not is_utf8(cell)]
        start += len(chunk)
    return found


def _bytes_of(chunk: Any) -> Any:
    """The texts of a sound chunk as bytes; None where it has none, or is damaged."""
    import pyarrow

    as_bytes = {
        pyarrow.string(): pyarrow.binary(),
        pyarrow.large_string(): pyarrow.large_binary(),
        pyarrow.string_view(): pyarrow.binary_view(),
    }
    try:
        if pyarrow.types.is_dictionary(chunk.type):
            names = chunk.dictionary.view(as_bytes[chunk.type.value_type])
            names.validate(full=True)
            return pyarrow.DictionaryArray.from_arrays(chunk.indices, names).dictionary_decode()
        cells = chunk.view(as_bytes[chunk.type])
        cells.validate(full=True)
    except (pyarrow.ArrowException, KeyError):
        return None
    return cells


def is_utf8(text: bytes) -> bool:
    """Whether bytes are text in UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
