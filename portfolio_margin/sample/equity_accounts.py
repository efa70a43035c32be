"""Accounts on a listed stock and its options: what a broker's customers hold, sized in contracts of 100 shares."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from portfolio_margin.sample.account import BANKRUPT_SHARE, Account
from portfolio_margin.sample.strategies import (
    CALL,
    PUT,
    Listing,
    box,
    calendar,
    iron_condor,
    quoted_strip,
    spread,
    stock_hedge,
    straddle,
    strangle,
    synthetic,
    together,
)
from pricing.instruments import Instruments, Kind
from pricing.market import Market

WEEK, MONTH = 7.0, 30.0
SHARES = 1_000.0
CONTRACTS = 10.0
# What Regulation T lends on a long stock.
LENT_SHARE = 0.5
# So little that the shares cover it and nothing is paid in.
UNPAID = 0.1


def stocks_of(instruments: Instruments, market: Market) -> list[str]:
    """Underlyings with a row of their own to hold, and options on it."""
    found = []
    for row, name in enumerate(market.underlying_id.tolist()):
        mine = instruments.underlying_idx == row
        if np.any(mine & (instruments.kind == Kind.SPOT)) and np.any(mine & instruments.is_option):
            found.append(name)
    return found


def accounts(listing: Listing, stock: str) -> list[Account]:
    """Every account on one stock."""
    named = [*_stock(listing, stock), *_spreads(listing, stock), *_volatility(listing, stock)]
    return [account._replace(name=f"{stock.lower()}-{account.name}") for account in named]


def _stock(market: Listing, stock: str) -> Iterator[Account]:
    """Shares, alone and with options against them."""
    own = market.stock(stock)
    price = float(market.market.spot[market.instruments.underlying_idx[market.instruments.index_of()[own]]])
    shares, call, put = {own: SHARES}, market.option(stock, MONTH, CALL, 0.30), market.option(stock, MONTH, PUT, 0.30)
    currency = str(market.market.currency_id[0])
    yield Account("stock-on-margin-01", shares, {currency: -round(LENT_SHARE * SHARES * price, 2)}, UNPAID)
    yield Account("stock-long-01", shares, {}, 1.0)
    yield Account("stock-short-01", {own: -SHARES}, {}, 1.6)
    yield Account("covered-call-01", together(shares, {call: -CONTRACTS}), {}, 1.0)
    yield Account("covered-put-01", together({own: -SHARES}, {put: -CONTRACTS}), {}, 1.3)
    yield Account("protective-put-01", together(shares, {put: CONTRACTS}), {}, 1.0)
    yield Account("collar-01", together(shares, {put: CONTRACTS, call: -CONTRACTS}), {}, 1.0)
    yield Account("cash-secured-put-01", {put: -CONTRACTS}, {}, 5.0)
    level = synthetic(market, stock, MONTH, 1.0, -CONTRACTS)
    yield Account("conversion-01", together(shares, level), {}, 1.0)
    yield Account("synthetic-stock-01", synthetic(market, stock, MONTH, 1.0, CONTRACTS), {}, 1.4)


def _spreads(market: Listing, stock: str) -> Iterator[Account]:
    """Books whose loss is bounded by their wings, or nearly so."""
    wings = {WEEK: (0.97, 0.985, 1.015, 1.03), MONTH: (0.94, 0.97, 1.03, 1.06)}
    for number, (days, condor) in enumerate(wings.items(), start=1):
        yield Account(f"iron-condor-{number:02d}", iron_condor(market, stock, days, condor, CONTRACTS), {}, 1.5)
    yield Account("box-01", box(market, stock, MONTH, (0.95, 1.05), CONTRACTS), {}, 1.5)
    yield Account("box-02", box(market, stock, MONTH, (0.95, 1.05), -CONTRACTS), {}, 1.5)
    vertical = {
        "bull-call-spread-01": (MONTH, CALL, (1.0, 1.03), (10.0, -10.0)),
        "bear-put-spread-01": (MONTH, PUT, (1.0, 0.96), (10.0, -10.0)),
        "credit-put-spread-01": (WEEK, PUT, (0.98, 0.95), (-20.0, 20.0)),
        "call-ratio-01": (MONTH, CALL, (1.01, 1.04), (10.0, -20.0)),
        "put-backspread-01": (MONTH, PUT, (0.99, 0.94), (-10.0, 20.0)),
        "butterfly-01": (MONTH, CALL, (0.97, 1.0, 1.03), (10.0, -20.0, 10.0)),
    }
    for name, (days, sign, levels, quantities) in vertical.items():
        yield Account(name, spread(market, stock, days, sign, levels, quantities), {}, 1.6)
    yield Account("calendar-01", calendar(market, stock, (WEEK, MONTH), CALL, 1.01, CONTRACTS), {}, 1.6)


def _volatility(market: Listing, stock: str) -> Iterator[Account]:
    """Books that are long or short vol, with or without the shares that hedge them."""
    yield Account("long-straddle-01", straddle(market, stock, MONTH, CONTRACTS), {}, 1.5)
    yield Account("short-straddle-01", straddle(market, stock, MONTH, -CONTRACTS), {}, 1.3)
    yield Account("short-strangle-01", strangle(market, stock, MONTH, 0.15, -CONTRACTS), {}, 1.2)
    yield Account("short-strangle-stressed", strangle(market, stock, WEEK, 0.20, -CONTRACTS), {}, 0.95)
    yield Account("naked-call-seller-01", {market.option(stock, MONTH, CALL, 0.10): -3 * CONTRACTS}, {}, 0.8)
    yield Account("short-straddle-bankrupt", straddle(market, stock, WEEK, -2 * CONTRACTS), {}, BANKRUPT_SHARE)
    yield Account("tail-buyer-01", {market.option(stock, MONTH, PUT, 0.05): 5 * CONTRACTS}, {}, 1.5)
    for number, size in enumerate((CONTRACTS, -CONTRACTS), start=1):
        legs = straddle(market, stock, MONTH, size)
        yield Account(f"delta-hedged-gamma-{number:02d}", together(legs, stock_hedge(market, stock, legs)), {}, 1.5)
    strip = quoted_strip(market, stock, (WEEK, MONTH), (0.10, 0.25, 0.40), (7.0, -11.0, 5.0, -8.0, 12.0))
    yield Account("market-maker-01", together(strip, stock_hedge(market, stock, strip)), {}, 1.5)
