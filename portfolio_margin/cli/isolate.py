"""isolate: open, add to, reduce or close an isolated position, and what moves between it and its owner."""

from __future__ import annotations

from typing import Any

import click

from portfolio_margin.cli.heading import market_text, statement_lines
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    Session,
    collect,
    open_session,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    money,
    output_options,
    quantity_text,
    show_table,
)
from portfolio_margin.dollars import money_digits
from portfolio_margin.io.results import json_rows, write_book
from portfolio_margin.isolated import Moved, close_isolated, open_isolated
from portfolio_margin.margin import margin
from portfolio_margin.statement import MarginStatement
from pricing.errors import ConfigError, DataError, Problem

SHOWN = ("equity", "margin_balance", "initial_margin", "maintenance_margin", "available_funds")


@click.command("isolate")
@click.argument("account")
@click.option("--open", "opened", metavar="INSTRUMENT=QUANTITY", help="Fill an order in the isolated position.")
@click.option("--close", "closed", metavar="INSTRUMENT=QUANTITY", help="Fill an order that reduces it.")
@click.option("--price", type=float, help="Of the fill, as the venue quotes it.  [default: the mark]")
@click.option("--book", "book_files", metavar="NAME", help="Write the book to NAME-positions.csv, NAME-collateral.csv.")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, *MARGIN_OPTIONS)
@output_options
def command(
    account: str,
    opened: str | None,
    closed: str | None,
    price: float | None,
    book_files: str | None,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Open or close an isolated position of ACCOUNT: transfers of collateral, and both accounts afterwards."""
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    options = collect(shared)
    if (opened is None) == (closed is None):
        raise ConfigError("give either --open INSTRUMENT=QUANTITY or --close INSTRUMENT=QUANTITY")
    order = _parsed("--open" if opened is not None else "--close", opened or closed or "")
    session = open_session(options, named=[order[0]])
    if opened is not None:
        how = (session.book, session.arrays, session.model, account, order, price)
        moved = open_isolated(*how, backend=options.backend)
    else:
        moved = close_isolated(session.book, session.arrays, account, order, price)
    statement = margin(moved.book, session.arrays, session.market, session.model, backend=options.backend)
    session = session.warned(statement)
    rows = [moved.book.row_of(name) for name in (account, moved.sub_account)]
    columns = moved.ledger.columns()
    identity = {
        "account": account,
        "sub_account": moved.sub_account,
        "asset": moved.asset,
        "paid": moved.paid,
        "moved": moved.moved,
        "covered_by_fund": moved.covered,
        **statement.identity(rows),
        **session.told.document(),
    }
    if book_files is not None:
        write_book(book_files, moved.book, session.arrays.instrument_id, session.arrays.is_collateral)

    def document() -> dict[str, Any]:
        after = {name: values[rows] for name, values in statement.columns().items() if name in ("account", *SHOWN)}
        digits = money_digits(statement.money_step)
        return {**identity, "entries": json_rows(columns, ()), "accounts": json_rows(after, SHOWN, digits)}

    if not deliver(output, columns, identity, document):
        _show(moved, statement, rows, session)


def _show(moved: Moved, statement: MarginStatement, rows: list[int], session: Session) -> None:
    digits, table = money_digits(statement.money_step), statement.columns()
    columns = [
        Column("account", [str(statement.account[row]) for row in rows], right=False),
        Column("status", [str(table["status"][row]) for row in rows], right=False),
        *(Column(f"{name} [{statement.currency}]", money(table[name][rows], digits)) for name in SHOWN),
    ]
    entries = [
        f"{entry.reason}: {quantity_text(entry.ticks * moved.ledger.tick)} {moved.asset} "
        f"from {entry.source} to {entry.target}"
        for entry in moved.ledger.entries
    ]
    footer = [*entries, *statement_lines(statement, statement.excluded_of(rows), session.told)]
    sign = "+" if moved.quantity > 0 else ""
    title = f"{sign}{quantity_text(moved.quantity)} {moved.instrument} in {moved.sub_account}"
    show_table(f"{title}, {market_text(statement, session.source)}", columns, "\n".join(footer))


def _parsed(option: str, text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        quantity = float(number)
    except ValueError:
        name = ""
    if not name:
        raise DataError([Problem(option, 1, "order", text, "write INSTRUMENT=QUANTITY, + buy, - sell")])
    return name, quantity
