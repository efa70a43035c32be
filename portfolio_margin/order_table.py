"""What a kernel needs to margin one account after one order, for models whose requirement is a worst loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.dollars import money_digits, money_step
from pricing.arrays import FloatArray, IntArray, freeze
from scenarios.risk_arrays import RiskArrays

# Columns by instrument: one instrument's numbers stand together, since an account needs all of few instruments.
# Those of every position come first: they fill one cache line.
UNIT, CONTRACT, MAGNITUDE, VALUE_TICKS, DELTA_TICKS, SHORT_TICKS, NETTING_SET, RANK = range(8)
LONG_WEIGHT, VALUE, CASH_ROW = range(8, 11)
COLUMNS = 16
CACHE_LINE = 64
TICK, INITIAL_FACTOR, MAINTENANCE_FACTOR, MONEY_STEP, STEPS_PER_UNIT, SCENARIOS = range(6)


class OrderTable(NamedTuple):
    """A requirement factor x max(sum of worst losses of netting sets, floor of short options), as numbers only.

    rows      (N,S) P&L in ticks per unit
    columns   (N,COLUMNS) by instrument:
              UNIT quantity one row stands for, of a contract its quantity step; CONTRACT 1, or 0 for an asset, whose
              products are rounded to whole ticks; LONG_WEIGHT 1 - haircut of a long balance; MAGNITUDE largest absolute
              number of all its ticks; VALUE_TICKS, DELTA_TICKS ticks per unit; SHORT_TICKS floor of one short unit, 0
              for everything but options; VALUE margin currency per contract, what an order at the mark costs;
              CASH_ROW row of what that is paid in, -1 for none; NETTING_SET label of the set, which stand together in
              order of RANK, the place inside an account
    numbers   (6,) TICK margin currency per tick, INITIAL_FACTOR, MAINTENANCE_FACTOR, MONEY_STEP smallest amount of the
              margin currency, STEPS_PER_UNIT so many of these are one unit, SCENARIOS their number S
    """

    rows: FloatArray
    columns: FloatArray
    numbers: FloatArray


class OrderKernels(NamedTuple):
    """The compiled functions for orders and fills, for tables of one width of rows; see `backends.orders_numba`."""

    addresses: Callable[..., Any]
    after_order: Callable[..., Any]
    after_orders: Callable[..., Any]
    after_fills: Callable[..., Any]
    check_orders: Callable[..., Any]
    figures_of: Callable[..., Any]


def rank_of(arrays: RiskArrays) -> IntArray:
    """(N,) place of each instrument among all, by expiry row and then by its own: the order of positions in a book."""
    rank = np.empty(len(arrays), np.int64)
    rank[np.argsort(arrays.expiry_idx, kind="stable")] = np.arange(len(arrays))
    return rank


def plain_table(arrays: RiskArrays) -> OrderTable:
    """The table of no requirement: of use for the columns that say how fills and transfers add up."""
    nothing = np.zeros(len(arrays))
    return worst_loss_table(arrays, "joint", nothing, nothing, (0.0, 0.0))


def worst_loss_table(
    arrays: RiskArrays, netting: str, haircut: FloatArray, short_rows: FloatArray, factors: tuple[float, float]
) -> OrderTable:
    """The table of a worst-case requirement.

    netting     as of `worst_loss`
    haircut     (N,) share of a long balance of collateral that does not count
    short_rows  (N,) floor of one short unit, ticks
    factors     initial and maintenance margin per unit of loss
    """
    asset = arrays.is_collateral
    # As `equity` has it.
    delta_rows = arrays.delta * arrays.unit / arrays.tick_size
    magnitudes = (np.abs(arrays.rows).max(axis=1), np.abs(arrays.value_rows), np.abs(delta_rows), short_rows)
    columns = _on_cache_lines(len(arrays))
    columns[:, UNIT], columns[:, CONTRACT] = arrays.unit, ~asset
    columns[:, LONG_WEIGHT] = np.where(asset, 1.0 - haircut, 1.0)
    columns[:, MAGNITUDE] = np.maximum.reduce(magnitudes)
    columns[:, VALUE_TICKS], columns[:, DELTA_TICKS] = arrays.value_rows, delta_rows
    columns[:, SHORT_TICKS], columns[:, VALUE] = short_rows, arrays.value
    columns[:, CASH_ROW], columns[:, RANK] = arrays.cash_row, rank_of(arrays)
    columns[:, NETTING_SET] = 0.0 if netting == "joint" else arrays.underlying_idx
    step = money_step(arrays)
    numbers = np.array([arrays.tick_size, *factors, step, 10.0 ** money_digits(step), arrays.rows.shape[1]])
    columns.flags.writeable = False
    return OrderTable(arrays.rows, columns, freeze(numbers, np.float64))


def _on_cache_lines(rows: int) -> FloatArray:
    """(rows, COLUMNS) zeros whose rows begin where cache lines do."""
    room = np.zeros(rows * COLUMNS + CACHE_LINE // 8)
    first = -room.ctypes.data % CACHE_LINE // 8
    return room[first : first + rows * COLUMNS].reshape(rows, COLUMNS)
