"""liquidate: what a policy would close of accounts below maintenance margin, and what is left of them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

import click
import numpy as np

from portfolio_margin.book import Book
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
from portfolio_margin.liquidation import policies, waterfall
from portfolio_margin.liquidation.ledger import open_ledger, to_ticks
from portfolio_margin.liquidation.plan import DEFAULT_COST, DEFAULT_PENALTY, Costs, LiquidationPlan, Outcome
from portfolio_margin.liquidation.waterfall import Others, settle
from portfolio_margin.statement import CENT, AccountStatus, MarginStatement
from pricing.digest import hash_parts
from pricing.errors import ConfigError

DEFAULT_POLICY = "largest_contributor"
POLICIES = tuple(sorted(module.name for module in iter_modules(policies.__path__)))
MONEY_COLUMNS = ("cost", "penalty", "equity", "margin_balance", "initial_margin", "maintenance_margin")
CANCEL = "cancel_orders"
NEXT_PAGE, HASH_DIGITS = "docs/howto/after-a-bankruptcy.md", 16
STYLES = {"unmargined": "yellow", "exhausted": "red", "bankrupt": "bold red"}


@click.command("liquidate")
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]...")
@click.option("--policy", type=click.Choice(POLICIES), default=DEFAULT_POLICY, show_default=True)
@click.option(
    "--buffer", type=float, help="Share of the maintenance margin restored above it.  [default: the policy's, 1/9]"
)
@click.option(
    "--cost", type=float, default=DEFAULT_COST, show_default=True, help="Of trading, a share of the notional."
)
@click.option(
    "--penalty", type=float, default=DEFAULT_PENALTY, show_default=True, help="On closing, a share of the notional."
)
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
    rules["buffer"] = params.buffer
    identity = {**rules, "currency": statement.currency, "as_of_ms": statement.as_of_ms}
    identity |= {**statement.identity(chosen), **session.told.document()}
    owed = {plan.account: owed_by(plan, session.book.select(plan.account), costs) for plan in plans}
    # The same inputs under other rules are another plan.
    identity["input_hash"] = hash_parts([statement.input_hash, rules])[:HASH_DIGITS]
    cancelled = _cancelled(statement)
    columns = _columns(plans, session, cancelled)
    columns["buffer"] = np.full(len(columns["account"]), float(params.buffer))
    if not deliver(output, columns, identity, lambda: _document(plans, session, identity, cancelled, owed)):
        _show(plans, rules, statement, session, (chosen, str(identity["input_hash"]), owed))


def policy_module(name: str) -> Any:
    """The file of a policy, with `plan` and `Params`."""
    return import_module(f"{policies.__name__}.{name}")


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
    owed: dict[str, Owed],
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
        if plan.outcome == Outcome.BANKRUPT:
            amounts["deficit"] = money_text(owed[plan.account].deficit, digits)
        if plan.account in cancelled:
            count, released = cancelled[plan.account]
            amounts |= {"orders_cancelled": count, "order_margin_released": money_text(released, digits)}
        trades = json_rows(plan.columns(session.arrays), MONEY_COLUMNS, digits)
        documents.append(
            {"account": plan.account, "outcome": plan.outcome.value, **amounts, **margins, "trades": trades}
        )
    return {**identity, "plans": documents}


def rules_text(rules: dict[str, Any]) -> str:
    """What a plan was made by, for people."""
    text = (
        f"rules: policy {rules['policy']}, buffer {rules['buffer']:.6g} of the maintenance margin above it, cost "
        f"{rules['cost']:.6g} and penalty {rules['penalty']:.6g} of the notional"
    )
    return text + (f", {rules['penalty_share']:.6g} of the margin freed" if rules.get("penalty_share") else "")


class Owed(NamedTuple):
    """What an account that is not saved owes once all of it is closed at its mark, and of it the cost of that; margin
    currency."""

    deficit: float
    closing: float


def owed_by(plan: LiquidationPlan, book: Book, costs: Costs) -> Owed:
    """What the waterfall finds where there is no fund and nobody else, after everything left is traded at its cost.

    book   of the account, before the plan
    costs  those of the plan
    """
    left = np.zeros(len(costs.trading))
    np.add.at(left, book.instrument_idx, book.quantity)
    for trade in (trade for step in plan.steps for trade in step.trades):
        left[trade.row] += trade.quantity
    closing = float(np.abs(left) @ costs.trading)
    amounts = (plan.before.equity, plan.cost + closing, plan.penalty)
    equity, cost, penalty = (int(to_ticks(amount, CENT, up=True)) for amount in amounts)
    books = open_ledger({plan.account: equity}, {"bidder": 0}, insurance_fund=0, tick=CENT)
    nobody = Others(np.array([], dtype=np.str_), np.array([], dtype=np.int64))
    done = settle(books, plan.account, "bidder", waterfall.Params(), nobody, cost=cost, penalty=penalty)
    return Owed(CENT * done.deficit, closing)


def next_lines(plan: LiquidationPlan, owed: Owed) -> list[str]:
    """What comes after a plan that does not bring an account back."""
    if plan.outcome == Outcome.EXHAUSTED:
        return [f"{plan.account}: no trade helps further; what is left is auctioned or taken over ({NEXT_PAGE})"]
    if plan.outcome != Outcome.BANKRUPT:
        return []
    unit = plan.currency
    return [
        f"{plan.account}: equity {money([plan.before.equity])[0]} {unit}, so no trade helps and all of it is taken "
        f"over; closed at the marks, for {money([owed.closing])[0]}, it owes {money([owed.deficit])[0]} {unit}. "
        f"That bears the insurance fund, then profits (deleveraging), then everybody ({NEXT_PAGE})"
    ]


def haircut_lines(plans: list[LiquidationPlan]) -> list[str]:
    """Accounts whose balance does not fall by cost and penalty alone, since closing changes what is not counted."""
    moved = []
    for plan in plans:
        freed = (plan.after.balance - plan.after.equity) - (plan.before.balance - plan.before.equity)
        if abs(freed) >= CENT / 2.0:
            moved.append(f"{plan.account} {freed:+,.2f}")
    if not moved:
        return []
    return [
        "equity falls by cost and penalty, the balance also by what haircuts and options that do not count take off: "
        f"closing pays and is paid in coins, which moves that by {', '.join(moved)}"
    ]


def _show(
    plans: list[LiquidationPlan],
    rules: dict[str, Any],
    statement: MarginStatement,
    session: Session,
    what: tuple[list[int], str, dict[str, Owed]],
) -> None:
    chosen, input_hash, owed = what
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
    footer = statement_lines(statement, statement.excluded_of(chosen), session.told)
    for name, (count, released) in _cancelled(statement).items():
        if name in [plan.account for plan in plans]:
            text = f"{name}: first {count} open orders are cancelled, which releases {money([released], digits)[0]}"
            footer.insert(0, f"{text} {statement.currency} of initial margin")
    footer[0] = footer[0].replace(statement.input_hash, input_hash)
    footer = [*haircut_lines(plans), *footer]
    footer = [rules_text(rules), *(line for plan in plans for line in next_lines(plan, owed[plan.account])), *footer]
    if not plans:
        footer = ["no account is below maintenance margin", *footer]
    title = f"liquidation by {rules['policy']}, {market_text(statement, session.source)}"
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
