"""What share of a loss far outside the range counts: weight = factor x range / |move|, at most 1.

The factor is that at which a short option struck at the edge of the range, which no scenario inside it sees, is charged
its expected shortfall: its mean loss given that the price leaves the range. With a Pareto tail beyond the range R that
is the mean excess e(R) = (scale + shape (R - u))/(1 - shape), and the farthest move M of the grid charges
factor x R/M x (M - R), so

    factor = e(R) / (R (1 - R/M))

Moves are sizes in logarithm in the tail, relative in the grid. Beside it stands how fast the weight that single wings
need falls with the move, which the law takes for the power 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.calibrate.bootstrap import Figure, band, block_length, block_rows, of_draw
from scenarios.calibrate.levels import first_taken
from scenarios.calibrate.moves import as_relative, horizon_moves, quantile
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tails import LEAST_EXCESSES, MeanExcess, Stability, Tail, mean_excess, stability, tail_of_share

# Shares of the moves in the tail, at which thresholds are looked at.
TAIL_SHARES = (0.4, 0.3, 0.2, 0.15, 0.1, 0.075, 0.05, 0.03, 0.02)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


class TailWeights(NamedTuple):
    """The weight law of far moves, fitted.

    factor     weight x |move| over the range; above 1 it is cut in a grid, whose weights end at 1
    used       what a grid takes: the factor, at least `tail_low` and at most 1
    power      with which needed weights fall as wings lie farther out; 1 is the law, NaN where the tail ends before
    largest_fall, largest_rise   of the price over the horizon, relative: -0.39 is 39 % down; 0 for none
    covered    share of the moves beyond the range whose loss on that wing the charge covers; 1 where there was none
    worst      largest loss on that wing less its charge, share of the price; 0 where all are covered
    tail       the Pareto tail of the moves over the horizon
    """

    factor: Figure
    used: float
    power: float
    largest_fall: float
    largest_rise: float
    covered: float
    worst: float
    tail: Tail


def tail_weights(returns: ArrayLike, price_range: float, farthest: float, settings: Settings) -> TailWeights:
    """The law from a history of (T,) log returns a day.

    price_range  relative
    farthest     size of the farthest move of the grid, relative, above the range

    ConfigError where it is not: a factor has no meaning then.
    """
    if not farthest > price_range:
        raise ConfigError(
            f"tail_moves: the farthest of them, {farthest:g}, is inside the price range, {price_range:.4g}; a far move "
            f"must be outside it"
        )
    moves = np.asarray(returns, dtype=np.float64)[-int(settings.lookback_days) :]
    signed = horizon_moves(moves, int(settings.horizon_days))
    sizes = np.abs(signed)
    tail = _tail(sizes, settings)
    value = wing_factor(tail, price_range, farthest)
    rows = block_rows(len(sizes), block_length(sizes, settings), int(settings.draws), int(settings.seed))
    drawn = [
        of_draw(lambda own: wing_factor(_tail(own, settings), price_range, farthest), sizes[chosen]) for chosen in rows
    ]
    used = used_factor(value, settings)
    loss = np.maximum(as_relative(sizes) - price_range, 0.0)
    beyond = loss[loss > 0.0]
    charge = used * price_range * (1.0 - price_range / farthest)
    return TailWeights(
        factor=band(value, drawn, settings.band),
        used=used,
        power=needed_power(tail, price_range, farthest),
        largest_fall=float(as_relative(min(signed.min(), 0.0))),
        largest_rise=float(as_relative(max(signed.max(), 0.0))),
        covered=float(np.mean(beyond <= charge)) if len(beyond) else 1.0,
        worst=float(max((beyond - charge).max(initial=0.0), 0.0)),
        tail=tail,
    )


def tail_factor_path(
    returns: ArrayLike, reach: FloatArray, farthest: float, settings: Settings, days: ArrayLike | None = None
) -> FloatArray:
    """(T+1,) what a grid takes for the factor on the day of each of T returns, from those before it, and the day after.

    reach  (T+1,) price range of each of these days, relative, NaN on the first `least_days`; days, `levels.first_taken`

    The tail is fitted anew on the days of `levels.level_path`; in between the range alone moves.
    """
    history, found = np.asarray(returns, dtype=np.float64), np.full(len(reach), np.nan)
    for first in range(int(settings.least_days), len(history) + 1, int(settings.refit_days)):
        known = history[first_taken(first, settings, days) : first]
        tail = _tail(np.abs(horizon_moves(known, int(settings.horizon_days))), settings)
        held = slice(first, min(first + int(settings.refit_days), len(reach)))
        ranges, place = np.unique(reach[held], return_inverse=True)
        factors = [used_factor(wing_factor(tail, float(one), farthest), settings) for one in ranges]
        found[held] = np.array(factors)[place]
    return found


def threshold_diagnostics(returns: ArrayLike, settings: Settings) -> tuple[MeanExcess, Stability]:
    """What speaks for a threshold of the moves over the horizon: mean excess and fits, from many moves in the tail to
    few; those that the quantile at the confidence is not beyond, or that leave too few moves, are left out."""
    moves = np.asarray(returns, dtype=np.float64)[-int(settings.lookback_days) :]
    sizes = np.abs(horizon_moves(moves, int(settings.horizon_days)))
    least = max(1.0 - settings.confidence, LEAST_EXCESSES / len(sizes)) * 1.2
    thresholds = np.array([quantile(sizes, 1.0 - share) for share in TAIL_SHARES if share >= least])
    # Equal moves on a threshold are not above it.
    above = (sizes > thresholds[:, None]).sum(axis=1)
    thresholds = thresholds[above >= max((1.0 - settings.confidence) * len(sizes), LEAST_EXCESSES)]
    return mean_excess(sizes, thresholds), stability(sizes, thresholds, settings.confidence)


def used_factor(factor: float, settings: Settings) -> float:
    """What a grid takes for a factor: at least `tail_low`, at most 1.

    Where the share of the moves beyond x falls with x^-a, the mean excess is x/(a - 1). Of Bitcoin powers of 2 to 2.5
    were found (Begusic, Kostanjcar, Stanley and Podobnik 2018), of stocks and currencies 3 (Gopikrishnan and others
    1998; Gabaix and others 2003). The least is that of 2.5, the lightest tail of those of a coin.
    """
    return min(max(factor, settings.tail_low), 1.0)


def wing_factor(tail: Tail, price_range: float, farthest: float) -> float:
    """The factor at which a wing struck at the edge of the range is charged its mean loss beyond it."""
    return float(mean_wing_loss(tail, price_range, price_range) / (price_range * (1.0 - price_range / farthest)))


def mean_wing_loss(tail: Tail, price_range: float, strike: float) -> float:
    """Mean of max(|move| - strike, 0), relative, given that the move is beyond the range.

    strike  relative distance of the strike, at least the range
    """
    # By the share of the moves beyond the range that go farther, which is uniform; to a power, to lie dense near 0.
    root = 0.5 * (NODES + 1.0)
    share, measure = root**4, WEIGHTS * 2.0 * root**3
    move = as_relative(_move_beyond(tail, float(np.log1p(price_range)), share))
    return float(np.sum(measure * np.maximum(move - strike, 0.0)))


def needed_power(tail: Tail, price_range: float, farthest: float) -> float:
    """Power with which the weight of a move falls that charges a wing, struck half way to it from the range, its mean
    loss given that the price leaves the range; least squares of the logarithm over moves up to the farthest. NaN where
    the tail ends so soon that fewer than two wings have a loss."""
    move = np.geomspace(1.5 * price_range, min(farthest, 10.0 * price_range), 12)
    strike = 0.5 * (price_range + move)
    needed = np.array([mean_wing_loss(tail, price_range, k) for k in strike]) / (move - strike)
    known = needed > 0.0
    if known.sum() < 2:
        return float("nan")
    return float(-np.polyfit(np.log(move[known]), np.log(needed[known]), 1)[0])


def _tail(sizes: FloatArray, settings: Settings) -> Tail:
    return tail_of_share(sizes, settings.tail_share, settings.confidence)


def _move_beyond(tail: Tail, level: float, share: FloatArray) -> FloatArray:
    """Sizes in logarithm that only such a share of the moves beyond a level exceeds; a level is taken at u at least."""
    from_here = max(level - tail.threshold, 0.0)
    scale = max(tail.scale + tail.shape * from_here, 1e-12)
    if abs(tail.shape) < 1e-7:
        excess = -scale * np.log(share)
    else:
        excess = scale * np.expm1(-tail.shape * np.log(share)) / tail.shape
    # A price cannot move without end: beyond a factor of 100 a move counts as that.
    return np.asarray(np.minimum(max(level, tail.threshold) + excess, np.log(100.0)))
