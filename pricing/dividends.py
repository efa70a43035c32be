"""American options on a share that pays known dividends in cash.

Two conventions say what moves lognormally, and so what vol is the vol of:

- "escrowed" (Roll 1977, Geske 1979, Whaley 1981): the spot less the value of the dividends to come before expiry;
- "drop": the spot itself, which falls by the dividend, or to 0, when the share goes without it (Haug, Haug and Lewis
  2003; Vellekoop and Nieuwenhuis 2006).

With a rate of 0 or more and no yield a call is exercised early only just before the share goes without a dividend:
`pricing.dividend_induction` finds the value from the last dividend to the first. A put is exercised at any time but
for a stretch before each dividend: `pricing.dividend_puts` finds its boundary, in the escrowed model. With a spot
that drops the put is refused: just before a dividend it is worth an American put on what the drop leaves, which has
no closed form and kinks where the share goes to 0 and where exercise begins, and the equation of the boundary holds
its mean. A dividend that is a share of the price is a yield.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pricing import dividend_induction
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.bounds import LARGEST_PRICE, LARGEST_TERM, check_carry
from pricing.columns import Bound, check_rows, flat_columns, numbers
from pricing.dividend_induction import Calls
from pricing.errors import ConfigError, DataError, Problem, UnsolvedError
from pricing.models import black76
from pricing.price import load_backend

CONVENTIONS = ("escrowed", "drop")
FIELDS = ("spot", "strike", "tau", "vol", "sign", "rate")
SCHEDULE, ONE_DIVIDEND = "american_with_dividends", "american_call_with_dividend"
ONE_DIVIDEND_FIELDS = ("spot", "strike", "tau", "vol", "rate", "dividend", "dividend_tau")
ROWS_AT_ONCE = 128
LARGEST = {"spot": LARGEST_PRICE, "strike": LARGEST_PRICE, "tau": LARGEST_TERM, "vol": LARGEST_TERM}
# A rate that earns less than this over the life of a put is none.
NO_RATE = 1e-14
# Dividends before a put's expiry that are worth less than this share of the spot together are none.
NO_DIVIDEND = 1e-9
# Deviations by which the forward of a put may drift until expiry: with less vol its boundary hugs the strike.
LARGEST_DRIFT = 100.0


def american_with_dividends(
    spot: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    rate: ArrayLike,
    dividend_tau: ArrayLike,
    dividend: ArrayLike,
    *,
    convention: str = "escrowed",
    backend: str = "numba",
) -> dict[str, FloatArray]:
    """price, delta and gamma, by name, of one unit of American options on a share with known dividends and no yield.

    spot, strike   quote currency, above 0; the spot with all dividends still in it
    tau            years to expiry, above 0
    vol            per sqrt(year), above 0, of what the convention says
    sign           +1 call, -1 put; with "drop" calls alone
    rate           continuous, per year, 0 or more
    dividend_tau   (M,) years until the share trades without each dividend, above 0, ascending
    dividend       (M,) quote currency a share, 0 or more
    convention     "escrowed" or "drop", see above
    backend        of the European value, and of the boundary after the last dividend

    The schedule is that of the share: a contract counts the dividends before its own expiry. Everything else
    broadcasts.
    Calls are right in the model to 1e-9 of the spot, 1e-8 where dividends are days apart; puts to 1e-8, where dividends
    that are worth less than 1e-9 of the spot together are none.
    DataError for inputs out of these bounds; UnsolvedError naming puts for which no boundary was found, and those whose
    spot drifts by more than 100 deviations to expiry.
    """
    if convention not in CONVENTIONS:
        raise ConfigError(f"convention = {convention!r}: must be one of {', '.join(CONVENTIONS)}")
    module = load_backend("pricing", backend)
    dates, amounts = checked_schedule(dividend_tau, dividend)
    values = (spot, strike, tau, vol, sign, rate)
    named, shape = flat_columns(SCHEDULE, dict(zip(FIELDS, values, strict=True)))
    columns = tuple(named[field] for field in FIELDS if field != "sign")
    counted = np.searchsorted(dates, columns[2])
    escrowed = convention == "escrowed"
    with np.errstate(over="ignore", invalid="ignore"):
        paid = (np.where(counted > k, amounts[k] * np.exp(-columns[4] * dates[k]), 0.0) for k in range(len(dates)))
        above = columns[0] > sum(paid, np.zeros(len(columns[0])))
    bounds: dict[str, Bound] = {"spot": (above, "must be above the value of the dividends before expiry")}
    if not escrowed:
        text = "must be +1 where the spot drops: puts are solved with the dividends escrowed"
        bounds["sign"] = (named["sign"] == 1, text)
    _check(SCHEDULE, named, bounds)
    result = np.empty((3, len(columns[0])))
    put = np.flatnonzero(named["sign"] < 0)
    if len(put):
        solver = importlib.import_module(f"pricing.backends.american_{backend}")
        result[:, put] = _puts(tuple(column[put] for column in columns), put, (dates, amounts), (module, solver))
    call = named["sign"] > 0
    # Where the spot loses nothing at it, a dividend at which no call is exercised does not matter.
    key = _paying(columns, dates, amounts) if escrowed else np.arange(len(dates))[:, None] < counted
    for pattern in np.unique(key[:, call], axis=1).T:
        rows = np.flatnonzero((key == pattern[:, None]).all(0) & call)
        given = tuple(column[rows] for column in columns)
        result[:, rows] = _greeks_of_calls(_calls(given, (dates, amounts), pattern, escrowed), module)
    return {name: values.reshape(shape) for name, values in zip(("price", "delta", "gamma"), result, strict=True)}


def american_call_with_dividend(
    spot: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    dividend_tau: ArrayLike,
) -> FloatArray:
    """Value of one unit of an American call with one known dividend of its own, escrowed, and no yield.

    Arguments as in `american_with_dividends`, but that dividend and dividend_tau broadcast with the rest and that the
    dividend is paid before expiry. DataError for inputs out of bounds.
    """
    values = (spot, strike, tau, vol, rate, dividend, dividend_tau)
    named, shape = flat_columns(ONE_DIVIDEND, dict(zip(ONE_DIVIDEND_FIELDS, values, strict=True)))
    spots, strikes, lives, vols, rates, amounts, dates = named.values()
    with np.errstate(over="ignore", invalid="ignore"):
        _check(
            ONE_DIVIDEND,
            named,
            {
                "spot": (spots > amounts * np.exp(-rates * dates), "must be above the dividend's value"),
                "dividend": (amounts >= 0, "must be 0 or more"),
                "dividend_tau": ((dates > 0) & (dates < lives), "must be above 0 and below tau"),
            },
        )
    result, module = np.empty(len(spots)), load_backend("pricing", "numpy")
    for row in range(len(spots)):
        given = tuple(column[row : row + 1] for column in (spots, strikes, lives, vols, rates))
        schedule = (dates[row : row + 1], amounts[row : row + 1])
        result[row] = dividend_induction.greeks(_calls(given, schedule, _paying(given, *schedule)[:, 0], True), module)[
            0, 0
        ]
    return result.reshape(shape)


def _puts(
    columns: tuple[FloatArray, ...],
    place: IntArray,
    schedule: tuple[FloatArray, FloatArray],
    modules: tuple[ModuleType, Any],
) -> FloatArray:
    """(3,R) price, delta and gamma of puts, escrowed; place (R,) is what messages call them.

    modules   of a backend: the European value, and the solver of exercise boundaries
    """
    from pricing import dividend_puts  # with scipy, which importing the package does not load

    spot, strike, tau, vol, rate = columns
    module, solver = modules
    dates, amounts = schedule
    worth = np.where(dates[:, None] < tau, amounts[:, None] * np.exp(-rate * dates[:, None]), 0.0)
    # One that is left out changes the value by what it is worth at most, either way.
    worth[worth <= NO_DIVIDEND * spot / max(len(dates), 1)] = 0.0
    clean, grow, late = spot - worth.sum(0), np.exp(rate * tau), np.exp(-rate * tau)
    rows = module.greeks(black76, (clean * grow, strike, tau, vol, late, np.full_like(tau, -1.0)))
    result = np.array([rows[0], rows[1] * grow, rows[2] * grow**2])
    early, failed = rate * tau > NO_RATE, np.zeros(len(tau), bool)
    for pattern in np.unique(worth[:, early] > 0.0, axis=1).T:
        same = np.flatnonzero(early & ((worth > 0.0) == pattern[:, None]).all(0))
        same = same[rate[same] * np.sqrt(tau[same]) <= LARGEST_DRIFT * vol[same]]
        for start in range(0, len(same), ROWS_AT_ONCE):
            row = same[start : start + ROWS_AT_ONCE]
            terms = (clean[row] / strike[row], tau[row], vol[row], rate[row])
            puts = dividend_puts.Puts(*terms, dates[pattern], worth[pattern][:, row] / strike[row])
            more, converged = dividend_puts.greeks(puts, solver)
            failed[row] = ~converged
            held = result[:, row] + more * np.array([strike[row], np.ones(len(row)), 1.0 / strike[row]])
            now = np.array([strike[row] - spot[row], np.full(len(row), -1.0), np.zeros(len(row))])
            result[:, row] = np.where(np.isnan(more), now, held)
    steep = early & (rate * np.sqrt(tau) > LARGEST_DRIFT * vol)
    result[0] = np.maximum(result[0], np.where(early, strike - spot, 0.0))
    result[1], result[2] = np.clip(result[1], -1.0, 0.0), np.maximum(result[2], 0.0)
    if (failed | steep).any():
        drifts = f"the spot drifts by more than {LARGEST_DRIFT:g} deviations to expiry, which is not solved"
        text = "no exercise boundary found between the dividends"
        raise UnsolvedError(
            [
                Problem(SCHEDULE, int(place[n]), "vol", float(vol[n]), drifts if steep[n] else text)
                for n in np.flatnonzero(failed | steep)
            ]
        )
    return result


def _paying(columns: tuple[FloatArray, ...], dates: FloatArray, amounts: FloatArray) -> BoolArray:
    """(M,R) whether exercise before a dividend pays for large spots, and so for some: by what is received in excess
    of the spot, net of all dividends."""
    _, strike, tau, _, rate = columns
    paying = np.zeros((len(dates), len(tau)), bool)
    # In excess of the spot with what is to come: of waiting until the best later moment, as of now.
    wait, until = -strike, tau
    for k in range(len(dates) - 1, -1, -1):
        counts = dates[k] < tau
        wait = np.where(counts, wait * np.exp(-rate * np.maximum(until - dates[k], 0.0)) - amounts[k], wait)
        until = np.where(counts, dates[k], until)
        paying[k] = counts & (-strike > wait)
        wait = np.where(counts, np.maximum(wait, -strike), wait)
    return paying


def _greeks_of_calls(calls: Calls, module: ModuleType) -> FloatArray:
    """(3,R) price, delta and gamma of calls with the same dividends, those at once whose series have as many terms."""
    result, terms = np.empty((3, len(calls.spot))), dividend_induction.terms_of(calls)
    for alike in np.unique(terms, axis=1).T:
        rows = np.flatnonzero((terms == alike[:, None]).all(0))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            row = rows[start : start + ROWS_AT_ONCE]
            spot, strike, tau, vol, rate = (column[row] for column in calls[:5])
            part = Calls(spot, strike, tau, vol, rate, calls.dates, calls.added[:, row], calls.lost)
            result[:, row] = dividend_induction.greeks(part, module)
    return result


def _calls(
    columns: tuple[FloatArray, ...], schedule: tuple[FloatArray, FloatArray], pattern: BoolArray, escrowed: bool
) -> Calls:
    """Calls with the dividends of the pattern; the others that count are in the spot and in what exercise receives."""
    spot, strike, tau, vol, rate = (column[:, None] for column in columns)
    every, amounts = schedule
    dates = every[pattern]
    if not escrowed:
        return Calls(spot, strike, tau, vol, rate, dates, np.zeros((len(dates), *spot.shape)), amounts[pattern])
    worth = [
        np.where(date < tau, amount * np.exp(-rate * date), 0.0) for date, amount in zip(every, amounts, strict=True)
    ]
    later = np.cumsum([np.zeros_like(spot), *worth[::-1]], axis=0)[::-1]
    added = np.array([later[k] * np.exp(rate * every[k]) for k in np.flatnonzero(pattern)]).reshape(-1, *spot.shape)
    return Calls(spot - later[0], strike, tau, vol, rate, dates, added, np.zeros(len(dates)))


def checked_schedule(dividend_tau: ArrayLike, dividend: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """(M,) dates and amounts. DataError for those out of bounds or of different lengths."""
    given = {"dividend_tau": dividend_tau, "dividend": dividend}
    dates, amounts = (np.atleast_1d(numbers(SCHEDULE, name, values)) for name, values in given.items())
    if dates.ndim != 1 or dates.shape != amounts.shape:
        text = f"{dates.shape} and {amounts.shape}"
        raise DataError([Problem(SCHEDULE, None, "shapes", text, "one amount for each date, in one row")])
    with np.errstate(invalid="ignore"):
        rising = dates > np.append(0.0, dates[:-1])
    bounds = {
        "dividend_tau": (rising, "must be above 0 and above the date before it"),
        "dividend": (amounts >= 0, "must be 0 or more"),
    }
    check_rows(SCHEDULE, {"dividend_tau": dates, "dividend": amounts}, bounds)
    return dates, amounts


def _check(function: str, named: Mapping[str, FloatArray], further: Mapping[str, Bound]) -> None:
    """DataError naming rows out of bounds: those of every call, and further ones."""
    with np.errstate(invalid="ignore"):
        bounds: dict[str, Bound] = {name: _positive(named[name], most) for name, most in LARGEST.items()}
        text = "must be 0 or more: else exercise may pay at other times than a dividend's"
        bounds["rate"] = (named["rate"] >= 0, text)
        if "sign" in named:
            bounds["sign"] = (np.abs(named["sign"]) == 1, "1 for a call, -1 for a put")
        check_rows(function, named, {**bounds, **further})
    with np.errstate(over="ignore", under="ignore"):
        growth, discount = np.exp(named["rate"] * named["tau"]), np.exp(-named["rate"] * named["tau"])
        check_carry(function, named, named["spot"] * growth, discount)


def _positive(column: FloatArray, most: float) -> Bound:
    """Whether each is above 0 and at most so large; the text says which it is not."""

    def remedy(row: int) -> str:
        return f"must be at most {most:g}" if column[row] > most else "must be above 0"

    return (column > 0) & (column <= most), remedy
