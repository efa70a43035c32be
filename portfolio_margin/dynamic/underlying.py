"""What the rules say of one underlying on one day: ranges, volumes, crowding, oracle."""

from __future__ import annotations

from dataclasses import dataclass

from pricing.errors import ConfigError
from scenarios.shocks import check_bounds

LARGEST_AMOUNT = 1e18
BOUNDS = {
    "price_range": (0.001, 0.9),
    "price_floor": (0.001, 0.9),
    "vol_up": (0.0, 5.0),
    "vol_up_floor": (0.0, 5.0),
    "vol_down": (0.0, 1.0),
    "vol_down_floor": (0.0, 1.0),
    "day_move": (0.0, 0.9),
    "day_vol_change": (0.0, 5.0),
    "daily_volume": (1.0, LARGEST_AMOUNT),
    "daily_vega_volume": (1.0, LARGEST_AMOUNT),
    "open_interest": (1.0, LARGEST_AMOUNT),
    "half_spread": (0.0, 0.1),
    "long_share": (0.0, 1.0),
    "short_vol_share": (0.0, 1.0),
    "oracle_age_seconds": (0.0, 1e9),
    "oracle_confidence": (0.0, 0.5),
    "basis_rate_move": (0.0, 1.0),
    "basis_move": (0.0, 0.5),
}


@dataclass(frozen=True)
class Underlying:
    """State of one underlying, with bounds; amounts in margin currency, where that is a coin in its quote currency.

    price_range         relative price move of the outermost bucket today, 0.001 to 0.9
    price_floor         the same of the ten years, at most price_range
    vol_up, vol_up_floor      relative vol move up at 30 days, today and of the ten years, 0 to 5
    vol_down, vol_down_floor  relative vol move down at 30 days, 0 to 1
    day_move            relative move of the price in a day, one standard deviation, 0 to 0.9
    day_vol_change      change of vol in a day, one standard deviation, absolute, 0 to 5
    daily_volume        traded a day, 1 to 1e18
    daily_vega_volume   vega of the options traded a day, per vol of 1.00, 1 to 1e18
    open_interest       of all contracts, 1 to 1e18
    half_spread         of the contract that hedges, relative, 0 to 0.1
    long_share          of the accounts with a delta, those with one above 0, 0 to 1
    short_vol_share     of the accounts that vol moves, those that lose when it rises, 0 to 1
    oracle_age_seconds  since the price, 0 to 1e9
    oracle_confidence   half width of the interval the feed states, relative, 0 to 0.5
    basis_rate_move     change of the annualised basis of all expiries alike, 0 to 1; 0 charges none
    basis_move          relative move of one forward against the others, 0 to 0.5; 0 charges none
    """

    price_range: float
    price_floor: float
    vol_up: float
    vol_up_floor: float
    vol_down: float
    vol_down_floor: float
    day_move: float
    day_vol_change: float
    daily_volume: float
    daily_vega_volume: float
    open_interest: float
    half_spread: float
    long_share: float = 0.5
    short_vol_share: float = 0.5
    oracle_age_seconds: float = 0.0
    oracle_confidence: float = 0.0
    basis_rate_move: float = 0.0
    basis_move: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, BOUNDS)
        for today, floor in (
            ("price_range", "price_floor"),
            ("vol_up", "vol_up_floor"),
            ("vol_down", "vol_down_floor"),
        ):
            if getattr(self, floor) > getattr(self, today):
                raise ConfigError(
                    f"{floor} = {getattr(self, floor)!r}: must not exceed {today} = {getattr(self, today)!r}"
                )
