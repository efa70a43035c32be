"""What is told of the market behind a result: rows left out, what was added, what is rough about a slice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

LEFT_OUT, NOTE, WARNING = "left out: ", "note: ", "warning: "


class Told(NamedTuple):
    """Texts that go with a market into every file and every output made from it.

    left_out  rows of the market's source that were left out, and why
    notes     what was added or assumed
    warnings  what is rough about its slices
    """

    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_lines(cls, lines: Iterable[str]) -> Told:
        """What `lines` gave; a line that does not say what it is counts as a note."""
        given = list(lines)

        def those(mark: str) -> tuple[str, ...]:
            return tuple(line.removeprefix(mark) for line in given if line.startswith(mark))

        others = tuple(line for line in given if not line.startswith((LEFT_OUT, NOTE, WARNING)))
        return cls(those(LEFT_OUT), those(NOTE) + others, those(WARNING))

    def lines(self) -> tuple[str, ...]:
        """One line a text, each saying what it is."""
        return tuple(f"{LEFT_OUT}{text}" for text in self.left_out) + self.remarks()

    def remarks(self) -> tuple[str, ...]:
        """The lines without those of the rows left out."""
        return tuple(f"{NOTE}{text}" for text in self.notes) + tuple(f"{WARNING}{text}" for text in self.warnings)

    def warned(self, warnings: Iterable[str]) -> Told:
        """The same with more warnings."""
        return self._replace(warnings=(*self.warnings, *warnings))

    def noted(self, notes: Iterable[str]) -> Told:
        """The same with more notes, each once."""
        return self._replace(notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def document(self) -> dict[str, list[str]]:
        """The texts by the names they have in documents."""
        return {
            "market_rows_left_out": list(self.left_out),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def left_out_by_name(self) -> Mapping[str, str]:
        """The texts of the rows left out by the names of contracts in them; a remedy may name others as examples."""
        return {
            name: text
            for text in reversed(self.left_out)
            for name in re.split(r"[\s(),='\"]+", text.partition(": ")[0])
            if "-" in name.strip("-")
        }


NOTHING = Told()
