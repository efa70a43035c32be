"""implied_vol: the vol that a price implies, with a status where it implies none."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections import Counter
from types import ModuleType
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pricing import american_vol, inverse
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.columns import flat_columns, writable
from pricing.errors import PROBLEMS_SHOWN, ConfigError, DataError, NumericalError, Problem, Status
from pricing.exact_terms import Quotes as _Quotes
from pricing.exact_terms import at_exact_terms
from pricing.price import BACKENDS, check_no_discount, default_threads
from pricing.resolve import offered
from pricing.variables import FORMULA, SPOT_MODELS, extra_arguments, formula_name, rounded_terms

StatusArray = NDArray[np.int8]

ON_ERROR = ("nan", "raise", "clip")
RESOLUTION = 1.0e-10
AMERICAN = "american"
NO_VOL = ("linear",)
SOLVE_COST = 1_000  # of an American row, in European ones
FURTHER_STEPS = 8  # for rows that the usual two do not bring to an end
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


_Bounds = dict[str, tuple[float, float, str]]

BOUNDS: _Bounds = {
    "price": (-LARGEST, LARGEST, "must be a finite number"),
    "forward": (SMALLEST, LARGEST, "must be a finite number above 0"),
    "strike": (SMALLEST, LARGEST, "must be a finite number above 0"),
    "tau": (0.0, LARGEST, "must be finite years, 0 or more"),
    "discount": (SMALLEST, LARGEST, "must be a finite number above 0"),
    "sign": (-1.0, 1.0, "must be +1 (call) or -1 (put)"),
}
ANY_SIGN = (-LARGEST, LARGEST, "must be a finite number")
SIGNED_BOUNDS = {**BOUNDS, "forward": ANY_SIGN, "strike": ANY_SIGN}


class Options(TypedDict, total=False):
    """Further keyword arguments of `implied_vol`.

    backend         "numpy", "numba" or "jax"
    displacement    of the model "displaced", quote currency
    rate, dividend_yield   of the model "black_scholes_merton", continuously compounded, per year
    accuracy        of the model "american": "fast", "default" or "accurate"
    out             two arrays to write vol (float64) and status (int8) into
    """

    backend: str
    displacement: ArrayLike
    rate: ArrayLike
    dividend_yield: ArrayLike
    accuracy: str
    out: tuple[FloatArray, StatusArray]


def implied_vol(
    price: ArrayLike,
    forward: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    sign: ArrayLike,
    discount: ArrayLike = 1.0,
    *,
    model: str = "black76",
    on_error: str = "nan",
    resolution: float = RESOLUTION,
    **options: Unpack[Options],
) -> tuple[FloatArray, StatusArray]:
    """The vol at which the model gives `price`, and a `Status` for each element.

    price             value of one unit, quote currency; coin for model "inverse"
    forward, strike   quote currency per unit, above 0; of any sign for "bachelier"; for
                      "black_scholes_merton" the first is the spot
    tau               years to expiry, 0 or more
    sign              +1 call, -1 put
    discount          discount factor of the settlement currency, above 0
    model             a file of pricing/inversions, or "inverse", "displaced", "black_scholes_merton", "american" as
                      in pricing.price; for the last a vol is returned where the stated error of its accuracy moves it
                      by no more than 1e-4, whatever the resolution
    on_error          what to return where there is no vol. "nan": NaN. "raise": DataError or
                      NumericalError naming the elements. "clip": 0 at and below the intrinsic value,
                      inf at and above the maximum, NaN elsewhere; the status stays
    resolution        a vol is returned only where one rounding of the price (the spacing of doubles
                      there) moves it by no more than resolution * max(1, vol), for "bachelier" resolution * vol;
                      inf returns every root
    options           backend, displacement, rate, dividend_yield, accuracy, out, as in `Options`
                      (a price of "displaced" or "black_scholes_merton" one spacing below the intrinsic value is
                      NOT_DETERMINED, not BELOW_INTRINSIC: see pricing/README.md)

    Everything broadcasts; scalars, lists, numpy arrays and pandas series are accepted. Returns
    (vol, status), float64 per sqrt(year) and int8, of the broadcast shape; vol is NaN wherever status
    is not OK. Statuses: NOT_FINITE (an input is not finite or out of the bounds above, such as a tau below 0 or a
    sign of 0, which on_error="raise" names; beyond 1e150 counts as infinite, a forward, strike or discount below
    1e-150 as 0), EXPIRED (tau = 0), BELOW_INTRINSIC, ABOVE_MAXIMUM, NOT_DETERMINED (resolution; also a price exactly
    at either end of its range), NOT_CONVERGED (no market comes near it). With "nan" no value raises; shapes
    that do not broadcast do. Method and sources: pricing/inversions.
    """
    if on_error not in ON_ERROR:
        raise ConfigError(f"on_error = {on_error!r}: must be one of {', '.join(ON_ERROR)}")
    if not isinstance(resolution, (int, float, np.number)) or not resolution > 0:
        raise ConfigError(f"resolution = {resolution!r}: must be above 0")
    backend = options.pop("backend", "numba")
    solver = _load_solver(backend)
    inversion = load_inversion("black76" if model == AMERICAN else formula_name(model))
    out, accuracy = options.pop("out", None), _accuracy(model, options.pop("accuracy", None))
    quotes, shape, given = _quotes(model, (price, forward, strike, tau, sign, discount), options)
    target = None if out is None else _writable_pair(out, shape)
    bounds = SIGNED_BOUNDS if getattr(inversion, "SIGNED_PRICES", False) else BOUNDS
    if model == AMERICAN:
        vol, status = _american(solver, inversion, quotes, backend, accuracy)
    else:
        # The kernel of numba looks at the numbers itself, so that good input is read once.
        checked = model != "inverse" and backend == "numba"
        terms = (float(resolution),) if checked else (model == "inverse", float(resolution), bounds)
        solve = functools.partial(_inverted if checked else _solved, solver, inversion)
        threads = default_threads(quotes.price.size) if backend == "numba" else 0
        vol, status = at_exact_terms(model, given, quotes, lambda rows: solve(rows, *terms), threads, resolution)
    if on_error != "nan" and status.any():
        if on_error == "raise":
            raise _error(quotes, status, shape, bounds)
        _clip(vol, status, quotes, model, bounds is BOUNDS)
    if out is None or target is None:
        return vol.reshape(shape), status.reshape(shape)
    target[0][...], target[1][...] = vol.reshape(shape), status.reshape(shape)
    return out


def _solved(
    solver: ModuleType,
    inversion: ModuleType,
    quotes: _Quotes,
    in_coin: bool,
    resolution: float,
    bounds: _Bounds,
) -> tuple[FloatArray, StatusArray]:
    """vol and status of each row, with a row that can be solved in the place of one that cannot."""
    usable = _usable(quotes, bounds)
    alive = usable & (quotes.tau > 0.0)
    safe = quotes if alive.all() else _Quotes(*(np.where(alive, *pair) for pair in zip(quotes, SAFE_ROW, strict=True)))
    if in_coin:
        safe = safe._replace(price=_quote_currency(safe))
    vol, status = _inverted(solver, inversion, safe, resolution)
    status[~alive] = Status.EXPIRED
    status[~usable] = Status.NOT_FINITE
    vol[status != Status.OK] = np.nan
    return vol, status


def _inverted(
    solver: ModuleType, inversion: ModuleType, quotes: _Quotes, resolution: float
) -> tuple[FloatArray, StatusArray]:
    """vol and status of each row; with further steps where the usual ones do not come to an end.

    At strikes e^40 times the forward and the like the first value is further off than those reach.
    """
    vol, status, far = solver.implied_vol(inversion, quotes, resolution, default_threads(quotes.price.size))
    if len(far):
        rows = tuple(column[far] for column in quotes)
        solver = _load_solver("numpy") if getattr(solver, "COMPILES_FOR_A_SHAPE", False) else solver
        further, status[far], _ = solver.implied_vol(inversion, rows, resolution, steps=FURTHER_STEPS)
        vol[far] = np.where(status[far] == Status.OK, further, np.nan)
    return vol, status


def _accuracy(model: str, accuracy: str | None) -> str:
    """ConfigError for an accuracy that there is not, or of a model that has none."""
    if accuracy is not None and model != AMERICAN:
        raise ConfigError(f"accuracy = {accuracy!r}: belongs to the model {AMERICAN!r}, not to {model!r}")
    if accuracy is not None and accuracy not in american_vol.STATED:
        raise ConfigError(f"accuracy = {accuracy!r}: must be one of {', '.join(american_vol.STATED)}")
    return accuracy or "default"


def _american(
    solver: ModuleType, inversion: ModuleType, quotes: _Quotes, backend: str, accuracy: str
) -> tuple[FloatArray, StatusArray]:
    """vol and status of each row of American options on the forward."""
    vol, status = _solved(solver, inversion, quotes, False, np.inf, BOUNDS)
    row = np.flatnonzero((status != Status.EXPIRED) & (status != Status.NOT_FINITE))
    contracts = american_vol.Contracts(*(column[row] for column in quotes))
    threads = default_threads(SOLVE_COST * len(row))
    vol[row], status[row] = american_vol.solve(contracts, vol[row], backend, accuracy, threads)
    return vol, status


def load_inversion(name: str) -> ModuleType:
    """The inverse of a pricing model, `pricing/inversions/<name>.py`. ConfigError where there is none."""
    if (
        not isinstance(name, str)
        or not name.isidentifier()
        or importlib.util.find_spec(f"pricing.inversions.{name}") is None
    ):
        if name in NO_VOL:
            raise ConfigError(f"model = {name!r}: its price does not depend on vol, so no price implies one")
        raise ConfigError(f"model = {name!r}: {offered(name, 'pricing.inversions', (*FORMULA, AMERICAN))}")
    return importlib.import_module(f"pricing.inversions.{name}")


def _load_solver(backend: str) -> ModuleType:
    if backend not in BACKENDS:
        raise ConfigError(f"backend = {backend!r}: must be one of {', '.join(BACKENDS)}")
    return importlib.import_module(f"pricing.backends.implied_{backend}")


def _quotes(
    model: str, values: tuple[ArrayLike, ...], options: dict[str, Any] | Any
) -> tuple[_Quotes, tuple[int, ...], dict[str, FloatArray]]:
    """Flat columns in the variables of the formula, the broadcast shape, and flat columns as they were given."""
    unknown = sorted(set(options) - {"displacement", "rate", "dividend_yield"})
    if unknown:
        raise TypeError(f"implied_vol() got an unexpected keyword argument {unknown[0]!r}")
    given = dict(zip(("price", "forward", "strike", "tau", "sign", "discount"), values, strict=True))
    if model in SPOT_MODELS:
        check_no_discount("implied_vol", model, given)
    columns, shape = flat_columns("implied_vol", {**given, **extra_arguments(model, options)})
    with np.errstate(invalid="ignore", over="ignore"):  # a row that holds no usable number gets a status
        terms = rounded_terms(model, {**columns, "vol": columns["tau"]})
    quotes = _Quotes(columns["price"], terms.forward, terms.strike, terms.tau, terms.discount, terms.sign)
    return quotes, shape, columns


def _writable_pair(out: Any, shape: tuple[int, ...]) -> tuple[FloatArray, StatusArray]:
    if not isinstance(out, tuple) or len(out) != 2:
        remedy = "must be a tuple of two arrays, for vol and for status"
        raise DataError([Problem("implied_vol", None, "out", type(out).__name__, remedy)])
    vol = writable("implied_vol", "out[0]", out[0], shape, np.float64)
    return vol, writable("implied_vol", "out[1]", out[1], shape, np.int8)


def _usable(quotes: _Quotes, bounds: _Bounds) -> BoolArray:
    """(n,) whether every number of a row is finite and within its bounds."""
    usable = np.ones(quotes.price.shape, dtype=np.bool_)
    for name, column in quotes._asdict().items():
        if column.size and not _all_within(name, column, bounds):
            usable &= _within(name, column, bounds)
    return usable


def _all_within(name: str, column: FloatArray, bounds: _Bounds) -> bool:
    """Whether a whole column is fine, by its extremes: a NaN makes them NaN and the answer False."""
    low, high, _ = bounds[name]
    return name != "sign" and bool(low <= column.min()) and bool(column.max() <= high)


def _within(name: str, column: FloatArray, bounds: _Bounds) -> BoolArray:
    low, high, _ = bounds[name]
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


def _clip(vol: FloatArray, status: StatusArray, quotes: _Quotes, model: str, bounded: bool) -> None:
    """Set vol to 0 or inf in place where the price is at an end of its range, if it has two, or outside it."""
    at_end = np.isin(status, (Status.BELOW_INTRINSIC, Status.ABOVE_MAXIMUM, Status.NOT_DETERMINED))
    rows = np.flatnonzero(at_end)
    part = _Quotes(*(column[rows] for column in quotes))
    if model == "inverse":
        part = part._replace(price=_quote_currency(part))
    own = american_vol.ends(part.forward, part.strike, part.discount, part.sign)
    intrinsic, maximum = own if model == AMERICAN else _ends(part)
    vol[rows[part.price <= intrinsic]] = 0.0
    if bounded:
        vol[rows[part.price >= maximum]] = np.inf


def _error(quotes: _Quotes, status: StatusArray, shape: tuple[int, ...], bounds: _Bounds) -> DataError | NumericalError:
    """DataError for prices and inputs that cannot be right, otherwise NumericalError."""
    wrong = np.flatnonzero(np.isin(status, WRONG_INPUT))
    if wrong.size:
        return DataError(*_listed(quotes, wrong, status, shape, bounds))
    failed = np.flatnonzero(status != Status.OK)
    lines = [str(_problem(quotes, int(row), Status(status[row]), shape, bounds)) for row in failed[:PROBLEMS_SHOWN]]
    if failed.size > PROBLEMS_SHOWN:
        lines.append(f"... and {failed.size - PROBLEMS_SHOWN} more")
    return NumericalError("\n".join(lines))


def _listed(
    quotes: _Quotes, wrong: IntArray, status: StatusArray, shape: tuple[int, ...], bounds: _Bounds
) -> tuple[list[Problem], Counter[tuple[str, str]]]:
    """The first rows of each status, in the order of rows, and how many of each kind are not listed."""
    first: list[int] = []
    unlisted: Counter[tuple[str, str]] = Counter()
    for code in WRONG_INPUT:
        rows = wrong[status[wrong] == code]
        first += rows[:PROBLEMS_SHOWN].tolist()
        if len(rows) > PROBLEMS_SHOWN:
            last = _problem(quotes, int(rows[-1]), code, shape, bounds)
            unlisted[last.kind] += len(rows) - PROBLEMS_SHOWN
    return [_problem(quotes, row, Status(status[row]), shape, bounds) for row in sorted(first)], unlisted


def _problem(quotes: _Quotes, row: int, status: Status, shape: tuple[int, ...], bounds: _Bounds) -> Problem:
    index = tuple(int(i) for i in np.unravel_index(row, shape))
    where = None if not index else index[0] if len(index) == 1 else str(index)
    field, remedy = "price", REMEDY.get(status, "")
    if status == Status.EXPIRED:
        field = "tau"
    if status == Status.NOT_FINITE:
        columns = quotes._asdict()
        field = next(name for name, column in columns.items() if not _within(name, column[row : row + 1], bounds).all())
        remedy = bounds[field][2]
    return Problem("implied_vol", where, field, float(getattr(quotes, field)[row]), remedy)
