"""How procyclical a series of margins was: the calls it made when markets moved.

Source: Murphy, Vasios and Vause (Bank of England Financial Stability Paper 29, 2014).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError

RISE_DAYS = (1, 5, 30)


class Procyclicality(NamedTuple):
    """Of one series of margins, all above 0; NaN where some margin is 0 or the series is too short.

    peak_to_trough   largest over smallest
    rises            largest rises over 1, 5 and 30 days, as shares of the earlier margin
    deviation        standard deviation of the changes of the logarithm from one observation to the next
    share_at_floor   share of the observations on which the floor is the margin; NaN where there is no floor
    """

    peak_to_trough: float
    rises: tuple[float, ...]
    deviation: float
    share_at_floor: float


def procyclicality(
    margins: ArrayLike, at_floor: ArrayLike | None = None, steps_per_day: int = 1, days: tuple[int, ...] = RISE_DAYS
) -> Procyclicality:
    """All the measures of one series.

    margins        (T,) oldest first
    at_floor       (T,) whether the floor was what counted; None where there is none
    steps_per_day  observations a day
    days           of the rises
    """
    series = np.asarray(margins, dtype=np.float64)
    share = float(np.mean(np.asarray(at_floor))) if at_floor is not None else float("nan")
    nothing = float("nan")
    if series.ndim != 1 or len(series) < 3 or not np.all(series > 0.0):
        return Procyclicality(nothing, (nothing,) * len(days), nothing, share)
    rises = tuple(
        largest_relative_increase(series, n * steps_per_day) if n * steps_per_day < len(series) else nothing
        for n in days
    )
    return Procyclicality(peak_to_trough(series), rises, deviation_of_changes(series), share)


def peak_to_trough(margins: ArrayLike) -> float:
    """Largest over smallest margin of a series above 0."""
    series = _series(margins)
    return float(series.max() / series.min())


def largest_increase(margins: ArrayLike, days: int) -> float:
    """Largest increase from one day to the one `days` later, in money: the call that had to be met; 0 where it only
    fell."""
    series = _series(margins, days)
    return max(float((series[days:] - series[:-days]).max()), 0.0)


def largest_relative_increase(margins: ArrayLike, days: int) -> float:
    """The same as a share of the earlier margin."""
    series = _series(margins, days)
    return max(float((series[days:] / series[:-days]).max() - 1.0), 0.0)


def deviation_of_changes(margins: ArrayLike) -> float:
    """Standard deviation (of a sample, n - 1) of the daily changes of the logarithm."""
    return float(np.diff(np.log(_series(margins, 2))).std(ddof=1))


def share_at_floor(margins: ArrayLike, floor: ArrayLike) -> float:
    """Share of the days on which the floor is the margin."""
    return float(np.mean(_series(margins) <= np.asarray(floor, dtype=np.float64)))


def _series(margins: ArrayLike, days: int = 1) -> FloatArray:
    series = np.asarray(margins, dtype=np.float64)
    if days < 1 or series.ndim != 1 or len(series) <= days or not np.all(series > 0.0):
        raise ConfigError(f"days = {days!r}: needs a series of more margins than that, all above 0")
    return series
