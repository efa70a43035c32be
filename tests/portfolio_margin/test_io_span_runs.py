"""Options of SPAN XML read by pattern: the same tables and the same messages as element by element."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.io import span_runs
from portfolio_margin.io.span_runs import Run, UnlikeAnyRun, pieces
from portfolio_margin.io.span_write import spn_bytes
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.span.columns import Columns
from portfolio_margin.span.tables import RiskParameterFile
from pricing import DataError
from tests.portfolio_margin.span_examples import large_exchange
from tests.portfolio_margin.test_span_damage import damaged

Change = Callable[[str], str]
PLAIN = spn_bytes(large_exchange(2, 2, 2, 3)).decode()
OPTIONS = PLAIN.count("<opt>")
# Where what looks like a run is none, the whole file is read again.
ALL_BY_ELEMENT = -1


def outcome(path: Path, by_pattern: bool) -> RiskParameterFile | str:
    try:
        return read_spn(path, by_pattern=by_pattern)[0]
    except DataError as error:
        return str(error)


def check_alike(path: Path) -> RiskParameterFile | str:
    quick, slow = outcome(path, True), outcome(path, False)
    if isinstance(quick, RiskParameterFile) and isinstance(slow, RiskParameterFile):
        assert quick.differences(slow) == []
    else:
        assert quick == slow
    return slow


def in_runs(content: bytes) -> int:
    try:
        return sum(piece.options for piece in pieces(io.BytesIO(content)) if isinstance(piece, Run))
    except UnlikeAnyRun:
        return ALL_BY_ELEMENT


def inside_option(change: Change) -> Change:
    return lambda text: re.sub("<opt>.*?</opt>", lambda found: change(found[0]), text)


def alias(kind: str, value: str, ours: str = "portfolio-margin ") -> str:
    return f"<alias><aType>{ours}{kind}</aType><aVal>{value}</aVal></alias>"


CHANGES: dict[str, tuple[int, Change]] = {
    "as written": (OPTIONS, str),
    "a line an element": (OPTIONS, lambda text: re.sub(r"(</\w+>)", r"\1\r\n\t", text)),
    "two arrays": (OPTIONS, inside_option(lambda text: re.sub("(<ra><r>1)(.*)</opt>", r"\1\2<ra><r>2\2</opt>", text))),
    "more leaves": (OPTIONS, inside_option(lambda text: text.replace("<d>", "<pq>0</pq><d>", 1))),
    "our aliases": (OPTIONS, inside_option(lambda text: text.replace("<o>", alias("name", " B-1 _x ") + alias(
        "quantity step", "0.1") + alias("name", "second") + "<o>"))),
    "aliases of others": (OPTIONS, inside_option(lambda text: text.replace("<o>", alias("isin", "X", "") + "<o>"))),
    "aliases of two kinds": (ALL_BY_ELEMENT, lambda text: text.replace("<o>C", alias("name", "a") + "<o>C").replace(
        "<o>P", alias("x", "a") + "<o>P")),
    "an alias that is no number": (ALL_BY_ELEMENT, inside_option(lambda text: text.replace("<o>", alias(
        "quantity step", "1_0") + "<o>"))),
    "an alias without value": (0, inside_option(lambda text: text.replace("<o>", alias("x", "").replace(
        "<aVal></aVal>", "") + "<o>"))),
    "two shapes": (OPTIONS, lambda text: text.replace("<o>C</o>", "<o>C</o><pq>A</pq>")),
    "known and passed over": (0, inside_option(lambda text: text.replace("<o>", "<desc>x</desc><o>"))),
    "a leaf twice": (0, inside_option(lambda text: text.replace("<o>", "<o>C</o><o>"))),
    "a comment between": (OPTIONS, lambda text: text.replace("<opt>", "<!-- one --><opt>")),
    "a comment around": (OPTIONS, lambda text: re.sub("(<opt>.*?</opt>)", r"<!-- \1 --> ", text, count=2)),
    "a section around": (OPTIONS, lambda text: re.sub("(<opt>.*?</opt>)", r"<![CDATA[ \1 ]]>", text, count=1)),
    "a comment inside": (OPTIONS - 1, lambda text: text.replace("<o>C<", "<o>C<!-- call --><", 1)),
    "an entity": (OPTIONS - 1, lambda text: text.replace("<o>C<", "<o>&#67;<", 1)),
    "a blank text": (OPTIONS - 1, lambda text: re.sub("(<opt>.*?)<v>[^<]*</v>", r"\1<v> </v>", text, count=1)),
    "attributes": (OPTIONS - 1, lambda text: text.replace("<opt>", "<opt a='1'>", 1)),
    "an empty option": (OPTIONS, lambda text: text.replace("<opt>", "<opt/><opt>", 1)),
    "outside of a series": (OPTIONS, lambda text: text.replace("<series>", "", 1).replace("</series>", "", 1)),
    "after the end": (OPTIONS + 1, lambda text: text + re.findall("<opt>.*?</opt>", text)[0]),
    "an underscore": (OPTIONS - 1, lambda text: re.sub("(<opt>.*?<a>)", r"\g<1>1_0", text, count=1)),
    "too large": (OPTIONS, lambda text: re.sub("(<opt>.*?<a>)[^<]*", r"\g<1>1e999", text, count=1)),
    "another encoding": (OPTIONS, lambda text: text.replace("UTF-8", "ISO-8859-1")),
    "an encoding not known to be plain": (0, lambda text: text.replace("UTF-8", "cp1250")),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_way_to_write_options(name: str, tmp_path: Path) -> None:
    count, change = CHANGES[name]
    path = tmp_path / "x.spn"
    path.write_bytes(change(PLAIN).encode())
    check_alike(path)
    assert in_runs(path.read_bytes()) == count


@pytest.mark.parametrize("size", [7, 64, 333, 5_000])
def test_runs_cut_by_blocks(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_runs, "BLOCK", size)
    path = tmp_path / "x.spn"
    path.write_text(PLAIN)
    assert isinstance(check_alike(path), RiskParameterFile)
    assert in_runs(PLAIN.encode()) == OPTIONS


@pytest.mark.parametrize("seed", range(2))
def test_damage_is_told_alike(seed: int, tmp_path: Path) -> None:
    """A byte changed, lost or twice within the options: tables and messages with their places are the same."""
    generator, path = random.Random(seed), tmp_path / "x.spn"
    content = PLAIN.encode()
    first = content.index(b"<opt>")
    head, rest = content[:first], content[first : content.index(b"</series>")]
    end = content[first + len(rest) :]
    refused = 0
    for _ in range(60):
        path.write_bytes(head + damaged(rest, generator) + end)
        refused += isinstance(check_alike(path), str)
    assert refused > 20


def array_of(texts: list[str]) -> np.ndarray:
    """Losses of one option as a run reads them."""
    inner = "".join(f"<a>{text}</a>" for text in texts)
    option = f"<opt><cId>1</cId><o>C</o><k>1</k><p>1</p><ra><r>1</r>{inner}<d>1</d></ra></opt>"
    (run,) = pieces(io.BytesIO(option.encode()))
    assert isinstance(run, Run)
    return run.loss[0]


DECIMALS = st.from_regex(r"[-+]?[0-9]{1,25}(\.[0-9]{1,25})?(e[-+]?[0-9]{1,2})?", fullmatch=True)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False).map(repr) | DECIMALS, min_size=16, max_size=16))
def test_numbers_are_the_nearest_doubles(texts: list[str]) -> None:
    assert array_of(texts).tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("text", ["1e", "-", "1.2.3", "+-1", "."])
def test_what_looks_like_a_number_and_is_none(text: str) -> None:
    with pytest.raises(UnlikeAnyRun):
        array_of([text] + ["1"] * 15)


def test_memory_of_the_tables_is_taken_over(tmp_path: Path) -> None:
    """Columns are packed while they are collected, and not copied at the end."""
    path = tmp_path / "x.spn"
    path.write_text(PLAIN)
    file, _ = read_spn(path)
    assert isinstance(file.contracts, Columns)
    for column in (file.arrays.loss, file.contracts.strike, file.contracts.contract_id):
        assert not column.flags.owndata and not column.flags.writeable
