"""dollars: what amounts that rules state in US dollars, or in quote currency, are in the margin currency, and what the
smallest amount of that is."""

from __future__ import annotations

import functools
import math

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.errors import ConfigError
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

# Currencies that venues count as one US dollar each: amounts of their parameters are in it.
DOLLARS = ("USD", "USDC", "USDT")
# The smallest amount of money: a cent, and of a coin what its chain can carry, some hundred-millionth.
CENT, COIN_STEP = 0.01, 1e-8


def dollars(arrays: RiskArrays, whose: str) -> FloatArray:
    """(U,) margin currency per US dollar, the same for every underlying; a coin's spot says what a coin is worth.

    whose  the rules the amounts are of, for the message
    ConfigError where nothing tells what a dollar is worth.
    """
    known = {str(name): float(rate) for name, rate in zip(arrays.terms.currency_id, arrays.terms.fx, strict=True)}
    if arrays.currency in DOLLARS:
        return np.ones(len(arrays.underlying_id))
    rate = next((known[name] for name in DOLLARS if name in known), None)
    if rate is not None:
        return np.full(len(arrays.underlying_id), rate)
    if in_coin(arrays):
        return _per_quote_unit(arrays)
    raise ConfigError(
        f"margin currency {arrays.currency}: amounts of {whose} are in USD, "
        "so the market needs a currency USD, USDC or USDT with its fx"
    )


@of_arrays
def in_coin(arrays: RiskArrays) -> bool:
    """Whether the margin currency is a coin: one of the underlyings."""
    return arrays.currency in set(arrays.underlying_id.tolist())


def money_step(arrays: RiskArrays) -> float:
    """The smallest amount of the margin currency, to which statements are rounded: a cent, or 1e-8 of a coin."""
    return COIN_STEP if in_coin(arrays) and arrays.currency not in DOLLARS else CENT


@functools.cache
def money_digits(step: float) -> int:
    """Decimals of an amount that is a whole number of money steps."""
    return round(-math.log10(step))


def money_of_amounts(arrays: RiskArrays) -> FloatArray:
    """(U,) margin currency per unit of what amounts of a house's own are stated in: the margin currency itself, and
    quote currency where the margin currency is a coin."""
    return _per_quote_unit(arrays) if in_coin(arrays) else np.ones(len(arrays.underlying_id))


def _per_quote_unit(arrays: RiskArrays) -> FloatArray:
    """(U,) coins per unit of what the spot of the coin of margin is quoted in, whatever an underlying is quoted in."""
    spot = float(arrays.terms.spot[arrays.underlying_id == arrays.currency][0])
    return np.full(len(arrays.underlying_id), 1.0 / spot)


@of_arrays
def is_dollar(arrays: RiskArrays) -> BoolArray:
    """(N,) rows of the margin currency, and of dollars, for models that count all of these as one money."""
    named = np.isin(arrays.instrument_id, [*DOLLARS, arrays.currency])
    return np.asarray(arrays.is_collateral & named)


@of_arrays
def is_own_money(arrays: RiskArrays) -> BoolArray:
    """(N,) rows of the margin currency and, where it is a dollar, of other dollars that no scenario moves.

    Owed, they are no risk to models that count dollars as one money.
    """
    own = is_dollar(arrays) & ((arrays.currency in DOLLARS) | (arrays.instrument_id == arrays.currency))
    # A dollar with a price of its own that scenarios move is a coin like any other.
    own[own] = ~np.any(arrays.rows[own] != 0.0, axis=1)
    return np.asarray(own)
