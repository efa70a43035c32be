"""Payoffs: the worst that options of one expiry can be worth at expiry, group by group."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray, IntArray

# Numbers of one table of payoffs, 32 MB.
NUMBERS_AT_ONCE = 4_000_000


class Payoffs(NamedTuple):
    """(G,) each: lowest payoff over the prices 0 and every strike of the group that is held, 0 for an empty one; the
    price it is at; the net amount of calls, which is the slope of the payoff beyond the last strike."""

    lowest: FloatArray
    price: FloatArray
    net_calls: FloatArray


def lowest_payoffs(strike: FloatArray, sign: FloatArray, amount: FloatArray, ptr: IntArray) -> Payoffs:
    """Lowest payoffs of groups of European options on one underlying and expiry.

    strike, sign (+1 call, -1 put), amount (P,) in units, + long; ptr (G+1,) first row of each group. A payoff is
    piecewise linear between strikes, so up to the last strike its lowest value is at 0 or at one of them; an amount of
    0 bends nothing, and its strike is none. Groups of equal size are taken together; the numbers of a group do not
    depend on the others.
    """
    groups = len(ptr) - 1
    lowest, price = np.zeros(groups), np.zeros(groups)
    net_calls = np.zeros(groups)
    sizes = np.diff(ptr)
    for size in np.unique(sizes[sizes > 0]):
        members = np.flatnonzero(sizes == size)
        step = max(1, NUMBERS_AT_ONCE // int((size + 1) * size))
        for start in range(0, len(members), step):
            chosen = members[start : start + step]
            row = ptr[chosen][:, None] + np.arange(size)
            k, s, a = strike[row], sign[row], amount[row]
            prices = np.concatenate([np.zeros((len(chosen), 1)), np.where(a != 0.0, k, 0.0)], axis=1)
            each = a[:, None, :] * np.maximum(s[:, None, :] * (prices[:, :, None] - k[:, None, :]), 0.0)
            payoff = each.sum(axis=2)
            worst = np.argmin(payoff, axis=1)
            here = np.arange(len(chosen))
            lowest[chosen] = payoff[here, worst]
            price[chosen] = prices[here, worst]
            net_calls[chosen] = np.where(s > 0, a, 0.0).sum(axis=1)
    return Payoffs(lowest, price, net_calls)
