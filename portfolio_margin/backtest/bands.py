"""Confidence bands of what a calibrated set says on the last day of a back-test, as `calibrate` would tell them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.backtest.run import BackTest
from portfolio_margin.backtest.sets import Calibration
from pricing.arrays import FloatArray, IntArray
from scenarios.backtest.history import MS_PER_DAY, History
from scenarios.calibrate.bootstrap import Figure
from scenarios.calibrate.grid_set import base_params, farthest_move
from scenarios.calibrate.levels import Side, method_figure, newest
from scenarios.calibrate.made_histories import make_histories
from scenarios.calibrate.moves import as_relative
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tail_weights import tail_weights


def last_day_bands(found: BackTest, name: str, chosen: Calibration) -> dict[str, Figure]:
    """Estimate and band of price_range, vol_up, vol_down and tail_factor of a set of this name on the last day.

    Estimates are those of the filter and the tail of the settings, before buffer, floor and bounds, which stand between
    them and what is in force. Relative moves.
    """
    settings = chosen.used(found.plan.least_days, found.plan.horizon_days).settings
    given = found.plan.given.at(found.days, 1)
    path = next(tested.daily for tested in found.sets if tested.name == name)
    assert path is not None  # a calibrated set has one
    returns, days = np.diff(np.log(given.price)), (given.time_ms[1:] - 1) // MS_PER_DAY
    changes, change_days = _vol_changes(given, days, settings)
    taken = newest(returns, settings, days)
    reach = float(path.price_range[-1])
    return {
        "price_range": _figure(returns, days, settings, Side.BOTH),
        "vol_up": _figure(changes, change_days, settings, Side.UP),
        "vol_down": _figure(changes, change_days, settings, Side.DOWN),
        "tail_factor": tail_weights(taken, reach, farthest_move(base_params(settings)), settings).factor,
    }


def _vol_changes(given: History, days: IntArray, settings: Settings) -> tuple[FloatArray, IntArray]:
    """Changes of the index where it has enough of them by itself, else of the stand-in, and their days."""
    own = np.flatnonzero(given.indexed)
    if len(own) - 1 < int(settings.least_days):
        return np.diff(np.log(given.stand_in)), days
    return np.diff(np.log(given.vol[own])), days[own[1:] - 1]


def _figure(returns: ArrayLike, days: IntArray, settings: Settings, side: Side) -> Figure:
    moves = newest(returns, settings, days)
    made = make_histories(moves, settings)
    found = method_figure(moves, settings, side, made)
    sign = -1.0 if side == Side.DOWN else 1.0
    return found.changed(lambda move: sign * as_relative(sign * move))
