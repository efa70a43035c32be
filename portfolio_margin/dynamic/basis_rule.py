"""The rule for the basis: how far forwards move against each other, from the forward curves of a venue.

  d ln F(T) - d ln S = T c + e(T)   from one moment to the next; c by least squares over the expiries, e what it leaves
  target  the larger of  multiple x standard deviation of a day x sqrt(horizon)  and the largest seen so far
  limit   at most rise_per_day up and fall_per_day down a day, as for ranges

Of c that is the turn of all annualised bases alike, of e the move of one forward by itself. Each moment looks back
over all before it, so the path needs no earlier set, and anybody with the same curves gets the same numbers. Forward
and spot of a snapshot are seconds to minutes apart, which is in e: it is measured too large rather than too small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.dynamic.rule import Rule, rounded
from portfolio_margin.dynamic.underlying import BOUNDS
from pricing.arrays import MILLISECONDS_PER_YEAR, FloatArray, IntArray
from pricing.errors import DataError, Problem

MS_PER_DAY = 86_400_000
# The last hours before expiry average the price; an expiry counts while it has a day to go.
LEAST_DAYS_TO_GO = 1.0
LEAST_EXPIRIES = 3
LEAST_PAIRS = 20


class Curves(NamedTuple):
    """Forward curves of one underlying.

    time_ms    (T,) moments, ms UTC, rising
    expiry_ms  (X,) ms UTC
    log_basis  (T,X) ln of the forward over the spot of that moment; NaN where there is none
    """

    time_ms: IntArray
    expiry_ms: IntArray
    log_basis: FloatArray


class Changes(NamedTuple):
    """Of the pairs of neighbouring moments that count, (K,) each.

    time_ms   of the later one
    days      between the two
    turn      c, a year
    spread    root mean square of e over the expiries, their lost degree of freedom counted
    largest   largest size of e
    """

    time_ms: IntArray
    days: FloatArray
    turn: FloatArray
    spread: FloatArray
    largest: FloatArray


class CurveMoves(NamedTuple):
    """Moves over the horizon by moment, (M,) each, from the first on that enough pairs stand behind.

    time_ms    ms UTC
    rate_move  change of all annualised bases alike
    move       relative move of one forward by itself
    """

    time_ms: IntArray
    rate_move: FloatArray
    move: FloatArray


def measured_moves(name: str, curves: Curves, rule: Rule) -> dict[str, float]:
    """`basis_rate_move` and `basis_move` of an underlying after the last moment, as `rule.parameters_of` takes them."""
    path = curve_moves(name, curves, rule)
    return {"basis_rate_move": rounded(path.rate_move[-1]), "basis_move": rounded(path.move[-1])}


def curve_moves(name: str, curves: Curves, rule: Rule) -> CurveMoves:
    """What the rule makes of forward curves, moment by moment.

    name  of the underlying, for messages
    rule  its multiple, horizon and limits per day

    DataError for moments that do not rise, and where fewer than LEAST_PAIRS pairs count.
    """
    if np.any(np.diff(curves.time_ms) <= 0):
        raise DataError([Problem(name, None, "time_ms", "", "moments of forward curves must rise, each once")])
    found = curve_changes(curves, rule.horizon_days)
    if len(found.days) < LEAST_PAIRS:
        remedy = (
            f"needs {LEAST_PAIRS} pairs of moments at most {rule.horizon_days:g} days apart, with {LEAST_EXPIRIES} "
            "expiries in common"
        )
        raise DataError([Problem(name, None, "forward curves", len(found.days), remedy)])
    paths = []
    sizes = (("basis_rate_move", found.turn, np.abs(found.turn)), ("basis_move", found.spread, found.largest))
    for field, deviation, largest in sizes:
        per_day = np.sqrt(np.cumsum(deviation**2 / found.days) / np.arange(1, len(found.days) + 1))
        target = np.maximum(rule.multiple * np.sqrt(rule.horizon_days) * per_day, np.maximum.accumulate(largest))
        paths.append(_limited(np.clip(target, *BOUNDS[field])[LEAST_PAIRS - 1 :], found.days[LEAST_PAIRS - 1 :], rule))
    return CurveMoves(found.time_ms[LEAST_PAIRS - 1 :], *paths)


def curve_changes(curves: Curves, most_days: float) -> Changes:
    """c and e of every pair of neighbouring moments at most so many days apart that has enough expiries in common."""
    years = (curves.expiry_ms - curves.time_ms[1:, None]) / MILLISECONDS_PER_YEAR
    change = np.diff(curves.log_basis, axis=0)
    known = np.isfinite(change) & (years * MILLISECONDS_PER_YEAR >= LEAST_DAYS_TO_GO * MS_PER_DAY)
    days = np.diff(curves.time_ms) / MS_PER_DAY
    used = (known.sum(axis=1) >= LEAST_EXPIRIES) & (days <= most_days)
    years, change, known = years[used], change[used], known[used]
    weight, moved = np.where(known, years, 0.0), np.where(known, change, 0.0)
    turn = (weight * moved).sum(axis=1) / (weight**2).sum(axis=1)
    rest = np.where(known, moved - turn[:, None] * weight, 0.0)
    spread = np.sqrt((rest**2).sum(axis=1) / (known.sum(axis=1) - 1))
    return Changes(curves.time_ms[1:][used], days[used], turn, spread, np.abs(rest).max(axis=1, initial=0.0))


def _limited(target: FloatArray, days: FloatArray, rule: Rule) -> FloatArray:
    """(M,) path that starts at its target and follows it, within the limits of the days that pass."""
    path = target.copy()
    for t in range(1, len(path)):
        low = path[t - 1] * (1.0 - rule.fall_per_day) ** days[t]
        high = path[t - 1] * (1.0 + rule.rise_per_day) ** days[t]
        path[t] = min(max(target[t], low), high)
    return path
