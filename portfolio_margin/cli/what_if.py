"""what-if: margin before and after orders that have not been sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import click
import numpy as np

from portfolio_margin.cli.heading import market_text, statement_lines
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    ORDERS_OPTION,
    Session,
    collect,
    open_session,
    source,
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
    quantity_text,
    show_table,
)
from portfolio_margin.dollars import money_digits
from portfolio_margin.io.results import MONEY_DIGITS, json_rows, money_text
from portfolio_margin.sensitivities import COMPARED, WhatIf, what_if
from portfolio_margin.statement import AccountStatus, MarginStatement
from pricing.errors import ConfigError, DataError, Problem

RATIOS = ("mm_rate",)
# Margin -> what is free above it.
FREE = {"initial": "available_funds", "maintenance": "excess_liquidity"}


class _Order(NamedTuple):
    """An order and where it was given."""

    instrument: str
    quantity: float
    file: str
    row: int


@click.command("what-if")
@click.argument("account")
@click.option("--order", "orders", metavar="INSTRUMENT=QUANTITY", multiple=True, help="+ buy, - sell; repeatable.")
@click.option(
    "--orders",
    "orders_file",
    metavar="FILE",
    help="instrument, quantity (.csv, .csv.gz, .parquet, .arrow; - reads CSV).",
)
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, ORDERS_OPTION, *MARGIN_OPTIONS)
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
    """Margin of ACCOUNT before and after orders filled at the mark.

    A margin group, ACCOUNT:GROUP, is an account of its own here: name it so. margin --pool adds the groups up.
    """
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    options = collect(shared)
    given = [*_parsed(orders), *(_read(orders_file) if orders_file else [])]
    if not given:
        raise ConfigError("give at least one --order INSTRUMENT=QUANTITY, or --orders FILE")
    session = open_session(options, named=[order.instrument for order in given])
    result = _result(session, account, given, options.backend)
    statement = statement_of(session, options)
    session = session.warned(statement)
    columns = {
        "measure": list(COMPARED),
        "pre": [result.pre[name] for name in COMPARED],
        "post": [result.post[name] for name in COMPARED],
        # Of a ratio that is infinite before and after, the change is none, not unknown.
        "change": [0.0 if result.pre[name] == result.post[name] else result.change[name] for name in COMPARED],
    }
    identity = {
        "account": account,
        "currency": result.currency,
        "orders": [[order.instrument, order.quantity] for order in given],
        "pre_status": result.pre_status,
        "post_status": result.post_status,
        "pre_worst_scenario": result.pre_worst_scenario,
        "post_worst_scenario": result.post_worst_scenario,
        "fits": result.fits,
        "allowed": result.allowed,
        "unmargined": result.unmargined,
        "as_of_ms": statement.as_of_ms,
        **statement.identity(),
        "positions_excluded": list(result.positions_excluded),
        **session.told.document(),
    }
    digits = money_digits(statement.money_step)
    if not deliver(output, columns, identity, lambda: {**identity, "measures": _measures(columns, digits)}):
        _show(result, columns, identity["orders"], statement, session)


def _measures(columns: dict[str, Any], digits: int) -> list[dict[str, Any]]:
    """One object a measure for JSON, amounts as decimal texts."""
    rows = json_rows(columns, ())
    for row in rows:
        if row["measure"] not in RATIOS:
            row |= {name: money_text(row[name], digits) for name in ("pre", "post", "change")}
    return rows


def _show(
    result: WhatIf, columns: dict[str, Any], orders: list[list[Any]], statement: MarginStatement, session: Session
) -> None:
    digits = money_digits(statement.money_step)

    def texts(name: str) -> list[str]:
        pairs = zip(columns["measure"], columns[name], strict=True)
        return [(number([value], 4) if measure in RATIOS else money([value], digits))[0] for measure, value in pairs]

    names = [name if name in RATIOS else f"{name} [{result.currency}]" for name in columns["measure"]]
    table = [Column("measure", names, right=False), *(Column(name, texts(name)) for name in ("pre", "post", "change"))]
    footer = [
        f"status {result.pre_status} -> {result.post_status}, "
        f"worst scenario {result.pre_worst_scenario or 'none'} -> {result.post_worst_scenario or 'none'}",
        *verdict(result, digits),
        *statement_lines(statement, result.positions_excluded, session.told),
    ]
    bought = [f"{'+' if quantity > 0 else ''}{quantity_text(quantity)} {name}" for name, quantity in orders]
    title = f"{result.account} and {', '.join(bought)}, {market_text(statement, session.source)}"
    show_table(title, table, "\n".join(footer))


def verdict(result: WhatIf, digits: int = MONEY_DIGITS) -> list[str]:
    """Whether the orders can be sent, and how short the account is of its margins before and after them."""
    was_short = result.pre["available_funds"] < 0
    if result.unmargined:
        text = "the orders do not fit: afterwards the account holds risk that the model has no rule for"
    elif result.fits:
        text = "the orders fit: initial margin is covered afterwards"
    elif result.allowed:
        below = "maintenance" if result.post["excess_liquidity"] < 0 else "initial"
        does = "lower" if any(result.change[name] > 0 for name in FREE.values()) else "do not raise"
        text = f"the account stays below {below} margin; the orders {does} what is missing, so they are allowed"
    elif was_short:
        text = "the orders do not fit: the account is below initial margin already, and they make it worse"
    else:
        text = "the orders do not fit: initial margin is not covered afterwards"
    lines = [text]
    for kind, name in FREE.items():
        before, after = result.pre[name], result.post[name]
        if before < 0 or after < 0:
            missing = f"{_missing(before, digits)} before, {_missing(after, digits)} afterwards"
            lines.append(f"{kind} margin: {missing} [{result.currency}]")
    if result.post_status == AccountStatus.BANKRUPT.name:
        lines.append("equity is below zero: no order at the mark changes that")
    return lines


def _missing(free: float, digits: int) -> str:
    return f"{money([-free], digits)[0]} missing" if free < 0 else "covered"


def _result(session: Session, account: str, given: list[_Order], backend: str) -> WhatIf:
    """What the orders do; what is wrong with one is said of where it was given, and why its contract is not there."""
    orders = [(order.instrument, order.quantity) for order in given]
    try:
        given_to = (session.book, session.arrays, session.market, session.model)
        return what_if(*given_to, account, orders, backend=backend, open_orders=session.orders)
    except DataError as error:
        raise DataError([_located(problem, given, session.left_out) for problem in error.problems]) from None


def _located(problem: Problem, given: list[_Order], left_out: Mapping[str, str]) -> Problem:
    if problem.file != "orders" or not isinstance(problem.row, int):
        return problem
    order = given[problem.row - 1]
    if problem.field == "instrument" and order.instrument in left_out:
        problem = replace(problem, remedy=f"left out of the market, since {left_out[order.instrument]}")
    return replace(problem, file=order.file, row=order.row)


def _parsed(orders: tuple[str, ...]) -> list[_Order]:
    problems: list[Problem] = []
    parsed: list[_Order] = []
    for number_, order in enumerate(orders, start=1):
        name, separator, text = order.rpartition("=")
        try:
            parsed.append(_Order(name, float(text), "--order", number_))
        except ValueError:
            separator = ""
        if not separator or not name:
            problems.append(Problem("--order", number_, "order", order, "write INSTRUMENT=QUANTITY, + buy, - sell"))
    if problems:
        raise DataError(problems)
    return parsed


def _read(path: str) -> list[_Order]:
    from portfolio_margin.io.tables import number_column, read_table, require_columns, row_problems_of, text_column

    table = read_table(source(path), "orders")
    require_columns(table, ("instrument", "quantity"), only=True)
    quantity, bad = number_column(table, "quantity")
    problems = row_problems_of(table, "quantity", bad | ~np.isfinite(quantity), "must be a finite number")
    if problems:
        raise DataError(problems)
    names = text_column(table, "instrument")
    rows = zip(names.tolist(), quantity.tolist(), table.row.tolist(), strict=True)
    return [_Order(name, value, table.file, row) for name, value, row in rows]
