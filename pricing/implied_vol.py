"""implied_vol: the vol that a price implies, with a status where it implies none."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pricing import inverse
from pricing.arrays import BoolArray, FloatArray
from pricing.errors import PROBLEMS_SHOWN, ConfigError, DataError, NumericalError, Problem, Status
from pricing.price import BACKENDS, default_threads

StatusArray = NDArray[np.int8]

ON_ERROR = ("nan", "raise", "clip")
RESOLUTION = 1.0e-10
# Magnitudes beyond which products inside the kernel could overflow or vanish.
LARGEST, SMALLEST = 1.0e150, 1.0e-150
SAFE_ROW = (0.4, 1.0, 1.0, 1.0, 1.0, 1.0)  # solved in the place of a row that holds no usable numbers

REMEDY = {
    Status.BELOW_INTRINSIC: "below the intrinsic value, so no vol gives it",
    Status.ABOVE_MAXIMUM: "above what the option can be worth at any vol",
    Status.NOT_CONVERGED: "the iteration did not reach a vol",
    Status.EXPIRED: "tau is 0: the price no longer depends on vol",
    Status.NOT_DETERMINED: "one rounding of the price moves vol too far: it is too close to an end of its range",
}
WRONG_INPUT = (Status.NOT_FINITE, Status.EXPIRED, Status.BELOW_INTRINSIC, Status.ABOVE_MAXIMUM)


class _Quotes(NamedTuple):
    """Broadcast flat columns, each (n,), in the order the formula takes them."""

    price: FloatArray
    forward: FloatArray
    strike: FloatArray
    tau: FloatArray
    discount: FloatArray
    sign: FloatArray


BOUNDS = {
    "price": (-LARGEST, LARGEST, "must be a finite number"),
    "forward": (SMALLEST, LARGEST, "must be a finite number above 0"),
    "strike": (SMALLEST, LARGEST, "must be a finite number above 0"),
    "tau": (0.0, LARGEST, "must be finite years, 0 or more"),
    "discount": (SMALLEST, LARGEST, "must be a finite number above 0"),
    "sign": (-1.0, 1.0, "must be +1 (call) or -1 (put)"),
}


def implied_vol(
    price: ArrayLike,
    forward: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    sign: ArrayLike,
    discount: ArrayLike = 1.0,
    *,
    model: str = "black76",
    backend: str = "numba",
    on_error: str = "nan",
    resolution: float = RESOLUTION,
) -> tuple[FloatArray, StatusArray]:
    """The vol at which the model gives `price`, and a `Status` for each element.

    price             value of one unit, quote currency; coin for model "inverse"
    forward, strike   quote currency per unit, above 0
    tau               years to expiry, 0 or more
    sign              +1 call, -1 put
    discount          discount factor of the settlement currency, above 0
    model             a file of pricing/inversions, or "inverse" for Black-76 settled in coin
    backend           "numpy", "numba" or "jax"
    on_error          what to return where there is no vol. "nan": NaN. "raise": DataError or
                      NumericalError naming the elements. "clip": 0 at and below the intrinsic value,
                      inf at and above the maximum, NaN elsewhere; the status stays
    resolution        a vol is returned only where one rounding of the price (the spacing of doubles
                      there) moves it by no more than resolution * max(1, vol); inf returns every root

    Everything broadcasts; scalars, lists, numpy arrays and pandas series are accepted. Returns
    (vol, status), float64 per sqrt(year) and int8, of the broadcast shape; vol is NaN wherever status
    is not OK. Statuses: NOT_FINITE (an input is not finite or out of the bounds above; beyond 1e150
    counts as infinite, a forward, strike or discount below 1e-150 as 0), EXPIRED (tau = 0),
    BELOW_INTRINSIC, ABOVE_MAXIMUM, NOT_DETERMINED (resolution; also a price exactly at either end of
    its range), NOT_CONVERGED (no market comes near it). With "nan" no value raises; shapes
    that do not broadcast do. Method and sources: pricing/inversions/black76.py.
    """
    if on_error not in ON_ERROR:
        raise ConfigError(f"on_error = {on_error!r}: must be one of {', '.join(ON_ERROR)}")
    if not resolution > 0:
        raise ConfigError(f"resolution = {resolution!r}: must be above 0")
    solver = _load_solver(backend)
    inversion = load_inversion("black76" if model == "inverse" else model)
    quotes, shape = _broadcast(price, forward, strike, tau, sign, discount)
    usable = _usable(quotes)
    alive = usable & (quotes.tau > 0.0)
    safe = quotes if alive.all() else _Quotes(*(np.where(alive, *pair) for pair in zip(quotes, SAFE_ROW, strict=True)))
    if model == "inverse":
        safe = safe._replace(price=_quote_currency(safe))
    vol, status = solver.implied_vol(inversion, tuple(safe), float(resolution), default_threads(usable.size))
    status[~alive] = Status.EXPIRED
    status[~usable] = Status.NOT_FINITE
    failed = status != Status.OK
    vol[failed] = np.nan
    if on_error == "raise" and failed.any():
        raise _error(quotes, status, shape)
    if on_error == "clip":
        _clip(vol, status, safe)
    return vol.reshape(shape), status.reshape(shape)


def load_inversion(name: str) -> ModuleType:
    """The inverse of a pricing model, `pricing/inversions/<name>.py`. ConfigError where there is none."""
    if not name.isidentifier() or importlib.util.find_spec(f"pricing.inversions.{name}") is None:
        raise ConfigError(f"no inversion for the model {name!r}: an inversion is a file in pricing/inversions")
    return importlib.import_module(f"pricing.inversions.{name}")


def _load_solver(backend: str) -> ModuleType:
    if backend not in BACKENDS:
        raise ConfigError(f"backend = {backend!r}: must be one of {', '.join(BACKENDS)}")
    return importlib.import_module(f"pricing.backends.implied_{backend}")


def _broadcast(
    price: ArrayLike, forward: ArrayLike, strike: ArrayLike, tau: ArrayLike, sign: ArrayLike, discount: ArrayLike
) -> tuple[_Quotes, tuple[int, ...]]:
    values = _Quotes(*(np.asarray(value, dtype=np.float64) for value in (price, forward, strike, tau, discount, sign)))
    try:
        shape = np.broadcast_shapes(*(array.shape for array in values))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in values._asdict().items())
        raise DataError([Problem("implied_vol", None, "shapes", shapes, "these do not broadcast")]) from None
    return _Quotes(*(np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1) for array in values)), shape


def _usable(quotes: _Quotes) -> BoolArray:
    """(n,) whether every number of a row is finite and within its bounds."""
    usable = np.ones(quotes.price.shape, dtype=np.bool_)
    for name, column in quotes._asdict().items():
        if column.size and not _all_within(name, column):
            usable &= _within(name, column)
    return usable


def _all_within(name: str, column: FloatArray) -> bool:
    """Whether a whole column is fine, by its extremes: a NaN makes them NaN and the answer False."""
    low, high, _ = BOUNDS[name]
    return name != "sign" and bool(low <= column.min()) and bool(column.max() <= high)


def _within(name: str, column: FloatArray) -> BoolArray:
    low, high, _ = BOUNDS[name]
    if name == "sign":
        return np.abs(column) == high
    return (column >= low) & (column <= high)


def _ends(quotes: _Quotes) -> tuple[FloatArray, FloatArray]:
    """(n,) the smallest and the largest value of the option over all vols, quote currency."""
    intrinsic = quotes.discount * np.maximum(quotes.sign * (quotes.forward - quotes.strike), 0.0)
    return intrinsic, quotes.discount * np.where(quotes.sign > 0.0, quotes.forward, quotes.strike)


def _quote_currency(quotes: _Quotes) -> FloatArray:
    """Prices in coin as prices in quote currency; an end of the range stays exactly that end."""
    price: FloatArray = quotes.price * quotes.forward
    for end in _ends(quotes):
        price = np.where(quotes.price == inverse.coin_value(end, quotes.forward), end, price)
    return price


def _clip(vol: FloatArray, status: StatusArray, quotes: _Quotes) -> None:
    """Set vol to 0 or inf in place where the price is at an end of its range or outside it."""
    at_end = np.isin(status, (Status.BELOW_INTRINSIC, Status.ABOVE_MAXIMUM, Status.NOT_DETERMINED))
    rows = np.flatnonzero(at_end)
    part = _Quotes(*(column[rows] for column in quotes))
    intrinsic, maximum = _ends(part)
    vol[rows[part.price <= intrinsic]] = 0.0
    vol[rows[part.price >= maximum]] = np.inf


def _error(quotes: _Quotes, status: StatusArray, shape: tuple[int, ...]) -> DataError | NumericalError:
    """DataError for prices and inputs that cannot be right, otherwise NumericalError."""
    wrong = np.flatnonzero(np.isin(status, WRONG_INPUT))
    if wrong.size:
        return DataError([_problem(quotes, int(row), Status(status[row]), shape) for row in wrong])
    failed = np.flatnonzero(status != Status.OK)
    lines = [str(_problem(quotes, int(row), Status(status[row]), shape)) for row in failed[:PROBLEMS_SHOWN]]
    if failed.size > PROBLEMS_SHOWN:
        lines.append(f"... and {failed.size - PROBLEMS_SHOWN} more")
    return NumericalError("\n".join(lines))


def _problem(quotes: _Quotes, row: int, status: Status, shape: tuple[int, ...]) -> Problem:
    index = tuple(int(i) for i in np.unravel_index(row, shape))
    where = None if not index else index[0] if len(index) == 1 else str(index)
    field, remedy = "price", REMEDY.get(status, "")
    if status == Status.EXPIRED:
        field = "tau"
    if status == Status.NOT_FINITE:
        columns = quotes._asdict()
        field = next(name for name, column in columns.items() if not _within(name, column[row : row + 1]).all())
        remedy = BOUNDS[field][2]
    return Problem("implied_vol", where, field, float(getattr(quotes, field)[row]), remedy)
