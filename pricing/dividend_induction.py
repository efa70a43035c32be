"""The value of calls that may be exercised just before each of several dividends, from the last to the first.

After the last dividend a call is European; just before each it is the larger of exercise and what is left; and between
two it is the mean over a lognormal law, by Gauss-Legendre points up to the spot where exercise begins, and in closed
form above. What is left after a dividend is kept as a Chebyshev series in the log of the spot. With one dividend this
is the model of Roll 1977, Geske 1979 and Whaley 1981; as the integrals are numerical there may be any number.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray
from pricing.models import black76

POINTS_AT_ONCE = 30_000
# Standard deviations on either side of the mean that count: what is beyond has a weight of 1e-13.
FAR = 7.5
# What is left of a European call bends around its strike, over so many deviations to expiry; the panels there.
BEND = 7.0
BEND_POINTS, SMOOTH_POINTS = 32, 48
# Terms of a series: as many, and more for each deviation until the next dividend that its range is wide, up to a limit.
FEWEST_TERMS, TERMS_A_DEVIATION, MOST_TERMS, TERMS_APART = 32, 20, 256, 8
BISECTIONS, DOUBLINGS = 60, 60
ROOT_TWO_PI = 2.5066282746310002
Function = Callable[[FloatArray], FloatArray]


class Calls(NamedTuple):
    """Calls (R,1) with the same dividends before expiry, and these.

    spot     what moves lognormally
    strike, tau, vol, rate   terms of the calls, vol that of this spot
    dates    (m,) years to the dividends, ascending
    added    (m,R,1) what exercise just before a dividend receives beside that spot
    lost     (m,) what that spot loses with the dividend
    """

    spot: FloatArray
    strike: FloatArray
    tau: FloatArray
    vol: FloatArray
    rate: FloatArray
    dates: FloatArray
    added: FloatArray
    lost: FloatArray


class Left(NamedTuple):
    """What is left of calls after a dividend: a function of the log of the spot, (R,...) to (R,...).

    far      (R,1) for large spots it is the spot plus this
    bend     (R,1) log of the spot around which it bends, and how far in logs; None where it is smooth
    panels   that the integral of a smooth one is cut into
    """

    function: Function
    far: FloatArray
    bend: tuple[FloatArray, FloatArray] | None
    panels: int


class Before(NamedTuple):
    """Calls just before a dividend: exercised from the log of the spot `switch` on, (R,1), inf for never.

    kept     of the log of the spot, below the switch
    paid     (R,1) what exercise receives beside the spot
    """

    kept: Function
    paid: FloatArray
    switch: FloatArray


def terms_of(tau: FloatArray, dates: FloatArray) -> FloatArray:
    """Terms of the series that is wanted after the last but one of some dates, by years to expiry (any shape)."""
    wide = np.sqrt(np.minimum(dates[-2], tau - dates[-2]))
    terms = FEWEST_TERMS + TERMS_A_DEVIATION * wide / np.sqrt(dates[-1] - dates[-2])
    return np.asarray(np.minimum(TERMS_APART * np.ceil(terms / TERMS_APART), MOST_TERMS))


def greeks(calls: Calls, module: ModuleType) -> FloatArray:
    """(3,R) price, delta and gamma. Where all calls have the same `terms_of` no bit depends on the others."""
    log_spot = np.log(calls.spot)
    if not len(calls.dates):
        grow, whole = np.exp(calls.rate * calls.tau), np.exp(-calls.rate * calls.tau)
        terms = (calls.spot * grow, calls.strike, calls.tau, calls.vol, whole, np.ones_like(whole))
        rows = module.greeks(black76, tuple(term.ravel() for term in terms))
        return np.array([rows[0], rows[1] * grow[:, 0], rows[2] * grow[:, 0] ** 2])
    left = _after_the_last(calls, module)
    dates = np.append(0.0, calls.dates)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        for k in range(len(calls.dates) - 1, 0, -1):
            step = (dates[k], dates[k + 1])
            before = _before(calls, k, left)
            low, high = _range(calls, step[0])
            count = int(terms_of(calls.tau, dates[: k + 2]).max())
            at = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(np.pi * (np.arange(count) + 0.5) / count)
            series = _series(_means(calls, step, before, left, at)[0], low, high)
            far = np.exp(-calls.rate * (step[1] - step[0])) * np.maximum(before.paid, left.far - calls.lost[k])
            panels = int(np.ceil(np.sqrt((step[0] - dates[k - 1]) / (step[1] - step[0]))))
            left = Left(series, far, None, min(max(panels, 1), 8))
        return _means(calls, (0.0, dates[1]), _before(calls, 0, left), left, log_spot)[:, :, 0]


def _after_the_last(calls: Calls, module: ModuleType) -> Left:
    """The European call that is left of each."""
    life = calls.tau - calls.dates[-1]
    late = np.exp(-calls.rate * life)
    bound = (calls.strike, life, calls.vol, late)

    def function(log_spot: FloatArray) -> FloatArray:
        strike, tau, vol, discount = (
            np.broadcast_to(_beside(log_spot, column), log_spot.shape).ravel() for column in bound
        )
        forward = np.exp(log_spot).ravel() / discount
        columns = (forward, strike, tau, vol, discount, np.ones_like(forward))
        return np.asarray(module.value(black76, columns)).reshape(log_spot.shape)

    return Left(function, -calls.strike * late, (np.log(calls.strike * late), calls.vol * np.sqrt(life)), 1)


def _before(calls: Calls, k: int, left: Left) -> Before:
    """The calls just before dividend k, from what is left after it."""
    lost, paid = calls.lost[k], calls.added[k] - calls.strike

    def kept(log_spot: FloatArray) -> FloatArray:
        if lost == 0.0:
            return left.function(log_spot)
        spot = np.exp(log_spot) - lost
        return np.where(spot > 0.0, left.function(np.log(np.maximum(spot, 1e-300))), 0.0)

    def excess(log_spot: FloatArray) -> FloatArray:
        return np.asarray(np.exp(log_spot) + paid - kept(log_spot))

    exercised = paid > left.far - lost
    low = np.log(np.maximum(-paid, 1e-12 * calls.strike))
    stride = np.full_like(low, 0.1)
    for _ in range(DOUBLINGS):
        short = exercised & (excess(low + stride) <= 0.0)
        if not short.any():
            break
        low, stride = np.where(short, low + stride, low), np.where(short, 2.0 * stride, stride)
    high = low + stride
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        above = excess(middle) > 0.0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return Before(kept, paid, np.where(exercised, high, np.inf))


def _means(calls: Calls, step: tuple[float, float], before: Before, left: Left, log_spot: FloatArray) -> FloatArray:
    """(3,R,N) of `_mean`, for a few of the spots (R,N) at a time, which then stay in the cache of the processor."""
    points = left.panels * SMOOTH_POINTS if left.bend is None else 5 * BEND_POINTS
    width = max(POINTS_AT_ONCE // (points * len(log_spot)), 1)
    parts = [
        _mean(calls, step, before, left, log_spot[:, start : start + width])
        for start in range(0, log_spot.shape[1], width)
    ]
    return np.concatenate([np.array(part) for part in parts], axis=2)


def _mean(
    calls: Calls, step: tuple[float, float], before: Before, left: Left, log_spot: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Discounted mean (R,N) over the step of the calls before its end, by the log of the spot (R,N) at its start, and
    its first two derivatives by that spot."""
    from pricing.xp import numpy as xp

    life = step[1] - step[0]
    spread, discount = calls.vol * np.sqrt(life), np.exp(-calls.rate * life)
    centre = log_spot + (calls.rate - 0.5 * calls.vol**2) * life
    switch = (before.switch - centre) / spread
    top = np.clip(switch, -FAR, FAR + spread)
    node, weight = np.polynomial.legendre.leggauss(SMOOTH_POINTS if left.bend is None else BEND_POINTS)
    edges = _edges(calls, step, left, (centre, spread, top))
    half = 0.5 * np.diff(edges, axis=-1)[..., None]
    z = edges[..., :-1, None] + half * (node + 1.0)
    kept = before.kept(centre[..., None, None] + spread[..., None, None] * z)
    kept = kept * half * weight * np.exp(-0.5 * z * z) / ROOT_TWO_PI
    first, second = ((kept * factor).sum((-1, -2)) for factor in (z, z * z - 1.0))
    spot = np.exp(log_spot)
    at = np.minimum(switch, 1e3)
    paid, density = discount * before.paid, np.exp(-0.5 * at * at) / ROOT_TWO_PI
    spot_density = np.exp(-0.5 * (spread - at) ** 2) / ROOT_TWO_PI
    first, second = discount * first / spread, discount * second / spread**2
    return (
        discount * kept.sum((-1, -2)) + spot * xp.normal_cdf(spread - at) + paid * xp.normal_cdf(-at),
        first / spot + xp.normal_cdf(spread - at) + (spot_density + paid * density / spot) / spread,
        (second - first) / spot**2
        + (spot_density * at / spread - paid * density / spot * (1.0 - at / spread)) / (spot * spread),
    )


def _edges(
    calls: Calls, step: tuple[float, float], left: Left, law: tuple[FloatArray, FloatArray, FloatArray]
) -> FloatArray:
    """(R,N,E) ends of the panels of the integral over the deviation z: from far below the mean to the top."""
    centre, spread, top = law
    low = np.full_like(top, -FAR)
    if left.bend is None:
        share = np.linspace(0.0, 1.0, left.panels + 1)
        return np.asarray(low[..., None] + (top - low)[..., None] * share)
    lost = calls.lost[np.searchsorted(calls.dates, step[1])]
    middle = (np.log(np.exp(left.bend[0]) + lost) - centre) / spread
    width = BEND * left.bend[1] / spread
    inner = [np.clip(middle + width * share, low, top) for share in (-1.0, -0.2, 0.2, 1.0)]
    return np.stack([low, *inner, top], axis=-1)


def _range(calls: Calls, date: float) -> tuple[FloatArray, FloatArray]:
    """(R,1) logs of the spots between which a series is needed: that are within reach, and neither far in nor out."""
    been, life = calls.vol * np.sqrt(date), calls.tau - date
    rest = calls.vol * np.sqrt(life)
    grown = calls.rate * date
    low = np.maximum(
        np.log(calls.spot) + grown - 0.5 * been**2 - FAR * been,
        np.log(calls.strike) - calls.rate * life - 0.5 * rest**2 - FAR * rest,
    )
    high = np.minimum(
        np.log(calls.spot) + grown + 0.5 * been**2 + FAR * been,
        np.log(calls.strike + calls.lost.sum()) + 0.5 * rest**2 + FAR * rest,
    )
    return low, np.maximum(high, low + been)


def _series(values: FloatArray, low: FloatArray, high: FloatArray) -> Function:
    """The Chebyshev series through values (R,n) at the roots of the n-th polynomial; goes on as the spot above."""
    n = values.shape[1]
    angle = np.pi * (np.arange(n) + 0.5) / n
    # Not by a product of matrices, whose last bits for one row depend on how many rows there are.
    coefficients = 2.0 / n * np.einsum("ri,ip->rp", values, np.cos(np.outer(angle, np.arange(n))))
    coefficients[:, 0] *= 0.5

    def function(log_spot: FloatArray) -> FloatArray:
        bottom, top = _beside(log_spot, low), _beside(log_spot, high)
        t = (np.clip(log_spot, bottom, top) - bottom) * (2.0 / (top - bottom)) - 1.0
        terms = [_beside(log_spot, column[:, None]) for column in coefficients.T]
        twice, now, last = 2.0 * t, np.zeros_like(t), np.zeros_like(t)
        for term in terms[:0:-1]:
            following = twice * now
            following -= last
            following += term
            now, last = following, now
        above = np.maximum(np.exp(np.minimum(log_spot, top + 50.0)) - np.exp(top), 0.0)
        return np.asarray(t * now - last + terms[0] + above)

    return function


def _beside(values: FloatArray, column: FloatArray) -> FloatArray:
    """A column (R,1) with as many axes as the values (R,...)."""
    return column.reshape(len(column), *(1,) * (values.ndim - 1))
