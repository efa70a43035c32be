"""The 16 SPAN scenarios (CME SPAN; NSE and Takasbank files use the same order).

1-14: price 0, +-1/3, +-2/3, +-1 of the price scan range, each with vol up and down; 15 and 16: an
extreme move up and down with unchanged vol, of which the cover fraction counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pricing.errors import ConfigError
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, make

PRICE_STEPS = np.array([0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3]) / 3.0
VOL_SIGNS = np.array([1, -1] * 7, dtype=np.float64)


@dataclass(frozen=True)
class Params:
    """SPAN scan parameters, with their bounds.

    price_scan_range   in quote currency per unit, above 0; a number or a mapping from underlying
    vol_scan_range     0 to 5; relative to the vol, or absolute vol with vol_scan = "absolute"
    extreme_multiplier scan ranges of the extreme move, 1 to 10 (CME 2, Takasbank 3)
    cover_fraction     share of the extreme loss that counts, 0 to 1 (CME 0.35, Takasbank 0.32)
    look_ahead_years   time that passes in every scenario, 0 to 0.1
    carry              "rolled" for options on spot, "held" for options on futures
    """

    price_scan_range: float | Mapping[str, float]
    vol_scan_range: float
    vol_scan: str = "relative"
    extreme_multiplier: float = 2.0
    cover_fraction: float = 0.35
    look_ahead_years: float = 0.004
    carry: str = "held"

    def __post_init__(self) -> None:
        check_bounds(
            self,
            {
                "vol_scan_range": (0, 5),
                "extreme_multiplier": (1, 10),
                "cover_fraction": (0, 1),
                "look_ahead_years": (0, 0.1),
            },
        )
        if self.vol_scan not in ("relative", "absolute"):
            raise ConfigError(f"vol_scan = {self.vol_scan!r}: must be relative or absolute")


def scenarios(params: Params, market: MarketRows, history: None = None) -> ScenarioSet:
    """The 16 scenarios in SPAN order. ConfigError where a scan range would take a price below 0."""
    moves = _scan_ranges(params, market) / market.spot
    steps = np.concatenate([PRICE_STEPS, [params.extreme_multiplier, -params.extreme_multiplier]])
    if np.any(steps.min() * moves <= -1.0):
        worst = market.underlying_id[np.argmax(moves)]
        raise ConfigError(f"price_scan_range of {worst}: the extreme move takes the price to 0 or below")
    vol = np.concatenate([VOL_SIGNS * params.vol_scan_range, [0.0, 0.0]])
    relative = params.vol_scan == "relative"
    return make(
        label=[f"SPAN-{number:02d}" for number in range(1, 17)],
        price_move=steps[:, None] * moves,
        vol_move=vol if relative else None,
        vol_shift=None if relative else vol,
        time_step_years=np.full(16, params.look_ahead_years),
        weight=np.concatenate([np.ones(14), np.full(2, params.cover_fraction)]),
        dynamics=VolDynamics(carry=params.carry),
    )


def price_scan_share(daily_vol: float, multiple: float = 6.0, days: float = 2.0, floor: float = 0.093) -> float:
    """Price scan range as a share of the price: so many standard deviations over a horizon, at least a floor.

    daily_vol  standard deviation of daily log returns
    multiple   of it, 6 at NSE Clearing
    days       horizon, 2 at NSE Clearing
    floor      0.093 on indices, 0.142 on single shares at NSE Clearing (July 2024)
    """
    return max(multiple * daily_vol * float(np.sqrt(days)), floor)


def _scan_ranges(params: Params, market: MarketRows) -> np.ndarray:
    if isinstance(params.price_scan_range, Mapping):
        missing = [name for name in market.underlying_id if name not in params.price_scan_range]
        if missing:
            raise ConfigError(f"price_scan_range has no entry for {', '.join(map(str, missing))}")
        ranges = np.array([params.price_scan_range[str(name)] for name in market.underlying_id], dtype=np.float64)
    else:
        ranges = np.full(len(market.spot), float(params.price_scan_range))
    if not np.all((ranges > 0) & np.isfinite(ranges)):
        raise ConfigError(f"price_scan_range = {params.price_scan_range!r}: must be above 0")
    return ranges
