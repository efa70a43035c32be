"""Terms: what a margin model must know of contracts and market beside their gains, to be computed by anybody."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from pricing.arrays import (
    MILLISECONDS_PER_YEAR,
    BoolArray,
    FloatArray,
    IntArray,
    StrArray,
    freeze_fields,
    row_problems,
)
from pricing.errors import Problem
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.market_limits import USUAL, MarketLimits
from pricing.resolve import PricingInputs

# A product of three numbers read from a file is off by a few roundings.
NOTIONAL_TOLERANCE = 1e-12

BY_INSTRUMENT = ("strike", "sign", "multiplier", "vol", "payoff", "exercise", "currency_idx")
BY_EXPIRY = ("expiry_underlying", "expiry_time", "forward", "discount", "fixed_share")
BY_CURRENCY = ("currency_id", "fx", "currency_underlying")


class MarketSnapshotRows(NamedTuple):
    """Rows of a market by underlying (U,) and expiry (X,), as `Market` names them; what scenario sets are made from."""

    valuation_time: int
    underlying_id: StrArray
    spot: FloatArray
    expiry_underlying: IntArray
    expiry_time: IntArray
    forward: FloatArray
    discount: FloatArray


@dataclass(frozen=True)
class Terms:
    """Contract terms and market behind risk arrays; every name means what it means in Instruments and Market.

    strike, sign, multiplier, payoff, exercise   (N,) terms of the contracts
    vol                  (N,) per sqrt(year) they are valued at, 0 where there is none
    currency_idx         (N,) -> C settlement currency
    spot                 (U,) quote currency per unit
    expiry_underlying    (X,) -> U
    expiry_time          (X,) ms UTC, UNDATED where nothing expires
    forward, discount    (X,) quote currency per unit; discount factor of the settlement currency
    fixed_share          (X,) share of the forward that settlement has already fixed
    currency_id          (C,) names, the margin currency first
    fx                   (C,) margin currency per unit of currency
    currency_underlying  (C,) -> U whose price moves the currency, -1 for none
    """

    strike: FloatArray
    sign: FloatArray
    multiplier: FloatArray
    vol: FloatArray
    payoff: IntArray
    exercise: IntArray
    currency_idx: IntArray
    spot: FloatArray
    expiry_underlying: IntArray
    expiry_time: IntArray
    forward: FloatArray
    discount: FloatArray
    fixed_share: FloatArray
    currency_id: StrArray
    fx: FloatArray
    currency_underlying: IntArray

    def __post_init__(self) -> None:
        integers = ("payoff", "exercise", "currency_idx", "expiry_underlying", "expiry_time", "currency_underlying")
        floats = [f.name for f in fields(self) if f.name not in (*integers, "currency_id")]
        dtypes = {**dict.fromkeys(integers, np.int64), **dict.fromkeys(floats, np.float64), "currency_id": np.str_}
        freeze_fields(self, dtypes)
        for names in (BY_INSTRUMENT, BY_EXPIRY, BY_CURRENCY):
            for name in names:
                if getattr(self, name).ndim != 1 or len(getattr(self, name)) != len(getattr(self, names[0])):
                    raise AssertionError(f"terms {name} must have one entry per row of {names[0]}")

    @property
    def is_inverse(self) -> BoolArray:
        """(N,) True where a contract pays in the coin of its underlying."""
        return np.asarray(self.payoff == Payoff.INVERSE)

    def years_to_expiry(self, valuation_time: int) -> FloatArray:
        """(X,) ACT/365 years, never below 0; 0 for undated rows."""
        left = np.where(self.expiry_time == UNDATED, valuation_time, self.expiry_time) - valuation_time
        return np.asarray(np.maximum(left / MILLISECONDS_PER_YEAR, 0.0))


def terms_of(instruments: Instruments, market: Market, inputs: PricingInputs) -> Terms:
    """The terms of a market's contracts; inputs are what `resolve` made of the two."""
    known = {"vol": inputs.vol, "strike": np.where(instruments.is_option, instruments.strike, np.nan)}
    for name in (f.name for f in fields(Terms)):
        if name not in known:
            known[name] = getattr(instruments if name in BY_INSTRUMENT else market, name)
    return Terms(**known)


def impossible_terms(
    terms: Terms, kind: IntArray, names: tuple[StrArray, StrArray, StrArray], file: str, limits: MarketLimits = USUAL
) -> list[Problem]:
    """Every entry of terms that no market has, by row.

    names   of the instruments (N,), underlyings (U,) and expiries (X,)
    limits  those that the market was declared with
    """
    instrument_id, underlying_id, expiry_name = names
    lengths = (len(terms.strike), len(terms.spot), len(terms.forward))
    if lengths != tuple(map(len, names)) or not len(terms.fx):
        remedy = f"needs {len(instrument_id)} contracts, {len(underlying_id)} underlyings, {len(expiry_name)} expiries"
        return [Problem(file, None, "terms", str((*lengths, len(terms.fx))), remedy + " and a currency")]
    option, undated = kind == Kind.OPTION, terms.expiry_time == UNDATED
    checks: tuple[tuple[str, BoolArray, str, StrArray], ...] = (
        ("strike", option != _positive(terms.strike), "above 0 for an option, NaN for others", instrument_id),
        ("strike", ~option & ~np.isnan(terms.strike), "above 0 for an option, NaN for others", instrument_id),
        ("sign", ~np.isin(terms.sign, (-1.0, 1.0)), "must be +1 (call) or -1 (put)", instrument_id),
        ("sign", ~option & (terms.sign != 1.0), "must be +1: only a put has -1", instrument_id),
        ("multiplier", ~_positive(terms.multiplier), "must be above 0", instrument_id),
        ("vol", ~((terms.vol >= 0) & np.isfinite(terms.vol)), "must be 0 or more", instrument_id),
        ("payoff", ~np.isin(terms.payoff, [int(p) for p in Payoff]), "no such payoff", instrument_id),
        ("exercise", ~np.isin(terms.exercise, [int(e) for e in Exercise]), "no such exercise", instrument_id),
        ("currency_idx", _outside(terms.currency_idx, 0, len(terms.fx)), "no such currency", instrument_id),
        ("spot", ~_positive(terms.spot), "must be above 0", underlying_id),
        ("expiry_underlying", _outside(terms.expiry_underlying, 0, len(terms.spot)), "no such underlying", expiry_name),
        ("forward", ~_positive(terms.forward), "must be above 0", expiry_name),
        (
            "discount",
            ~_positive(terms.discount) | (terms.discount > limits.max_discount),
            f"must be in (0, {limits.max_discount:g}]",
            expiry_name,
        ),
        (
            "fixed_share",
            ~((terms.fixed_share >= 0) & (terms.fixed_share <= 1)) | (undated & (terms.fixed_share != 0)),
            "must be in [0, 1], and 0 where nothing expires",
            expiry_name,
        ),
        ("fx", ~_positive(terms.fx), "must be above 0", terms.currency_id),
        ("fx", (np.arange(len(terms.fx)) == 0) & (terms.fx != 1.0), "1 for the margin currency", terms.currency_id),
        (
            "currency_underlying",
            _outside(terms.currency_underlying, -1, len(terms.spot)),
            "must be an underlying, or -1 for none",
            terms.currency_id,
        ),
    )
    problems: list[Problem] = []
    for field, bad, remedy, rows in checks:
        problems += row_problems(file, f"terms {field}", np.asarray(bad), getattr(terms, field), remedy, rows)
    return problems


def implied_notional(terms: Terms, kind: IntArray, expiry_idx: IntArray) -> FloatArray:
    """(N,) margin currency per contract that the terms imply: multiplier times forward, for inverse futures and
    perpetuals the amount of quote currency; in the unit of what the contract settles in."""
    row = np.where((expiry_idx >= 0) & (kind != Kind.CASH), expiry_idx, 0)
    forward = np.where((expiry_idx >= 0) & (kind != Kind.CASH), np.append(terms.forward, 1.0)[row], 1.0)
    settled = (kind == Kind.FUTURE) | (kind == Kind.PERPETUAL)
    units = np.where(terms.is_inverse & settled, terms.multiplier / forward, terms.multiplier)
    price = np.where(terms.is_inverse, 1.0, forward)
    return np.asarray(units * price * terms.fx[terms.currency_idx])


def impossible_carry(terms: Terms, valuation_time: int, limits: MarketLimits = USUAL) -> BoolArray:
    """(X,) True where a forward is further from the spot than any rate explains, by the bounds of Market."""
    slack = np.where(terms.expiry_time == UNDATED, limits.undated_slack, limits.carry_slack)
    carry = np.abs(np.log(terms.forward / terms.spot[terms.expiry_underlying]))
    return np.asarray(carry > slack + limits.explained(terms.years_to_expiry(valuation_time)))


def _positive(values: FloatArray) -> BoolArray:
    return np.asarray((values > 0) & np.isfinite(values))


def _outside(index: IntArray, low: int, count: int) -> BoolArray:
    return np.asarray((index < low) | (index >= count))
