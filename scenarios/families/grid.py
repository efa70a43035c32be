"""The product grid: price x vol x time, plus weighted tail moves.

Buckets of the price range, each with vol up, unchanged and down, at every horizon; then moves far
outside the range with vol up, of which only the share range/|move| counts. This is the layout that
Deribit publishes (9 x 3 standard cells, 8 extended cells) and Derive and Paradex follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.errors import ConfigError
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, concat, make, product

# Parameters that are one number for all underlyings or one for each, and their bounds.
BY_NAME = {"price_range": (1e-3, 0.95), "vol_up": (0.0, 5.0), "vol_down": (0.0, 1.0)}
TAIL_MOVES = (-0.66, -0.33, 0.50, 1.00, 2.00, 3.00, 4.00, 5.00)


@dataclass(frozen=True)
class Params:
    """Parameters of the grid, with their bounds.

    price_range      relative move of the outermost bucket, 0.001 to 0.95; a number for all underlyings
                     or a mapping from underlying to number
    buckets          equal price buckets on each side, 1 to 50; of no effect beside price_nodes
    price_nodes      places of the buckets' ends instead, shares of the range rising from -1 to 1 with 0 among them;
                     () for equal buckets
    vol_up, vol_down relative vol moves at 30 days, 0 to 5 and 0 to 1, each for all underlyings or by underlying
    days             horizons in days, each 0 to 60
    tail_moves       relative moves outside the range, each above -1; () for none
    tail_factor      share of a tail move that counts is tail_factor * price_range/|move|, 0 to 1
    dynamics         tenor scaling, floors and stickiness of vols
    """

    price_range: float | Mapping[str, float] = 0.16
    buckets: int = 4
    vol_up: float | Mapping[str, float] = 0.50
    vol_down: float | Mapping[str, float] = 0.25
    days: tuple[float, ...] = (0.0, 1.0)
    tail_moves: tuple[float, ...] = TAIL_MOVES
    tail_factor: float = 1.0
    dynamics: VolDynamics = field(
        default_factory=lambda: VolDynamics(short_power=0.30, long_power=0.13, minimum_vol_up=0.50)
    )
    price_nodes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_bounds(self, {"buckets": (1, 50), "tail_factor": (0, 1)})
        if int(self.buckets) != self.buckets:
            raise ConfigError(f"buckets = {self.buckets!r}: must be a whole number")
        for field_name, (low, high) in BY_NAME.items():
            given = getattr(self, field_name)
            for name, value in (given if isinstance(given, Mapping) else {"": given}).items():
                if not isinstance(value, (int, float)) or not low <= value <= high:
                    where = f"{field_name} {name}" if name else field_name
                    raise ConfigError(f"{where} = {value!r}: must be a number from {low:g} to {high:g}")
        if not isinstance(self.dynamics, VolDynamics):
            raise ConfigError(f"dynamics = {self.dynamics!r}: must be VolDynamics(...)")
        for name in ("days", "tail_moves", "price_nodes"):
            values = getattr(self, name)
            if not isinstance(values, (tuple, list)) or any(not isinstance(v, (int, float)) for v in values):
                raise ConfigError(f"{name} = {values!r}: must be a tuple of numbers")
        if not self.days or any(not 0 <= day <= 60 for day in self.days):
            raise ConfigError(f"days = {self.days!r}: needs horizons from 0 to 60 days")
        if any(not -1 < move <= 100 or move == 0 for move in self.tail_moves):
            raise ConfigError(f"tail_moves = {self.tail_moves!r}: each must be above -1, at most 100 and not 0")
        nodes = self.price_nodes
        rising = all(low < high for low, high in pairwise(nodes))
        if nodes and not (rising and nodes[0] == -1.0 and nodes[-1] == 1.0 and 0.0 in nodes and len(nodes) <= 101):
            raise ConfigError(f"price_nodes = {nodes!r}: must rise from -1 to 1 with 0 among them, at most 101")


def scenarios(params: Params, market: MarketRows, history: None = None) -> ScenarioSet:
    """The scenario set of the grid for every underlying of the market; all underlyings move together."""
    return _made(params, *(_by_underlying(params, name, market) for name in BY_NAME))


def alike(params: Params) -> ScenarioSet:
    """The same where range and vol moves are one number for all underlyings, of which no market need be known."""
    named = [name for name in BY_NAME if isinstance(getattr(params, name), Mapping)]
    if named:
        raise ConfigError(f"{', '.join(named)}: by underlying; this needs one number for all")
    return _made(params, *(np.full(1, float(getattr(params, name))) for name in BY_NAME))


def _made(params: Params, ranges: FloatArray, ups: FloatArray, downs: FloatArray) -> ScenarioSet:
    steps = np.asarray(params.price_nodes) if params.price_nodes else _equal_steps(int(params.buckets))
    step, side, day = product(steps, (-1.0, 0.0, 1.0), params.days)
    vol = np.where(side[:, None] < 0.0, side[:, None] * downs, side[:, None] * ups)
    standard = make(
        label=[_label(s * ranges, v, d) for s, v, d in zip(step, vol, day, strict=True)],
        price_move=step[:, None] * ranges,
        vol_move=vol,
        time_step_years=day / DAYS_PER_YEAR,
        dynamics=params.dynamics,
    )
    if not params.tail_moves:
        return standard
    move, side, day = product(params.tail_moves, (1.0,), params.days)
    up = side[:, None] * ups
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


def _equal_steps(buckets: int) -> FloatArray:
    return np.arange(-buckets, buckets + 1) / buckets


def _by_underlying(params: Params, field_name: str, market: MarketRows) -> FloatArray:
    """(U,) a parameter by underlying, (1,) where it is one for all."""
    given = getattr(params, field_name)
    if not isinstance(given, Mapping):
        return np.full(1, float(given))
    missing = [name for name in market.underlying_id if name not in given]
    if missing:
        raise ConfigError(
            f"{field_name} has no entry for {', '.join(map(str, missing))}, which the market has: give a number for "
            f"each underlying (calibrate takes --history {missing[0]}=FILE and --vol-history {missing[0]}=FILE beside "
            "the others), or one for all"
        )
    return np.array([given[str(name)] for name in market.underlying_id], dtype=np.float64)


def _label(moves: FloatArray, vols: FloatArray, day: float) -> str:
    price = "|".join(f"{100 * move:+.1f}" for move in moves)
    vol = "|".join(f"{100 * v:+.0f}" for v in (vols if np.any(vols != vols[0]) else vols[:1]))
    return f"S{price}/V{vol}%/T{day:g}"
