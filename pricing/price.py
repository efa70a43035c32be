"""price and greeks of arrays, by any pricing model on any backend."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from pricing import small_deviations
from pricing.arrays import FloatArray, IntArray
from pricing.bounds import check_model, is_coin, with_limits
from pricing.columns import direct, flat_columns, numbers, writable, writable_by_name
from pricing.errors import ConfigError
from pricing.greek_names import GREEK_NAMES, THIRD_ORDER, UNITS, trader_units, wanted_names
from pricing.resolve import is_solved, load_model
from pricing.variables import (
    CHANGED_VARIABLES,
    FORMULA,
    SPOT_MODELS,
    Terms,
    exact_value,
    extra_arguments,
    formula_name,
    formula_terms,
    model_greeks,
    model_value,
)

BACKENDS = ("numpy", "numba", "jax")
MANY_DEVICES = "jax"  # of which "jax:4" asks for four
PARALLEL_ROWS = 50_000


class Options(TypedDict, total=False):
    """Further keyword arguments of `greeks`.

    backend         "numpy", "numba" or "jax"
    displacement    of the model "displaced", quote currency
    rate, dividend_yield   of the model "black_scholes_merton", continuously compounded, per year
    accuracy        of the model "american": "fast", "default" or "accurate", see pricing.american
    only            names of the results that are wanted, see `greeks`
    out             arrays to write into, see `greeks`
    """

    backend: str
    displacement: ArrayLike
    rate: ArrayLike
    dividend_yield: ArrayLike
    accuracy: str
    only: Sequence[str]
    out: dict[str, FloatArray]


class PriceOptions(TypedDict, total=False):
    """Further keyword arguments of `price`: those of `Options`, with one array as `out`."""

    displacement: ArrayLike
    rate: ArrayLike
    dividend_yield: ArrayLike
    accuracy: str
    out: FloatArray


def load_backend(package: str, name: str) -> ModuleType:
    """The backend module `<package>.backends.<name>`; "jax:4" is that of jax, its kernels on four devices.

    ConfigError where the name is unknown, or asks for devices of a package whose kernels use one.
    """
    library, devices = library_of(name), name.partition(":")[2]
    module = importlib.import_module(f"{package}.backends.{library}")
    if devices and package == "pricing":
        raise ConfigError(f"backend = {name!r}: prices and Greeks use one device; give backend = {library!r}")
    return _on_devices(module, int(devices)) if devices else module


def library_of(backend: str) -> str:
    """The array library of a backend: "jax" of "jax:4". ConfigError for no backend, or devices of another library."""
    library, separator, devices = backend.partition(":") if isinstance(backend, str) else (backend, "", "")
    if library not in BACKENDS or (separator and library != MANY_DEVICES):
        raise ConfigError(f"backend = {backend!r}: must be one of {', '.join(BACKENDS)}")
    if separator and not (devices.isascii() and devices.isdigit() and int(devices) > 0):
        raise ConfigError(f"backend = {backend!r}: after the colon stands how many devices, as in 'jax:4'")
    return library


@functools.cache
def _on_devices(module: ModuleType, devices: int) -> ModuleType:
    """The kernels of a module, bound to so many devices."""
    bound = ModuleType(module.__name__, module.__doc__)
    for name, kernel in vars(module).items():
        if inspect.isfunction(kernel) and "devices" in inspect.signature(kernel).parameters:
            setattr(bound, name, functools.partial(kernel, devices=devices))
    return bound


def check_threads(threads: object) -> None:
    """ConfigError unless threads is None or a whole number above 0."""
    whole = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if threads is not None and not (whole and threads > 0):  # type: ignore[operator]
        raise ConfigError(f"threads = {threads!r}: must be a whole number above 0, or None")


# Value or Greeks, and how many rows were not within bounds, where a kernel counts them.
Results = tuple[tuple[Any, ...], int | None]


def default_threads(work: int, threshold: int = PARALLEL_ROWS) -> int:
    """Threads worth starting for `work` elements: small work stays on one."""
    return 1 if work < threshold else os.cpu_count() or 1


def price(
    forward: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    discount: ArrayLike = 1.0,
    *,
    model: str = "black76",
    backend: str = "numba",
    **options: Unpack[PriceOptions],
) -> FloatArray:
    """Value of one unit.

    forward, strike   quote currency per unit, 0 or more; of any sign for "bachelier"; for
                      "black_scholes_merton" the first is the spot
    tau               years to expiry, 0 or more; at 0 the value is intrinsic
    vol               per sqrt(year), decimal, 0 or more; for "bachelier" in price units
    sign              +1 call, -1 put
    discount          discount factor of the settlement currency, above 0
    model             "black76", "bachelier", "displaced" (Black-76 with `displacement` added to forward and
                      strike), "black_scholes_merton" (with `rate` and `dividend_yield`, from which the discount
                      follows), "inverse" (Black-76 settled in coin), or any file of pricing/models
    backend           "numpy", "numba" or "jax"
    options           displacement, rate, dividend_yield: 0 where not given, broadcast like the rest;
                      accuracy: of the model "american", "fast", "default" or "accurate";
                      out: a float64 array of the broadcast shape, which is filled and returned

    Everything broadcasts; scalars, lists, numpy arrays, pandas series (by place) are accepted. Returns float64
    of the broadcast shape, in quote currency, in coin for "inverse". Out of the money the relative error is
    below 1e-13 down to values of 1e-300. Raises DataError for inputs that are not finite or out of these bounds, and
    beyond sizes that doubles allow: forward, strike and displacement are at most 1e150, tau and vol at most 1e100,
    discount factors from 1e-50 to 1e50, the forward of "inverse" at least 1e-50 and strike / 1e100. A deviation
    vol sqrt(tau) up to 1e-145, in price units for "bachelier", is taken for 0. `greeks` may differ in the last
    digits: at order 3, for "bachelier" at every order. Limits of "black_scholes_merton": pricing/README.md.
    """
    out, accuracy = options.pop("out", None), options.pop("accuracy", None)
    columns, shape = _columns("price", model, (forward, strike, tau, vol, sign, discount), options)
    target = None if out is None else writable("price", "out", out, shape, np.float64)
    module, formula = load_backend("pricing", backend), load_model(formula_name(model), FORMULA)
    scheme = _scheme(model, formula, accuracy)
    checked = _checks_rows(backend, formula)

    def run(terms: Terms) -> Results:
        threads = default_threads(terms.forward.size)
        if terms.forward_rest is not None:
            value, delta, *_ = module.greeks(formula, terms.columns, threads)
            return (exact_value(value, delta, terms),), None
        straight = target is not None and model != "inverse" and direct(target, terms.columns)
        into_target = (target.reshape(-1),) if straight and target is not None else ()
        if checked:
            unfit: list[int] = []
            return (module.value(formula, terms.columns, threads, *into_target, unfit=unfit),), sum(unfit)
        return (module.value(formula, terms.columns, threads, *into_target, **scheme),), None

    if backend == "numba" and model in CHANGED_VARIABLES:
        own = target if target is not None and direct(target, tuple(columns.values())) else np.empty(shape)
        rows = _usual_rows(model, columns, (own.reshape(-1),))
        if len(rows):
            few = {name: column[rows] for name, column in columns.items()}
            own.reshape(-1)[rows] = _evaluate("price", model, few, run, checks_rows=True, at=rows)[0][0]
        result = own
    else:
        (value,), terms = _evaluate("price", model, columns, run, checks_rows=checked)
        result = model_value(model, value, terms).reshape(shape)
    if target is None:
        return result
    if not np.may_share_memory(result, target):
        target[...] = result
    return target


def greeks(
    forward: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    discount: ArrayLike = 1.0,
    *,
    model: str = "black76",
    order: int = 2,
    units: str = "raw",
    **options: Unpack[Options],
) -> dict[str, FloatArray]:
    """Closed-form Greeks of one unit by name, arguments as in `price`.

    order 1: price, delta, vega, theta, rho; order 2: also gamma, vanna, volga, charm; order 3: also veta
    (d vega/dt), speed (d gamma/dF), zomma (d gamma/dvol), color (d gamma/dt), ultima (d volga/dvol).
    Derivatives are with respect to the forward, at a constant forward as time passes; rho moves the
    forward with the rate. For "black_scholes_merton" they are with respect to the spot, at a constant spot, and
    `dividend_rho` is added. Model "inverse" gives every Greek in coin, with respect to the forward, and
    `delta_pa`, the premium-adjusted delta in coins of forward.
    units "raw": per 1.00 of price, vol and rate, per year. "trader": vega, vanna, zomma and veta per vol point,
    volga per vol point squared, ultima cubed, theta, charm, color and veta per day, rho per 1 %, and theta never
    below minus the value within the last day (an option cannot lose more than it is worth).
    options as in `price`, and backend; `only` names those that are wanted, and the result has them in its order; the
    others are left out, which on numba spares their memory. `out` is a dict with one float64 array of the broadcast
    shape for every name of the result, which are filled and returned. At tau = 0 or vol = 0 Greeks take their limits,
    see pricing/models; none is ever NaN. One beyond the largest double is infinite, and NaN if made of several such,
    for a forward or deviation below 1e-100. Limits of "black_scholes_merton", "displaced": pricing/README.md.
    """
    _check_form(order, units)
    out, only = options.pop("out", None), options.pop("only", None)
    backend, accuracy = options.pop("backend", "numba"), options.pop("accuracy", None)
    columns, shape = _columns("greeks", model, (forward, strike, tau, vol, sign, discount), options)
    module, formula = load_backend("pricing", backend), load_model(formula_name(model), FORMULA)
    wanted, scheme = wanted_names(model, order, only), _scheme(model, formula, accuracy)
    names = (*GREEK_NAMES, *THIRD_ORDER) if order == 3 else GREEK_NAMES
    if out is not None:
        writable_by_name("greeks", out, wanted, shape)
    straight = backend == "numba" and formula_name(model) == model and (order < 3 or only is None)
    room = out if units == "raw" else None
    if room is None and only is not None:
        room = {name: np.empty(shape) for name in wanted}
    targets = None if room is None or not straight else _targets(names, room, columns)
    checked = _checks_rows(backend, formula)

    def run(terms: Terms) -> Results:
        threads, given = default_threads(terms.forward.size), () if targets is None else (targets,)
        unfit: list[int] = []
        counted = {"unfit": unfit} if checked else scheme
        rows = module.greeks(formula, terms.columns, threads, order == 3, *given, **counted)
        results = rows if targets is not None else (exact_value(rows[0], rows[1], terms), *rows[1:])
        return results, sum(unfit) if checked else None

    def evaluated(given: dict[str, FloatArray], checks_rows: bool, at: IntArray | None = None) -> dict[str, FloatArray]:
        rows, terms = _evaluate("greeks", model, given, run, checks_rows, at)
        found = {name: row for name, row in zip(names, rows, strict=True) if row is not None}
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return model_greeks(model, found, terms, given)

    if backend == "numba" and model in CHANGED_VARIABLES and order < 3:
        named = _mostly_usual_greeks(model, columns, evaluated)
    else:
        named = evaluated(columns, checked)
    if out is not None and targets is not None and units == "raw":
        return out
    if units == "trader":
        named = trader_units(named, columns["tau"], in_place=True)
    result = {name: named[name].reshape(shape) for name in wanted}
    return result if out is None else _copied(result, out)


def _scheme(model: str, formula: ModuleType, accuracy: str | None) -> dict[str, str]:
    """The accuracy as an argument of a backend. ConfigError for a model that has none."""
    if accuracy is not None and not is_solved(formula):
        raise ConfigError(f"accuracy = {accuracy!r}: belongs to the model 'american', not to {model!r}")
    return {} if accuracy is None else {"accuracy": accuracy}


def _check_form(order: int, units: str) -> None:
    if order not in (1, 2, 3):
        raise ConfigError(f"order = {order!r}: must be 1, 2 or 3")
    if units not in UNITS:
        raise ConfigError(f"units = {units!r}: must be raw or trader")


def _targets(
    names: tuple[str, ...], out: dict[str, FloatArray], columns: dict[str, FloatArray]
) -> tuple[FloatArray | None, ...] | None:
    """Flat arrays for a kernel to write its results into, None for one that is not in `out`; the price always has one.

    None for all where results must be copied into what is in `out`.
    """
    if not all(direct(target, tuple(columns.values())) for target in out.values()):
        return None
    flat = {name: target.reshape(-1) for name, target in out.items()}
    if "price" not in flat:
        flat["price"] = np.empty(columns["tau"].size)
    return tuple(flat.get(name) for name in names)


def _copied(result: dict[str, FloatArray], out: dict[str, FloatArray]) -> dict[str, FloatArray]:
    for name, target in out.items():
        target[...] = result[name]
    return out


def _usual_rows(model: str, columns: dict[str, FloatArray], out: tuple[FloatArray, ...]) -> IntArray:
    """Value, or nine Greeks, of usual rows into `out`; the rows that are not usual ones."""
    module = importlib.import_module("pricing.backends.transformed_numba")
    if not module.usual_rows(model, columns, out, default_threads(out[0].size)):
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.isnan(out[0]))


def _mostly_usual_greeks(
    model: str, columns: dict[str, FloatArray], evaluated: Callable[..., dict[str, FloatArray]]
) -> dict[str, FloatArray]:
    """Greeks by name: usual rows by a loop of the model's own, the others by its formula."""
    named = {name: np.empty(columns["tau"].size) for name in GREEK_NAMES}
    rows = _usual_rows(model, columns, tuple(named.values()))
    if model in SPOT_MODELS:
        named["dividend_rho"] = columns["forward"] * named["delta"]
        named["dividend_rho"] *= columns["tau"]
        np.negative(named["dividend_rho"], out=named["dividend_rho"])
    if len(rows):
        for name, values in evaluated({name: column[rows] for name, column in columns.items()}, True, rows).items():
            named[name][rows] = values
    return named


def _columns(
    function: str, model: str, values: tuple[ArrayLike, ...], options: Mapping[str, Any]
) -> tuple[dict[str, FloatArray], tuple[int, ...]]:
    """The arguments by name, flat and of one length."""
    unknown = sorted(set(options) - {"displacement", "rate", "dividend_yield"})
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}")
    given = dict(zip(("forward", "strike", "tau", "vol", "sign", "discount"), values, strict=True))
    if model in SPOT_MODELS:
        check_no_discount(function, model, given)
    return flat_columns(function, {**given, **extra_arguments(model, options)})


def check_no_discount(function: str, model: str, given: dict[str, ArrayLike]) -> None:
    """Take the discount out of the arguments, which must be 1. ConfigError for another one."""
    if (numbers(function, "discount", given["discount"]) != 1.0).any():
        raise ConfigError(f"discount: {model!r} takes the rate and derives the discount from it")
    if np.ndim(given["discount"]) == 0:  # one of several rows still tells the shape
        del given["discount"]


def _checks_rows(backend: str, formula: ModuleType) -> bool:
    return backend == "numba" and not is_solved(formula)


def _evaluate(
    function: str,
    model: str,
    columns: dict[str, FloatArray],
    run: Callable[[Terms], Results],
    checks_rows: bool,
    at: IntArray | None = None,
) -> tuple[tuple[FloatArray, ...], Terms]:
    """Results for rows that are within bounds; `at` says where they stand in what the caller gave.

    A kernel that checks its rows gives NaN as the value of one that it should not have been asked for and tells how
    many there are; only then are the columns looked through, so that good input is read once.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of rows that are refused below
        terms = formula_terms(model, columns)
    if checks_rows and (model != "inverse" or is_coin(columns)):
        results, unfit = run(terms)
        if unfit == 0 or (unfit is None and not np.isnan(results[0]).any()):
            return small_deviations.replaced(model, columns, terms, results), terms
    signed = getattr(load_model(formula_name(model)), "SIGNED_PRICES", False)
    check_model(function, model, columns, terms, signed, at)
    if not signed:
        forward, strike, vol = with_limits(terms.forward, terms.strike, terms.vol)
        terms = terms._replace(forward=forward, strike=strike, vol=vol)
    return small_deviations.replaced(model, columns, terms, run(terms)[0]), terms
