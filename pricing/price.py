"""price and greeks of arrays, by any pricing model on any backend."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pricing import inverse
from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.resolve import load_model

BACKENDS = ("numpy", "numba", "jax")
GREEK_NAMES = ("price", "delta", "gamma", "vega", "theta", "rho", "vanna", "volga", "charm")
FIRST_ORDER = ("price", "delta", "vega", "theta", "rho")
COLUMNS = ("forward", "strike", "tau", "vol", "sign", "discount")

# Divisors from raw to trader units: vega per vol point, theta and charm per day, rho per 1 %,
# vanna per vol point, volga per vol point squared.
TRADER_DIVISOR = {
    "vega": 100.0,
    "theta": DAYS_PER_YEAR,
    "rho": 100.0,
    "vanna": 100.0,
    "volga": 10_000.0,
    "charm": DAYS_PER_YEAR,
}
PARALLEL_ROWS = 50_000
SMALLEST_PRICE = 1e-300


def load_backend(package: str, name: str) -> ModuleType:
    """The backend module `<package>.backends.<name>`. ConfigError where the name is unknown."""
    if name not in BACKENDS:
        raise ConfigError(f"backend = {name!r}: must be one of {', '.join(BACKENDS)}")
    return importlib.import_module(f"{package}.backends.{name}")


def check_threads(threads: object) -> None:
    """ConfigError unless threads is None or a whole number above 0."""
    whole = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if threads is not None and not (whole and threads > 0):  # type: ignore[operator]
        raise ConfigError(f"threads = {threads!r}: must be a whole number above 0, or None")


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
) -> FloatArray:
    """Value of one unit.

    forward, strike   quote currency per unit, 0 or more
    tau               years to expiry, 0 or more; at 0 the value is intrinsic
    vol               per sqrt(year), decimal, 0 or more
    sign              +1 call, -1 put
    discount          discount factor of the settlement currency, above 0
    model             a file of pricing/models, or "inverse" for Black-76 settled in coin
    backend           "numpy", "numba" or "jax"

    Everything broadcasts; scalars, lists, numpy arrays and pandas series are accepted. Returns float64
    of the broadcast shape, in quote currency, in coin for "inverse". Raises DataError for inputs that
    are not finite or out of these bounds.
    """
    columns, shape = _columns(forward, strike, tau, vol, sign, discount)
    value = _backend_values(model, backend, columns)
    result = inverse.coin_value(value, columns[0]) if model == "inverse" else value
    return result.reshape(shape)


def greeks(
    forward: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    discount: ArrayLike = 1.0,
    *,
    model: str = "black76",
    backend: str = "numba",
    order: int = 2,
    units: str = "raw",
) -> dict[str, FloatArray]:
    """Closed-form Greeks of one unit by name, arguments as in `price`.

    order 1: price, delta, vega, theta, rho; order 2: also gamma, vanna, volga, charm.
    Derivatives are with respect to the forward, at a constant forward as time passes; rho moves the
    forward with the rate. Model "inverse" gives price, delta, gamma and vega in coin, with respect to
    the forward, and `delta_pa`, the premium-adjusted delta in coins of forward.
    units "raw": per 1.00 of price, vol and rate, per year. "trader": vega and vanna per vol point,
    volga per vol point squared, theta and charm per day, rho per 1 %, and theta never below minus the
    value within the last day (an option cannot lose more than it is worth).
    """
    if order not in (1, 2):
        raise ConfigError(f"order = {order!r}: must be 1 or 2")
    if units not in ("raw", "trader"):
        raise ConfigError(f"units = {units!r}: must be raw or trader")
    columns, shape = _columns(forward, strike, tau, vol, sign, discount)
    rows = load_backend("pricing", backend).greeks(
        load_model(_formula(model)), columns, default_threads(columns[0].size)
    )
    named = dict(zip(GREEK_NAMES, rows, strict=True))
    if model == "inverse":
        named = _coin_greeks(named, columns[0])
    wanted = [name for name in named if order == 2 or name in (*FIRST_ORDER, "delta_pa")]
    result = {name: named[name] for name in wanted}
    if units == "trader":
        result = trader_units(result, tau=columns[2])
    return {name: values.reshape(shape) for name, values in result.items()}


def trader_units(raw: dict[str, FloatArray], tau: FloatArray) -> dict[str, FloatArray]:
    """The same Greeks per vol point, per day and per percent.

    Theta is that of one day or of the remaining life, whichever is shorter, and an option loses no
    more than its value: Deribit's convention, within its print rounding.
    """
    scaled = {name: values / TRADER_DIVISOR.get(name, 1.0) for name, values in raw.items()}
    if "theta" in raw:
        life = np.minimum(1.0 / DAYS_PER_YEAR, tau)
        scaled["theta"] = np.maximum(raw["theta"] * life, -raw["price"])
    return scaled


def _formula(model: str) -> str:
    return "black76" if model == "inverse" else model


def _backend_values(model: str, backend: str, columns: tuple[FloatArray, ...]) -> FloatArray:
    module = load_backend("pricing", backend)
    values: FloatArray = module.value(load_model(_formula(model)), columns, default_threads(columns[0].size))
    return values


def _coin_greeks(named: dict[str, FloatArray], forward: FloatArray) -> dict[str, FloatArray]:
    price_quote, delta, gamma, vega = (named[name] for name in ("price", "delta", "gamma", "vega"))
    coin_delta, coin_gamma, coin_vega = inverse.coin_greeks(price_quote, delta, gamma, vega, forward)
    return {
        "price": inverse.coin_value(price_quote, forward),
        "delta": coin_delta,
        "gamma": coin_gamma,
        "vega": coin_vega,
        "theta": named["theta"] / forward,
        "rho": named["rho"] / forward,
        "delta_pa": inverse.premium_adjusted_delta(price_quote, delta, forward),
    }


def _columns(*values: Any) -> tuple[tuple[FloatArray, ...], tuple[int, ...]]:
    """Broadcast, flatten and check the inputs; returned in the order formulas take them."""
    arrays = [np.asarray(value, dtype=np.float64) for value in values]
    try:
        spread = np.broadcast_arrays(*arrays)
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(COLUMNS, arrays, strict=True))
        raise DataError([Problem("price", None, "shapes", shapes, "these do not broadcast")]) from None
    forward, strike, tau, vol, sign, discount = (np.ascontiguousarray(array).ravel() for array in spread)
    named = dict(zip(COLUMNS, (forward, strike, tau, vol, sign, discount), strict=True))
    _check_finite_bounds(named)
    worthless = (forward == 0) | (strike == 0)
    if worthless.any():
        # The limit is the intrinsic value; the logarithm of the formulas wants numbers above 0.
        vol = np.where(worthless, 0.0, vol)
        forward, strike = np.maximum(forward, SMALLEST_PRICE), np.maximum(strike, SMALLEST_PRICE)
    return (forward, strike, tau, vol, discount, sign), spread[0].shape


def _check_finite_bounds(named: dict[str, FloatArray]) -> None:
    remedies = {
        "forward": (named["forward"] >= 0, "must be a finite number, 0 or more"),
        "strike": (named["strike"] >= 0, "must be a finite number, 0 or more"),
        "tau": (named["tau"] >= 0, "must be finite years, 0 or more"),
        "vol": (named["vol"] >= 0, "must be a finite decimal vol, 0 or more"),
        "sign": (np.abs(named["sign"]) == 1, "must be +1 (call) or -1 (put)"),
        "discount": (named["discount"] > 0, "must be a finite number above 0"),
    }
    problems = [
        Problem("price", int(row), name, float(named[name][row]), remedy)
        for name, (good, remedy) in remedies.items()
        for row in np.flatnonzero(~(good & np.isfinite(named[name])))
    ]
    if problems:
        raise DataError(problems)
