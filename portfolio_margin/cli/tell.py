"""Words on standard error. Nobody may be listening any more: that never changes how a command ends."""

from __future__ import annotations

import os
import sys

import click


def tell(text: str) -> None:
    """One text on standard error; silence, from here on, where its reader is gone."""
    try:
        click.echo(text, err=True)
    except (BrokenPipeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
