"""Margin of a book in parts: every part of its accounts into a file of its own, and a manifest of all.

A part is the same bytes on any machine, since its accounts are margined by themselves. Nothing here knows where a part
is computed: `chunks` makes one after the other, `cluster.over_accounts` shares them out. The manifest begins with what
the folder is of, which is there from the start and which every part repeats, and ends with what came out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.dollars import money_digits, money_step
from portfolio_margin.io import part_files
from portfolio_margin.io.open_orders import read_orders, rows_between
from portfolio_margin.io.part_files import part_name
from portfolio_margin.io.partitions import BookFiles, Partition, read_partition
from portfolio_margin.io.positions import Listed
from portfolio_margin.io.results import json_text
from portfolio_margin.io.tables import Table, refuse
from portfolio_margin.io.told import NOTHING, Told
from portfolio_margin.margin import columns_of, margin
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import AccountStatus, MarginStatement
from portfolio_margin.venue_caps import steps_of
from portfolio_margin.version import VERSION
from portfolio_margin.worst_fill import OpenOrders
from pricing.arrays import IntArray
from pricing.digest import hash_parts
from pricing.errors import ConfigError
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

FORM = "portfolio-margin parts 4"
LISTED = ("file", "first", "last", "accounts", "positions", "balances", "sha256", "input_hash")
TOTALS = ("equity", "margin_balance", "initial_margin", "maintenance_margin")


@dataclass(frozen=True)
class MarginJob:
    """What the margin of any partition takes beside its rows; the same for all of them.

    files     the book
    listed    what there is to hold: instruments, or risk arrays that came from a file
    market    None where the arrays came from a file
    arrays, model   as `margin` takes them
    folder    where part files go
    backend, threads   of each part
    told      what is told of the market with every part
    left_out  contracts that the market's source has and the market has not, and why
    run       digest of the run, as `head_of` gives it
    writer    what writes its part files, `part_files.writer`; "" for whatever there is
    orders    open orders of all accounts as `read_orders` takes them, None for none
    """

    files: BookFiles
    listed: Listed
    market: Market | None
    arrays: RiskArrays
    model: MarginModel
    folder: str
    backend: str = "numba"
    threads: int | None = 1
    told: Told = NOTHING
    left_out: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    writer: str = ""
    orders: Table | None = None


class Part(NamedTuple):
    """A part file that was written, and what a run sums up of it.

    number        of its partition
    file          its name in the folder of the job
    sha256, size  of its content, bytes
    first, last   names of its first and last account
    accounts, positions, balances, excluded   counts: positions are of contracts, balances of assets, excluded those of
                  either that the model has no rule for
    status        accounts by status
    below, blind  accounts below maintenance margin, and accounts that bear risk without a rule
    cents         total of each column of TOTALS in whole money steps, so that sums of parts are exact
    input_hash    of the rows and the risk arrays
    identity      what reproduces it beside them, the same for all parts of a run
    """

    number: int
    file: str
    sha256: str
    size: int
    first: str
    last: str
    accounts: int
    positions: int
    balances: int
    excluded: int
    status: dict[str, int]
    below: int
    blind: int
    cents: dict[str, int]
    input_hash: str
    identity: dict[str, Any]


def head_of(
    book: str, arrays: RiskArrays, model: MarginModel, chunk_accounts: int, told: Told = NOTHING
) -> dict[str, Any]:
    """What a folder of results is of: digests of all inputs and of the way they are cut, and "digest" of the whole.

    book            digest of the book, as `digest_of_book` gives it
    chunk_accounts  accounts to a part
    told            what is told of the market with every part

    All that ends in the bytes of a part and is not of its rows alone is here, so that parts of one digest go together:
    also where parameters come from and whether they are valid, what is told, and what writes the files.
    """
    parameters = model.parameter_set.decided_at(arrays.valuation_time)
    head = {
        "form": FORM,
        "engine_version": VERSION,
        "model_id": model.model_id,
        "as_of_ms": arrays.valuation_time,
        "currency": arrays.currency,
        "money_digits": money_digits(money_step(arrays)),
        "chunk_accounts": chunk_accounts,
        "writer": part_files.writer(),
        **parameters.identity(),
        "inputs": {
            "book": book,
            "risk_arrays": arrays.digest,
            "parameters": hash_parts([model.model_id, vars(model.params)]),
            "parameter_set": hash_parts([vars(parameters)]),
            "told": hash_parts([told.document()]),
        },
    }
    return {**head, "digest": hash_parts([head])}


def digest_of_rows(book: Book, orders: OpenOrders | None = None) -> str:
    """A hash of the accounts, positions and open orders of a part, whatever files they came from."""
    return hash_parts([*columns_of(book), *([] if orders is None else columns_of(orders))])


def digest_of_partition(job: MarginJob, partition: Partition) -> str:
    """`digest_of_rows` of a partition. DataError for bad rows."""
    book = read_partition(job.files, partition, job.listed, job.market, job.left_out)
    return digest_of_rows(book, _orders_of(job, partition, book))


def digest_of_book(parts: Sequence[str]) -> str:
    """The digest of a book that is cut into parts, from `digest_of_rows` of each in order."""
    return hash_parts(list(parts))


def venue_of_partition(job: MarginJob, partition: Partition) -> dict[str, int]:
    """Read a partition, and count what its accounts hold of what the venue caps."""
    book = read_partition(job.files, partition, job.listed, job.market, job.left_out)
    return steps_of(job.model, book, job.arrays)


def margin_of_partition(job: MarginJob, partition: Partition) -> Part:
    """Read a partition, margin it, and write its part file, whole or not at all.

    The same bytes however often it is done and wherever. DataError for bad rows; UnwrittenError where the file cannot
    be written, as on a full disk or in a folder that is not there; ConfigError on a machine that writes Parquet
    otherwise than the run.
    """
    if job.writer and job.writer != part_files.writer():
        raise ConfigError(
            f"a worker writes Parquet by {part_files.writer()}, this run by {job.writer}: install the same on both"
        )
    book = read_partition(job.files, partition, job.listed, job.market, job.left_out)
    orders = _orders_of(job, partition, book)
    given = (book, job.arrays, job.market, job.model)
    statement = margin(*given, backend=job.backend, threads=job.threads, orders=orders)
    balances = balances_of(book, job.arrays)
    return write_part(job.folder, partition.number, statement, (len(book.quantity), balances), job.told, job.run)


def _orders_of(job: MarginJob, partition: Partition, book: Book) -> OpenOrders | None:
    if job.orders is None:
        return None
    mine = rows_between(job.orders, partition.first, partition.last)
    return read_orders(mine, book, job.arrays, job.market, left_out=job.left_out)


def balances_of(book: Book, arrays: RiskArrays) -> int:
    """How many rows of a book are balances of assets; the others are positions."""
    return int(np.sum(arrays.is_collateral[book.instrument_idx]))


def write_part(
    folder: str | Path, number: int, statement: MarginStatement, counts: tuple[int, int], told: Told, run: str
) -> Part:
    """Write the part file of a statement, whole or not at all, over one that is there.

    folder  where it goes
    number  of the part
    run     digest of the run, as `head_of` gives it
    counts  rows of its accounts, and how many of them are balances of assets
    told    what is told of the market; what the statement notes and warns of comes to it
    """
    rows, balances = counts
    document = told.noted(statement.notes).warned(statement.warnings).document()
    sums = {
        "first": str(statement.account[0]),
        "last": str(statement.account[-1]),
        "accounts": len(statement),
        "positions": rows - balances,
        "balances": balances,
        "excluded": int(np.sum(statement.excluded)),
        "status": _by_status(statement),
        "below": int(np.sum(statement.below_maintenance)),
        "blind": int(np.sum(statement.unmargined)),
        "cents": {name: int(np.sum(_money_steps(getattr(statement, name), statement.money_step))) for name in TOTALS},
        "input_hash": statement.input_hash,
    }
    stated = {**statement.identity(), **document, "run": run, "chunk": number, "part": sums}
    content = part_files.write_part(Path(folder) / part_name(number), statement.columns(), stated)
    return _part(number, content, json.loads(json_text(stated)))


def known_part(folder: str | Path, number: int, run: str) -> Part | None:
    """The part of this run that a folder has already; None where it is missing, damaged or of another run."""
    path = Path(folder) / part_name(number)
    if not path.is_file():
        return None
    content = part_files.content_of(path)
    found = None if content is None else part_files.stated_in(content)
    if content is None or found is None:
        return None
    stated, rows = found
    sums = stated.get("part")
    if not isinstance(sums, dict) or (stated.get("run"), stated.get("chunk"), sums.get("accounts")) != (
        run,
        number,
        rows,
    ):
        return None
    return _part(number, content, stated)


def _part(number: int, content: bytes, stated: Mapping[str, Any]) -> Part:
    varying = ("input_hash", "positions_excluded", "run", "chunk", "part")
    return Part(
        number=number,
        file=part_name(number),
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        **stated["part"],
        identity={name: value for name, value in stated.items() if name not in varying},
    )


def write_manifest(folder: str | Path, head: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """Write the manifest of a whole run beside its part files, and return what it says; files that a process which
    was killed had begun there are removed.

    head   as `head_of` gives it
    parts  of all partitions, in order

    Raises DataError where a part file is not in this folder: its worker writes to a disk of its own.
    """
    away = [part for part in parts if not _is_there(Path(folder) / part.file, part)]
    if away:
        remedy = f"{len(away)} parts are not in the folder: name one that this machine and all workers share"
        refuse(str(folder), "output", away[0].file, remedy)
    sums = {name: sum(part.cents[name] for part in parts) for name in TOTALS}
    document = {
        **head,
        **{name: value for name, value in (parts[0].identity if parts else {}).items() if name not in head},
        **{name: _all_of(name, parts) for name in ("charges_of_ours", "notes", "warnings")},
        "book_hash": hash_parts([part.input_hash for part in parts])[:16],
        "accounts": sum(part.accounts for part in parts),
        "positions": sum(part.positions for part in parts),
        "balances": sum(part.balances for part in parts),
        "positions_excluded": sum(part.excluded for part in parts),
        "status": {name: sum(part.status[name] for part in parts) for name in AccountStatus.__members__},
        "below_maintenance": sum(part.below for part in parts),
        "unmargined": sum(part.blind for part in parts),
        "totals": {name: Decimal(cents).scaleb(-head["money_digits"]) for name, cents in sums.items()},
        "parts": [{name: value for name, value in part._asdict().items() if name in LISTED} for part in parts],
    }
    # All parts have their names: what else was begun is of workers that were lost, or that nobody waits for any more.
    part_files.remove_leftovers(Path(folder))
    part_files.write_manifest(Path(folder), document)
    return document


def _all_of(name: str, parts: Sequence[Part]) -> list[str]:
    """What any part states under a name, each once; parts of other accounts may have other notes."""
    return list(dict.fromkeys(text for part in parts for text in part.identity.get(name, ())))


def _is_there(path: Path, part: Part) -> bool:
    return path.is_file() and path.stat().st_size == part.size


def _by_status(statement: MarginStatement) -> dict[str, int]:
    return {status.name: int(np.sum(statement.status == status)) for status in AccountStatus}


def _money_steps(amounts: Any, step: float) -> IntArray:
    """Rounded amounts as whole money steps, of which sums are exact in any order."""
    return np.rint(amounts / step).astype(np.int64)
