"""Liquidity: what closing the whole portfolio costs, after hedging, not leg by leg.

Who takes over an account first hedges its net delta in the most liquid contract of the underlying, then closes the
options, of which only net vega is at risk of bid and ask. Vega is netted in buckets of days to expiry and delta:

  hedge    |D| (half_spread + Y sigma sqrt(|D| / daily volume))
  options  sum over buckets |v| (half spread in vol of the bucket + Y s sqrt(|v| / daily vega volume))

sigma is the relative move and s the change of vol of a day. The impact is the square-root law, Y sigma sqrt(Q/V); on
bitcoin Donier and Bonart (2015, arXiv 1412.4503). Over a longer horizon sigma grows with the root of its days and Q/V
falls with them, so that the horizon cancels and one day stands for all.

A contract between two buckets belongs to both in proportion: its cost is that of the table interpolated, and there is
no cliff as days and delta drift. Contracts of one bucket net, those of different buckets do not: the spread is paid
twice. Half a spread is never more than the mark of an option, or its bid would be below 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.shocks import check_bounds, list_of_numbers

# Below a quarter of an hour days to expiry make no difference to a bid and an ask.
SHORTEST_DAYS = 0.01


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    days          days to expiry of the buckets, rising, 0.01 to 3,650
    deltas        delta of the buckets, rising, 0 to 0.5; an option of delta d stands at min(|d|, 1 - |d|)
    half_spreads  half of bid and ask in vol, a row for every entry of `days`, a number for each of `deltas`, 0 to 2
    impact        Y of the square-root law, 0 to 10
    """

    days: tuple[float, ...] = (1.0, 7.0, 30.0, 90.0, 365.0)
    deltas: tuple[float, ...] = (0.02, 0.1, 0.25, 0.5)
    half_spreads: tuple[tuple[float, ...], ...] = (
        (0.15, 0.06, 0.03, 0.02),
        (0.06, 0.025, 0.015, 0.01),
        (0.03, 0.015, 0.0075, 0.005),
        (0.025, 0.0125, 0.0075, 0.005),
        (0.03, 0.015, 0.01, 0.0075),
    )
    impact: float = 1.0

    def __post_init__(self) -> None:
        check_bounds(self, {"impact": (0.0, 10.0)})
        for name, low, high in (("days", SHORTEST_DAYS, 3650.0), ("deltas", 0.0, 0.5)):
            values = list_of_numbers(name, getattr(self, name))
            inside = len(values) > 0 and bool(np.all((values >= low) & (values <= high)))
            if not inside or not np.all(np.diff(values) > 0.0):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must rise, each from {low:g} to {high:g}")
        rows = self.half_spreads
        if not isinstance(rows, (list, tuple)):
            raise ConfigError(f"half_spreads = {rows!r}: must be a list of lists")
        lists = [list_of_numbers("half_spreads", row) for row in rows]
        shaped = len(lists) == len(self.days) and all(len(row) == len(self.deltas) for row in lists)
        if not shaped or not all(0.0 <= value <= 2.0 for row in rows for value in row):
            raise ConfigError(
                f"half_spreads = {rows!r}: needs a row for every entry of days and a number from 0 to 2 for every delta"
            )

    @property
    def spreads(self) -> FloatArray:
        """(K,) half spreads in vol of the buckets, days slowest."""
        return np.asarray(self.half_spreads, dtype=np.float64).ravel()


def bucket_weights(days: FloatArray, delta: FloatArray, params: Params) -> FloatArray:
    """(N,K) share of a contract that each bucket takes, 0 or more, adding up to 1; linear in delta and log days.

    days   (N,) to expiry
    delta  (N,) of the option per unit of its underlying, -1 to 1
    """
    size = np.abs(delta)
    by_days = _hats(np.log(np.maximum(days, SHORTEST_DAYS)), np.log(np.asarray(params.days, dtype=np.float64)))
    by_delta = _hats(np.minimum(size, 1.0 - size), np.asarray(params.deltas, dtype=np.float64))
    return np.asarray((by_days[:, :, None] * by_delta[:, None, :]).reshape(len(days), -1))


def priced_vega(vega: FloatArray, weights: FloatArray, value: FloatArray, params: Params) -> FloatArray:
    """(N,) vega, and where half a spread of it would be more than the contract is worth only as much as is: no bid is
    below 0.

    vega, value  (N,) of a contract, 0 or more
    weights      (N,K) its shares of the buckets
    """
    cost = vega * (weights @ params.spreads)
    return np.asarray(vega * np.where(cost > value, value / np.where(cost > value, cost, 1.0), 1.0))


def _hats(values: FloatArray, nodes: FloatArray) -> FloatArray:
    """(N,J) weights of linear interpolation between nodes, flat beyond the outer two."""
    if len(nodes) == 1:
        return np.ones((len(values), 1))
    left = np.clip(np.searchsorted(nodes, values, side="right") - 1, 0, len(nodes) - 2)
    share = np.clip((values - nodes[left]) / (nodes[left + 1] - nodes[left]), 0.0, 1.0)
    weights, row = np.zeros((len(values), len(nodes))), np.arange(len(values))
    weights[row, left] = 1.0 - share
    weights[row, left + 1] = share
    return weights


def closing_cost(
    size: ArrayLike, half_spread: ArrayLike, move: ArrayLike, volume: ArrayLike, impact: float
) -> FloatArray:
    """(...) half spread and square-root impact of a net size: |q| (half_spread + Y move sqrt(|q| / volume)).

    size, volume      (...) in one unit; volume of a day, above 0
    half_spread, move (...) cost per unit of size, and how far its price moves in a day
    impact            Y of the square-root law
    """
    q = np.abs(np.asarray(size, dtype=np.float64))
    return np.asarray(q * (np.asarray(half_spread) + impact * np.asarray(move) * np.sqrt(q / np.asarray(volume))))


def legs_cost(delta: FloatArray, legs: FloatArray, half_spread: FloatArray) -> FloatArray:
    """(R,) what crossing bid and ask of the futures of every expiry costs beyond that of the net delta, 0 or more.

    A future does not close one of another expiry, nor an option: max(|net delta|, sum over expiries |net of expiry|) is
    crossed. The legs move the price against each other, so impact is of the net delta alone.

    delta, legs  (R,) net delta of all contracts; sizes of the net of the futures of each expiry, added up
    half_spread  (R,) cost per unit
    """
    return np.asarray(np.maximum(legs - np.abs(delta), 0.0) * half_spread)
