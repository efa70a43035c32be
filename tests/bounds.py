"""The bounds of a parameter set, found out by asking it: what a contract test needs to know of a file it never saw."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from pricing import ConfigError

STATED = re.compile(r"from (\S+) to ([^\s,;]+)")


def check_bounds_of_numbers(params: Any, make: Callable[..., Any]) -> dict[str, tuple[float, float]]:
    """Every number of a parameter set is refused far outside and as NaN, and taken at the bounds it states.

    make(**change) makes the set, and whatever checks it later, with some fields changed. A bound that contradicts
    another parameter may be refused, in words that name both. Texts are refused where they are nonsense.
    """
    found = {}
    for field in fields(params):
        value = getattr(params, field.name)
        if isinstance(value, str):
            assert refusal(make, field.name, "no such choice"), f"{field.name} takes any text"
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        for outside in (1e300, -1e300, math.nan):
            text = refusal(make, field.name, outside)
            assert text and field.name in text, f"{field.name} takes {outside}"
        stated = STATED.search(refusal(make, field.name, 1e300))
        if stated:
            found[field.name] = low, high = float(stated[1]), float(stated[2])
            for bound in (low, high):
                given = int(bound) if isinstance(value, int) else bound
                text = refusal(make, field.name, given)
                others = [other.name for other in fields(params) if other.name != field.name]
                assert not text or any(name in text for name in others), f"{field.name} at {bound}: {text}"
    return found


def refusal(make: Callable[..., Any], field: str, value: Any) -> str:
    """The words in which a value is refused, "" where it is taken."""
    try:
        make(**{field: value})
    except ConfigError as error:
        return str(error)
    return ""
