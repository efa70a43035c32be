"""Every element of a SPAN file emptied, removed, given twice or altered: no margin is ever lower without a word.

Refused with file and record, or read with arrays and margins as before, or with a note that the sound file has not.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from portfolio_margin.cli.span_input import SpanInput
from portfolio_margin.io.span_layout import RECORDS
from portfolio_margin.io.span_write import spn_bytes
from portfolio_margin.span.choices import Choices
from portfolio_margin.span.rules import rules_of
from portfolio_margin.span.tables import RiskParameterFile
from pricing.arrays import FloatArray
from pricing.errors import DataError
from tests.portfolio_margin.pa2_example import lines
from tests.portfolio_margin.span_examples import exchange_with_every_rule
from tests.portfolio_margin.test_span_damage import held_by_all, requirement_of

LEVEL = "<pbRateDef><r>2</r><isCust>1</isCust><acctType>H</acctType><isM>0</isM><pbc>CORE</pbc></pbRateDef>"
FACTOR = "<adjRate><r>{}</r><baseR>1</baseR><val>{}</val></adjRate>"
# Numbers may be negative here: values of arrays, and the flat amount of a spread between commodities.
RECORD = re.compile(r"line \d+|combined commodity|product family")
SIGNED = ("ra/a", "dSpread/rate/val")


def with_levels(text: str) -> str:
    """Initial and maintenance margin with factors of their own in every commodity."""
    text = text.replace("</pbRateDef>", f"</pbRateDef>\n{LEVEL}", 1)
    factors = FACTOR.format(1, 0.9) + FACTOR.format(2, 1.35)
    return re.sub(r"</pfLink>\n(?!<pfLink>)", f"</pfLink>\n{factors}\n", text)


# One strike has the elements of three, one series those of two.
TEXT = with_levels(spn_bytes(exchange_with_every_rule(strikes=(100.0,), series=("202605",))).decode())


class Place(NamedTuple):
    """Where an element and its content start and end."""

    start: int
    first: int
    last: int
    end: int

    @property
    def content(self) -> str:
        return TEXT[self.first : self.last]


@cache
def places() -> dict[str, list[Place]]:
    """Every element by the last three tags of its path."""
    found: dict[str, list[Place]] = defaultdict(list)
    stack: list[tuple[str, int, int]] = []
    for part in re.finditer(r"<(/?)(\w+)>", TEXT):
        if not part[1]:
            stack.append((part[2], part.start(), part.end()))
        else:
            _, start, first = stack[-1]
            found["/".join(tag for tag, *_ in stack[-3:])].append(Place(start, first, part.start(), part.end()))
            stack.pop()
    return found


class Read(NamedTuple):
    """What a file says and comes to."""

    notes: tuple[str, ...]
    pnl: FloatArray
    requirement: FloatArray
    file: RiskParameterFile


def read(path: Path, sound: Read | None = None) -> Read:
    """Arrays and margins are functions of the tables alone: equal tables have those of the sound file."""
    file = SpanInput(str(path))
    if sound is not None and not sound.file.differences(file.file):
        return sound._replace(notes=file.notes)
    made = file.made(1, False)
    requirement = requirement_of(held_by_all(len(file.file.contracts)), rules_of(file.file, made.arrays), made)
    return Read(file.notes, made.arrays.pnl, requirement, file.file)


def other(stated: str) -> str:
    """Another text of the same kind."""
    if re.fullmatch(r"-?[0-9]+", stated):
        return str(int(stated) + 7)
    return str(float(stated) + 7.0) if re.fullmatch(r"-?[0-9.]+", stated) else "BANANA"


def changed(way: str, tag: str, place: Place) -> str:
    """The file with one element changed."""
    start, first, last, end = place
    stated = place.content
    if way == "emptied":
        return TEXT[:first] + TEXT[last:]
    if way == "removed":
        return TEXT[:start] + TEXT[end:]
    if way == "twice":
        # Another one before the one that counts, where it is a leaf.
        again = TEXT[start:end] if "<" in stated else f"<{tag}>{other(stated)}</{tag}>"
        return TEXT[:start] + again + TEXT[start:]
    turned = stated[1:] if stated[:1] == "-" else f"-{stated}"
    return TEXT[:first] + ("BANANA" if way == "a word" else turned) + TEXT[last:]


@pytest.mark.parametrize("way", ["emptied", "removed", "twice", "a word", "negated"])
def test_no_margin_is_lower_without_a_word(way: str, tmp_path: Path) -> None:
    path = tmp_path / "x.spn"
    path.write_text(TEXT)
    sound = read(path)
    refusals, told = 0, 0
    for name, found in places().items():
        leaf = "<" not in found[0].content
        if way in ("removed", "a word", "negated") and not leaf:
            # A record that is not there is none: no spread, no charge, no contract.
            continue
        if way == "negated" and name.endswith(SIGNED):
            continue
        tag = name.rpartition("/")[2]
        # One place suffices where elements are alike; of rules every commodity has its own.
        few = "ra" in name or "opt" in name or "Point" in name
        for place in {found[-1]} if few else {found[0], found[-1]}:
            path.write_text(changed(way, tag, place))
            try:
                got = read(path, sound)
            except DataError as error:
                refusals += 1
                said = str(error).splitlines()[0]
                assert str(path) in said and re.search(r"line \d+|combined commodity|product family", said), (
                    name,
                    said,
                )
                continue
            same = all(map(np.array_equal, got[1:3], sound[1:3]))
            told += not same
            assert same or set(got.notes) - set(sound.notes), (name, way, place.content[:40])
    assert refusals > 100
    assert told > 0 or way not in ("emptied", "removed")


# Blank is none of these by the layout: digits behind the point of arrays, and a family that belongs to no commodity,
# whose contracts are named as left out.
POSITIONAL_OPTIONAL = re.compile(r"2 (decimals|product)_\d")


def fields_changed(way: str) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of the positional example with one field blank, or of letters."""
    rows = lines()
    for n, row in enumerate(rows):
        kind = row[:2].strip()
        for name, field in RECORDS.get(kind, {}).items():
            width = field.last - field.first + 1
            text = " " * width if way == "blank" else "X" * width
            changed = (row.ljust(field.last)[: field.first - 1] + text + row[field.last :]).rstrip()
            if row[field.first - 1 : field.last].strip() and changed != row:
                yield f"{kind} {name}", [*rows[:n], changed, *rows[n + 1 :]]


def read_positional(rows: list[str], path: Path, sound: Read | None = None) -> Read:
    """Initial and maintenance margin of every account type, side by side."""
    path.write_bytes("\n".join([*rows, ""]).encode("latin-1"))
    file = SpanInput(str(path))
    if sound is not None and not sound.file.differences(file.file):
        return sound._replace(notes=file.notes)
    made, held = file.made(1, False), held_by_all(len(file.file.contracts))
    rules = [rules_of(file.file, made.arrays, Choices(account_type=account_type)) for account_type in "MHS"]
    required = [requirement_of(held, rule, made) for rule in rules]
    return Read(file.notes, made.arrays.pnl, np.hstack(required), file.file)


@pytest.mark.parametrize("way", ["blank", "letters"])
def test_no_field_of_a_positional_file_is_lost_without_a_word(way: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pa2"
    sound = read_positional(lines(), path)
    refusals, tried = 0, set()
    for name, rows in fields_changed(way):
        # One record of a kind says enough, but for those that differ by contract.
        if name in tried and name[:2] in ("81", "82", "B "):
            continue
        tried.add(name)
        if way == "blank" and POSITIONAL_OPTIONAL.match(name):
            continue
        try:
            got = read_positional(rows, path, sound)
        except DataError as error:
            refusals += 1
            said = str(error).splitlines()[0]
            assert str(path) in said and RECORD.search(said), (name, said)
            continue
        same = all(map(np.array_equal, got[1:3], sound[1:3]))
        lower = not same and (got.requirement < sound.requirement - 1e-9).any()
        assert not lower or set(got.notes) - set(sound.notes), name
    assert refusals > 60
