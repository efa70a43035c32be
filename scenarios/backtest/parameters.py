"""Parameters as they were on each day of a history, from what was known on it and nothing else.

A rule makes the whole path at once, fast, or is a fit of the history so far that is repeated every so many days. What
is repeated is handed a history that ends on its day, so it cannot look ahead; what makes a path at once is asked again
with the history cut off, and must say the same (`refuse_look_ahead`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.backtest.history import History
from scenarios.filters import ewma_variance
from scenarios.shocks import check_bounds

PROBES, SEED = 5, 1
# So many moves of an index are enough to do without the stand-in.
INDEX_DAYS = 250


class Shock(NamedTuple):
    """Parameters of one day, for the horizon after it.

    price_range       relative move of the price, either way, above 0 and below 1
    vol_up, vol_down  relative moves of the 30-day vol, 0 or more, the second below 1
    at_floor          whether a floor is what made the range
    """

    price_range: float
    vol_up: float
    vol_down: float
    at_floor: bool = False


class Path(NamedTuple):
    """The same, (D,) each, known at the end of every day; NaN on days before a rule has enough history.

    price_range       relative move of the price
    vol_up, vol_down  relative moves of the 30-day vol
    at_floor          whether a floor is what made the range
    tail_factor       share of the range over the move that counts of a far move; 1 where a rule does not say
    days              calendar days that pass over the horizon; NaN where a rule does not say
    """

    price_range: FloatArray
    vol_up: FloatArray
    vol_down: FloatArray
    at_floor: BoolArray
    tail_factor: FloatArray
    days: FloatArray


Rule = Callable[[History], Path]


@dataclass(frozen=True)
class Quantile:
    """Ranges that are quantiles of the moves of the past, each move over the horizon, overlapping.

    confidence     of the price range and of the vol shocks, 0.5 to 0.99999
    horizon_days   days of the history a move lasts, 1 to 60
    window_days    latest days taken, 20 to 100,000
    buffer         share on top of the price range, 0 to 2
    stress_weight  of the largest range that any stretch of stress_days had, 0 to 1 (EMIR article 28 (1) (b))
    stress_days    days of a stretch, 20 to 2,000
    range_low, range_high   bounds of the price range, 0.001 to 0.95
    vol_up_low, vol_down_low   least vol shocks, 0 to 5 and 0 to 0.99

    Moves of vol are those of the index alone once it has `INDEX_DAYS` of them, since a stand-in falls more slowly than
    any market; before, the floors are what stands for the market.
    """

    confidence: float = 0.99
    horizon_days: int = 1
    window_days: int = 1000
    buffer: float = 0.0
    stress_weight: float = 0.0
    stress_days: int = 250
    range_low: float = 0.001
    range_high: float = 0.9
    vol_up_low: float = 0.0
    vol_down_low: float = 0.0

    def __post_init__(self) -> None:
        bounds = {"confidence": (0.5, 0.99999), "horizon_days": (1, 60), "window_days": (20, 100_000)}
        bounds |= {"buffer": (0.0, 2.0), "stress_weight": (0.0, 1.0), "stress_days": (20, 2000)}
        bounds |= {"vol_up_low": (0.0, 5.0), "vol_down_low": (0.0, 0.99)}
        check_bounds(self, bounds | dict.fromkeys(("range_low", "range_high"), (0.001, 0.95)))
        for name in ("horizon_days", "window_days", "stress_days"):
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        if self.range_low > self.range_high:
            raise ConfigError(f"range_low = {self.range_low!r}: must not exceed range_high = {self.range_high!r}")

    def __call__(self, given: History) -> Shock:
        """Parameters from a history, for the day after it."""
        days = int(self.horizon_days)
        price = np.log(given.price)
        moves = np.abs(np.expm1(price[days:] - price[:-days]))
        range_ = float(np.quantile(moves[-int(self.window_days) :], self.confidence)) * (1.0 + self.buffer)
        if self.stress_weight > 0.0:
            range_ = (1.0 - self.stress_weight) * range_ + self.stress_weight * self._stressed(moves)
        up, down = np.quantile(self._vol_changes(given, days), (self.confidence, 1.0 - self.confidence))
        held = min(max(range_, self.range_low), self.range_high)
        shocks = max(float(np.expm1(up)), self.vol_up_low), max(float(-np.expm1(down)), self.vol_down_low)
        return Shock(held, *shocks, range_ < self.range_low)

    def _vol_changes(self, given: History, days: int) -> FloatArray:
        """Log changes of the vol over the horizon; moves from stand-in to index, which are of no market, left out."""
        vol = np.log(np.where(given.indexed == 1, given.vol, given.stand_in))
        changes, began, ended = vol[days:] - vol[:-days], given.indexed[:-days], given.indexed[days:]
        window = slice(-int(self.window_days), None)
        own = changes[(began == 1) & (ended == 1)][window]
        return own if len(own) >= INDEX_DAYS else changes[began == ended][window]

    def _stressed(self, moves: FloatArray) -> float:
        width = min(int(self.stress_days), len(moves))
        stretches = np.lib.stride_tricks.sliding_window_view(moves, width)[:: max(1, width // 10)]
        return float(np.quantile(stretches, self.confidence, axis=1).max())


@dataclass(frozen=True)
class Ewma:
    """Ranges that are so many standard deviations of an EWMA of squared moves, without any tool: the bare level.

    decay          of prices and vols, 0.5 to 0.9999 a day
    multiple       standard deviations covered, 1 to 10
    horizon_days   days covered, by the root of time, 1 to 60
    least_days     days that the first variance is of, 2 to 10,000; there are no parameters before
    range_low, range_high   bounds of the price range, 0.001 to 0.95
    """

    decay: float = 0.97
    multiple: float = 3.0
    horizon_days: int = 1
    least_days: int = 250
    range_low: float = 0.001
    range_high: float = 0.9

    def __post_init__(self) -> None:
        bounds = {"decay": (0.5, 0.9999), "multiple": (1.0, 10.0), "horizon_days": (1, 60), "least_days": (2, 10_000)}
        check_bounds(self, bounds | dict.fromkeys(("range_low", "range_high"), (0.001, 0.95)))

    def __call__(self, given: History) -> Path:
        """The path of a whole history, a day a row."""
        least, root = int(self.least_days), self.multiple * float(np.sqrt(self.horizon_days))
        if len(given) <= least:
            raise too_short(given, least + 1)
        returns = np.diff(np.log(given.price))
        # Changes of the vol that is in use; where stand-in and index meet there is none.
        changes = np.where(np.diff(given.indexed) == 0, np.diff(np.log(given.vol)), 0.0)
        price, vol = (root * np.sqrt(self._variance(moves, least)) for moves in (returns, changes))
        wanted = np.expm1(price)
        held = np.where(np.arange(len(price)) >= least, np.clip(wanted, self.range_low, self.range_high), np.nan)
        up, down, ones = np.expm1(np.minimum(vol, 3.0)), -np.expm1(-vol), np.ones(len(price))
        return Path(held, up, down, wanted < self.range_low, ones, np.nan * ones)

    def _variance(self, moves: FloatArray, least: int) -> FloatArray:
        """(D,) known at the end of each day; it starts on day `least` from the days before, so that later days do not
        enter earlier ones."""
        start = float(np.mean(moves[:least] ** 2))
        later = ewma_variance(moves[least:], self.decay, start)
        return np.concatenate([np.full(least, start), later])


def fixed(price_range: float, vol_up: float, vol_down: float) -> Rule:
    """A rule that never moves: the parameters of a venue that has not changed them."""
    shock = Shock(price_range, vol_up, vol_down)
    _check("fixed", shock)

    def rule(given: History) -> Path:
        ones = np.ones(len(given))
        return Path(
            price_range * ones,
            vol_up * ones,
            vol_down * ones,
            np.zeros(len(given), dtype=np.bool_),
            ones,
            np.nan * ones,
        )

    return rule


def refitted(calibrate: Callable[[History], Shock], first: int, every: int = 20) -> Rule:
    """A rule that fits the history so far on day `first` and every so many days after it, and holds between.

    calibrate  parameters from a history, which ends on the day of the fit
    first      day of the first fit, a row of the daily history; there are no parameters before
    every      days from one fit to the next
    """
    if first < 2 or every < 1:
        raise ConfigError(f"first = {first!r}, every = {every!r}: must be 2 and 1 at least")

    def rule(given: History) -> Path:
        if len(given) <= first:
            raise too_short(given, first + 1)
        found = np.full((3, len(given)), np.nan)
        at_floor = np.zeros(len(given), dtype=np.bool_)
        for day in range(first, len(given), every):
            shock = calibrate(given.until(day))
            _check(f"day {day}", shock)
            found[:, day:] = np.array(shock[:3])[:, None]
            at_floor[day:] = shock.at_floor
        return Path(found[0], found[1], found[2], at_floor, np.ones(len(given)), np.full(len(given), np.nan))

    return rule


def refuse_look_ahead(
    name: str, rule: Rule, given: History, first: int, probes: int = PROBES, seed: int = SEED
) -> Path:
    """The path of a rule over a history; ConfigError where parameters of a day are others once the days after it are
    cut off.

    name    of the rule, for the message
    first   days before are not asked about
    probes  days tried, at random
    seed    of the draws
    """
    whole = rule(given)
    random = np.random.default_rng(seed)
    for day in np.unique(random.integers(first, max(len(given) - 1, first + 1), probes)).tolist():
        known = rule(given.until(day))
        for field, then, later in zip(Path._fields, known, whole, strict=True):
            if not np.array_equal(then, later[: day + 1], equal_nan=True):
                raise ConfigError(
                    f"{name}: {field} up to day {day} changes with what happened after it: it looks ahead"
                )
    return whole


def too_short(given: History, least: int) -> DataError:
    """The error of a history with fewer days than a rule needs."""
    return DataError([Problem("history", None, "price", len(given), f"needs at least {least} days")])


def _check(name: str, shock: Shock) -> None:
    sound = 0.0 < shock.price_range < 1.0 and shock.vol_up >= 0.0 and 0.0 <= shock.vol_down < 1.0
    if not sound:
        raise ConfigError(
            f"{name}: {shock}: a range must lie above 0 and below 1, vol_up be 0 or more, vol_down below 1"
        )
