"""States of underlyings for the tests, each part of the requirement above 0."""

from __future__ import annotations

from typing import Any

from portfolio_margin.dynamic.underlying import Underlying

STATE: dict[str, Any] = {
    "price_range": 0.16,
    "price_floor": 0.12,
    "vol_up": 0.5,
    "vol_up_floor": 0.3,
    "vol_down": 0.3,
    "vol_down_floor": 0.2,
    "day_move": 0.03,
    "day_vol_change": 0.03,
    "daily_volume": 1e9,
    "daily_vega_volume": 1e8,
    "open_interest": 1e10,
    "half_spread": 2e-4,
    "long_share": 0.8,
    "short_vol_share": 0.75,
    "oracle_age_seconds": 600.0,
    "oracle_confidence": 1e-3,
    "basis_rate_move": 0.02,
    "basis_move": 0.005,
}


def state(**change: float) -> Underlying:
    """The state with some fields changed."""
    return Underlying(**{**STATE, **change})
