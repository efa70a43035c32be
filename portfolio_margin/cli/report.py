"""report: one account as a page, with its statement, where its margin comes from, and pictures."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from portfolio_margin.cli.heading import market_text, statement_lines
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    Session,
    collect,
    open_session,
    statement_of,
    with_options,
)
from portfolio_margin.cli.output import money, progress, quantity_text, refuse_overwriting_inputs
from portfolio_margin.cli.tell import tell
from portfolio_margin.explain import Explanation, explain
from portfolio_margin.position_margin import PositionMargins, position_margins
from portfolio_margin.report import Column, Section, html_page
from portfolio_margin.statement import AccountStatus, MarginStatement
from pricing.errors import ConfigError

FIGURES = {
    "equity": "equity",
    "collateral_value_before_haircut": "collateral before haircut",
    "haircut": "haircut",
    "uncounted_option_value": "option value not counted",
    "margin_balance": "margin balance",
    "initial_margin": "initial margin",
    "maintenance_margin": "maintenance margin",
    "available_funds": "available funds",
    "excess_liquidity": "excess liquidity",
}
PAGE_ENDINGS = (".html", ".htm")


@click.command("report")
@click.argument("account")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, *MARGIN_OPTIONS)
@click.option("--output", "output_file", metavar="FILE", required=True, help="Where the page goes, an .html file.")
def command(account: str, output_file: str, **shared: Any) -> None:
    """ACCOUNT as one HTML file that stands alone: statement, waterfall, risk matrix, payoff, contributions."""
    from portfolio_margin.io.atomic import write_whole

    if not output_file.lower().endswith(PAGE_ENDINGS):
        raise ConfigError(f"--output {output_file}: a report is a page; name it .html")
    refuse_overwriting_inputs()
    options = collect(shared)
    session = open_session(options, named=())
    row = session.book.row_of(account)
    statement = statement_of(session, options)
    session = session.warned(statement)
    with progress("report", 5) as step:
        sections = [_statement(statement, session, row)]
        step("waterfall")
        explanation = explain(statement, session.book, session.arrays, account)
        sections.append(_sources(statement, explanation))
        step("risk matrix")
        sections.append(_matrix(session, account, statement, row))
        step("payoff")
        sections.append(_payoff(session, account))
        step("contributions")
        sections.append(_contributions(position_margins(statement, session.book, session.arrays, account)))
        page = html_page(f"Margin of {account}", market_text(statement, session.source), sections)
        write_whole(output_file, page.encode())
        step("done")
    tell(f"wrote {output_file}")


def _statement(statement: MarginStatement, session: Session, row: int) -> Section:
    figures = [float(getattr(statement, name)[row]) for name in FIGURES]
    label = np.append(statement.scenario_label, "none: nothing is lost")[statement.worst_scenario[row]]
    status = AccountStatus(int(statement.status[row])).name.lower().replace("_", " ")
    lines = statement_lines(statement, statement.excluded_of([row]), session.told)
    table = [
        Column("", [*FIGURES.values(), "status", "worst scenario"], is_text=True),
        Column(statement.currency, [*money(figures), status, str(label)]),
    ]
    return Section("Statement", lines, [table])


def _sources(statement: MarginStatement, explanation: Explanation) -> Section:
    from portfolio_margin.plots.waterfall import PARTS, margin_waterfall

    pictures = [
        (f"waterfall from equity to what {part} margin leaves", margin_waterfall(statement, explanation.account, part))
        for part in PARTS
    ]
    lines = explanation.lines
    table = [
        Column("what", ["  " * line.depth + f"{line.level} {line.name}".strip() for line in lines], is_text=True),
        Column("quantity", [quantity_text(line.quantity) if line.quantity else "" for line in lines]),
        Column("initial", money([line.initial for line in lines])),
        Column("maintenance", money([line.maintenance for line in lines])),
        Column("scenario", [line.scenario for line in lines], is_text=True),
    ]
    note = "A positive amount adds to the requirement; lines one deeper add up to the line above them."
    return Section("Where the margin comes from", [note], [table], pictures)


def _underlyings(session: Session, account: str) -> list[str]:
    arrays, own = session.arrays, session.book.select(account)
    held = arrays.underlying_idx[own.instrument_idx[own.quantity != 0]]
    return [str(arrays.underlying_id[u]) for u in np.unique(held[held >= 0])]


def _matrix(session: Session, account: str, statement: MarginStatement, row: int) -> Section:
    from portfolio_margin.plots.risk_matrix import risk_matrix

    underlyings = _underlyings(session, account)
    chosen = [None, *(underlyings if len(underlyings) > 1 else [])]
    pictures = [
        (
            f"P&L in every scenario{f' of {name} alone' if name else ''}",
            risk_matrix(session.book, session.arrays, account, name),
        )
        for name in chosen
    ]
    label = np.append(statement.scenario_label, "none")[statement.worst_scenario[row]]
    note = (
        f"P&L in {statement.currency} of everything held, coins among it, as far as a scenario counts it; "
        "the worst cell is framed. "
        f"The worst scenario of the statement, which nets as {statement.model.model_id} says: {label}."
    )
    return Section("Risk matrix", [note], pictures=pictures)


def _payoff(session: Session, account: str) -> Section:
    from portfolio_margin.plots.payoff import payoff

    if session.instruments is None or session.market is None:
        return Section(
            "Payoff", ["Risk arrays alone have no vols to value contracts by: give a market for this picture."]
        )
    names = _underlyings(session, account)
    pictures = [
        (f"P&L over the price of {name}", payoff(session.book, session.instruments, session.market, account, name))
        for name in names
    ]
    notes = ["Vols and the other underlyings unmoved."] if names else ["Nothing is held that has a price of its own."]
    return Section("Payoff", notes, pictures=pictures)


def _contributions(parts: PositionMargins) -> Section:
    from portfolio_margin.plots.contributions import contribution_bars

    table = parts.columns()

    def amounts(name: str) -> list[str]:
        return ["" if value is None else money([value])[0] for value in table[name]]

    columns = [
        Column("position", table["instrument"], is_text=True),
        Column("quantity", ["" if q is None else quantity_text(q) for q in table["quantity"]]),
        *(Column(f"{kind} initial", amounts(f"{kind}_initial")) for kind in ("standalone", "marginal", "share")),
        *(Column(f"{kind} maint.", amounts(f"{kind}_maintenance")) for kind in ("standalone", "marginal", "share")),
    ]
    note = "standalone: the position alone; marginal: with less without it; shares add up to the requirement."
    return Section(
        "Contributions", [note], [columns], [("exact shares of the initial margin", contribution_bars(parts))]
    )
