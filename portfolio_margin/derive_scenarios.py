"""Scenarios of Derive's portfolio managers: their parameters, and the scenario set they make of a market.

Source: Derive v2, PMRM and PMRM_2 at 7736900d (2026-01-21), in our own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, MILLISECONDS_PER_YEAR, BoolArray, FloatArray
from pricing.errors import ConfigError
from pricing.market import UNDATED
from scenarios.shocks import MarketRows, ScenarioSet, Skew, VolDynamics, check_bounds, make

VOL_SHOCKS = ("up", "none", "down", "linear", "abs")
SKEWS = {"linear": Skew.LINEAR, "abs": Skew.ABSOLUTE}
MOST_SCENARIOS = 40
REFERENCE_DAYS = 30.0
SECONDS_PER_DAY = 86_400.0
# An up shock is one however small its range: the floor of its vols applies.
SMALLEST_MOVE = float(np.finfo(np.float64).tiny)


# PMRM_2 itself bounds neither; a factor of 0 is a price that falls by all of itself, which no revaluation has.
SPOT_SHOCKS = (1e-6, 1e3)
DAMPENING_FACTORS = (0.0, 1e3)


@dataclass(frozen=True)
class Scenario:
    """One scenario: spot_shock is the spot after it per spot before, above 0, to 1000; vol_shock one of up, none, down,
    linear, abs, where the last two tilt the vols and leave the spot; dampening_factor 0 to 1000 of the P&L counts."""

    spot_shock: float
    vol_shock: str = "none"
    dampening_factor: float = 1.0

    def __post_init__(self) -> None:
        check_bounds(self, {"spot_shock": SPOT_SHOCKS, "dampening_factor": DAMPENING_FACTORS})
        if self.vol_shock not in VOL_SHOCKS:
            raise ConfigError(f"vol_shock = {self.vol_shock!r}: must be one of {', '.join(VOL_SHOCKS)}")
        if self.vol_shock in SKEWS and self.spot_shock != 1.0:
            raise ConfigError(f"spot_shock = {self.spot_shock!r}: must be 1 beside vol_shock = {self.vol_shock!r}")


@dataclass(frozen=True)
class BasisContingency:
    """Forwards up to scenario_spot_up (1 to 3) and down to scenario_spot_down (above 0, to 1) times themselves; the
    loss times add_factor + mult_factor x years, each 0 to 20."""

    scenario_spot_up: float
    scenario_spot_down: float
    add_factor: float
    mult_factor: float

    def __post_init__(self) -> None:
        bounds = {"scenario_spot_up": (1.0, 3.0), "scenario_spot_down": (SPOT_SHOCKS[0], 1.0)}
        check_bounds(self, {**bounds, "add_factor": (0.0, 20.0), "mult_factor": (0.0, 20.0)})


@dataclass(frozen=True)
class VolShock:
    """Relative vol moves at 30 days, vol_range_up and vol_range_down (0 to 10), times (30 days / time to expiry)^power:
    short_term_power up to 30 days, long_term_power beyond (0 to 10), the time at least dte_floor_sec (0 to
    34,560,000); up scenarios price at min_vol_up_shock (0 to 20) at least."""

    vol_range_up: float
    vol_range_down: float
    short_term_power: float
    long_term_power: float
    dte_floor_sec: float
    min_vol_up_shock: float = 0.0

    def __post_init__(self) -> None:
        ranges = dict.fromkeys(("vol_range_up", "vol_range_down", "short_term_power", "long_term_power"), (0.0, 10.0))
        check_bounds(self, {**ranges, "dte_floor_sec": (0.0, 400 * SECONDS_PER_DAY), "min_vol_up_shock": (0.0, 20.0)})

    def multipliers(self, years: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(X,) vol multipliers of up and down scenarios."""
        days = years * DAYS_PER_YEAR
        # A second keeps multipliers finite at expiry, where there is no floor.
        power = np.where(days <= REFERENCE_DAYS, self.short_term_power, self.long_term_power)
        floored = np.maximum(days, max(self.dte_floor_sec, 1.0) / SECONDS_PER_DAY)
        scale = (REFERENCE_DAYS / floored) ** power
        return 1.0 + self.vol_range_up * scale, np.maximum(0.0, 1.0 - self.vol_range_down * scale)


def check_scenario_list(scenarios: Sequence[Scenario]) -> None:
    """ConfigError unless there are 1 to 40 scenarios, at most one of them linear and one abs."""
    if not isinstance(scenarios, tuple) or not all(isinstance(scenario, Scenario) for scenario in scenarios):
        raise ConfigError(f"scenarios = {scenarios!r}: must be a tuple of Scenario(...)")
    if not 1 <= len(scenarios) <= MOST_SCENARIOS:
        raise ConfigError(f"scenarios = {len(scenarios)} of them: must be 1 to {MOST_SCENARIOS}")
    for name in SKEWS:
        if sum(scenario.vol_shock == name for scenario in scenarios) > 1:
            raise ConfigError(f"scenarios: at most one may have vol_shock {name!r}")


def scenario_table(
    scenarios: Sequence[Scenario],
    basis: BasisContingency,
    vol_shock: VolShock,
    market: MarketRows,
    dynamics: VolDynamics | None = None,
) -> ScenarioSet:
    """The scenarios in their order, then the two basis moves; vols move expiry by expiry.

    dynamics  for skews and the floor of up shocks
    """
    left = np.where(market.expiry_time == UNDATED, market.valuation_time, market.expiry_time) - market.valuation_time
    years = np.maximum(left / MILLISECONDS_PER_YEAR, 0.0)
    up, down = vol_shock.multipliers(years)
    move = {"up": np.maximum(up - 1.0, SMALLEST_MOVE), "down": down - 1.0}
    nothing = np.zeros(len(years))
    prices = [s.spot_shock - 1.0 for s in scenarios]
    basis_moves = [basis.scenario_spot_up - 1.0, basis.scenario_spot_down - 1.0]
    return make(
        [*(_label(s) for s in scenarios), *(f"basis {100 * m:+.1f}%" for m in basis_moves)],
        np.array(prices + basis_moves),
        expiry_vol_move=np.array([move.get(s.vol_shock, nothing) for s in scenarios] + [nothing] * 2),
        skew=np.array([SKEWS.get(s.vol_shock, Skew.NONE) for s in scenarios] + [Skew.NONE] * 2),
        dynamics=dynamics or VolDynamics(),
    )


def _label(scenario: Scenario) -> str:
    named = {"up": "V up", "none": "V same", "down": "V down", "linear": "skew linear", "abs": "skew abs"}
    damped = "" if scenario.dampening_factor == 1.0 else f" x{scenario.dampening_factor:g}"
    return f"S{100 * (scenario.spot_shock - 1.0):+.1f}%/{named[scenario.vol_shock]}{damped}"


def dampening_of(scenarios: Sequence[Scenario]) -> tuple[FloatArray, BoolArray]:
    """(K,) dampening factors and (K,) which scenarios are tilts, basis moves included."""
    factors = [s.dampening_factor for s in scenarios]
    return np.array([*factors, 1.0, 1.0]), np.array([*(s.vol_shock in SKEWS for s in scenarios), False, False])
