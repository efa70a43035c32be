"""A folder of result files and the manifest that says what they are of: each file whole, all of one run."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from portfolio_margin.io.atomic import replace_whole
from portfolio_margin.io.results import json_text, plain, result_bytes
from portfolio_margin.io.tables import PARQUET
from pricing.errors import DataError, EngineError, Problem

# Readers of a folder of Parquet files, pyarrow and pandas among them, pass over names that begin so.
MANIFEST = "_manifest.json"
# What it was called by engines whose folders have another form.
FORMER_MANIFEST = "manifest.json"
METADATA = b"portfolio_margin"
SEAL, BLANK = "seal", "0" * 64


class UnwrittenError(EngineError):
    """A file of a run could not be written. Nothing is wrong with its input: what was written stays to be gone on with.

    No DataError, after which nothing is left of a new folder.
    """


def part_name(number: int) -> str:
    """The name of a part file; names in order are accounts in order."""
    return f"part-{number:06d}.parquet"


def writer() -> str:
    """What writes Parquet here: another release may write the same rows in other bytes."""
    import pyarrow

    return f"pyarrow {pyarrow.__version__}"


def write_part(path: Path, columns: Mapping[str, Any], identity: Mapping[str, Any]) -> bytes:
    """Write one Parquet file with its identity, whole or not at all, over one that is there; returns its content.

    It states a seal of its own: the SHA-256 of all its bytes, zeros in place of the seal. UnwrittenError where it
    cannot be written.
    """
    content = result_bytes(PARQUET, columns, {**identity, SEAL: BLANK}, ())
    if content.count(BLANK.encode()) != 1:
        raise AssertionError("the place of a seal must be the only one of its kind")
    content = content.replace(BLANK.encode(), hashlib.sha256(content).hexdigest().encode())
    _write(path, content)
    return content


def _write(path: Path, content: bytes) -> None:
    try:
        replace_whole(path, content)
    except OSError as error:
        why, remedy = error.strerror or str(error), "see to it that it can be"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why, remedy = "the disk is full", "make room"
        elif not path.parent.is_dir():
            why, remedy = "its folder is not there", "see to it that this machine and all workers share it"
        raise UnwrittenError(
            f"{path} cannot be written: {why}; {remedy} and go on with --resume, the parts that are there stay"
        ) from error


def content_of(path: Path) -> bytes | None:
    """The content of a file, None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def stated_in(content: bytes) -> tuple[dict[str, Any], int] | None:
    """The identity that a part file states and its number of rows; None where it is none, or damaged."""
    from pyarrow import ArrowException, BufferReader, parquet

    try:
        file = parquet.ParquetFile(BufferReader(content))
        # The file's own: the Arrow schema in it, which is coded, keeps the zeros.
        told = json.loads((file.metadata.metadata or {}).get(METADATA, b"{}"))
        seal = told.pop(SEAL, None) if isinstance(told, dict) else None
        if not isinstance(seal, str) or len(seal) != len(BLANK):
            return None
        whole = hashlib.sha256(content.replace(seal.encode(), BLANK.encode())).hexdigest() == seal
        return (told, file.metadata.num_rows) if whole else None
    except (OSError, ValueError, ArrowException):
        return None


def check_no_strays(place: Path, names: Sequence[str]) -> None:
    """DataError naming every part file in a folder that is none of this run, and what stands in the place of one."""
    stray = "is no part of this run: take it out of the folder"
    no_file = "is no file, but stands where a part of this run goes: remove it"
    known, problems = set(names), []
    for path in sorted(place.glob("part-*.parquet")):
        if path.name not in known:
            problems.append(Problem(str(place), None, "output", path.name, stray))
        elif path.exists() and not path.is_file():
            problems.append(Problem(str(place), None, "output", path.name, no_file))
    if problems:
        raise DataError(problems)


def check_folder(place: Path, head: Mapping[str, Any], resume: bool) -> None:
    """DataError where a folder holds results and `resume` is not given, holds those of another run, or something else.

    head  what the manifest of this run begins with
    """
    path = place / MANIFEST
    check_room(place, resume)
    if path.exists():
        _check_same_run(path, head)


def check_room(place: Path, resume: bool) -> None:
    """What `check_folder` checks without knowing the run: that there is room for one, or one to go on with."""
    former = place / FORMER_MANIFEST
    if former.exists():
        remedy = "holds results of an engine before this one, which are not gone on with: give another folder"
        raise DataError([Problem(str(place), None, "output", FORMER_MANIFEST, remedy)])
    if (place / MANIFEST).exists():
        if not resume:
            remedy = "holds results already: give --resume to go on with them, or another folder"
            raise DataError([Problem(str(place), None, "output", MANIFEST, remedy)])
    elif place.exists() and (not place.is_dir() or {*place.iterdir()} - {*_leftovers(place)}):
        remedy = "is no empty folder and has no results to go on with: give another one"
        raise DataError([Problem(str(place), None, "output", place.name, remedy)])


@contextlib.contextmanager
def part_folder(folder: str | Path, head: Mapping[str, Any], resume: bool) -> Iterator[Path]:
    """A folder for the parts of a run, made with its manifest, or gone on with where it is of the same run.

    Whatever ends the run, what was written stays for another one to go on with; but where rows are bad nothing is left
    of a folder that was not there. DataError as `check_folder`, and where the folder cannot be made; UnwrittenError
    where its manifest cannot be written.
    """
    place = Path(folder)
    check_folder(place, head, resume)
    remove_leftovers(place)
    if (place / MANIFEST).exists():
        yield place
        return
    was_there = place.exists()
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_manifest(place, head)
    except OSError as error:
        raise DataError([Problem(str(place), None, "output", error.strerror, "cannot be made")]) from error
    try:
        yield place
    except DataError:
        for path in place.iterdir() if was_there else ():
            path.unlink()
        if not was_there:
            shutil.rmtree(place)
        raise


def remove_leftovers(place: Path) -> None:
    """Remove files that a process had begun in a folder when it was killed, before they had their names."""
    for leftover in _leftovers(place):
        leftover.unlink(missing_ok=True)


def _leftovers(place: Path) -> list[Path]:
    begun = (*place.glob(".part-*.part"), *place.glob(f".{MANIFEST}.*.part"))
    return [path for path in begun if path.is_file()]


def write_manifest(place: Path, document: Mapping[str, Any]) -> None:
    """Write the manifest of a folder, over another one that is there. UnwrittenError where it cannot be written."""
    content = (json_text(dict(document)) + "\n").encode()
    if content_of(place / MANIFEST) != content:
        _write(place / MANIFEST, content)


def _check_same_run(path: Path, head: Mapping[str, Any]) -> None:
    """DataError naming what differs between the run that a folder is of and this one."""
    remedy = "results of another run: give its inputs again, or another folder"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError([Problem(str(path), None, "manifest", "damaged", "give another folder")]) from None
    wanted = plain(dict(head))
    if not isinstance(found, dict):
        found = {}
    told = _differences("", found, wanted)
    if any(name == "chunk_accounts" for name, _, _ in told):
        # The digest of a book is that of its parts: cut otherwise, the same one has another.
        told = [difference for difference in told if difference[0] != "inputs.book"]
    if told:
        raise DataError(
            [Problem(str(path), None, name, value, f"{remedy}; here it is {now}") for name, value, now in told]
        )


def _differences(prefix: str, found: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    differ: list[tuple[str, Any, Any]] = []
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            differ += _differences(f"{prefix}{name}.", other, value)
        elif other != value and name != "digest":
            differ.append((f"{prefix}{name}", other, value))
    return differ
