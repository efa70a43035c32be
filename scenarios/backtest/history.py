"""A history of one underlying as a walk sees it: prices, the 30-day vol that was known, and moves over a horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray, freeze_fields
from pricing.errors import ConfigError, DataError, Problem
from scenarios.filters import ewma_variance

NAME = "history"
MS_PER_DAY = 86_400_000
# The stand-in for an implied vol: forecast of the mean variance of 30 days by a filter that returns to its long run.
PROXY_DECAY, PROXY_LIFE_DAYS, PROXY_DAYS, PROXY_LEAST_DAYS = 0.94, 20.0, 30.0, 20
VOL_BOUNDS = (1e-4, 20.0)


@dataclass(frozen=True)
class History:
    """One underlying, one row a step, oldest first.

    time_ms         (T,) ms UTC of what is known, rising
    price           (T,) above 0
    vol             (T,) vol of 30 days per sqrt(year), decimal: of an index where it has one, else the stand-in
    stand_in        (T,) the stand-in alone, `implied_stand_in`
    indexed         (T,) whether vol is that of an index
    days_per_year   365 where every day trades, 252 or so where not: it makes vols of a day from vols of a year
    steps_per_day   rows a trading day
    """

    time_ms: IntArray
    price: FloatArray
    vol: FloatArray
    stand_in: FloatArray
    indexed: IntArray
    days_per_year: float = 365.0
    steps_per_day: int = 1

    def __post_init__(self) -> None:
        freeze_fields(self, {"time_ms": np.int64, "price": np.float64, "vol": np.float64, "stand_in": np.float64,
                             "indexed": np.int64})  # fmt: skip
        if self.days_per_year <= 0.0 or self.steps_per_day < 1:
            raise ConfigError(
                f"days_per_year = {self.days_per_year!r}, steps_per_day = {self.steps_per_day!r}: must be above 0"
            )
        problems = []
        rising = np.append(True, np.diff(self.time_ms) > 0)
        for name, fits, remedy in (
            ("time_ms", rising, "must be later than the row before"),
            ("price", np.isfinite(self.price) & (self.price > 0.0), "must be a number above 0"),
            ("vol", (self.vol >= VOL_BOUNDS[0]) & (self.vol <= VOL_BOUNDS[1]), f"must be {VOL_BOUNDS[0]:g} to 20"),
            ("stand_in", self.stand_in > 0.0, "must be above 0"),
        ):
            values = getattr(self, name)
            if values.shape != self.time_ms.shape or values.ndim != 1:
                problems.append(Problem(NAME, None, name, values.shape, f"must be a series of {len(self.time_ms)}"))
                continue
            problems += [Problem(NAME, int(row), name, values[row].item(), remedy) for row in np.flatnonzero(~fits)]
        if problems:
            raise DataError(problems)

    def __len__(self) -> int:
        return len(self.time_ms)

    def until(self, row: int) -> History:
        """What was known at a row: everything up to it and nothing after."""
        kept = slice(0, row + 1)
        columns = (self.time_ms[kept], self.price[kept], self.vol[kept], self.stand_in[kept], self.indexed[kept])
        return History(*columns, self.days_per_year, self.steps_per_day)

    def days(self) -> IntArray:
        """(D,) the last row of every day, UTC; of the last day only if it is over: a day is known when it has ended.

        With one row a day every row.
        """
        if self.steps_per_day == 1:
            return np.arange(len(self))
        day = (self.time_ms - 1) // MS_PER_DAY  # a bar that ends at midnight belongs to the day that ended
        last = np.flatnonzero(np.append(day[1:] != day[:-1], self.time_ms[-1] % MS_PER_DAY == 0))
        return np.asarray(last, dtype=np.int64)

    def stamps(self, rows: ArrayLike) -> np.ndarray:
        """(R,) datetime64: with one row a day the day whose close a row is, else the moment, UTC, at which it is known.

        A bar of a day that is known at midnight is named by the day that ended, as a file names it.
        """
        known = self.time_ms[np.asarray(rows, dtype=np.int64)]
        if self.steps_per_day == 1:
            return np.asarray((known - 1) // MS_PER_DAY).astype("datetime64[D]")
        return np.asarray(known).astype("datetime64[ms]").astype("datetime64[m]")

    def at(self, rows: ArrayLike, steps_per_day: int) -> History:
        """The history of these rows alone, so many of them a day."""
        kept = np.asarray(rows, dtype=np.int64)
        columns = (self.time_ms[kept], self.price[kept], self.vol[kept], self.stand_in[kept], self.indexed[kept])
        return History(*columns, self.days_per_year, steps_per_day)


def history(
    time_ms: ArrayLike,
    price: ArrayLike,
    index: ArrayLike | None = None,
    *,
    days_per_year: float = 365.0,
    steps_per_day: int = 1,
) -> History:
    """A history with its stand-in for implied vol.

    time_ms         (T,) ms UTC, rising
    price           (T,) above 0
    index           (T,) vol of 30 days known at each row, decimal; NaN where there is none
    days_per_year   see `History`
    steps_per_day   rows a trading day
    """
    prices = np.asarray(price, dtype=np.float64)
    if prices.ndim != 1 or len(prices) < 3 or not np.all(np.isfinite(prices) & (prices > 0.0)):
        raise DataError([Problem(NAME, None, "price", prices.shape, "must be a series of three or more above 0")])
    proxy = implied_stand_in(prices, days_per_year, steps_per_day)
    known = np.full(len(prices), np.nan) if index is None else np.asarray(index, dtype=np.float64)
    indexed = np.isfinite(known)
    vol = np.where(indexed, known, proxy)
    return History(np.asarray(time_ms), prices, vol, proxy, indexed.astype(np.int64), days_per_year, steps_per_day)


def implied_stand_in(price: ArrayLike, days_per_year: float = 365.0, steps_per_day: int = 1) -> FloatArray:
    """(T,) what a 30-day vol index would have been about, from prices alone, each row from those up to it.

    price           (T,) above 0
    days_per_year   365, or 252 or so
    steps_per_day   rows a day

    An EWMA of squared returns, decay 0.94 a day (RiskMetrics 1996), of which the part above the mean of all squares so
    far dies away with a mean life of 20 days: the mean variance of the 30 days to come is
    long run + (now - long run) (1 - exp(-30/20)) / (30/20). No risk premium is added.
    """
    squares = np.diff(np.log(np.asarray(price, dtype=np.float64))) ** 2
    least = min(len(squares), PROXY_LEAST_DAYS * steps_per_day)
    start = max(float(squares[:least].mean()), 1e-12)
    ewma = ewma_variance(np.sqrt(squares), PROXY_DECAY ** (1.0 / steps_per_day), start)
    # The start counts as so many observations of the long run; it is of the first days, which no margin is tested on.
    long_run = (start * least + np.concatenate([[0.0], np.cumsum(squares)])) / (least + np.arange(len(squares) + 1))
    ratio = PROXY_DAYS / PROXY_LIFE_DAYS
    mean = long_run + (ewma - long_run) * (1.0 - np.exp(-ratio)) / ratio
    return np.asarray(np.clip(np.sqrt(mean * steps_per_day * days_per_year), *VOL_BOUNDS))


def price_moves(given: History, rows: IntArray, horizon: int) -> FloatArray:
    """(R,) relative moves of the price over the horizon, in steps, that begins at each row."""
    return np.asarray(given.price[rows + horizon] / given.price[rows] - 1.0)


def vol_moves(given: History, rows: IntArray, horizon: int) -> FloatArray:
    """(R,) relative moves of the 30-day vol of the index where it has both ends, else of the stand-in."""
    ends = rows + horizon
    both = (given.indexed[rows] & given.indexed[ends]).astype(np.bool_)
    moved = np.where(both, given.vol[ends] / given.vol[rows], given.stand_in[ends] / given.stand_in[rows])
    return np.asarray(moved - 1.0)
