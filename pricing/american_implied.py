"""american_implied_vol: the vol that the price of an American option on a stock implies, by spot, rate and dividends.

`pricing.implied_vol` has that of options on a future. The search is the one of `pricing.american_vol`.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from pricing import certain_exercise
from pricing.american_vol import STATED, Sought, european_vega, search
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.cash_dividends import best_exercise
from pricing.columns import flat_columns
from pricing.dividends import american_with_dividends, checked_schedule
from pricing.errors import ConfigError, DataError, Problem, Status, UnsolvedError
from pricing.implied_vol import LARGEST, SMALLEST, SOLVE_COST, StatusArray, implied_vol
from pricing.models import american
from pricing.price import default_threads, load_backend

NAME = "american_implied_vol"
FIELDS = ("price", "spot", "strike", "tau", "sign", "rate", "dividend_yield")
# Stated errors of values with known dividends, of the spot: of calls and of puts.
STATED_CALL, STATED_PUT = 1e-9, 1e-7
ROUNDINGS = 4.0 * 2.0**-52
# Of a rate or yield over the life of an option.
MOST_GROWTH = 100.0
Columns = dict[str, FloatArray]


def american_implied_vol(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    sign: ArrayLike,
    rate: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
    *,
    dividends: tuple[ArrayLike, ArrayLike] | None = None,
    accuracy: str = "default",
    backend: str = "numba",
) -> tuple[FloatArray, StatusArray]:
    """The vol at which `american_price`, or `american_with_dividends`, gives the price, and a `Status`, by element.

    price            value of one unit, quote currency
    spot, strike     quote currency, above 0
    tau              years to expiry, 0 or more
    sign             +1 call, -1 put
    rate, dividend_yield   continuous, per year, of either sign
    dividends        dividend_tau and dividend (M,) of the share, as `american_with_dividends` takes them: escrowed, so
                     that vol is that of the spot less the dividends before expiry; the yield is 0 then, and the rate
                     of options with a dividend before expiry 0 or more
    accuracy         as of `american_price`, of options without a known dividend before expiry
    backend          "numpy", "numba" or "jax"

    Everything but dividends broadcasts. Returns (vol, status), float64 per sqrt(year), NaN wherever the status is not
    OK, and int8. BELOW_INTRINSIC: below the best exercise along the forward; ABOVE_MAXIMUM: above what any vol gives;
    NOT_DETERMINED: at an end of its range, as exercise value is for a whole range of vols, or so near to one that the
    stated error of values moves vol by more than 1e-4, or above what the European option can be worth; EXPIRED: tau
    is 0; NOT_FINITE: a number is not finite or out of the bounds above, or a rate of more than 100 over the life;
    NOT_CONVERGED: the exercise boundary at the vol sought was not found.
    """
    if accuracy not in STATED:
        raise ConfigError(f"accuracy = {accuracy!r}: must be one of {', '.join(STATED)}")
    module = load_backend("pricing", backend)
    given = (price, spot, strike, tau, sign, rate, dividend_yield)
    columns, shape = flat_columns(NAME, dict(zip(FIELDS, given, strict=True)))
    dates, amounts = (np.zeros(0), np.zeros(0)) if dividends is None else checked_schedule(*dividends)
    if dividends is not None and np.any(columns["dividend_yield"] != 0.0):
        text = "must be 0 beside known dividends: what they leave of the carry belongs to the rate"
        raise DataError([Problem(NAME, None, "dividend_yield", float(columns["dividend_yield"].max()), text)])
    usable, worth = _usable(columns, dates, amounts)
    status = np.full(len(usable), Status.NOT_FINITE, dtype=np.int8)
    status[usable] = Status.EXPIRED
    row = np.flatnonzero(usable & (columns["tau"] > 0.0))
    vol = np.full(len(usable), np.nan)
    part = {name: column[row] for name, column in columns.items()}
    threads = default_threads(SOLVE_COST * len(row))
    options = _Options(part, (dates, amounts), worth[row], (module, backend, accuracy, threads))
    vol[row], status[row] = search(options.sought())
    return vol.reshape(shape), status.reshape(shape)


def _usable(columns: Columns, dates: FloatArray, amounts: FloatArray) -> tuple[BoolArray, FloatArray]:
    """(n,) rows within bounds, and (n,M) what the dividends before expiry are worth."""
    with np.errstate(all="ignore"):
        usable = np.all([np.isfinite(column) for column in columns.values()], axis=0)
        for name in ("spot", "strike"):
            usable &= (columns[name] >= SMALLEST) & (columns[name] <= LARGEST)
        usable &= (columns["tau"] >= 0.0) & (np.abs(columns["sign"]) == 1.0)
        for name in ("rate", "dividend_yield"):
            usable &= np.abs(columns[name] * columns["tau"]) <= MOST_GROWTH
        counts = dates < columns["tau"][:, None]
        worth = np.where(counts, amounts * np.exp(-columns["rate"][:, None] * dates), 0.0)
        usable &= ~counts.any(1) | ((columns["rate"] >= 0.0) & (columns["spot"] > worth.sum(1)))
    return usable, worth


class _Options:
    """Live options: their ends, their European vols, and their values at any vol."""

    def __init__(
        self,
        columns: Columns,
        schedule: tuple[FloatArray, FloatArray],
        worth: FloatArray,
        how: tuple[ModuleType, str, str, int],
    ) -> None:
        self.columns, self.schedule, self.worth, self.how = columns, schedule, worth, how
        self.paying = np.asarray((worth > 0.0).any(1))
        self.carry = columns["rate"] - columns["dividend_yield"]
        self.clean = columns["spot"] - worth.sum(1)
        self.forward = self.clean * np.exp(self.carry * columns["tau"])
        self.discount = np.exp(-columns["rate"] * columns["tau"])

    def sought(self) -> Sought:
        """What the search needs."""
        _, backend, accuracy, threads = self.how
        price, strike, tau, sign = (self.columns[name] for name in ("price", "strike", "tau", "sign"))
        terms = (self.forward, strike, tau)
        european, _ = implied_vol(price, *terms, sign, self.discount, resolution=np.inf, backend=backend)
        vega = european_vega(backend, (*terms, european, self.discount, sign), threads)
        stated = np.where(sign > 0.0, STATED_CALL, STATED_PUT)
        stated = np.where(self.paying, stated, STATED[accuracy])
        scale = np.maximum(self.columns["spot"], strike)
        least, most = self._ends()
        # What exercise pays is not known to the last bit, and at it a price says nothing about vol.
        price = np.where(np.abs(price - least) <= ROUNDINGS * scale, least, price)
        return Sought(price, least, most, scale, stated, european, vega, self._value)

    def _ends(self) -> tuple[FloatArray, FloatArray]:
        """What the options are worth without vol, and what ever more vol brings them to."""
        spot, strike, tau, sign, rate, payout = (self.columns[name] for name in FIELDS[1:])
        still = (self.forward, strike, tau, np.zeros_like(tau), self.discount, sign, self.carry)
        least = certain_exercise.greeks(still, np.arange(len(tau)))[0]
        most = np.where(
            sign > 0.0, spot * np.exp(np.maximum(-payout * tau, 0.0)), strike * np.maximum(self.discount, 1.0)
        )
        row = np.flatnonzero(self.paying)
        terms = (strike[row], tau[row], sign[row], rate[row], self.worth[row], self.schedule[0])
        least[row] = best_exercise(self.clean[row], *terms)
        # The more vol, the surer that nothing is left of the spot but its mean: a call has that and the dividends.
        most[row] = np.where(sign[row] > 0.0, self.clean[row], 0.0) + best_exercise(np.zeros(len(row)), *terms)
        return least, most

    def _value(self, row: IntArray, vol: FloatArray) -> FloatArray:
        """Values of some rows at vols. UnsolvedError naming them by their place among these."""
        result, problems = np.empty(len(row)), list[Problem]()
        paying = self.paying[row]
        for place, price in ((np.flatnonzero(~paying), self._plain), (np.flatnonzero(paying), self._paying)):
            if not len(place):
                continue
            try:
                result[place] = price(row[place], vol[place])
            except UnsolvedError as error:
                problems += [replace(problem, row=int(place[int(problem.row or 0)])) for problem in error.problems]
        if problems:
            raise UnsolvedError(problems)
        return result

    def _plain(self, row: IntArray, vol: FloatArray) -> FloatArray:
        module, _, accuracy, threads = self.how
        first = (self.forward, self.columns["strike"], self.columns["tau"])
        last = (self.discount, self.columns["sign"], self.carry)
        terms = (*(column[row] for column in first), vol, *(column[row] for column in last))
        return np.asarray(module.value(american, terms, threads, accuracy=accuracy))

    def _paying(self, row: IntArray, vol: FloatArray) -> FloatArray:
        spot, strike, tau, sign, rate = (self.columns[name][row] for name in FIELDS[1:6])
        terms = (spot, strike, tau, vol, sign, rate, *self.schedule)
        return american_with_dividends(*terms, backend=self.how[1])["price"]
