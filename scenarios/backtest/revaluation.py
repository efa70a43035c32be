"""P&L of books under moves, by full revaluation (Black-76 at zero rates), day by day.

Everything is per unit of the price when the day begins: the forward is 1, a P&L a share of it. Each option is revalued
once under every move of its day; books are sums of options (architecture: P&L is linear in quantity). P&L of an option
and its delta are rounded once, to whole multiples of 2^-46, so that sums of whole units are exact (below 128
prices): the same bits however the books are cut into parts, and on any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray, IntArray
from pricing.price import greeks, price
from scenarios.backtest.books import Books
from scenarios.backtest.history import History, price_moves, vol_moves
from scenarios.dynamics import tenor_scale
from scenarios.shocks import VolDynamics

CALENDAR_DAYS = 365.0
# Options revalued at once, so that what is at hand stays in the cache.
BLOCK_CELLS = 400_000
# A number of less than 32 plus this has no digit below 2^-46 left; sums of such numbers are exact up to 128.
ROUNDING = 1.5 * 2.0**6
DYNAMICS = VolDynamics(short_power=0.30, long_power=0.13)


class Moves(NamedTuple):
    """What may happen over the horizon of each of n days.

    price   (n,S) relative move of the price
    vol     (n,S) relative move of the 30-day vol; that of other days is scaled as `dynamics.tenor_scale` says
    days    (n,S) calendar days that pass
    weight  (n,S) share of the P&L that counts
    """

    price: FloatArray
    vol: FloatArray
    days: FloatArray
    weight: FloatArray


class Terms(NamedTuple):
    """Options of n days, shapes (n,N).

    strike  over the forward
    vol     per sqrt(year)
    value   share of the forward
    delta   units of the forward
    """

    strike: FloatArray
    vol: FloatArray
    value: FloatArray
    delta: FloatArray


def terms(books: Books, vol: FloatArray, backend: str = "numba") -> Terms:
    """The options of the books on days with these vols (n,)."""
    tau = books.tenor_days / CALENDAR_DAYS
    vols = np.repeat(vol[:, None], len(tau), axis=1)
    strike = np.exp(books.deviations * vols * np.sqrt(tau))
    found = greeks(1.0, strike, tau, vols, books.sign, backend=backend, order=1, only=("price", "delta"))
    return Terms(strike, vols, found["price"], found["delta"])


def book_pnl(
    books: Books, at: Terms, moves: Moves, dynamics: VolDynamics = DYNAMICS, backend: str = "numba"
) -> FloatArray:
    """(B,n,S) P&L of every book under the moves of every day, times their weight, gain positive.

    dynamics  powers over tenors and floors of vols count; one vol a day for all strikes leaves nothing to stickiness
    """
    tau = books.tenor_days / CALENDAR_DAYS
    scale = tenor_scale(tau, dynamics)
    # Options first and the forward last, so that books are one matrix product: (N+1,n,S).
    unit = np.empty((len(tau) + 1, *moves.price.shape))
    strike, vol, value = (np.ascontiguousarray(column.T)[:, :, None] for column in (at.strike, at.vol, at.value))
    left = np.maximum(tau[:, None, None] - moves.days / CALENDAR_DAYS, 0.0)
    shocked = vol * np.maximum(1.0 + scale[:, None, None] * moves.vol, 0.0)
    least_up = max(dynamics.minimum_vol_up, dynamics.vol_floor)
    if least_up > 0.0:
        np.maximum(shocked, np.where(moves.vol > 0.0, least_up, dynamics.vol_floor), out=shocked)
    price(1.0 + moves.price, strike, left, shocked, books.sign[:, None, None], backend=backend, out=unit[:-1])
    unit[:-1] -= value
    unit[-1] = moves.price
    unit *= moves.weight
    _round(unit)
    delta = at.delta.copy()
    _round(delta)
    held = np.column_stack([books.quantity, np.where(books.hedged, 0.0, books.forwards)])
    pnl = (held @ unit.reshape(len(unit), -1)).reshape(len(books), *moves.price.shape)
    for row in np.flatnonzero(books.hedged):
        pnl[row] -= (delta @ books.quantity[row])[:, None] * unit[-1]
    return np.asarray(pnl)


def _round(values: FloatArray) -> None:
    """To whole multiples of 2^-46, in place."""
    values += ROUNDING
    values -= ROUNDING


def realised(
    given: History, books: Books, rows: IntArray, horizon: int, dynamics: VolDynamics = DYNAMICS, backend: str = "numba"
) -> FloatArray:
    """(R,B) realised loss over the horizon that begins at each row, a share of the price there, + lost.

    Positions stand still over the horizon; options are worth what the price and the vol at its end make of them.
    """
    lost = np.empty((len(rows), len(books)))
    for part in blocks(len(rows), max(len(books.sign), 1)):
        own = rows[part]
        passed = (given.time_ms[own + horizon] - given.time_ms[own]) / 86_400_000.0
        column = (price_moves(given, own, horizon), vol_moves(given, own, horizon), passed, np.ones(len(own)))
        moves = Moves(*(values[:, None] for values in column))
        at = terms(books, given.vol[own], backend)
        lost[part] = -book_pnl(books, at, moves, dynamics, backend)[:, :, 0].T
    return lost


def blocks(rows: int, cells: int) -> list[slice]:
    """Slices of so many rows, `cells` options under a move in each, that keep a block small."""
    size = max(1, BLOCK_CELLS // max(cells, 1))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
