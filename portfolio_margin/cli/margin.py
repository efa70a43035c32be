"""margin: statements of every account."""

from __future__ import annotations

import sys
from typing import Any

import click
import numpy as np

from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    collect,
    open_session,
    statement_of,
    with_options,
)
from portfolio_margin.cli.output import Column, chosen_output, deliver, money, number, output_options, show_table
from portfolio_margin.statement import AccountStatus, MarginStatement

BELOW_MAINTENANCE = 1
STYLES = {"MARGIN_CALL": "yellow", "REDUCE_ONLY": "yellow", "LIQUIDATION": "red", "BANKRUPT": "bold red"}
MONEY_COLUMNS = (
    "equity",
    "collateral_value_before_haircut",
    "haircut",
    "margin_balance",
    "initial_margin",
    "maintenance_margin",
    "available_funds",
    "excess_liquidity",
    "delta_total",
)


def money_columns(statement: MarginStatement) -> list[str]:
    """The columns of a statement that are amounts."""
    return [*MONEY_COLUMNS, *(f"charge_{name}" for name in statement.charges)]


@click.command("margin")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, *MARGIN_OPTIONS)
@click.option("--account", "accounts", multiple=True, help="Only this account; repeatable.")
@click.option("--check", is_flag=True, help="Exit 1 where an account is below maintenance margin.")
@output_options
def command(
    accounts: tuple[str, ...],
    check: bool,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Margin statements of every account."""
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    options = collect(shared)
    session = open_session(options)
    statement = statement_of(session, options)
    chosen = [session.book.row_of(name) for name in accounts] if accounts else list(range(len(statement)))
    columns = {name: np.asarray(values)[chosen] for name, values in statement.columns().items()}
    if not deliver(output, columns, statement.identity(), money_columns(statement), "accounts"):
        _show(statement, columns, session.source)
    if check and np.any(statement.below_maintenance[chosen]):
        sys.exit(BELOW_MAINTENANCE)


def _show(statement: MarginStatement, columns: dict[str, Any], source: str) -> None:
    moment = np.datetime64(statement.as_of_ms, "ms").astype("datetime64[s]")
    unit = f" [{statement.currency}]"
    status = [str(name) for name in columns["status"]]
    shown = [
        Column("account", [str(name) for name in columns["account"]], right=False),
        Column("status", status, right=False, styles=[STYLES.get(name, "") for name in status]),
        Column("equity" + unit, money(columns["equity"]), keep=False),
        Column("balance" + unit, money(columns["margin_balance"])),
        Column("initial" + unit, money(columns["initial_margin"])),
        Column("maint." + unit, money(columns["maintenance_margin"])),
        Column("available" + unit, money(columns["available_funds"]), keep=False),
        Column("mm_rate", number(columns["mm_rate"], 3), keep=False),
        Column("delta" + unit, money(columns["delta_total"]), keep=False),
        Column("worst scenario", [str(name) for name in columns["worst_scenario"]], right=False, keep=False),
    ]
    title = f"{statement.model.model_id} margin of {source} at {moment}Z"
    show_table(title, shown, _footer(statement, columns))


def _footer(statement: MarginStatement, columns: dict[str, Any]) -> str:
    counts = [(name, int(np.sum(columns["status"] == name))) for name in AccountStatus.__members__]
    by_status = ", ".join(f"{count} {name}" for name, count in counts if count)
    totals = [money([columns[name].sum()])[0] for name in ("equity", "initial_margin", "maintenance_margin")]
    lines = [
        f"{len(columns['account'])} accounts: {by_status or 'none'}",
        f"totals: equity {totals[0]}, initial {totals[1]}, maintenance {totals[2]} {statement.currency}",
        f"inputs {statement.input_hash}, parameters {statement.parameters_hash}, engine {statement.engine_version}",
        f"positions excluded: {len(statement.positions_excluded) or 'none'}",
    ]
    return "\n".join(lines)
