"""What is wrong with a SPAN XML file is said with the line of the element itself and the names of its records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_places import place_of, steps_to
from portfolio_margin.io.span_write import spn_bytes
from portfolio_margin.io.span_xml import read_spn
from pricing import DataError
from tests.portfolio_margin.span_examples import exchange_with_every_rule, large_exchange
from tests.portfolio_margin.test_io_span_xml import rich_exchange

# Every element in a line of its own, so that a line is an element.
RICH = spn_bytes(rich_exchange()).decode().replace("><", ">\n<")
EVERY = spn_bytes(exchange_with_every_rule()).decode().replace("><", ">\n<")
LEAF = re.compile(r"<(\w+)>([-+.0-9e]+)</\1>")
TAG = re.compile(r"<(/?)(\w+)")
# Numbers that are texts to the reader, days and codes of periods, and what is passed over.
NO_NUMBERS = {"fileFormat", "created", "date", "setlDate", "pe", "sPe", "ePe", "priority", "strikeDl", "priceDl"}


def refused(text: str, folder: Path) -> str:
    (folder / "x.spn").write_text(text)
    with pytest.raises(DataError) as caught:
        read_span_file(folder / "x.spn")
    return str(caught.value).splitlines()[0]


def numbers_of(text: str) -> Iterator[tuple[str, int]]:
    """The last number of every element path without indices, and the position of its text."""
    found, stack = {}, []
    for line in re.finditer(r".+\n", text):
        leaf, tag = LEAF.match(line[0]), TAG.match(line[0])
        if leaf is not None and leaf[1] not in NO_NUMBERS:
            found["/".join([*stack, leaf[1]])] = line.start() + len(leaf[1]) + 2
        if tag is not None and tag[1]:
            stack.pop()
        elif tag is not None and f"</{tag[2]}>" not in line[0] and "/>" not in line[0]:
            stack.append(tag[2])
    yield from found.items()


NUMBERS = sorted(numbers_of(RICH.replace("\r", "")))


def test_every_number_is_refused_at_its_line(tmp_path: Path) -> None:
    """Line, byte and path of every element that states a number, wherever a record holds one."""
    assert len(NUMBERS) > 60
    read, unread = 0, []
    for path, position in NUMBERS:
        text = RICH[:position] + "2.2x" + RICH[RICH.index("<", position) :]
        try:
            line = refused(text, tmp_path)
        except pytest.fail.Exception:
            unread.append(path)
            continue
        start = RICH.rindex("<", 0, position)
        place = f"x.spn, line {RICH[:start].count(chr(10)) + 1}, byte {len(RICH[:start].encode())}, "
        assert place in line, (path, line)
        assert re.sub(r"\[\d+\]", "", line.split(", ")[3]) == path, line
        read += 1
    assert read > 60
    # Charge numbers and a text of digits alone are no numbers to the reader.
    assert len(unread) < 12, unread


def damaged(text: str, marks: tuple[str, ...], new: str) -> tuple[str, int]:
    """The text of the leaf that follows the marks, one behind the other, is another; and the line of that leaf."""
    position = 0
    for mark in marks:
        position = text.index(mark, position) + len(mark)
    return text[:position] + new + text[text.index("<", position) :], text[:position].count("\n") + 1


NAMED = [
    (("<curConv>", "<factor>"), "-1", ["conversion "], "factor = -1.0"),
    (("<pbRateDef>", "</pbRateDef>", "<r>"), "0", ["level 0 "], "rate = 0: must be a number from 1"),
    (("<scanPointDef>", "</scanPointDef>", "<weight>"), "7", ["definition 1", "point 2"], "weight = 7.0"),
    (("<deltaPointDef>", "</deltaPointDef>", "<weight>"), "7", ["definition 1", "delta point 2"], "weight = 7.0"),
    (("<ccDef>", "<adjRate>", "<val>"), "75", ["commodity ", "adjustment 2"], "factor = 75.0"),
    (("<pfLink>", "<sc>"), "1e9", ["commodity A", "link to EX "], "must be a number from 0.000001 to 1,000,000"),
    (("<pfLink>", "<sc>"), "1e-9", ["commodity A"], "must be a number from 0.000001 to 1,000,000"),
    (("<series>", "<sc>"), "1e9", ["family ", "series 20"], "delta_scale = 1000000000.0: must be from 0.000001 to"),
    (("<series>", "<sc>"), "1e-9", ["series 20"], "delta_scale = 1e-09: must be from 0.000001 to 1,000,000"),
    (("<interSpreads>", "<tLeg>", "<i>"), "1e9", ["spread 1", "leg "], "must be a number from 0.0001 to 10,000"),
    (("<interSpreads>", "<tLeg>", "<i>"), "1e-9", ["spread 1", "leg "], "must be a number from 0.0001 to 10,000"),
    (("<interSpreads>", "</dSpread>", "<rate>", "<val>"), "x", ["spread 2", "rate 1"], "val = 'x': must be a number"),
    (("<ccDef>", "<dSpread>", "<spread>"), "x", ["commodity ", "spread x"], "must be a whole number of at most five"),
    (("<ccDef>", "<dSpread>", "<spread>"), "-1", ["spread -1"], "must be a whole number of at most five digits"),
    (("<ccDef>", "<dSpread>", "<spread>"), "1e9", ["spread 1e9"], "must be a whole number of at most five digits"),
    (("<intraTiers>", "<tn>"), "7x", ["commodity ", "tier 7x"], "tn = '7x': must be a whole number"),
    (("<somTiers>", "<rate>", "<val>"), "-1", ["commodity ", "tier ", "rate 1"], "must be a number of 0 or more"),
    (("<opt>", "<p>"), "-1", ["series ", "option "], "price = -1.0: an option is not worth less than 0"),
    (("<opt>", "<o>"), "", ["series ", "option "], "right = None: opt needs it"),
    (("<opt>", "<o>"), "X", ["series ", "option "], "right = 'X': C or P"),
    (("<fut>", "<ra>", "<a>"), "x", ["contract 1"], "ra/a[1] = 'x': must be a number"),
]  # fmt: skip


@pytest.mark.parametrize(("marks", "new", "names", "said"), NAMED)
def test_the_record_is_named(marks: tuple[str, ...], new: str, names: list[str], said: str, tmp_path: Path) -> None:
    text, number = damaged(RICH if marks[0] in ("<pbRateDef>", "<ccDef>") else EVERY, marks, new)
    line = refused(text, tmp_path)
    assert f"x.spn, line {number}, byte " in line, line
    assert said in line
    for name in names:
        assert f", {name}" in line, (name, line)
    assert "row" not in line.removeprefix(str(tmp_path))


def test_an_option_of_a_run_is_placed(tmp_path: Path) -> None:
    """Read by pattern, the place of one of thousands is its own all the same; several are found in one walk."""
    text = spn_bytes(large_exchange(2, 2, 2, 40)).decode().replace("><", ">\n<")
    places = [found.start() for found in re.finditer("<p>", text)]
    wanted = []
    for position in (places[-1], places[-50]):
        text = text[: position + 3] + "-1" + text[text.index("<", position + 3) :]
        wanted.append(text[:position].count("\n") + 1)
    (tmp_path / "x.spn").write_text(text)
    with pytest.raises(DataError) as caught:
        read_spn(tmp_path / "x.spn")
    lines = [int(re.search(r"line (\d+), byte", line)[1]) for line in str(caught.value).splitlines()]  # type: ignore[index]
    assert sorted(wanted) == [line for line in lines if line in wanted]


@pytest.mark.parametrize("by_pattern", [True, False])
def test_an_option_without_a_right_is_no_option(by_pattern: bool, tmp_path: Path) -> None:
    """Not even where the pattern of a run sees nothing wrong with it: its margin would not count it as an option."""
    text = spn_bytes(large_exchange(1, 1, 1, 20)).decode()
    position = [found.end() for found in re.finditer("<o>", text)][-3]
    (tmp_path / "x.spn").write_text(text[:position] + text[text.index("<", position) :])
    with pytest.raises(DataError, match=r"opt\[\d+\]/o, exchange .*, option .*, right = None: opt needs it"):
        read_spn(tmp_path / "x.spn", by_pattern=by_pattern)


def test_a_place_that_is_not_there_is_that_of_what_is(tmp_path: Path) -> None:
    """A leaf that a record does not state has the place of the record; a record that is not there has a number."""
    path = tmp_path / "x.spn"
    path.write_text("<a>\n<b>\n<c>1</c>\n</b>\n<b>\n<c>1</c>\n<c>2</c>\n</b>\n</a>")
    assert place_of(path, "b", 1, (("c", 2),)).startswith("line 7, byte 35, a/b[2]/c[2]")
    assert place_of(path, "b", 0, (("c", 2),)).startswith("line 2, byte 4, a/b")
    assert place_of(path, "b", 5) == "b number 6"
    root = ElementTree.fromstring(path.read_text())
    assert steps_to(root, root[1][1]) == (("b", 2), ("c", 2))
    assert steps_to(root, root) == ()
