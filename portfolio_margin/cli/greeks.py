"""greeks: of contracts, positions and accounts."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from portfolio_margin.cli.inputs import BOOK_OPTIONS, MARKET_OPTIONS, read_market_option, with_options
from portfolio_margin.cli.output import Column, Output, chosen_output, deliver, number, output_options, show_table
from portfolio_margin.greeks import (
    CASH_UNIT,
    CONTRACT_UNIT,
    POSITION_UNIT,
    account_rows,
    contract_greeks,
    position_greeks,
    sums_by,
)
from pricing.errors import ConfigError
from pricing.instruments import Instruments
from pricing.market import Market
from pricing.price import BACKENDS

DIGITS = {"gamma": 8, "gamma_cash_1pct": 2, "vanna": 6, "charm": 6, "delta": 4, "delta_pa": 4, "price_coin": 6}


@click.command("greeks")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS)
@click.option("--instruments", "by_instrument", is_flag=True, help="Greeks of one unit of every contract.")
@click.option("--by-position", is_flag=True, help="Greeks of every position instead of sums by account.")
@click.option("--account", help="Only the positions of this account.")
@click.option("--backend", type=click.Choice(BACKENDS), default="numba", show_default=True)
@output_options
def command(
    by_instrument: bool,
    by_position: bool,
    account: str | None,
    backend: str,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Greeks in trader units: vega per vol point, theta per day, rho per 1 %; cash sums in the margin currency."""
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    market_file, positions, collateral = (shared[name] for name in ("market", "positions", "collateral"))
    instruments, market, excluded, source = read_market_option(market_file, shared["snapshot"], shared["on_bad_row"])
    contract = contract_greeks(instruments, market, backend=backend)
    if by_instrument:
        option = instruments.is_option
        columns = {"instrument": instruments.instrument_id[option]}
        columns |= {name: values[option] for name, values in contract.items()}
        _deliver(output, columns, CONTRACT_UNIT, f"contracts of {source}", excluded)
        return
    if market_file is not None and positions is None:
        raise ConfigError("--market needs --positions FILE, or --instruments for the contracts themselves")
    columns = _book_columns(positions, collateral, (instruments, market), contract, account, by_position)
    units = POSITION_UNIT if by_position or account else CASH_UNIT
    _deliver(output, columns, units, f"{'positions' if units is POSITION_UNIT else 'accounts'} of {source}", excluded)


def _book_columns(
    positions: str | None,
    collateral: str | None,
    listed: tuple[Instruments, Market],
    contract: dict[str, Any],
    account: str | None,
    by_position: bool,
) -> dict[str, Any]:
    from portfolio_margin.io.positions import read_book
    from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE, sample_path

    instruments, market = listed
    if positions is None:
        book = read_book(sample_path(POSITIONS_FILE), sample_path(COLLATERAL_FILE), instruments, market)
    else:
        book = read_book(positions, collateral, instruments, market)
    if account is not None:
        book = book.select(account)
    held = position_greeks(book, instruments, market, contract)
    owner = account_rows(book)
    if by_position or account is not None:
        columns = {"account": book.account_id[owner], "instrument": instruments.instrument_id[book.instrument_idx]}
        return {**columns, "quantity": book.quantity, **held}
    sums = sums_by(owner, held, len(book))
    return {"account": book.account_id, **{name: sums[name] for name in CASH_UNIT}}


def _deliver(
    output: Output, columns: dict[str, Any], units: dict[str, str], title: str, excluded: tuple[str, ...]
) -> None:
    identity = {"units": units, "excluded": list(excluded)}
    if deliver(output, columns, identity, (), "rows"):
        return
    shown = []
    for name, values in columns.items():
        if np.asarray(values).dtype.kind == "f":
            unit = units.get(name, "")
            header = f"{name} [{unit}]" if unit else name
            keep = name in ("price", "quantity", "delta", "delta_cash", "vega")
            shown.append(Column(header, number(values, DIGITS.get(name, 2)), keep=keep))
        else:
            shown.append(Column(name, [str(value) for value in values], right=False))
    show_table(f"Greeks of {title}", shown)
