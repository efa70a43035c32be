"""What the account kernels of all backends take: numbers only."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray

# Every whole number up to here has an exact double, so sums of ticks below it are exact.
EXACT_LIMIT = 2.0**53
# A quantity is a whole multiple of its step up to this share of the step and a few roundings of its own.
STEP_TOLERANCE = 1e-6
QUANTITY_ROUNDING = 4.0 * 2.0**-52
# Positions for each row of a table, from which on copies of it are worth making.
POSITIONS_PER_ROW = 256


class Positions(NamedTuple):
    """A book and the netting set each group belongs to.

    account_ptr (A+1,) -> groups, group_ptr (G+1,) -> positions, netting_set (G,) any labels such that
    groups of one set stand together inside an account, instrument_idx (P,), quantity (P,), row_set (N,) the set
    that each instrument belongs to, which must be that of its group; `kept` is what backends make of the positions and
    ask for again, by what they call it, None where nothing is kept.
    """

    account_ptr: IntArray
    group_ptr: IntArray
    netting_set: IntArray
    instrument_idx: IntArray
    quantity: FloatArray
    row_set: IntArray
    kept: dict[Any, Any] | None = None


class Table(NamedTuple):
    """Rows that positions are multiplied with.

    rows        (N,K) ticks per unit
    unit        (N,) quantity one row stands for
    contract    (N,) True: quantities are whole multiples of the unit and rows whole ticks
    long_weight (N,) factor on long balances of collateral: 1 - haircut
    magnitude   (N,) largest absolute value of the row
    rounded     True where products of collateral are rounded to whole ticks
    kept        what backends make of it and ask for again, by what they call it; None where nothing is kept
    """

    rows: FloatArray
    unit: FloatArray
    contract: BoolArray
    long_weight: FloatArray
    magnitude: FloatArray
    rounded: bool
    kept: dict[Any, Any] | None = None


class Faults(NamedTuple):
    """(A,) each: first position that is no whole multiple of its step, or -1; sum of magnitudes; first position in a
    group of another netting set, or -1. Empty where a backend has found that there are none."""

    off_step: IntArray
    magnitude: FloatArray
    misplaced: IntArray


NO_FAULTS = Faults(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


def is_off_step(quantity: FloatArray, unit: FloatArray) -> BoolArray:
    """Where a quantity is no whole multiple of its unit; true for one that is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(np.rint(quantity / unit) * unit - quantity)
        return np.asarray(~(gap <= STEP_TOLERANCE * unit + QUANTITY_ROUNDING * np.abs(quantity)))


def is_no_multiple(quantity: FloatArray, unit: FloatArray) -> BoolArray:
    """`is_off_step`, and where a quantity is of no unit at all but not 0: dust of sums that a position may hold, and
    nobody trades."""
    with np.errstate(invalid="ignore", over="ignore"):
        dust = (np.rint(quantity / unit) == 0.0) & (quantity != 0.0)
    return np.asarray(is_off_step(quantity, unit) | dust)


def is_beyond_exact(quantity: FloatArray, unit: FloatArray) -> BoolArray:
    """Where a quantity is finite and of more units than have exact doubles, so that no sum with it could be exact."""
    with np.errstate(over="ignore"):
        return np.asarray(np.isfinite(quantity) & (np.abs(quantity / unit) > EXACT_LIMIT))


def units_held(positions: Positions, table: Table) -> FloatArray:
    """(P,) rows each position holds: whole steps of a contract, weighted balance of an asset."""
    quantity, row = positions.quantity, positions.instrument_idx
    with np.errstate(over="ignore"):  # as below
        steps = np.rint(quantity / table.unit[row])
    balance = np.where(quantity > 0, quantity * table.long_weight[row], quantity)
    return np.where(table.contract[row], steps, balance)


def faults(positions: Positions, table: Table, held: FloatArray) -> Faults:
    """The checks of the numba kernel, for the array backends."""
    quantity, row = positions.quantity, positions.instrument_idx
    off = table.contract[row] & is_off_step(quantity, table.unit[row])
    placed = np.repeat(positions.netting_set, np.diff(positions.group_ptr))
    first = positions.group_ptr[positions.account_ptr]
    filled = np.flatnonzero(np.diff(first) > 0)
    magnitude = np.zeros(len(first) - 1)
    if len(filled):
        with np.errstate(over="ignore"):  # a sum that is not finite is refused where it is looked at
            magnitude[filled] = np.add.reduceat(np.abs(held) * table.magnitude[row], first[filled])
    return Faults(_first_of(off, first), magnitude, _first_of(positions.row_set[row] != placed, first))


def _first_of(bad: BoolArray, first: IntArray) -> IntArray:
    """(A,) first bad position of each account, -1 where there is none; `first` (A+1,) are the accounts' bounds."""
    found = np.full(len(first) - 1, -1)
    filled = np.flatnonzero(np.diff(first) > 0)
    if len(filled):
        lowest = np.minimum.reduceat(np.where(bad, np.arange(len(bad)), len(bad)), first[filled])
        found[filled] = np.where(lowest < len(bad), lowest, -1)
    return found


def netting_segments(positions: Positions) -> tuple[IntArray, IntArray, IntArray]:
    """First position, account and netting set of every (account, netting set) that holds anything."""
    groups = len(positions.group_ptr) - 1
    account_of_group = np.repeat(np.arange(len(positions.account_ptr) - 1), np.diff(positions.account_ptr))
    opens = np.ones(groups, dtype=bool)
    opens[1:] = (np.diff(account_of_group) != 0) | (np.diff(positions.netting_set) != 0)
    return positions.group_ptr[:-1][opens], account_of_group[opens], positions.netting_set[opens]


def worst_of_segments(sums: FloatArray, account: IntArray, accounts: int) -> tuple[FloatArray, IntArray]:
    """(A,) loss summed over netting sets and the worst scenario of the set that loses most, -1 for none.

    sums is (segments, K), account is the account of each segment.
    """
    scenario = np.argmin(sums, axis=1)
    return worst_of_losses(sums[np.arange(len(sums)), scenario], scenario, account, accounts)


def worst_of_losses(
    lowest: FloatArray, scenario: IntArray, account: IntArray, accounts: int
) -> tuple[FloatArray, IntArray]:
    """`worst_of_segments` from the lowest sum of each segment and the scenario it stands in."""
    loss = np.maximum(-lowest, 0.0)
    total = np.zeros(accounts)
    np.add.at(total, account, loss)
    largest = np.zeros(accounts)
    with np.errstate(invalid="ignore"):  # a loss that is no number is refused where the total is looked at
        np.maximum.at(largest, account, loss)
    # Later writes win, so segments go backwards: of equal losses the first one counts.
    worst = np.full(accounts, -1)
    reached = np.flatnonzero((loss > 0) & (loss == largest[account]))[::-1]
    worst[account[reached]] = scenario[reached]
    return total, worst
