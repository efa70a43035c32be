"""The price scan range: how far a price moves over the horizon with the confidence asked for, by every method.

A move counts by its size in logarithm, whichever way it went, so that a range at 99 % has about half a percent of the
moves beyond it on either side. The range is the relative move up that belongs to it, exp(x) - 1, which is more than the
move down.

    range = clip(max(in force, floor), low, high),   current <= in force <= (1 + buffer) x current

current is what the filter and the tail of the settings give, floor the quantile of the unfiltered moves. How much of
the buffer is used up is a matter of the fits before (`buffer.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray
from scenarios.calibrate.bootstrap import Figure
from scenarios.calibrate.buffer import drawn, in_force_after, path_in_force
from scenarios.calibrate.levels import Methods, deviations, every_method, fit_state, level_path, newest
from scenarios.calibrate.made_histories import MadeHistories
from scenarios.calibrate.moves import as_relative
from scenarios.calibrate.settings import Settings


class PriceRange(NamedTuple):
    """A calibrated price range, relative moves throughout.

    chosen   what the settings choose
    current  of the filter and tail of the settings, before buffer, floor and bounds
    held     the same with what is left of the buffer: in force, before floor and bounds
    drawn    share of the buffer that is used up, 0 to 1
    floor    quantile of the unfiltered moves
    methods  (filter, way) -> figure with its band, for every one there is
    """

    chosen: float
    current: float
    held: float
    drawn: float
    floor: float
    methods: Methods


def price_range(
    returns: ArrayLike, settings: Settings, made: MadeHistories | None = None, days: ArrayLike | None = None
) -> PriceRange:
    """The range for the day after a history of (T,) log returns a day, oldest first, and what every method gives.

    made  histories made of the newest of these returns, with fits; made here where there are none
    days  (T,) of the returns, see `levels.first_taken`

    ConfigError for a history that is too short.
    """
    moves = newest(returns, settings, days)
    current, held, floor = _today(returns, settings, days)
    methods = {way: relative_figure(figure) for way, figure in every_method(moves, settings, made=made).items()}
    chosen = float(_bounded(held, floor, settings))
    return PriceRange(chosen, current, held, drawn(held, current, settings), floor, methods)


def scan_range(returns: ArrayLike, settings: Settings, days: ArrayLike | None = None) -> float:
    """The range alone, without bands: the parameter of a day from what is known on it."""
    _, held, floor = _today(returns, settings, days)
    return float(_bounded(held, floor, settings))


def scan_range_path(returns: ArrayLike, settings: Settings, days: ArrayLike | None = None) -> FloatArray:
    """(T+1,) the range for the day of each of T returns, from those before it, and for the day after the last.

    See `levels.level_path`: on a day of a new fit it is `scan_range` of the returns before; NaN before `least_days`.
    """
    return floored_path(returns, settings, days)[0]


def floored_path(returns: ArrayLike, settings: Settings, days: ArrayLike | None = None) -> tuple[FloatArray, BoolArray]:
    """`scan_range_path`, and (T+1,) whether the floor or the lower bound is what made the range of the day."""
    current, logarithm = level_path(returns, settings, days=days)
    held, floor = path_in_force(current, settings), as_relative(logarithm)
    return _bounded(held, floor, settings), held < np.maximum(floor, settings.range_low)


def relative_figure(figure: Figure) -> Figure:
    """A figure in logarithm as the relative move up."""
    return figure.changed(as_relative)


def _today(returns: ArrayLike, settings: Settings, days: ArrayLike | None) -> tuple[float, float, float]:
    """What is calculated, what is in force and the floor, relative moves of the day after a history."""
    moves = newest(returns, settings, days)
    state = fit_state(moves, settings)
    current = float(deviations(moves, state.used, settings)[-1] * state.level)
    return (
        float(as_relative(current)),
        in_force_after(returns, current, settings, days=days),
        float(as_relative(state.floor)),
    )


def _bounded(held: ArrayLike, floor: ArrayLike, settings: Settings) -> FloatArray:
    return np.asarray(np.clip(np.maximum(held, floor), settings.range_low, settings.range_high))
