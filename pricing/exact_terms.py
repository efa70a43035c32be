"""Implied vols of models in other variables, at the exact forward and strike: what rounding took from them put back.

`price` puts it back into the price; a vol found at the doubles alone would be off by all that it moves the price, which
shortly before expiry is thousands of roundings of the vol. Small deviations (small_deviations.LARGEST) are solved
for anew at the exact ln(F/K), on numpy for every backend.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pricing import displaced, small_deviations, spot
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import Status
from pricing.small_deviations import primitives
from pricing.variables import CHANGED_VARIABLES
from pricing.xp import error_free

FARTHEST_STEP = 1.0e-9  # of the vol; the square of a longer one would show
PASSES = 2  # each takes the error of a first derivative to its square
STEEPEST = 10.0
STEPS = 3  # before the last one; one is enough for all but absurd contracts
# Of the larger of forward and strike: nearer to an end of its range than this nobody knows on which side a price lies.
UNKNOWN = 2.0**-52


class Quotes(NamedTuple):
    """Flat columns, each (n,), in the order an inversion takes them."""

    price: FloatArray
    forward: FloatArray
    strike: FloatArray
    tau: FloatArray
    discount: FloatArray
    sign: FloatArray


Solved = tuple[FloatArray, "np.ndarray[tuple[int], np.dtype[np.int8]]"]
SOURCES: dict[str, ModuleType] = {"black_scholes_merton": spot, "displaced": displaced}


def at_exact_terms(
    model: str,
    given: Mapping[str, FloatArray],
    quotes: Quotes,
    solve: Callable[[Quotes], Solved],
    compiled: int,
    resolution: float,
) -> Solved:
    """vol and status at the exact forward and strike, found from those at their doubles.

    model     any; one that is not of CHANGED_VARIABLES has exact terms
    given     the arguments of the model by name, quotes those of its formula
    solve     vol and status of any quotes of the formula
    compiled  how many threads of the compiled loop, 0 for none of it
    resolution   as in `implied_vol`
    """
    if model not in CHANGED_VARIABLES:
        return solve(quotes)
    vol, status = solve(quotes)
    corrected = vol.copy()
    _correct(model, given, quotes, corrected, compiled)
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.abs(corrected - vol) <= FARTHEST_STEP * vol
        near &= (status == Status.OK) & ~_steep(model, given, quotes, vol)
        near &= vol * vol * quotes.tau > small_deviations.LARGEST**2
    if near.all():
        return corrected, status
    vol[near] = corrected[near]
    rows = np.flatnonzero(~near & (status != Status.NOT_FINITE) & (status != Status.EXPIRED))
    rows = rows[~_solved_small(model, given, quotes, rows, (vol, status), resolution)]
    if len(rows):
        vol[rows], status[rows] = _solved_again(model, given, quotes, rows, (vol[rows], status[rows]), solve)
    return vol, status


def _solved_small(
    model: str, given: Mapping[str, FloatArray], quotes: Quotes, rows: IntArray, found: Solved, resolution: float
) -> BoolArray:
    """Vol and status in place where the deviation is a small one, and (R,) which of the rows that are.

    The stages of the inversion of Black-76 on the value out of the money, at the exact ln(F/K).
    """
    inversion, xp = importlib.import_module("pricing.inversions.black76"), primitives()
    part = Quotes(*(column[rows] for column in quotes))
    with np.errstate(all="ignore"):
        near = small_deviations.is_near(part.forward, part.strike)
        rows, part = rows[near], Quotes(*(column[near] for column in part))
        x, _ = small_deviations.log_moneyness(model, {name: column[rows] for name, column in given.items()})
        forward, distance = small_deviations.sides(x, part.strike)
        outside = np.where(x > 0.0, -1.0, 1.0)
        time_value = part.price / part.discount - np.where(part.sign == outside, 0.0, distance)
        contract = (time_value, forward, part.strike, part.tau, np.ones(len(rows)), outside)
        _, _, value, rest = inversion.measured(xp, time_value, forward, part.strike, contract[4], outside)
        spread, scaled, x = distance / np.minimum(forward, part.strike), np.abs(value), np.abs(x)
        logarithm = np.log((spread + scaled) / scaled) + np.where(value < 0.0, inversion.LN_SCALE, 0.0)
        logarithm = np.where(spread < inversion.CLOSE * value, -1.0, logarithm)
        deviation = inversion.first_deviation(xp, logarithm, x, value, rest)
        for _ in range(STEPS):
            deviation = inversion.refined_deviation(xp, deviation, x, value, rest)
        # It is the spacing of doubles at the price that was given which says whether the vol is determined.
        limit = resolution * (np.spacing(time_value) / (np.spacing(part.price) / part.discount))
        vol, status = inversion.vol_and_status(xp, (deviation, x, value, rest), contract, limit)
        small = small_deviations.is_small(part.forward, part.strike, part.tau, vol)
    small &= (status == Status.OK) | (status == Status.NOT_DETERMINED)
    found[0][rows[small]] = np.where(status == Status.OK, vol, np.nan)[small]
    found[1][rows[small]] = status[small]
    taken = np.zeros(len(near), np.bool_)
    taken[near] = small
    return taken


def _steep(model: str, given: Mapping[str, FloatArray], quotes: Quotes, vol: FloatArray) -> BoolArray:
    """(n,) rows whose spot drifts so many deviations that the logarithm of a kernel does not tell what its forward
    lacks: its error is a rounding of a twelfth of the cube of the drift."""
    if model == "displaced":
        return np.zeros(len(vol), np.bool_)
    drift = (given["rate"] - given["dividend_yield"]) * quotes.tau
    return np.asarray(np.abs(drift * drift * drift) > STEEPEST * vol * np.sqrt(quotes.tau))


def _correct(model: str, given: Mapping[str, FloatArray], quotes: Quotes, vol: FloatArray, compiled: int) -> None:
    """Each vol in place, by what the first derivative tells; what is no vol stays anything."""
    names = ("forward", *({"displaced": ("strike", "displacement")}.get(model, ("rate", "dividend_yield"))))
    columns = (quotes.forward, quotes.strike, quotes.tau, quotes.sign, *(given[name] for name in names))
    if compiled:
        importlib.import_module("pricing.backends.transformed_numba").exact_vol(model, columns, vol, compiled)
        return
    inversion = importlib.import_module("pricing.inversions.black76")
    with np.errstate(all="ignore"):
        vol[...] = SOURCES[model].exact_vol_of(inversion)(primitives(), vol, *columns)


def _rests(model: str, given: Mapping[str, FloatArray], quotes: Quotes, rows: IntArray) -> tuple[FloatArray, ...]:
    """What the doubles of forward and strike lack."""
    first = given["forward"][rows]
    if model == "displaced":
        shift = given["displacement"][rows]
        return displaced.two_sum(first, shift)[1], displaced.two_sum(given["strike"][rows], shift)[1]
    forward = quotes.forward[rows]
    carry = given["rate"][rows], given["dividend_yield"][rows]
    with np.errstate(all="ignore"):
        share = spot.lacking_share(_Fine(primitives()), forward, first, *carry, quotes.tau[rows])
    return forward * share, np.zeros(len(rows))


class _Fine(NamedTuple):
    """The primitives of numpy that `spot.lacking_share` wants, the logarithm to 30 digits."""

    xp: Any

    def product_minus(self, a: FloatArray, b: FloatArray, c: FloatArray) -> FloatArray:
        """As that of numpy."""
        return np.asarray(self.xp.product_minus(a, b, c))

    def log_ratio_parts(self, numerator: FloatArray, denominator: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Finer than that of numpy."""
        return error_free.log_ratio_finely(numerator, denominator)


def _solved_again(
    model: str,
    given: Mapping[str, FloatArray],
    quotes: Quotes,
    rows: IntArray,
    found: Solved,
    solve: Callable[[Quotes], Solved],
) -> Solved:
    """vol and status of a few rows, from prices without what the rests of forward and strike are worth."""
    part = Quotes(*(column[rows] for column in quotes))
    forward_rest, strike_rest = _rests(model, given, quotes, rows)
    for _ in range(PASSES):
        delta, by_strike = _slopes(part, *found, (forward_rest, strike_rest))
        worth = part.discount * (delta * forward_rest + by_strike * strike_rest)
        price = part.price - worth
        found = solve(part._replace(price=price))
    vol, status = found
    intrinsic, maximum = _ends(part)
    beyond = np.maximum(part.discount * intrinsic - price, price - part.discount * maximum)
    near = beyond <= UNKNOWN * part.discount * np.maximum(part.forward, part.strike)
    outside = (status == Status.BELOW_INTRINSIC) | (status == Status.ABOVE_MAXIMUM)
    status[near & outside] = Status.NOT_DETERMINED
    return vol, status


def _ends(quotes: Quotes) -> tuple[FloatArray, FloatArray]:
    """Undiscounted, the smallest and the largest value over all vols."""
    intrinsic = np.maximum(quotes.sign * (quotes.forward - quotes.strike), 0.0)
    return intrinsic, np.where(quotes.sign > 0.0, quotes.forward, quotes.strike)


def _slopes(
    quotes: Quotes, vol: FloatArray, status: np.ndarray, rests: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Undiscounted dV/dF and dV/dK half of what rounding took further, so that products with it are right to third
    order; at the end of the price's range where there is no vol."""
    _, forward, strike, tau, discount, sign = quotes
    with np.errstate(all="ignore"):
        s = vol * np.sqrt(tau)
        xp = primitives()
        x = xp.log_ratio(forward, strike) + 0.5 * (rests[0] / forward - rests[1] / strike)
        d = x / s
        delta, by_strike = sign * xp.normal_cdf(sign * (d + 0.5 * s)), -sign * xp.normal_cdf(sign * (d - 0.5 * s))
        intrinsic, maximum = _ends(quotes)
        high = quotes.price / discount > 0.5 * (intrinsic + maximum)
    inside = np.where(intrinsic > 0.0, sign, 0.0)
    lost = status != Status.OK
    delta = np.where(lost, np.where(high, np.maximum(sign, 0.0), inside), delta)
    return delta, np.where(lost, np.where(high, np.maximum(-sign, 0.0), -inside), by_strike)
