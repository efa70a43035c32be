"""Worst losses tier by tier: what each tier of wider moves adds to the one before."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from portfolio_margin.blocks import blocks
from portfolio_margin.book import Book
from portfolio_margin.dynamic.moves import TIERS
from pricing.arrays import FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays


class TierLosses(NamedTuple):
    """Of every account.

    added  (A,4) worst loss of the first tier, then what each further tier adds to it, margin currency, 0 or more;
           underlyings are added up, gains of one never offsetting another
    worst  (A,) -> S scenario of the underlying that loses most, over all tiers; -1 where nothing loses
    """

    added: FloatArray
    worst: IntArray


def worst_by_tier(ticks: FloatArray, tier: IntArray) -> tuple[FloatArray, IntArray]:
    """(R,4) worst loss over the tiers up to each, 0 or more, and (R,4) -> S where it happens.

    ticks  (R,S) P&L
    tier   (S,) 0 to 3, not decreasing
    """
    row = np.arange(len(ticks))
    starts = np.searchsorted(tier, np.arange(len(TIERS) + 1))
    where = np.zeros((len(ticks), len(TIERS)), dtype=np.int64)
    for k, (first, last) in enumerate(pairwise(starts.tolist())):
        own = first + np.argmin(ticks[:, first:last], axis=1)
        # A tier that loses no more than those before leaves their scenario, the first of equal ones.
        before = where[:, k - 1] if k else own
        where[:, k] = np.where(ticks[row, own] < ticks[row, before], own, before)
    return np.maximum(-np.take_along_axis(ticks, where, axis=1), 0.0), where


def tier_losses(
    book: Book, arrays: RiskArrays, haircut: FloatArray, *, backend: str = "numba", threads: int | None = None
) -> TierLosses:
    """Worst losses of every account, collateral included after its haircut (N,)."""
    tier = arrays.scenario_set.tier
    added, worst, largest = np.zeros((len(book), len(TIERS))), np.full(len(book), -1), np.zeros(len(book))
    for block in blocks(book, arrays, by="underlying", haircut=haircut, backend=backend, threads=threads):
        here = slice(block.first, block.last)
        loss, where = worst_by_tier(block.ticks, tier)
        added[here] = block.by_account(np.diff(loss, axis=1, prepend=0.0)) * arrays.tick_size
        np.maximum.at(largest[here], block.account, loss[:, -1])
        rows = np.flatnonzero((loss[:, -1] > 0.0) & (loss[:, -1] == largest[here][block.account]))[::-1]
        worst[here][block.account[rows]] = where[rows, -1]
    return TierLosses(added, worst)
