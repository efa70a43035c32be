"""Damaged SPAN files: refused with one clear error, or read with the arrays and margins of the sound file.

What nobody can know is that a number is another one within its bounds; then that one number alone differs.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from portfolio_margin.io.span_pa2 import read_pa2
from portfolio_margin.io.span_write import spn_bytes
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.span.columns import Columns
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.rules import rules_of
from portfolio_margin.span.tables import RiskParameterFile
from pricing.arrays import FloatArray
from pricing.errors import EngineError
from tests.portfolio_margin.pa2_example import lines
from tests.portfolio_margin.span_examples import exchange_with_every_rule
from tests.portfolio_margin.test_span import risk_of

XML = spn_bytes(exchange_with_every_rule())
POSITIONAL = "\n".join([*lines(), ""]).encode("latin-1")
BYTES = b"0123456789<>/&;.-+ \tABCZabz\x00\xff\n"
# Leaves that may be negative: values of arrays, and the flat amount of a spread between commodities.
SIGNED = {"ra/a", "dSpread/rate/val"}
# Leaves that the format lets be absent, with another meaning: a tier without bound, deltas of scale one.
OPTIONAL = {"tier/sPe", "tier/ePe", "series/sc"}


class Margins(NamedTuple):
    """pnl of the arrays and requirement of accounts that hold every contract, alone and together."""

    pnl: FloatArray
    requirement: FloatArray


def margins(file: RiskParameterFile) -> Margins:
    count = len(file.contracts)
    generator = np.random.default_rng(3)
    held = [dict(zip(generator.permutation(count).tolist(), map(float, generator.integers(-9, 10, 12)), strict=False))
            for _ in range(8)]  # fmt: skip
    held += [{contract: quantity} for contract in range(count) for quantity in (-5.0, 5.0)]
    made = file_arrays(file)
    return Margins(made.arrays.pnl, risk_of(held, rules_of(file, made.arrays), made)[1].requirement)


@cache
def sound(kind: str, folder: Path) -> tuple[RiskParameterFile, Margins]:
    path = folder / f"sound.{kind}"
    path.write_bytes(XML if kind == "spn" else POSITIONAL)
    file = (read_spn if kind == "spn" else read_pa2)(path)[0]
    return file, margins(file)


def unlike(file: RiskParameterFile, other: RiskParameterFile) -> list[str]:
    """Every cell in which two files differ; DIFFERENT SIZES where a table lost or gained rows."""
    cells = []
    for table in (f.name for f in fields(file) if isinstance(getattr(file, f.name), Columns)):
        one, two = getattr(file, table), getattr(other, table)
        if len(one) != len(two):
            cells.append(f"{table}: DIFFERENT SIZES")
            continue
        for column in one.differences(two):
            mine, theirs = getattr(one, column), getattr(two, column)
            same = (mine == theirs) | ((mine != mine) & (theirs != theirs))
            cells += [f"{table}.{column}{tuple(map(int, place))}" for place in np.argwhere(~same)]
    return cells


def damaged(content: bytes, generator: random.Random) -> bytes:
    """One of the ways in which files break: a byte changed, a piece lost, a piece twice, the end missing."""
    start = generator.randrange(len(content))
    length = generator.randrange(1, 40)
    way = generator.randrange(4)
    if way == 0:
        return content[:start] + bytes([generator.choice(BYTES)]) + content[start + 1 :]
    if way == 1:
        return content[:start] + content[start + length :]
    if way == 2:
        return content[: start + length] + content[start:]
    return content[:start]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["spn", "pa2"])
def test_damage_is_refused_or_harmless(kind: str, seed: int, tmp_path: Path) -> None:
    generator = random.Random(f"{kind} {seed}")
    read, content = (read_spn, XML) if kind == "spn" else (read_pa2, POSITIONAL)
    original, wanted = sound(kind, tmp_path)
    path = tmp_path / f"x.{kind}"
    refused, another_number = 0, 0
    for _ in range(80):
        broken = damaged(content, generator)
        path.write_bytes(broken)
        try:
            file, _ = read(path)
            found = margins(file)
        except EngineError as error:
            refused += 1
            assert str(error)
            assert len(str(error).splitlines()[0]) < 400
            continue
        if kind == "pa2" and content.startswith(broken) and len(file.contracts) < len(original.contracts):
            # A positional file has no mark of its end: cut behind the last record of a contract it is a smaller file.
            assert np.array_equal(file.arrays.loss, original.arrays.loss[: len(file.arrays)])
            continue
        if not all(map(np.array_equal, found, wanted)):
            another_number += 1
            assert len(unlike(original, file)) == 1, unlike(original, file)
    assert refused > 60
    assert another_number < 8


def leaves() -> dict[str, list[tuple[int, int, int, int]]]:
    """Of every leaf by its path: where the element starts, its text starts and ends, and the element ends."""
    found: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    stack: list[str] = []
    before = None
    for part in re.finditer(r"<(/?)(\w+)>([^<]*)", XML.decode()):
        if not part[1]:
            stack.append(part[2])
            before = part
            continue
        if before is not None and before[2] == part[2]:
            found["/".join(stack[-4:])].append((before.start(), before.start(3), before.end(3), part.start(3)))
        before = None
        stack.pop()
    return found


@pytest.mark.parametrize("way", ["negated", "a word", "removed"])
def test_every_leaf_of_a_file(way: str, tmp_path: Path) -> None:
    """The sign turned, a word in its place, the leaf gone: refused, or arrays and margins as before."""
    text = XML.decode()
    wanted = sound("spn", tmp_path)[1]
    allowed = {"negated": SIGNED, "a word": set(), "removed": OPTIONAL}[way]
    path = tmp_path / "x.spn"
    refused = 0
    for name, places in leaves().items():
        for start, first, last, end in {places[0], places[-1]}:
            stated = text[first:last]
            changed = "BANANA" if way == "a word" else stated[1:] if stated[:1] == "-" else f"-{stated}"
            path.write_text(text[:start] + text[end:] if way == "removed" else text[:first] + changed + text[last:])
            try:
                found = margins(read_spn(path)[0])
            except EngineError:
                refused += 1
                continue
            if not any(name.endswith(tag) for tag in allowed):
                assert all(map(np.array_equal, found, wanted)), (name, stated)
    assert refused > 100
