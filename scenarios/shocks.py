"""ScenarioSet: the table of market moves, one row per scenario, and how vols answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import MAX_SCENARIOS, FloatArray, IntArray, StrArray, freeze, freeze_fields
from pricing.errors import ConfigError

# Columns of a scenario set by what their second dimension runs over; one column stands for all alike.
BY_UNDERLYING = ("price_move", "vol_move", "vol_shift", "vol_floor")
BY_EXPIRY = ("basis_move", "expiry_vol_move", "expiry_vol_shift")
BY_SCENARIO = ("time_step_years", "weight", "tier", "skew")
# Columns by underlying or expiry that may be left out.
OPTIONAL = ("vol_floor", *BY_EXPIRY)
# What a column holds that was left out, until the number of scenarios is known.
NOTHING = freeze(np.zeros((0, 1)), np.float64)
NO_SKEW = freeze(np.zeros(0), np.int64)


@dataclass(frozen=True)
class VolDynamics:
    """How the vol of a contract answers to a scenario.

    vol' = max(vol (1 + move g), vol_floor) + shift, at least minimum_vol_up where move > 0, with
    g = (30 / max(days, days_floor))^power and power = short_power up to 30 days, long_power beyond.
    This is the tenor scaling that Deribit, Derive and Paradex publish.

    combine "sum": shift is added on top of the relative move; "larger": of the two changes of vol the one
            that is larger in size applies (OKX: points or percent)
    skew    in scenarios with a skew the vol is multiplied by max(0, 1 + t), t = min(k cap / width, cap) for k >= 0 and
            max(k cap / width, -cap) below, with k = ln(strike / unshocked forward), or |k| for an absolute one;
            cap = linear_cap + linear_cap_slope sqrt(tau), or absolute_cap + absolute_cap_slope sqrt(tau), which may be
            below 0, and
            width = max(skew_width_min, sqrt(tau) skew_width_scale (skew_width_vol + sqrt(tau) skew_width_vol_slope))
            (Derive PMRM_2)
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
    combine: str = "sum"
    linear_cap: float = 0.0
    linear_cap_slope: float = 0.0
    absolute_cap: float = 0.0
    absolute_cap_slope: float = 0.0
    skew_width_min: float = 0.01
    skew_width_scale: float = 4.0
    skew_width_vol: float = 0.0
    skew_width_vol_slope: float = 0.0

    def __post_init__(self) -> None:
        bounds = {
            "short_power": (0.0, 1.0),
            "long_power": (0.0, 1.0),
            "days_floor": (1e-3, 100.0),
            "minimum_vol_up": (0.0, 20.0),
            "vol_floor": (0.0, 10.0),
            "linear_cap": (0.0, 10.0),
            "linear_cap_slope": (-10.0, 10.0),
            "absolute_cap": (0.0, 10.0),
            "absolute_cap_slope": (-10.0, 10.0),
            "skew_width_min": (1e-9, 100.0),
            "skew_width_scale": (0.0, 1e3),
            "skew_width_vol": (0.0, 100.0),
            "skew_width_vol_slope": (-100.0, 100.0),
        }
        check_bounds(self, bounds)
        if self.rule not in ("sticky_strike", "sticky_moneyness"):
            raise ConfigError(f"rule = {self.rule!r}: must be sticky_strike or sticky_moneyness")
        if self.carry not in ("held", "rolled"):
            raise ConfigError(f"carry = {self.carry!r}: must be held or rolled")
        if self.combine not in ("sum", "larger"):
            raise ConfigError(f"combine = {self.combine!r}: must be sum or larger")


class Skew(IntEnum):
    """How a scenario tilts vols over log-moneyness: not at all, up on one side and down on the other, or both up."""

    NONE = 0
    LINEAR = 1
    ABSOLUTE = 2


class MarketRows(Protocol):
    """What a margin model may ask of a market to make its scenario set: rows by underlying (U,) and expiry (X,).

    `Market` has them, and so has `RiskArrays.market_rows`: who holds an array file can make the set again.
    """

    @property
    def valuation_time(self) -> int: ...

    @property
    def underlying_id(self) -> StrArray: ...

    @property
    def spot(self) -> FloatArray: ...

    @property
    def expiry_underlying(self) -> IntArray: ...

    @property
    def expiry_time(self) -> IntArray: ...

    @property
    def forward(self) -> FloatArray: ...

    @property
    def discount(self) -> FloatArray: ...


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
    basis_move       (S,X) or (S,1) relative, of the forwards of dated expiries on top of price_move; spot, coins and
                     perpetuals do not take part
    expiry_vol_move  (S,X) or (S,1) relative, added to vol_move without tenor scaling
    expiry_vol_shift (S,X) or (S,1) absolute vol, added to vol_shift
    skew             (S,) code of `Skew`
    vol_floor        (S,U) or (S,1) vols in the scenario are at least this, before shifts, beside the floors of the
                     dynamics (Deribit: a minimum for vols that are shocked up, by currency pair)

    The last five may be left out: none of that.
    """

    label: StrArray
    price_move: FloatArray
    vol_move: FloatArray
    vol_shift: FloatArray
    time_step_years: FloatArray
    weight: FloatArray
    tier: IntArray
    dynamics: VolDynamics = field(default_factory=VolDynamics)
    basis_move: FloatArray = field(default_factory=lambda: NOTHING)
    expiry_vol_move: FloatArray = field(default_factory=lambda: NOTHING)
    expiry_vol_shift: FloatArray = field(default_factory=lambda: NOTHING)
    skew: IntArray = field(default_factory=lambda: NO_SKEW)
    vol_floor: FloatArray = field(default_factory=lambda: NOTHING)

    def __post_init__(self) -> None:
        rows = len(self.label)
        for name in OPTIONAL:
            if getattr(self, name) is NOTHING:
                object.__setattr__(self, name, np.zeros((rows, 1)))
        if self.skew is NO_SKEW:
            object.__setattr__(self, "skew", np.zeros(rows, np.int64))
        floats = dict.fromkeys((*BY_UNDERLYING, *BY_EXPIRY, "time_step_years", "weight"), np.float64)
        freeze_fields(self, {"label": np.str_, "tier": np.int64, "skew": np.int64, **floats})
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
        for name in (*BY_UNDERLYING, *BY_EXPIRY):
            shape, wide = getattr(self, name).shape, "underlyings" if name in BY_UNDERLYING else "expiries"
            if len(shape) != 2 or shape[0] != rows:
                raise ConfigError(f"{name} has the shape {shape}: needs ({rows}, {wide}) or ({rows}, 1)")
        for name in BY_SCENARIO:
            if getattr(self, name).shape != (rows,):
                raise ConfigError(f"{name} has the shape {getattr(self, name).shape}: needs ({rows},)")
        for name in (*BY_UNDERLYING, *BY_EXPIRY, "time_step_years", "weight"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise ConfigError(f"{name} holds a value that is not finite")
        if np.any(self.price_move <= -1.0):
            raise ConfigError("price_move must be above -1: a price cannot fall by all of itself")
        if np.any(self.vol_floor < 0.0):
            raise ConfigError("vol_floor must be 0 or more")
        if np.any(self.basis_move <= -1.0):
            raise ConfigError("basis_move must be above -1: a forward cannot fall by all of itself")
        if not np.all(np.isin(self.skew, [int(skew) for skew in Skew])):
            raise ConfigError("skew must be 0 (none), 1 (linear) or 2 (absolute)")
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
    for name in (*BY_UNDERLYING, *BY_EXPIRY):
        parts = (getattr(first, name), getattr(second, name))
        width = max(part.shape[1] for part in parts)
        columns[name] = np.vstack([np.broadcast_to(part, (len(part), width)) for part in parts])
    for name in ("label", *BY_SCENARIO):
        columns[name] = np.concatenate([getattr(first, name), getattr(second, name)])
    return ScenarioSet(**columns, dynamics=first.dynamics)


def same_scenarios(first: ScenarioSet, second: ScenarioSet) -> bool:
    """Whether two sets move everything alike, label for label and bit for bit; one column stands for equal ones."""
    if len(first) != len(second) or first.dynamics != second.dynamics:
        return False
    if not all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("label", *BY_SCENARIO)):
        return False
    pairs = [(getattr(first, name), getattr(second, name)) for name in (*BY_UNDERLYING, *BY_EXPIRY)]
    return all((1 in (a.shape[1], b.shape[1]) or a.shape == b.shape) and bool(np.all(a == b)) for a, b in pairs)


def make(
    label: Sequence[str],
    price_move: FloatArray,
    vol_move: FloatArray | None = None,
    vol_shift: FloatArray | None = None,
    time_step_years: FloatArray | None = None,
    weight: FloatArray | None = None,
    dynamics: VolDynamics | None = None,
    **more: Any,
) -> ScenarioSet:
    """A scenario set from the moves that matter; what is left out is no move, full weight.

    more  basis_move, expiry_vol_move, expiry_vol_shift, skew, vol_floor, where a scenario has them; see ScenarioSet
    """
    rows = len(label)

    def column(values: FloatArray | None, fill: float) -> FloatArray:
        if values is None:
            return np.full((rows, 1), fill)
        given = np.asarray(values, float)
        return given[:, None] if given.ndim == 1 else given

    added: dict[str, Any] = {name: np.asarray(v) if name == "skew" else column(v, 0.0) for name, v in more.items()}
    return ScenarioSet(
        label=np.asarray(label, dtype=np.str_),
        price_move=column(price_move, 0.0),
        vol_move=column(vol_move, 0.0),
        vol_shift=column(vol_shift, 0.0),
        time_step_years=np.zeros(rows) if time_step_years is None else np.asarray(time_step_years, float),
        weight=np.ones(rows) if weight is None else np.asarray(weight, float),
        tier=freeze(np.zeros(rows), np.int64),
        dynamics=dynamics or VolDynamics(),
        **added,
    )


def check_bounds(params: object, bounds: dict[str, tuple[float, float]]) -> None:
    """ConfigError naming the first field of a parameter set that is not a finite number in its bounds."""
    for name, (low, high) in bounds.items():
        value = getattr(params, name)
        if not _is_number(value) or not low <= value <= high:
            raise ConfigError(f"{name} = {value!r}: must be a number from {low:g} to {high:g}")


def list_of_numbers(name: str, values: object) -> FloatArray:
    """(K,) the finite numbers of a list in a parameter set. ConfigError naming the field for anything else."""
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    sound = isinstance(listed, (list, tuple)) and all(_is_number(value) and abs(value) < np.inf for value in listed)
    if not sound:
        raise ConfigError(f"{name} = {values!r}: must be a list of finite numbers")
    return np.asarray(listed, dtype=np.float64)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
