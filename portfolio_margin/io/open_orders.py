"""Open orders of many accounts, from a file or frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.io.positions import TOO_LARGE, in_order, unknown_remedy
from portfolio_margin.io.tables import Table, number_column, read_table, require_columns, row_problems_of, text_column
from portfolio_margin.kernel_inputs import is_no_multiple
from portfolio_margin.limit_prices import price_remedies
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.worst_fill import OpenOrders, gain_at_limit, is_too_large
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    from portfolio_margin.io.positions import Source

ORDER_COLUMNS = ("account", "instrument", "quantity")
LIMIT = "price"


def read_orders(
    orders: Source,
    book: Book,
    arrays: RiskArrays,
    market: Market | None = None,
    venue: str = "deribit",
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> OpenOrders:
    """The open orders of the accounts of a book.

    orders    columns account, instrument, quantity (contracts, + buy) and, where wanted, price: the limit as the venue
              quotes it, see `gain_at_limit`; an order without one fills at the mark
    market    tells which contracts have expired
    venue, left_out   as `read_book` takes them

    A .csv, .csv.gz or .parquet file or a pandas frame. An account may have any number of orders of one contract. Raises
    one DataError that lists every bad row: an account that the book has not, an unknown or expired contract, an asset,
    a quantity that is no number, 0 or off its step, a price that is no number or that nothing can trade at.
    """
    table = read_table(orders, "orders")
    priced = LIMIT in table.frame.columns
    require_columns(table, (*ORDER_COLUMNS, LIMIT) if priced else ORDER_COLUMNS, only=True)
    account, problems = _accounts(table, book)
    row, more = _contracts(table, arrays, market, (venue, left_out))
    problems += more
    quantity, no_number = number_column(table, "quantity")
    bad = no_number | ~np.isfinite(quantity) | (quantity == 0.0)
    problems += row_problems_of(table, "quantity", bad, "must be a finite number of contracts, + buy, - sell, not 0")
    step = arrays.quantity_step[row]
    large = ~bad & (row >= 0) & is_too_large(arrays, row, np.where(bad, 0.0, quantity))
    problems += row_problems_of(table, "quantity", large, TOO_LARGE)
    off = ~bad & (row >= 0) & ~large & is_no_multiple(np.where(bad, 0.0, quantity), step)
    for size in np.unique(step[off]):
        problems += row_problems_of(table, "quantity", off & (step == size), f"must be a whole multiple of {size:g}")
    price = np.full(len(row), np.nan)
    if priced:
        price, more = _prices(table, arrays, row)
        problems += more
    if problems:
        raise DataError(in_order(problems))
    gain = np.where(np.isnan(price), 0.0, gain_at_limit(arrays, row, quantity, np.where(np.isnan(price), 1.0, price)))
    return OpenOrders(account, row, quantity, gain)


def ordered_contracts(orders: Source) -> list[str]:
    """Names of the contracts in a table of orders, whatever they are. DataError where it has no such column."""
    table = read_table(orders, "orders")
    require_columns(table, ORDER_COLUMNS, only=False)
    return sorted(set(text_column(table, "instrument").tolist()))


def rows_between(orders: Table, first: str, last: str) -> Table:
    """The rows of the accounts whose names stand between two, in order of code points."""
    names = text_column(orders, "account").tolist()
    rows = [row for row, name in enumerate(names) if first <= name <= last]
    return Table(orders.file, orders.frame.iloc[rows].reset_index(drop=True), orders.row[rows])


def check_accounts(orders: Table, spans: Sequence[tuple[str, str]]) -> None:
    """DataError naming every row whose account stands in none of the spans of names, first and last of each."""
    names = text_column(orders, "account").tolist()
    nowhere = np.array([not any(first <= name <= last for first, last in spans) for name in names], dtype=np.bool_)
    problems = row_problems_of(orders, "account", nowhere, "no such account in the book")
    if problems:
        raise DataError(problems)


def _accounts(table: Table, book: Book) -> tuple[IntArray, list[Problem]]:
    names = text_column(table, "account").to_numpy(dtype=np.str_)
    known = book.account_id.tolist()
    row_of = {name: row for row, name in enumerate(known)}
    account = np.array([row_of.get(name, -1) for name in names.tolist()], dtype=np.int64)
    problems: list[Problem] = []
    for name in np.unique(names[account < 0]).tolist():
        remedy = "blank account name; fill it in"
        if name:
            remedy = "no such account in the book" + did_you_mean_or_known(name, known)
        problems += row_problems_of(table, "account", (names == name), remedy)
    return account, problems


def _contracts(
    table: Table, arrays: RiskArrays, market: Market | None, naming: tuple[str, Mapping[str, str]]
) -> tuple[IntArray, list[Problem]]:
    names = text_column(table, "instrument").to_numpy(dtype=np.str_)
    row_of = arrays.index_of()
    contracts = {name: row for name, row in row_of.items() if not arrays.is_collateral[row]}
    row = np.array([contracts.get(name, -1) for name in names.tolist()], dtype=np.int64)
    problems: list[Problem] = []
    for name in np.unique(names[row < 0]).tolist():
        remedy = unknown_remedy(name, contracts, arrays, market, naming)
        if not name:
            remedy = "blank instrument; fill it in"
        elif name in row_of:
            remedy = "an asset that is held, not a contract; orders are of contracts"
        problems += row_problems_of(table, "instrument", names == name, remedy)
    return row, problems


def _prices(table: Table, arrays: RiskArrays, row: IntArray) -> tuple[FloatArray, list[Problem]]:
    price, no_number = number_column(table, LIMIT)
    problems = row_problems_of(table, LIMIT, no_number | np.isinf(price), "must be a finite number, or blank: the mark")
    remedies = np.where(row >= 0, price_remedies(arrays, row, np.where(np.isinf(price), np.nan, price)), "")
    for remedy in np.unique(remedies[remedies != ""]).tolist():
        problems += row_problems_of(table, LIMIT, remedies == remedy, remedy)
    return price, problems
