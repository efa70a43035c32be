"""Margin statements of a large book, a chunk of accounts at a time, into a folder of Parquet files.

A run can end at any moment, also by a killed process or a lost machine: every file is there whole or not at all, and a
run that goes on computes only what is missing. A manifest says what the files are of, so that nothing is added to a
folder of other inputs. Chunks do not depend on each other: whoever shares them out among processes or machines calls
`chunks` and `write_part`, in any order, and the folder comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from portfolio_margin import margin_parts
from portfolio_margin.book import Book
from portfolio_margin.io.part_files import check_no_strays, part_folder, part_name
from portfolio_margin.io.told import NOTHING, Told
from portfolio_margin.margin import margin
from portfolio_margin.margin_parts import (
    Part,
    balances_of,
    digest_of_book,
    digest_of_rows,
    head_of,
    known_part,
    write_manifest,
)
from portfolio_margin.requirement import MarginModel
from portfolio_margin.worst_fill import OpenOrders
from pricing.errors import ConfigError
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays


class Work(NamedTuple):
    """What every chunk is computed from. market is None where the arrays come from a file, orders where none is."""

    book: Book
    arrays: RiskArrays
    market: Market | None
    model: MarginModel
    backend: str = "numba"
    threads: int | None = None
    orders: OpenOrders | None = None


class Chunk(NamedTuple):
    """Accounts first to last - 1 of the book; number counts chunks from 0."""

    number: int
    first: int
    last: int

    @property
    def file_name(self) -> str:
        """Name of its file; names sort as the accounts do."""
        return part_name(self.number)


class Finished(NamedTuple):
    """What a run did: files written by it, files that were there already, accounts in all, and the manifest."""

    written: int
    kept: int
    accounts: int
    manifest: dict[str, Any]


def chunks(accounts: int, chunk_accounts: int) -> list[Chunk]:
    """The chunks of a book of that many accounts. ConfigError for a size that is not 1 or more."""
    if chunk_accounts < 1:
        raise ConfigError(f"chunk_accounts = {chunk_accounts!r}: must be 1 or more")
    starts = range(0, accounts, chunk_accounts)
    return [Chunk(number, low, min(low + chunk_accounts, accounts)) for number, low in enumerate(starts)]


def manifest_of(work: Work, chunk_accounts: int, told: Told = NOTHING) -> dict[str, Any]:
    """What a folder of results is of: digests of all inputs and of the way they are cut.

    told  what is told of the market with every part
    """

    def part(chunk: Chunk) -> str:
        orders = None if work.orders is None else work.orders.between(chunk.first, chunk.last)
        return digest_of_rows(work.book.accounts(chunk.first, chunk.last), orders)

    parts = [part(chunk) for chunk in chunks(len(work.book), chunk_accounts)]
    return head_of(digest_of_book(parts), work.arrays, work.model, chunk_accounts, told)


def write_part(work: Work, chunk: Chunk, folder: Path, digest: str, told: Told = NOTHING) -> Part:
    """Compute one chunk and write its file, whole or not at all; over one that is there."""
    own = work.book.accounts(chunk.first, chunk.last)
    orders = None if work.orders is None else work.orders.between(chunk.first, chunk.last)
    given = (own, work.arrays, work.market, work.model)
    statement = margin(*given, backend=work.backend, threads=work.threads, orders=orders)
    counts = len(own.quantity), balances_of(own, work.arrays)
    return margin_parts.write_part(folder, chunk.number, statement, counts, told, digest)


def run_in_chunks(
    work: Work,
    folder: str | Path,
    chunk_accounts: int,
    *,
    resume: bool = False,
    told: Told = NOTHING,
    done: Callable[[Chunk], None] = lambda chunk: None,
) -> Finished:
    """Write the statements of all accounts into a folder, `chunk_accounts` of them a file.

    resume  go on in a folder that has a part of this very run, and compute what is missing
    told    what is told of the market in every file
    done    called after each chunk, for a progress bar

    The files are equal to those of a run that was never interrupted, byte for byte. Raises DataError where the folder
    holds results already and `resume` is not given, or holds those of other inputs, UnwrittenError where a file cannot
    be written (a full disk, say; the parts that are there stay), and what `margin` raises.
    """
    head = manifest_of(work, chunk_accounts, told)
    digest, written, parts = str(head["digest"]), 0, []
    with part_folder(folder, head, resume) as place:
        planned = chunks(len(work.book), chunk_accounts)
        check_no_strays(place, [chunk.file_name for chunk in planned])
        for chunk in planned:
            part = known_part(place, chunk.number, digest) if resume else None
            if part is None:
                part = write_part(work, chunk, place, digest, told)
                written += 1
            parts.append(part)
            done(chunk)
        manifest = write_manifest(place, head, parts)
    return Finished(written, len(parts) - written, len(work.book), manifest)
