"""What the two kernels of Derive's portfolio margin share: what they are told of contracts and expiries, and parts.

`derive_numba` counts every scenario exactly; `derive_screen` leaves those out first that cannot be the worst.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from portfolio_margin.backends import lanes
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.xp import numba as XP

# How far ahead of what is counted the book is asked for from memory: some twenty accounts, and their groups. Steps are
# counted faster than a processor foresees it, of many accounts in a row, and after that it has no need of memory.
POSITIONS_AHEAD, GROUPS_AHEAD = 640, 320
# Columns of an expiry: see `Scan`.
LONG, SHORT, AGAIN, WEIGHT, PLAIN, UNDERLYING, EXPIRY_SPOT, MOVES = range(8)
EXPIRY_COLUMNS = 8


class Scan(NamedTuple):
    """What the rule is counted with.

    owner (X+1,) underlying of an expiry row, -1 for none, and its spot (X+1,)
    dampening (n,) of the scenarios, skew (n,) True for tilts of vol
    discount_long, discount_short, restate, basis_weight (X+1,)
    tick_size  margin currency per tick
    """

    owner: IntArray
    spot: FloatArray
    dampening: FloatArray
    skew: BoolArray
    discount_long: FloatArray
    discount_short: FloatArray
    restate: FloatArray
    basis_weight: FloatArray
    tick_size: float

    def by_expiry(self) -> FloatArray:
        """(X+1, EXPIRY_COLUMNS)."""
        plain = (self.discount_long == 1.0) & (self.discount_short == 1.0) & (self.restate == 1.0)
        columns = self.discount_long, self.discount_short, self.restate, self.basis_weight, plain, self.owner, self.spot
        return lanes.aligned(np.column_stack([*columns, np.zeros(len(plain))]))


class Held(NamedTuple):
    """(N,) each: what a contract counts in the charges.

    perpetual, asset   what it is
    expiry    row of an expiry, -1 for cash
    units     of the underlying per contract
    spot      of the underlying
    strike    place of the strike of an option among those of its expiry; -1 for what is no option
    price     of an asset as the venue has it, and its mm_haircut and im_haircut
    """

    perpetual: BoolArray
    asset: BoolArray
    expiry: IntArray
    units: FloatArray
    spot: FloatArray
    strike: IntArray
    price: FloatArray
    mm_haircut: FloatArray
    im_haircut: FloatArray


class Sums(NamedTuple):
    """(B,) each, of a block of accounts: worst loss and the column of the underlying that loses most, revaluation, and
    what charges are shares of."""

    loss: FloatArray
    worst: IntArray
    revalued: FloatArray
    perpetual: FloatArray
    naked: FloatArray
    mm_haircut: FloatArray
    im_haircut: FloatArray


def ahead_template(tag: str) -> Any:
    """The part that asks for positions and groups ahead, to be compiled."""

    def ask_ahead(groups, first, last, low, high):
        """Ask for what lies ahead of positions first to last - 1 and of groups low to high - 1, line by line."""
        tag  # noqa: B018
        group_ptr, group_key, (instrument_idx, quantity) = groups
        for p in range(first + POSITIONS_AHEAD, last + POSITIONS_AHEAD, XP.LINE):
            XP.prefetch(instrument_idx, p)
            XP.prefetch(quantity, p)
        for g in range(low + GROUPS_AHEAD, high + GROUPS_AHEAD, XP.LINE):
            XP.prefetch(group_ptr, g)
            XP.prefetch(group_key, g)

    return ask_ahead


def naked_template(tag: str) -> Any:
    """The part that nets shorts of a group by strike, to be compiled."""

    def naked(first, last, picked, strike, option_units, scratch):
        """Units short of a group after netting by strike, strikes ascending; net by strike is 0 and is left so."""
        tag  # noqa: B018
        instrument_idx, quantity = picked
        net, strikes, amounts = scratch
        for p in range(first, last):
            n = instrument_idx[p]
            if strike[n] >= 0:
                net[strike[n]] += quantity[p] * option_units[n]
        count = 0
        for p in range(first, last):
            here = strike[instrument_idx[p]]
            if here < 0:
                continue
            amount = -net[here]
            net[here] = 0.0
            if not amount > 0.0:
                continue
            place = count
            while place > 0 and strikes[place - 1] > here:
                strikes[place], amounts[place] = strikes[place - 1], amounts[place - 1]
                place -= 1
            strikes[place], amounts[place] = here, amount
            count += 1
        short = 0.0
        for place in range(count):
            short += amounts[place]
        return short

    return naked


@numba.njit(cache=True, nogil=True, error_model="numpy")
def most_at_once(first: int, last: int, at_once: int, account_ptr: Any, group_ptr: Any) -> tuple[int, int]:
    """The most positions, and groups, that so many of accounts first to last - 1 in a row have, from the first on."""
    positions, groups = 0, 0
    for a in range(first, last, at_once):
        low, high = account_ptr[a], account_ptr[min(a + at_once, last)]
        positions, groups = max(positions, group_ptr[high] - group_ptr[low]), max(groups, high - low)
    return positions, groups
