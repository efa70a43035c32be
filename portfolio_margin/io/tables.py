"""CSV, Parquet and Arrow files into frames: what a file really is, which columns it has, which line a row stands on."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from portfolio_margin.io.arrow_tables import (
    NOT_UTF8,
    STREAM,
    damaged,
    failures,
    frame_of,
    ipc_table,
    is_utf8,
    parquet_table,
)
from portfolio_margin.nearest import did_you_mean
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import DataError, Problem

if TYPE_CHECKING:
    import pandas as pd

CSV, PARQUET, JSON, ARROW = "CSV", "Parquet", "JSON", "Arrow"
ENDINGS = {
    ".csv": CSV, ".csv.gz": CSV, ".parquet": PARQUET, ".arrow": ARROW, ".feather": ARROW, ".json": JSON,
    ".json.gz": JSON,
}  # fmt: skip
# What tables are read from.
TABLES = (CSV, PARQUET, ARROW)
COLUMNS_SHOWN = 12
LISTED_OF_A_KIND = 8
OVERFLOW = "\0more"
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class Table(NamedTuple):
    """A frame and where it came from.

    file   what messages call it
    frame  one row per data row; the columns of a CSV file hold text
    row    (R,) number of each row for messages: the line of a CSV file with the header as line 1, and
           otherwise the data row counted from 1
    header  the line that names the columns; None where no line does
    of_index  columns that were the index of a pandas frame, which are read where they are expected
    """

    file: str
    frame: pd.DataFrame
    row: IntArray
    header: int | None = None
    of_index: tuple[str, ...] = ()


def read_table(source: str | Path | pd.DataFrame | Table, name: str = "frame") -> Table:
    """A CSV (plain or gzip), Parquet or Arrow file, a pandas frame, an Arrow table, or a table that was read already.

    name   what messages call a frame

    Raises DataError for a missing, empty or damaged file, a file that is not what its name says, text that is not
    UTF-8, columns of a kind that is not read, and lines with more fields than the header.
    """
    if isinstance(source, Table):
        return source
    if not isinstance(source, (str, Path)):
        return _from_frame(source, name)
    kind = kind_of_name(source, TABLES)
    if kind == JSON:
        refuse(str(source), "file type", "JSON", "expected a table; give a .csv, .csv.gz or .parquet file")
    content = read_bytes(source)
    return table_from_csv(str(source), content) if kind == CSV else _read_columns(str(source), content, kind)


def kind_of_name(path: str | Path, wanted: Sequence[str] = (CSV, PARQUET, JSON)) -> str:
    """CSV, Parquet or JSON, by the ending of the name, and Arrow where it is wanted. DataError for any other ending,
    naming those of `wanted`."""
    lowered = str(path).lower()
    for ending, kind in ENDINGS.items():
        if lowered.endswith(ending) and (kind != ARROW or ARROW in wanted):
            return kind
    if Path(path).is_dir():
        refuse(str(path), "file", "a folder", "name a file, not the folder it is in")
    known = ", ".join(ending for ending, kind in ENDINGS.items() if kind in wanted)
    refuse(str(path), "file type", Path(path).suffix, f"unknown ending; known: {known}")


def read_bytes(path: str | Path) -> bytes:
    """The content of a file, decompressed where it is gzip, once it is what its name says.

    Raises DataError for a file that is missing, unreadable, empty, damaged, or of another type.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        refuse(str(path), "file", file.name, f"no such file{did_you_mean(file.name, _names_beside(file), 1)}")
    except OSError as error:
        refuse(str(path), "file", error.strerror or str(error), "cannot be read")
    if not content.strip():
        refuse(str(path), "file", "empty", "the file holds nothing")
    if file.name.lower().endswith(".gz"):
        if content[:2] != b"\x1f\x8b":
            refuse(str(path), "file type", _kind_of_content(content), "its name says gzip; take .gz off the name")
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            refuse(str(path), "file", str(error), "damaged gzip file; fetch it again")
    if not content.strip():
        refuse(str(path), "file", "empty", "the file holds nothing")
    expected, found = kind_of_name(path, (*TABLES, JSON)), _kind_of_content(content)
    if found != expected:
        refuse(str(path), "file type", found, _other_kind(found, expected))
    return content


def _other_kind(found: str, expected: str) -> str:
    """What to do with a file that is not what its name says; another name helps only where its kind can be read."""
    rename = "rename it or " if found in (*TABLES, JSON) else ""
    return f"its name says {expected}; {rename}save it as {expected}"


def require_columns(table: Table, expected: Sequence[str], *, only: bool) -> None:
    """DataError unless every expected column is there once and, with `only`, no other one is."""
    found = [str(column) for column in table.frame.columns]
    problems = []
    missing = [column for column in expected if column not in found]
    if missing:
        others = [name for name in found if name not in expected]
        near = (did_you_mean(column, others, 1, cutoff=0.5).removeprefix("; ").removesuffix("?") for column in missing)
        named = (f"{column} ({hint}?)" if hint else column for column, hint in zip(missing, near, strict=True))
        remedy = f"missing column{'s' if len(missing) > 1 else ''} {', '.join(named)}"
        problems.append(Problem(table.file, None, "columns", _shown(found), remedy))
    if not problems and only:
        remedy = f"this column is not read and might change what a row means; delete it, expected {', '.join(expected)}"
        problems += [
            Problem(table.file, table.header, name, "extra column", remedy)
            for name in found
            if name not in expected and name not in table.of_index
        ]
    repeated = sorted({column for column in expected if found.count(column) > 1})
    problems += [Problem(table.file, table.header, name, "column given twice", "keep one") for name in repeated]
    if problems:
        raise DataError(problems)


def text_column(table: Table, column: str) -> pd.Series[str]:
    """A column as text, white space around it removed, nothing where there is none."""
    import pandas as pd

    values = table.frame[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    try:
        text = values.astype("str").str.strip()
    except UnicodeDecodeError:
        bad = np.array([isinstance(cell, bytes) and not is_utf8(cell) for cell in values], dtype=np.bool_)
        raise DataError(row_problems_of(table, column, bad, NOT_UTF8)) from None
    missing = values.isna() | text.isna()  # a null inside an Arrow dictionary shows in the text alone
    return text.mask(missing, "") if missing.any() else text


def number_column(table: Table, column: str) -> tuple[FloatArray, BoolArray]:
    """(R,) numbers, NaN where the cell is blank, and (R,) True where a cell is not blank and no number.

    True, False, times and complex numbers are none.
    """
    import pandas as pd

    values = table.frame[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values.dtype) or values.dtype.kind in "mMc":  # m, M: times, in nanoseconds
        return np.full(len(values), np.nan), np.ones(len(values), dtype=np.bool_)
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        # Single precision holds seven digits; what stands behind them is not data.
        return (np.round(numbers, 6) if values.dtype == np.float32 else numbers), np.zeros(len(values), dtype=np.bool_)
    blank = values.isna().to_numpy()
    if values.dtype == object:  # where pandas counts True as 1
        odd = [isinstance(cell, (bool, np.bool_, complex, np.complexfloating)) for cell in values]
        readable = values.mask(np.array(odd, dtype=np.bool_))
    else:
        readable = values
    numbers = pd.to_numeric(readable, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    unread = np.flatnonzero(np.isnan(numbers) & ~blank)
    no_number = np.zeros(len(values), dtype=np.bool_)
    cells = values.iloc[unread].astype("str").str.strip()
    no_number[unread] = (cells != "").to_numpy(dtype=np.bool_)
    return numbers, no_number


def row_problems_of(table: Table, column: str, bad: BoolArray, remedy: str) -> list[Problem]:
    """One `Problem` for every row of a table where `bad` is true, showing what stands in the file."""
    positions = np.flatnonzero(bad)
    values = table.frame[column].iloc[positions].tolist()
    rows = table.row[positions].tolist()
    return [Problem(table.file, row, column, value, remedy) for row, value in zip(rows, values, strict=True)]


def first_of_each_kind(problems: Sequence[Problem]) -> DataError:
    """The error of a file that is read by people: some problems of each kind, the others of it counted."""
    by_kind: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    listed: list[Problem] = []
    others: dict[tuple[str, str], int] = {}
    for kind, alike in by_kind.items():
        listed += alike[:LISTED_OF_A_KIND]
        if len(alike) > LISTED_OF_A_KIND:
            # What is the same word for word is said so, numbers included.
            same = len({problem.remedy for problem in alike}) == 1
            others[(alike[0].field, alike[0].remedy) if same else kind] = len(alike) - LISTED_OF_A_KIND
    return DataError(listed, others)


def refuse(file: str, field: str, value: object, remedy: str, row: int | str | None = None) -> NoReturn:
    """Raise a DataError with one problem."""
    raise DataError([Problem(file, row, field, value, remedy)])


def _names_beside(file: Path) -> list[str]:
    try:
        return [other.name for other in file.parent.iterdir()]
    except OSError:
        return []


def _kind_of_content(content: bytes) -> str:
    """What the first bytes say; text that is no JSON counts as CSV."""
    if content[:4] == b"PAR1":
        return PARQUET
    if content[:6] in (b"ARROW1", b"FEA1\0\0") or content[:4] == STREAM:
        return ARROW
    if content[:2] == b"\x1f\x8b":
        return "gzip"
    if content[:4] == b"PK\x03\x04":
        return "zip or Excel"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16 text"
    if b"\0" in content:
        return "binary"
    return JSON if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else CSV


def is_arrow(source: object) -> bool:
    """Whether it is an Arrow table or record batch, told without importing Arrow."""
    return type(source).__module__.partition(".")[0] == "pyarrow" and hasattr(source, "schema")


def _from_frame(source: Any, name: str) -> Table:
    import pandas as pd

    if is_arrow(source):
        import pyarrow

        table = source if isinstance(source, pyarrow.Table) else pyarrow.Table.from_batches([source])
        source = frame_of(table, name, ARROW)
    if not isinstance(source, pd.DataFrame):
        refuse(name, "type", type(source).__name__, "expected a file name, a pandas DataFrame or an Arrow table")
    return _with_index(name, source)


def _read_columns(file: str, content: bytes, kind: str) -> Table:
    """The table of the bytes of a Parquet or an Arrow file."""
    try:
        import pyarrow  # noqa: F401 - told apart from what it raises
    except ImportError:
        refuse(file, "file type", kind, f"reading {kind} needs pyarrow: install portfolio-margin[io]")
    try:
        table = parquet_table(content) if kind == PARQUET else ipc_table(content)
    except failures() as error:
        raise damaged(file, error, kind) from None
    return _with_index(file, frame_of(table, file, kind))


def _with_index(file: str, frame: pd.DataFrame) -> Table:
    """The table of a frame, with those of its index that have a name of their own as columns."""
    names = list(frame.index.names)
    index = tuple(name for name in names if isinstance(name, str) and name not in frame and names.count(name) == 1)
    frame = frame.reset_index(level=list(index)) if index else frame
    return Table(file, frame, np.arange(1, len(frame) + 1), of_index=index)


def table_from_csv(file: str, content: bytes) -> Table:
    """The table of CSV bytes; `file` is what messages call it. DataError for what is no CSV in UTF-8.

    Every cell is text, so that messages can show what stands in the file and names like 007 survive.
    """
    import pandas as pd

    if not content.strip():
        refuse(file, "file", "empty", "it holds nothing; give CSV with a header")
    found = _kind_of_content(content)
    if found != CSV:
        refuse(file, "file type", found, "expected CSV; save it as CSV in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        broken = len(content[: error.start + 1].splitlines())
        refuse(file, "text", content[error.start : error.start + 1], "not UTF-8; save the file as UTF-8", broken)
    try:
        header = next(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise DataError([_unreadable(file, error)]) from None
    names = [column.strip() for column in header]
    for mark, word in SEPARATORS.items():
        if len(names) == 1 and mark in names[0]:
            refuse(file, "columns", names[0], f"separated by {word}; save the file with commas", 1)
    # One column more than the header has catches the lines that are too long instead of shifting them.
    reading = {"header": None, "names": [*range(len(names)), OVERFLOW], "index_col": False, "skiprows": 1}
    as_text = {"dtype": "str", "keep_default_na": False, "na_filter": False, "skip_blank_lines": False}
    try:
        with warnings.catch_warnings():  # the warning says that fields were dropped
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(io.StringIO(text), **reading, **as_text)  # type: ignore[call-overload]
        too_long = bool((frame[OVERFLOW] != "").any())
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(_uneven_lines(file, text, len(names)) or [_unreadable(file, error)]) from error
    if too_long:
        raise DataError(_uneven_lines(file, text, len(names)) or [_unreadable(file, "more fields than columns")])
    frame = frame.drop(columns=OVERFLOW)
    frame.columns = pd.Index(names)
    line = _line_numbers(frame, text)
    blank = np.ones(len(frame), dtype=np.bool_)
    for position in range(len(names)):
        blank &= (frame.iloc[:, position] == "").to_numpy()
    if blank.any():
        frame, line = frame[~blank].reset_index(drop=True), line[~blank]
    return Table(file, frame, line, header=1)


def _unreadable(file: str, reason: Exception | str) -> Problem:
    return Problem(file, None, "text", str(reason).strip(), "cannot be read as CSV; look for an open quotation mark")


def _line_numbers(frame: pd.DataFrame, text: str) -> IntArray:
    """(R,) line each row begins on; quoted cells may span lines."""
    extra = np.zeros(len(frame), dtype=np.int64)
    if text.count("\n") > len(frame) + 1:
        for position in range(frame.shape[1]):
            extra += frame.iloc[:, position].str.count("\n").to_numpy(dtype=np.int64)
    return 2 + np.arange(len(frame)) + np.concatenate([[0], np.cumsum(extra)[:-1]]) if len(frame) else extra


def _uneven_lines(file: str, text: str, width: int) -> list[Problem]:
    """Every line with more fields than the header."""
    reader = csv.reader(io.StringIO(text, newline=""))
    remedy = f"more fields than the {width} columns of the header; look for commas inside names or numbers"
    try:
        return [
            Problem(file, reader.line_num, "line", ",".join(fields), remedy)
            for fields in reader
            if len(fields) > width + 1 or any(fields[width:])
        ]
    except csv.Error as error:
        return [_unreadable(file, error)]


def _shown(names: Sequence[str]) -> str:
    more = len(names) - COLUMNS_SHOWN
    return ", ".join(names[:COLUMNS_SHOWN]) + (f" and {more} more" if more > 0 else "")
