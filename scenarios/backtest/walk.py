"""The walk: margins of the books on every row of a history, from what was known on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.backtest.books import Books
from scenarios.backtest.history import History
from scenarios.backtest.models import Model
from scenarios.backtest.revaluation import DYNAMICS, blocks, book_pnl, terms
from scenarios.shocks import VolDynamics

Step = Callable[[str], None]
# Half of the books that a block is meant for, whose P&L then takes about twice the room of that of the options.
BOOKS_OF_A_BLOCK = 100


def margins(
    given: History,
    books: Books,
    model: Model,
    rows: IntArray,
    dynamics: VolDynamics = DYNAMICS,
    backend: str = "numba",
    step: Step | None = None,
    name: str = "",
) -> FloatArray:
    """(R,B) margin of every book on these rows, a share of the price there.

    rows     of the history, rising
    backend  "numba", "numpy" or "jax"
    step     called after every block with the name, for a progress bar; `block_count` says how often
    name     what is told to `step`
    """
    asked = np.empty((len(rows), len(books)))
    for part in _parts(model, books, rows):
        own = rows[part]
        moves = model.moves(own)
        unknown = ~np.isfinite(moves.price).all(axis=1)
        if np.any(unknown):
            raise ConfigError(f"{name or 'model'}: row {int(own[unknown][0])} of the history has no parameters yet")
        at = terms(books, given.vol[own], backend)
        asked[part] = model.requirement(book_pnl(books, at, moves, dynamics, backend)).T
        if step:
            step(name)
    return asked


def block_count(model: Model, books: Books, rows: IntArray) -> int:
    """How many blocks `margins` works through."""
    return len(_parts(model, books, rows))


def _parts(model: Model, books: Books, rows: IntArray) -> list[slice]:
    scenarios = model.moves(rows[:1]).price.shape[1]
    # The blocks do not depend on how many books there are: a part of them is computed in the very calls of the whole.
    return blocks(len(rows), scenarios * max(len(books.sign), BOOKS_OF_A_BLOCK))


def first_common_row(first_day: Mapping[str, int], days: IntArray, history_rows: int, horizon: int) -> int:
    """The first row on which every rule has parameters.

    first_day     of each rule, a row of the daily history
    days          (D,) last row of every day
    history_rows  rows of the history
    horizon       steps that must be left after it
    """
    latest = max(first_day.values())
    if latest >= len(days) or days[latest] + horizon >= history_rows:
        name = max(first_day, key=lambda key: first_day[key])
        raise ConfigError(f"{name} has parameters from day {latest} on, and the history has {len(days)} days")
    return int(days[latest])


def day_of_rows(days: IntArray, count: int) -> IntArray:
    """(T,) of each row the day that was the last to end on or before it; the first day for rows before."""
    return np.asarray(np.maximum(np.searchsorted(days, np.arange(count), side="right") - 1, 0))
