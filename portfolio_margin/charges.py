"""Charges that are not linear in the positions: pure functions of an account's positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portfolio_margin.aggregate import account_sums
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
    rows = short_option_rows(arrays, rate)
    short = np.where(arrays.kind[book.instrument_idx] == Kind.OPTION, np.minimum(book.quantity, 0.0), 0.0)
    sold = -short + 0.0
    sold.flags.writeable = False
    charged = replace(book, quantity=sold)
    return account_sums(charged, arrays, rows[:, None], backend=backend, threads=threads)[:, 0]


def short_option_rows(arrays: RiskArrays, rate: float) -> FloatArray:
    """(N,) charge of one short option per unit, in whole ticks rounded up; 0 for everything else."""
    rows = rate * arrays.notional * arrays.unit / arrays.tick_size
    if arrays.tick is not None:
        rows = np.ceil(rows)
    return np.where(arrays.kind == Kind.OPTION, rows, 0.0)
