"""Scenarios in four tiers, each with moves at least as wide as the one before.

  scan               the moves of the ten years
  volatility_regime  those of today
  crowding           widened against the side that many accounts hold
  oracle             with what is not known of the price on either side

Within a tier: the price range in equal steps, each with vol up, unchanged and down, at every horizon; then moves far
outside the range with vol up, of which the share tail_factor x range / |move| counts, as in the family `grid`. Unlike
there, ranges up and down, and vols, differ by underlying; labels give prices in ranges, S-0.5R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from portfolio_margin.dynamic import crowding, oracle
from portfolio_margin.dynamic.underlying import Underlying
from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.errors import ConfigError
from scenarios.shocks import ScenarioSet, VolDynamics, check_bounds, make, product

TIERS = ("scan", "volatility_regime", "crowding", "oracle")
# A price cannot fall by all of itself, however much is added to a range.
LARGEST_FALL = 0.95


@dataclass(frozen=True)
class Moves:
    """Layout of a tier, with bounds.

    buckets      price buckets on each side, 1 to 20
    days         horizons in days, the first 0, each 0 to 60
    tail_moves   relative moves outside the range, each above -1; () for none
    tail_factor  share of a tail move that counts is tail_factor x range / |move|, 0 to 1
    dynamics     tenor scaling, floors and stickiness of vols
    """

    buckets: int = 4
    days: tuple[float, ...] = (0.0, 1.0)
    tail_moves: tuple[float, ...] = (-0.66, -0.33, 0.50, 1.00, 2.00, 3.00, 4.00, 5.00)
    tail_factor: float = 1.0
    dynamics: VolDynamics = field(default_factory=lambda: VolDynamics(short_power=0.30, long_power=0.13))

    def __post_init__(self) -> None:
        check_bounds(self, {"buckets": (1, 20), "tail_factor": (0.0, 1.0)})
        if int(self.buckets) != self.buckets:
            raise ConfigError(f"buckets = {self.buckets!r}: must be a whole number")
        if not self.days or self.days[0] != 0.0 or not all(0.0 <= day <= 60.0 for day in self.days):
            raise ConfigError(f"days = {self.days!r}: needs horizons from 0 to 60 days, the first of them 0")
        if not all(-1.0 < move <= 100.0 and move != 0.0 for move in self.tail_moves):
            raise ConfigError(f"tail_moves = {self.tail_moves!r}: each must be above -1, at most 100 and not 0")
        if not isinstance(self.dynamics, VolDynamics):
            raise ConfigError(f"dynamics = {self.dynamics!r}: must be VolDynamics(...)")


@dataclass(frozen=True)
class Widths:
    """(U,) each: how far a tier reaches, relative; price down and up, vol down and up."""

    down: FloatArray
    up: FloatArray
    vol_down: FloatArray
    vol_up: FloatArray


def tier_widths(states: Sequence[Underlying], crowd: crowding.Params, feed: oracle.Params) -> list[Widths]:
    """Widths of the four tiers by underlying."""

    def column(name: str) -> FloatArray:
        return np.array([getattr(state, name) for state in states], dtype=np.float64)

    floor = Widths(*(column(name) for name in ("price_floor", "price_floor", "vol_down_floor", "vol_up_floor")))
    today = Widths(*(column(name) for name in ("price_range", "price_range", "vol_down", "vol_up")))
    long, short_vol = column("long_share"), column("short_vol_share")
    crowded = Widths(
        down=today.down * (1.0 + crowding.widening(long, crowd)),
        up=today.up * (1.0 + crowding.widening(1.0 - long, crowd)),
        vol_down=np.minimum(today.vol_down * (1.0 + crowding.widening(1.0 - short_vol, crowd)), 1.0),
        vol_up=today.vol_up * (1.0 + crowding.widening(short_vol, crowd)),
    )
    extra = oracle.extra_move(column("oracle_age_seconds"), column("oracle_confidence"), column("day_move"), feed)
    doubted = replace(crowded, down=crowded.down + extra, up=crowded.up + extra)
    return [replace(width, down=np.minimum(width.down, LARGEST_FALL)) for width in (floor, today, crowded, doubted)]


def nested_scenarios(
    states: Sequence[Underlying], moves: Moves, crowd: crowding.Params, feed: oracle.Params
) -> ScenarioSet:
    """The four tiers one after the other, `tier` 0 to 3, for underlyings in the order of `states`."""
    widths = tier_widths(states, crowd, feed)
    buckets = int(moves.buckets)
    steps = np.arange(-buckets, buckets + 1) / buckets
    step, vol, day = product(steps, (-1.0, 0.0, 1.0), moves.days)
    tails = np.asarray(moves.tail_moves, dtype=np.float64)
    labels: list[str] = []
    price, vols, weight = [], [], []
    for name, width in zip(TIERS, widths, strict=True):
        side = np.where(step[:, None] < 0.0, width.down, width.up) if len(states) else np.zeros((len(step), 0))
        price += [step[:, None] * side, np.broadcast_to(tails[:, None], (len(tails), len(states)))]
        vols += [
            np.where(vol[:, None] < 0.0, vol[:, None] * width.vol_down, vol[:, None] * width.vol_up),
            np.broadcast_to(width.vol_up, (len(tails), len(states))),
        ]
        # The widest range of any underlying sets the share: the larger requirement.
        reach = np.where(tails < 0.0, width.down.max(initial=0.0), width.up.max(initial=0.0))
        weight += [np.ones(len(step)), np.minimum(1.0, moves.tail_factor * reach / np.abs(tails))]
        labels += [f"{name}:S{s:+.4g}R/V{'-0+'[int(v) + 1]}/T{d:g}" for s, v, d in zip(step, vol, day, strict=True)]
        labels += [f"{name}:S{100 * move:+.4g}%/V+/T0" for move in tails]
    passed = np.tile(np.concatenate([day, np.zeros(len(tails))]) / DAYS_PER_YEAR, len(TIERS))
    made = make(labels, np.vstack(price), np.vstack(vols), None, passed, np.concatenate(weight), moves.dynamics)
    return replace(made, tier=np.repeat(np.arange(len(TIERS)), len(step) + len(tails)))
