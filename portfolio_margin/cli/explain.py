"""explain: from the requirement of one account down to its positions."""

from __future__ import annotations

from typing import Any

import click

from portfolio_margin.cli.heading import market_text, statement_lines
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    ORDERS_OPTION,
    collect,
    open_session,
    statement_of,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    money,
    output_options,
    quantity_text,
    rows_document,
    show_table,
)
from portfolio_margin.dollars import money_digits
from portfolio_margin.explain import Explanation, explain
from portfolio_margin.position_margin import PositionMargins, position_margins


@click.command("explain")
@click.argument("account")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, ORDERS_OPTION, *MARGIN_OPTIONS)
@click.option("--by-position", is_flag=True, help="Each position by itself, at the margin, and its share.")
@output_options
def command(
    account: str,
    by_position: bool,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Why ACCOUNT must hold what it must: charge, netting set, expiry, position and scenario."""
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    options = collect(shared)
    session = open_session(options, named=())
    statement = statement_of(session, options)
    session = session.warned(statement)
    explanation = explain(statement, session.book, session.arrays, account)
    row, digits = [session.book.row_of(account)], money_digits(statement.money_step)
    identity = {
        "account": account,
        "currency": explanation.currency,
        "status": explanation.status,
        "margin_balance": f"{explanation.margin_balance:.{digits}f}",
        "as_of_ms": statement.as_of_ms,
        **statement.identity(row),
        **session.told.document(),
    }
    title = (
        f"{account}: {explanation.status}, margin balance {money([explanation.margin_balance], digits)[0]} "
        f"{explanation.currency}, {market_text(statement, session.source)}"
    )
    lines = statement_lines(statement, statement.excluded_of(row), session.told)
    if by_position:
        parts = position_margins(statement, session.book, session.arrays, account)
        table, money_columns = parts.columns(), tuple(name for name in parts.columns() if "_" in name)
        if not deliver(output, table, identity, rows_document(identity, "positions", table, money_columns, digits)):
            _show_positions(parts, title, lines, digits)
        return
    columns = explanation.columns()
    if not deliver(
        output, columns, identity, rows_document(identity, "lines", columns, ("initial", "maintenance"), digits)
    ):
        _show(explanation, title, lines, digits)


def _show(explanation: Explanation, title: str, footer: list[str], digits: int) -> None:
    lines = explanation.lines
    unit = f" [{explanation.currency}]"
    columns = [
        Column("what", ["  " * line.depth + _name(line.level, line.name) for line in lines], right=False),
        Column("quantity", [quantity_text(line.quantity) if line.quantity else "" for line in lines]),
        Column("initial" + unit, money([line.initial for line in lines], digits)),
        Column("maintenance" + unit, money([line.maintenance for line in lines], digits)),
        Column("scenario", [line.scenario for line in lines], right=False, keep=False),
    ]
    meaning = "A positive amount adds to the requirement. Lines sum exactly; --json has every digit."
    show_table(title, columns, "\n".join([meaning, *footer]))


def _show_positions(parts: PositionMargins, title: str, footer: list[str], digits: int) -> None:
    table, unit = parts.columns(), f" [{parts.currency}]"

    def amounts(name: str) -> list[str]:
        return ["" if value is None else money([value], digits)[0] for value in table[name]]

    columns = [
        Column("position", table["instrument"], right=False),
        Column("quantity", ["" if q is None else quantity_text(q) for q in table["quantity"]]),
        *(Column(f"{kind} initial{unit}", amounts(f"{kind}_initial")) for kind in ("standalone", "marginal", "share")),
        *(
            Column(f"{kind} maint.{unit}", amounts(f"{kind}_maintenance"), keep=False)
            for kind in ("standalone", "marginal", "share")
        ),
    ]
    meaning = "standalone: the position alone; marginal: with less without it; shares add up to the requirement"
    show_table(f"{title}, by position", columns, "\n".join([meaning, *footer]))


def _name(level: str, name: str) -> str:
    return f"{level} {name}" if level in ("requirement", "charge", "netting_set") else name or level
