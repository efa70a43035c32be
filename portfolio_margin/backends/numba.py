"""Account kernels compiled by numba: production. Parallel over accounts, in order inside one."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin.kernel_inputs import STEP_TOLERANCE, Faults, Positions, Table
from pricing.arrays import FloatArray, IntArray
from pricing.xp import numba as XP

BLOCK_ACCOUNTS = 1_024


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _add_position(positions: Any, table: Any, p: int, total: Any) -> tuple[float, bool]:
    """Add rows times units held of position p to `total`; returns its magnitude and whether it is off step."""
    n = positions.instrument_idx[p]
    quantity = positions.quantity[p]
    row = table.rows[n]
    if table.contract[n]:
        held = np.rint(quantity / table.unit[n])
        off = abs(held * table.unit[n] - quantity) > STEP_TOLERANCE * max(1.0, abs(quantity))
        for s in range(row.shape[0]):
            total[s] += held * row[s]
    else:
        held = quantity * table.long_weight[n] if quantity > 0.0 else quantity
        off = False
        if table.rounded:
            for s in range(row.shape[0]):
                total[s] += np.rint(held * row[s])
        else:
            for s in range(row.shape[0]):
                total[s] += held * row[s]
    return abs(held) * table.magnitude[n], off


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz"})
def _lowest(total: Any) -> tuple[float, int]:
    """Smallest element and its first position."""
    lowest = total[0]
    for s in range(1, total.shape[0]):
        lowest = total[s] if total[s] < lowest else lowest
    where = 0
    while total[where] != lowest:
        where += 1
    return lowest, where


@numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _account_sums_kernel(positions: Any, table: Any, out: Any, off_step: Any, magnitude: Any) -> None:
    accounts = out.shape[0]
    blocks = (accounts + BLOCK_ACCOUNTS - 1) // BLOCK_ACCOUNTS
    for block in numba.prange(blocks):
        for a in range(block * BLOCK_ACCOUNTS, min(accounts, (block + 1) * BLOCK_ACCOUNTS)):
            total = out[a]
            for s in range(total.shape[0]):
                total[s] = 0.0
            size = 0.0
            bad = -1
            first = positions.group_ptr[positions.account_ptr[a]]
            last = positions.group_ptr[positions.account_ptr[a + 1]]
            for p in range(first, last):
                added, off = _add_position(positions, table, p, total)
                size += added
                if off and bad < 0:
                    bad = p
            off_step[a] = bad
            magnitude[a] = size


@numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _worst_loss_kernel(
    positions: Any, table: Any, loss: Any, scenario: Any, off_step: Any, magnitude: Any
) -> None:
    accounts = loss.shape[0]
    blocks = (accounts + BLOCK_ACCOUNTS - 1) // BLOCK_ACCOUNTS
    for block in numba.prange(blocks):
        total = np.empty(table.rows.shape[1])
        for a in range(block * BLOCK_ACCOUNTS, min(accounts, (block + 1) * BLOCK_ACCOUNTS)):
            size, summed, largest = 0.0, 0.0, 0.0
            bad, worst = -1, -1
            first, last = positions.account_ptr[a], positions.account_ptr[a + 1]
            for s in range(total.shape[0]):
                total[s] = 0.0
            for g in range(first, last):
                for p in range(positions.group_ptr[g], positions.group_ptr[g + 1]):
                    added, off = _add_position(positions, table, p, total)
                    size += added
                    if off and bad < 0:
                        bad = p
                if g + 1 == last or positions.netting_set[g + 1] != positions.netting_set[g]:
                    lowest, where = _lowest(total)
                    if lowest < 0.0:
                        summed -= lowest
                        if -lowest > largest:
                            largest = -lowest
                            worst = where
                    for s in range(total.shape[0]):
                        total[s] = 0.0
            loss[a] = summed
            scenario[a] = worst
            off_step[a] = bad
            magnitude[a] = size


def account_sums(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, Faults]:
    """(A,K) sums in ticks; see the numpy backend."""
    accounts = len(positions.account_ptr) - 1
    out = np.empty((accounts, table.rows.shape[1]))
    found = Faults(np.empty(accounts, np.int64), np.empty(accounts))
    with XP.thread_count(threads):
        _account_sums_kernel(positions, table, out, *found)
    return out, found


def worst_loss(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, IntArray, Faults]:
    """(A,) worst loss in ticks and (A,) its scenario; see the numpy backend."""
    accounts = len(positions.account_ptr) - 1
    loss, scenario = np.empty(accounts), np.empty(accounts, np.int64)
    found = Faults(np.empty(accounts, np.int64), np.empty(accounts))
    with XP.thread_count(threads):
        _worst_loss_kernel(positions, table, loss, scenario, *found)
    return loss, scenario, found
