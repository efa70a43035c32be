"""explain: from the requirement of one account down to its positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
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
    MONEY_DIGITS,
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
from portfolio_margin.explain import ExplainedLine, Explanation, explain
from portfolio_margin.position_margin import PositionMargins, position_margins
from portfolio_margin.strategy_lines import ONE_PAIRING, PAIRINGS

SCENARIOS_SHOWN = 12
SIDES = ("initial", "maintenance")
OURS = ", ours and not the venue's"


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
    """Why ACCOUNT must hold what it must: charge, netting set, expiry, position and scenario.

    A margin group, ACCOUNT:GROUP, is an account of its own here: name it so. margin --pool adds the groups up.
    """
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
        "collateral": [line._asdict() for line in explanation.collateral],
        "scenarios": [moves.document() for moves in explanation.scenarios],
    }
    title = (
        f"{account}: {explanation.status}, margin balance {money([explanation.margin_balance], digits)[0]} "
        f"{explanation.currency}, {market_text(statement, session.source)}"
    )
    lines = [*account_lines(explanation), *statement_lines(statement, statement.excluded_of(row), session.told)]
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


def account_lines(explanation: Explanation) -> list[str]:
    """Lines for people on what counts of the collateral of an account and what the scenarios named are; of very many
    scenarios the first, documents have all."""
    scenarios = [f"scenario {moves.text()}" for moves in explanation.scenarios[:SCENARIOS_SHOWN]]
    more = len(explanation.scenarios) - SCENARIOS_SHOWN
    scenarios += [f"and {more} more scenarios, which --json has"] if more > 0 else []
    return [*(f"collateral {line.text(explanation.currency)}" for line in explanation.collateral), *scenarios]


def _show(explanation: Explanation, title: str, footer: list[str], digits: int) -> None:
    lines, sides = by_pairing(explanation.lines)
    unit = f" [{explanation.currency}]"
    columns = [
        Column("what", ["  " * line.depth + line_name(line) for line in lines], right=False),
        Column("quantity", [quantity_text(line.quantity) if line.quantity else "" for line in lines]),
        Column("initial" + unit, side_money(lines, sides, 0, digits)),
        Column("maintenance" + unit, side_money(lines, sides, 1, digits)),
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


def by_pairing(lines: Sequence[ExplainedLine]) -> tuple[list[ExplainedLine], list[tuple[bool, bool]]]:
    """Lines for people: where a model pairs positions anew for maintenance margin, all of one pairing stand together.

    The second list says whether a line is about initial and about maintenance margin.
    """
    of_pairing: dict[str, list[ExplainedLine]] = {}
    charge, pairing = lines[0], ""
    for line in lines[1:]:
        charge = line if line.depth == 1 else charge
        if line.level == "netting_set":
            pairing = next((name for name in (ONE_PAIRING, *PAIRINGS) if line.name.endswith(name)), "")
            if pairing:
                head = replace(charge, initial=line.initial, maintenance=line.maintenance)
                of_pairing.setdefault(pairing, []).append(replace(head, depth=2))
        if pairing and line.depth > 1:
            named = line.name.removesuffix(f", {pairing}") if line.level == "netting_set" else line.name
            of_pairing[pairing].append(replace(line, depth=line.depth + 1, name=named))
    if len(of_pairing) < 2:
        return list(lines), [(True, True)] * len(lines)
    shown, sides = [lines[0]], [(True, True)]
    for name in (known for known in (ONE_PAIRING, *PAIRINGS) if known in of_pairing):
        members = of_pairing[name]
        sums = [sum((getattr(m, side) for m in members if m.depth == 2), Decimal(0)) for side in SIDES]
        shown += [ExplainedLine(1, "pairing", name, None, "", sums[0], sums[1]), *members]
        sides += [(name != PAIRINGS[1], name != PAIRINGS[0])] * (len(members) + 1)
    rest = [line for line in lines if line.level == "rounding"]
    return [*shown, *rest], [*sides, *[(True, True)] * len(rest)]


def side_money(
    lines: Sequence[ExplainedLine], sides: Sequence[tuple[bool, bool]], side: int, digits: int = MONEY_DIGITS
) -> list[str]:
    """Amounts of one margin; nothing where a line is not about it."""
    texts = money([getattr(line, SIDES[side]) for line in lines], digits)
    return [text if about[side] else "" for text, about in zip(texts, sides, strict=True)]


def line_name(line: ExplainedLine) -> str:
    """What a line of an explanation is called in a table."""
    if line.level == "charge":
        return f"charge {line.name}{OURS if line.ours else ''}"
    return f"{line.level} {line.name}" if line.level in ("requirement", "netting_set") else line.name or line.level
