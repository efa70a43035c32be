"""What prices can be asked of: the bounds of every argument, and rows that are worth their intrinsic value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.columns import Bound, check_rows
from pricing.variables import SPOT_MODELS, Terms

# Of a forward or a strike, and of one over the other; below it the option is worth its intrinsic value.
SMALLEST_PRICE = 1e-300
SMALLEST_RATIO = 1e-290
AT_LEAST_0 = "must be a finite number, 0 or more"
WORTHLESS_COIN = "must be above 0: what is paid in a coin worth nothing has no value in it"
REACHED = "leaves no forward or discount factor above 0 and finite at expiry"


def check_bounds(
    function: str, named: Mapping[str, FloatArray], signed: bool = False, at: IntArray | None = None
) -> None:
    """DataError naming rows out of the bounds that `price` states; signed prices may be below 0."""
    check_rows(function, named, {name: _bound(name, column, signed) for name, column in named.items()}, at)


def check_model(
    function: str,
    model: str,
    columns: Mapping[str, FloatArray],
    terms: Terms,
    signed: bool = False,
    at: IntArray | None = None,
) -> None:
    """DataError naming rows out of bounds, in the model's own arguments and in what its formula gets from them."""
    bounds = {name: _bound(name, column, signed) for name, column in columns.items()}
    if model == "displaced":
        for name, total in (("forward", terms.forward), ("strike", terms.strike)):
            bounds[name] = (total >= 0, lambda row: _with_displacement(float(columns["displacement"][row])))
    if model == "inverse":
        least = np.maximum(SMALLEST_PRICE, 10.0 * SMALLEST_RATIO * columns["strike"])
        bounds["forward"] = (columns["forward"] >= least, WORTHLESS_COIN)
    check_rows(function, columns, bounds, at)
    if model in SPOT_MODELS:
        check_carry(function, columns, terms.forward, terms.discount, at)


def check_carry(
    function: str,
    columns: Mapping[str, FloatArray],
    forward: FloatArray,
    discount: FloatArray,
    at: IntArray | None = None,
) -> None:
    """DataError naming rows whose rate or yield leads beyond all numbers; a forward of 0 is one of a spot of 0."""
    reached = np.isfinite(forward) & np.isfinite(discount) & (discount > 0)
    check_rows(function, columns, {"rate": (reached, REACHED)}, at)


def with_limits(forward: FloatArray, strike: FloatArray, vol: FloatArray) -> tuple[FloatArray, ...]:
    """forward (or spot), strike and vol, with no vol where the first two are 0 or too far apart for a logarithm."""
    low, high = np.minimum(forward, strike), np.maximum(forward, strike)
    worthless = (low < SMALLEST_PRICE) | (low < SMALLEST_RATIO * high)
    if not worthless.any():
        return forward, strike, vol
    least = np.where(worthless, np.maximum(SMALLEST_PRICE, 10.0 * SMALLEST_RATIO * high), 0.0)
    return np.maximum(forward, least), np.maximum(strike, least), np.where(worthless, 0.0, vol)


def _bound(name: str, column: FloatArray, signed: bool) -> Bound:
    finite: tuple[BoolArray | bool, str] = (True, "must be a finite number")
    if name in ("forward", "spot", "strike"):
        return finite if signed else (column >= 0, AT_LEAST_0)
    if name == "sign":
        return (np.abs(column) == 1, "must be +1 (call) or -1 (put)")
    texts = {"tau": "must be finite years, 0 or more", "vol": "must be a finite decimal vol, 0 or more"}
    if name in texts:
        return (column >= 0, texts[name])
    return (column > 0, "must be a finite number above 0") if name == "discount" else finite


def _with_displacement(displacement: float) -> str:
    return f"must be a finite number, 0 or more together with displacement = {displacement!r}"
