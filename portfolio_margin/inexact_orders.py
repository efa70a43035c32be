"""inexact_orders: which of some orders is to blame where sums of ticks would no longer be exact."""

from __future__ import annotations

import numpy as np

from portfolio_margin.worst_fill import is_too_large
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays

TOO_LARGE = "too large for exact sums"


def refusal(
    arrays: RiskArrays, table: str, first: int, accounts: list[str], rows: IntArray, quantities: FloatArray
) -> DataError:
    """The error that names every order that no sum could hold; where none is that large, the largest of them.

    table       what they are, "orders" or "fills"
    first       number of the first
    accounts    name of the account of each (M,)
    rows        (M,) -> N
    quantities  (M,) contracts, finite
    """
    large = np.flatnonzero(is_too_large(arrays, rows, quantities))
    remedy = f"of {{}} for {{}}: {TOO_LARGE}"
    if not len(large):
        with np.errstate(over="ignore"):
            ticks = np.abs(quantities / arrays.unit[rows]) * np.abs(arrays.rows[rows]).max(axis=1, initial=0.0)
        large = np.array([int(np.argmax(ticks))])
        remedy = f"of {{}}: with it account {{}} would be {TOO_LARGE}"
    return DataError(
        [
            Problem(
                table,
                first + int(m),
                "quantity",
                float(quantities[m]),
                remedy.format(arrays.instrument_id[rows[m]], accounts[int(m)]),
            )
            for m in large
        ]
    )
