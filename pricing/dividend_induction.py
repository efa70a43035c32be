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
# A later dividend bends it likewise, around the spot where exercise begins: the panels there where the step is so many
# times as long as the time from its end to that dividend, to the square; where it is less long, evenly many panels.
SHARP = 4.0
# Terms of a series: as many, and more for each deviation until the next dividend that its range is wide, up to a limit.
FEWEST_TERMS, TERMS_A_DEVIATION, MOST_TERMS, TERMS_APART = 32, 1.34, 256, 16
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


class Bend(NamedTuple):
    """Where what is left of calls bends: at the log of a spot, (R,1), inf for nowhere, over so many logs, (R,1).

    date     of the dividend, years, up to which that spot moves before exercise; the last one's for the strike
    """

    place: FloatArray
    width: FloatArray
    date: float


class Left(NamedTuple):
    """What is left of calls after a dividend: a function of the log of the spot, (R,...) to (R,...).

    far      (R,1) for large spots it is the spot plus this
    floor    (R,1) for small spots it is this: of what later exercise receives beside the spot, the best
    bends    from the last to the first
    """

    function: Function
    far: FloatArray
    floor: FloatArray
    bends: tuple[Bend, ...]


class Before(NamedTuple):
    """Calls just before a dividend: exercised from the log of the spot `switch` on, (R,1), inf for never.

    kept     of the log of the spot, below the switch
    paid     (R,1) what exercise receives beside the spot
    """

    kept: Function
    paid: FloatArray
    switch: FloatArray


def terms_of(calls: Calls) -> FloatArray:
    """(m-1,R) terms of the series of what is left after each dividend but the last."""
    terms = [np.zeros((0, len(calls.spot)))]
    for k in range(1, len(calls.dates)):
        low, high = _range(calls, k)
        deviation = calls.vol * np.sqrt(calls.dates[k] - calls.dates[k - 1])
        wanted = FEWEST_TERMS + TERMS_A_DEVIATION * (high - low) / deviation
        terms.append(np.minimum(TERMS_APART * np.ceil(wanted / TERMS_APART), MOST_TERMS).T)
    return np.concatenate(terms)


def greeks(calls: Calls, module: ModuleType) -> FloatArray:
    """(3,R) price, delta and gamma. Where all calls have the same `terms_of` no bit depends on the others."""
    log_spot = np.log(calls.spot)
    if not len(calls.dates):
        grow, whole = np.exp(calls.rate * calls.tau), np.exp(-calls.rate * calls.tau)
        terms = (calls.spot * grow, calls.strike, calls.tau, calls.vol, whole, np.ones_like(whole))
        rows = module.greeks(black76, tuple(term.ravel() for term in terms))
        return np.array([rows[0], rows[1] * grow[:, 0], rows[2] * grow[:, 0] ** 2])
    left, counts = _after_the_last(calls, module), terms_of(calls)
    dates = np.append(0.0, calls.dates)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        for k in range(len(calls.dates) - 1, 0, -1):
            before = _before(calls, k, left)
            left = _after(calls, k, before, left, int(counts[k - 1].max()))
        return _means(calls, (0.0, dates[1]), _before(calls, 0, left), left, log_spot)[:, :, 0]


def _after(calls: Calls, k: int, before: Before, left: Left, count: int) -> Left:
    """What is left after dividend k - 1, from what is just before and left after dividend k, by so many terms."""
    step = (float(calls.dates[k - 1]), float(calls.dates[k]))
    life = step[1] - step[0]
    spread, drift = calls.vol * np.sqrt(life), (calls.rate - 0.5 * calls.vol**2) * life
    low, high = _range(calls, k)
    # Well above the switch exercise is certain, and the bend there lies where the roots of a series are close together.
    high = np.maximum(np.minimum(high, before.switch - drift + FAR * spread), low + 0.01 * spread)
    at = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(np.pi * (np.arange(count) + 0.5) / count)
    floor = np.maximum(*(np.exp(-calls.rate * life) * worth for worth in (before.paid, left.floor)))
    function = _series(_means(calls, step, before, left, at)[0], (low, high), floor)
    far = np.exp(-calls.rate * life) * np.maximum(before.paid, left.far - calls.lost[k])
    ahead = [
        Bend(np.log(np.exp(bend.place) + calls.lost[k]) - drift, np.hypot(bend.width, spread), bend.date)
        for bend in left.bends
    ]
    return Left(function, far, floor, (*ahead, Bend(before.switch - drift, spread, step[1])))


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

    bend = Bend(np.log(calls.strike * late), calls.vol * np.sqrt(life), float(calls.dates[-1]))
    return Left(function, -calls.strike * late, np.zeros_like(late), (bend,))


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
    panels, bends = _panels(step, left)
    points = (panels + 4 * len(bends)) * SMOOTH_POINTS
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
    node, weight = np.polynomial.legendre.leggauss(SMOOTH_POINTS if step[1] < calls.dates[-1] else BEND_POINTS)
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


def _panels(step: tuple[float, float], left: Left) -> tuple[int, list[Bend]]:
    """Even panels for the integral over a step, and the bends that are too sharp for them."""
    life = step[1] - step[0]
    sharp = [bend for bend in left.bends if life > SHARP**2 * (bend.date - step[1])]
    others = [life / (bend.date - step[1]) for bend in left.bends if life <= SHARP**2 * (bend.date - step[1])]
    return max(int(np.ceil(np.sqrt(max(others, default=1.0)))), 1), sharp


def _edges(
    calls: Calls, step: tuple[float, float], left: Left, law: tuple[FloatArray, FloatArray, FloatArray]
) -> FloatArray:
    """(R,N,E) ends of the panels of the integral over the deviation z: from far below the mean to the top."""
    centre, spread, top = law
    low = np.full_like(top, -FAR)
    panels, bends = _panels(step, left)
    edges = [low + (top - low) * share for share in np.linspace(0.0, 1.0, panels + 1)]
    lost = calls.lost[np.searchsorted(calls.dates, step[1])]
    for bend in bends:
        middle, width = (np.log(np.exp(bend.place) + lost) - centre) / spread, BEND * bend.width / spread
        edges += [np.clip(middle + width * share, low, top) for share in (-1.0, -0.2, 0.2, 1.0)]
    return np.sort(np.stack(edges, axis=-1), axis=-1)


def _range(calls: Calls, k: int) -> tuple[FloatArray, FloatArray]:
    """(R,1) logs of the spots just after dividend k - 1 between which a series is needed: that are within reach, and
    neither far in nor out."""
    date = calls.dates[k - 1]
    life = calls.tau - date
    rest = calls.vol * np.sqrt(life)
    growth = [_growth(calls, past) for past in range(1, k + 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        # What drops is lost from the spot before what it moves by from then on.
        gone = sum(
            (lost * np.exp(-least) for lost, (least, _) in zip(calls.lost[:k], growth, strict=True)),
            np.zeros_like(calls.spot),
        )
        lowest = np.log(np.maximum(calls.spot - gone, 0.0)) + growth[-1][0]
        out = np.log(calls.strike) - calls.rate * life - 0.5 * rest**2 - FAR * rest
        # What exercise receives beside the spot brings in spots that the strike alone would have out.
        for added, due in zip(calls.added[k:], calls.dates[k:], strict=True):
            until = calls.vol * np.sqrt(due - date)
            needed = np.log(np.maximum(calls.strike - added, 0.0))
            out = np.minimum(out, needed - calls.rate * (due - date) - 0.5 * until**2 - FAR * until)
    highest = np.log(calls.spot) + growth[-1][1]
    # Some of what is within reach at least: elsewhere what a series goes on as would not do for the dividends before.
    some = calls.vol * np.sqrt(date)
    low = np.maximum(lowest, np.minimum(out, highest - some))
    into = np.log(calls.strike + calls.lost.sum()) + 0.5 * rest**2 + FAR * rest
    return low, np.maximum(np.minimum(highest, into), low + some)


def _growth(calls: Calls, k: int) -> tuple[FloatArray, FloatArray]:
    """(R,1) logs of the least and largest growth to date k that count, for all within reach at the dates before."""
    dates = np.append(0.0, calls.dates[:k])
    far, drift = FAR * calls.vol * np.sqrt(np.diff(dates)).sum(), (calls.rate - 0.5 * calls.vol**2) * dates[-1]
    return drift - far, drift + far


def _series(values: FloatArray, ends: tuple[FloatArray, FloatArray], floor: FloatArray) -> Function:
    """The Chebyshev series through values (R,n) at the roots of the n-th polynomial; it goes on as the spot above the
    ends, and below straight to the floor where the spot is 0, which a convex function does not exceed."""
    n, (low, high) = values.shape[1], ends
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
        least = _beside(log_spot, floor)
        inside = np.maximum(t * now - last + terms[0], least)
        above = np.maximum(np.exp(np.minimum(log_spot, top + 50.0)) - np.exp(top), 0.0)
        return np.asarray(least + (inside - least) * np.exp(np.minimum(log_spot - bottom, 0.0)) + above)

    return function


def _beside(values: FloatArray, column: FloatArray) -> FloatArray:
    """A column (R,1) with as many axes as the values (R,...)."""
    return column.reshape(len(column), *(1,) * (values.ndim - 1))
