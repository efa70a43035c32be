"""Plain-Python twins of Derive's kernels: what one expiry adds to the gains of its account, scenario by scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def folded(
    gains: Sequence[float], ticks: Sequence[float], tick: float, marked: float, discounts: tuple[float, float, float],
    counted: tuple[Sequence[float], Sequence[bool]],
) -> list[float]:  # fmt: skip
    """Gains with those of an expiry; discounts on values above 0, on others and restating, dampening and tilts."""
    (long, short, again), (dampening, tilts) = discounts, counted
    added = []
    for before, steps, factor, tilt in zip(gains, ticks, dampening, tilts, strict=True):
        moved = steps * tick
        if long == 1.0 and short == 1.0 and again == 1.0:
            change = moved
        else:
            shocked = (moved + marked) * again
            change = shocked * (long if shocked > 0.0 else short) - marked * again
        added.append(before + (-abs(change) if tilt else change) * factor)
    return added


def basis(
    losses: Sequence[float], ends: Sequence[float], tick: float, again: float, weight: float
) -> tuple[float, float, float, float]:
    """Contingency where up is worse, where down is, all of it, and revaluation, with those of an expiry.

    ends  ticks of the two basis moves, as the venue marks it and in the arrays
    """
    up, down, whole, revalued = losses
    risen, fallen, marked, valued = (end * tick for end in ends)
    value = marked * again
    rise, fall = (((moved + marked) * again - value) * weight for moved in (risen, fallen))
    worse = min(rise, fall, 0.0)
    up, down = (up, down + worse) if fall < rise else (up + worse, down)
    return up, down, whole + worse, revalued + (value - valued)


def charged(
    formula: Any, columns: Sequence[Sequence[float]], rates: tuple[float, ...]
) -> list[list[tuple[float, float]]]:
    """The charges of every account, one after the other, and their sums last."""
    accounts = []
    for numbers in zip(*columns, strict=True):
        parts = formula(*numbers, 0.0, rates)
        initial = maintenance = 0.0
        for of_initial, of_maintenance in parts:
            initial, maintenance = initial + of_initial, maintenance + of_maintenance
        accounts.append([*parts, (initial, maintenance)])
    return accounts
