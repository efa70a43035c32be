"""Leaves of SPAN XML elements as columns: what a text states, what stands twice, what stands empty."""

from __future__ import annotations

from collections import Counter
from typing import Any
from xml.etree import ElementTree

from portfolio_margin.io.span_elements import (
    ALIAS_TYPES,
    FLAG,
    NOT_COMPUTED,
    NUMBER,
    PASSED_OVER,
    SEVERAL,
    TEXT,
    WHOLE,
    Leaf,
    Record,
)
from portfolio_margin.io.span_source import BadRecord
from portfolio_margin.span.days import misdated

Element = ElementTree.Element
LARGEST_WHOLE = 2**62
NO_LEAF = Leaf("", "")


def number(text: str | None, kind: str = NUMBER) -> Any:
    """The number a text states. ValueError where it states none."""
    plain = (text or "").strip()
    if "_" in plain or not plain.isascii():
        raise ValueError(plain)
    if kind == NUMBER:
        value = float(plain)
        if value - value != 0.0:
            raise ValueError(plain)
        return value
    whole = int(plain)
    if abs(whole) > LARGEST_WHOLE:
        raise ValueError(plain)
    return whole


class Leaves:
    """Reads columns from elements, and counts what it meets on the way.

    left_out  elements that are known and not computed, by tag
    empty     numbers that stand empty, by element and tag: taken as absent
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self.empty: Counter[str] = Counter()

    def values(self, element: Element, record: Record) -> dict[str, Any]:
        """Columns of one element; BadRecord about a leaf that states nothing of its kind, or two different things."""
        values: dict[str, Any] = {}
        seen: set[str] = set()
        check_mixed(element)
        for child in element:
            tag = child.tag
            if tag in record.leaves:
                check_leaf(child, tag)
                self._leaf(values, record.leaves[tag], tag, child, element.tag)
            elif tag in record.inline:
                if tag in seen and tag in SEVERAL:
                    self.left_out[f"further {tag}"] += 1
                else:
                    self._inline(values, child, record, element.tag)
                seen.add(tag)
            elif tag not in record.nested:
                self.other(tag, child, record)
        for name in record.needed:
            if values.get(name, "") == "":
                empty = (child for child in element if record.leaves.get(child.tag, NO_LEAF).column == name)
                raise BadRecord(name, None, f"{element.tag} needs it", next(empty, element))
        return values

    def aliases(self, element: Element) -> dict[str, Any]:
        """What we wrote ourselves among other names of a contract."""
        values: dict[str, Any] = {}
        for alias in element.findall("alias"):
            leaf = ALIAS_TYPES.get((alias.findtext("aType") or "").strip())
            if leaf is not None:
                value = alias.find("aVal")
                self._leaf(values, leaf, "alias/aVal", alias if value is None else value, element.tag)
        return values

    def other(self, tag: str, child: Element, record: Record) -> None:
        """What is no leaf here: known and passed over, known and counted, or refused."""
        plain = tag.rpartition("/")[2]
        if tag in record.nested or plain in PASSED_OVER:
            return
        if plain in NOT_COMPUTED:
            self.left_out[plain] += 1
            return
        raise BadRecord(tag, (child.text or "").strip()[:40], "unknown record: no element of a SPAN file here", child)

    def notes(self) -> tuple[str, ...]:
        """What was counted, one text a line."""
        told = [f"{count} x {tag} of the file: not computed here" for tag, count in sorted(self.left_out.items())]
        empty = [f"{count} x {tag} stands empty: taken as not stated" for tag, count in sorted(self.empty.items())]
        return (*told, *empty)

    def _inline(self, values: dict[str, Any], child: Element, record: Record, owner: str) -> None:
        check_mixed(child)
        for grandchild in child:
            tag = f"{child.tag}/{grandchild.tag}"
            if tag in record.leaves:
                check_leaf(grandchild, tag)
                self._leaf(values, record.leaves[tag], tag, grandchild, owner)
            else:
                self.other(tag, grandchild, record)

    def _leaf(self, values: dict[str, Any], leaf: Leaf, tag: str, element: Element, owner: str) -> None:
        stated = (element.text or "").strip()
        if leaf.kind == TEXT:
            value: Any = stated
        elif not stated:
            # The format lets most numbers be absent, but has no empty ones.
            self.empty[f"{owner}/{tag}"] += 1
            return
        else:
            value = _number_of(leaf.kind, tag, stated, element)
        if values.setdefault(leaf.column, value) != value:
            raise BadRecord(tag, stated, f"{owner} has stated it before, as {values[leaf.column]}", element)
        if leaf.kind == TEXT and stated:
            wanted = misdated(leaf.column, stated)
            if wanted:
                raise BadRecord(tag, stated, wanted, element)


def check_leaf(leaf: Element, tag: str) -> None:
    """Refuse a leaf with an element inside: what is behind it would not be read."""
    if len(leaf):
        raise BadRecord(tag, f"{leaf.text or ''}<{leaf[0].tag}>", "an element stands where only a text can", leaf)


def check_mixed(element: Element) -> None:
    """Refuse text between the children of a record: a tag may have been lost."""
    if element.text is not None and element.text.strip():
        raise BadRecord(element.tag, element.text.strip()[:40], "text stands where only elements can", element)
    for child in element:
        if child.tail is not None and child.tail.strip():
            raise BadRecord(child.tag, child.tail.strip()[:40], "text stands where only elements can", child)


def _number_of(kind: str, tag: str, stated: str, element: Element) -> Any:
    try:
        value = number(stated, NUMBER if kind == NUMBER else WHOLE)
    except ValueError:
        raise BadRecord(tag, stated, f"must be a {'number' if kind == NUMBER else kind}", element) from None
    if kind == FLAG and value not in (0, 1):
        raise BadRecord(tag, stated, f"must be {kind}", element)
    return value
