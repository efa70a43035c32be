"""Margins of all accounts of a venue at a moment of a stress, as statements decide them, with less around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.collateral import equity
from portfolio_margin.margin import amounts
from portfolio_margin.requirement import MarginModel, has_every_rule
from portfolio_margin.statement import account_status, down, up_to_what_covers
from pricing.arrays import FloatArray, IntArray
from pricing.errors import NumericalError
from scenarios.risk_arrays import RiskArrays


class Measured(NamedTuple):
    """(A,) each: margin currency, rounded as statements round; status is a code of AccountStatus.

    worth is what everything is worth at the mark of the arrays, not rounded, whatever a venue marks it at itself.
    """

    equity: FloatArray
    balance: FloatArray
    initial: FloatArray
    maintenance: FloatArray
    status: IntArray
    worth: FloatArray


def measured(
    book: Book, arrays: RiskArrays, model: MarginModel, *, backend: str = "numba", threads: int | None = None
) -> Measured:
    """What `margin` says of every account, of books whose groups were checked before.

    backend, threads  as for `margin`

    Where the model has a rule for everything there is, nothing has to be looked for that it leaves out.
    """
    if not has_every_rule(model, arrays):
        found = amounts(book, arrays, model, backend=backend, threads=threads)
        worth = account_sums(book, arrays, arrays.value_rows[:, None], backend=backend, threads=threads)[:, 0]
        columns = (found.equity, found.margin_balance, found.initial_margin, found.maintenance_margin)
        return Measured(*columns, found.status, worth)
    required = model.requirement(book, arrays, backend=backend, threads=threads)
    options = model.traits.options_counted
    held = equity(book, arrays, model.haircut(arrays), options_counted=options, backend=backend, threads=threads)
    marked = held.equity if required.revaluation is None else held.equity + required.revaluation
    value = down(marked)
    counted, left = down(marked - held.uncounted), marked - held.haircut - held.uncounted
    balance = down(counted - up_to_what_covers(held.haircut, marked - held.uncounted, counted))
    initial = up_to_what_covers(required.initial, left, balance)
    maintenance = up_to_what_covers(required.maintenance, left, balance)
    if not (np.all(np.isfinite(initial)) and np.all(np.isfinite(balance))):
        raise NumericalError("a margin came out as no finite number; nothing is reported")
    status = account_status(marked, left, required.initial, required.maintenance)
    return Measured(value, balance, initial, maintenance, status, held.equity)


def put(into: Measured, rows: IntArray, part: Measured) -> Measured:
    """The same with the figures of the accounts in `rows` replaced."""
    whole = into._replace(**{name: getattr(into, name).copy() for name in into._fields})
    for column, some in zip(whole, part, strict=True):
        column[rows] = some
    return whole
