"""Models that are a formula in other variables: what goes into the formula, and what its results are in theirs.

| model | formula | variables |
|---|---|---|
| inverse | black76 | the value in quote currency over the forward: pricing/inverse.py |
| displaced | black76 | forward and strike, both plus the displacement: pricing/displaced.py |
| black_scholes_merton | black76 | the forward and discount of a spot, a rate and a yield: pricing/spot.py |

Every other name is a file of pricing/models and takes the variables as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing import displaced, inverse, spot
from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from pricing.models import black76

EXTRA = {"displaced": ("displacement",), "black_scholes_merton": ("rate", "dividend_yield")}
FORMULA = {"inverse": "black76", "displaced": "black76", "black_scholes_merton": "black76"}
SPOT_MODELS = ("black_scholes_merton",)
SMALLEST_SPOT = 1e-138  # below it a forward may have been raised to the least that has a logarithm
# Models whose change of variables is compiled into a loop of their own.
CHANGED_VARIABLES = ("black_scholes_merton", "displaced")


class Terms(NamedTuple):
    """What a formula is called with, each (n,), and what rounding took from the forward and the strike, or None."""

    forward: FloatArray
    strike: FloatArray
    tau: FloatArray
    vol: FloatArray
    discount: FloatArray
    sign: FloatArray
    forward_rest: FloatArray | None = None
    strike_rest: FloatArray | None = None

    @property
    def columns(self) -> tuple[FloatArray, ...]:
        """The six columns in the order formulas take them."""
        return self[:6]


def formula_name(model: str) -> str:
    """The file of pricing/models, and of pricing/inversions, that a model is computed with."""
    return FORMULA.get(model, model)


def extra_arguments(model: str, given: Mapping[str, ArrayLike | None]) -> dict[str, ArrayLike]:
    """The arguments that the model takes beyond the usual, 0 where not given. ConfigError for another model's."""
    own = EXTRA.get(model, ())
    for name, value in given.items():
        if value is not None and name not in own:
            if model == "american" and name in EXTRA["black_scholes_merton"]:
                raise ConfigError(
                    f"{name} = {value!r}: the model 'american' is an option on a future; on a spot with rate and yield "
                    "american_price, american_greeks and american_implied_vol are for it"
                )
            owner = next(other for other, names in EXTRA.items() if name in names)
            raise ConfigError(f"{name} = {value!r}: belongs to the model {owner!r}, not to {model!r}")
    return {name: 0.0 if (value := given.get(name)) is None else value for name in own}


def formula_terms(model: str, columns: Mapping[str, FloatArray]) -> Terms:
    """The variables of the formula from those of the model, by name."""
    forward, strike = columns["forward"], columns["strike"]
    tau, vol, sign = columns["tau"], columns["vol"], columns["sign"]
    if model == "displaced":
        shifted, forward_rest = displaced.two_sum(forward, columns["displacement"])
        raised, strike_rest = displaced.two_sum(strike, columns["displacement"])
        return Terms(shifted, raised, tau, vol, columns["discount"], sign, forward_rest, strike_rest)
    if model == "black_scholes_merton":
        from pricing.xp import numpy as xp

        safe = np.where(forward > 0.0, forward, 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            at, share = spot.forward_of(xp, safe, columns["rate"], columns["dividend_yield"], tau)
            at = np.where(forward > 0.0, at, 0.0)
            return Terms(at, strike, tau, vol, spot.discount_of(xp, columns["rate"], tau), sign, at * share)
    return Terms(forward, strike, tau, vol, columns["discount"], sign)


def rounded_terms(model: str, columns: Mapping[str, FloatArray]) -> Terms:
    """`formula_terms` without what rounding took, for what is asked of a price that is given."""
    if model == "displaced":
        shift = columns["displacement"]
        shifted, raised = columns["forward"] + shift, columns["strike"] + shift
        return Terms(shifted, raised, columns["tau"], columns["vol"], columns["discount"], columns["sign"])
    if model == "black_scholes_merton":
        from pricing.xp import numpy as xp

        forward = columns["rate"] - columns["dividend_yield"]
        with np.errstate(over="ignore", invalid="ignore"):
            forward *= columns["tau"]
            np.exp(forward, out=forward)
            forward *= columns["forward"]
            discount = spot.discount_of(xp, columns["rate"], columns["tau"])
        return Terms(forward, columns["strike"], columns["tau"], columns["vol"], discount, columns["sign"])
    return formula_terms(model, columns)


def model_value(model: str, value: FloatArray, terms: Terms) -> FloatArray:
    """The value in the model's own unit."""
    return inverse.coin_value(value, terms.forward) if model == "inverse" else value


def exact_value(value: FloatArray, delta: FloatArray, terms: Terms) -> FloatArray:
    """The value at the exact forward and strike, from that at their doubles: right to second order in roundings."""
    with np.errstate(over="ignore", invalid="ignore"):  # of rows that are refused later
        if terms.forward_rest is not None:
            value = value + delta * terms.forward_rest
        if terms.strike_rest is not None:
            # Homogeneity: F V_F + K V_K = V.
            value = value + (value - terms.forward * delta) / terms.strike * terms.strike_rest
    return value


def model_greeks(
    model: str, greeks: dict[str, FloatArray], terms: Terms, columns: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Greeks by name in the model's own variables, from those of the formula."""
    if model == "inverse":
        return inverse.coin_greeks(greeks, terms.forward, terms.strike, terms.tau)
    if model == "displaced":
        # The rate moves the forward, not the displacement.
        return {**greeks, "rho": greeks["rho"] - terms.tau * columns["displacement"] * greeks["delta"]}
    if model == "black_scholes_merton":
        carry = columns["rate"] - columns["dividend_yield"]
        lasting = terms.tau > black76.SOONEST
        tau = np.where(lasting, terms.tau, 1.0)
        # What the discount no longer tells of the rate: all at expiry, before it a rounding over tau.
        rate = columns["rate"] + np.where(lasting, np.log(terms.discount) / tau, 0.0)
        # Charm without rate times delta, of which carry times delta would leave nothing but roundings.
        turning = greeks["vanna"] * terms.vol * np.where(lasting, -0.5 / tau, 0.0)
        greeks = {
            **greeks,
            "theta": greeks["theta"] + rate * greeks["price"],
            "charm": turning + columns["dividend_yield"] * greeks["delta"],
        }
        growth = np.exp(carry * terms.tau)
        # The quotient of what was computed with; of a spot that counts as 0 it says nothing.
        np.divide(terms.forward, columns["forward"], out=growth, where=columns["forward"] > SMALLEST_SPOT)
        return spot.spot_greeks(greeks, growth, terms.forward, terms.tau, carry)
    return greeks
