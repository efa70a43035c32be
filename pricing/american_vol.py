"""The vol that the price of an American option implies: a search inside a bracket, row by row at once.

An American option is worth no less than the European one, so the European implied vol lies above the one sought, and
0 below. The first step takes the early exercise premium there off the price; then secants, twice as long each time the
bracket has not become half as wide, so that the root is soon between both ends, and halves where one leaves the bracket
(a safeguarded secant as in Dekker 1969 and Brent 1973, chapter 4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import Status, UnsolvedError
from pricing.models import american, black76
from pricing.price import load_backend

# Stated error of a value at each accuracy, of the larger of forward (spot) and strike; see pricing.american.
STATED = {"fast": 1e-6, "default": 1e-9, "accurate": 1e-12}
# A vol is returned only where that error moves it by no more than this, times the larger of it and 1.
RESOLUTION = 1e-4
MOST_STEPS = 80
# A value this many stated errors from the price, at the end of a search, is where no boundary was found on the way.
FAR_ERRORS = 10.0
# Of the larger of forward and strike, and of the vol: where a search ends.
CLOSE_VALUE, CLOSE_VOL = 2e-16, 4e-16


class Contracts(NamedTuple):
    """price, forward, strike, tau, discount, sign of each row, (R,), within the bounds of `pricing.implied_vol`."""

    price: FloatArray
    forward: FloatArray
    strike: FloatArray
    tau: FloatArray
    discount: FloatArray
    sign: FloatArray

    def rows(self, row: IntArray) -> Contracts:
        """Some of the rows."""
        return Contracts(*(column[row] for column in self))


class Sought(NamedTuple):
    """What a search needs to know of the options, (R,) each.

    price        of the option
    least, most  ends of the range of its values over all vols
    scale        of what values are: the larger of forward (spot) and strike
    stated       error of a value, of the scale
    european     vol that the price implies for the European option, NaN for none, and the European vega there
    value        of rows at vols; raises UnsolvedError naming them by their place
    """

    price: FloatArray
    least: FloatArray
    most: FloatArray
    scale: FloatArray
    stated: FloatArray
    european: FloatArray
    vega: FloatArray
    value: Callable[[IntArray, FloatArray], FloatArray]


def ends(forward: FloatArray, strike: FloatArray, discount: FloatArray, sign: FloatArray) -> tuple[FloatArray, ...]:
    """(R,) what the option is worth at the least and at the most: of exercise now and at expiry the better one."""
    best = np.maximum(discount, 1.0)
    return best * np.maximum(sign * (forward - strike), 0.0), best * np.where(sign > 0.0, forward, strike)


def solve(
    contracts: Contracts, european: FloatArray, backend: str, accuracy: str, threads: int
) -> tuple[FloatArray, FloatArray]:
    """(R,) vol and status of options on the forward itself, from the European implied vols; see `search`."""
    price, forward, strike, tau, discount, sign = contracts
    module = load_backend("pricing", backend)

    def value(row: IntArray, vol: FloatArray) -> FloatArray:
        _, f, k, t, d, s = contracts.rows(row)
        return np.asarray(module.value(american, (f, k, t, vol, d, s), threads, accuracy=accuracy))

    least, most = ends(forward, strike, discount, sign)
    scale = np.maximum(forward, strike)
    stated = np.full_like(price, STATED[accuracy])
    vega = european_vega(backend, (forward, strike, tau, european, discount, sign), threads)
    return search(Sought(price, least, most, scale, stated, european, vega, value))


def european_vega(backend: str, columns: tuple[FloatArray, ...], threads: int = 1) -> FloatArray:
    """(R,) of forward, strike, tau, vol, discount and sign; NaN where vol is."""
    vol = columns[3]
    safe = (*columns[:3], np.where(np.isfinite(vol), vol, 1.0), *columns[4:])
    vega = load_backend("pricing", backend).greeks(black76, safe, threads)[3]
    return np.where(np.isfinite(vol), vega, np.nan)


def search(sought: Sought) -> tuple[FloatArray, FloatArray]:
    """(R,) vol and status of each row.

    NOT_DETERMINED where the price lies at an end of its range, or so near that the error of the scheme moves vol by
    more than RESOLUTION, and above what the European option can be worth; NOT_CONVERGED where a boundary at the vol
    sought was not found.
    """
    price, least, most = sought[:3]
    status = np.full(len(price), float(Status.NOT_DETERMINED))
    status[price < least] = Status.BELOW_INTRINSIC
    status[price > most] = Status.ABOVE_MAXIMUM
    vol = np.full(len(price), np.nan)
    row = np.flatnonzero((price > least) & (price < most) & np.isfinite(sought.european))
    run = _Search(sought, row)
    for _ in range(MOST_STEPS):
        if not run.open.any():
            break
        run.step()
    error = sought.stated[row] * run.scale
    unsure = error > RESOLUTION * np.maximum(run.at, 1.0) * run.slope
    lost = (np.abs(run.excess) > FAR_ERRORS * error) | (run.open & ~unsure)
    status[row] = np.where(lost, float(Status.NOT_CONVERGED), np.where(unsure, status[row], float(Status.OK)))
    vol[row] = np.where(status[row] == Status.OK, run.at, np.nan)
    return vol, status


class _Search:
    """Brackets of some rows and the last two points of each; `at` is the best vol so far, `slope` by vol around it."""

    def __init__(self, sought: Sought, row: IntArray) -> None:
        self.sought, self.row = sought, row
        self.scale, high = sought.scale[row], sought.european[row]
        self.open = np.ones(len(high), bool)
        self.low, self.high, self.at = np.zeros(len(high)), high.copy(), high.copy()
        self.excess = self._excess(np.arange(len(high)), high)
        self.slope = sought.vega[row]
        self.width, self.stride = np.full(len(high), np.inf), np.ones(len(high))
        # Where early exercise adds nothing the European vol is the one sought.
        self.open &= self.excess > CLOSE_VALUE * self.scale

    def step(self) -> None:
        """One more vol for every row that is still searched."""
        row = np.flatnonzero(self.open)
        low, high = self.low[row], self.high[row]
        narrowed = high - low <= 0.5 * self.width[row]
        self.stride[row] = np.where(narrowed, 1.0, 2.0 * self.stride[row])
        self.width[row] = high - low
        with np.errstate(all="ignore"):
            new = self.at[row] - self.stride[row] * self.excess[row] / self.slope[row]
        new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
        excess = self._excess(row, new)
        moved = new - self.at[row]
        with np.errstate(all="ignore"):
            slope = (excess - self.excess[row]) / moved
        self.slope[row] = np.where(np.isfinite(slope) & (slope > 0.0), slope, self.slope[row])
        self.low[row] = np.where(excess < 0.0, new, low)
        self.high[row] = np.where(excess < 0.0, high, new)
        self.at[row], self.excess[row] = new, excess
        ended = np.abs(excess) <= CLOSE_VALUE * self.scale[row]
        ended |= (np.abs(moved) <= CLOSE_VOL * new) | (self.high[row] - self.low[row] <= CLOSE_VOL * new)
        self.open[row] = ~ended

    def _excess(self, row: IntArray, vol: FloatArray) -> FloatArray:
        """Value at the vol less the price; without a boundary, which is where vol is too small, that of no vol."""
        at = self.row[row]
        result = self.sought.least[at] - self.sought.price[at]
        left: BoolArray = np.ones(len(row), bool)
        while left.any():
            part = np.flatnonzero(left)
            try:
                result[part] = self.sought.value(at[part], vol[part]) - self.sought.price[at[part]]
            except UnsolvedError as error:
                left[part[[int(problem.row or 0) for problem in error.problems]]] = False
                continue
            break
        return result
