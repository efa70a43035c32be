"""greeks: of contracts, positions and accounts."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARKET_OPTIONS,
    read_book_option,
    read_market_option,
    rows_of,
    with_book_notes,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    moment_text,
    number,
    output_options,
    quantity_text,
    rows_document,
    show_table,
)
from portfolio_margin.greeks import (
    CASH_UNIT,
    CONTRACT_UNIT,
    POSITION_UNIT,
    account_rows,
    contract_greeks,
    position_greeks,
    sums_by,
)
from portfolio_margin.io.told import Told
from portfolio_margin.version import VERSION
from pricing.errors import ConfigError, DataError, UnsolvedError
from pricing.instruments import Instruments
from pricing.price import BACKENDS

# Decimals of contracts and positions; what is not named here is an amount of money.
DIGITS = {"gamma": 8, "vanna": 6, "charm": 6, "delta": 4, "delta_pa": 4, "price_coin": 6, "volga": 4}
DIGITS_OF_SUMS = {"volga": 2}
# What a narrow terminal shows.
ALWAYS_SHOWN = ("price", "quantity", "delta", "delta_cash", "vega")


@click.command("greeks")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS)
@click.option("--instruments", "by_instrument", is_flag=True, help="Greeks of one unit of every option.")
@click.option("--by-position", is_flag=True, help="Greeks of every position instead of sums by account.")
@click.option("--account", "accounts", multiple=True, help="Only the positions of this account; repeatable.")
@click.option("--backend", type=click.Choice(BACKENDS), default="numba", show_default=True)
@output_options
def command(
    by_instrument: bool,
    by_position: bool,
    accounts: tuple[str, ...],
    backend: str,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Greeks in trader units: vega per vol point, theta per day, rho per 1 %; cash sums in the margin currency."""
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    files = (shared["positions"], shared["collateral"])
    if by_instrument and (by_position or accounts or files != (None, None)):
        raise ConfigError(
            "--instruments shows contracts: leave out --positions, --collateral, --account, --by-position"
        )
    if not by_instrument and shared["market"] is not None and files[0] is None:
        raise ConfigError("--market needs --positions FILE, or --instruments for the contracts themselves")
    given = read_market_option(shared["market"], ChainOptions.take(shared))
    instruments, market, source = given.instruments, given.market, given.source
    try:
        contract = contract_greeks(instruments, market, backend=backend)
    except (DataError, UnsolvedError) as error:
        raise error.within(source) from None
    if by_instrument:
        columns = _of_options(instruments, contract)
        units, title = CONTRACT_UNIT, f"options of {source}, one unit of underlying each"
    else:
        book = read_book_option(*files, instruments, market, given.left_out)
        held = position_greeks(book, instruments, market, contract)
        if by_position or accounts:
            columns, units = _of_positions(book, instruments, held, accounts), POSITION_UNIT
            title = f"positions of {', '.join(accounts) or source}"
        else:
            columns, units, title = _of_accounts(book, held), CASH_UNIT, f"accounts of {source}"
    told = with_book_notes(given.told, *files)
    units = _in_currency(units, str(market.currency_id[0]))
    identity = {
        "source": source,
        "as_of_ms": market.valuation_time,
        "units": units,
        **told.document(),
        "engine_version": VERSION,
    }
    if not deliver(output, columns, identity, rows_document(identity, "rows", columns)):
        _show(
            columns,
            units,
            f"Greeks of {title} at {moment_text(market.valuation_time)}",
            single=len(accounts) == 1,
            told=told,
        )


def _of_options(instruments: Instruments, contract: dict[str, Any]) -> dict[str, Any]:
    option = instruments.is_option
    return {
        "instrument": instruments.instrument_id[option],
        **{name: values[option] for name, values in contract.items()},
    }


def _of_positions(
    book: Book, instruments: Instruments, held: dict[str, Any], accounts: tuple[str, ...]
) -> dict[str, Any]:
    """Greeks by position, of the accounts named or of all, in the order of the book."""
    owner = account_rows(book)
    chosen = np.isin(owner, rows_of(book, accounts)) if accounts else np.ones(len(owner), dtype=np.bool_)
    columns = {
        "account": book.account_id[owner],
        "instrument": instruments.instrument_id[book.instrument_idx],
        "quantity": book.quantity,
        **held,
    }
    return {name: values[chosen] for name, values in columns.items()}


def _of_accounts(book: Book, held: dict[str, Any]) -> dict[str, Any]:
    sums = sums_by(account_rows(book), held, len(book))
    return {"account": book.account_id, **{name: sums[name] for name in CASH_UNIT}}


def _in_currency(units: dict[str, str], currency: str) -> dict[str, str]:
    """The units with the margin currency by its name; the quote currency of a contract is its own."""
    return {name: text if "quote" in text else text.replace("ccy", currency) for name, text in units.items()}


def _show(columns: dict[str, Any], units: dict[str, str], title: str, single: bool, told: Told) -> None:
    digits = DIGITS if "instrument" in columns else DIGITS_OF_SUMS
    shown = []
    for name, values in columns.items():
        if name == "account" and single:
            continue
        header = f"{name} [{units[name]}]" if units.get(name) else name
        if name == "quantity":
            shown.append(Column(header, [quantity_text(value) for value in values]))
        elif name in units:
            shown.append(Column(header, number(values, digits.get(name, 2)), keep=name in ALWAYS_SHOWN))
        else:
            shown.append(Column(header, [str(value) for value in values], right=False))
    show_table(title, shown, "\n".join([*_totals(columns, units), *told.remarks()]))


def _totals(columns: dict[str, Any], units: dict[str, str]) -> list[str]:
    """Sums of what may be added over everything shown; nothing for contracts."""
    if "account" not in columns:
        return []
    names = ("delta_cash", "gamma_cash_1pct", "vega_norm", "theta")
    return [f"total {name}: {number([columns[name].sum()], 2)[0]} {units[name]}" for name in names]
