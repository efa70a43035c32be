"""Which format a positional SPAN file has, and where its fields stand: known, or given where no public table says it.

The expanded unpacked format (U2) is known whole. Of the standard one of 80 bytes (U) and of the Paris expanded one (UP)
less is public than a reader needs: whoever has the description of the clearing house gives the other places as a table.
"""

from __future__ import annotations

import csv
from pathlib import Path

from portfolio_margin.io.span_layout import KNOWN_PLACES, RECORDS, Field, Layout
from portfolio_margin.io.span_records import Lines, decode
from portfolio_margin.io.span_source import refuse_record
from pricing.errors import ConfigError

EXPANDED, OTHER_FORMATS = "U2", {
    "U": "the standard unpacked format of 80 bytes",
    "UP": "the Paris expanded format",
    "P2": "a packed format",
    "P": "a packed format",
    "": "no format of its own",
}  # fmt: skip
COLUMNS = ("record", "field", "from", "to", "kind", "decimals")
KINDS = ("N", "L", "A", "S")


def layout_of(file: str, lines: Lines, given: Layout | None = None) -> Layout:
    """Where the fields of the records of a file stand.

    given  places that are not known of the format, as of `read_layout`

    DataError for a format that is not read, naming every field of the file's records of which no place is known;
    ConfigError for given places that are none, or are known otherwise.
    """
    first = decode(file, lines, "0", {"0": KNOWN_PLACES["U"]["0"]})
    if not len(first):
        refuse_record(file, "line 1", "record", _first_line(lines), "the first record must be of type 0")
    stated = str(first.columns["format"][0])
    if stated == EXPANDED:
        if given is not None:
            raise ConfigError(f"layout: the places of fields in format {EXPANDED} are known; leave it out")
        return RECORDS
    place = f"line {first.line[0]}, bytes 36-37"
    known = KNOWN_PLACES.get(stated)
    if known is None:
        what = OTHER_FORMATS.get(stated, "a format that is not known here")
        refuse_record(file, place, "format", stated, f"is {what}; files of format {EXPANDED} are read, and .spn")
        raise AssertionError("a refusal raises")
    merged = _merged(known, given or {})
    kinds = [kind for kind in RECORDS if kind in set(lines.identifier.tolist())]
    lacking = {kind: [name for name in RECORDS[kind] if name not in merged.get(kind, {})] for kind in kinds}
    lost = [f"record {kind} ({', '.join(names)})" for kind, names in lacking.items() if names]
    if lost:
        remedy = (
            f"is {OTHER_FORMATS[stated]}, the places of whose fields no public description here states: give them as a "
            f"layout, or a file of format {EXPANDED} or .spn. Not known: {'; '.join(lost)}"
        )
        refuse_record(file, place, "format", stated, remedy)
    return {kind: merged.get(kind, RECORDS[kind]) for kind in RECORDS}


def read_layout(path: str | Path) -> Layout:
    """A table of places: columns record, field, from, to, kind, decimals, fields by the names of `span_layout.RECORDS`.

    from and to count from 1 and include both ends; kind is N (a number with that many implied decimals), L (a number,
    and a digit behind it that says its decimals), A (a text) or S (a sign). A field that the format does not have
    stands with a blank from.
    """
    layout: dict[str, dict[str, Field | None]] = {}
    with Path(path).open(newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise ConfigError(f"layout {path}: columns must be {', '.join(COLUMNS)}, not {table.fieldnames}")
        for number, row in enumerate(table, 2):
            record, name = row["record"], row["field"]
            if name not in RECORDS.get(record, {}):
                raise ConfigError(f"layout {path}, line {number}: record {record} has no field {name!r} here")
            if name in layout.setdefault(record, {}):
                raise ConfigError(f"layout {path}, line {number}: record {record} {name} stands twice")
            layout[record][name] = _field(path, number, row) if row["from"] else None
    return layout


def _field(path: str | Path, number: int, row: dict[str, str]) -> Field:
    digits = [row[name] or "0" for name in ("from", "to", "decimals")]
    if not all(text.isascii() and text.isdigit() for text in digits):
        raise ConfigError(f"layout {path}, line {number}: from, to and decimals must be whole numbers, not {digits}")
    first, last, decimals = map(int, digits)
    if not 3 <= first <= last <= 1_000 or row["kind"] not in KINDS or decimals > 15:
        raise ConfigError(f"layout {path}, line {number}: {row} must have 3 <= from <= to <= 1000 and a kind of "
                          f"{', '.join(KINDS)}")  # fmt: skip
    return Field(first, last, row["kind"], decimals)


def _merged(known: Layout, given: Layout) -> dict[str, dict[str, Field | None]]:
    merged: dict[str, dict[str, Field | None]] = {kind: dict(places) for kind, places in known.items()}
    for kind, places in given.items():
        for name, field in places.items():
            own = merged.setdefault(kind, {})
            if name in own and own[name] != field:
                raise ConfigError(f"layout: record {kind} {name} is {own[name]} by what is public, not {field}")
            numeric = RECORDS[kind][name].kind
            if field is not None and field.kind != numeric and not (numeric == "N" and field.kind == "L"):
                raise ConfigError(f"layout: record {kind} {name} must be of kind {numeric}, not {field.kind}")
            own[name] = field
    return merged


def _first_line(lines: Lines) -> str:
    return bytes(lines.content[lines.start[0] : lines.end[0]]).decode("latin-1")[:20]
