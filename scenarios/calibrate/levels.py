"""How far something moves over the horizon with the confidence asked for: filter, tail, floor, in logarithm.

Filtered moves are the sums of returns over the horizon, each over the deviation that the filter forecast for that
horizon on its first day; times the forecast of today they are moves of today (Hull and White 1998).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from functools import partial
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.calibrate.bootstrap import Figure, band, block_band, block_length, clusters_beyond
from scenarios.calibrate.made_histories import MadeHistories, make_histories
from scenarios.calibrate.moves import horizon_moves, quantile
from scenarios.calibrate.settings import FILTERS, TAILS, Settings
from scenarios.calibrate.tails import fit_tail
from scenarios.calibrate.volatility import Filter, ewma, fit_garch

NORMAL, SEPARATE, SAMPLE, PARETO = "normal", "one after the other", "sample", "pareto"
Methods = dict[tuple[str, str], Figure]


class Side(IntEnum):
    """Which moves count: those up, those down, or all by their size."""

    DOWN = -1
    BOTH = 0
    UP = 1


class State(NamedTuple):
    """What a history gives and a single day changes little of; the deviation of the day times the level is the move.

    used   the filter, None for none
    level  quantile of the moves, in deviations of the filter, or in logarithm where there is none
    floor  quantile of the unfiltered moves, in logarithm; 0 where the settings have no floor
    """

    used: Filter | None
    level: float
    floor: float


def first_taken(count: int, settings: Settings, days: ArrayLike | None = None) -> int:
    """The first of the first `count` returns that is within `lookback_days` of the last of them.

    days  (T,) calendar day, a number that rises by 1 a day, on which each return ended; None where every row is a day
    """
    if days is None or count == 0:
        return max(count - int(settings.lookback_days), 0)
    known = np.asarray(days, dtype=np.int64)[:count]
    return int(np.searchsorted(known, known[-1] - int(settings.lookback_days), side="right"))


def newest(returns: ArrayLike, settings: Settings, days: ArrayLike | None = None) -> FloatArray:
    """The returns that the settings take, by the days of `first_taken`. ConfigError for a history that is too short."""
    history = np.asarray(returns, dtype=np.float64)
    moves = history[first_taken(len(history), settings, days) :]
    if len(moves) < settings.least_days:
        raise ConfigError(f"a history of {len(moves)} returns: needs {settings.least_days} (least_days)")
    return moves


def sided(moves: FloatArray, side: Side) -> FloatArray:
    """(M,) moves of a side as numbers that are large where they are far."""
    return np.abs(moves) if side == Side.BOTH else int(side) * moves


def fit_state(returns: ArrayLike, settings: Settings, side: Side = Side.BOTH, near: Filter | None = None) -> State:
    """Filter, level and floor of a history; near, a filter of a history much alike, from which a fit starts."""
    moves = np.asarray(returns, dtype=np.float64)
    used = None if settings.filter == "none" else fit_filter(moves, settings, near)
    plain = sided(horizon_moves(moves, int(settings.horizon_days)), side)
    level = tail_level(filtered_moves(moves, used, settings, side), settings)
    return State(used, level, quantile(plain, settings.confidence) if settings.floor == "history" else 0.0)


def fit_filter(returns: ArrayLike, settings: Settings, near: Filter | None = None) -> Filter:
    """The filter of the settings for a history. ConfigError where they have none."""
    if settings.filter == "none":
        raise ConfigError("filter = 'none': there is nothing to fit")
    return ewma(returns, settings.decay) if settings.filter == "ewma" else fit_garch(returns, near)


def filtered_moves(returns: ArrayLike, used: Filter | None, settings: Settings, side: Side = Side.BOTH) -> FloatArray:
    """(M,) moves of a side over the horizon, in deviations of the filter; in logarithm where there is none."""
    moves = np.asarray(returns, dtype=np.float64)
    steps = int(settings.horizon_days)
    size = sided(horizon_moves(moves, steps), side)
    if used is None:
        return size
    return np.asarray(size / np.sqrt(used.horizon_variance(used.variance(moves)[: len(size)], steps)))


def tail_level(sizes: FloatArray, settings: Settings) -> float:
    """The quantile of sizes at the confidence, as the tail of the settings has it."""
    if settings.tail == SAMPLE:
        return quantile(sizes, settings.confidence)
    return fit_tail(sizes, quantile(sizes, 1.0 - settings.tail_share)).quantile(settings.confidence)


def deviations(moves: FloatArray, used: Filter | None, settings: Settings) -> FloatArray:
    """(T+1,) deviation over the horizon that begins on the day of each return, and on the day after; 1 of no filter."""
    if used is None:
        return np.ones(len(moves) + 1)
    return np.sqrt(used.horizon_variance(used.variance(moves), int(settings.horizon_days)))


def level_path(
    returns: ArrayLike, settings: Settings, side: Side = Side.BOTH, days: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """(T+1,) current and (T+1,) floor in logarithm, for the day of each of T returns, from those before it, and for the
    day after the last.

    Filter, tail and floor are fitted anew every `refit_days`, counted from `least_days`; in between the variance alone
    follows the returns. The first `least_days` are NaN. days: see `first_taken`.
    """
    history = np.asarray(returns, dtype=np.float64)
    current, floor = np.full((2, len(history) + 1), np.nan)
    state: State | None = None
    for first in range(int(settings.least_days), len(history) + 1, int(settings.refit_days)):
        begin = first_taken(first, settings, days)
        last = min(first + int(settings.refit_days), len(history) + 1)
        state = fit_state(history[begin:first], settings, side, None if state is None else state.used)
        scale = deviations(history[begin : last - 1], state.used, settings)
        current[first:last] = scale[first - begin : last - begin] * state.level
        floor[first:last] = state.floor
    return current, floor


def every_method(
    moves: FloatArray, settings: Settings, side: Side = Side.BOTH, made: MadeHistories | None = None
) -> Methods:
    """Every filter with every tail, and beside them the moves that share no day and the normal distribution.

    made  histories made of these moves, with fits; made here where there are none

    Figures are in logarithm, of today; (filter, way) -> figure with its band.
    """
    steps = int(settings.horizon_days)
    made = make_histories(moves, settings) if made is None else made
    plain, apart = horizon_moves(moves, steps), horizon_moves(moves, steps, overlapping=False)
    made_plain = horizon_moves(made.varied.T, steps).T
    made_apart = horizon_moves(made.varied.T, steps, overlapping=False).T
    beyond = _beyond(made, settings)
    sample, normal = _statistic(replace(settings, tail=SAMPLE)), _normal(settings, side)
    of_apart = _Made(sided(made_apart, side), _quantiles(sided(beyond, side), settings), memory=made.memory)
    of_plain = _Made(made_plain, np.array([normal(moves) for moves in beyond]), memory=made.memory)
    bell = _figure(plain, normal, of_plain, settings)
    found = {
        ("none", NORMAL): bell._replace(clusters=float("nan")),
        ("none", SEPARATE): _figure(sided(apart, side), sample, of_apart, settings, steps),
    }
    for name in FILTERS:
        for way in TAILS:
            found[name, way] = method_figure(moves, replace(settings, filter=name, tail=way), side, made)
    return found


def method_figure(moves: FloatArray, settings: Settings, side: Side, made: MadeHistories) -> Figure:
    """The figure of the filter and the tail of the settings, in logarithm, of the day after (T,) log returns.

    made  histories made of these moves; with fits where the filter is a GARCH
    """
    used = made.fitted if settings.filter == "garch" else None
    used = ewma(moves, settings.decay) if settings.filter == "ewma" else used
    sizes, today = filtered_moves(moves, used, settings, side), float(deviations(moves, used, settings)[-1])
    figure = _figure(sizes, _statistic(settings), _made_sizes(moves, made, settings, side), settings)
    return figure.changed(partial(mul, today))


def _statistic(settings: Settings) -> Callable[[FloatArray], float]:
    return lambda sizes: tail_level(sizes, settings)


def _normal(settings: Settings, side: Side) -> Callable[[FloatArray], float]:
    """The quantile of a normal distribution with the mean square of the moves."""
    from scipy.special import ndtri

    beyond = (1.0 - settings.confidence) / (2.0 if side == Side.BOTH else 1.0)
    count = -float(ndtri(beyond))
    return lambda moves: count * float(np.sqrt(np.mean(moves * moves)))


class _Made(NamedTuple):
    """Rows of made histories for `_figure`.

    rows    (D,M)
    truth   what a statistic of them estimates, of each or of all
    factor  of each
    memory  days that blocks are not shorter than
    """

    rows: FloatArray
    truth: FloatArray | float
    factor: FloatArray | float = 1.0
    memory: float = 0.0


def _beyond(made: MadeHistories, settings: Settings) -> FloatArray:
    """(D,P) moves over the horizon of paths without an end, of the parameters of each varied history."""
    draws, paths, days = made.beyond.shape
    moves = horizon_moves(made.beyond.reshape(draws * paths, days).T, int(settings.horizon_days)).T
    return moves.reshape(draws, -1)


def _quantiles(sizes: FloatArray, settings: Settings) -> FloatArray:
    """(D,) quantiles of rows of sizes at the confidence."""
    return np.array([quantile(row, settings.confidence) for row in sizes])


def _made_sizes(moves: FloatArray, made: MadeHistories, settings: Settings, side: Side) -> _Made:
    """(D,M) filtered moves of made histories.

    Without a filter they are of histories of parameters of their own. With one, a history is filtered as the real one
    is, and what is asked for is of a day: the deviation that the filter says of it is the estimate, that of the
    recursion which made the history the truth. Of EWMA the day is the one after each made history; a GARCH is fitted to
    each, and the day is the one after the real history.
    """
    if settings.filter == "none":
        sizes = sided(horizon_moves(made.varied.T, int(settings.horizon_days)).T, side)
        return _Made(sizes, _quantiles(sided(_beyond(made, settings), side), settings), memory=made.memory)
    known = np.stack([filtered_moves(path, made.fitted, settings, side) for path in made.returns])
    truth = quantile(known.ravel(), settings.confidence)
    last = lambda path, used: deviations(path, used, settings)[-1]  # noqa: E731
    if settings.filter == "ewma":
        used = [ewma(path, settings.decay) for path in made.returns]
        factor = np.array([last(p, f) / last(p, made.fitted) for p, f in zip(made.returns, used, strict=True)])
    else:
        used = list(made.fits)
        factor = np.array([last(moves, fit) for fit in used]) / last(moves, made.fitted)
    own = [filtered_moves(path, fit, settings, side) for path, fit in zip(made.returns, used, strict=True)]
    return _Made(np.stack(own), truth, factor)


def _figure(
    series: FloatArray,
    statistic: Callable[[FloatArray], float],
    made: _Made,
    settings: Settings,
    apart: int = 1,
) -> Figure:
    """A figure with its band, which holds the bands of two bootstraps: of blocks, and of histories made of a GARCH.

    Blocks hold for whatever moves are like, but lack bursts of volatility that are longer or fewer than they; made
    histories have these, if moves are like a GARCH. What a statistic of a made history is of its truth, the figure is
    taken to be of its own, so that the truth is the figure over it (the basic bootstrap, of the logarithm: Davison and
    Hinkley 1997, section 5.2). That takes out what a Pareto tail is wrong by on the whole.

    apart  days from one row to the next
    """
    block = block_length(series, settings, apart, made.memory)
    found = block_band(statistic, series, block, int(settings.draws), settings.band, int(settings.seed))
    ratio = np.array([statistic(rows) for rows in made.rows]) * made.factor / made.truth
    other = band(found.value, found.value / np.where(ratio > 0.0, ratio, np.nan), settings.band)
    low, high = min(found.low, other.low), max(found.high, other.high)
    return Figure(found.value, low, high, float(block), float(clusters_beyond(series, found.value, block)))
