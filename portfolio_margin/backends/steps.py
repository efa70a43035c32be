"""How many rows a position holds, for kernels: a quick look, and a closer one where that is not enough."""

from __future__ import annotations

from typing import Any

import numba

from portfolio_margin.backends import lanes
from portfolio_margin.kernel_inputs import QUANTITY_ROUNDING, STEP_TOLERANCE

# A quantity whose quotient by the step is that close to a whole number, its own rounding included, is a multiple of it
# by `is_off_step` and has that number of steps; others are looked at closely.
CLEARLY_WHOLE = 0.5 * STEP_TOLERANCE
QUOTIENT_ROUNDING = 2.0**-51


@numba.njit(nogil=True, error_model="numpy", forceinline=True)
def is_clear(quotient: float, whole: float) -> bool:
    """Whether a quotient by the step is clearly the whole number nearest to it; false for one that is no number."""
    return abs(quotient - whole) + abs(quotient) * QUOTIENT_ROUNDING <= CLEARLY_WHOLE


@numba.njit(nogil=True, error_model="numpy")
def looked_at(quantity: float, unit: float, contract: bool, long_weight: float) -> tuple[float, bool]:
    """Rows that a position holds, where a look at the quotient is not enough, and whether it is off its step."""
    if contract:
        held = lanes.nearest(quantity / unit)
        return held, not abs(held * unit - quantity) <= STEP_TOLERANCE * unit + QUANTITY_ROUNDING * abs(quantity)
    return (quantity * long_weight if quantity > 0.0 else quantity), False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def magnitude(first: int, last: int, instrument_idx: Any, quantity: Any, terms: Any) -> float:
    """Sum of the magnitudes of positions first to last - 1."""
    unit, contract, long_weight, largest, _ = terms
    total = 0.0
    for p in range(first, last):
        n = instrument_idx[p]
        units, _ = looked_at(quantity[p], unit[n], contract[n], long_weight[n])
        total += abs(units) * largest[n]
    return total
