"""What accounts are charged for options sold, compiled: one pass over the positions, without a book of its own."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from portfolio_margin.backends import lanes, steps
from portfolio_margin.kernel_inputs import EXACT_LIMIT, Positions, Table
from pricing.arrays import BoolArray, FloatArray
from pricing.xp import numba as XP


def _template(tag: str) -> Any:
    def short_sums(first, last, positions, option, rate, per_unit, unit, sums):
        """Fill the sums of accounts first to last - 1; returns how many positions the reference must look at."""
        tag  # noqa: B018 - enters the key of the disk cache
        account_ptr, group_ptr, instrument_idx, quantity = positions
        doubtful = 0
        for a in range(first, last):
            total = 0.0
            for p in range(group_ptr[account_ptr[a]], group_ptr[account_ptr[a + 1]]):
                n, q = lanes.take(instrument_idx, p), lanes.take(quantity, p)
                if q < 0.0 and option[n]:
                    sold = -q * per_unit[n]
                    units = lanes.nearest(sold)
                    if not steps.is_clear(sold, units):
                        units, off = UNITS(-q, unit[n], True, 1.0)  # noqa: F821
                        doubtful += off
                    total += units * rate[n]
            sums[a] = total
            doubtful += not total <= EXACT_LIMIT
        return doubtful

    return short_sums


@functools.cache
def _kernel() -> Any:
    names = {"UNITS": steps.looked_at}
    return XP.compile_kernel(_template(""), XP.source_hash(lanes, steps), None, names, fastmath=False)


def short_sums(positions: Positions, table: Table, option: BoolArray, threads: int = 1) -> FloatArray | None:
    """(A,) sums of the rows (N,1), 0 or more, times the units sold of options, ticks.

    option  (N,) what is one
    None where the reference must look: a quantity off its step, a sum that ticks cannot hold, arrays without ticks.
    """
    if not table.rounded:
        return None
    sums, rate, per_unit = np.empty(len(positions.account_ptr) - 1), table.rows[:, 0], 1.0 / table.unit
    given = positions.account_ptr, positions.group_ptr, positions.instrument_idx, positions.quantity

    def run(rows: slice) -> int:
        return int(_kernel()(rows.start, rows.stop, given, option, rate, per_unit, table.unit, sums))

    return None if any(XP.run_in_threads(run, len(sums), XP.workers_of(threads))) else sums
