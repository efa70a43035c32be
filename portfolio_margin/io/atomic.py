"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pricing.errors import DataError, Problem


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    The bytes go to a new file in the same folder, which then takes the name. Whatever fails, the file that was
    there before stays. Raises DataError where the folder is missing or may not be written.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        raise DataError([Problem(str(path), None, "output", "not a regular file", "give the name of a file")])
    try:
        replace_whole(target, content)
    except OSError as error:
        missing = not target.resolve().parent.is_dir()
        remedy = "the folder does not exist; create it" if missing else "cannot be written"
        raise DataError([Problem(str(path), None, "output", error.strerror or str(error), remedy)]) from error


def replace_whole(path: Path, content: bytes) -> None:
    """As `write_whole`, for callers that have words of their own for what fails: an OSError as the system raises it."""
    target = path.resolve() if path.is_symlink() else path
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
