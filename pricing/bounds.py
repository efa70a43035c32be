"""What prices can be asked of: the bounds of every argument, and rows that are worth their intrinsic value."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.columns import Bound, check_rows
from pricing.variables import SPOT_MODELS, Terms

# Of a forward or a strike, and of one over the other; below it the option is worth its intrinsic value.
SMALLEST_PRICE = 1e-300
SMALLEST_RATIO = 1e-290
# Beyond these a product inside a formula could overflow, and a price be wrong without a word.
LARGEST_PRICE = 1e150
DISCOUNTS = (1e-50, 1e50)
LARGEST_TERM = 1e100  # of tau and of vol
# Of the forward of an option paid in coin, and of strike over forward: its speed has the fourth power of them.
SMALLEST_COIN = 1e-50
LARGEST_IN_COIN = 1e100
AT_LEAST_0 = "must be a finite number, 0 or more"
WORTHLESS_COIN = "must be at least 1e-50 and strike / 1e100: what is paid in a coin worth nothing has no value in it"
REACHED = "leaves no forward or discount factor above 0, of a size that is priced, at expiry"


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
            good: BoolArray = (total >= 0) & (total <= LARGEST_PRICE) & (np.abs(columns[name]) <= LARGEST_PRICE)
            bounds[name] = (good, lambda row: _with_displacement(float(columns["displacement"][row])))
    if model == "inverse":
        usual, remedy = bounds["forward"]
        bounds["forward"] = (usual & ~_worthless_coin(columns), lambda row: _of_coin(columns, row, remedy))
    check_rows(function, columns, bounds, at)
    if model in SPOT_MODELS:
        check_carry(function, columns, terms.forward, terms.discount, at)


def is_coin(columns: Mapping[str, FloatArray]) -> bool:
    """Whether every forward is that of a coin worth something, by the extremes of the columns; False for any NaN."""
    forward, strike = columns["forward"], columns["strike"]
    if forward.size == 0:
        return True
    least = forward.min()
    return bool(least >= SMALLEST_COIN) and bool(strike.max() <= LARGEST_IN_COIN * least)


def _worthless_coin(columns: Mapping[str, FloatArray]) -> BoolArray:
    least: FloatArray = np.maximum(SMALLEST_COIN, columns["strike"] / LARGEST_IN_COIN)
    return np.asarray(columns["forward"] < least)


def _of_coin(columns: Mapping[str, FloatArray], row: int, remedy: str | Callable[[int], str]) -> str:
    if 0.0 <= columns["forward"][row] <= LARGEST_PRICE:
        return WORTHLESS_COIN
    return remedy if isinstance(remedy, str) else remedy(row)


def check_carry(
    function: str,
    columns: Mapping[str, FloatArray],
    forward: FloatArray,
    discount: FloatArray,
    at: IntArray | None = None,
) -> None:
    """DataError naming rows whose rate or yield leads beyond all numbers; a forward of 0 is one of a spot of 0."""
    reached = (forward <= LARGEST_PRICE) & (discount >= DISCOUNTS[0]) & (discount <= DISCOUNTS[1])
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
    if name in ("forward", "spot", "strike", "displacement"):
        of_any_sign = signed or name == "displacement"
        least = -LARGEST_PRICE if of_any_sign else 0.0
        return _between(column, least, LARGEST_PRICE, "must be a finite number" if of_any_sign else AT_LEAST_0)
    if name == "sign":
        return (np.abs(column) == 1, "must be +1 (call) or -1 (put)")
    texts = {"tau": "must be finite years, 0 or more", "vol": "must be a finite decimal vol, 0 or more"}
    if name in texts:
        return _between(column, 0.0, LARGEST_TERM, texts[name])
    if name == "discount":
        return _between(column, *DISCOUNTS, "must be a finite number above 0")
    return (True, "must be a finite number")


def _between(column: FloatArray, least: float, most: float, text: str) -> Bound:
    """Whether each is from `least` to `most`; the text says what is meant, but where a number is too large or small."""

    def remedy(row: int) -> str:
        at = float(column[row])
        if np.isfinite(at) and np.abs(at) > most and (at > 0.0 or least < 0.0):
            return f"must be at most {most:g}" + (" in size" if least < 0.0 else "")
        return f"must be at least {least:g}" if 0.0 < at < least else text

    return ((column >= least) & (column <= most), remedy)


def _with_displacement(displacement: float) -> str:
    return f"must be a finite number, 0 or more together with displacement = {displacement!r}"
