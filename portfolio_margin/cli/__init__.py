"""The command line: one file a command."""

from portfolio_margin.cli.main import main

__all__ = ["main"]
