"""Everything that a calibration says of one underlying, from arrays."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from scenarios.calibrate.bootstrap import Figure
from scenarios.calibrate.levels import newest
from scenarios.calibrate.made_histories import garch_bands, make_histories
from scenarios.calibrate.price_range import PriceRange, price_range
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tail_weights import TailWeights, tail_weights, threshold_diagnostics
from scenarios.calibrate.tails import MeanExcess, Stability
from scenarios.calibrate.vol_shocks import Leverage, VolShock, leverage, vol_shock
from scenarios.calibrate.volatility import Filter


class Calibrated(NamedTuple):
    """What a history says of an underlying.

    range        price range, by every method
    vol          shocks of its 30-day vol, by every method
    leverage     how the vol follows the price
    tail         weights of far moves
    garch        the filter of the price
    garch_bands  bands of its parameters
    mean_excess, stability   of the moves over the horizon, over thresholds
    """

    range: PriceRange
    vol: VolShock
    leverage: Leverage
    tail: TailWeights
    garch: Filter
    garch_bands: dict[str, Figure]
    mean_excess: MeanExcess
    stability: Stability


def calibrate_underlying(
    returns: ArrayLike,
    vol_returns: ArrayLike,
    joint: tuple[ArrayLike, ArrayLike],
    farthest: float,
    settings: Settings,
    least: tuple[float, float] = (0.0, 0.0),
    days: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
) -> Calibrated:
    """Calibrate one underlying for the day after its histories.

    returns      (T,) log returns of the price a day, oldest first
    vol_returns  (V,) log changes a day of a 30-day vol, which may reach less far back
    joint        log returns of price and vol over the days that both have
    farthest     size of the farthest move of the grid, relative
    least        shocks up and down of the 30-day vol that those chosen are at least, see `vol_shock`
    days         (T,) and (V,) calendar days on which they ended, see `levels.first_taken`
    """
    moves = newest(returns, settings, days[0])
    made = make_histories(moves, settings)
    ranged = price_range(returns, settings, made, days=days[0])
    shocked = vol_shock(vol_returns, settings, least, days=days[1])
    excess, stable = threshold_diagnostics(moves, settings)
    return Calibrated(
        range=ranged,
        vol=shocked,
        leverage=leverage(joint[0], joint[1], ranged.chosen, shocked.up, shocked.down, settings),
        tail=tail_weights(moves, ranged.chosen, farthest, settings),
        garch=made.fitted,
        garch_bands=garch_bands(made, settings),
        mean_excess=excess,
        stability=stable,
    )
