"""Balances: what everybody is worth, in whole ticks, when a whole venue is stressed; what one loses another gains.

The books of `liquidation.ledger`, as columns: entries of a hundred thousand accounts at once, of which the sums are
kept. The market outside the venue is an account too: it is the other side of every gain and loss at the mark.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from portfolio_margin.liquidation.ledger import LARGEST_TICKS, to_ticks
from portfolio_margin.liquidation.loss_sharing import apportion, capped_shares
from portfolio_margin.liquidation.waterfall import Params
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import NumericalError

TICK = 0.01


class House(IntEnum):
    """Accounts beside those of traders."""

    MARKET = 0
    LIQUIDATORS = 1
    FUND = 2
    VENUE = 3


class Balances(NamedTuple):
    """trader (A,) ticks, below 0 for who owes; house (4,) ticks by `House`."""

    trader: IntArray
    house: IntArray

    @property
    def total(self) -> int:
        """Sum of all: the same before and after anything."""
        return int(self.trader.sum()) + int(self.house.sum())


class Losses(NamedTuple):
    """Ticks that closed accounts owed, and who bore them; `uncovered` stays owed."""

    deficit: int
    from_fund: int
    deleveraged: int
    socialised: int
    uncovered: int


def open_balances(equity: FloatArray, fund: float) -> Balances:
    """Balances at the start: the equity of traders (A,) and the fund, margin currency."""
    house = np.zeros(len(House), dtype=np.int64)
    house[House.FUND] = int(to_ticks(fund, TICK, up=False))
    return Balances(to_ticks(equity, TICK, up=False), house)


def moved(balances: Balances, paid: IntArray, house: House) -> Balances:
    """After traders have paid (A,) ticks to one of the house, below 0: were paid."""
    trader = balances.trader - paid
    other = balances.house.copy()
    other[house] += int(paid.sum())
    if np.any(np.abs(trader) > LARGEST_TICKS) or np.any(np.abs(other) > LARGEST_TICKS):
        raise NumericalError("a balance of the stress is beyond 2^53 ticks")
    return Balances(trader, other)


def marked(balances: Balances, equity: FloatArray) -> Balances:
    """After traders were brought to their equity (A,) at the mark; the market pays or is paid."""
    return moved(balances, balances.trader - to_ticks(equity, TICK, up=False), House.MARKET)


def penalised(balances: Balances, penalty: IntArray, params: Params) -> Balances:
    """After penalties (A,) in ticks, split in whole parts as the waterfall splits them."""
    parts = apportion(int(penalty.sum()), [params.to_liquidator, params.to_fund, params.to_venue])
    house = balances.house.copy()
    for name, ticks in zip((House.LIQUIDATORS, House.FUND, House.VENUE), parts.tolist(), strict=True):
        house[name] += ticks
    return Balances(balances.trader - penalty, house)


def cover(balances: Balances, closed: BoolArray, opening: IntArray, params: Params) -> tuple[Balances, Losses]:
    """The books after everybody that is closed and owes has been paid for: by the fund down to its floor, by
    deleveraging, by a socialised loss.

    closed   (A,) accounts that hold nothing any more
    opening  (A,) ticks at the start: a profit is what is above them
    params   of the waterfall; deleveraging "pro_rata" or "none", a socialised loss by equity, by profit or "none"

    Together, not one account after another: who bears a loss does not depend on the order of the accounts.
    """
    owed = np.where(closed, np.maximum(-balances.trader, 0), 0)
    deficit = int(owed.sum())
    if not deficit:
        return balances, Losses(0, 0, 0, 0, 0)
    house, trader = balances.house.copy(), balances.trader.copy()
    from_fund = min(deficit, max(int(house[House.FUND]) - params.fund_floor, 0))
    house[House.FUND] -= from_fund
    left, taken = deficit - from_fund, []
    for way in ("deleveraging", "socialising"):
        rule = getattr(params, way)
        able = np.where(closed, 0, np.maximum(trader, 0))
        profit = np.minimum(np.maximum(trader - opening, 0), able)
        if way == "deleveraging":
            weight, most = profit, np.floor(profit * params.profit_share).astype(np.int64)
        else:
            weight, most = (able if rule == "equity" else profit), able
        borne = 0
        if left and rule != "none":
            shares, rest = capped_shares(left, weight, most)
            trader -= shares
            borne, left = left - rest, rest
        taken.append(borne)
    # Who is not paid for in full is paid in proportion to what he owes.
    trader += apportion(deficit - left, owed)
    return Balances(trader, house), Losses(deficit, from_fund, taken[0], taken[1], left)
