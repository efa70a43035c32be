"""ScenarioSet: the table of market moves, one row per scenario, and how vols answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import MAX_SCENARIOS, FloatArray, IntArray, StrArray, freeze, freeze_fields
from pricing.errors import ConfigError


@dataclass(frozen=True)
class VolDynamics:
    """How the vol of a contract answers to a scenario.

    vol' = max(vol (1 + move g), vol_floor) + shift, at least minimum_vol_up where move > 0, with
    g = (30 / max(days, days_floor))^power and power = short_power up to 30 days, long_power beyond.
    This is the tenor scaling that Deribit, Derive and Paradex publish.

    rule    "sticky_strike": a contract keeps its vol when the forward moves;
            "sticky_moneyness": it takes the slice's change of vol on top of its own.
    carry   "held": forwards move by the price move only; "rolled": as time passes the forward also
            slides along its carry, so that the spot is what is shocked (SPAN on spot products).
    """

    short_power: float = 0.0
    long_power: float = 0.0
    days_floor: float = 1.0
    minimum_vol_up: float = 0.0
    vol_floor: float = 0.0
    rule: str = "sticky_strike"
    carry: str = "held"

    def __post_init__(self) -> None:
        bounds = {
            "short_power": (0.0, 1.0),
            "long_power": (0.0, 1.0),
            "days_floor": (1e-3, 100.0),
            "minimum_vol_up": (0.0, 10.0),
            "vol_floor": (0.0, 10.0),
        }
        check_bounds(self, bounds)
        if self.rule not in ("sticky_strike", "sticky_moneyness"):
            raise ConfigError(f"rule = {self.rule!r}: must be sticky_strike or sticky_moneyness")
        if self.carry not in ("held", "rolled"):
            raise ConfigError(f"carry = {self.carry!r}: must be held or rolled")


class Shocks(NamedTuple):
    """The numbers of a scenario set, for kernels."""

    price_move: FloatArray
    vol_move: FloatArray
    vol_shift: FloatArray
    time_step_years: FloatArray
    weight: FloatArray
    tier: IntArray


@dataclass(frozen=True)
class ScenarioSet:
    """Market moves, one row per scenario.

    label            (S,) for people, for example S-12.0/V+50%/T0
    price_move       (S,U) or (S,1) relative, -0.10 = -10 %
    vol_move         (S,U) or (S,1) relative, before tenor scaling
    vol_shift        (S,U) or (S,1) absolute vol
    time_step_years  (S,) time that passes, 0 or more
    weight           (S,) share of the P&L that counts, in [0, 1]
    tier             (S,) size tier, 0 = base
    dynamics         how vols answer
    """

    label: StrArray
    price_move: FloatArray
    vol_move: FloatArray
    vol_shift: FloatArray
    time_step_years: FloatArray
    weight: FloatArray
    tier: IntArray
    dynamics: VolDynamics = field(default_factory=VolDynamics)

    def __post_init__(self) -> None:
        floats = dict.fromkeys(("price_move", "vol_move", "vol_shift", "time_step_years", "weight"), np.float64)
        freeze_fields(self, {"label": np.str_, "tier": np.int64, **floats})
        self._check()

    def __len__(self) -> int:
        return len(self.label)

    @property
    def shocks(self) -> Shocks:
        return Shocks(self.price_move, self.vol_move, self.vol_shift, self.time_step_years, self.weight, self.tier)

    def _check(self) -> None:
        rows = len(self.label)
        if not 1 <= rows <= MAX_SCENARIOS:
            raise ConfigError(f"scenarios = {rows}: must be 1 to {MAX_SCENARIOS}")
        for name in ("price_move", "vol_move", "vol_shift"):
            shape = getattr(self, name).shape
            if len(shape) != 2 or shape[0] != rows:
                raise ConfigError(f"{name} has the shape {shape}: needs ({rows}, underlyings) or ({rows}, 1)")
        for name in ("time_step_years", "weight", "tier"):
            if getattr(self, name).shape != (rows,):
                raise ConfigError(f"{name} has the shape {getattr(self, name).shape}: needs ({rows},)")
        for name in ("price_move", "vol_move", "vol_shift", "time_step_years", "weight"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise ConfigError(f"{name} holds a value that is not finite")
        if np.any(self.price_move <= -1.0):
            raise ConfigError("price_move must be above -1: a price cannot fall by all of itself")
        if np.any(self.time_step_years < 0.0):
            raise ConfigError("time_step_years must be 0 or more")
        if np.any((self.weight < 0.0) | (self.weight > 1.0)):
            raise ConfigError("weight must be within [0, 1]")


def product(price_moves: ArrayLike, vol_moves: ArrayLike, days: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Every combination of price move, vol move and days passed, price slowest; each of shape (S,)."""
    price, vol, time = np.meshgrid(
        np.asarray(price_moves, float), np.asarray(vol_moves, float), np.asarray(days, float), indexing="ij"
    )
    return price.ravel(), vol.ravel(), time.ravel()


def concat(first: ScenarioSet, second: ScenarioSet) -> ScenarioSet:
    """Both sets one after the other. ConfigError where their vol dynamics differ."""
    if first.dynamics != second.dynamics:
        raise ConfigError("scenario sets with different vol dynamics cannot be joined")
    columns = {}
    for name in ("price_move", "vol_move", "vol_shift"):
        parts = (getattr(first, name), getattr(second, name))
        width = max(part.shape[1] for part in parts)
        columns[name] = np.vstack([np.broadcast_to(part, (len(part), width)) for part in parts])
    for name in ("label", "time_step_years", "weight", "tier"):
        columns[name] = np.concatenate([getattr(first, name), getattr(second, name)])
    return ScenarioSet(**columns, dynamics=first.dynamics)


def make(
    label: Sequence[str],
    price_move: FloatArray,
    vol_move: FloatArray | None = None,
    vol_shift: FloatArray | None = None,
    time_step_years: FloatArray | None = None,
    weight: FloatArray | None = None,
    dynamics: VolDynamics | None = None,
) -> ScenarioSet:
    """A scenario set from the moves that matter; what is left out is no move, full weight."""
    rows = len(label)

    def column(values: FloatArray | None, fill: float) -> FloatArray:
        if values is None:
            return np.full((rows, 1), fill)
        given = np.asarray(values, float)
        return given[:, None] if given.ndim == 1 else given

    return ScenarioSet(
        label=np.asarray(label, dtype=np.str_),
        price_move=column(price_move, 0.0),
        vol_move=column(vol_move, 0.0),
        vol_shift=column(vol_shift, 0.0),
        time_step_years=np.zeros(rows) if time_step_years is None else np.asarray(time_step_years, float),
        weight=np.ones(rows) if weight is None else np.asarray(weight, float),
        tier=freeze(np.zeros(rows), np.int64),
        dynamics=dynamics or VolDynamics(),
    )


def check_bounds(params: object, bounds: dict[str, tuple[float, float]]) -> None:
    """ConfigError naming the first field of a parameter set that is not a finite number in its bounds."""
    for name, (low, high) in bounds.items():
        value = getattr(params, name)
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            raise ConfigError(f"{name} = {value!r}: must be a number from {low:g} to {high:g}")
