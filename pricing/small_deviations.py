"""Models in other variables at small deviations, with ln(F/K) as a sum of two numbers instead of two rounded prices.

Out of the money a price moves by d / (vol sqrt(tau)) of itself for each part of itself by which F / K moves, d
deviations away: at a deviation of 1e-10 a rounding of the forward moves ten digits of the price. Here ln(F/K) comes
from the model's own arguments,

    displaced              ln(F + b) - ln(K + b), of sums with what rounding took from them,
    black_scholes_merton   ln(S/K) + (r - q) tau, by the exact product of two doubles and a logarithm to 1e-30,

and Black-76 is asked at a strike K and a forward K e^x that have it. On numpy for every backend: rows are few.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.models import black76
from pricing.variables import CHANGED_VARIABLES, Terms
from pricing.xp import error_free

LARGEST = 1.0e-4  # at which Greeks at the rounded forward and strike are right to 5e-12
SMALLEST_SQUARE = 1.0e-290  # of a deviation; at and below it Black-76 gives the value at expiry
NEAR = 0.05  # of the larger of forward and strike: farther from the money all is as at expiry
VALUE, GREEKS = 1, 9


def replaced(
    model: str, columns: Mapping[str, FloatArray], terms: Terms, results: tuple[Any, ...]
) -> tuple[FloatArray, ...]:
    """Value, or Greeks, by the variables of the formula: rows of a small deviation from the exact ln(F/K).

    model     any; one that is not of CHANGED_VARIABLES has nothing to replace
    columns   (n,) each, the arguments of the model by name; terms those of its formula
    results   (n,) each: the value, the nine of Black-76 or all fourteen
    """
    if model not in CHANGED_VARIABLES:
        return results
    rows = np.flatnonzero(is_small(terms.forward, terms.strike, terms.tau, terms.vol))
    if not len(rows):
        return results
    few = {name: column[rows] for name, column in columns.items()}
    part = Terms(*(column[rows] for column in terms.columns))
    found = results_at(log_moneyness(model, few), part, len(results))
    mended = tuple(np.array(result) for result in results)
    for result, values in zip(mended, found, strict=True):
        result[rows] = values
    return mended


def is_small(forward: FloatArray, strike: FloatArray, tau: FloatArray, vol: FloatArray) -> BoolArray:
    """(n,) rows that are taken here: a deviation up to LARGEST, and near the money."""
    with np.errstate(all="ignore"):  # of rows that are refused later
        square = vol * vol * tau
        small = np.asarray((square <= LARGEST * LARGEST) & (square > SMALLEST_SQUARE))
        return small & is_near(forward, strike) if small.any() else small


def is_near(forward: FloatArray, strike: FloatArray) -> BoolArray:
    """(n,) rows near the money."""
    low, high = np.minimum(forward, strike), np.maximum(forward, strike)
    return np.asarray((low > 0.0) & (high - low <= NEAR * high))


def log_moneyness(model: str, columns: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """ln(F/K) of the exact forward and strike as a sum of two, (n,) each; forward and strike above 0."""
    forward, strike = columns["forward"], columns["strike"]
    if model == "displaced":
        shifted, forward_rest = error_free.two_sum(forward, columns["displacement"])
        raised, strike_rest = error_free.two_sum(strike, columns["displacement"])
        return error_free.log_ratio_finely(shifted, raised, forward_rest, strike_rest)
    carry, carry_rest = error_free.two_sum(columns["rate"], -columns["dividend_yield"])
    growth = carry * columns["tau"]
    growth_rest = error_free.product_minus(np, carry, columns["tau"], growth) + carry_rest * columns["tau"]
    logarithm, logarithm_rest = error_free.log_ratio_finely(forward, strike)
    high, low = error_free.two_sum(logarithm, growth)
    return error_free.two_sum(high, low + (logarithm_rest + growth_rest))


def sides(x: FloatArray, strike: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A forward above the strike exactly where x is above 0, and the distance of the two."""
    distance = strike * np.expm1(x)
    forward = strike + distance
    return np.where((x > 0.0) & (forward <= strike), np.nextafter(strike, np.inf), forward), np.abs(distance)


def results_at(logarithm: tuple[FloatArray, FloatArray], terms: Terms, count: int) -> tuple[FloatArray, ...]:
    """The value, or Greeks, at a logarithm that is a sum of two: out of the money, and by parity in it.

    terms   of Black-76, (n,) each; the forward follows from strike and logarithm
    count   of the results: VALUE, GREEKS or all fourteen
    """
    x, x_rest = logarithm
    forward, distance = sides(x, terms.strike)
    outside = np.where(x > 0.0, -1.0, 1.0)
    columns = (forward, terms.strike, terms.tau, terms.vol, terms.discount, outside)
    xp = _with_logarithm(np.abs(x), np.where(x < 0.0, -x_rest, x_rest))
    sign = np.where(terms.sign == outside, 0.0, terms.sign)  # of what is in the money
    inside = terms.discount * np.abs(sign) * distance
    with np.errstate(all="ignore"):
        if count == VALUE:
            return (np.asarray(black76.value(xp, *columns) + inside),)
        formula = black76.greeks if count == GREEKS else black76.greeks_to_third_order
        price, delta, gamma, vega, theta, rho, vanna, volga, charm, *third = formula(xp, *columns)
        rate = np.where(terms.tau > black76.SOONEST, -np.log(terms.discount) / terms.tau, 0.0)
    delta_inside = terms.discount * sign
    rho = rho + delta_inside * terms.tau * terms.strike
    theta, charm = theta + rate * inside, charm + rate * delta_inside
    return (price + inside, delta + delta_inside, gamma, vega, theta, rho, vanna, volga, charm, *third)


def _with_logarithm(x: FloatArray, rest: FloatArray) -> Any:
    """The primitives of numpy, with a logarithm of the larger of forward and strike over the smaller that is known."""
    return SimpleNamespace(**{**vars(primitives()), "log_ratio_parts": lambda numerator, denominator: (x, rest)})


def primitives() -> ModuleType:
    """Those of numpy; what they need of scipy is loaded when it is first wanted."""
    return importlib.import_module("pricing.xp.numpy")
