"""inexact_orders: which of some orders is to blame where sums of ticks would no longer be exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portfolio_margin.worst_fill import is_too_large
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays

TOO_LARGE = "too large for exact sums"


def refusal(
    arrays: RiskArrays, table: str, number: IntArray, accounts: list[str], rows: IntArray, quantities: FloatArray
) -> DataError:
    """The error that names every order that no sum could hold; where none is that large, the largest of them.

    table       what they are, "orders" or "fills"
    number      (M,) of each order in messages, counted from 1
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
                int(number[m]),
                "quantity",
                float(quantities[m]),
                remedy.format(arrays.instrument_id[rows[m]], accounts[int(m)]),
            )
            for m in large
        ]
    )


def fill_refusal(
    arrays: RiskArrays,
    accounts: list[str],
    given: Sequence[float | None],
    traded: tuple[IntArray, FloatArray],
    money: tuple[IntArray, FloatArray],
) -> DataError:
    """The error that names fills by what no sum could hold: what was paid, where the quantities are not to blame.

    accounts  name of the account of each (M,)
    given     what is paid for each (M,), None for the value at the mark
    traded    rows (M,) -> N and quantities (M,)
    money     rows (M,) of what is paid in, -1 for none, and amounts (M,), finite
    """
    too_much = is_too_large(arrays, np.maximum(money[0], 0), money[1]) & ~is_too_large(arrays, *traded)
    problems = [
        Problem("fills", n + 1, "paid", given[n], f"for {accounts[n]}: {TOO_LARGE}")
        for n in np.flatnonzero(too_much).tolist()
        if given[n] is not None
    ]
    return (
        DataError(problems) if problems else refusal(arrays, "fills", np.arange(1, 1 + len(given)), accounts, *traded)
    )
