"""Were the losses beyond the margin as deep as was claimed?

Tests of expected shortfall, and what the margin is read to claim of it. A margin alone is a quantile and says nothing
of what lies beyond; read as the quantile of a normal law it does, and losses with a fatter tail than that fail.

Sources: Acerbi and Szekely (2014), tests 1 to 3; for the normal law, McNeil, Frey and Embrechts (2015), section 2.3.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, ndtr, ndtri

from pricing.arrays import FloatArray, read_only
from pricing.errors import ConfigError

# Shortfall is tested at 2.5 %, whose normal expected shortfall is close to the quantile at 1 %.
TAIL = 0.025
PATHS, SEED = 200_000, 1
PATHS_OF_P_VALUES = 20_000
ROOT_TWO_PI = float(np.sqrt(2.0 * np.pi))


class NormalTail(NamedTuple):
    """Of a normal law, losses positive.

    value_at_risk       (...) loss exceeded with the probability of the tail
    expected_shortfall  (...) mean loss of that tail
    """

    value_at_risk: FloatArray
    expected_shortfall: FloatArray


class AcerbiSzekely(NamedTuple):
    """Statistics of Acerbi and Szekely, 0 in expectation where the forecast is right, below 0 where losses are deeper.

    beyond  losses beyond the value at risk
    first   Z1: their mean depth, NaN where there are none
    second  Z2: depth and number together
    """

    beyond: int
    first: float
    second: float


def normal_tail(mean: ArrayLike, deviation: ArrayLike, confidence: float) -> NormalTail:
    """Value at risk and expected shortfall of a normal P&L.

    mean        of the P&L, gain positive
    deviation   standard deviation, 0 or more
    confidence  above 0 and below 1
    """
    _check_share("confidence", confidence)
    centre, width = np.asarray(mean, dtype=np.float64), np.asarray(deviation, dtype=np.float64)
    quantile = float(ndtri(confidence))
    depth = float(np.exp(-0.5 * quantile * quantile)) / ROOT_TWO_PI / (1.0 - confidence)
    return NormalTail(np.asarray(width * quantile - centre), np.asarray(width * depth - centre))


def normal_reading(margin: ArrayLike, confidence: float, tail: float = TAIL) -> NormalTail:
    """What a margin claims of a tail when it is read as the quantile of a normal law with mean 0.

    margin      (...) amount that covers losses with the confidence
    confidence  above 0.5 and below 1
    tail        probability of the tail, above 0 and below 0.5
    """
    if not 0.5 < confidence < 1.0 or not 0.0 < tail < 0.5:
        raise ConfigError(f"confidence = {confidence!r}, tail = {tail!r}: must be beyond the middle of the law")
    return normal_tail(0.0, np.asarray(margin, dtype=np.float64) / float(ndtri(confidence)), 1.0 - tail)


def acerbi_szekely(pnl: ArrayLike, forecast: NormalTail, tail: float = TAIL) -> AcerbiSzekely:
    """Tests 1 and 2 of a series of forecasts.

    pnl       (T,) realised, gain positive
    forecast  (T,) each, made before; of any law, all shortfalls above 0
    tail      its probability

    Z1 = sum X I / ES / N + 1 over the N breaches, Z2 = sum X I / ES / (T tail) + 1.
    """
    _check_share("tail", tail)
    gained = np.asarray(pnl, dtype=np.float64)
    risk, expected = (np.broadcast_to(column, gained.shape) for column in forecast)
    if gained.ndim != 1 or not len(gained) or not np.all(expected > 0.0):
        raise ConfigError("acerbi_szekely needs a series of P&L and expected shortfalls, all above 0")
    beyond = -gained > risk
    depth = float((gained[beyond] / expected[beyond]).sum())
    count = int(beyond.sum())
    return AcerbiSzekely(count, depth / count + 1.0 if count else float("nan"), depth / (len(gained) * tail) + 1.0)


def standardised_shortfall(scores: ArrayLike, tail: float = TAIL) -> float:
    """Z3: mean of the worst scores against what a normal law gives of as many; below 0 where they are deeper.

    scores  (T,) P&L over the forecast deviation of its day
    tail    share of them that is taken, one at least

    Of a law that the forecasts scale, test 3 of Acerbi and Szekely needs no draws: the expected mean of the worst k of
    T is -T/k times the integral over p of I(1 - p; T - k, k) at the quantile.
    """
    _check_share("tail", tail)
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if ordered.ndim != 1 or not len(ordered):
        raise ConfigError("standardised_shortfall needs a series of scores")
    worst = max(1, int(len(ordered) * tail))
    return 1.0 - float(ordered[:worst].mean()) / _expected_worst(len(ordered), worst)


def second_critical(days: int, tail: float = TAIL, level: float = 0.05, paths: int = PATHS, seed: int = SEED) -> float:
    """The value of Z2 that a right normal forecast falls below with the probability `level`, by simulation.

    days   observations
    tail   its probability
    level  of the test
    paths  drawn
    seed   of the draws
    """
    return float(np.quantile(_drawn_second(days, tail, paths, seed), level))


def second_p_value(
    second: ArrayLike, days: int, tail: float = TAIL, paths: int = PATHS_OF_P_VALUES, seed: int = SEED
) -> FloatArray:
    """(...) probability that a right normal forecast gives a Z2 as low or lower, by the same simulation.

    second  (...) Z2
    days    observations of each
    tail    its probability
    paths   drawn
    seed    of the draws
    """
    drawn = _drawn_second(days, tail, paths, seed)
    return np.asarray(np.searchsorted(drawn, np.asarray(second, dtype=np.float64), side="right") / paths)


@functools.lru_cache(maxsize=8)
def _drawn_second(days: int, tail: float, paths: int, seed: int) -> FloatArray:
    """(paths,) Z2 of right forecasts, rising. Only the tail counts: its losses are drawn, as many as chance has it."""
    _check_share("tail", tail)
    if days < 1 or paths < 1:
        raise ConfigError(f"days = {days!r}, paths = {paths!r}: must be 1 or more")
    random = np.random.default_rng(seed)
    counts = random.binomial(days, tail, paths)
    expected = float(normal_tail(0.0, 1.0, 1.0 - tail).expected_shortfall)
    depth = -ndtri(tail * random.random(int(counts.sum())))
    ends = np.cumsum(counts)
    total = np.concatenate([[0.0], np.cumsum(depth)])
    drawn = np.sort(1.0 - (total[ends] - total[ends - counts]) / (days * tail * expected))
    return read_only(drawn)


def _expected_worst(count: int, worst: int) -> float:
    """Mean of the `worst` lowest of `count` standard normal draws, below 0.

    The mean of the distribution functions of the lowest ones is that of Beta laws added up: a draw lies among them with
    the probability I(1 - p; T - k, k) at its own probability p.
    """
    grid = np.linspace(-12.0, 12.0, 4801)
    among = np.ones_like(grid) if worst == count else betainc(count - worst, worst, ndtr(-grid))
    density = np.exp(-0.5 * grid * grid) / ROOT_TWO_PI
    return float(count / worst * np.trapezoid(grid * density * among, grid))


def _check_share(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ConfigError(f"{name} = {value!r}: must be above 0 and below 1")
