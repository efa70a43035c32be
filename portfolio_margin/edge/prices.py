"""prices: every liquidation price of an account along the path of one underlying, and slopes of the margin there.

A portfolio of options has no closed form and may have none, one or several: a short straddle has two.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from portfolio_margin.edge.crossings import Crossings, crossings
from portfolio_margin.edge.levels import Case, Levels, levels, levels_where_ruled
from pricing.arrays import DAYS_PER_YEAR, FloatArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Kind

INTO, OUT_OF, TOUCHES = "into", "out of", "touches"
# Of the account's scale: |excess| that is 0 where it does not change its sign, and where it jumps over 0.
NOTHING, A_JUMP = 1e-10, 1e-6
PRICE_STEP, VOL_STEP, TIME_STEP_YEARS = 1e-5, 1e-4, 1.0 / (24.0 * DAYS_PER_YEAR)


@dataclass(frozen=True)
class Span:
    """Where edges are looked for.

    low, high  price of the underlying, multiples of today's
    points     of the grid that the search begins with, spaced evenly in the logarithm
    """

    low: float = 0.02
    high: float = 5.0
    points: int = 241

    def __post_init__(self) -> None:
        if not 0.0 < self.low < 1.0 < self.high < np.inf:
            raise ConfigError(f"span = {self.low!r} to {self.high!r}: must lie around 1, above 0 and be finite")
        if not 3 <= self.points <= 100_000:
            raise ConfigError(f"points = {self.points!r}: must be from 3 to 100,000")


@dataclass(frozen=True)
class LiquidationPrices:
    """Prices at which margin balance and maintenance margin meet, M of them, rising.

    price   (M,) quote currency
    move    (M,) relative to today's price
    side    (M,) seen from today's price outwards: "into" liquidation, "out of" it again, or "touches"
    jumps   (M,) True where the excess jumps over 0: a rule that counts in whole steps
    price_slope, vol_slope, time_slope  (M,3) of equity, initial and maintenance margin, there: margin currency for a
            relative move of 1.00 of the price, for 1.00 of all vols of the underlying (relative), per year; NaN where
            the model has no rule for what is held a step away
    account, underlying, spot, currency, sticky   whose, and along what path
    span    what was searched: what was asked for, as far as the model has rules for what is then held
    without_rule   why no more was searched, a line a position; empty where all was
    now     levels today
    """

    price: FloatArray
    move: FloatArray
    side: StrArray
    jumps: np.ndarray
    price_slope: FloatArray
    vol_slope: FloatArray
    time_slope: FloatArray
    account: str
    underlying: str
    spot: float
    currency: str
    sticky: str
    span: Span
    without_rule: tuple[str, ...]
    now: Levels

    def __len__(self) -> int:
        return len(self.price)

    @property
    def liquidated(self) -> bool:
        """Whether the account is below maintenance margin today."""
        return bool(self.now.excess[0] < 0.0)

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Prices between which the account is liquidated, rising, within what was searched."""
        crossing = self.side != TOUCHES
        edge, into = self.price[crossing], self.side[crossing] == INTO
        below = int(np.count_nonzero(self.move[crossing] < 0.0))
        # Between two edges it is what the one nearer to today's price leads to.
        inside = [*into[:below].tolist(), self.liquidated, *into[below:].tolist()]
        bounds = [self.span.low * self.spot, *edge.tolist(), self.span.high * self.spot]
        return [pair for pair, yes in zip(pairwise(bounds), inside, strict=True) if yes]

    @property
    def nearest(self) -> tuple[float, float]:
        """Moves to the first edge below and above today's price, touches left out; -1 and inf where there is none."""
        moves = self.move[self.side != TOUCHES]
        return float(moves[moves < 0].max(initial=-1.0)), float(moves[moves >= 0].min(initial=np.inf))


def liquidation_prices(case: Case, span: Span | None = None, vol: float = 1.0) -> LiquidationPrices:
    """Every root of margin balance less maintenance margin along the price of the case's underlying.

    span  where to look
    vol   multiple of today's vols at which to look

    What two points of the grid do not show is not found, see `crossings`.
    """
    searched, reasons = ruled(case, span or Span(), np.array([vol]))
    found = edges(case, searched, np.array([vol]))
    price, now = np.exp(found.x), levels(case, np.ones(1), vol)
    slopes = _slopes(case, price, vol)
    return LiquidationPrices(
        price=price * case.spot,
        move=price - 1.0,
        side=sides(found, bool(now.excess[0] < 0.0)),
        jumps=found.jump > A_JUMP * case.scale,
        price_slope=slopes[0],
        vol_slope=slopes[1],
        time_slope=slopes[2],
        account=case.account,
        underlying=case.underlying,
        spot=case.spot,
        currency=str(case.mover.market.currency_id[0]),
        sticky=case.mover.sticky,
        span=searched,
        without_rule=reasons,
        now=now,
    )


def ruled(case: Case, span: Span, vol: FloatArray) -> tuple[Span, tuple[str, ...]]:
    """The span as far as the model has rules for what is held at all of the vol multiples (V,), and why no further.

    Futures that lose on the way leave a balance owed, for which some models have no rule.
    """
    grid = np.append(np.geomspace(span.low, span.high, span.points), 1.0)
    found, reasons = levels_where_ruled(case, np.tile(grid, len(vol)), np.repeat(vol, len(grid)))
    if not reasons:
        return span, ()
    lacking = grid[~np.isfinite(found.equity).reshape(len(vol), -1).all(axis=0)]
    low, high = lacking[lacking < 1.0].max(initial=0.0), lacking[lacking > 1.0].min(initial=np.inf)
    inside = np.sort(grid[(grid > low) & (grid < high)])
    if not len(inside) or inside[0] >= 1.0 or inside[-1] <= 1.0:
        remedy = f"there is no rule for what is held as soon as the price moves: {'; '.join(reasons)}"
        raise DataError([Problem("book", case.account, "account", case.account, remedy)])
    return Span(float(inside[0]), float(inside[-1]), span.points), reasons


def edges(case: Case, span: Span, vol: FloatArray) -> Crossings:
    """Crossings of the excess over the logarithm of the price, one line for each of the vol multiples (V,)."""
    grid = np.linspace(np.log(span.low), np.log(span.high), span.points)
    # Today's price is asked for anyway.
    bends = bends_of(case)
    bends = np.append(bends[(bends > grid[0]) & (bends < grid[-1])], 0.0)

    def excess(x: FloatArray, line: np.ndarray) -> FloatArray:
        return levels(case, np.exp(x), vol[line]).excess

    return crossings(excess, np.unique(np.append(grid, bends)), len(vol), NOTHING * case.scale)


def bends_of(case: Case) -> FloatArray:
    """(B,) logarithms of the price, of today's, at which requirements and payoffs bend: the strikes held."""
    table = case.mover.instruments
    own = (table.kind == Kind.OPTION) & (table.underlying_idx == case.mover.underlying)
    return np.unique(np.log(table.strike[own] / case.mover.market.forward[table.expiry_idx[own]]))


def sides(found: Crossings, liquidated: bool) -> StrArray:
    """What each crossing of one line is, seen from today's price outwards, a price move of 0 being today."""
    outwards = np.where(found.x >= 0.0, found.falls, ~found.falls)
    # At today's price itself the side is that of leaving it.
    outwards = np.where(found.x == 0.0, not liquidated, outwards)
    return np.where(found.touches, TOUCHES, np.where(outwards, INTO, OUT_OF)).astype(np.str_)


def _slopes(case: Case, price: FloatArray, vol: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(M,3) of equity, initial and maintenance margin by price, vol and time at these prices, by differences.

    By price and vol central; by time over an hour ahead, or what is left to the first expiry.
    """
    if not len(price):
        return (np.zeros((0, 3)),) * 3
    later = min(TIME_STEP_YEARS, case.first_expiry_years)

    def at(moved: FloatArray, vols: float, years: float = 0.0) -> FloatArray:
        found, _ = levels_where_ruled(case, moved, vols, years)
        return np.column_stack([found.equity, found.initial, found.maintenance])

    here = at(price, vol)
    by_price = (at(price * (1.0 + PRICE_STEP), vol) - at(price * (1.0 - PRICE_STEP), vol)) / (2.0 * PRICE_STEP)
    by_vol = (at(price, vol * (1.0 + VOL_STEP)) - at(price, vol * (1.0 - VOL_STEP))) / (2.0 * VOL_STEP)
    by_time = (at(price, vol, later) - here) / later if later > 0.0 else np.full_like(here, np.nan)
    return by_price, by_vol, by_time
