"""What lets somebody else make a page anew: version, command, files with their digests, the time it was made."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np
from click.core import ParameterSource

from portfolio_margin.version import VERSION

NAME = "portfolio-margin"
PAGE_ENDINGS = (".html", ".htm")
CHUNK_BYTES = 1 << 20


def command_text() -> str:
    """The running command with every option that was given, as a shell takes it."""
    context = click.get_current_context()
    words = [NAME, str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) != ParameterSource.COMMANDLINE:
            continue
        value, option = context.params[name], max(parameter.opts, key=len)
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif isinstance(value, bool):
            words.append(option)
        else:
            words += [word for one in (value if isinstance(value, tuple) else (value,)) for word in (option, str(one))]
    return shlex.join(words)


def file_digests(paths: Iterable[str | None]) -> dict[str, str]:
    """SHA-256 of the content of every file, by the name it was given; of what is no file, None or "", nothing."""
    return {path: _digest(path) for path in paths if path and Path(path).is_file()}


def _digest(path: str) -> str:
    found = hashlib.sha256()
    with Path(path).open("rb") as content:
        while part := content.read(CHUNK_BYTES):
            found.update(part)
    return found.hexdigest()


def made_rows(digests: dict[str, str]) -> list[tuple[str, str]]:
    """What a page says of how it was made: name and value, a line each."""
    return [
        ("made", f"{np.datetime64('now', 's')}Z"),
        ("version", f"{NAME} {VERSION}"),
        ("command", command_text()),
        *((f"SHA-256 of {path}", digest) for path, digest in digests.items()),
    ]
