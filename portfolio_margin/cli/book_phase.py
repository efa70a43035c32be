"""What the bar says while a book is read."""

from __future__ import annotations

from pathlib import Path

STANDARD_INPUT = "-"


def book_phase(positions: str | None) -> str:
    """What the bar says while positions are read, which of a large file takes longest."""
    if positions is None:
        return "reading the sample's positions"
    if positions == STANDARD_INPUT:
        return "reading positions from standard input"
    size = f", {Path(positions).stat().st_size / 1e6:,.1f} MB" if Path(positions).is_file() else ""
    return f"reading positions of {Path(positions).name}{size}"
