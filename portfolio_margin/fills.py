"""Positions of accounts after fills and transfers, many accounts at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.ledger import Positions
from pricing.arrays import FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays


class Additions(NamedTuple):
    """Quantities to be added, in this order: owner (M,) -> R place of the account, row (M,) -> N, quantity (M,)."""

    owner: IntArray
    row: IntArray
    quantity: FloatArray


def merged(positions: Positions, additions: Additions, arrays: RiskArrays, rank: IntArray) -> Positions:
    """Positions with additions, in order of rank inside an account; what comes to 0 is gone.

    rank  (N,) place of each instrument inside an account
    """
    accounts = len(positions.pointer) - 1
    owner = np.concatenate([np.repeat(np.arange(accounts), np.diff(positions.pointer)), additions.owner])
    row = np.concatenate([positions.instrument_idx, additions.row])
    quantity = np.concatenate([positions.quantity, additions.quantity])
    # Stable: sums of doubles depend on their order, and what is held comes first.
    order = np.lexsort((rank[row], owner))
    owner, row = owner[order], row[order]
    starts = np.ones(len(row), dtype=np.bool_)
    starts[1:] = (np.diff(owner) != 0) | (np.diff(row) != 0)
    first = np.flatnonzero(starts)
    total = np.zeros(len(first))
    np.add.at(total, np.cumsum(starts) - 1, quantity[order])
    owner, row = owner[first], row[first]
    step = arrays.quantity_step[row]
    # Decimal steps such as 0.1 do not add exactly: a quantity is again the nearest whole multiple.
    total = np.where(arrays.is_collateral[row], total, np.rint(total / step) * step)
    kept = total != 0
    pointer = np.searchsorted(owner[kept], np.arange(accounts + 1))
    return Positions(pointer, row[kept], total[kept])
