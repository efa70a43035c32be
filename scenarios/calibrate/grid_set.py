"""The set of a grid that a calibration writes, and the same along a history: what it would have written on the days of
a fit, every `refit_days` from `least_days` on, kept until the next.

Both ways go through `grid_params`, so that a back-test margins with the numbers of the file: nodes, weights of far
moves, vol shocks and days, rounded as they are written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray
from pricing.errors import ConfigError
from scenarios.calibrate.levels import first_taken
from scenarios.calibrate.price_range import floored_path
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tail_weights import tail_factor_path
from scenarios.calibrate.vol_shocks import vol_shock_path
from scenarios.families import grid
from scenarios.shocks import VolDynamics

# Significant digits of a written parameter, and places after the point of a node.
DIGITS, NODE_DIGITS = 4, 4


class Figures(NamedTuple):
    """What of a grid is calibrated for one underlying.

    price_range       relative
    vol_up, vol_down  relative moves of the 30-day vol
    tail_factor       share of the range over the move that counts of a far move, at most 1
    """

    price_range: float
    vol_up: float
    vol_down: float
    tail_factor: float


class FiguresPath(NamedTuple):
    """The same, (T+1,) each: for the day of each of T returns, from those before it, and for the day after the last.

    price_range, vol_up, vol_down, tail_factor   as of a day
    at_floor                                     whether a floor is what made the range
    days                                         calendar days that pass, `spanned_days`
    """

    price_range: FloatArray
    vol_up: FloatArray
    vol_down: FloatArray
    tail_factor: FloatArray
    at_floor: BoolArray
    days: FloatArray


def base_params(settings: Settings) -> grid.Params:
    """What of a grid is not calibrated; range and shocks are of the horizon, so time passes by as much or by none: by
    its days, or by those of `spanned_days` where markets close."""
    dynamics = VolDynamics(short_power=0.30, long_power=0.13)
    return grid.Params(days=(0.0, float(settings.horizon_days)), dynamics=dynamics)


def spanned_days(days: ArrayLike, settings: Settings) -> float:
    """Calendar days that a horizon takes: the least that a share `confidence` of those of a history do not exceed.

    days  (T,) calendar day on which each return of it ended, oldest first

    A horizon is so many rows, and over a weekend two rows are four days, in which options lose the time of four.
    """
    ends, steps = np.asarray(days, dtype=np.int64), int(settings.horizon_days)
    spans = np.sort(ends[steps:] - ends[:-steps])
    if len(spans) == 0:
        return float(steps)
    return float(max(int(spans[math.ceil(settings.confidence * len(spans)) - 1]), steps))


def farthest_move(base: grid.Params) -> float:
    """Size of the farthest move of a grid, relative; 1 where it has none beyond its range."""
    return max((abs(move) for move in base.tail_moves), default=1.0)


def refuse_near_moves(moves: Sequence[float], ranges: Mapping[str, float]) -> None:
    """ConfigError for far moves that are not far: each has to be outside the price range of some underlying.

    moves   relative, that somebody has chosen
    ranges  relative price range by underlying
    """
    name, least = min(ranges.items(), key=itemgetter(1))
    for move in moves:
        if abs(move) <= least:
            raise ConfigError(
                f"tail_moves = {tuple(moves)}: {move:g} is inside the price range of {name}, {least:.4g}; a far move "
                f"must be outside it"
            )


def grid_params(base: grid.Params, found: Mapping[str, Figures], nodes: ArrayLike) -> grid.Params:
    """The grid that is written: of every underlying its range and shocks, of all together nodes and the largest factor.

    base   what is not calibrated
    found  by underlying; "" alone stands for one number for all
    nodes  places of the price moves, shares of the range from -1 to 1
    """

    def own(name: str) -> float | dict[str, float]:
        values = {key: rounded(getattr(one, name)) for key, one in found.items()}
        return values[""] if list(values) == [""] else values

    return replace(
        base,
        price_range=own("price_range"),
        vol_up=own("vol_up"),
        vol_down=own("vol_down"),
        # The law is one for all underlyings: the largest factor, which is the larger requirement.
        tail_factor=rounded(max(one.tail_factor for one in found.values())),
        price_nodes=tuple(np.round(np.asarray(nodes, dtype=np.float64), NODE_DIGITS).tolist()),
    )


def rounded(value: float) -> float:
    """A parameter to its significant digits, as it is written."""
    return float(f"{float(value):.{DIGITS}g}")


def figures_path(
    returns: ArrayLike,
    vols: Sequence[tuple[ArrayLike, ArrayLike]],
    settings: Settings,
    days: ArrayLike | None = None,
) -> FiguresPath:
    """What `calibrate` would have found on the days of a fit of a history of (T,) log returns, oldest first.

    Fits are every `refit_days` from `least_days` on, those of a vol counted in its own changes. Between them a filter's
    deviation follows the returns and nothing else moves, where `calibrate` fits on its own day: the two are a little
    apart then.

    vols  vol histories, each (V,) log changes a day and (V,) rows of the returns they ended on, rising; one that has
          `least_days` changes by a day is taken in place of those before it
    days  (T,) calendar day on which each return ended, `levels.first_taken`
    """
    history = np.asarray(returns, dtype=np.float64)
    reach, at_floor = floored_path(history, settings, days)
    factor = tail_factor_path(history, reach, farthest_move(base_params(settings)), settings, days)
    up, down = np.full((2, len(reach)), np.nan)
    for changes, rows in vols:
        at = np.asarray(rows, dtype=np.int64)
        if len(at) < int(settings.least_days):
            continue
        shocks = vol_shock_path(changes, settings, days=None if days is None else np.asarray(days)[at])
        # Of each day the number of changes that had ended: those of a later row are not known yet.
        count = np.searchsorted(at, np.arange(len(reach)), side="left")
        known = count >= int(settings.least_days)
        up[known], down[known] = (path[count[known]] for path in shocks)
    return FiguresPath(reach, up, down, factor, at_floor & np.isfinite(reach), _days_path(len(reach), settings, days))


def _days_path(count: int, settings: Settings, days: ArrayLike | None) -> FloatArray:
    """(count,) `spanned_days` of every day, anew on the days of `levels.level_path`."""
    if days is None:
        return np.full(count, float(settings.horizon_days))
    ends, found = np.asarray(days, dtype=np.int64), np.full(count, np.nan)
    for first in range(int(settings.least_days), count, int(settings.refit_days)):
        known = ends[first_taken(first, settings, ends) : first]
        found[first : first + int(settings.refit_days)] = spanned_days(known, settings)
    return found


def figures_of(path: FiguresPath, day: int) -> Figures | None:
    """What a path says on a day; None where it says nothing yet."""
    values = [float(column[day]) for column in path[:4]]
    return None if any(math.isnan(value) for value in values) else Figures(*values)
