"""Damaged SPAN files: refused with one clear error, or read with the arrays and margins of the sound file.

What nobody can know is that a number is another one within its bounds; then that one number alone differs.
"""

from __future__ import annotations

import random
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
from portfolio_margin.span.file_arrays import FileArrays, file_arrays
from portfolio_margin.span.rules import SpanRules, rules_of
from portfolio_margin.span.tables import RiskParameterFile
from pricing.arrays import FloatArray
from pricing.errors import EngineError
from tests.portfolio_margin.pa2_example import lines
from tests.portfolio_margin.span_examples import exchange_with_every_rule
from tests.portfolio_margin.test_span import risk_of

XML = spn_bytes(exchange_with_every_rule())
POSITIONAL = "\n".join([*lines(), ""]).encode("latin-1")
BYTES = b"0123456789<>/&;.-+ \tABCZabz\x00\xff\n"


class Margins(NamedTuple):
    """pnl of the arrays and requirement of accounts that hold every contract, alone and together."""

    pnl: FloatArray
    requirement: FloatArray


def held_by_all(count: int) -> list[dict[int, float]]:
    """Accounts that hold every contract, alone and together with others."""
    generator = np.random.default_rng(3)
    held = [dict(zip(generator.permutation(count).tolist(), map(float, generator.integers(-9, 10, 12)), strict=False))
            for _ in range(8)]  # fmt: skip
    return held + [{contract: quantity} for contract in range(count) for quantity in (-5.0, 5.0)]


def requirement_of(held: list[dict[int, float]], rules: SpanRules, made: FileArrays) -> FloatArray:
    """(A,2) initial and maintenance margin."""
    return risk_of(held, rules, made)[1].requirement


def margins(file: RiskParameterFile) -> Margins:
    made = file_arrays(file)
    held = held_by_all(len(file.contracts))
    return Margins(made.arrays.pnl, requirement_of(held, rules_of(file, made.arrays), made))


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
