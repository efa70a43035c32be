"""Rules: what a venue does in a stress, and how its market takes what it sells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from portfolio_margin.liquidation import states, waterfall
from portfolio_margin.liquidation.plan import DEFAULT_BUFFER, DEFAULT_COST, DEFAULT_PENALTY
from pricing.arrays import FloatArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.shocks import check_bounds

PROPORTIONAL = "proportional"
# Margin currency a day: BTC on Binance's spot market, median day of January to July 2026.
DAILY_VOLUME = 1.3e9
# Standard deviation of daily log returns, BTC and ETH, January 2023 to March 2026.
DAILY_VOL: Mapping[str, float] = MappingProxyType({"BTC": 0.025, "ETH": 0.034})
# Rise of log vol over fall of log price, summed over the 15 days of 2023 to 2026 on which BTC fell by over 6 %.
VOL_BETA = 1.3


@dataclass(frozen=True)
class Impact:
    """How forced trades move a price, with bounds: J = coefficient x daily vol x (amount / daily volume)^exponent.

    coefficient    0 to 100; 1 is the square-root law of Donier and Bonart (2015, arXiv 1412.4503); 0: no impact
    exponent       0.5: square root; 1: linear; 0.1 to 1
    daily_volume   margin currency a day, above 0: one number for all underlyings, or underlying -> number
    daily_vol      underlying -> standard deviation of daily log returns, 0.0001 to 1; one number for all
    permanent      share of the impact that stays, 0 to 1 (two thirds: Bershova and Rakhlin 2013)
    half_life_hours   in which the rest of it halves, 0.01 to 1e4
    vol_beta       rise of log vol over a fall of log price that forced trades cause, 0 to 10
    most           largest log price that forced trades of one step may move a price by, 0 to 2
    """

    coefficient: float = 1.0
    exponent: float = 0.5
    daily_volume: float | Mapping[str, float] = DAILY_VOLUME
    daily_vol: float | Mapping[str, float] = field(default_factory=lambda: DAILY_VOL)
    permanent: float = 2.0 / 3.0
    half_life_hours: float = 24.0
    vol_beta: float = VOL_BETA
    most: float = 0.5

    def __post_init__(self) -> None:
        bounds = {"coefficient": (0.0, 100.0), "exponent": (0.1, 1.0), "permanent": (0.0, 1.0)}
        bounds |= {"half_life_hours": (0.01, 1e4), "vol_beta": (0.0, 10.0), "most": (0.0, 2.0)}
        check_bounds(self, bounds)
        for name, low, high in (("daily_volume", 1.0, 1e18), ("daily_vol", 1e-4, 1.0)):
            given = getattr(self, name)
            for key, value in (given if isinstance(given, Mapping) else {"": given}).items():
                if not isinstance(value, (int, float)) or not low <= value <= high:
                    raise ConfigError(f"{name} {key} = {value!r}: must be a number from {low:g} to {high:g}")

    def column(self, name: str, underlyings: StrArray) -> FloatArray:
        """(U,) `daily_volume` or `daily_vol`. DataError naming every underlying that it lacks."""
        given = getattr(self, name)
        if not isinstance(given, Mapping):
            return np.full(len(underlyings), float(given))
        lost = [str(u) for u in underlyings if str(u) not in given]
        if lost:
            raise DataError([Problem("impact", None, name, u, "no number for this underlying") for u in lost])
        return np.array([float(given[str(u)]) for u in underlyings])

    def moved(self, sold: FloatArray, underlyings: StrArray, vol_factor: FloatArray) -> FloatArray:
        """(U,) log price that forced trades move a price by.

        underlyings (U,) names
        sold        (U,) margin currency of each underlying, sold above 0, bought below
        vol_factor  (U,) of the market by now, on daily_vol
        """
        share = np.abs(sold) / self.column("daily_volume", underlyings)
        daily = self.column("daily_vol", underlyings) * vol_factor
        return np.asarray(-np.sign(sold) * np.minimum(self.coefficient * daily * share**self.exponent, self.most))

    def remembered(self, hours: FloatArray) -> FloatArray:
        """What is left of impacts so many hours after their trades, as a share of each: the permanent part stays."""
        return np.asarray(self.permanent + (1.0 - self.permanent) * 0.5 ** (np.asarray(hours) / self.half_life_hours))


@dataclass(frozen=True)
class Rules:
    """What the venue does, with bounds.

    buffer, slices   of the proportional policy: margin restored above maintenance, 0 to 10; equal parts, 1 to 100
    cost            of trading, share of notional at the start, wider with the vol of the market, 0 to 1
    penalty         on closing, share of notional, 0 to 1
    fund            insurance fund at the start, margin currency, 0 to 1e15
    demand          maintenance margin that bidders take over an hour, margin currency, 0 or more; inf: any amount
    first_hours     demand that the first step has, in hours, 0 to 1e4
    delay_hours     by which prices, vols and pegs that the venue margins at are behind, 0 to 48
    rounds          liquidations within a step, each at the prices the last one has left, 1 to 100
    waterfall       who gets penalties and who bears losses; its fund_floor in hundredths of the margin currency
    impact          of what is sold
    states          how accounts get out of a state again, of `liquidation.states`
    named           account -> policy, a file of liquidation/policies, in place of the proportional one
    """

    buffer: float = DEFAULT_BUFFER
    slices: int = 5
    cost: float = DEFAULT_COST
    penalty: float = DEFAULT_PENALTY
    fund: float = 0.0
    demand: float = np.inf
    first_hours: float = 6.0
    delay_hours: float = 0.0
    rounds: int = 3
    waterfall: waterfall.Params = field(default_factory=waterfall.Params)
    impact: Impact = field(default_factory=Impact)
    states: states.Params = field(default_factory=states.Params)
    named: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bounds = {"buffer": (0.0, 10.0), "slices": (1, 100), "cost": (0.0, 1.0), "penalty": (0.0, 1.0)}
        bounds |= {"fund": (0.0, 1e15), "first_hours": (0.0, 1e4), "delay_hours": (0.0, 48.0), "rounds": (1, 100)}
        check_bounds(self, bounds)
        for name in ("slices", "rounds"):
            if getattr(self, name) != int(getattr(self, name)):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        if not isinstance(self.demand, (int, float)) or not self.demand >= 0.0:
            raise ConfigError(f"demand = {self.demand!r}: must be 0 or more, inf for no limit")
        object.__setattr__(self, "named", MappingProxyType(dict(self.named)))
