"""liquidate: what a policy would close of accounts below maintenance margin, and what is left of them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

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
    rows_of,
    statement_of,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    money,
    output_options,
    plots_in,
    progress,
    quantity_text,
    show_table,
)
from portfolio_margin.cli.tell import tell
from portfolio_margin.dollars import money_digits, money_step
from portfolio_margin.io.results import json_rows, money_text
from portfolio_margin.liquidation import policies
from portfolio_margin.liquidation.plan import Costs, LiquidationPlan
from portfolio_margin.statement import AccountStatus, MarginStatement
from pricing.errors import ConfigError

DEFAULT_POLICY, DEFAULT_COST = "largest_contributor", 0.0005
POLICIES = tuple(sorted(module.name for module in iter_modules(policies.__path__)))
MONEY_COLUMNS = ("cost", "penalty", "equity", "margin_balance", "initial_margin", "maintenance_margin")
CANCEL = "cancel_orders"
STYLES = {"unmargined": "yellow", "exhausted": "red", "bankrupt": "bold red"}


@click.command("liquidate")
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]...")
@click.option("--policy", type=click.Choice(POLICIES), default=DEFAULT_POLICY, show_default=True)
@click.option(
    "--buffer", type=float, help="Share of the maintenance margin restored above it; by default the policy's."
)
@click.option(
    "--cost", type=float, default=DEFAULT_COST, show_default=True, help="Of trading, a share of the notional."
)
@click.option("--penalty", type=float, default=0.0, show_default=True, help="On closing, a share of the notional.")
@click.option("--penalty-share", type=float, default=0.0, show_default=True, help="Of the maintenance margin freed.")
@click.option("--plots", "plots_folder", metavar="DIR", help="Write a picture of every plan, step by step.")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, ORDERS_OPTION, *MARGIN_OPTIONS)
@output_options
def command(
    accounts: tuple[str, ...],
    plots_folder: str | None,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Liquidation plans of the ACCOUNTs named, or of all below maintenance margin.

    Open orders are cancelled first: that releases their margin, which is initial margin alone, and no plan knows them
    from then on. With --open-orders it is told as step 0.
    """
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    rules = {name: shared.pop(name) for name in ("policy", "buffer", "cost", "penalty", "penalty_share")}
    options = collect(shared)
    _check_rates(rules)
    module = policy_module(rules["policy"])
    params = module.Params() if rules["buffer"] is None else module.Params(buffer=rules["buffer"])
    session = open_session(options)
    statement = statement_of(session, options)
    session = session.warned(statement)
    chosen = rows_of(session.book, accounts) if accounts else np.flatnonzero(statement.below_maintenance).tolist()
    costs = Costs.of(
        session.arrays,
        rules["cost"] * session.arrays.notional,
        rules["penalty"] * session.arrays.notional,
        rules["penalty_share"],
    )
    plans = []
    with progress("liquidating", max(len(chosen), 1)) as step:
        for name in (str(statement.account[row]) for row in chosen):
            book = session.book.select(name)
            plans.append(module.plan(book, session.arrays, session.model, costs, params, backend=options.backend))
            step(name)
    if plots_folder is not None:
        _draw(plots_folder, plans, session, params.buffer)
    identity = {**rules, "buffer": params.buffer, "currency": statement.currency, "as_of_ms": statement.as_of_ms}
    identity |= {**statement.identity(chosen), **session.told.document()}
    cancelled = _cancelled(statement)
    columns = _columns(plans, session, cancelled)
    columns["buffer"] = np.full(len(columns["account"]), float(params.buffer))
    if not deliver(output, columns, identity, lambda: _document(plans, session, identity, cancelled)):
        _show(plans, statement, session, chosen, (rules["policy"], _buffer_text(rules, params.buffer)))


def policy_module(name: str) -> Any:
    """The file of a policy, with `plan` and `Params`."""
    return import_module(f"{policies.__name__}.{name}")


def _buffer_text(rules: dict[str, Any], buffer: float) -> str:
    """What a plan restores; costs of two policies can be compared only where it is the same."""
    text = f"plans restore {1.0 + buffer:.4g} times the maintenance margin: --buffer {buffer:.4g}"
    if rules["buffer"] is not None:
        return text
    others = {name: policy_module(name).Params().buffer for name in POLICIES}
    apart = ", ".join(f"{name} {own:.4g}" for name, own in others.items() if own != buffer)
    return f"{text}, by default of {rules['policy']}" + (f"; not that of {apart}" if apart else "")


def _check_rates(rules: dict[str, Any]) -> None:
    for name in ("cost", "penalty", "penalty_share"):
        if not 0.0 <= rules[name] <= 1.0:
            raise ConfigError(f"--{name.replace('_', '-')} = {rules[name]!r}: must be from 0 to 1")


def _draw(folder: str, plans: list[LiquidationPlan], session: Session, buffer: float) -> None:
    from portfolio_margin.plots.liquidation import liquidation_ladder

    target = plots_in(folder)
    for plan in plans:
        liquidation_ladder(plan, session.arrays, buffer).save(target / f"ladder-{plan.account}.png")
    tell(f"wrote {len(plans)} pictures to {folder}")


def _cancelled(statement: MarginStatement) -> dict[str, tuple[int, float]]:
    """Open orders of the accounts that have some, and the initial margin that cancelling them releases."""
    found = statement.orders
    if found is None:
        return {}
    count = np.bincount(found.orders.account_idx, minlength=len(statement))
    return {str(statement.account[a]): (int(count[a]), float(found.added[a])) for a in np.flatnonzero(count)}


def _columns(plans: list[LiquidationPlan], session: Session, cancelled: dict[str, tuple[int, float]]) -> dict[str, Any]:
    """One row a trade, before them step 0 where orders are cancelled; an account without either has one row without a
    step."""
    names = ("step", "action", "instrument", "quantity", *MONEY_COLUMNS)
    rows: list[tuple[Any, ...]] = []
    for plan in plans:
        table = plan.columns(session.arrays)
        trades = list(zip(*(table[name].tolist() for name in names), strict=True))
        if plan.account in cancelled:
            orders = float(cancelled[plan.account][0])
            trades.insert(0, (0, CANCEL, "", orders, 0.0, 0.0, *plan.before[:4]))
        nothing = (0, "", "", 0.0, 0.0, 0.0, *plan.after[:4])
        rows += [(plan.account, plan.policy, plan.outcome.value, *row) for row in trades or [nothing]]
    columns = list(zip(*rows, strict=True)) or [()] * (3 + len(names))
    return {
        name: np.array(column) for name, column in zip(("account", "policy", "outcome", *names), columns, strict=True)
    }


def _document(
    plans: list[LiquidationPlan],
    session: Session,
    identity: dict[str, Any],
    cancelled: dict[str, tuple[int, float]],
) -> dict[str, Any]:
    """One object an account, with its trades; amounts as decimal texts."""
    documents, digits = [], money_digits(money_step(session.arrays))
    for plan in plans:
        margins = {
            when: {name: money_text(value, digits) for name, value in zip(MONEY_COLUMNS[2:], figures[:4], strict=True)}
            | {"status": AccountStatus(figures.status).name}
            for when, figures in (("before", plan.before), ("after", plan.after))
        }
        amounts: dict[str, Any] = {
            "cost": money_text(plan.cost, digits),
            "penalty": money_text(plan.penalty, digits),
        }
        if plan.account in cancelled:
            count, released = cancelled[plan.account]
            amounts |= {"orders_cancelled": count, "order_margin_released": money_text(released, digits)}
        trades = json_rows(plan.columns(session.arrays), MONEY_COLUMNS, digits)
        documents.append(
            {"account": plan.account, "outcome": plan.outcome.value, **amounts, **margins, "trades": trades}
        )
    return {**identity, "plans": documents}


def _show(
    plans: list[LiquidationPlan],
    statement: MarginStatement,
    session: Session,
    chosen: list[int],
    texts: tuple[str, str],
) -> None:
    """The table; texts are the policy and what it restores."""
    policy, restored = texts
    unit, digits = f" [{statement.currency}]", money_digits(statement.money_step)
    outcomes = [plan.outcome.value for plan in plans]
    trades = [sum(len(step.trades) for step in plan.steps) for plan in plans]
    shown = [
        Column("account", [plan.account for plan in plans], right=False),
        Column("outcome", outcomes, right=False, styles=[STYLES.get(name, "") for name in outcomes]),
        Column("trades", [str(count) for count in trades]),
        Column("cost" + unit, money([plan.cost for plan in plans], digits)),
        Column("penalty" + unit, money([plan.penalty for plan in plans], digits), keep=False),
        Column("balance" + unit, money([plan.before.balance for plan in plans], digits)),
        Column("after", money([plan.after.balance for plan in plans], digits)),
        Column("maint." + unit, money([plan.before.maintenance for plan in plans], digits)),
        Column("after", money([plan.after.maintenance for plan in plans], digits)),
    ]
    footer = [restored, *statement_lines(statement, statement.excluded_of(chosen), session.told)]
    for name, (count, released) in _cancelled(statement).items():
        if name in [plan.account for plan in plans]:
            text = f"{name}: first {count} open orders are cancelled, which releases {money([released], digits)[0]}"
            footer.insert(0, f"{text} {statement.currency} of initial margin")
    if not plans:
        footer = ["no account is below maintenance margin", *footer]
    title = f"liquidation by {policy}, {market_text(statement, session.source)}"
    show_table(title, shown, "\n".join(footer))
    if len(plans) == 1 and plans[0].steps:
        _show_trades(plans[0], session, unit, digits)


def _show_trades(plan: LiquidationPlan, session: Session, unit: str, digits: int) -> None:
    table = plan.columns(session.arrays)
    last = ~np.isnan(table["maintenance_margin"])

    def amounts(name: str) -> list[str]:
        return [money([value], digits)[0] if end else "" for value, end in zip(table[name], last, strict=True)]

    columns = [
        Column("step", [str(number) for number in table["step"]]),
        Column("action", [str(name) for name in table["action"]], right=False),
        Column("instrument", [str(name) for name in table["instrument"]], right=False),
        Column("quantity", [quantity_text(quantity) for quantity in table["quantity"]]),
        Column("cost" + unit, amounts("cost")),
        Column("penalty" + unit, amounts("penalty"), keep=False),
        Column("balance" + unit, amounts("margin_balance")),
        Column("maint." + unit, amounts("maintenance_margin")),
    ]
    show_table(
        f"trades of {plan.account}", columns, "quantities are contracts, + bought; margins are those after a step"
    )
