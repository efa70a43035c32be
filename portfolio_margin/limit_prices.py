"""Prices that orders may have: which of them nothing can trade at.

An option pays 0 or more, and no more than its payoff: a call at most the underlying, a put at most its strike. Where it
pays in coin that is one coin, or strike / price coins. A future trades within a factor of its forward that no scenario
comes near; the width is a convention of ours. Prices beyond are slips of units, such as dollars for coins.
"""

from __future__ import annotations

import numpy as np

from pricing.arrays import FloatArray, IntArray, StrArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays

# Of a bound that is a quotient.
NOISE = 1e-9
# Times its forward, and of it, that a future may trade at: a slip of a hundred lies beyond, a fall by 98 % does not.
FURTHEST = 50.0


def most_worth(arrays: RiskArrays, instrument_idx: IntArray) -> FloatArray:
    """(O,) the most that one unit of each contract can be worth, as venues quote it; inf for what is no option.

    instrument_idx  (O,) -> N

    Spot and forward are both taken for the underlying, whichever allows more, and no discount below 1, since an
    American option may be exercised today. inf as well where strike or price are not above 0, or not known.
    """
    row, terms = instrument_idx, arrays.terms
    expiry = arrays.expiry_idx[row]
    # One row more, for what has no expiry.
    forward, discount = (np.append(values, np.nan)[expiry] for values in (terms.forward, terms.discount))
    spot = np.append(terms.spot, np.nan)[np.append(terms.expiry_underlying, -1)[expiry]]
    strike, growth = terms.strike[row], np.maximum(discount, 1.0)
    low, high = np.minimum(spot, forward), np.maximum(spot, forward)
    bounded = (arrays.kind[row] == Kind.OPTION) & (low > 0.0) & (strike > 0.0)
    coin = np.where(terms.is_inverse[row] & bounded, low, 1.0)
    most = np.where(terms.sign[row] > 0.0, high, strike) * growth / coin
    return np.asarray(np.where(bounded, most, np.inf))


def furthest_of_future(arrays: RiskArrays, instrument_idx: IntArray) -> tuple[FloatArray, FloatArray]:
    """(O,) each: the lowest and highest price that a future or perpetual may trade at, a fiftieth of its forward and
    fifty times that; -inf and inf for options, and where no forward above 0 is known.

    instrument_idx  (O,) -> N
    """
    forward = np.append(arrays.terms.forward, np.nan)[arrays.expiry_idx[instrument_idx]]
    known = (arrays.kind[instrument_idx] != Kind.OPTION) & (forward > 0.0)
    return np.where(known, forward / FURTHEST, -np.inf), np.where(known, forward * FURTHEST, np.inf)


def price_remedies(arrays: RiskArrays, instrument_idx: IntArray, price: FloatArray) -> StrArray:
    """(O,) what the price of each order must be where nothing can trade at it, "" where it may stand.

    instrument_idx  (O,) -> N, contracts
    price           (O,) as `gain_at_limit` has it; NaN, which says nothing, may stand
    """
    option, inverse = arrays.kind[instrument_idx] == Kind.OPTION, arrays.terms.is_inverse[instrument_idx]
    remedy = np.full(len(price), "", dtype=object)
    remedy[option & (price < 0.0)] = "the price of an option is 0 or more"
    remedy[~option & inverse & (price <= 0.0)] = "the price of an inverse future is above 0"
    most = most_worth(arrays, instrument_idx)
    currency = arrays.terms.currency_id[arrays.terms.currency_idx[instrument_idx]]
    for o in np.flatnonzero(price > most * (1.0 + NOISE)).tolist():
        remedy[o] = f"the option is worth {most[o]:.8g} {currency[o]} a unit at most, by what it pays"
    low, high = furthest_of_future(arrays, instrument_idx)
    for o in np.flatnonzero((remedy == "") & ((price < low) | (price > high))).tolist():
        name = arrays.instrument_id[instrument_idx[o]]
        remedy[o] = (
            f"{name} may trade from {low[o]:.8g} to {high[o]:.8g}, a fiftieth and {FURTHEST:g} times its forward"
        )
    return remedy.astype(np.str_)
