"""A book in parts: which accounts belong together, their rows out of a Parquet file, their statements into a file.

Nothing here knows where a part is computed. A part is the same bytes on any machine, since its accounts are margined
by themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.positions import COLLATERAL_COLUMNS, POSITION_COLUMNS, Listed, read_book, read_collateral
from portfolio_margin.io.results import MONEY_DIGITS, json_text, result_bytes
from portfolio_margin.io.tables import PARQUET, Table, kind_of_name, refuse, require_columns, text_column
from portfolio_margin.io.told import NOTHING, Told
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import MONEY_STEP, AccountStatus, MarginStatement
from pricing.arrays import BoolArray, IntArray
from pricing.digest import hash_parts
from pricing.errors import ConfigError
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet

DEFAULT_ACCOUNTS = 50_000
MANIFEST = "manifest.json"
MANIFEST_FORMAT = "portfolio-margin parts 1"
LISTED = ("file", "first", "last", "accounts", "positions", "sha256", "input_hash")
TOTALS = ("equity", "margin_balance", "initial_margin", "maintenance_margin")


class BookFiles(NamedTuple):
    """The Parquet files of a book: positions, and collateral or None."""

    positions: str
    collateral: str | None = None


class Partition(NamedTuple):
    """Accounts that are read and margined together.

    number       from 0, in order of account
    first, last  names of its first and last account, in order of code points
    positions, collateral   row groups of the two files that hold rows of them
    """

    number: int
    first: str
    last: str
    positions: tuple[int, ...]
    collateral: tuple[int, ...] = ()


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


class Part(NamedTuple):
    """A part file that was written, and what a run sums up of it.

    number        of its partition
    file          its name in the folder of the job
    sha256, size  of its content, bytes
    first, last   names of its first and last account
    accounts, positions, excluded   counts; excluded are positions that the model has no rule for
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
    excluded: int
    status: dict[str, int]
    below: int
    blind: int
    cents: dict[str, int]
    input_hash: str
    identity: dict[str, Any]


def partitions(files: BookFiles, accounts_each: int = DEFAULT_ACCOUNTS) -> tuple[Partition, ...]:
    """The partitions of a book: accounts in order of name, `accounts_each` to each but the last.

    Reads the account columns once, a row group at a time. A file in order of account is then read once; otherwise
    every partition looks through all row groups that may hold one of its accounts. DataError where a file is missing,
    is no Parquet or has other columns; ConfigError for a count below 1.
    """
    if accounts_each < 1:
        raise ConfigError(f"accounts_each = {accounts_each!r}: must be a whole number above 0")
    given = [(files.positions, POSITION_COLUMNS), (files.collateral, COLLATERAL_COLUMNS)]
    scans = [[] if path is None else _scan(path, columns) for path, columns in given]
    names = sorted(set().union(*(group.accounts for scan in scans for group in scan)))
    if not names:
        refuse(files.positions, "rows", 0, "an empty portfolio; give at least one position")
    found = []
    for number, low in enumerate(range(0, len(names), accounts_each)):
        first, last = names[low], names[min(low + accounts_each, len(names)) - 1]
        groups = (tuple(g.number for g in scan if g.first <= last and first <= g.last) for scan in scans)
        found.append(Partition(number, first, last, *groups))
    return tuple(found)


def read_partition(job: MarginJob, partition: Partition) -> Book:
    """The book of the accounts of a partition. DataError that lists every bad row of theirs by file and row."""
    positions = _rows(job.files.positions, partition.positions, partition)
    owned = job.files.collateral
    collateral = None if owned is None else _rows(owned, partition.collateral, partition)
    if len(positions.frame):
        return read_book(positions, collateral, job.listed, job.market, left_out=job.left_out)
    if collateral is None:
        raise AssertionError("a partition has accounts, so one of the files has rows of them")
    held = read_collateral(collateral, job.listed)
    return Book.from_arrays(held.account, held.instrument_idx, held.quantity, job.listed.expiry_idx)


def margin_of_partition(job: MarginJob, partition: Partition) -> Part:
    """Read a partition, margin it, and write its part file, whole or not at all.

    The same bytes however often it is done and wherever. DataError for bad rows, and for a folder that is not there.
    """
    book = read_partition(job, partition)
    statement = margin(book, job.arrays, job.market, job.model, backend=job.backend, threads=job.threads)
    identity = {**statement.identity(), **job.told.warned(statement.warnings).document()}
    content = result_bytes(PARQUET, statement.columns(), identity, ())
    file = part_name(partition.number)
    write_whole(Path(job.folder) / file, content)
    varying = ("input_hash", "positions_excluded")
    return Part(
        number=partition.number,
        file=file,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        first=partition.first,
        last=partition.last,
        accounts=len(book),
        positions=len(book.quantity),
        excluded=int(np.sum(statement.excluded)),
        status=_by_status(statement),
        below=int(np.sum(statement.below_maintenance)),
        blind=int(np.sum(statement.unmargined)),
        cents={name: int(np.sum(_money_steps(getattr(statement, name)))) for name in TOTALS},
        input_hash=statement.input_hash,
        identity={name: value for name, value in identity.items() if name not in varying},
    )


def part_name(number: int) -> str:
    """The name of a part file; names in order are accounts in order."""
    return f"part-{number:06d}.parquet"


@contextlib.contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write into that takes the given name when the context ends, and is gone where it ends in an error.

    So the folder is there with everything in it or not at all. DataError where the name is taken by a file or by a
    folder with something in it, or where it cannot be made.
    """
    target = Path(os.path.abspath(folder))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        refuse(str(folder), "output", "exists", "name a folder that does not exist yet, or an empty one")
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        part.mkdir()
        yield part
        if target.exists():
            target.rmdir()
        os.replace(part, target)
    except OSError as error:
        remedy = (
            "the folder it belongs in does not exist; create it" if not target.parent.is_dir() else "cannot be made"
        )
        refuse(str(folder), "output", error.strerror or str(error), remedy)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_manifest(folder: str | Path, job: MarginJob, parts: Sequence[Part]) -> dict[str, Any]:
    """Write manifest.json of a whole run beside its part files, and return what it says.

    parts  of all partitions, in order

    Raises DataError where a part file is not in this folder: its worker writes to a disk of its own.
    """
    away = [part for part in parts if not _is_there(Path(folder) / part.file, part)]
    if away:
        remedy = f"{len(away)} parts are not in the folder: name one that this machine and all workers share"
        refuse(str(folder), "output", away[0].file, remedy)
    sums = {name: sum(part.cents[name] for part in parts) for name in TOTALS}
    document = {
        "format": MANIFEST_FORMAT,
        **(parts[0].identity if parts else {}),
        "arrays_digest": job.arrays.digest,
        "book_hash": hash_parts([part.input_hash for part in parts])[:16],
        "as_of_ms": job.arrays.valuation_time,
        "currency": job.arrays.currency,
        "accounts": sum(part.accounts for part in parts),
        "positions": sum(part.positions for part in parts),
        "positions_excluded": sum(part.excluded for part in parts),
        "status": {name: sum(part.status[name] for part in parts) for name in AccountStatus.__members__},
        "below_maintenance": sum(part.below for part in parts),
        "unmargined": sum(part.blind for part in parts),
        "totals": {name: Decimal(cents).scaleb(-MONEY_DIGITS) for name, cents in sums.items()},
        "parts": [{name: value for name, value in part._asdict().items() if name in LISTED} for part in parts],
    }
    write_whole(Path(folder) / MANIFEST, (json_text(document) + "\n").encode())
    return document


def _is_there(path: Path, part: Part) -> bool:
    return path.is_file() and path.stat().st_size == part.size


def _by_status(statement: MarginStatement) -> dict[str, int]:
    return {status.name: int(np.sum(statement.status == status)) for status in AccountStatus}


def _money_steps(amounts: Any) -> IntArray:
    """Rounded amounts as whole money steps, of which sums are exact in any order."""
    return np.rint(amounts / MONEY_STEP).astype(np.int64)


class _Group(NamedTuple):
    """A row group with rows: its accounts, the first and last of them by name."""

    number: int
    accounts: set[str]
    first: str
    last: str


def _scan(path: str, columns: Sequence[str]) -> list[_Group]:
    """The accounts of every row group that has rows."""
    import pandas as pd

    with _opened(path) as file:
        header = Table(path, pd.DataFrame(columns=file.schema_arrow.names), np.zeros(0, np.int64))
        require_columns(header, columns, only=True)
        found = []
        for number in range(file.num_row_groups):
            accounts = set(_accounts(path, file.read_row_group(number, columns=["account"])).unique().tolist())
            if accounts:
                found.append(_Group(number, accounts, min(accounts), max(accounts)))
        return found


def _rows(path: str, groups: Sequence[int], partition: Partition) -> Table:
    """The rows of a partition's accounts, numbered as in the file."""
    import pyarrow

    with _opened(path) as file:
        starts = np.cumsum([1, *(file.metadata.row_group(g).num_rows for g in range(file.num_row_groups))])
        parts, rows = [file.schema_arrow.empty_table()], [np.zeros(0, np.int64)]
        for number in groups:
            read = file.read_row_group(number)
            mine = _in_partition(_accounts(path, read), partition)
            parts.append(read.filter(pyarrow.array(mine)))
            rows.append(starts[number] + np.flatnonzero(mine))
        return Table(path, pyarrow.concat_tables(parts).to_pandas(), np.concatenate(rows))


def _accounts(path: str, read: Any) -> pd.Series[str]:
    """Account of every row of an Arrow table, as `read_book` names them."""
    frame = read.select(["account"]).to_pandas()
    return text_column(Table(path, frame, np.arange(1, len(frame) + 1)), "account")


def _in_partition(account: pd.Series[str], partition: Partition) -> BoolArray:
    return np.asarray((account >= partition.first) & (account <= partition.last), dtype=np.bool_)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[pyarrow.parquet.ParquetFile]:
    """A Parquet file, open. DataError where it is missing, none, or damaged."""
    if kind_of_name(path, (PARQUET,)) != PARQUET:
        refuse(path, "file type", Path(path).suffix, "a book in parts is read from Parquet; save it as .parquet")
    try:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except ImportError:
        refuse(path, "file type", PARQUET, "reading Parquet needs pyarrow: install portfolio-margin[io]")
    except FileNotFoundError:
        refuse(path, "file", Path(path).name, "no such file")
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        refuse(path, "file", str(error).splitlines()[0], "damaged Parquet file; fetch or write it again")
