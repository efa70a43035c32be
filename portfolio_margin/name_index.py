"""Which row a name is in, for a million names, in the least memory that a look has to reach into.

A dict of a million names lies in some 140 MB, of which every look reads four far places: the table, the entry, the name
and the number. Where memory that has not been read for a while is slow, as on a virtual machine, that was most of what
a slow answer to one order waited for. Here a look reads three places in 31 MB: a table of rows (open addressing, linear
probing: Knuth, The Art of Computer Programming 3, section 6.4, algorithm L) and the letters of the names one after the
other.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Places of the table for a name at least, a power of two: a look tries 1.1 places on average then, 1.5 when names that
# were added have filled half of it.
PLACES = 2
FREE = -1


class NameIndex:
    """Rows of different names, in the order they are given; names are only added.

    One thread adds while others look: who looks meanwhile finds a new name or does not, and all others as before.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._letters = bytearray()
        # The letters of row r are those from _ends[r] to _ends[r + 1].
        self._ends = array("q", [0])
        self._table = _filled(np.zeros(0, np.int64), 0)
        self.extend(names)

    def __reduce__(self) -> tuple[type[NameIndex], tuple[list[str]]]:
        """Made anew from its names, since Python's hashes of texts differ from process to process."""
        return NameIndex, ([_text(self._name(row)) for row in range(len(self))],)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def get(self, name: str, default: int = FREE) -> int:
        """Row of a name; `default` where there is none."""
        table, letters, ends = self._table, self._letters, self._ends
        wanted = name.encode("utf-8", "surrogatepass")
        last = len(table) - 1
        place = hash(name) & last
        while (row := table[place]) >= 0:
            if letters[ends[row] : ends[row + 1]] == wanted:
                return row
            place = (place + 1) & last
        return default

    def extend(self, names: Sequence[str]) -> None:
        """Add names that are not there yet, each once. ValueError, with nothing added, where one is there already or
        given twice."""
        first, count = len(self), len(self) + len(names)
        if len(set(names)) != len(names) or (first and any(self.get(name) >= 0 for name in names)):
            raise ValueError("names must differ: one is given twice or there already")
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        # Letters before ends before rows: a look that finds the row finds the rest.
        self._letters += b"".join(encoded)
        self._ends.frombytes((self._ends[-1] + np.cumsum(lengths)).tobytes())
        if PLACES * count <= len(self._table):
            for row, name in enumerate(names, first):
                self._put(name, row)
            return
        everybody = names if not first else [_text(self._name(row)) for row in range(count)]
        hashes = np.fromiter(map(hash, everybody), np.int64, count)
        self._table = _filled(hashes, 2 * PLACES * count)

    def _put(self, name: str, row: int) -> None:
        last = len(self._table) - 1
        place = hash(name) & last
        while self._table[place] >= 0:
            place = (place + 1) & last
        self._table[place] = row

    def _name(self, row: int) -> bytes:
        return bytes(self._letters[self._ends[row] : self._ends[row + 1]])


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _filled(hashes: NDArray[np.int64], room: int) -> array[int]:
    """A table of at least so many places, a power of two, with the rows of these hashes, each in the first free place
    from its own on."""
    size = 1 << max(3, (room - 1).bit_length())
    table = np.full(size, FREE, np.int32)
    place = hashes & (size - 1)
    rows = np.arange(len(hashes), dtype=np.int32)
    while len(rows):
        free = table[place] == FREE
        table[place[free]] = rows[free]
        lost = table[place] != rows
        rows, place = rows[lost], (place[lost] + 1) & (size - 1)
    return array("i", table.tobytes())
