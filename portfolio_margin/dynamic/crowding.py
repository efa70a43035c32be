"""Crowding: where many accounts hold the same side, their liquidations push the price further against them.

A side is counted by accounts: the share of those with a delta in the underlying who are long, and the share of those
whose gain changes with vol alone who lose when it rises. Beyond `threshold` the move against the crowded side is
widened by `slope` for every share above it, at most by `cap`:

  widening(share) = min(cap, slope max(0, share - threshold))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.risk_units import whole_ticks
from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    threshold  share of the accounts on one side from which on it is crowded, 0.5 to 1
    slope      relative widening of the shock per share above it, 0 to 10
    cap        largest widening, 0 to 2
    """

    threshold: float = 0.6
    slope: float = 1.0
    cap: float = 0.5

    def __post_init__(self) -> None:
        check_bounds(self, {"threshold": (0.5, 1.0), "slope": (0.0, 10.0), "cap": (0.0, 2.0)})


class Sides(NamedTuple):
    """How accounts are placed, (U,) each.

    long_share       of the accounts with a delta in the underlying, those with one above 0; 0.5 where nobody has one
    short_vol_share  of the accounts that a change of vol alone moves, those that lose when it rises; 0.5 without any
    """

    long_share: FloatArray
    short_vol_share: FloatArray


def widening(share: ArrayLike, params: Params) -> FloatArray:
    """(...) relative widening of the shock against a side that a share (...) of the accounts holds."""
    beyond = np.maximum(np.asarray(share, dtype=np.float64) - params.threshold, 0.0)
    return np.minimum(params.slope * beyond, params.cap)


def sides(book: Book, arrays: RiskArrays) -> Sides:
    """Who stands where, of the contracts of a whole venue; what the accounts hold as collateral is left out.

    ConfigError where no two scenarios of the arrays differ in vol alone.
    """
    up, down = _vol_pair(arrays)
    owner = np.arange(len(arrays.underlying_id))
    own = arrays.underlying_idx[:, None] == owner
    vol = arrays.pnl[:, up] - arrays.pnl[:, down]
    rows = whole_ticks(np.column_stack([arrays.delta[:, None] * own, vol[:, None] * own]), arrays)
    by_account = account_sums(book, arrays, rows)
    return Sides(_share(by_account[:, : len(owner)]), _share(-by_account[:, len(owner) :]))


def _share(values: FloatArray) -> FloatArray:
    """(U,) share of the accounts (A,U) above 0 among those that are not 0."""
    placed = (values != 0.0).sum(axis=0)
    return np.asarray(np.where(placed > 0, (values > 0.0).sum(axis=0) / np.maximum(placed, 1), 0.5))


def _vol_pair(arrays: RiskArrays) -> tuple[int, int]:
    """Two scenarios in which no price moves and no time passes, with the highest and the lowest vol."""
    moves = arrays.scenario_set
    still = np.all(moves.price_move == 0.0, axis=1) & (moves.time_step_years == 0.0) & (moves.weight == 1.0)
    rows = np.flatnonzero(still)
    size = moves.vol_move[rows].sum(axis=1)
    if not len(rows) or size.max() <= size.min():
        raise ConfigError("sides of vol need two scenarios without a price move that differ in vol, such as a grid has")
    return int(rows[np.argmax(size)]), int(rows[np.argmin(size)])
