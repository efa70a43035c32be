"""Parameters that are not given: all that a model lacks in one message, not one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pricing.errors import ConfigError

Ask = Callable[[], Any]


def gather(asked: Iterable[Ask], beside: Iterable[Ask] = ()) -> list[Any]:
    """What each of `asked` gives. ConfigError with every line that any of them refuses in, each once.

    beside  asked only where something is refused, for what else will be
    """
    results: list[Any] = []
    refused = _refusals(asked, results)
    if refused:
        refused += _refusals(beside, [])
        raise ConfigError("\n".join(dict.fromkeys(refused)))
    return results


def _refusals(asked: Iterable[Ask], results: list[Any]) -> list[str]:
    """The lines of refusals; what is not refused is added to the results."""
    lines: list[str] = []
    for ask in asked:
        try:
            results.append(ask())
        except ConfigError as error:
            lines += str(error).splitlines()
    return lines
