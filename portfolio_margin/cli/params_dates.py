"""The [header] that a parameter file may have: who made it, and from which day to which day it is valid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np

from portfolio_margin.cli.tell import tell
from pricing.errors import DataError, Problem

HEADER = "header"
KNOWN = {"source": str, "note": str, "valid_from": date, "valid_to": date}


def check_dates(path: str, header: Mapping[str, Any]) -> None:
    """DataError for an entry that a header does not have, or that is no text or no day."""
    problems = []
    for name, value in header.items():
        wanted = KNOWN.get(name)
        if wanted is None:
            problems.append(Problem(path, None, f"{HEADER} {name}", str(value), f"unknown; known: {', '.join(KNOWN)}"))
        elif not isinstance(value, wanted) or isinstance(value, datetime):
            kind = "a text" if wanted is str else "a date, YYYY-MM-DD without a time of day"
            problems.append(Problem(path, None, f"{HEADER} {name}", str(value), f"must be {kind}"))
    if problems:
        raise DataError(problems)


def tell_dates(path: str, header: Mapping[str, Any], at: int) -> None:
    """Say so where a file is used for a market of a day on which it is not valid; at, ms UTC of the market."""
    day = np.datetime64(at, "ms").astype("datetime64[D]").item()
    begin, end = header.get("valid_from", day), header.get("valid_to", day)
    if not begin <= day <= end:
        until = f" to {end}" if "valid_to" in header else ""
        tell(f"note: {path} is valid from {begin}{until}, and the market is of {day}")
