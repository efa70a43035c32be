"""Known names near to one that is not known, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import takewhile

SHOWN = 3
LISTED = 12
CUTOFF = 0.6
# Beyond so many names only those that begin alike are compared one by one.
COMPARED = 20_000
BEGINNING = 3


def nearest(name: str, known: Iterable[str], count: int = SHOWN, cutoff: float = CUTOFF) -> list[str]:
    """Up to `count` known names, nearest first: upper or lower case does not count, a part of a name is near.

    Of equally near ones those that agree longest from the left come first.
    """
    lowered: dict[str, str] = {}
    for other in known:
        lowered.setdefault(other.lower(), other)
    wanted = name.strip().lower()
    if not wanted:
        return []
    if len(lowered) > COMPARED:
        lowered = {low: other for low, other in lowered.items() if low[:BEGINNING] == wanted[:BEGINNING]}
    alike = difflib.get_close_matches(wanted, lowered, max(count, 50), cutoff)
    parts = [low for low in lowered if len(wanted) >= BEGINNING and wanted in low and low not in alike]
    found = sorted(alike, key=lambda low: -_agreeing(wanted, low)) + sorted(parts)
    return [lowered[low] for low in found[:count]]


def did_you_mean(name: str, known: Iterable[str], count: int = SHOWN, cutoff: float = CUTOFF) -> str:
    """The end of a sentence that offers the nearest names, or nothing; a lower cutoff offers farther ones."""
    near = nearest(name, known, count, cutoff)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def did_you_mean_or_known(name: str, known: Sequence[str]) -> str:
    """The end of a sentence that offers the nearest names, or else what there is to choose from."""
    near = did_you_mean(name, known)
    if near:
        return near
    shown = ", ".join(known[:LISTED])
    return f"; known: {shown or 'none'}" + (f" and {len(known) - LISTED} more" if len(known) > LISTED else "")


def _agreeing(name: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, other, strict=False)))
