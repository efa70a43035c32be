"""A stress over a Parquet book in parts: every partition is read where it is computed, and kept there.

What `stress.sections` answers for a partition is computed by whoever `in_parts.Each` finds, and kept there is what its
accounts hold by then; what goes there is what is new in the log of the partition, and columns of its accounts.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from portfolio_margin.book import Book
from portfolio_margin.io.partitions import BookFiles, Partition, read_partition
from portfolio_margin.margin_parts import digest_of_rows
from portfolio_margin.stress.holdings import prepare_holdings
from portfolio_margin.stress.log import Kept
from portfolio_margin.stress.sections import Setting, named_in


class _Layout(NamedTuple):
    """Kept holdings, with places for accounts that name a policy."""

    named: frozenset[str]
    kept: Kept


# Layouts of this process by stress, partition and contracts, the last that was used at the end.
_LAYOUTS: OrderedDict[tuple[str, int, str], _Layout] = OrderedDict()
_LOCK = threading.Lock()
_COUNT = itertools.count()


@dataclass(frozen=True)
class FilePart:
    """A partition of a book of files, `stress.sections.Source`.

    stress    name of what it is read for, other than that of any other stress
    left_out  contracts that the market's source has and the market has not, and why
    memory    how many partitions a process keeps
    """

    files: BookFiles
    partition: Partition
    stress: str
    left_out: Mapping[str, str]
    memory: int

    def accounts(self, setting: Setting) -> Book:
        """The book of its accounts at the start. DataError for bad rows."""
        return self.kept(setting).start.book

    def kept(self, setting: Setting) -> Kept:
        """Its holdings, read where this process has not kept them. DataError for bad rows."""
        key, wanted = (self.stress, self.partition.number, setting.contracts), frozenset(setting.rules.named)
        with _LOCK:
            # Places of accounts that name no policy now hold nothing, so they change nothing.
            if key in _LAYOUTS and wanted <= _LAYOUTS[key].named:
                _LAYOUTS.move_to_end(key)
                return _LAYOUTS[key].kept
        book = read_partition(self.files, self.partition, setting.instruments, setting.market, self.left_out)
        holdings = prepare_holdings(book, setting.start, named_in(book, setting))
        laid = _Layout(wanted, Kept(holdings, digest_of_rows(book)))
        with _LOCK:
            for other in [known for known in _LAYOUTS if known[0] != self.stress]:
                del _LAYOUTS[other]
            _LAYOUTS[key] = laid
            while len(_LAYOUTS) > self.memory:
                _LAYOUTS.popitem(last=False)
        return laid.kept


def sources_of(
    files: BookFiles, parts: Sequence[Partition], workers: int, left_out: Mapping[str, str]
) -> tuple[FilePart, ...]:
    """The partitions of a book as sources of one stress.

    files     by whole paths, which all machines share
    workers   among whom they are shared out; each keeps its share, and one more that it helps with
    left_out  as `read_partition` takes it
    """
    memory = -(-len(parts) // max(workers, 1)) + 1
    stress = f"{os.uname().nodename if hasattr(os, 'uname') else ''}-{os.getpid()}-{next(_COUNT)}"
    return tuple(FilePart(files, part, stress, dict(left_out), memory) for part in parts)
