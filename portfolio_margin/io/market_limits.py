"""Limits that a market file declares: an object of numbers and a column of currencies, null for no limit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pricing.market import Market
from pricing.market_limits import FX_TOLERANCE, USUAL, MarketLimits


def document_of(limits: MarketLimits) -> dict[str, float | None]:
    """The object that a file states."""
    return {name: None if math.isinf(value) else value for name, value in vars(limits).items()}


def limits_of(given: Any) -> tuple[MarketLimits, list[tuple[str, object, str]]]:
    """The limits of such an object, the usual ones for what it leaves out; (field, value, remedy) of what is wrong."""
    known = list(vars(USUAL))
    if not isinstance(given, dict):
        return USUAL, [("limits", given, f"must be an object of {', '.join(known)}")]
    bad: list[tuple[str, object, str]] = []
    for name, value in given.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value < math.inf
        least = name == "min_vol"
        if name not in known:
            bad.append((f"limits.{name}", value, f"unknown limit; known: {', '.join(known)}"))
        elif least and not (number and value >= 0):
            bad.append((f"limits.{name}", value, "must be a number, 0 or more"))
        elif not least and value is not None and not (number and value > 0):
            bad.append((f"limits.{name}", value, "must be a number above 0, or null for none"))
    if bad:
        return USUAL, bad
    return MarketLimits(**{name: math.inf if value is None else value for name, value in given.items()}), []


def fx_limits_of(market: Market) -> dict[str, list[float | None]]:
    """The column of currencies whose price may be off the spot of their underlying, where there is one."""
    limit = market.fx_basis_limit
    if np.all(limit == FX_TOLERANCE):
        return {}
    return {"fx_basis_limit": [None if np.isinf(number) else float(number) for number in limit]}
