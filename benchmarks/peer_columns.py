"""Columns in the forms that other packages ask for: flags, rates, one side a call; and their units.

Columns are (forward, strike, tau, vol, discount, sign) and for implied vols (price, forward, strike, tau, discount,
sign), as in benchmarks/pricing.py.
"""

from __future__ import annotations

import numpy as np

from benchmarks.contestants import Columns

TRADER_UNITS = {"vega": 100.0, "theta": 365.0, "rho": 100.0, "rho, forward held": 100.0}
FIVE = ("price", "delta", "gamma", "vega", "theta", "rho")
FIVE_FORWARD_HELD = ("price", "delta", "gamma", "vega", "theta", "rho, forward held")


def flags_of(sign: np.ndarray) -> np.ndarray:
    """c and p, as texts."""
    return np.where(sign > 0, "c", "p")


def rate_of(tau: np.ndarray, discount: np.ndarray) -> np.ndarray:
    """The continuous rate of a discount factor."""
    return -np.log(discount) / tau


def with_flags(columns: Columns) -> tuple[np.ndarray, ...]:
    """flags, then forward, strike, tau, rate, vol; the discount too, for packages that do not discount."""
    forward, strike, tau, vol, discount, sign = columns
    return flags_of(sign), forward, strike, tau, rate_of(tau, discount), vol, discount


def quotes_with_flags(columns: Columns) -> tuple[np.ndarray, ...]:
    """price, forward, strike, tau, rate, flags."""
    price, forward, strike, tau, discount, sign = columns
    return price, forward, strike, tau, rate_of(tau, discount), flags_of(sign)


Sides = list[tuple[bool, np.ndarray, tuple[np.ndarray, ...]]]


def by_side(columns: Columns, sign: np.ndarray) -> Sides:
    """(is call, its rows, its columns) of calls and of puts, for packages that take one side a call."""
    found = []
    for call in (True, False):
        rows = np.flatnonzero((sign > 0) == call)
        found.append((call, rows, tuple(np.ascontiguousarray(column[rows]) for column in columns)))
    return found


def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The values of all parts in the order of the rows."""
    result = np.empty(sum(len(rows) for rows, _ in parts))
    for rows, values in parts:
        result[rows] = values
    return result
