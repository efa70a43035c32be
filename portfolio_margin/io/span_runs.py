"""Runs of options in SPAN XML: nine tenths of a file are options of one shape, read by pattern and not by element.

A run is options that stand one behind the other with the same leaves in the same order, every text plain digits or
letters: no attribute, entity, comment or blank text. Everything else goes through the XML parser, and a run is taken
only where that parser finds an element in its place. So a pattern decides how fast a file is read, never what it says.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.io.span_elements import ALIAS_TYPES, ARRAY_TAGS, NUMBER, OPTION, TEXT, WHOLE, Leaf
from pricing.arrays import FloatArray

BLOCK = 1 << 17
START, END = b"<opt>", b"</opt>"
# An option longer than this is none that a pattern knows.
LONGEST_OPTION = 1 << 16
MOST_SHAPES = 16
BLANK = rb"[ \t\r\n]*"
# Kind and name of an alias are pieces of an option as its leaves are; their texts may hold blanks and signs.
ALIAS = {"aType": Leaf("", "kind of an alias"), "aVal": Leaf("", "value of an alias")}
PRINTABLE = rb"[ -%'-;=?-~]*"
TEXTS = {NUMBER: rb"[-+.0-9eE]+", WHOLE: rb"[0-9]{1,18}", TEXT: rb"[0-9A-Za-z]*"}
TEXTS |= {leaf.kind: PRINTABLE for leaf in ALIAS.values()}
NEEDED_TEXT = rb"[0-9A-Za-z]+"
PLAIN_NUMBER = re.compile(TEXTS[NUMBER])
TAGS = re.compile(rb"<(\w+)>")
# Encodings in which these bytes are what they look like.
PLAIN_ENCODINGS = frozenset({b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1", b"windows-1252"})
DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']*)[\"']")


class UnlikeAnyRun(Exception):
    """What looked like a run is none; the parser alone can tell what stands there."""


class Run(NamedTuple):
    """Options of one run.

    options  how many
    columns  of the table of contracts, by name
    rate     (R,) number of each array, one after the other
    owner    (R,) option of the run that it belongs to, from 0
    loss     (R,16)
    delta    (R,) composite deltas
    """

    options: int
    columns: dict[str, Any]
    rate: Any
    owner: Any
    loss: FloatArray
    delta: FloatArray


class Shape(NamedTuple):
    """Leaves of an option in their order, the number of its arrays, and the pattern of such an option."""

    leaves: tuple[Leaf, ...]
    arrays: int
    pattern: re.Pattern[bytes]


def pieces(stream: Any) -> Iterator[bytes | Run]:
    """A file piece by piece: bytes for the parser, and runs, each in place of one element."""
    content = stream.read(BLOCK)
    if not is_plain(content):
        while content:
            yield content
            content = stream.read(BLOCK)
        return
    shapes: dict[tuple[bytes, ...], Shape | None] = {}
    while True:
        more = stream.read(BLOCK)
        used = 0
        for piece, end in _split(content, shapes, final=not more):
            used = end
            yield piece
        if not more:
            return
        content = content[used:] + more


def is_plain(start: bytes) -> bool:
    """Whether a file is in an encoding in which ASCII stands for itself, by its beginning."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start[:4]:
        return False
    declared = DECLARED.search(start[:200])
    return declared is None or declared[1].lower() in PLAIN_ENCODINGS


def _split(content: bytes, shapes: dict[tuple[bytes, ...], Shape | None], final: bool) -> Iterator[tuple[Any, int]]:
    """Pieces of a block and where each ends; what may go on in the next block is left."""
    used, shape = 0, next(iter(shapes.values()), None)
    while True:
        start = content.find(START, used)
        if start < 0:
            end = len(content) if final else max(used, len(content) - len(START) + 1)
            if end > used:
                yield content[used:end], end
            return
        if start > used:
            yield content[used:start], start
        run, used = _run(content, start, shape)
        if run is None:
            end = content.find(END, start)
            if end < 0 and not final and len(content) - start < LONGEST_OPTION:
                return
            used = len(content) if end < 0 else end + len(END)
            known = shape_of(content[start:used], shapes)
            if known is None or known is shape:
                yield content[start:used], used
                continue
            shape = known
            run, used = _run(content, start, shape)
            if run is None:
                used = end + len(END)
                yield content[start:used], used
                continue
        yield run, used


def shape_of(option: bytes, shapes: dict[tuple[bytes, ...], Shape | None]) -> Shape | None:
    """The shape of one option, from those seen before or as a new one; None where a run has none like it."""
    tags = tuple(TAGS.findall(option))[1:]
    if tags not in shapes and len(shapes) < MOST_SHAPES:
        shapes[tags] = new_shape([tag.decode("ascii", "replace") for tag in tags])
    return shapes.get(tags)


def new_shape(tags: list[str]) -> Shape | None:
    """The shape of an option with these tags; None unless it is leaves that are known, each once, and arrays."""
    first = tags.index("ra") if "ra" in tags else len(tags)
    own, rest = tags[:first], tags[first:]
    one = ["ra", *ARRAY_TAGS]
    count = len(rest) // len(one)
    known = {**OPTION.leaves, **ALIAS}
    leaves, parts, stated = [], [START], []
    while own:
        inner, closing = (own[1:3], b"</alias>") if own[0] == "alias" else (own[:1], b"")
        if inner != [*ALIAS] if closing else own[0] not in OPTION.leaves:
            return None
        leaves += [known[tag] for tag in inner]
        stated += [] if closing else [known[own[0]].column]
        elements = [_element(tag, _text_of(known[tag])) for tag in inner]
        parts += [b"<alias>", *elements, closing] if closing else elements
        own = own[3:] if closing else own[1:]
    alike = len(set(stated)) == len(stated) and set(stated).issuperset(OPTION.needed)
    if not alike or not count or rest != one * count:
        return None
    numbers = [_element(tag, TEXTS[WHOLE] if tag == "r" else TEXTS[NUMBER]) for tag in ARRAY_TAGS]
    parts += [b"<ra>", *numbers, b"</ra>"] * count
    return Shape(tuple(leaves), count, re.compile(BLANK.join([*parts, END, b""])))


def _text_of(leaf: Leaf) -> bytes:
    """The pattern of a leaf's text, which must not be empty where an option means nothing without it."""
    return NEEDED_TEXT if leaf.kind == TEXT and leaf.column in OPTION.needed else TEXTS[leaf.kind]


def _element(tag: str, text: bytes) -> bytes:
    name = tag.encode("ascii")
    return b"<" + name + b">(" + text + b")</" + name + b">"


def _run(content: bytes, start: int, shape: Shape | None) -> tuple[Run | None, int]:
    """The run that begins at `start` and its end; None where there is none of this shape."""
    if shape is None:
        return None, start
    groups, end, match = [], start, shape.pattern.match
    while (found := match(content, end)) is not None:
        groups.append(found.groups())
        end = found.end()
    return (_read(groups, shape) if groups else None), end


def _read(groups: list[tuple[bytes, ...]], shape: Shape) -> Run:
    """Numbers of a run, by the conversion that Python itself has: the nearest double."""
    count, own, width = len(groups), len(shape.leaves), len(ARRAY_TAGS)
    size = count * shape.arrays * width
    try:
        texts = chain.from_iterable(group[own:] for group in groups)
        numbers = np.fromiter(map(float, texts), dtype=np.float64, count=size).reshape(-1, width)
        columns = _columns(shape.leaves, list(zip(*(group[:own] for group in groups), strict=True)))
    except ValueError:
        raise UnlikeAnyRun from None
    owner = np.repeat(np.arange(count, dtype=np.int64), shape.arrays)
    return Run(count, columns, numbers[:, 0].astype(np.int64), owner, numbers[:, 1:-1], numbers[:, -1])


def _columns(leaves: tuple[Leaf, ...], texts: list[tuple[bytes, ...]]) -> dict[str, Any]:
    """Columns of leaves by name; of aliases those that we write ourselves, the first of each."""
    columns: dict[str, Any] = {}
    named: Leaf | None = None
    for leaf, values in zip(leaves, texts, strict=True):
        if leaf is ALIAS["aType"]:
            kinds = {value.strip() for value in values}
            if len(kinds) > 1:
                raise UnlikeAnyRun
            named = ALIAS_TYPES.get(kinds.pop().decode("ascii"))
        elif leaf is not ALIAS["aVal"]:
            columns[leaf.column] = _column(leaf.kind, values)
        elif named is not None and named.column not in columns:
            if named.kind == NUMBER and not all(map(PLAIN_NUMBER.fullmatch, values)):
                raise UnlikeAnyRun
            columns[named.column] = _column(named.kind, values)
    return columns


def _column(kind: str, texts: tuple[bytes, ...]) -> Any:
    if kind == TEXT:
        # The same few texts stand in every run: each is kept once.
        plain = {text: sys.intern(text.decode("ascii").strip()) for text in set(texts)}
        return [plain[text] for text in texts]
    if kind == WHOLE:
        return array("q", map(int, texts))
    values = array("d", map(float, texts))
    if not np.isfinite(values).all():
        raise UnlikeAnyRun
    return values
