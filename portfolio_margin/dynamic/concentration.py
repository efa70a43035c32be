"""Size: how much more than in proportion a large position needs, against daily volume and open interest.

A position that takes 1 + x liquidation horizons to close is exposed for as long, and risk grows with the root of time
(ECC charges for concentration in this way: days to close from net position over daily capacity). x is the largest of

  days of the net delta   |delta| / (participation x daily volume) / horizon
  days of the net vega    sum over buckets |vega| / (participation x daily vega volume) / horizon
  share of open interest  size of the contracts / open interest / share_reference

multiplier m(x) >= 1, continuous and rising, applied to the worst loss of the contracts; the charge is (m - 1) x loss:

  continuous   m = (1 + x)^exponent
  tiered       m = (1/x) integral from 0 to x of the factor of the tier: every tier's factor counts for what lies in it,
               as a tax does, so that there is no cliff at its edge (venues multiply the whole by the tier's factor)

Loss times m(x) is convex in size, so twice the position never costs less than twice; with the continuous curve, and in
or above the second tier, it costs more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.shocks import check_bounds, list_of_numbers

CURVES = ("continuous", "tiered")
LARGEST_FACTOR = 100.0


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    curve            "continuous" or "tiered"
    exponent         of the continuous curve, 0 to 1; 0.5 is the root of time, 0 no charge
    tiers            sizes x at which tiers begin, rising from 0
    factors          factor of each tier, rising from 1, to 100
    participation    share of daily volume that a liquidation takes, 0.001 to 1
    horizon_days     days a liquidation may take before size matters, 0.01 to 30
    share_reference  share of open interest that counts as one horizon, 0.001 to 1
    """

    curve: str = "continuous"
    exponent: float = 0.5
    tiers: tuple[float, ...] = (0.0, 0.25, 1.0, 3.0)
    factors: tuple[float, ...] = (1.0, 1.25, 1.6, 2.5)
    participation: float = 0.1
    horizon_days: float = 1.0
    share_reference: float = 0.1

    def __post_init__(self) -> None:
        if self.curve not in CURVES:
            raise ConfigError(f"curve = {self.curve!r}: must be {' or '.join(CURVES)}")
        check_bounds(
            self,
            {
                "exponent": (0.0, 1.0),
                "participation": (0.001, 1.0),
                "horizon_days": (0.01, 30.0),
                "share_reference": (0.001, 1.0),
            },
        )
        tiers, factors = (list_of_numbers(name, getattr(self, name)) for name in ("tiers", "factors"))
        if not len(tiers) or tiers[0] != 0.0 or not np.all(np.diff(tiers) > 0.0):
            raise ConfigError(f"tiers = {self.tiers!r}: must rise from 0")
        rising = factors.shape == tiers.shape and factors[0] == 1.0 and bool(np.all(np.diff(factors) >= 0.0))
        if not rising or not factors[-1] <= LARGEST_FACTOR:
            raise ConfigError(f"factors = {self.factors!r}: one for every tier, rising from 1 to {LARGEST_FACTOR:g}")


def size_in_horizons(
    delta: FloatArray, vega: FloatArray, gross: FloatArray, volumes: FloatArray, params: Params
) -> FloatArray:
    """(R,) size x of positions, in liquidation horizons beyond the first.

    delta    (R,) net, money for a relative move of 1.00
    vega     (R,) sum of the sizes of the net vega buckets, money for a vol 1.00 higher
    gross    (R,) size of the contracts, money
    volumes  (R,3) daily volume, daily vega volume and open interest in the same units, above 0
    """
    sizes = np.abs(np.column_stack([delta, vega, gross]))
    return np.asarray((sizes / references(volumes, params)).max(axis=1, initial=0.0))


def references(volumes: FloatArray, params: Params) -> FloatArray:
    """(R,3) net delta, net vega and size of contracts that make one liquidation horizon; `volumes` as above."""
    one_horizon = params.participation * params.horizon_days
    return np.asarray(volumes * np.array([one_horizon, one_horizon, params.share_reference]))


def size_multiplier(size: ArrayLike, params: Params) -> FloatArray:
    """(R,) multiplier of the loss of positions of size x (R,), 0 or more."""
    x = np.asarray(size, dtype=np.float64)
    if params.curve == "continuous":
        return np.asarray((1.0 + x) ** params.exponent)
    starts, factors = np.asarray(params.tiers, dtype=np.float64), np.asarray(params.factors, dtype=np.float64)
    # Above 1 the factors rise by steps, each of which counts for what lies beyond the start of its tier.
    steps = np.diff(factors)
    beyond = np.maximum(x[..., None] - starts[1:], 0.0)
    return np.asarray(1.0 + (steps * beyond).sum(axis=-1) / np.where(x > 0.0, x, 1.0))
