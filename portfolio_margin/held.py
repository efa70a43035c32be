"""The part of a market that a book needs: contracts that nobody holds need no risk array."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

import numpy as np

from portfolio_margin.book import Book
from pricing.arrays import IntArray
from pricing.instruments import Exercise, Instruments
from pricing.market import Market


def rows_only(book: Book, instruments: Instruments, market: Market, rows: IntArray) -> tuple[Book, Instruments, Market]:
    """The tables with some rows of the instruments, and the book on them.

    rows  rising row numbers -> N, all that the book holds among them
    """
    columns = {f.name: getattr(instruments, f.name)[rows] for f in fields(instruments)}
    small = replace(market, mark_vol=market.mark_vol[rows])
    return replace(book, instrument_idx=np.searchsorted(rows, book.instrument_idx)), Instruments(**columns), small


def without_idle_exercise(
    book: Book, instruments: Instruments, market: Market, named: Collection[str] = ()
) -> tuple[Book, Instruments, Market]:
    """The tables without the options with early exercise that nobody holds and that are not among `named`.

    Each of these costs a solved exercise boundary a scenario, a hundred times the price of any other contract, and the
    listed ones are a hundred times as many as those held. The rows that stay have the same bits; a market without such
    options is handed back as it is.
    """
    idle = instruments.is_option & (instruments.exercise != Exercise.EUROPEAN)
    idle[book.instrument_idx] = False
    idle &= ~np.isin(instruments.instrument_id, np.array([*named], dtype=np.str_))
    if not idle.any():
        return book, instruments, market
    return rows_only(book, instruments, market, np.flatnonzero(~idle))
