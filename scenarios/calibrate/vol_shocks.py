"""Vol shocks: how far a vol of one tenor rises and falls over the horizon, and how that depends on the tenor and on
the price.

Up and down are relative moves, each a one-sided quantile of log changes at the confidence. Over tenors a shock follows

    shock(days) = a (30 / days)^p,   p one power up to 30 days and another beyond

as Deribit, Derive and Paradex publish it; a and the powers are least squares of the logarithm.

An index of 30-day vol goes years back, chains often months: the shock at 30 days is the larger of the quantile of the
index and of a, so that neither a wild month of the chains nor the years before them are lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.calibrate.bootstrap import Figure, band, block_length, block_rows
from scenarios.calibrate.buffer import drawn, in_force_after, path_in_force
from scenarios.calibrate.levels import Methods, Side, deviations, every_method, fit_state, level_path, newest
from scenarios.calibrate.made_histories import make_histories
from scenarios.calibrate.moves import as_relative, horizon_moves, quantile
from scenarios.calibrate.settings import Settings, least_vol_move

REFERENCE_DAYS = 30.0
# Moves expected beyond a quantile, below which a sample does not have it.
LEAST_BEYOND = 0.5


class VolShock(NamedTuple):
    """Calibrated shocks of a vol of one tenor, relative moves, both above 0.

    up, down              what the settings choose
    up_held, down_held    what is calculated with what is left of its buffer, before floor and bounds
    up_drawn, down_drawn  share of the buffer of each that is used up, 0 to 1
    up_methods, down_methods   (filter, way) -> figure with its band
    """

    up: float
    down: float
    up_held: float
    down_held: float
    up_drawn: float
    down_drawn: float
    up_methods: Methods
    down_methods: Methods


def vol_shock(
    returns: ArrayLike,
    settings: Settings,
    least: tuple[float, float] = (0.0, 0.0),
    days: ArrayLike | None = None,
) -> VolShock:
    """Shocks for the day after a history of a vol of constant tenor.

    returns  (T,) log changes a day, oldest first
    least    shocks up and down, relative, that what is chosen is at least, within the bounds of the settings: those of
             the same tenor that chains say
    days     (T,) of the changes, see `levels.first_taken`
    """
    moves = newest(returns, settings, days)
    (up, up_held, up_drawn), (down, down_held, down_drawn) = (
        _shock(returns, settings, side, days) for side in (Side.UP, Side.DOWN)
    )
    up = max(up, min(least[0], settings.vol_high))
    down = max(down, min(least[1], float(_relative(np.log1p(settings.vol_high), Side.DOWN))))
    made = make_histories(moves, settings)
    methods = [
        {way: figure.changed(partial(_relative, side=side)) for way, figure in found.items()}
        for side in (Side.UP, Side.DOWN)
        for found in (every_method(moves, settings, side, made),)
    ]
    return VolShock(up, down, up_held, down_held, up_drawn, down_drawn, *methods)


def vol_shock_path(
    returns: ArrayLike, settings: Settings, days: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """(T+1,) shocks up and (T+1,) down for the day of each of T changes, from those before it; as `scan_range_path`."""
    up, down = (_shock_path(returns, settings, side, days) for side in (Side.UP, Side.DOWN))
    return up, down


def _shock_path(returns: ArrayLike, settings: Settings, side: Side, days: ArrayLike | None) -> FloatArray:
    current, floor = level_path(returns, settings, side, days)
    return _bounded(path_in_force(current, settings), floor, settings, side)


def _shock(returns: ArrayLike, settings: Settings, side: Side, days: ArrayLike | None) -> tuple[float, float, float]:
    """The shock for the day after a history, what is calculated with its buffer, and the share of that used up."""
    moves = newest(returns, settings, days)
    state = fit_state(moves, settings, side)
    current = float(deviations(moves, state.used, settings)[-1] * state.level)
    held = in_force_after(returns, current, settings, side, days)
    used = drawn(held, float(as_relative(max(current, 0.0))), settings)
    return float(_bounded(held, state.floor, settings, side)), float(_relative(np.log1p(held), side)), used


def _relative(log_move: ArrayLike, side: Side) -> FloatArray:
    return as_relative(log_move) if side == Side.UP else -as_relative(-np.asarray(log_move, dtype=np.float64))


def _bounded(held: ArrayLike, floor: ArrayLike, settings: Settings, side: Side) -> FloatArray:
    """Floor and bounds on a relative move up; a fall is bounded by the logarithm of the bounds of a rise."""
    low, high = least_vol_move(settings), np.log1p(settings.vol_high)
    return _relative(np.clip(np.maximum(np.log1p(held), floor), low, max(low, high)), side)


class TenorFit(NamedTuple):
    """a (30 / days)^p of shocks over tenors, each with its band.

    shock        at 30 days
    short_power  up to 30 days, NaN where no tenor below was given
    long_power   beyond
    error        largest relative difference of a shock from the fit
    bias         what the draws say of shock, short and long power in the middle, less what the history does: bands are
                 moved by as much to lie about what the history says
    moves        horizons of which the quantiles are
    """

    shock: Figure
    short_power: Figure
    long_power: Figure
    error: float
    bias: tuple[float, float, float]
    moves: int


def tenor_shocks(changes: ArrayLike, settings: Settings, side: Side) -> FloatArray:
    """(K,) sample quantile of log changes over the horizon of vols of K tenors; NaN where too few are known.

    changes  (T,K) log changes a day, oldest first, NaN where one is not known
    """
    return _quantiles(int(side) * horizon_moves(changes, int(settings.horizon_days)), settings)


def fit_tenors(days: ArrayLike, changes: ArrayLike, settings: Settings, side: Side) -> TenorFit:
    """The powers over tenors from a history of vols of constant tenors.

    days     (K,) tenors in days, above 0
    changes  (T,K) log changes a day, oldest first, NaN where not known; days without any are left out
    Bands are of blocks of days, all tenors of a day together. A resampled history has no move that is not in the
    history, so that quantiles near its largest moves come out too small, of some tenors more than of others: the draws
    are moved to lie about what they are draws of. ConfigError where fewer than two tenors have shocks.
    """
    tenors = np.asarray(days, dtype=np.float64)
    moves = int(side) * horizon_moves(changes, int(settings.horizon_days))
    # Over a gap nothing is known of any tenor: there is nothing to draw.
    moves = moves[np.isfinite(moves).any(axis=1)]
    best = _power_law(tenors, _quantiles(moves, settings), side)
    block = block_length(_common_size(moves), settings)
    rows = block_rows(len(moves), block, int(settings.draws), int(settings.seed))
    drawn = np.array([_power_law(tenors, _quantiles(moves[chosen], settings), side)[:3] for chosen in rows])
    middle = np.array([np.nan if np.isnan(x) else np.nanmedian(drawn[:, n]) for n, x in enumerate(best[:3])])
    # A shock is above 0: it is moved by a factor, powers by a number.
    drawn[:, 0] *= best[0] / middle[0]
    drawn[:, 1:] += np.array(best[1:3]) - middle[1:]
    shock, short, long = (_figure(best[n], drawn[:, n], block, settings) for n in range(3))
    bias = [float(middle[n] - best[n]) for n in range(3)]
    return TenorFit(shock, short, long, best[3], (bias[0], bias[1], bias[2]), len(moves))


def _figure(value: float, drawn: FloatArray, block: int, settings: Settings) -> Figure:
    found = band(value, drawn, settings.band) if np.isfinite(value) else Figure(value, value, value)
    return found._replace(block=float(block))


def _common_size(moves: FloatArray) -> FloatArray:
    """(T,) mean size of the known moves of a day in units of those of each tenor; days without any are left out."""
    sizes = np.abs(moves)
    known = np.isfinite(sizes)
    usual = np.array([sizes[known[:, k], k].mean() if known[:, k].any() else 1.0 for k in range(sizes.shape[1])])
    some = known.any(axis=1)
    total = np.where(known, sizes / np.where(usual > 0.0, usual, 1.0), 0.0).sum(axis=1)
    return np.asarray(total[some] / known[some].sum(axis=1))


def _quantiles(moves: FloatArray, settings: Settings) -> FloatArray:
    """(K,) the quantile of each column at the confidence; NaN where it would be the largest of too few moves."""
    found = np.full(moves.shape[1], np.nan)
    for k in range(moves.shape[1]):
        known = moves[np.isfinite(moves[:, k]), k]
        if len(known) * (1.0 - settings.confidence) >= LEAST_BEYOND and len(known) > 1:
            found[k] = quantile(known, settings.confidence)
    return found


def _power_law(days: FloatArray, log_shocks: FloatArray, side: Side) -> tuple[float, float, float, float]:
    shocks = _relative(log_shocks, side)
    used = np.isfinite(shocks) & (shocks > 0.0)
    if used.sum() < 2:
        raise ConfigError(f"shocks of {int(used.sum())} tenors: powers need two at least, from a longer history")
    nearness = np.log(REFERENCE_DAYS / days[used])
    short, long = np.maximum(nearness, 0.0), np.minimum(nearness, 0.0)
    columns = [np.ones(len(nearness))]
    columns += [kind for kind in (short, long) if np.any(kind)]
    wanted = np.log(shocks[used])
    found, *_ = np.linalg.lstsq(np.column_stack(columns), wanted, rcond=None)
    powers = iter(found[1:].tolist())
    short_power = next(powers) if np.any(short) else float("nan")
    long_power = next(powers) if np.any(long) else float("nan")
    error = float(np.abs(np.expm1(np.column_stack(columns) @ found - wanted)).max())
    return float(np.exp(found[0])), short_power, long_power, error


def common_powers(fits: Iterable[TenorFit]) -> tuple[float, float]:
    """One short and one long power, within 0 to 1, for all of some fits: the largest short and the smallest long one.

    With the level of each no shock is below its fit at any tenor, as long as its powers are within 0 to 1. Powers that
    were not measured do not count; NaN where none was.
    """
    pairs = [(fit.short_power.value, fit.long_power.value) for fit in fits]
    short = max((pair[0] for pair in pairs if np.isfinite(pair[0])), default=float("nan"))
    long = min((pair[1] for pair in pairs if np.isfinite(pair[1])), default=float("nan"))
    return float(np.clip(short, 0.0, 1.0)), float(np.clip(long, 0.0, 1.0))


def at_tenors(level: float, short: float, long: float, days: ArrayLike) -> FloatArray:
    """(K,) level x (30 / days)^power at tenors of (K,) days."""
    tenors = np.asarray(days, dtype=np.float64)
    return np.asarray(level * (REFERENCE_DAYS / tenors) ** np.where(tenors <= REFERENCE_DAYS, short, long))


class Leverage(NamedTuple):
    """How a vol follows its price over the horizon: change of log vol = down x fall + up x rise + rest.

    down, up     per unit of log move, of falls (their size) and of rises
    residual     standard deviation of the rest, in logarithm
    correlation  of the two moves
    joint        share of the horizons inside both the price range and the vol shocks, of the history that made them
    horizons     how many there were, overlapping
    crash_up     mean relative change of the vol where the price fell beyond its range; NaN where it never did
    """

    down: float
    up: float
    residual: float
    correlation: float
    joint: float
    horizons: int
    crash_up: float


def leverage(
    returns: ArrayLike, vol_returns: ArrayLike, price_range: float, up: float, down: float, settings: Settings
) -> Leverage:
    """How a vol moves with its price.

    returns, vol_returns   (T,) log changes over the same days, oldest first
    price_range, up, down  relative moves, each above 0, that the joint share is about
    """
    steps = int(settings.horizon_days)
    price, vol = horizon_moves(returns, steps), horizon_moves(vol_returns, steps)
    columns = np.column_stack([np.maximum(-price, 0.0), np.maximum(price, 0.0)])
    slopes, *_ = np.linalg.lstsq(columns, vol, rcond=None)
    rest = vol - columns @ slopes
    move, change = as_relative(price), as_relative(vol)
    inside = (np.abs(move) <= price_range) & (change <= up) & (change >= -down)
    fell = move < -price_range
    crash = float(change[fell].mean()) if np.any(fell) else float("nan")
    return Leverage(
        down=float(slopes[0]),
        up=float(slopes[1]),
        residual=float(rest.std()),
        correlation=float(np.corrcoef(price, vol)[0, 1]),
        joint=float(inside.mean()),
        horizons=len(inside),
        crash_up=crash,
    )
