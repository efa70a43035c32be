"""Grids of price and vol for models whose venue says no more of them than that they exist: all is a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from portfolio_margin.dollars import is_dollar
from portfolio_margin.lacking import gather
from portfolio_margin.nearest import did_you_mean_or_known
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds, make

ANY = "any"


@dataclass(frozen=True)
class Grid:
    """Price moves and vol shocks of one underlying.

    price_moves      relative, both signs and 0 where it is one of them, above -1 to 10
    vol_up           relative vol shock up, 0 to 10
    vol_down         relative vol shock down, 0 to 1
    """

    price_moves: tuple[float, ...]
    vol_up: float
    vol_down: float

    def __post_init__(self) -> None:
        check_bounds(self, {"vol_up": (0.0, 10.0), "vol_down": (0.0, 1.0)})
        moves = self.price_moves
        if not moves or not all(isinstance(m, (int, float)) and -1.0 < m <= 10.0 for m in moves):
            raise ConfigError(f"price_moves = {moves!r}: must be numbers above -1, at most 10, and one at least")


@dataclass(frozen=True)
class GridChoice:
    """Which grid an underlying has; grids "btc" -> Grid, "any" for those not named."""

    grids: Mapping[str, Grid] = field(default_factory=dict)

    def of(self, underlying: str) -> Grid:
        """ConfigError where the underlying has none."""
        base = underlying.lower().partition("_")[0]
        if base not in self.grids and ANY not in self.grids:
            known = did_you_mean_or_known(base, list(self.grids)) if self.grids else ": the venue publishes none"
            raise ConfigError(f"no grids.{base} among the parameters, which {underlying} needs{known}")
        return self.grids[base] if base in self.grids else self.grids[ANY]


def check_grids(grids: object) -> None:
    """ConfigError for what is no mapping of grids with as many price moves each."""
    if not isinstance(grids, Mapping) or not all(isinstance(grid, Grid) for grid in grids.values()):
        raise ConfigError(f"grids = {grids!r}: must be a mapping from underlying to Grid")
    if len({len(grid.price_moves) for grid in grids.values()}) > 1:
        raise ConfigError("grids: every underlying needs the same number of price_moves")


def scenario_set(grids: Mapping[str, Grid], market: MarketRows) -> ScenarioSet:
    """Every price move with vols up, the same and down."""
    chosen = gather(partial(GridChoice(grids).of, str(name)) for name in market.underlying_id)
    moves = np.array([grid.price_moves for grid in chosen], dtype=np.float64).reshape(len(chosen), -1)
    vols = np.array([[grid.vol_up, 0.0, -grid.vol_down] for grid in chosen]).reshape(len(chosen), 3)
    count = moves.shape[1]
    return make(
        [f"price {k + 1}/{count} vol {vol}" for k in range(count) for vol in ("up", "same", "down")],
        np.ascontiguousarray(np.repeat(moves, 3, axis=1).T),
        np.ascontiguousarray(np.tile(vols, count).T),
    )


def check_rates(params: object, names: tuple[str, ...], high: float) -> None:
    """ConfigError for rates that are not within 0 to `high`, where they are given at all."""
    for name in names:
        if getattr(params, name) is not None:
            check_bounds(params, {name: (0.0, high)})


def given(params: object, names: tuple[str, ...], venue: str) -> list[float]:
    """The rates of these names. ConfigError listing those that are not given."""
    lacking = [name for name in names if getattr(params, name) is None]
    if lacking:
        raise ConfigError(f"{', '.join(lacking)} must be given: {venue} does not publish them")
    return [float(getattr(params, name)) for name in names]


def haircuts_of_coins(arrays: RiskArrays, haircut: float) -> np.ndarray:
    """(N,) the same haircut on every asset that is no dollar."""
    return np.where(arrays.is_collateral & ~is_dollar(arrays), haircut, 0.0)
