"""The vol that the price of an American option on a forward implies: a search inside a bracket, row by row at once.

An American option is worth no less than the European one, so the European implied vol lies above the one sought, and
0 below. The first step takes the early exercise premium there off the price; then secants, twice as long each time the
bracket has not become half as wide, so that the root is soon between both ends, and halves where one leaves the bracket
(a safeguarded secant as in Dekker 1969 and Brent 1973, chapter 4).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import Status, UnsolvedError
from pricing.models import american, black76
from pricing.price import load_backend

# Stated error of a value at each accuracy, of the larger of forward and strike; see pricing.american.
STATED = {"fast": 1e-6, "default": 1e-9, "accurate": 1e-12}
# A vol is returned only where that error moves it by no more than this, times the larger of it and 1.
RESOLUTION = 1e-4
MOST_STEPS = 80
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


def ends(forward: FloatArray, strike: FloatArray, discount: FloatArray, sign: FloatArray) -> tuple[FloatArray, ...]:
    """(R,) what the option is worth at the least and at the most: of exercise now and at expiry the better one."""
    best = np.maximum(discount, 1.0)
    return best * np.maximum(sign * (forward - strike), 0.0), best * np.where(sign > 0.0, forward, strike)


def solve(
    contracts: Contracts, european: FloatArray, backend: str, accuracy: str, threads: int
) -> tuple[FloatArray, FloatArray]:
    """(R,) vol and status of each row, from the European implied vols, NaN where there is none.

    NOT_DETERMINED where the price lies at an end of its range, or so near that the error of the scheme moves vol by
    more than RESOLUTION, and above what the European option can be worth; NOT_CONVERGED where a boundary on the way
    was not found.
    """
    price, forward, strike, _, discount, sign = contracts
    least, most = ends(forward, strike, discount, sign)
    status = np.full(len(price), float(Status.NOT_DETERMINED))
    status[price < least] = Status.BELOW_INTRINSIC
    status[price > most] = Status.ABOVE_MAXIMUM
    vol = np.full(len(price), np.nan)
    row = np.flatnonzero((price > least) & (price < most) & np.isfinite(european))
    search = _Search(contracts.rows(row), european[row], load_backend("pricing", backend), accuracy, threads)
    for _ in range(MOST_STEPS):
        if not search.open.any():
            break
        search.step()
    unsure = STATED[accuracy] * search.scale > RESOLUTION * np.maximum(search.at, 1.0) * search.slope
    lost = search.failed | (search.open & ~unsure)
    status[row] = np.where(lost, float(Status.NOT_CONVERGED), np.where(unsure, status[row], float(Status.OK)))
    vol[row] = np.where(status[row] == Status.OK, search.at, np.nan)
    return vol, status


class _Search:
    """Brackets of all rows and the last two points of each; `at` is the best vol so far, `slope` by vol around it."""

    def __init__(self, contracts: Contracts, high: FloatArray, backend: Any, accuracy: str, threads: int) -> None:
        self.contracts, self.backend, self.accuracy, self.threads = contracts, backend, accuracy, threads
        self.scale = np.maximum(contracts.forward, contracts.strike)
        self.failed = np.zeros(len(high), bool)
        self.open = np.ones(len(high), bool)
        self.low, self.high, self.at = np.zeros(len(high)), high.copy(), high.copy()
        self.excess = np.zeros(len(high))
        self.excess[:] = self._excess(np.arange(len(high)), high)
        self.slope = self._european_vega(high)
        self.width, self.stride = np.full(len(high), np.inf), np.ones(len(high))
        # Where early exercise adds nothing the European vol is the one sought.
        self.open &= ~self.failed & (self.excess > CLOSE_VALUE * self.scale)

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
        self.open[row] = ~ended & ~self.failed[row]

    def _excess(self, row: IntArray, vol: FloatArray) -> FloatArray:
        """Value at the vol less the price; rows without a boundary are marked."""
        result = np.zeros(len(row))
        left: BoolArray = np.ones(len(row), bool)
        while left.any():
            part = np.flatnonzero(left)
            price, forward, strike, tau, discount, sign = self.contracts.rows(row[part])
            columns = (forward, strike, tau, vol[part], discount, sign)
            try:
                value = self.backend.value(american, columns, self.threads, accuracy=self.accuracy)
            except UnsolvedError as error:
                wrong = part[[int(problem.row or 0) for problem in error.problems]]
                left[wrong], self.failed[row[wrong]] = False, True
                continue
            result[part] = value - price
            break
        return result

    def _european_vega(self, vol: FloatArray) -> FloatArray:
        _, forward, strike, tau, discount, sign = self.contracts
        return np.array(self.backend.greeks(black76, (forward, strike, tau, vol, discount, sign), self.threads)[3])
