"""Records of positional SPAN files: lines sorted by their kind and decoded column by column, all lines at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from portfolio_margin.io.span_layout import PASSED_OVER, RECORDS, Field
from portfolio_margin.io.span_source import opened, refuse_record
from pricing.errors import DataError, Problem

Bytes = NDArray[np.uint8]
BLANK, ZERO, NINE, MINUS, PLUS = 32, 48, 57, 45, 43
NEWLINE, RETURN = 10, 13
BLOCK = 20_000
EXPANDED, OTHER_FORMATS = "U2", {
    "U": "the standard unpacked format of 80 bytes, the places of whose fields no public description here states",
    "UP": "the Paris expanded format, the places of whose fields no public description here states",
    "P2": "a packed format",
    "P": "a packed format",
    "": "no format of its own",
}  # fmt: skip


class Lines(NamedTuple):
    """The content of a file and where its lines are.

    content     (B,) bytes
    start, end  (L,) of each line, without its end
    identifier  (L,) the two bytes that say what kind of record it is, stripped
    """

    content: Bytes
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    identifier: NDArray[np.str_]


class Records(NamedTuple):
    """All records of one kind.

    line     (R,) line numbers, from 1
    columns  name -> (R,) texts, or numbers with NaN where the field is blank; a sign is already in its number
    """

    line: NDArray[np.int64]
    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(self.line)

    def rows(self) -> list[dict[str, Any]]:
        """The records one by one."""
        names = list(self.columns)
        listed = [self.columns[name].tolist() for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*listed, strict=True)]


def read_lines(path: str | Path) -> Lines:
    """The lines of a file. DataError where it is empty."""
    with opened(path) as stream:
        content = np.frombuffer(stream.read(), dtype=np.uint8)
    lines = split_lines(content)
    if not len(lines.start):
        refuse_record(str(path), None, "file", Path(path).name, "is empty")
    return lines


def split_lines(content: Bytes) -> Lines:
    """Where lines begin and end, and their identifiers; blank lines are none."""
    ends = np.flatnonzero(content == NEWLINE)
    if len(content) and content[-1] != NEWLINE:
        ends = np.append(ends, len(content))
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else ends.astype(np.int64)
    trimmed = np.where((ends > starts) & (content[np.maximum(ends - 1, 0)] == RETURN), ends - 1, ends)
    pair = np.full((len(starts), 2), BLANK, dtype=np.uint8)
    for place in range(2):
        inside = starts + place < trimmed
        pair[inside, place] = content[starts[inside] + place]
    identifier = np.char.strip(np.char.decode(pair.view("S2").ravel(), "latin-1"))
    return Lines(content, starts, trimmed, identifier)


def check_format(file: str, lines: Lines) -> None:
    """DataError unless the file is of the expanded format; others are refused by name."""
    first = decode(file, lines, "0")
    if not len(first):
        refuse_record(file, "line 1", "record", _text(lines, 0)[:20], "the first record must be of type 0")
    stated = str(first.columns["format"][0])
    if stated != EXPANDED:
        known = OTHER_FORMATS.get(stated, "a format that is not known here")
        remedy = f"is {known}; files of the expanded unpacked format {EXPANDED} are read, and .spn"
        refuse_record(file, f"line {first.line[0]}, bytes 36-37", "format", stated, remedy)


def unknown_records(file: str, lines: Lines) -> list[Problem]:
    """A problem for every line whose identifier no layout knows."""
    known = np.array([*RECORDS, *PASSED_OVER])
    blank = lines.end <= lines.start
    bad = np.flatnonzero(~np.isin(lines.identifier, known) & ~blank)
    return [
        Problem(file, f"line {row + 1}, bytes 1-2", "record", str(lines.identifier[row]), "unknown record")
        for row in bad
    ]


def decode(file: str, lines: Lines, kind: str) -> Records:
    """All records of a kind. DataError naming line, bytes and text of every field that is no number."""
    layout = RECORDS[kind]
    rows = np.flatnonzero(lines.identifier == kind)
    width = max(field.last for field in layout.values())
    parts: dict[str, list[Any]] = {name: [] for name in layout}
    problems: list[Problem] = []
    for first in range(0, max(len(rows), 1), BLOCK):
        block = rows[first : first + BLOCK]
        matrix = _matrix(lines, block, width)
        for name, field in layout.items():
            cells = matrix[:, field.first - 1 : field.last]
            values, bad = _column(cells, field)
            parts[name].append(values)
            for row in np.flatnonzero(bad):
                text = bytes(cells[row]).decode("latin-1")
                place = f"line {block[row] + 1}, bytes {field.first}-{field.last}"
                wanted = "must be digits" if field.kind == "N" else "must be + or -"
                problems.append(Problem(file, place, f"record {kind} {name}", text, wanted))
    if problems:
        raise DataError(problems)
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    for name in [name for name, field in layout.items() if field.kind == "S"]:
        # A sign belongs to the number it follows; that of a strike stands apart.
        number = name.removesuffix("_sign")
        if number in columns:
            columns[number] = columns[number] * np.where(columns[name], -1.0, 1.0)
            del columns[name]
    return Records(rows + 1, columns)


def key_bytes(lines: Lines, line: NDArray[np.int64]) -> Bytes:
    """(R,52) bytes 3 to 54 of lines, which two records of one contract share."""
    return _matrix(lines, line - 1, 54)[:, 2:]


def _matrix(lines: Lines, rows: NDArray[np.int64], width: int) -> Bytes:
    """The first `width` bytes of lines, blank beyond their end."""
    place = lines.start[rows, None] + np.arange(width)
    inside = place < lines.end[rows, None]
    safe = np.minimum(place, max(len(lines.content) - 1, 0))
    return np.where(inside, lines.content[safe], BLANK).astype(np.uint8)


def _column(cells: Bytes, field: Field) -> tuple[Any, Any]:
    count, width = cells.shape
    if field.kind == "A":
        packed = np.ascontiguousarray(cells).view(f"S{width}").ravel() if count else np.empty(0, f"S{width}")
        return np.char.strip(np.char.decode(packed, "latin-1")), np.zeros(count, dtype=bool)
    if field.kind == "S":
        # A sign that is blank is a plus.
        return cells[:, 0] == MINUS, ~np.isin(cells[:, 0], (MINUS, PLUS, BLANK))
    digit = (cells >= ZERO) & (cells <= NINE)
    blank = cells == BLANK
    # Blanks may stand before the digits, as zeros would.
    leading = np.logical_and.accumulate(blank, axis=1)
    absent = blank.all(axis=1)
    bad = ~(digit | leading).all(axis=1)
    weights = 10.0 ** np.arange(width - 1, -1, -1)
    values = np.where(digit, cells.astype(np.float64) - ZERO, 0.0) @ weights / 10.0**field.decimals
    return np.where(absent | bad, np.nan, values), bad


def _text(lines: Lines, row: int) -> str:
    return bytes(lines.content[lines.start[row] : lines.end[row]]).decode("latin-1")
