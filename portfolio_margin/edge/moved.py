"""moved: the market after one underlying has moved in price and vol and time has passed; what futures have paid since.

A state is (price, vol, years): the price of the underlying as a multiple of today's, the vols of its options as a
multiple, and time that has passed. Of time alone: vols stay as they are, contract by contract; dated forwards stay, and
spots, perpetuals and coins slide along the forward curve of their underlying, so that nothing is earned by waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pricing.arrays import MILLISECONDS_PER_YEAR, FloatArray, IntArray
from pricing.errors import ConfigError
from pricing.instruments import Instruments
from pricing.market import UNDATED, Market
from pricing.market_limits import MarketLimits
from pricing.resolve import PricingInputs, resolve, slice_vol, years_to_expiry

STICKY = ("moneyness", "strike")
# A market moved on purpose is no slip: limits decide what is refused and change no number.
STEEPEST = 2.0
NO_LIMITS = MarketLimits(np.inf, np.inf, np.inf, 0.0, np.inf, np.inf)


@dataclass(frozen=True)
class States:
    """K moved markets.

    price  (K,) of the underlying, a multiple of today's, above 0
    vol    (K,) of the options on it, a multiple, above 0
    years  one number, 0 or more: time that has passed, the same in all of them
    settled   whether what expires at that moment has been settled
    """

    price: FloatArray
    vol: FloatArray
    years: float = 0.0
    settled: bool = False

    def __len__(self) -> int:
        return len(self.price)

    def part(self, first: int, last: int) -> States:
        """States first to last - 1."""
        return States(self.price[first:last], self.vol[first:last], self.years, self.settled)


@dataclass(frozen=True)
class Mover:
    """A market, the contracts in it and how they are moved.

    instruments, market   as in `revalue`
    inputs                what `resolve` made of the two
    underlying            -> U the one that moves
    sticky     "moneyness": the slice stays over log-moneyness, and an option's own vol changes by what the slice's
               changes at its strike; "strike": every option keeps its vol as the price moves
    """

    instruments: Instruments
    market: Market
    inputs: PricingInputs
    underlying: int
    sticky: str

    @classmethod
    def of(cls, instruments: Instruments, market: Market, underlying: int, sticky: str) -> Mover:
        """A mover; ConfigError for a rule that is none."""
        if sticky not in STICKY:
            raise ConfigError(f"sticky = {sticky!r}: must be one of {', '.join(STICKY)}")
        return cls(instruments, replace(market, limits=NO_LIMITS), resolve(instruments, market), underlying, sticky)

    @property
    def years_left(self) -> FloatArray:
        """(X,) to expiry today; 0 for undated rows."""
        return years_to_expiry(self.market)

    def slide(self, years: float) -> FloatArray:
        """(U,) what spots are multiplied with as time passes along the forward curve."""
        market, left = self.market, self.years_left
        result = np.ones(len(market.spot))
        for u in range(len(result)):
            rows = np.flatnonzero((market.expiry_underlying == u) & (market.expiry_time != UNDATED) & (left > 0))
            rows = rows[np.argsort(left[rows])]
            carry = np.log(market.forward[rows] / market.spot[u])
            result[u] = np.exp(np.interp(years, np.append(0.0, left[rows]), np.append(0.0, carry)))
        return result

    def forwards(self, states: States) -> FloatArray:
        """(K,X) forwards; the share of one that settlement has fixed does not move with the price."""
        market = self.market
        undated = market.expiry_time == UNDATED
        along = np.where(undated, self.slide(states.years)[market.expiry_underlying], 1.0)
        own = market.expiry_underlying == self.underlying
        fixed = market.fixed_share
        moved = np.where(own, fixed + (1.0 - fixed) * states.price[:, None], 1.0)
        return np.asarray(market.forward * along * moved)

    def spots(self, states: States) -> FloatArray:
        """(K,U) spots."""
        own = np.arange(len(self.market.spot)) == self.underlying
        along = self.market.spot * self.slide(states.years)
        return np.asarray(along * np.where(own, states.price[:, None], 1.0))

    def fx(self, states: States) -> FloatArray:
        """(K,C) margin currency per unit of currency: coins move with their underlying."""
        mover = self.market.currency_underlying
        moves = np.append(self.spots(states) / self.market.spot, np.ones((len(states), 1)), axis=1)
        return np.asarray(self.market.fx * moves[:, mover])

    def vols(self, states: States) -> FloatArray:
        """(K,N) vol of every option, NaN for other contracts."""
        table, inputs = self.instruments, self.inputs
        option = np.flatnonzero(table.is_option)
        result = np.full((len(states), len(table)), np.nan)
        result[:, option] = inputs.vol[option]
        own = option[table.underlying_idx[option] == self.underlying]
        vol = np.broadcast_to(inputs.vol[own], (len(states), len(own)))
        if self.sticky == "moneyness":
            row = table.expiry_idx[own]
            terms = table.strike[own], self.years_left[row], self.market.svi[row]
            before, after = (
                slice_vol(terms[0], forward, terms[1], terms[2])
                for forward in (self.market.forward[row], self.forwards(states)[:, row])
            )
            vol = np.maximum(vol + np.nan_to_num(after - before, nan=0.0), 0.0)
        result[:, own] = vol * states.vol[:, None]
        return result

    def slices(self, states: States) -> FloatArray:
        """(K,X,5) raw SVI: vols keep while time passes, so total variance shrinks; sticky strikes shift the slice.

        A slice grows no further than to Lee's slope of 2 in a wing (Lee 2004, The moment formula, theorem 3.2); vols of
        options, which are their own, go on. Slices then only say how vols change inside a scenario.
        """
        market, left = self.market, self.years_left
        own = market.expiry_underlying == self.underlying
        kept = np.divide(np.maximum(left - states.years, 0.0), left, out=np.ones_like(left), where=left > 0)
        factor = kept * np.where(own, states.vol[:, None] ** 2, 1.0)
        svi = np.repeat(market.svi[None], len(states), axis=0)
        slope = market.svi[:, 1] * (1.0 + np.abs(market.svi[:, 2]))
        most = np.divide(STEEPEST, slope, out=np.full_like(slope, np.inf), where=slope > 0)
        svi[:, :, :2] *= np.minimum(factor, np.maximum(most, kept))[:, :, None]
        if self.sticky == "strike":
            svi[:, :, 3] -= np.where(own, np.log(self.forwards(states) / market.forward), 0.0)
        return svi

    def discounts(self, years: float) -> FloatArray:
        """(X,) discount factors at the rate of today."""
        left = self.years_left
        kept = np.divide(np.maximum(left - years, 0.0), left, out=np.ones_like(left), where=left > 0)
        return np.asarray(self.market.discount**kept)

    def moment(self, years: float) -> int:
        """ms UTC after so many years, to the millisecond."""
        return int(self.market.valuation_time + np.floor(years * MILLISECONDS_PER_YEAR))

    def markets(self, states: States) -> list[Market]:
        """One market a state, with all rows of today's."""
        forward, spot, fx = self.forwards(states), self.spots(states), self.fx(states)
        vol, svi, discount = self.vols(states), self.slices(states), self.discounts(states.years)
        return [
            replace(
                self.market,
                valuation_time=self.moment(states.years),
                spot=spot[k],
                forward=forward[k],
                discount=discount,
                svi=svi[k],
                mark_vol=vol[k],
                fx=fx[k],
            )
            for k in range(len(states))
        ]

    def variation(self, rows: IntArray, states: States) -> FloatArray:
        """(K,n) what one contract of `rows` has been paid since, in its settlement currency; 0 where none is settled.

        Futures and perpetuals are worth 0 because gains are paid out: N (F' - F), in coin N (1/F - 1/F').
        """
        inputs = self.inputs
        expiry = inputs.expiry_idx[rows]
        after = np.append(self.forwards(states), np.ones((len(states), 1)), axis=1)[:, expiry]
        gain = inputs.multiplier[rows] * (after - inputs.forward[rows])
        unit = np.where(inputs.inverse[rows] > 0, after, 1.0)
        return np.asarray(np.where(inputs.settled[rows] > 0, gain / unit, 0.0))
