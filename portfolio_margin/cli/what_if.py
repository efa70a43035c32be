"""what-if: margin before and after orders that have not been sent."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    collect,
    open_session,
    source,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    money,
    number,
    output_options,
    quantity_text,
    show_table,
)
from portfolio_margin.io.results import json_rows, money_text
from portfolio_margin.sensitivities import COMPARED, what_if
from portfolio_margin.version import VERSION
from pricing.errors import ConfigError, DataError, Problem

RATIOS = ("mm_rate",)


@click.command("what-if")
@click.argument("account")
@click.option("--order", "orders", metavar="INSTRUMENT=QUANTITY", multiple=True, help="+ buy, - sell; repeatable.")
@click.option(
    "--orders", "orders_file", metavar="FILE", help="instrument, quantity (.csv, .csv.gz, .parquet; - reads CSV)."
)
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, *MARGIN_OPTIONS)
@output_options
def command(
    account: str,
    orders: tuple[str, ...],
    orders_file: str | None,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Margin of ACCOUNT before and after orders filled at the mark."""
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    options = collect(shared)
    wanted = [*_parsed(orders), *(_read(orders_file) if orders_file else [])]
    if not wanted:
        raise ConfigError("give at least one --order INSTRUMENT=QUANTITY, or --orders FILE")
    session = open_session(options)
    result = what_if(
        session.book, session.arrays, session.market, session.model, account, wanted, backend=options.backend
    )
    columns = {
        "measure": list(COMPARED),
        "pre": [result.pre[name] for name in COMPARED],
        "post": [result.post[name] for name in COMPARED],
        "change": [result.change[name] for name in COMPARED],
    }
    identity = {
        "account": account,
        "currency": result.currency,
        "orders": [list(order) for order in wanted],
        "pre_status": result.pre_status,
        "post_status": result.post_status,
        "pre_worst_scenario": result.pre_worst_scenario,
        "post_worst_scenario": result.post_worst_scenario,
        "fits": result.fits,
        "model_id": session.model.model_id,
        "engine_version": VERSION,
        "market_rows_left_out": list(session.excluded),
        "notes": list(session.notes),
    }
    if not deliver(output, columns, identity, lambda: {**identity, "measures": _measures(columns)}):
        _show(columns, identity)


def _measures(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """One object a measure for JSON, amounts as decimal texts."""
    rows = json_rows(columns, ())
    for row in rows:
        if row["measure"] not in RATIOS:
            row |= {name: money_text(row[name]) for name in ("pre", "post", "change")}
    return rows


def _show(columns: dict[str, Any], identity: dict[str, Any]) -> None:
    def texts(name: str) -> list[str]:
        pairs = zip(columns["measure"], columns[name], strict=True)
        return [(number([value], 4) if measure in RATIOS else money([value]))[0] for measure, value in pairs]

    names = [name if name in RATIOS else f"{name} [{identity['currency']}]" for name in columns["measure"]]
    table = [Column("measure", names, right=False), *(Column(name, texts(name)) for name in ("pre", "post", "change"))]
    footer = (
        f"status {identity['pre_status']} -> {identity['post_status']}, "
        f"worst scenario {identity['pre_worst_scenario'] or 'none'} -> {identity['post_worst_scenario'] or 'none'}\n"
        f"the orders {'fit' if identity['fits'] else 'do not fit'} the account's initial margin"
    )
    bought = [f"{'+' if quantity > 0 else ''}{quantity_text(quantity)} {name}" for name, quantity in identity["orders"]]
    show_table(f"{identity['account']} and {', '.join(bought)}", table, footer)


def _parsed(orders: tuple[str, ...]) -> list[tuple[str, float]]:
    problems, parsed = [], []
    for number_, order in enumerate(orders, start=1):
        name, separator, text = order.rpartition("=")
        try:
            parsed.append((name, float(text)))
        except ValueError:
            separator = ""
        if not separator or not name:
            problems.append(Problem("--order", number_, "order", order, "write INSTRUMENT=QUANTITY, + buy, - sell"))
    if problems:
        raise DataError(problems)
    return parsed


def _read(path: str) -> list[tuple[str, float]]:
    from portfolio_margin.io.tables import number_column, read_table, require_columns, row_problems_of, text_column

    table = read_table(source(path), "orders")
    require_columns(table, ("instrument", "quantity"), only=True)
    quantity, bad = number_column(table, "quantity")
    problems = row_problems_of(table, "quantity", bad | ~np.isfinite(quantity), "must be a finite number")
    if problems:
        raise DataError(problems)
    names = text_column(table, "instrument")
    return [(str(name).strip(), float(value)) for name, value in zip(names, quantity, strict=True)]
