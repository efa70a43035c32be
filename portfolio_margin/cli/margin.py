"""margin: statements of every account."""

from __future__ import annotations

import sys
from typing import Any

import click
import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.cli import chunked, cluster
from portfolio_margin.cli.heading import market_text, statement_lines
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    ORDERS_OPTION,
    Session,
    collect,
    open_session,
    rows_of,
    statement_of,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    money,
    number,
    output_options,
    show_table,
)
from portfolio_margin.cli.tell import tell
from portfolio_margin.dollars import money_digits
from portfolio_margin.io.results import json_rows, money_text
from portfolio_margin.io.tables import CSV
from portfolio_margin.margin_groups import pooled
from portfolio_margin.scenario_moves import moves_at
from portfolio_margin.statement import AccountStatus, MarginStatement, up
from scenarios.risk_arrays import RiskArrays

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
    "position_initial_margin",
    "order_margin",
)


@click.command("margin")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, ORDERS_OPTION, *MARGIN_OPTIONS)
@click.option("--account", "accounts", multiple=True, help="Only this account; repeatable.")
@click.option(
    "--check", is_flag=True, help="Exit 1 where an account is below maintenance margin, or holds risk without a rule."
)
@click.option("--pool", is_flag=True, help="Add up groups ACCOUNT:GROUP, which are rows of their own without.")
@with_options(*chunked.CHUNK_OPTIONS, *cluster.CLUSTER_OPTIONS)
@output_options
def command(
    accounts: tuple[str, ...],
    check: bool,
    pool: bool,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Margin statements of every account."""
    others = {"--account": accounts, "--pool": pool, "--json": as_json, "--csv": as_csv, "--parquet": parquet_file}
    on_cluster = cluster.chosen_cluster(shared, {**others, "--output": output_file})
    if on_cluster is not None:
        short = cluster.run(collect(shared), on_cluster)
        if check and short:
            sys.exit(BELOW_MAINTENANCE)
        return
    in_chunks = chunked.chosen_chunks(shared, {**others, "--output": output_file})
    if in_chunks is not None:
        options = collect(shared)
        short = chunked.run(open_session(options), options, in_chunks)
        if check and short:
            sys.exit(BELOW_MAINTENANCE)
        return
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    options = collect(shared)
    session = open_session(options, named=())
    statement = statement_of(session, options)
    listed = session.book
    if pool:
        statement = pooled(statement)
        listed = Book.from_arrays(np.zeros(0, np.str_), [], [], accounts=statement.account)
    session = session.warned(statement)
    chosen = rows_of(listed, accounts) if accounts else list(range(len(statement)))
    columns = {name: np.asarray(values)[chosen] for name, values in statement.columns().items()}
    identity = {**statement.identity(chosen), **session.told.document()}
    if output.kind == CSV:
        columns |= _csv_columns(statement, chosen)
    if not deliver(output, columns, identity, lambda: _document(statement, session.arrays, identity, chosen)):
        _show(statement, columns, session, chosen)
    if not check:
        return
    # Each of the two columns is made when it is asked for: once, and not for every account.
    below, partly = statement.below_maintenance[chosen], statement.unmargined[chosen].astype(bool)
    names = statement.account[chosen]
    if below.any():
        tell(f"below maintenance margin: {', '.join(names[below])}")
    if partly.any():
        tell(
            f"margin of a part only, as the model has no rule for positions that bear risk: {', '.join(names[partly])}"
        )
    if below.any() or partly.any():
        sys.exit(BELOW_MAINTENANCE)


def _csv_columns(statement: MarginStatement, chosen: list[int]) -> dict[str, Any]:
    """What other outputs state once, in every row: CSV has no place beside its rows."""
    count, used = len(chosen), statement.parameter_set
    return {
        "model": np.full(count, statement.model.model_id),
        "parameter_set": np.full(count, used.label),
        "parameters_valid_from": np.full(count, used.valid_from),
        "excluded": np.array(["; ".join(_own_excluded(statement, row)) for row in chosen], dtype=np.str_),
    }


def _own_excluded(statement: MarginStatement, row: int) -> list[str]:
    """Positions without a rule of one account, without the name of the account."""
    lines = statement.excluded_of([row])[len(statement.excluded_of([])) :]
    return [line.removeprefix(f"{statement.account[row]} ") for line in lines]


def _document(
    statement: MarginStatement, arrays: RiskArrays, identity: dict[str, Any], chosen: list[int]
) -> dict[str, Any]:
    """The statement as JSON: worst scenario and components opened up, amounts as decimal texts."""
    columns = {name: np.asarray(values)[chosen] for name, values in statement.columns().items()}
    flat = {name: values for name, values in columns.items() if not name.startswith("charge_")}
    digits = money_digits(statement.money_step)
    accounts = json_rows(flat, MONEY_COLUMNS, digits)
    for account, row in zip(accounts, chosen, strict=True):
        worst = int(statement.worst_scenario[row])
        account["worst_scenario"] = None if worst < 0 else moves_at(arrays, worst).document()
        account["components"] = {
            name: {
                "initial": money_text(columns[f"charge_{name}"][chosen.index(row)], digits),
                "maintenance": money_text(up(parts[row : row + 1, 1], statement.money_step)[0], digits),
                **({"ours": True} if name in statement.model.traits.ours else {}),
            }
            for name, parts in statement.charges.items()
        }
        if statement.orders is not None:
            account["open_orders"] = _orders_document(statement, arrays, row)
    return {**identity, "accounts": accounts}


def _show(statement: MarginStatement, columns: dict[str, Any], session: Session, chosen: list[int]) -> None:
    unit, digits = f" [{statement.currency}]", money_digits(statement.money_step)
    status = [str(name) for name in columns["status"]]
    shown = [
        Column("account", [str(name) for name in columns["account"]], right=False),
        Column("status", status, right=False, styles=[STYLES.get(name, "") for name in status]),
        *_excluded_column(columns),
        Column("equity" + unit, money(columns["equity"], digits), keep=False),
        Column("balance" + unit, money(columns["margin_balance"], digits)),
        Column("initial" + unit, money(columns["initial_margin"], digits)),
        *_order_columns(columns, unit, digits),
        Column("maint." + unit, money(columns["maintenance_margin"], digits)),
        Column("available" + unit, money(columns["available_funds"], digits), keep=False),
        Column("mm rate", number(columns["mm_rate"], 3), keep=False),
        Column(_delta_name(session) + unit, money(columns["delta_total"], digits), keep=False),
        Column("worst scenario", [str(name) for name in columns["worst_scenario"]], right=False, keep=False),
    ]
    footer = [*_totals(statement, columns), *statement_lines(statement, statement.excluded_of(chosen), session.told)]
    show_table(market_text(statement, session.source), shown, "\n".join(footer))


def _delta_name(session: Session) -> str:
    """A file of an exchange states composite deltas, a mean over price moves; a market has deltas at its prices."""
    return "delta" if session.arrays.market_digest else "composite delta"


def _order_columns(columns: dict[str, Any], unit: str, digits: int) -> list[Column]:
    """What of the initial margin is for open orders, where any were given: how many of them the worst subset fills."""
    if "order_margin" not in columns:
        return []
    counts = zip(columns["orders_filled_worst"], columns["orders_open"], columns["order_margin_is"], strict=True)
    worst = [f"{filled} of {count}, {how}" if count else "" for filled, count, how in counts]
    return [
        Column("for orders" + unit, money(columns["order_margin"], digits)),
        Column("worst fill", worst, right=False),
    ]


def _orders_document(statement: MarginStatement, arrays: RiskArrays, row: int) -> list[dict[str, Any]]:
    """The open orders of an account, and whether the worst subset fills each."""
    assert statement.orders is not None
    orders, filled = statement.orders.orders, statement.orders.filled
    return [
        {
            "instrument": str(arrays.instrument_id[orders.instrument_idx[o]]),
            "quantity": float(orders.quantity[o]),
            "gain_at_limit": float(orders.gain[o]),
            "in_worst_subset": bool(filled[o]),
        }
        for o in np.flatnonzero(orders.account_idx == row).tolist()
    ]


def _excluded_column(columns: dict[str, Any]) -> list[Column]:
    """How many positions stand behind no margin, beside the status, where there are any."""
    count = columns["positions_excluded"]
    return [Column("excluded", [str(n) if n else "" for n in count])] if np.any(count) else []


def _totals(statement: MarginStatement, columns: dict[str, Any]) -> list[str]:
    counts = [(name, int(np.sum(columns["status"] == name))) for name in AccountStatus.__members__]
    by_status = ", ".join(f"{count:,} {name}" for name, count in counts if count)
    digits = money_digits(statement.money_step)
    totals = [money([columns[name].sum()], digits)[0] for name in ("equity", "initial_margin", "maintenance_margin")]
    return [
        f"{len(columns['account']):,} accounts: {by_status or 'none'}",
        f"totals: equity {totals[0]}, initial {totals[1]}, maintenance {totals[2]} {statement.currency}",
    ]
