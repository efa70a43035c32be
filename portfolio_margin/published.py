"""Risk arrays that follow others: whether they are of the very same contracts, so that positions mean the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays
from scenarios.terms import Terms

# What may differ between one publication and the next: prices and what is computed from them. All else is what
# positions are counted, grouped, paid and converted by.
MOVING = (
    "rows", "value_rows", "delta", "notional", "terms", "tick", "scenario_set", "valuation_time", "digest",
    "market_digest", "method", "notes",
)  # fmt: skip
MOVING_TERMS = ("vol", "spot", "forward", "discount", "fixed_share", "fx")


def check_same_contracts(before: RiskArrays, after: RiskArrays) -> None:
    """DataError naming each field by which arrays are not of the contracts of those before, and the first that differs.

    Every field of the arrays and of their terms is compared but for what moves with the market.
    """
    pairs = [(f.name, getattr(before, f.name), getattr(after, f.name)) for f in _fixed(RiskArrays, MOVING)]
    pairs += [
        (f.name, getattr(before.terms, f.name), getattr(after.terms, f.name)) for f in _fixed(Terms, MOVING_TERMS)
    ]
    names = before.instrument_id
    problems = [_problem(name, was, now, names) for name, was, now in pairs if not _same(was, now)]
    if problems:
        raise DataError(problems)


def _fixed(kind: type, moving: tuple[str, ...]) -> list[Any]:
    return [f for f in fields(kind) if f.name not in moving]


def _same(was: Any, now: Any) -> bool:
    real = isinstance(was, np.ndarray) and was.dtype.kind == "f"
    return bool(np.array_equal(was, now, equal_nan=real))


def _problem(name: str, was: Any, now: Any, instruments: np.ndarray) -> Problem:
    remedy = "other contracts than before: start an engine with the new ones"
    if not isinstance(was, np.ndarray):
        return Problem("risk arrays", None, name, now, f"{remedy}; it was {was}")
    if was.shape != now.shape:
        return Problem("risk arrays", None, name, len(now), f"{remedy}; there were {len(was)}")
    first = int(np.argmax((was != now) & ~((was != was) & (now != now))))
    by_contract = was.shape == instruments.shape and name != "instrument_id"
    whose = f" of {instruments[first]}" if by_contract else ""
    return Problem("risk arrays", None, name, now[first].item(), f"{remedy};{whose} it was {was[first].item()}")
