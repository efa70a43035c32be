"""Records of positional SPAN files: lines sorted by their kind and decoded column by column, all lines at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from portfolio_margin.io.span_layout import PASSED_OVER, RECORDS, Field, Layout
from portfolio_margin.io.span_source import opened, refuse_record
from pricing.errors import DataError, Problem

Bytes = NDArray[np.uint8]
BLANK, ZERO, NINE, MINUS, PLUS = 32, 48, 57, 45, 43
NEWLINE, RETURN = 10, 13
BLOCK = 20_000
WANTED = {
    "N": "must be digits",
    "L": "must be digits, and one behind them that says the decimals",
    "S": "must be + or -",
}


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


def unknown_records(file: str, lines: Lines) -> list[Problem]:
    """A problem for every line whose identifier no layout knows."""
    known = np.array([*RECORDS, *PASSED_OVER])
    blank = lines.end <= lines.start
    bad = np.flatnonzero(~np.isin(lines.identifier, known) & ~blank)
    return [
        Problem(file, f"line {row + 1}, bytes 1-2", "record", str(lines.identifier[row]), "unknown record")
        for row in bad
    ]


def decode(file: str, lines: Lines, kind: str, layout: Layout = RECORDS) -> Records:
    """All records of a kind. DataError naming line, bytes and text of every field that is no number."""
    places = layout[kind]
    rows = np.flatnonzero(lines.identifier == kind)
    width = max((field.end for field in places.values() if field is not None), default=2)
    parts: dict[str, list[Any]] = {name: [] for name in places}
    problems: list[Problem] = []
    for first in range(0, max(len(rows), 1), BLOCK):
        block = rows[first : first + BLOCK]
        matrix = _matrix(lines, block, width)
        for name, field in places.items():
            if field is None:
                # A field that the format does not have is blank.
                parts[name].append(_blank(RECORDS[kind][name], len(block)))
                continue
            cells = matrix[:, field.first - 1 : field.end]
            values, bad = _column(cells, field)
            parts[name].append(values)
            for row in np.flatnonzero(bad):
                text = bytes(cells[row]).decode("latin-1")
                place = f"line {block[row] + 1}, bytes {field.first}-{field.end}"
                problems.append(Problem(file, place, f"record {kind} {name}", text, WANTED[field.kind]))
    if problems:
        raise DataError(problems)
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    for name in [name for name, field in RECORDS[kind].items() if field is not None and field.kind == "S"]:
        # A sign belongs to the number it follows; that of a strike stands apart.
        number = name.removesuffix("_sign")
        if number in columns:
            columns[number] = columns[number] * np.where(columns[name], -1.0, 1.0)
            del columns[name]
    return Records(rows + 1, columns)


def _blank(field: Field | None, count: int) -> Any:
    kind = "A" if field is None else field.kind
    return np.full(count, "") if kind == "A" else np.zeros(count, dtype=bool) if kind == "S" else np.full(count, np.nan)


def key_bytes(lines: Lines, line: NDArray[np.int64], last: int) -> Bytes:
    """(R,last - 2) bytes of lines from the third on, which two records of one contract share."""
    return _matrix(lines, line - 1, last)[:, 2:]


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
    decimals: Any = field.decimals
    locator = np.zeros(count, dtype=bool)
    if field.kind == "L":
        cells, last = cells[:, :-1], cells[:, -1]
        locator = (last < ZERO) | (last > NINE)
        decimals = np.where(locator, 0.0, last.astype(np.float64) - ZERO)
    digit = (cells >= ZERO) & (cells <= NINE)
    blank = cells == BLANK
    # Blanks may stand before the digits, as zeros would.
    leading = np.logical_and.accumulate(blank, axis=1)
    absent = blank.all(axis=1)
    bad = ~(digit | leading).all(axis=1) | (locator & ~absent)
    weights = 10.0 ** np.arange(cells.shape[1] - 1, -1, -1)
    values = np.where(digit, cells.astype(np.float64) - ZERO, 0.0) @ weights / 10.0**decimals
    return np.where(absent | bad, np.nan, values), bad


def _text(lines: Lines, row: int) -> str:
    return bytes(lines.content[lines.start[row] : lines.end[row]]).decode("latin-1")
