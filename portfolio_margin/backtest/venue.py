"""Any margin model along a history: every day's books and market as the engine's own tables, and its initial margin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel
from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.backtest.books import Books
from scenarios.backtest.history import History
from scenarios.backtest.snapshot import STEP, quantities, snapshot
from scenarios.families import grid
from scenarios.revalue import revalue

# Digits of the smallest trade that a tick keeps.
DIGITS = 6


def model_margins(
    given: History,
    books: Books,
    model: MarginModel,
    rows: IntArray,
    underlying: str,
    backend: str = "numba",
    step: Callable[[str], None] | None = None,
) -> FloatArray:
    """(R,B) initial margin of every book, a share of the price; a model without scenarios of its own takes the grid's.

    rows        of the history; each is a market of its own, some milliseconds
    underlying  name, by which a model looks up parameters
    backend     of the revaluation and the requirement
    step        called after every row with the name of the model

    The parameters are those of the model given, on every day: what its venue had then is for the caller to look up.
    ConfigError for a model that has no rule for some contract, since its margin would leave that out.
    """
    asked = np.empty((len(rows), len(books)))
    for place, row in enumerate(rows.tolist()):
        instruments, market = snapshot(given, row, books, underlying)
        scenario_set = model.scenario_set(market) or grid.scenarios(grid.Params(), market)
        tick = 10.0 ** np.floor(np.log10(given.price[row] * STEP) - DIGITS)
        arrays = revalue(instruments, market, scenario_set, backend=backend, tick=float(tick))
        reasons = [str(reason) for reason in model.not_covered(arrays) if reason]
        if reasons:
            raise ConfigError(f"{model.model_id} has no rule for {len(reasons)} of the contracts: {reasons[0]}")
        held = np.round(quantities(given, row, books) / STEP) * STEP
        account, contract = np.nonzero(held)
        book = Book.from_arrays(
            books.name[account], contract, held[account, contract], instruments.expiry_idx, accounts=books.name
        )
        statement = margin(book, arrays, market, model, backend=backend)
        order = np.searchsorted(statement.account, books.name)
        asked[place] = statement.initial_margin[order] / given.price[row]
        if step:
            step(model.model_id)
    return asked
