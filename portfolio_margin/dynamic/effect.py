"""What tool and limit of the rule do to a history: the report that is published beside them.

Three questions (Murphy, Vasios and Vause 2014): what the tools cost in calm times, by how much they lower the call of
the following days, and what coverage is left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.dynamic.rule import Rule, move_path
from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.backtest.procyclicality import largest_relative_increase, peak_to_trough

CALL_DAYS = (1, 5, 20)


class Effect(NamedTuple):
    """Of one path of price ranges.

    mean            range, relative
    peak_to_trough  largest over smallest
    calls           largest increases over 1, 5 and 20 days, relative
    breaches        share of the horizons whose move, up or down, was larger than the range when they began
    """

    mean: float
    peak_to_trough: float
    calls: tuple[float, ...]
    breaches: float


def effects(close: ArrayLike, rule: Rule) -> tuple[Effect, Effect]:
    """Effect of the rule, and of its bare level within the bounds: no tool, no limit.

    close  (T,) prices, oldest first, at least 20 days and the horizon more than `least_days`
    """
    prices = np.asarray(close, dtype=np.float64)
    ahead = max(1, round(rule.horizon_days))
    first = int(rule.least_days)
    if len(prices) < first + max(*CALL_DAYS, ahead) + 2:
        raise ConfigError(f"close = {len(prices)} prices: needs {first + max(*CALL_DAYS, ahead) + 2} for its effect")
    path = move_path(np.diff(np.log(prices)), rule, (rule.range_low, rule.range_high))
    bare = np.clip(rule.multiple * np.sqrt(rule.horizon_days) * path.level, rule.range_low, rule.range_high)
    moves = np.abs(prices[ahead:] / prices[:-ahead] - 1.0)
    return _effect(path.moved, moves, first), _effect(bare, moves, first)


def _effect(path: FloatArray, moves: FloatArray, first: int) -> Effect:
    """Of a path (T,) by day, with the move (T-h,) of the horizon that begins on each, from day `first` on."""
    charged = path[first:]
    return Effect(
        mean=float(charged.mean()),
        peak_to_trough=peak_to_trough(charged),
        calls=tuple(largest_relative_increase(charged, days) for days in CALL_DAYS),
        breaches=float(np.mean(moves[first:] > path[first : len(moves)])),
    )
