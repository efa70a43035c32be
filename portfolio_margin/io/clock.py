"""The one clock that searches are timed by: seconds that are left of a limit."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


def countdown(seconds: float) -> Callable[[], float]:
    """() -> what is left of so many seconds from now on, below 0 once they are over."""
    end = monotonic() + seconds
    return lambda: end - monotonic()
