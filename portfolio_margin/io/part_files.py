"""A folder of result files and the manifest that says what they are of: each file whole, all of one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.results import json_text, plain, result_bytes
from portfolio_margin.io.tables import PARQUET
from pricing.errors import DataError, Problem

MANIFEST = "manifest.json"
METADATA = b"portfolio_margin"


def part_name(number: int) -> str:
    """The name of a part file; names in order are accounts in order."""
    return f"part-{number:06d}.parquet"


def write_part(path: Path, columns: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write one Parquet file with its identity, whole or not at all; over one that is there."""
    write_whole(path, result_bytes(PARQUET, columns, identity, ()))


def is_whole(path: Path, run: str, chunk: int, rows: int) -> bool:
    """Whether a part is there, of this run and this chunk, and has all its rows."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
        told = json.loads((file.schema_arrow.metadata or {}).get(METADATA, b"{}"))
        found = file.metadata.num_rows
    except (OSError, ValueError, ArrowException):
        return False
    return (told.get("run"), told.get("chunk"), found) == (run, chunk, rows)


def open_folder(place: Path, manifest: dict[str, Any], resume: bool) -> None:
    """Make the folder and its manifest, or see to it that the one that is there is of the same run.

    DataError where it holds results and `resume` is not given, holds those of another run, or something else.
    """
    path = place / MANIFEST
    if path.exists():
        if not resume:
            remedy = "holds results already: give --resume to go on with them, or another folder"
            raise DataError([Problem(str(place), None, "output", MANIFEST, remedy)])
        _check_same_run(path, manifest)
        for leftover in place.glob(".part-*.part"):
            leftover.unlink(missing_ok=True)
        return
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        remedy = "is no empty folder and has no results to go on with: give another one"
        raise DataError([Problem(str(place), None, "output", place.name, remedy)])
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError([Problem(str(place), None, "output", error.strerror, "cannot be made")]) from error
    write_whole(path, (json_text(manifest) + "\n").encode())


def _check_same_run(path: Path, manifest: dict[str, Any]) -> None:
    """DataError naming what differs between the run that a folder is of and this one."""
    remedy = "results of another run: give its inputs again, or another folder"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError([Problem(str(path), None, "manifest", "damaged", "give another folder")]) from None
    wanted = plain(manifest)
    if not isinstance(found, dict):
        found = {}
    told = _differences("", found, wanted)
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
