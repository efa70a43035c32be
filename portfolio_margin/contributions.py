"""What each position adds to a charge, exact: the lines that `contributions` of a margin model is made of."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import kernel_positions, kernel_table
from portfolio_margin.book import Book
from portfolio_margin.kernel_inputs import units_held
from portfolio_margin.requirement import Contribution
from pricing.arrays import FloatArray, StrArray
from scenarios.risk_arrays import RiskArrays


class ScenarioLosses(NamedTuple):
    """What a netting set of an account loses in each scenario, as its margin model counts it and before factors: the
    largest loss, where it is above 0, is what the set is charged for.

    netting_set   name, as in the lines of `contributions`
    label, loss   (K,) scenarios, and margin currency, negative for a gain
    """

    netting_set: str
    label: StrArray
    loss: FloatArray


def position_ticks(
    book: Book, arrays: RiskArrays, rows: FloatArray | None = None, *, haircut: FloatArray | None = None
) -> FloatArray:
    """(P,K) what every position adds to the sums of rows (N,K), in ticks; `arrays.rows` where left out.

    Sums over positions are those of `blocks` and `account_pnl`: whole ticks where the arrays are rounded.
    """
    rows = arrays.rows if rows is None else rows
    positions, table = kernel_positions(book, arrays, "joint"), kernel_table(arrays, rows, haircut)
    product = units_held(positions, table)[:, None] * rows[book.instrument_idx]
    if table.rounded:
        product = np.where(table.contract[book.instrument_idx, None], product, np.rint(product))
    return np.asarray(product)


def exact_amounts(ticks: float | Decimal, arrays: RiskArrays, factors: tuple[float, float]) -> tuple[Decimal, Decimal]:
    """Ticks times the factors of initial and maintenance margin, in exact decimals; call inside localcontext(EXACT)."""
    # Adding 0 turns -0 into 0.
    loss = Decimal(ticks + 0) * Decimal(repr(float(arrays.tick_size)))
    initial, maintenance = (loss * Decimal(repr(float(factor))) for factor in factors)
    return initial, maintenance


def position_line(
    book: Book,
    arrays: RiskArrays,
    position: int,
    charge: str,
    amounts: tuple[Decimal, Decimal],
    *,
    netting_set: str = "account",
    scenario: str = "",
) -> Contribution:
    """The line of one position (row of the book) in one charge; amounts are initial and maintenance margin."""
    row = book.instrument_idx[position]
    expiry = "" if arrays.expiry_idx[row] < 0 else str(arrays.expiry_name[arrays.expiry_idx[row]])
    instrument, quantity = str(arrays.instrument_id[row]), float(book.quantity[position])
    return Contribution(charge, netting_set, expiry, instrument, quantity, scenario, *amounts)


def underlying_name(arrays: RiskArrays, row: int) -> str:
    """Name of the netting set of an instrument by underlying; the margin currency for what none moves."""
    underlying = arrays.underlying_idx[row]
    return arrays.currency if underlying < 0 else str(arrays.underlying_id[underlying])
