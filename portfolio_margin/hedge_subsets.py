"""The subsets of contracts that a hedge is searched in by themselves, so that more to choose from never costs more.

A search that proves nothing may end at dearer trades when it has more contracts to choose from. Four classes, all that
are shut under their intersections: what the account holds, perpetuals, futures and perpetuals, and what is held
together with either. The hedge of a set is searched in each part that a class cuts out of it, by the same rule, so what
is found of a part alone is also found of the whole.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.trial_margins import Trials, prepare_trials
from pricing.arrays import IntArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays


def named_subsets(trials: Trials) -> list[IntArray]:
    """-> n contracts of every class that has some and not all of them, smallest first."""
    kind = trials.arrays.kind[trials.rows]
    held = trials.held_lots() != 0.0
    perpetual = kind == Kind.PERPETUAL
    linear = perpetual | (kind == Kind.FUTURE)
    found: dict[bytes, IntArray] = {}
    for chosen in (held, perpetual, linear, held | perpetual, held | linear):
        if chosen.any() and not chosen.all():
            found.setdefault(chosen.tobytes(), np.flatnonzero(chosen))
    return sorted(found.values(), key=len)


def held_with_some(trials: Trials) -> list[IntArray]:
    """-> n contracts that are held, alone, with all perpetuals, and with the futures of the same expiries; some, never
    all."""
    held = trials.held_lots() != 0.0
    kind, expiry = trials.arrays.kind[trials.rows], trials.arrays.expiry_idx[trials.rows]
    future = (kind == Kind.FUTURE) & np.isin(expiry, expiry[held])
    found: dict[bytes, IntArray] = {}
    for chosen in (held, held | (kind == Kind.PERPETUAL), held | future):
        if held.any() and not chosen.all():
            found.setdefault(chosen.tobytes(), np.flatnonzero(chosen))
    return list(found.values())


def fewer_contracts(trials: Trials, book: Book, arrays: RiskArrays, few: IntArray) -> Trials:
    """The trials of the one account of a book in the contracts few -> n only."""
    part = prepare_trials(book, arrays, trials.model, trials.rows[few])
    return replace(part, arrays=trials.arrays)
