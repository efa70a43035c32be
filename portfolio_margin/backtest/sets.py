"""What is compared: a rule that makes parameters from a history, and how a margin is made of them.

Each kind of set is a frozen dataclass, whose fields are what a TOML table of it may hold.

  fixed        parameters that never move
  quantile     quantiles of past moves, fitted again every so many days (`scenarios/backtest/parameters.py`)
  ewma         multiples of an EWMA volatility, without any tool
  calibrated   what `calibrate` would have said every so many days, kept until the next (`scenarios/calibrate`)
  apc          the published rule of dynamic margin with its anti-procyclicality tools (`dynamic/rule.py`)
  historical   historical simulation of the books themselves
  model        a margin model of the engine, the same parameters on every day (`backtest/venue.py`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from portfolio_margin.dynamic.rule import Rule as DynamicRule
from portfolio_margin.dynamic.rule import move_path
from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.backtest.history import MS_PER_DAY, History
from scenarios.backtest.models import Layout, WorstCase, grid_layout, over_layout, over_sets, span_layout
from scenarios.backtest.parameters import Ewma, Path, Quantile, Rule, fixed, refitted, too_short
from scenarios.calibrate.grid_nodes import equal_nodes
from scenarios.calibrate.grid_set import Figures, base_params, figures_path, grid_params
from scenarios.calibrate.settings import BOUNDS, Settings
from scenarios.families import grid
from scenarios.families.grid import TAIL_MOVES
from scenarios.shocks import check_bounds

LAYOUTS = ("grid", "span")


@dataclass(frozen=True)
class Scenarios:
    """The layout under which a set's worst loss is taken.

    layout       "grid" (price x vol x time, with tails) or "span" (16 scenarios)
    buckets      of the grid on each side, 1 to 50
    tails        whether the grid has moves beyond its range, of which a share counts
    tail_factor  of that share, 0 to 1
    """

    layout: str = "grid"
    buckets: int = 4
    tails: bool = True
    tail_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout = {self.layout!r}: must be one of {', '.join(LAYOUTS)}")
        if not isinstance(self.buckets, int) or not 1 <= self.buckets <= 50:
            raise ConfigError(f"buckets = {self.buckets!r}: must be a whole number from 1 to 50")
        check_bounds(self, {"tail_factor": (0.0, 1.0)})

    def made(self, horizon_days: float) -> Layout:
        """The scenarios for a horizon."""
        if self.layout == "span":
            return span_layout(horizon_days)
        tails = TAIL_MOVES if self.tails else ()
        return grid_layout(horizon_days, self.buckets, tails, tail_factor=self.tail_factor)


class _OverLayout:
    """Sets whose scenarios are a layout that follows their path."""

    scenarios: Scenarios

    def model(self, path: Path, day_of: IntArray, horizon_days: int) -> WorstCase:
        """What margins the books."""
        return over_layout(path, day_of, self.scenarios.made(float(horizon_days)))


@dataclass(frozen=True)
class Fixed(_OverLayout):
    """Parameters that never move.

    price_range       relative move of the price, above 0 and below 1
    vol_up, vol_down  relative moves of the 30-day vol
    scenarios         layout
    """

    price_range: float = 0.16
    vol_up: float = 0.50
    vol_down: float = 0.25
    scenarios: Scenarios = field(default_factory=Scenarios)

    def rule(self, least_days: int, horizon_days: int) -> Rule:
        """The rule."""
        return fixed(self.price_range, self.vol_up, self.vol_down)

    def bare(self, least_days: int, horizon_days: int) -> Rule | None:
        """None: there is no tool to take off."""
        return None


@dataclass(frozen=True)
class Quantiles(_OverLayout):
    """Quantiles of past moves.

    fit         see `parameters.Quantile`; its horizon is that of the back-test
    every_days  days from one fit to the next, 1 to 1,000
    scenarios   layout
    """

    fit: Quantile = field(default_factory=Quantile)
    every_days: int = 5
    scenarios: Scenarios = field(default_factory=Scenarios)

    def __post_init__(self) -> None:
        if not isinstance(self.every_days, int) or not 1 <= self.every_days <= 1000:
            raise ConfigError(f"every_days = {self.every_days!r}: must be a whole number from 1 to 1,000")

    def rule(self, least_days: int, horizon_days: int) -> Rule:
        """The rule, from day `least_days` on."""
        return refitted(self.used(least_days, horizon_days).fit, least_days, self.every_days)

    def used(self, least_days: int, horizon_days: int) -> Quantiles:
        """The set with the horizon of the back-test."""
        return replace(self, fit=replace(self.fit, horizon_days=horizon_days))

    def bare(self, least_days: int, horizon_days: int) -> Rule | None:
        """The same without buffer, stressed weight and floor."""
        plain = replace(
            self.fit,
            horizon_days=horizon_days,
            buffer=0.0,
            stress_weight=0.0,
            range_low=0.001,
            vol_up_low=0.0,
            vol_down_low=0.0,
        )
        return refitted(plain, least_days, self.every_days)


@dataclass(frozen=True)
class Filtered(_OverLayout):
    """Multiples of an EWMA volatility.

    ewma       see `parameters.Ewma`; horizon and first day are those of the back-test
    scenarios  layout
    """

    ewma: Ewma = field(default_factory=Ewma)
    scenarios: Scenarios = field(default_factory=Scenarios)

    def rule(self, least_days: int, horizon_days: int) -> Rule:
        """The rule, from day `least_days` on."""
        return self.used(least_days, horizon_days).ewma

    def used(self, least_days: int, horizon_days: int) -> Filtered:
        """The set with horizon and first day of the back-test."""
        return replace(self, ewma=replace(self.ewma, horizon_days=horizon_days, least_days=least_days))

    def bare(self, least_days: int, horizon_days: int) -> Rule | None:
        """None: it is bare."""
        return None


@dataclass(frozen=True)
class Calibration:
    """The sets that `calibrate --model worst_case` would have written with what was known, every `refit_days`.

    settings   see `scenarios.calibrate.settings.Settings`, the table [calibration] of that command; horizon and first
               day, 100 at least, are those of the back-test

    Price range, vol shocks, nodes, weights of far moves and days are those of the file, rounded as they are written, by
    `scenarios.calibrate.grid_set`: the very set on the days of a fit, where the first day is `least_days` of the
    settings, so that `calibrate` counts the same days of fits; the set of the last fit in between. Vol shocks are of
    the index from the day on which it alone has so many days, and of the stand-in until then.
    """

    settings: Settings = field(default_factory=Settings)

    def rule(self, least_days: int, horizon_days: int) -> Rule:
        """The rule, from day `least_days` on."""
        known = self.used(least_days, horizon_days).settings
        return lambda given: _calibrated(given, known)

    def model(self, path: Path, day_of: IntArray, horizon_days: int) -> WorstCase:
        """The worst loss over the sets that were written."""
        known = replace(self.settings, horizon_days=horizon_days)
        base, nodes = base_params(known), equal_nodes(known.grid_error)
        rows = np.column_stack([path.price_range, path.vol_up, path.vol_down, path.tail_factor])
        written: dict[grid.Params, int] = {}
        set_of = np.full(len(rows), -1)
        for day in np.flatnonzero(np.isfinite(rows).all(axis=1)):
            passing = replace(base, days=(0.0, float(path.days[day])))
            params = grid_params(passing, {"": Figures(*rows[day].tolist())}, nodes)
            set_of[day] = written.setdefault(params, len(written))
        return over_sets(path, day_of, [grid.alike(params) for params in written], set_of)

    def bare(self, least_days: int, horizon_days: int) -> Rule | None:
        """The same without buffer, floor and lower bounds."""
        plain = replace(self.settings, buffer=0.0, floor="none")
        plain = replace(plain, range_low=BOUNDS["range_low"][0], vol_low=BOUNDS["vol_low"][0])
        return Calibration(plain).rule(least_days, horizon_days)

    def used(self, least_days: int, horizon_days: int) -> Calibration:
        """The set with horizon and first day of the back-test."""
        lookback = max(least_days, int(self.settings.lookback_days))
        known = replace(self.settings, horizon_days=horizon_days, least_days=least_days, lookback_days=lookback)
        return replace(self, settings=known)


@dataclass(frozen=True)
class Limited(_OverLayout):
    """The rule of dynamic margin: tools of EMIR article 28, bounds, and limits per day.

    dynamic    see `dynamic.rule.Rule`; horizon and first day are those of the back-test
    scenarios  layout
    """

    dynamic: DynamicRule = field(default_factory=DynamicRule)
    scenarios: Scenarios = field(default_factory=Scenarios)

    def rule(self, least_days: int, horizon_days: int) -> Rule:
        """The rule, from day `least_days` on."""
        known = self.used(least_days, horizon_days).dynamic
        return lambda given: _limited(given, known)

    def used(self, least_days: int, horizon_days: int) -> Limited:
        """The set with horizon and first day of the back-test."""
        return replace(self, dynamic=replace(self.dynamic, horizon_days=float(horizon_days), least_days=least_days))

    def bare(self, least_days: int, horizon_days: int) -> Rule | None:
        """The level of the same rule without tool and limit."""
        known = self.used(least_days, horizon_days).dynamic
        return lambda given: _limited(given, known, bare=True)


@dataclass(frozen=True)
class Simulated:
    """Historical simulation of the books.

    window      latest horizons, 20 to 4,000
    confidence  0.5 to 0.9999
    measure     "value_at_risk" or "expected_shortfall"
    scaled      whether moves are scaled to the vol of the day
    """

    window: int = 500
    confidence: float = 0.99
    measure: str = "value_at_risk"
    scaled: bool = True


@dataclass(frozen=True)
class Dated:
    """A dated set as it stands, the same on every day: the scenarios that `margin --params` takes of its file.

    params      of one underlying: range and vol shocks are one number each
    underlying  whose they are, "" where they are for all
    valid_from  the set's first day, YYYY-MM-DD: what was before, its maker may have seen. "" where none is stated
    valid_to    its last day, "" where none is stated
    file        where it was read
    initial_factor, maintenance_factor   margins of the file per unit of the worst loss, which is what is tested

    Of a set with several underlyings far moves have the weights of a market of this one alone: in a market of more the
    widest range of them weighs, and a margin is the same or more.
    """

    params: grid.Params = field(default_factory=grid.Params)
    underlying: str = ""
    valid_from: str = ""
    file: str = ""
    initial_factor: float = 1.0
    maintenance_factor: float = 1.0
    valid_to: str = ""

    def __post_init__(self) -> None:
        named = [name for name in grid.BY_NAME if isinstance(getattr(self.params, name), Mapping)]
        if named:
            raise ConfigError(f"{', '.join(named)}: by underlying; a walk needs the numbers of one")

    def rule(self, least_days: int, horizon_days: int) -> Rule:
        """The rule."""
        own = self.params
        values = (own.price_range, own.vol_up, own.vol_down, 0.0, own.tail_factor, max(own.days))

        def rule(given: History) -> Path:
            columns = [np.full(len(given), float(value)) for value in values]  # type: ignore[arg-type]
            return Path(*columns)._replace(at_floor=np.zeros(len(given), dtype=np.bool_))

        return rule

    def model(self, path: Path, day_of: IntArray, horizon_days: int) -> WorstCase:
        """The worst loss over the scenarios of the set."""
        return over_sets(path, day_of, [grid.alike(self.params)], np.zeros(len(path.days), dtype=np.int64))

    def bare(self, least_days: int, horizon_days: int) -> Rule | None:
        """None: there is no tool to take off."""
        return None


@dataclass(frozen=True)
class Venue:
    """A margin model of the engine, on histories of days.

    model          name of a file of portfolio_margin/models
    parameter_set  name of the set, "" for the newest; its parameters count on every day
    values         parameters over those of the set
    """

    model: str = "worst_case"
    parameter_set: str = ""
    values: Mapping[str, object] = field(default_factory=dict)


Set = Fixed | Quantiles | Filtered | Calibration | Limited | Simulated | Dated | Venue
KINDS: dict[str, type[Set]] = {
    "fixed": Fixed,
    "quantile": Quantiles,
    "ewma": Filtered,
    "calibrated": Calibration,
    "apc": Limited,
    "historical": Simulated,
    "file": Dated,
    "model": Venue,
}


def as_used(chosen: Set, least_days: int, horizon_days: int) -> Set:
    """A set as a back-test walks it: with its horizon and its first day in place of the set's own."""
    return chosen if isinstance(chosen, Fixed | Simulated | Dated | Venue) else chosen.used(least_days, horizon_days)


def _calibrated(given: History, settings: Settings) -> Path:
    """What was calibrated by the end of every day."""
    least = int(settings.least_days)
    if len(given) <= least + 1:
        raise too_short(given, least + 2)
    # Days without an index between two with one are skipped, as a reader of the index alone would.
    own = np.flatnonzero(given.indexed)
    vols = [
        (np.diff(np.log(given.stand_in)), np.arange(len(given) - 1)),
        (np.diff(np.log(given.vol[own])), own[1:] - 1),
    ]
    days = (given.time_ms[1:] - 1) // MS_PER_DAY
    found = figures_path(np.diff(np.log(given.price)), vols, settings, days)
    return Path(found.price_range, found.vol_up, found.vol_down, found.at_floor, found.tail_factor, found.days)


def _limited(given: History, rule: DynamicRule, bare: bool = False) -> Path:
    least = int(rule.least_days)
    if len(given) <= least + 1:
        raise too_short(given, least + 2)
    changes = np.where(np.diff(given.indexed) == 0, np.diff(np.log(given.vol)), 0.0)
    implied = given.vol / np.sqrt(given.days_per_year)
    bounds, vol_bounds = (rule.range_low, rule.range_high), (rule.vol_low, rule.vol_high)
    price = move_path(np.diff(np.log(given.price)), rule, bounds, None if rule.level == "ewma" else implied)
    vol = move_path(changes, replace(rule, level="ewma"), vol_bounds)
    root = rule.multiple * np.sqrt(rule.horizon_days)
    reach, swing = price.moved, vol.moved
    if bare:
        reach, swing = np.clip(root * price.level, *bounds), np.clip(root * vol.level, *vol_bounds)
    known: FloatArray = np.where(np.arange(len(given)) >= least, reach, np.nan)
    at_floor = np.asarray(price.moved <= price.floor * (1.0 + 1e-12))
    ones = np.ones(len(given))
    return Path(known, np.expm1(swing), -np.expm1(-swing), at_floor, ones, np.nan * ones)
