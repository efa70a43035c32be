"""Account kernels compiled by numba: production. Parallel over accounts, in order inside one."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin.kernel_inputs import QUANTITY_ROUNDING, STEP_TOLERANCE, Faults, Positions, Table
from pricing.arrays import FloatArray, IntArray
from pricing.xp import numba as XP

BLOCK_ACCOUNTS = 1_024


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _units_held(quantity: float, unit: float, contract: bool, long_weight: float) -> tuple[float, bool]:
    """Rows one position holds, and whether its quantity is off its step."""
    if contract:
        held = np.rint(quantity / unit)
        return held, abs(held * unit - quantity) > STEP_TOLERANCE * unit + QUANTITY_ROUNDING * abs(quantity)
    return (quantity * long_weight if quantity > 0.0 else quantity), False


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _add(total: Any, row: Any, held: float, rounds: bool) -> None:
    """total += held * row; the product of a balance of collateral is rounded to whole ticks."""
    if rounds:
        for s in range(total.shape[0]):
            total[s] += np.rint(held * row[s])
    else:
        for s in range(total.shape[0]):
            total[s] += held * row[s]


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
def _account_sums_kernel(positions: Any, table: Any, out: Any, found: Any) -> None:
    account_ptr, group_ptr, netting_set, instrument_idx, quantity, row_set = positions
    off_step, magnitude, misplaced = found
    rows, unit, contract, long_weight, row_magnitude, rounded = table
    accounts = out.shape[0]
    blocks = (accounts + BLOCK_ACCOUNTS - 1) // BLOCK_ACCOUNTS
    for block in numba.prange(blocks):
        for a in range(block * BLOCK_ACCOUNTS, min(accounts, (block + 1) * BLOCK_ACCOUNTS)):
            total = out[a]
            for s in range(total.shape[0]):
                total[s] = 0.0
            size = 0.0
            bad, apart = -1, -1
            for g in range(account_ptr[a], account_ptr[a + 1]):
                for p in range(group_ptr[g], group_ptr[g + 1]):
                    n = instrument_idx[p]
                    held, off = _units_held(quantity[p], unit[n], contract[n], long_weight[n])
                    _add(total, rows[n], held, rounded and not contract[n])
                    size += abs(held) * row_magnitude[n]
                    if off and bad < 0:
                        bad = p
                    if row_set[n] != netting_set[g] and apart < 0:
                        apart = p
            off_step[a] = bad
            misplaced[a] = apart
            magnitude[a] = size


@numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _worst_loss_kernel(positions: Any, table: Any, loss: Any, scenario: Any, found: Any) -> None:
    # Arrays are taken out of the tuples once: taking them out per position costs more than the sums.
    account_ptr, group_ptr, netting_set, instrument_idx, quantity, row_set = positions
    rows, unit, contract, long_weight, row_magnitude, rounded = table
    off_step, magnitude, misplaced = found
    accounts = loss.shape[0]
    blocks = (accounts + BLOCK_ACCOUNTS - 1) // BLOCK_ACCOUNTS
    for block in numba.prange(blocks):
        total = np.empty(rows.shape[1])
        for a in range(block * BLOCK_ACCOUNTS, min(accounts, (block + 1) * BLOCK_ACCOUNTS)):
            size, summed, largest = 0.0, 0.0, 0.0
            bad, apart, worst = -1, -1, -1
            first, last = account_ptr[a], account_ptr[a + 1]
            for s in range(total.shape[0]):
                total[s] = 0.0
            for g in range(first, last):
                for p in range(group_ptr[g], group_ptr[g + 1]):
                    n = instrument_idx[p]
                    held, off = _units_held(quantity[p], unit[n], contract[n], long_weight[n])
                    _add(total, rows[n], held, rounded and not contract[n])
                    size += abs(held) * row_magnitude[n]
                    if off and bad < 0:
                        bad = p
                    if row_set[n] != netting_set[g] and apart < 0:
                        apart = p
                if g + 1 == last or netting_set[g + 1] != netting_set[g]:
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
            misplaced[a] = apart
            magnitude[a] = size


KERNELS = (_account_sums_kernel, _worst_loss_kernel)


def account_sums(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, Faults]:
    """(A,K) sums in ticks; see the numpy backend."""
    accounts = len(positions.account_ptr) - 1
    out = np.empty((accounts, table.rows.shape[1]))
    found = Faults(np.empty(accounts, np.int64), np.empty(accounts), np.empty(accounts, np.int64))
    with XP.thread_count(threads):
        _account_sums_kernel(positions, table, out, found)
    return out, found


def worst_loss(positions: Positions, table: Table, threads: int = 1) -> tuple[FloatArray, IntArray, Faults]:
    """(A,) worst loss in ticks and (A,) its scenario; see the numpy backend."""
    accounts = len(positions.account_ptr) - 1
    loss, scenario = np.empty(accounts), np.empty(accounts, np.int64)
    found = Faults(np.empty(accounts, np.int64), np.empty(accounts), np.empty(accounts, np.int64))
    with XP.thread_count(threads):
        _worst_loss_kernel(positions, table, loss, scenario, found)
    return loss, scenario, found
