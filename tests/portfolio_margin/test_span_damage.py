"""Damaged SPAN files: whatever a byte is turned into, a file is read or refused with one clear error, never a crash."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from portfolio_margin.io.span_pa2 import read_pa2
from portfolio_margin.io.span_write import spn_bytes
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.rules import rules_of
from pricing.errors import EngineError
from tests.portfolio_margin.pa2_example import lines
from tests.portfolio_margin.span_examples import exchange_with_every_rule

XML = spn_bytes(exchange_with_every_rule())
POSITIONAL = "\n".join([*lines(), ""]).encode("latin-1")
BYTES = b"0123456789<>/&;.-+ \tABCZabz\x00\xff\n"


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
    path = tmp_path / f"x.{kind}"
    refused = 0
    for _ in range(80):
        path.write_bytes(damaged(content, generator))
        try:
            file, _ = read(path)
            rules_of(file, file_arrays(file).arrays)
        except EngineError as error:
            refused += 1
            assert str(error)
            assert len(str(error).splitlines()[0]) < 400
    assert refused > 25
