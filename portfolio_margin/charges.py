"""Charges that are not linear in the positions: pure functions of an account's positions."""

from __future__ import annotations

import numpy as np

from portfolio_margin.aggregate import account_sums, kernel_positions, kernel_table, threads_for
from portfolio_margin.book import Book
from pricing.arrays import FloatArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays


def short_option_minimum(
    book: Book, arrays: RiskArrays, rate: float, *, backend: str = "numba", threads: int | None = None
) -> FloatArray:
    """(A,) rate times the notional of every short option contract, margin currency.

    The floor that CME SPAN calls the short option minimum: options far out of the money lose nothing
    in any scenario and still cannot be sold for free.
    """
    rows, option = short_option_rows(arrays, rate)[:, None], arrays.kind == Kind.OPTION
    if backend == "numba":
        from portfolio_margin.backends import short_numba

        positions, table = kernel_positions(book, arrays, None), kernel_table(arrays, rows, None)
        found = short_numba.short_sums(positions, table, option, threads_for(book, 1, threads))
        if found is not None:
            return found * arrays.tick_size
    sold = -np.where(option[book.instrument_idx], np.minimum(book.quantity, 0.0), 0.0) + 0.0
    sold.flags.writeable = False
    return account_sums(book.holding(sold), arrays, rows, backend=backend, threads=threads)[:, 0]


def short_option_rows(arrays: RiskArrays, rate: float) -> FloatArray:
    """(N,) charge of one short option per unit, in whole ticks rounded up; 0 for everything else."""
    rows = rate * arrays.notional * arrays.unit / arrays.tick_size
    if arrays.tick is not None:
        rows = np.ceil(rows)
    return np.where(arrays.kind == Kind.OPTION, rows, 0.0)
