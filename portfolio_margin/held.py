"""The part of a market that a book needs: contracts that nobody holds need no risk array."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

import numpy as np

from portfolio_margin.book import Book
from pricing.arrays import BoolArray, IntArray
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


def without_idle_underlyings(
    book: Book, instruments: Instruments, market: Market, named: Collection[str] = ()
) -> tuple[Book, Instruments, Market]:
    """The tables without the underlyings of which the book holds nothing and that no contract among `named` is on,
    their expiries, their contracts and the coins that they move; as they are where there are none.

    For margin models that have no parameters for an underlying that merely stands in the market.
    """
    needed = np.isin(instruments.instrument_id, np.array([*named], dtype=np.str_))
    needed[book.instrument_idx] = True
    mover = market.currency_underlying
    wanted = np.concatenate([instruments.underlying_idx[needed], mover[instruments.currency_idx[needed]]])
    stays = np.append(np.isin(np.arange(len(market.underlying_id)), wanted), True)  # the last: moved by none
    if stays.all():
        return book, instruments, market
    rows = stays[instruments.underlying_idx] & stays[mover[instruments.currency_idx]]
    currencies, expiries = stays[mover], stays[market.expiry_underlying]
    new_u, new_x, new_c = (_places(kept) for kept in (stays[:-1], expiries, currencies))
    book, instruments, market = rows_only(book, instruments, market, np.flatnonzero(rows))
    small = replace(
        instruments,
        underlying_idx=new_u[instruments.underlying_idx],
        expiry_idx=new_x[instruments.expiry_idx],
        currency_idx=new_c[instruments.currency_idx],
    )
    by_underlying = {name: getattr(market, name)[stays[:-1]] for name in ("underlying_id", "spot")}
    dated = ("expiry_time", "forward", "discount", "svi", "fixed_share")
    by_expiry = {name: getattr(market, name)[expiries] for name in dated}
    by_currency = {name: getattr(market, name)[currencies] for name in ("currency_id", "fx", "fx_basis_limit")}
    paid = stays[market.dividend_underlying]
    cut = replace(
        market,
        **by_underlying,
        **by_expiry,
        **by_currency,
        expiry_underlying=new_u[market.expiry_underlying[expiries]],
        currency_underlying=new_u[mover[currencies]],
        dividend_underlying=new_u[market.dividend_underlying[paid]],
        dividend_time=market.dividend_time[paid],
        dividend=market.dividend[paid],
    )
    keyed = (book.group_key >= 0) & (book.group_key < len(expiries))
    keys = np.where(keyed, new_x[np.where(keyed, book.group_key, -1)], book.group_key)
    return replace(book, group_key=keys), small, cut


def _places(kept: BoolArray) -> IntArray:
    """New row number of each row that is kept, and at the end, for index -1, -1."""
    return np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
