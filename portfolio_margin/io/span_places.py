"""Where in a SPAN XML file a record stands, and what it is called: a second look at the file, for messages only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

from portfolio_margin.io.span_elements import CONTRACT_TAGS, FAMILY_KINDS
from portfolio_margin.io.span_source import CHUNK, Found, opened

# Steps from an element to one inside: tag, and number among its siblings of that tag, from 1.
Step = tuple[str, int]
Steps = tuple[Step, ...]
LONGEST_NAME = 24
# What a record is called in a message, and the leaves that name it.
NAMED: dict[str, tuple[str, tuple[str, ...]]] = {
    "exchange": ("exchange", ("exch",)),
    **dict.fromkeys(FAMILY_KINDS, ("family", ("pfCode",))),
    "series": ("series", ("pe",)),
    "opt": ("option", ("cId", "o", "k")),
    **dict.fromkeys(CONTRACT_TAGS.values(), ("contract", ("cId", "pe"))),
    "ccDef": ("commodity", ("cc",)),
    "pfLink": ("link to", ("exch", "pfType", "pfCode")),
    "adjRate": ("adjustment", ("r",)),
    "spotRate": ("delivery month", ("pe",)),
    "tier": ("tier", ("tn",)),
    "dSpread": ("spread", ("spread",)),
    "sSpread": ("spread", ("spread",)),
    "tLeg": ("leg", ("cc",)),
    "pLeg": ("leg", ("cc", "pe")),
    "sLeg": ("leg", ("cc",)),
    "rate": ("rate", ("r",)),
    "scanRate": ("scan rate", ("r",)),
    "ra": ("array", ("r",)),
    "pointDef": ("definition", ("r",)),
    "scanPointDef": ("point", ("point",)),
    "deltaPointDef": ("delta point", ("point",)),
    "curConv": ("conversion", ("fromCur", "toCur")),
    "pbRateDef": ("level", ("r", "acctType")),
    "currencyDef": ("currency", ("currency",)),
    "acctTypeDef": ("account type", ("acctType",)),
}


class Place(NamedTuple):
    """An element: the `ordinal`-th (from 0) with this tag, counted by its end, or one inside it."""

    tag: str
    ordinal: int
    steps: Steps = ()


class _Open:
    """An element while it is open; names are texts of the leaves that name it, inside the elements looked for.

    line, byte  where it starts, of those that may be looked for
    """

    __slots__ = ("anchors", "byte", "counts", "inside", "line", "n_th", "names", "owner", "tag")

    def __init__(self, tag: str, n_th: int, owner: _Open | None) -> None:
        self.tag, self.n_th, self.owner = tag, n_th, owner
        self.line = self.byte = 0
        self.counts: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.inside: dict[Steps, _Open] = {}
        self.anchors: list[tuple[_Open, Steps]] = []

    def chain(self) -> list[_Open]:
        """From the root to this one."""
        above = self.owner.chain() if self.owner is not None else []
        return above if self.tag == "" else [*above, self]

    def path(self) -> str:
        """With the number of each among those of its name."""
        return "/".join(e.tag if e.n_th == 1 else f"{e.tag}[{e.n_th}]" for e in self.chain())

    def described(self) -> str:
        """Line, byte, path, and the names of the records on it."""
        called = []
        for element in self.chain():
            what, leaves = NAMED.get(element.tag, ("", ()))
            texts = [element.names[leaf] for leaf in leaves if element.names.get(leaf)]
            called += [f"{what} {' '.join(texts)}"] if texts else []
        return ", ".join([f"line {self.line}, byte {self.byte}", self.path(), *called])


def places_of(path: str | Path, places: Sequence[Place]) -> list[str]:
    """Line, byte and element path of elements, and the names of the records they stand in; in one walk."""
    walk = _Walk(places)
    walk.through(path)
    return [walk.found.get(place, f"{place.tag} number {place.ordinal + 1}") for place in places]


def place_of(path: str | Path, tag: str, ordinal: int, steps: Steps = ()) -> str:
    """`places_of` one element."""
    return places_of(path, [Place(tag, ordinal, steps)])[0]


def open_at_error(path: str | Path) -> str:
    """Element path of what is open where a file stops being XML; "" outside of all elements."""
    walk = _Walk(())
    walk.through(path)
    return walk.innermost.path()


def steps_to(element: Any, inner: Any) -> Steps:
    """Steps from an element to one inside it; () where it is none of those inside."""
    counts: dict[str, int] = {}
    for child in element:
        counts[child.tag] = counts.get(child.tag, 0) + 1
        own = ((child.tag, counts[child.tag]),)
        if child is inner:
            return own
        further = steps_to(child, inner)
        if further:
            return own + further
    return ()


class _Walk:
    """A walk through the elements of a file, up to the last of the places looked for.

    found  what is said of each place
    """

    def __init__(self, places: Iterable[Place]) -> None:
        self.found: dict[Place, str] = {}
        self.wanted: dict[tuple[str, int], set[Steps]] = {}
        self.prefixes: dict[str, set[Steps]] = {}
        for tag, ordinal, steps in places:
            self.wanted.setdefault((tag, ordinal), set()).add(steps)
            self.prefixes.setdefault(tag, set()).update(steps[:n] for n in range(len(steps) + 1))
        self.ended = dict.fromkeys(self.prefixes, 0)
        self.innermost = _Open("", 1, None)
        self.text: list[str] | None = None
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler, self.parser.EndElementHandler = self._start, self._end
        self.parser.CharacterDataHandler = self._characters

    def through(self, path: str | Path) -> None:
        """Walk until everything is found, the file ends, or it is no XML."""
        with opened(path) as stream:
            try:
                while chunk := stream.read(CHUNK):
                    self.parser.Parse(chunk, False)
            except (Found, expat.ExpatError):
                pass

    def _start(self, tag: str, _: dict[str, str]) -> None:
        owner = self.innermost
        n_th = owner.counts[tag] = owner.counts.get(tag, 0) + 1
        here = _Open(tag, n_th, owner)
        for outer, steps in owner.anchors:
            further = (*steps, (tag, n_th))
            if further in self.prefixes[outer.tag]:
                here.anchors.append((outer, further))
                outer.inside[further] = here
        if tag in self.prefixes:
            here.anchors.append((here, ()))
            here.inside[()] = here
        if here.anchors:
            here.line, here.byte = self.parser.CurrentLineNumber, self.parser.CurrentByteIndex
        self.innermost = here
        self.text = [] if owner.tag in NAMED and tag in NAMED[owner.tag][1] else None

    def _characters(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text)

    def _end(self, tag: str) -> None:
        here = self.innermost
        owner = here.owner
        assert owner is not None
        if self.text is not None:
            owner.names.setdefault(tag, "".join(self.text).strip()[:LONGEST_NAME])
            self.text = None
        if tag in self.prefixes:
            ordinal = self.ended[tag]
            self.ended[tag] += 1
            for steps in self.wanted.pop((tag, ordinal), ()):
                # Of steps that lead further than the file does, the last that is there.
                last = next(steps[:n] for n in range(len(steps), -1, -1) if steps[:n] in here.inside)
                self.found[Place(tag, ordinal, steps)] = here.inside[last].described()
            if not self.wanted:
                raise Found
        self.innermost = owner
