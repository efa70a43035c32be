"""Positions and collateral of many accounts, from files or frames into a Book."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.io.arrow_columns import CodedRows, coded_rows
from portfolio_margin.io.symbols import parse_symbol
from portfolio_margin.io.tables import (
    Table,
    number_column,
    read_table,
    require_columns,
    row_problems_of,
    text_column,
)
from portfolio_margin.kernel_inputs import is_beyond_exact, is_off_step
from portfolio_margin.nearest import did_you_mean
from pricing.arrays import MAX_ACCOUNTS, BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import PROBLEMS_SHOWN, DataError, Problem
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    import pandas as pd

    Source = str | Path | pd.DataFrame | Table

POSITION_COLUMNS = ("account", "instrument", "quantity")
COLLATERAL_COLUMNS = ("account", "currency", "amount")

# Contracts by name: the table of terms, or the risk arrays made from it.
Listed = Instruments | RiskArrays


class Holdings(NamedTuple):
    """Rows of one file: account (P,) names, instrument_idx (P,) -> N, quantity (P,) + long."""

    account: StrArray
    instrument_idx: IntArray
    quantity: FloatArray


TOO_LARGE = "too large for exact sums"
# Assets that a message names; a SPAN file lists dozens of them.
ASSETS_SHOWN = 8


class _Names(NamedTuple):
    """What a name column may hold: the row of each known name, and what to say about another one."""

    column: str
    number: str
    row_of: dict[str, int]
    noun: str


def read_book(
    positions: Source,
    collateral: Source | None,
    instruments: Listed,
    market: Market | None = None,
    venue: str = "deribit",
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Book:
    """The book of all accounts in a positions table and, where given, a collateral table.

    positions   columns account, instrument, quantity (contracts, + long)
    collateral  columns account, currency, amount (units of the currency, a debt is negative)
    market      tells which contracts have expired; without it they are found when they are priced
    venue       whose names the instruments have; tells an expired contract from an unknown one
    left_out    contracts that the market's source has and the market has not, and why

    Each is a .csv, .csv.gz, .parquet, .arrow or .feather file, a pandas frame, or an Arrow table or record batch.
    White space around names does not count. A quantity of zero is kept: it keeps the account in the book. Raises one
    DataError that lists every bad row of both tables by file and row.
    """
    parts = None if collateral is None else coded_rows(collateral, COLLATERAL_COLUMNS)
    book = plain_book(coded_rows(positions, POSITION_COLUMNS), parts, collateral is not None, instruments, market)
    if book is not None:
        return book
    held, problems = _positions(read_table(positions, "positions"), instruments, market, (venue, left_out))
    if collateral is None:
        owned = _nothing()
    else:
        owned, more = _collateral(read_table(collateral, "collateral"), instruments)
        problems += more
    if problems:
        raise DataError(problems)
    return Book.from_arrays(
        np.concatenate([held.account, owned.account]),
        np.concatenate([held.instrument_idx, owned.instrument_idx]),
        np.concatenate([held.quantity, owned.quantity]),
        group_of_instrument=instruments.expiry_idx,
    )


def plain_book(
    positions: CodedRows | None,
    collateral: CodedRows | None,
    with_collateral: bool,
    instruments: Listed,
    market: Market | None,
) -> Book | None:
    """The book where the tables are plain Parquet and nothing is wrong with any row, else None.

    with_collateral  whether there is a table of collateral; None is then one that is not plain
    """
    held = _plain_rows(positions, instruments, market, collateral=False)
    if held is None:
        return None
    owned = None
    if with_collateral:
        owned = _plain_rows(collateral, instruments, None, collateral=True)
        if owned is None:
            return None
    accounts, account, row, number = held.accounts, held.account, held.name, held.number
    if owned is not None:
        row_of = {name: code for code, name in enumerate(accounts.tolist())}
        shared = np.array([row_of.setdefault(name, len(row_of)) for name in owned.accounts.tolist()], dtype=np.int64)
        accounts = np.array(list(row_of), dtype=np.str_)
        account = np.concatenate([account, shared[owned.account]])
        row, number = np.concatenate([row, owned.name]), np.concatenate([number, owned.number])
    try:
        return Book.from_codes(accounts, account, row, number, instruments.expiry_idx)
    except DataError:
        return None


def _plain_rows(
    rows: CodedRows | None, instruments: Listed, market: Market | None, collateral: bool
) -> CodedRows | None:
    """The rows with names as rows of instruments; None where one of them is not fit."""
    if rows is None or not len(rows.account) or len(rows.accounts) > MAX_ACCOUNTS:
        return None
    wanted = instruments.is_collateral if collateral else instruments.kind != Kind.CASH
    row_of = {str(instruments.instrument_id[row]): int(row) for row in np.flatnonzero(wanted)}
    found = np.array([row_of.get(name, -1) for name in rows.names.tolist()], dtype=np.int64)
    if (
        np.any(found < 0)
        or not np.all(np.isfinite(rows.number))
        or any("\0" in name for name in rows.accounts.tolist())
    ):
        return None
    if market is not None:
        dated = found[instruments.expiry_idx[found] >= 0]
        if np.any(market.expiry_time[instruments.expiry_idx[dated]] < market.valuation_time):
            return None
    row = found[rows.name]
    if np.any(is_beyond_exact(rows.number, np.ones(len(row)) if collateral else instruments.quantity_step[row])):
        return None
    if not collateral and np.any(is_off_step(rows.number, instruments.quantity_step[row])):
        return None
    return rows._replace(name=row)


def read_positions(
    positions: Source, instruments: Listed, market: Market | None = None, venue: str = "deribit"
) -> Holdings:
    """The rows of a positions table; see `read_book`."""
    held, problems = _positions(read_table(positions, "positions"), instruments, market, (venue, {}))
    if problems:
        raise DataError(problems)
    return held


def read_collateral(collateral: Source, instruments: Listed) -> Holdings:
    """The rows of a collateral table; see `read_book`."""
    owned, problems = _collateral(read_table(collateral, "collateral"), instruments)
    if problems:
        raise DataError(problems)
    return owned


def _positions(
    table: Table, instruments: Listed, market: Market | None, naming: tuple[str, Mapping[str, str]]
) -> tuple[Holdings, list[Problem]]:
    require_columns(table, POSITION_COLUMNS, only=True)
    if not len(table.frame):
        return _nothing(), [Problem(table.file, None, "rows", 0, "an empty portfolio; give at least one position")]
    row_of = {name: row for name, row in instruments.index_of().items() if instruments.kind[row] != Kind.CASH}
    names = _Names("instrument", "quantity", row_of, "instrument")
    held, problems = _holdings(table, names, lambda name: unknown_remedy(name, row_of, instruments, market, naming))
    row = held.instrument_idx
    known = row >= 0
    if market is not None:
        dated = known & (instruments.expiry_idx[row] >= 0)
        expired = dated & (market.expiry_time[instruments.expiry_idx[row]] < market.valuation_time)
        problems += row_problems_of(table, "instrument", expired, _expired_remedy(market.valuation_time))
    step = instruments.quantity_step[row]
    large = known & is_beyond_exact(held.quantity, step)
    problems += row_problems_of(table, "quantity", large, TOO_LARGE)
    off = known & np.isfinite(held.quantity) & ~large & is_off_step(held.quantity, step)
    for size in np.unique(step[off]):
        problems += row_problems_of(table, "quantity", off & (step == size), f"must be a whole multiple of {size:g}")
    return held, in_order(problems)


def _collateral(table: Table, instruments: Listed) -> tuple[Holdings, list[Problem]]:
    require_columns(table, COLLATERAL_COLUMNS, only=True)
    held_as_such = np.flatnonzero(instruments.is_collateral)
    row_of = {str(instruments.instrument_id[row]): int(row) for row in held_as_such}
    names = _Names("currency", "amount", row_of, "currency")
    money = sorted(name for name, row in row_of.items() if instruments.kind[row] == Kind.CASH)
    first = [*money, *sorted(set(row_of) - set(money))][:ASSETS_SHOWN]
    known = ", ".join(first) + (f" and {len(row_of) - len(first)} more" if len(row_of) > len(first) else "")
    owned, problems = _holdings(table, names, lambda name: f"unknown currency; known: {known}")
    large = is_beyond_exact(owned.quantity, np.ones(len(owned.quantity)))
    problems += row_problems_of(table, "amount", large, TOO_LARGE)
    return owned, in_order(problems)


def _nothing() -> Holdings:
    return Holdings(np.zeros(0, np.str_), np.zeros(0, np.int64), np.zeros(0))


def _holdings(table: Table, names: _Names, remedy_of: Callable[[str], str]) -> tuple[Holdings, list[Problem]]:
    import pandas as pd

    problems: list[Problem] = []
    account_code, accounts = pd.factorize(text_column(table, "account"))
    name_code, unique_names = pd.factorize(text_column(table, names.column))
    row_of_name = np.array([names.row_of.get(str(name), -1) for name in unique_names], dtype=np.int64)
    row = row_of_name[name_code]
    blank = _coded(account_code, [code for code, name in enumerate(accounts) if not name])
    problems += row_problems_of(table, "account", blank, "blank account name; fill it in")
    problems += _account_type_problems(table)
    problems += _unknown_names(table, names, np.asarray(unique_names, dtype=np.str_)[name_code], row < 0, remedy_of)
    quantity, no_number = number_column(table, names.number)
    problems += row_problems_of(
        table, names.number, no_number, "not a number; write it with a point and without separators"
    )
    missing = np.isnan(quantity) & ~no_number
    problems += row_problems_of(table, names.number, missing, "missing; give a finite number")
    problems += row_problems_of(table, names.number, np.isinf(quantity), "not finite; give a finite number")
    problems += _duplicates(table, names, account_code, row)
    account = np.asarray(accounts, dtype=np.str_)[account_code]
    return Holdings(account, row, quantity), problems


def _unknown_names(
    table: Table, names: _Names, name: StrArray, unknown: BoolArray, remedy_of: Callable[[str], str]
) -> list[Problem]:
    """Looking for near names is slow: it is done for as many names as a message shows."""
    remedies = {"": f"blank {names.noun}; fill it in"}
    problems = []
    for problem, text in zip(row_problems_of(table, names.column, unknown, ""), name[unknown].tolist(), strict=True):
        if text not in remedies and len(remedies) <= PROBLEMS_SHOWN:
            remedies[text] = remedy_of(text)
        problems.append(replace(problem, remedy=remedies.get(text, f"unknown {names.noun}")))
    return problems


def _coded(codes: IntArray, wanted: list[int]) -> BoolArray:
    return np.isin(codes, wanted) if wanted else np.zeros(len(codes), dtype=np.bool_)


def _account_type_problems(table: Table) -> list[Problem]:
    """Account numbers that went through floating point (1.0, 12345678901234567000) are no names."""
    dtype = table.frame["account"].dtype
    if getattr(dtype, "kind", "O") != "f":
        return []
    return [Problem(table.file, None, "account", str(dtype), "a column of decimal numbers; give account names as text")]


def _duplicates(table: Table, names: _Names, account_code: IntArray, row: IntArray) -> list[Problem]:
    """Every row that repeats the account and name of an earlier one."""
    known = np.flatnonzero(row >= 0)
    key = account_code[known].astype(np.int64) * (int(row.max(initial=0)) + 1) + row[known]
    order = np.argsort(key, kind="stable")
    sorted_key = key[order]
    repeated = np.zeros(len(key), dtype=np.bool_)
    repeated[1:] = sorted_key[1:] == sorted_key[:-1]
    first_of_run = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(key))))
    later, first = known[order[repeated]], known[order[first_of_run[repeated]]]
    bad = np.zeros(len(row), dtype=np.bool_)
    bad[later] = True
    first_row = dict(zip(later.tolist(), table.row[first].tolist(), strict=True))
    accounts = table.frame["account"].iloc[np.flatnonzero(bad)].tolist()
    listed = zip(row_problems_of(table, names.column, bad, ""), accounts, np.flatnonzero(bad).tolist(), strict=True)
    return [
        replace(
            problem,
            remedy=f"account {account!r} has this {names.noun} in row {first_row[position]} already; merge them",
        )
        for problem, account, position in listed
    ]


def unknown_remedy(
    name: str,
    row_of: Mapping[str, int],
    instruments: Listed,
    market: Market | None,
    naming: tuple[str, Mapping[str, str]],
) -> str:
    """What to say of a name that is none of `row_of`.

    naming  venue, and contracts that the market's source has and the market has not, and why
    """
    venue, left_out = naming
    if name in left_out:
        return f"left out of the market, since {left_out[name]}"
    if name in instruments.instrument_id[instruments.kind == Kind.CASH]:
        return "a currency; put it into the collateral table"
    try:
        record = parse_symbol(name, venue)
    except DataError:
        record = None
    expiry = None if record is None else record.expiry_ms
    if market is not None and expiry is not None and expiry < market.valuation_time:
        return _expired_remedy(market.valuation_time)
    return f"unknown instrument{did_you_mean(name, row_of, 2)}"


def _expired_remedy(valuation_time: int) -> str:
    moment = np.datetime64(valuation_time, "ms").astype("datetime64[s]")
    return f"expired before the valuation time {moment}Z; remove the row or settle it"


def in_order(problems: list[Problem]) -> list[Problem]:
    """Problems of one table by row."""
    return sorted(problems, key=lambda problem: problem.row if isinstance(problem.row, int) else 0)
