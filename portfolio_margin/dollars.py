"""dollars: what amounts that rules state in US dollars, or in quote currency, are in the margin currency."""

from __future__ import annotations

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays

# Currencies that venues count as one US dollar each: amounts of their parameters are in it.
DOLLARS = ("USD", "USDC", "USDT")


def dollars(arrays: RiskArrays, whose: str) -> FloatArray:
    """(U,) margin currency per US dollar, by underlying because a coin that margins itself has its own price.

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
        return np.asarray(1.0 / arrays.terms.spot)
    raise ConfigError(
        f"margin currency {arrays.currency}: amounts of {whose} are in USD, "
        "so the market needs a currency USD, USDC or USDT with its fx"
    )


def in_coin(arrays: RiskArrays) -> bool:
    """Whether the margin currency is a coin: one of the underlyings."""
    return arrays.currency in set(arrays.underlying_id.tolist())


def money_of_amounts(arrays: RiskArrays) -> FloatArray:
    """(U,) margin currency per unit of what amounts of a house's own are stated in: the margin currency itself, and
    quote currency where the margin currency is a coin."""
    return np.asarray(1.0 / arrays.terms.spot) if in_coin(arrays) else np.ones(len(arrays.underlying_id))


def is_dollar(arrays: RiskArrays) -> BoolArray:
    """(N,) rows of the margin currency, and of dollars, for models that count all of these as one money."""
    named = np.isin(arrays.instrument_id, [*DOLLARS, arrays.currency])
    return np.asarray(arrays.is_collateral & named)


def is_own_money(arrays: RiskArrays) -> BoolArray:
    """(N,) rows of the margin currency, and of other dollars where it is a dollar: owed, they are no risk to models
    that count dollars as one money."""
    other = is_dollar(arrays) if arrays.currency in DOLLARS else np.zeros(len(arrays), dtype=np.bool_)
    return np.asarray(other | (arrays.is_collateral & (arrays.instrument_id == arrays.currency)))
