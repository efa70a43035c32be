"""Auto-deleveraging: which profitable positions are closed against a bankrupt one, in which order and how much."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem


class Scores(NamedTuple):
    """(P,) each: profit as a share of the entry value, effective leverage, and the score that ranks."""

    profit: FloatArray
    leverage: FloatArray
    score: FloatArray


def scores(entry: ArrayLike, mark: ArrayLike, quantity: ArrayLike, bankruptcy_price: ArrayLike) -> Scores:
    """Score of positions in one contract: profit x leverage, profit / leverage where it is a loss.

    entry             (P,) average entry price, above 0
    mark              (P,) mark price
    quantity          (P,) contracts, long above 0, not 0
    bankruptcy_price  (P,) price at which the position has lost its collateral

    leverage = |MV| / (MV - BV) with the values at mark and at the bankruptcy price; inf where the position is beyond
    its bankruptcy. BitMEX, auto-deleveraging; Binance, Bybit and OKX rank alike.
    """
    start, price, held, bankrupt = (np.asarray(v, np.float64) for v in (entry, mark, quantity, bankruptcy_price))
    for name, values, good, text in (
        ("entry", start, (start > 0) & np.isfinite(start), "must be a finite price above 0"),
        ("mark", price, np.isfinite(price), "must be a finite price"),
        ("bankruptcy_price", bankrupt, np.isfinite(bankrupt), "must be a finite price"),
        ("quantity", held, (held != 0) & np.isfinite(held), "must be a finite number, not 0"),
    ):
        if not np.all(good):
            rows = np.flatnonzero(~np.atleast_1d(good))
            bad = np.atleast_1d(values)
            raise DataError([Problem("deleveraging", int(row), name, float(bad[row]), text) for row in rows])
    profit = np.sign(held) * (price - start) / start
    cushion = held * (price - bankrupt)
    leverage = np.full(np.broadcast_shapes(cushion.shape, price.shape), np.inf)
    np.divide(np.abs(held * price), cushion, out=leverage, where=cushion > 0)
    with np.errstate(invalid="ignore"):
        score = np.where(profit > 0, profit * leverage, profit / leverage)
    return Scores(profit, leverage, np.where(profit == 0, 0.0, score))


def queue(score: ArrayLike, quantity: ArrayLike, long: bool) -> IntArray:
    """Rows of one side, the first to be deleveraged first; equal scores in the order of the rows.

    score     (P,) of `scores`
    quantity  (P,) contracts, long above 0
    long      side of the queue: longs are closed against a bankrupt short
    """
    ranked, held = np.asarray(score, dtype=np.float64), np.asarray(quantity, dtype=np.float64)
    order = np.argsort(-ranked, kind="stable")
    return np.asarray(order[(held[order] > 0) if long else (held[order] < 0)])


def closed_in_order(amount: int, sizes: ArrayLike) -> IntArray:
    """What is taken from each in turn until the amount is reached, in whole steps; all of it where it is not enough.

    amount  steps to close, 0 or more
    sizes   (P,) steps each has, 0 or more, in the order of the queue
    """
    available = np.asarray(sizes)
    whole = isinstance(amount, (int, np.integer)) and (not available.size or available.dtype.kind in "iu")
    if not whole or amount < 0 or np.any(available < 0):
        remedy = "must be whole steps, 0 or more, and so must the amount"
        raise DataError([Problem("deleveraging", None, "sizes", available.ravel()[:8].tolist(), remedy)])
    available = available.astype(np.int64)
    before = np.concatenate([[0], np.cumsum(available)[:-1]]) if len(available) else available
    return np.asarray(np.clip(amount - before, 0, available))
