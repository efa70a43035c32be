"""The product grid: price x vol x time, plus weighted tail moves.

Buckets of the price range, each with vol up, unchanged and down, at every horizon; then moves far
outside the range with vol up, of which only the share range/|move| counts. This is the layout that
Deribit publishes (9 x 3 standard cells, 8 extended cells) and Derive and Paradex follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pricing.arrays import DAYS_PER_YEAR
from pricing.errors import ConfigError
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, concat, make, product

TAIL_MOVES = (-0.66, -0.33, 0.50, 1.00, 2.00, 3.00, 4.00, 5.00)


@dataclass(frozen=True)
class Params:
    """Parameters of the grid, with their bounds.

    price_range      relative move of the outermost bucket, 0.001 to 0.95; a number for all underlyings
                     or a mapping from underlying to number
    buckets          price buckets on each side, 1 to 50
    vol_up, vol_down relative vol moves at 30 days, 0 to 5 and 0 to 1
    days             horizons in days, each 0 to 60
    tail_moves       relative moves outside the range, each above -1; () for none
    tail_factor      share of a tail move that counts is tail_factor * price_range/|move|, 0 to 1
    dynamics         tenor scaling, floors and stickiness of vols
    """

    price_range: float | Mapping[str, float] = 0.16
    buckets: int = 4
    vol_up: float = 0.50
    vol_down: float = 0.25
    days: tuple[float, ...] = (0.0, 1.0)
    tail_moves: tuple[float, ...] = TAIL_MOVES
    tail_factor: float = 1.0
    dynamics: VolDynamics = field(
        default_factory=lambda: VolDynamics(short_power=0.30, long_power=0.13, minimum_vol_up=0.50)
    )

    def __post_init__(self) -> None:
        check_bounds(self, {"buckets": (1, 50), "vol_up": (0, 5), "vol_down": (0, 1), "tail_factor": (0, 1)})
        if int(self.buckets) != self.buckets:
            raise ConfigError(f"buckets = {self.buckets!r}: must be a whole number")
        ranges = self.price_range if isinstance(self.price_range, Mapping) else {"": self.price_range}
        for name, value in ranges.items():
            if not isinstance(value, (int, float)) or not 1e-3 <= value <= 0.95:
                raise ConfigError(f"price_range {name} = {value!r}: must be a number from 0.001 to 0.95")
        if not isinstance(self.dynamics, VolDynamics):
            raise ConfigError(f"dynamics = {self.dynamics!r}: must be VolDynamics(...)")
        for name in ("days", "tail_moves"):
            values = getattr(self, name)
            if not isinstance(values, (tuple, list)) or any(not isinstance(v, (int, float)) for v in values):
                raise ConfigError(f"{name} = {values!r}: must be a tuple of numbers")
        if not self.days or any(not 0 <= day <= 60 for day in self.days):
            raise ConfigError(f"days = {self.days!r}: needs horizons from 0 to 60 days")
        if any(not -1 < move <= 100 or move == 0 for move in self.tail_moves):
            raise ConfigError(f"tail_moves = {self.tail_moves!r}: each must be above -1, at most 100 and not 0")


def scenarios(params: Params, market: MarketRows, history: None = None) -> ScenarioSet:
    """The scenario set of the grid for every underlying of the market; all underlyings move together."""
    ranges = _price_ranges(params, market)
    steps = np.arange(-params.buckets, params.buckets + 1) / params.buckets
    step, vol, day = product(steps, (-params.vol_down, 0.0, params.vol_up), params.days)
    standard = make(
        label=[_label(s * ranges, v, d) for s, v, d in zip(step, vol, day, strict=True)],
        price_move=step[:, None] * ranges,
        vol_move=vol,
        time_step_years=day / DAYS_PER_YEAR,
        dynamics=params.dynamics,
    )
    if not params.tail_moves:
        return standard
    move, up, day = product(params.tail_moves, (params.vol_up,), params.days)
    tails = make(
        label=[_label(np.array([m]), v, d) for m, v, d in zip(move, up, day, strict=True)],
        price_move=move,
        vol_move=up,
        time_step_years=day / DAYS_PER_YEAR,
        # The widest range of any underlying sets the share: the larger requirement.
        weight=np.minimum(1.0, params.tail_factor * ranges.max() / np.abs(move)),
        dynamics=params.dynamics,
    )
    return concat(standard, tails)


def _price_ranges(params: Params, market: MarketRows) -> np.ndarray:
    if not isinstance(params.price_range, Mapping):
        return np.full(1, float(params.price_range))
    missing = [name for name in market.underlying_id if name not in params.price_range]
    if missing:
        raise ConfigError(f"price_range has no entry for {', '.join(map(str, missing))}")
    return np.array([params.price_range[str(name)] for name in market.underlying_id], dtype=np.float64)


def _label(moves: np.ndarray, vol: float, day: float) -> str:
    price = "|".join(f"{100 * move:+.1f}" for move in moves)
    return f"S{price}/V{100 * vol:+.0f}%/T{day:g}"
