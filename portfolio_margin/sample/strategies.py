"""Find listed contracts as a trader asks for them, and put them together into strategies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, product

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, MILLISECONDS_PER_YEAR, BoolArray, FloatArray
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from pricing.price import greeks
from pricing.resolve import resolve

CALL, PUT = 1.0, -1.0

# What is traded together: instrument -> contracts, + long.
Legs = dict[str, float]


@dataclass(frozen=True)
class Listing:
    """The listed contracts with what a choice among them needs, each (N,).

    instruments, market   what is listed
    days   days to expiry, infinite where there is none
    delta  Black-76 delta with respect to the forward, 0 for cash, 1 for futures and perpetuals
    """

    instruments: Instruments
    market: Market
    days: FloatArray
    delta: FloatArray

    @classmethod
    def of(cls, instruments: Instruments, market: Market) -> Listing:
        """Value every contract of a market once."""
        inputs = resolve(instruments, market)
        option = instruments.is_option
        terms = (inputs.forward, inputs.strike, inputs.tau, inputs.vol, inputs.sign)
        delta = greeks(*(np.where(option, column, 1.0) for column in terms), backend="numpy", order=1)["delta"]
        dated = option | (instruments.kind == Kind.FUTURE)
        expiry = np.where(dated, market.expiry_time[instruments.expiry_idx], 0)
        years = (expiry - market.valuation_time) / MILLISECONDS_PER_YEAR
        return cls(
            instruments=instruments,
            market=market,
            days=np.where(dated, years * DAYS_PER_YEAR, np.inf),
            delta=np.where(option, delta, np.where(instruments.is_settled, 1.0, 0.0)),
        )

    def option(self, underlying: str, days: float, sign: float, delta: float) -> str:
        """The option whose absolute delta is nearest to `delta`, of the expiry nearest to `days`."""
        row = self._options(underlying, days, sign)
        return self._nearest(row, np.abs(self.delta) - delta)

    def strike(self, underlying: str, days: float, sign: float, moneyness: float) -> str:
        """The option whose strike is nearest to `moneyness` times the forward."""
        row = self._options(underlying, days, sign)
        forward = self.market.forward[self.instruments.expiry_idx]
        return self._nearest(row, self.instruments.strike / forward - moneyness)

    def twin(self, name: str) -> str:
        """The put of a call, the call of a put: same expiry and strike."""
        row = self.instruments.index_of()[name]
        terms = self.instruments
        same = (terms.expiry_idx == terms.expiry_idx[row]) & (terms.strike == terms.strike[row])
        return str(terms.instrument_id[np.flatnonzero(same & (terms.sign == -terms.sign[row]))[0]])

    def future(self, underlying: str, days: float) -> str:
        """The future that expires nearest to `days` from now."""
        row = self._of(underlying) & (self.instruments.kind == Kind.FUTURE)
        return self._nearest(row, self.days - days)

    def perpetual(self, underlying: str) -> str:
        """The perpetual of an underlying."""
        row = self._of(underlying) & (self.instruments.kind == Kind.PERPETUAL)
        return str(self.instruments.instrument_id[np.flatnonzero(row)[0]])

    def stock(self, underlying: str) -> str:
        """The row of a listed stock itself."""
        row = self._of(underlying) & (self.instruments.kind == Kind.SPOT)
        return str(self.instruments.instrument_id[np.flatnonzero(row)[0]])

    def contracts(self, name: str, coins: float) -> float:
        """Contracts of a future or perpetual that stand for a number of coins."""
        row = self.instruments.index_of()[name]
        underlying = self.instruments.underlying_idx[row]
        return float(np.rint(coins * self.market.spot[underlying] / self.instruments.multiplier[row]))

    def _underlying(self, name: str) -> int:
        return int(np.flatnonzero(self.market.underlying_id == name)[0])

    def _of(self, underlying: str) -> BoolArray:
        return np.asarray(self.instruments.underlying_idx == self._underlying(underlying))

    def _options(self, underlying: str, days: float, sign: float) -> BoolArray:
        listed = self._of(underlying) & self.instruments.is_option & (self.instruments.sign == sign)
        distance = np.where(listed, np.abs(self.days - days), np.inf)
        return listed & (distance == distance.min())

    def _nearest(self, row: BoolArray, distance: FloatArray) -> str:
        """Of equally near ones the first in the table."""
        return str(self.instruments.instrument_id[np.argmin(np.where(row, np.abs(distance), np.inf))])


def together(*parts: Legs) -> Legs:
    """Several sets of legs as one; contracts that cancel out are left out."""
    total: Legs = {}
    for part in parts:
        for name, quantity in part.items():
            total[name] = round(total.get(name, 0.0) + quantity, 8)
    return {name: quantity for name, quantity in total.items() if quantity}


def strangle(listing: Listing, underlying: str, days: float, delta: float, quantity: float) -> Legs:
    """Call and put of the same delta."""
    return {listing.option(underlying, days, sign, delta): quantity for sign in (CALL, PUT)}


def straddle(listing: Listing, underlying: str, days: float, quantity: float) -> Legs:
    """Call and put at the strike nearest to the forward."""
    return {listing.strike(underlying, days, sign, 1.0): quantity for sign in (CALL, PUT)}


def spread(
    listing: Listing,
    underlying: str,
    days: float,
    sign: float,
    moneyness: tuple[float, ...],
    quantities: tuple[float, ...],
) -> Legs:
    """Calls or puts of one expiry at several strikes: vertical spreads, ratios, butterflies."""
    names = [listing.strike(underlying, days, sign, level) for level in moneyness]
    return together(*({name: quantity} for name, quantity in zip(names, quantities, strict=True)))


def iron_condor(
    listing: Listing, underlying: str, days: float, moneyness: tuple[float, float, float, float], quantity: float
) -> Legs:
    """Short put and call spread around the forward: long outer, short inner strikes, given from low to high."""
    put_wing, put, call, call_wing = moneyness
    return together(
        spread(listing, underlying, days, PUT, (put_wing, put), (quantity, -quantity)),
        spread(listing, underlying, days, CALL, (call, call_wing), (-quantity, quantity)),
    )


def calendar(
    listing: Listing, underlying: str, days: tuple[float, float], sign: float, moneyness: float, quantity: float
) -> Legs:
    """Short the near expiry, long the far one, at about the same strike."""
    near, far = (listing.strike(underlying, day, sign, moneyness) for day in days)
    return {near: -quantity, far: quantity}


def synthetic(listing: Listing, underlying: str, days: float, moneyness: float, quantity: float) -> Legs:
    """Long call and short put of one strike: a future made of options."""
    call = listing.strike(underlying, days, CALL, moneyness)
    return {call: quantity, listing.twin(call): -quantity}


def box(listing: Listing, underlying: str, days: float, moneyness: tuple[float, float], quantity: float) -> Legs:
    """A synthetic future bought at the lower strike and sold at the higher one: a loan."""
    low, high = (synthetic(listing, underlying, days, level, quantity) for level in moneyness)
    return together(low, {name: -contracts for name, contracts in high.items()})


def delta_hedge(listing: Listing, legs: Legs, coins: dict[str, float]) -> Legs:
    """Perpetuals that offset the delta of options and of coins held, each underlying by itself."""
    row_of = listing.instruments.index_of()
    hedge: Legs = {}
    for underlying in map(str, listing.market.underlying_id):
        own = [name for name in legs if name.startswith(f"{underlying}-")]
        exposure = coins.get(underlying, 0.0) + sum(legs[name] * listing.delta[row_of[name]] for name in own)
        if own:
            name = listing.perpetual(underlying)
            hedge[name] = -listing.contracts(name, exposure)
    return {name: quantity for name, quantity in hedge.items() if quantity}


def stock_hedge(listing: Listing, stock: str, legs: Legs) -> Legs:
    """Whole shares that offset the delta of options on a stock."""
    row_of, terms = listing.instruments.index_of(), listing.instruments
    exposure = sum(q * listing.delta[row_of[name]] * terms.multiplier[row_of[name]] for name, q in legs.items())
    return {listing.stock(stock): -float(np.rint(exposure))}


def quoted_strip(
    listing: Listing, underlying: str, days: tuple[float, ...], deltas: tuple[float, ...], sizes: tuple[float, ...]
) -> Legs:
    """What is left of making markets: over many expiries a put and a call at each delta, sizes taken in turn."""
    quoted = zip(product(days, deltas, (PUT, CALL)), cycle(sizes), strict=False)
    return together(*({listing.option(underlying, day, sign, delta): size} for (day, delta, sign), size in quoted))
