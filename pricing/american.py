"""American options in market terms: price, Greeks by the spot, and the exercise boundary.

The model itself is `pricing.models.american`; `pricing.price` takes it by its name for options on futures. Here are
the terms of equities: spot, rate and dividend yield. The time that passes before a known dividend in cash is paid is
in `pricing.dividends`.
"""

from __future__ import annotations

import importlib
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, into
from pricing.bounds import check_bounds, check_carry, with_limits
from pricing.columns import flat_columns, writable, writable_by_name
from pricing.errors import ConfigError
from pricing.greek_names import GREEK_NAMES, UNITS, trader_units
from pricing.models import black76
from pricing.price import check_threads, default_threads, load_backend

FIELDS = ("spot", "strike", "tau", "vol", "sign", "rate", "dividend_yield")
# A boundary takes about as long as this many European prices.
SOLVE_COST = 100


class Options(TypedDict, total=False):
    """Further keyword arguments.

    backend   "numpy", "numba" or "jax"
    threads   None for one on small work and all cores on large; never changes a result
    out       a float64 array of the broadcast shape, which is filled and returned
    """

    backend: str
    threads: int | None
    out: FloatArray


class GreekOptions(TypedDict, total=False):
    """Further keyword arguments of `american_greeks`: those of `Options`, with an array for every name as `out`.

    units     "raw" or "trader"
    """

    backend: str
    threads: int | None
    units: str
    out: dict[str, FloatArray]


def american_price(
    spot: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    rate: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
    *,
    accuracy: str = "default",
    **options: Unpack[Options],
) -> FloatArray:
    """Value of one unit of an American option on a spot with a continuous yield.

    spot, strike    quote currency, 0 or more
    tau             years to expiry, 0 or more
    vol             per sqrt(year), decimal, 0 or more
    sign            +1 call, -1 put
    rate            continuous, per year, of either sign
    dividend_yield  continuous, per year, of either sign; equal to the rate for an option on a future
    accuracy        "fast", "default" or "accurate": error below 1e-6, 1e-9, 1e-12 of the larger of spot and strike for
                    vols of 10-90 %, rates and yields of 0-8 % and up to two years, next to the boundary as well
    options         backend, threads and out, as in `Options`

    Everything broadcasts. Never below what exercise pays now, and never above spot (call) or strike (put), or, where
    yield or rate is below 0, what it grows to. At tau = 0 the intrinsic value; at vol = 0 the best exercise along the
    forward. Where early exercise never pays (a call without yield, a put without rate) exactly the European value.
    Rates below 0 that make two exercise boundaries (yield < rate < 0 for a put, rate < yield < 0 for a call) are solved
    as well, by the default scheme at least. DataError naming inputs out of bounds; UnsolvedError naming every row whose
    forward drifts by more than 40 deviations to expiry, or for which no boundary was found.
    """
    from pricing import exercise  # with scipy, which importing the package does not load

    columns, shape = _columns("american_price", spot, strike, tau, vol, sign, rate, dividend_yield)
    backend, threads, out = _chosen("american_price", options, columns[0].size)
    target = None if out is None else writable("american_price", "out", out, shape, np.float64)
    european = load_backend("pricing", backend).value(black76, columns[:6], threads)
    value = exercise.value(_solver(backend), columns, european, accuracy=accuracy, threads=threads).reshape(shape)
    return into(target, _within(value, spot, strike, tau, sign, rate, dividend_yield))


def american_greeks(
    spot: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    rate: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
    *,
    accuracy: str = "default",
    **options: Unpack[GreekOptions],
) -> dict[str, FloatArray]:
    """price, delta, gamma, vega, theta, rho, vanna, volga, charm of one unit by name; arguments as `american_price`.

    Raw derivatives by the spot, or in trader units as `pricing.greeks` states them: theta and charm per year of passing
    time at a constant spot, rho at a constant spot and yield. The boundary moves with vol and rate; its derivatives
    come from the solved equation, so that nothing but volga is a difference (of two vegas, right to about 1e-7). In the
    exercise region they are the payoff's. Next to the boundary gamma and vanna are right to 2e-3, 1e-4 and 5e-5 of
    themselves (fast, default, accurate), charm to 4e-2, 5e-3 and 1e-3, and theta to 2e-4, 1e-5 and 5e-7 of the strike
    a year.
    options   backend, threads, units and out, as in `GreekOptions`
    """
    from pricing import exercise  # with scipy, which importing the package does not load

    units = options.pop("units", "raw")
    if units not in UNITS:
        raise ConfigError(f"units = {units!r}: must be one of {', '.join(UNITS)}")
    columns, shape = _columns("american_greeks", spot, strike, tau, vol, sign, rate, dividend_yield)
    backend, threads, out = _chosen("american_greeks", options, columns[0].size)
    targets = None if out is None else writable_by_name("american_greeks", out, GREEK_NAMES, shape)
    european = load_backend("pricing", backend).greeks(black76, columns[:6], threads)
    rows = exercise.greeks(_solver(backend), columns, european, accuracy=accuracy, threads=threads)
    g = dict(zip(GREEK_NAMES, rows, strict=True))
    forward, carry = columns[0], columns[6]
    grow = np.exp(carry * columns[2])
    # At a constant spot the forward slides by -carry of itself a year.
    g["theta"] = g["theta"] - carry * forward * g["delta"]
    g["charm"] = (g["charm"] - carry * (forward * g["gamma"] + g["delta"])) * grow
    for name, power in (("delta", 1), ("gamma", 2), ("vanna", 1)):
        g[name] = g[name] * grow**power
    if units == "trader":
        g = trader_units(g, columns[2])
    result = {name: values.reshape(shape) for name, values in g.items()}
    result["price"] = _within(result["price"], spot, strike, tau, sign, rate, dividend_yield)
    return result if targets is None else {name: into(targets[name], values) for name, values in result.items()}


def exercise_boundary(
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    rate: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
    *,
    accuracy: str = "default",
    far: bool = False,
    **options: Unpack[Options],
) -> FloatArray:
    """Spot at which exercise is optimal with `tau` years left: for a put at and below it, for a call at and above.

    Arguments as in `american_price`. NaN where exercise now never pays, and where tau or vol is 0.
    far       the second boundary of options that have two, where exercise ends again; NaN for all others
    options   backend, threads and out, as in `Options`
    """
    from pricing import exercise  # with scipy, which importing the package does not load

    columns, shape = _columns("exercise_boundary", strike, strike, tau, vol, sign, rate, dividend_yield)
    backend, threads, out = _chosen("exercise_boundary", options, columns[0].size)
    target = None if out is None else writable("exercise_boundary", "out", out, shape, np.float64)
    found = exercise.boundary(_solver(backend), columns, accuracy=accuracy, threads=threads, far=far).reshape(shape)
    return into(target, found)


def _within(value: FloatArray, *terms: ArrayLike) -> FloatArray:
    """Values without the last rounding that would put them below what exercise pays now, or above the most it can.

    terms are spot, strike, tau, sign, rate and yield as given, for the forward has lost a rounding of the spot.
    """
    spot, strike, tau, sign, rate, dividend_yield = (np.asarray(term, np.float64) for term in terms)
    # What is paid is worth at most its price today; at a rate or yield below 0, what that grows to.
    most = np.where(
        sign > 0, spot * np.exp(np.maximum(-dividend_yield * tau, 0.0)), strike * np.exp(np.maximum(-rate * tau, 0.0))
    )
    return np.asarray(np.minimum(np.maximum(value, sign * (spot - strike)), most))


def _chosen(function: str, options: Options | GreekOptions, rows: int) -> tuple[str, int, Any]:
    """backend, threads and out of the options. ConfigError or TypeError for what they cannot be."""
    given = dict(options)
    backend, threads, out = str(given.pop("backend", "numba")), given.pop("threads", None), given.pop("out", None)
    if given:
        raise TypeError(f"{function}() got an unexpected keyword argument {next(iter(given))!r}")
    check_threads(threads)
    return backend, default_threads(SOLVE_COST * rows) if threads is None else int(str(threads)), out


def _solver(backend: str) -> Any:
    load_backend("pricing", backend)
    return importlib.import_module(f"pricing.backends.american_{backend}")


def _columns(function: str, *values: ArrayLike) -> tuple[tuple[FloatArray, ...], tuple[int, ...]]:
    """forward, strike, tau, vol, discount, sign and carry, flat, and their shape, from the terms of `FIELDS`."""
    named, shape = flat_columns(function, dict(zip(FIELDS, values, strict=True)))
    check_bounds(function, named)
    # The limit of an option whose spot or strike is 0 is that without vol; the logarithms want numbers above 0.
    spot, strike, vol = with_limits(named["spot"], named["strike"], named["vol"])
    tau, rate = named["tau"], named["rate"]
    carry = rate - named["dividend_yield"]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        forward, discount = spot * np.exp(carry * tau), np.exp(-rate * tau)
    check_carry(function, named, forward, discount)
    return (forward, strike, tau, vol, discount, named["sign"], carry), shape
