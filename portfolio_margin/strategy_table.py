"""The strategies of the securities rules as a table: which legs make one, and what each asks for.

Cboe rule 10.3, FINRA 4210(f)(2) and Regulation T, in the amounts of the Cboe margin manual. A requirement is what must
be there beside the value of the positions: the manual's amount, less the value of options sold, plus that of options
bought, since equity here counts options at their value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray


class Strategy(NamedTuple):
    """One row of the table.

    name      what the rules call it
    charge    where its requirement is shown
    legs      one letter a leg: C call, P put, upper case long, lower case short; S long stock, s short stock
    strikes   "" or the order the strikes must have along the legs: < below, = equal, . any
    expiries  "" any; "cover" every long option lives as long as every short one; "equal" all the same
    """

    name: str
    charge: str
    legs: str
    strikes: str = ""
    expiries: str = ""


SINGLES = (
    Strategy("long call", "long_options", "C"),
    Strategy("long put", "long_options", "P"),
    Strategy("naked call", "naked", "c"),
    Strategy("naked put", "naked", "p"),
    Strategy("long stock", "stock", "S"),
    Strategy("short stock", "stock", "s"),
)
STRADDLE = Strategy("short straddle or strangle", "straddles", "cp")
WITH_STOCK = (
    Strategy("covered call", "covered", "Sc"),
    Strategy("covered put", "covered", "sp"),
    Strategy("protective put", "covered", "SP"),
    Strategy("protective call", "covered", "sC"),
    Strategy("conversion", "covered", "SPc", "=", "equal"),
    Strategy("reverse conversion", "covered", "sCp", "=", "equal"),
    Strategy("collar", "covered", "SPc", "<", "equal"),
)
# Options alone, as many long as short of each right: margined at the largest loss of their intrinsic values at any of
# their strikes. Legs in the order of their strikes, calls before puts and long before short where these are equal; the
# first row that fits names a combination, and what fits none is a spread all the same.
SPREADS = (
    Strategy("bear call spread", "spreads", "cC", "<", "equal"),
    Strategy("bull call spread", "spreads", "Cc", "<", "equal"),
    Strategy("bull put spread", "spreads", "Pp", "<", "equal"),
    Strategy("bear put spread", "spreads", "pP", "<", "equal"),
    Strategy("time spread", "spreads", "Cc", "", "cover"),
    Strategy("time spread", "spreads", "cC", "", "cover"),
    Strategy("time spread", "spreads", "Pp", "", "cover"),
    Strategy("time spread", "spreads", "pP", "", "cover"),
    Strategy("long call butterfly", "spreads", "CccC", "<=<", "equal"),
    Strategy("short call butterfly", "spreads", "cCCc", "<=<", "equal"),
    Strategy("long put butterfly", "spreads", "PppP", "<=<", "equal"),
    Strategy("short put butterfly", "spreads", "pPPp", "<=<", "equal"),
    Strategy("long call condor", "spreads", "CccC", "<<<", "equal"),
    Strategy("short call condor", "spreads", "cCCc", "<<<", "equal"),
    Strategy("long put condor", "spreads", "PppP", "<<<", "equal"),
    Strategy("short put condor", "spreads", "pPPp", "<<<", "equal"),
    Strategy("long box", "spreads", "CpcP", "=<=", "equal"),
    Strategy("short box", "spreads", "cPCp", "=<=", "equal"),
    Strategy("short iron butterfly", "spreads", "PcpC", "<=<", "equal"),
    Strategy("long iron butterfly", "spreads", "pCPc", "<=<", "equal"),
    Strategy("short iron condor", "spreads", "PpcC", "<<<", "equal"),
    Strategy("long iron condor", "spreads", "pPCc", "<<<", "equal"),
)
SPREAD = Strategy("spread", "spreads", "", "", "cover")
CHARGES = ("stock", "long_options", "naked", "spreads", "straddles", "covered")


class Rates(NamedTuple):
    """What the rules ask of one underlying, leverage included.

    option, option_minimum          share of the underlying's value, of the value or the put's strike
    stock_initial                   share of the value, long or short
    stock_long, stock_short         the same for maintenance
    short_share, low_short_share    least maintenance of a short share above and below low_price, quote currency
    low_price                       quote currency
    hedged, collar                  share of the strike for stock hedged by a long option, by a collar's call
    long_dated                      share of a long-dated option's value that is required
    """

    option: float
    option_minimum: float
    stock_initial: float
    stock_long: float
    stock_short: float
    short_share: float
    low_short_share: float
    low_price: float
    hedged: float
    collar: float
    long_dated: float


class Legs(NamedTuple):
    """The options of one account on one underlying; rows (n,).

    call, long   True for calls, for positions above 0
    strike       quote currency; expiry ms UTC; style: options pair with their own style only
    steps        quantity in whole steps, above 0
    size         margin currency per unit of quote currency of one step
    value        margin currency of one step, 0 or more
    shares       stock units that one step is on
    long_dated   True where a long option has a loan value
    """

    call: BoolArray
    long: BoolArray
    strike: FloatArray
    expiry: FloatArray
    style: FloatArray
    steps: FloatArray
    size: FloatArray
    value: FloatArray
    shares: FloatArray
    long_dated: BoolArray


def out_of_the_money(legs: Legs, spot: float) -> FloatArray:
    """(n,) quote currency by which each option is out of the money."""
    return np.maximum(np.where(legs.call, legs.strike - spot, spot - legs.strike), 0.0)


def naked_amount(legs: Legs, spot: float, rates: Rates) -> FloatArray:
    """(n,) margin currency of one step sold uncovered, beside its value."""
    floor = rates.option_minimum * np.where(legs.call, spot, legs.strike)
    return legs.size * np.maximum(rates.option * spot - out_of_the_money(legs, spot), floor)


def stock_amounts(spot: float, rates: Rates) -> tuple[tuple[float, float], tuple[float, float]]:
    """(initial, maintenance) of one long and one short unit of stock, quote currency."""
    least = rates.short_share if spot >= rates.low_price else max(rates.low_short_share, spot)
    short = max(rates.stock_short * spot, least)
    long = rates.stock_long * spot
    return (max(rates.stock_initial * spot, long), long), (max(rates.stock_initial * spot, short), short)


def name_of_spread(text: str, order: str, same_expiry: bool) -> Strategy:
    """The row of the table for legs in the order of their strikes; `order` holds < or = between them."""
    for row in SPREADS:
        fits = row.legs == text and (not row.strikes or row.strikes == order)
        if fits and (same_expiry if row.expiries == "equal" else True):
            return row
    return SPREAD
