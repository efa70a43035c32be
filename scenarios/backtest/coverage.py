"""Were losses beyond the margin as rare, and as scattered, as was claimed?

Counts of breaches against a probability, and their order in time. A breach is a loss above the margin that was asked
for when the horizon began; one equal to it is covered.

Sources: Kupiec (1995), proportion of failures; Christoffersen (1998), independence and conditional coverage; Basel
Committee on Banking Supervision (1996), traffic light, and MAR32 and MAR99 of the Basel framework, its multipliers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, chdtrc, chdtri, xlogy

from pricing.arrays import BoolArray
from pricing.errors import ConfigError, DataError, Problem

# Zones by the probability of that many breaches or fewer, and what is added to the multiplier, by breaches of 250 days.
YELLOW_FROM, RED_FROM = 0.95, 0.9999
DAYS_OF_MULTIPLIER, CONFIDENCE_OF_MULTIPLIER = 250, 0.99
PLUS_1996 = (0.0, 0.0, 0.0, 0.0, 0.0, 0.40, 0.50, 0.65, 0.75, 0.85, 1.0)
PLUS_MAR = (0.0, 0.0, 0.0, 0.0, 0.0, 0.20, 0.26, 0.33, 0.38, 0.42, 0.50)
BASE_1996, BASE_MAR = 3.0, 1.5


class LikelihoodRatio(NamedTuple):
    """A likelihood ratio test.

    statistic  -2 ln of the ratio, 0 or more
    p_value    probability of one as large under what was claimed, by the chi-square law
    """

    statistic: float
    p_value: float


class Christoffersen(NamedTuple):
    """Independence and conditional coverage.

    transitions  ((quiet to quiet, quiet to breach), (breach to quiet, breach to breach))
    independence chi-square with one degree of freedom
    conditional  coverage and independence together, two degrees
    """

    transitions: tuple[tuple[int, int], tuple[int, int]]
    independence: LikelihoodRatio
    conditional: LikelihoodRatio


class TrafficLight(NamedTuple):
    """The Basel zone of a count.

    zone            "green", "yellow" or "red"
    cumulative      probability of that many breaches or fewer, were the coverage as claimed
    multiplier_1996, multiplier_mar   of a capital requirement, NaN unless of 250 days at 99 %
    """

    zone: str
    cumulative: float
    multiplier_1996: float
    multiplier_mar: float


def breaches(loss: ArrayLike, margin: ArrayLike) -> BoolArray:
    """(...) where a loss exceeds the margin that was asked for before it.

    loss    (...) realised over the horizon, + lost
    margin  (...) asked for when the horizon began, 0 or more

    DataError where either is no number: a day without a figure is no day without a breach.
    """
    lost, asked = np.asarray(loss, dtype=np.float64), np.asarray(margin, dtype=np.float64)
    for name, values in (("loss", lost), ("margin", asked)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            place = tuple(int(n) for n in bad[0])
            where = place[0] if len(place) == 1 else str(place) if place else None
            raise DataError([Problem("backtest", where, name, float(values[place]), "must be a number")])
    return np.asarray(lost > asked)


def kupiec(count: int, days: int, probability: float) -> LikelihoodRatio:
    """Proportion of failures: is the share of breaches the one claimed?

    count        breaches
    days         observations, 1 or more
    probability  of a breach that was claimed, above 0 and below 1

    LR = 2 [x ln(x/n) + (n - x) ln(1 - x/n) - x ln p - (n - x) ln(1 - p)] (Kupiec 1995). Too few are rejected as well.
    """
    _check_count(count, days, probability)
    share = count / days
    free = xlogy(count, share) + xlogy(days - count, 1.0 - share)
    claimed = xlogy(count, probability) + xlogy(days - count, 1.0 - probability)
    return _ratio(2.0 * float(free - claimed), 1)


def kupiec_bounds(days: int, probability: float, level: float = 0.05) -> tuple[int, int]:
    """The counts on either side that Kupiec's test just rejects: any strictly between them passes.

    days         observations
    probability  of a breach that was claimed
    level        of the test

    The lower one is -1 where even no breach at all passes.
    """
    _check_count(0, days, probability)
    critical = float(chdtri(1, level))
    passing = [count for count in range(days + 1) if kupiec(count, days, probability).statistic <= critical]
    if not passing:
        raise ConfigError(f"level = {level!r}: no count of {days} observations passes at this level")
    return passing[0] - 1, passing[-1] + 1


def christoffersen(hits: ArrayLike, probability: float) -> Christoffersen:
    """Does a breach make another the next time likelier, and is coverage right once that is counted?

    hits         (T,) whether each observation, in order of time and not overlapping, was a breach
    probability  of a breach that was claimed
    """
    hit = _hits(hits)
    before, after = hit[:-1].astype(np.int64), hit[1:].astype(np.int64)
    counts = np.bincount(2 * before + after, minlength=4)
    n00, n01, n10, n11 = (int(n) for n in counts)
    pooled = (n01 + n11) / len(after)
    after_quiet = n01 / (n00 + n01) if n00 + n01 else 0.0
    after_hit = n11 / (n10 + n11) if n10 + n11 else 0.0
    apart = (
        xlogy(n00, 1.0 - after_quiet) + xlogy(n01, after_quiet) + xlogy(n10, 1.0 - after_hit) + xlogy(n11, after_hit)
    )
    together = xlogy(n00 + n10, 1.0 - pooled) + xlogy(n01 + n11, pooled)
    independence = _ratio(2.0 * float(apart - together), 1)
    coverage = kupiec(int(hit.sum()), len(hit), probability)
    return Christoffersen(
        ((n00, n01), (n10, n11)), independence, _ratio(coverage.statistic + independence.statistic, 2)
    )


def traffic_light(
    count: int, days: int = DAYS_OF_MULTIPLIER, confidence: float = CONFIDENCE_OF_MULTIPLIER
) -> TrafficLight:
    """The zone of a count of breaches: yellow where so many or fewer have a probability of 95 %, red from 99.99 % on.

    count       breaches
    days        observations
    confidence  coverage that was claimed, such as 0.99
    """
    _check_count(count, days, 1.0 - confidence)
    cumulative = float(bdtr(count, days, 1.0 - confidence))
    zone = "green" if cumulative < YELLOW_FROM else "yellow" if cumulative < RED_FROM else "red"
    if days != DAYS_OF_MULTIPLIER or abs(confidence - CONFIDENCE_OF_MULTIPLIER) > 1e-12:
        return TrafficLight(zone, cumulative, float("nan"), float("nan"))
    step = min(count, len(PLUS_1996) - 1)
    return TrafficLight(zone, cumulative, BASE_1996 + PLUS_1996[step], BASE_MAR + PLUS_MAR[step])


def rolling_count(hits: ArrayLike, window: int = DAYS_OF_MULTIPLIER) -> np.ndarray:
    """(T,) breaches among the `window` observations up to each, fewer at the beginning.

    hits    (T,) whether each was a breach
    window  observations, 1 or more
    """
    total = np.concatenate([[0], np.cumsum(_hits(hits))])
    end = np.arange(1, len(total))
    return np.asarray(total[end] - total[np.maximum(end - window, 0)])


def _hits(hits: ArrayLike) -> BoolArray:
    series = np.asarray(hits)
    if series.ndim != 1 or len(series) < 2 or not np.all((series == 0) | (series == 1)):
        raise ConfigError(f"hits of shape {series.shape}: must be a series of two breaches or none, 1 or 0, at least")
    return series.astype(np.bool_)


def _ratio(statistic: float, degrees: int) -> LikelihoodRatio:
    # Rounding may leave a ratio of equal likelihoods a hair below 0.
    held = max(statistic, 0.0)
    return LikelihoodRatio(held, float(chdtrc(degrees, held)))


def _check_count(count: int, days: int, probability: float) -> None:
    if not 0 <= count <= days or days < 1:
        raise ConfigError(f"count = {count!r}, days = {days!r}: needs a count of 0 to days, and a day at least")
    if not 0.0 < probability < 1.0:
        raise ConfigError(f"probability = {probability!r}: must be above 0 and below 1")
