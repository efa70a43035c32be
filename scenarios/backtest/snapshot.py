"""One day of a walk as the engine's own tables, so that any margin model can be asked what it asks for the books."""

from __future__ import annotations

import numpy as np

from pricing.arrays import MILLISECONDS_PER_YEAR, FloatArray
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from scenarios.backtest.books import Books
from scenarios.backtest.history import History
from scenarios.backtest.revaluation import CALENDAR_DAYS, Terms, terms

CURRENCY = "USD"
# Units of the smallest trade; deltas that are hedged are whole multiples of it.
STEP = 1e-6


def snapshot(given: History, row: int, books: Books, underlying: str) -> tuple[Instruments, Market]:
    """Options, paid in dollars, and last a perpetual that stands for the forward, on the market of a row.

    row         of the history
    underlying  name

    A flat slice at the vol of the day stands behind every expiry; forwards are the price, discounts 1.
    """
    at = terms(books, given.vol[[row]])
    options, spot, vol = len(books.sign), float(given.price[row]), float(given.vol[row])
    tenors, expiry = np.unique(books.tenor_days, return_inverse=True)
    moment, expiries = int(given.time_ms[row]), len(tenors) + 1
    step = np.round(tenors / CALENDAR_DAYS * MILLISECONDS_PER_YEAR).astype(np.int64)
    names = [f"{underlying}-{d:g}D-{z:+g}" for d, z in zip(books.tenor_days, books.deviations, strict=True)]
    instruments = Instruments(
        instrument_id=np.array([*names, f"{underlying}-PERPETUAL"]),
        kind=np.append(np.full(options, Kind.OPTION), Kind.PERPETUAL),
        payoff=np.full(options + 1, Payoff.LINEAR),
        underlying_idx=np.zeros(options + 1, dtype=np.int64),
        expiry_idx=np.append(expiry, len(tenors)),
        strike=np.append(spot * at.strike[0], np.nan),
        sign=np.append(books.sign, 1.0),
        exercise=np.full(options + 1, Exercise.EUROPEAN),
        multiplier=np.ones(options + 1),
        quantity_step=np.full(options + 1, STEP),
        currency_idx=np.zeros(options + 1, dtype=np.int64),
    )
    flat = np.zeros((expiries, 5))
    flat[:-1, 0], flat[:-1, 4] = vol * vol * tenors / CALENDAR_DAYS, 0.1
    flat[-1] = np.nan
    market = Market(
        valuation_time=moment,
        underlying_id=np.array([underlying]),
        spot=np.array([spot]),
        expiry_underlying=np.zeros(expiries, dtype=np.int64),
        expiry_time=np.append(moment + step, UNDATED),
        forward=np.full(expiries, spot),
        discount=np.ones(expiries),
        svi=flat,
        mark_vol=np.append(np.full(options, vol), np.nan),
        currency_id=np.array([CURRENCY]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    return instruments, market


def quantities(given: History, row: int, books: Books, at: Terms | None = None) -> FloatArray:
    """(B,N+1) units of every contract of `snapshot` in every book, the forward last.

    row  of the history
    at   the options on the day, where they are at hand
    """
    delta = (terms(books, given.vol[[row]]) if at is None else at).delta[0]
    forwards = np.where(books.hedged, -(books.quantity @ delta), books.forwards)
    return np.column_stack([books.quantity, forwards])
