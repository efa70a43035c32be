"""report: one account as a page, with its statement, where its margin comes from, and pictures."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from portfolio_margin.cli.explain import account_lines, by_pairing, line_name, side_money
from portfolio_margin.cli.heading import market_text, statement_lines
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    ORDERS_OPTION,
    Session,
    collect,
    open_session,
    statement_of,
    with_options,
)
from portfolio_margin.cli.liquidate import DEFAULT_POLICY, POLICIES
from portfolio_margin.cli.output import money, progress, quantity_text, refuse_overwriting_inputs
from portfolio_margin.cli.provenance import PAGE_ENDINGS
from portfolio_margin.cli.report_liquidation import (
    MOST_ACCOUNTS,
    crash_section,
    edges_of,
    ladder_section,
    payoff_section,
    underlyings_of,
)
from portfolio_margin.cli.stress import DEFAULT_PATH, named_path
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
ORDER_FIGURES = {
    "position_initial_margin": "of the initial margin, for positions",
    "order_margin": "of the initial margin, for open orders",
}


@click.command("report")
@click.argument("account")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, ORDERS_OPTION, *MARGIN_OPTIONS)
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default=DEFAULT_POLICY,
    show_default=True,
    help="Of the liquidation ladder.",
)
@click.option(
    "--stress/--no-stress",
    "with_stress",
    default=None,
    help=f"The crash of the venue; by default where it has up to {MOST_ACCOUNTS:,} accounts.",
)
@click.option("--path", "path_name", default=DEFAULT_PATH, show_default=True, metavar="NAME|FILE", help="Of the crash.")
@click.option("--output", "output_file", metavar="FILE", required=True, help="Where the page goes, an .html file.")
def command(account: str, output_file: str, **shared: Any) -> None:  # fmt: skip
    """ACCOUNT as one HTML file that stands alone: statement, waterfall, risk matrix, payoff with liquidation prices,
    liquidation ladder, contributions, and a crash of its venue."""
    from portfolio_margin.io.atomic import write_whole

    if not output_file.lower().endswith(PAGE_ENDINGS):
        raise ConfigError(f"--output {output_file}: a report is a page; name it .html")
    refuse_overwriting_inputs()
    policy, with_stress, path_name = (shared.pop(name) for name in ("policy", "with_stress", "path_name"))
    path = named_path(path_name)
    options = collect(shared)
    session = open_session(options, named=())
    row = session.book.row_of(account)
    statement = statement_of(session, options)
    session = session.warned(statement)
    with progress("report", 7) as step:
        sections = [_statement(statement, session, row)]
        step("waterfall")
        explanation = explain(statement, session.book, session.arrays, account)
        sections.append(_sources(statement, explanation))
        step("risk matrix")
        sections.append(_matrix(session, account, statement, row))
        step("payoff")
        edges = edges_of(session, account)
        sections.append(payoff_section(session, account, edges))
        step("liquidation ladder")
        ladder = ladder_section(session, statement, row, edges, policy)
        sections += [] if ladder is None else [ladder]
        step("contributions")
        sections.append(_contributions(position_margins(statement, session.book, session.arrays, account)))
        step("crash")
        sections.append(crash_section(session, options, row, path, with_stress))
        page = html_page(f"Margin of {account}", market_text(statement, session.source), sections)
        write_whole(output_file, page.encode())
        step("done")
    tell(f"wrote {output_file}")


def _statement(statement: MarginStatement, session: Session, row: int) -> Section:
    names = {**FIGURES, **({} if statement.orders is None else ORDER_FIGURES)}
    figures = [float(statement.columns()[name][row]) for name in names]
    label = np.append(statement.scenario_label, "none: nothing is lost")[statement.worst_scenario[row]]
    status = AccountStatus(int(statement.status[row])).name.lower().replace("_", " ")
    lines = statement_lines(statement, statement.excluded_of([row]), session.told)
    table = [
        Column("", [*names.values(), "status", "worst scenario"], is_text=True),
        Column(statement.currency, [*money(figures), status, str(label)]),
    ]
    return Section("Statement", lines, [table])


def _sources(statement: MarginStatement, explanation: Explanation) -> Section:
    from portfolio_margin.plots.waterfall import PARTS, margin_waterfall

    pictures = [
        (f"waterfall from equity to what {part} margin leaves", margin_waterfall(statement, explanation.account, part))
        for part in PARTS
    ]
    lines, sides = by_pairing(explanation.lines)
    table = [
        Column("what", ["  " * line.depth + line_name(line) for line in lines], is_text=True),
        Column("quantity", [quantity_text(line.quantity) if line.quantity else "" for line in lines]),
        Column("initial", side_money(lines, sides, 0)),
        Column("maintenance", side_money(lines, sides, 1)),
        Column("scenario", [line.scenario for line in lines], is_text=True),
    ]
    note = "A positive amount adds to the requirement; lines one deeper add up to the line above them."
    notes = [note, *account_lines(explanation)]
    return Section("Where the margin comes from", notes, [table], pictures, folded=f"all {len(lines)} lines")


def _matrix(session: Session, account: str, statement: MarginStatement, row: int) -> Section:
    from portfolio_margin.plots.risk_matrix import risk_matrices

    underlyings = underlyings_of(session, account)
    pictures = [
        (f"P&L in every scenario{f' of {name} alone' if name else ''}", picture)
        for name in [None, *(underlyings if len(underlyings) > 1 else [])]
        for picture in risk_matrices(session.book, session.arrays, account, name)
    ]
    label = np.append(statement.scenario_label, "none")[statement.worst_scenario[row]]
    notes = [
        f"P&L in {statement.currency} of everything held, coins among it, as far as a scenario counts it; "
        "the worst cell is framed. "
        f"The worst scenario of the statement, which nets as {statement.model.model_id} says: {label}."
    ]
    if not np.any(statement.worst_scenario >= 0) and session.model.scenario_set(session.arrays.market_rows) is None:
        notes.append(f"{statement.model.model_id} looks at no scenario: these moves are shown beside it, not its rule.")
    tiers = [str(picture.frame["tier"].iloc[0]) for _, picture in pictures]
    if any(tiers):
        notes.append(
            "Scenarios come in tiers, each with moves at least as wide as the one before, a matrix each; the tier of a "
            "scenario is the first word of its name."
        )
    return Section("Risk matrix", notes, pictures=pictures)


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
    pictures = [("exact shares of the initial margin", contribution_bars(parts))]
    return Section("Contributions", [note], [columns], pictures, folded=f"all {len(columns[0].cells)} positions")
