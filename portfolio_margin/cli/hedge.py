"""hedge: the cheapest trades that bring the margin of an account to a target."""

from __future__ import annotations

from typing import Any

import click

from portfolio_margin.cli.inputs import BOOK_OPTIONS, MARGIN_OPTIONS, MARKET_OPTIONS, ORDERS_OPTION, with_options
from portfolio_margin.cli.output import money, output_options, progress
from portfolio_margin.cli.trades import TRADE_OPTIONS, TradeInput, show_trades
from portfolio_margin.hedge import hedge
from portfolio_margin.hedge_orders import hedge_with_orders
from portfolio_margin.hedge_terms import CEILINGS, MEASURES, Target


@click.command("hedge")
@click.argument("account")
@click.option(
    "--measure", type=click.Choice(MEASURES), default="available_funds", show_default=True, help="What is to be met."
)
@click.option(
    "--target", type=float, default=0.0, show_default=True, help="Of a margin at most, of the others at least."
)
@with_options(*TRADE_OPTIONS, *MARKET_OPTIONS, *BOOK_OPTIONS, ORDERS_OPTION, *MARGIN_OPTIONS)
@output_options
def command(account: str, measure: str, target: float, **shared: Any) -> None:
    """The cheapest trades that bring the margin of ACCOUNT to a target, verified by computing it anew.

    With --open-orders the orders stay open, and a target of initial margin or available funds is met with the worst
    subset of them; those trades are not proven the cheapest.
    """
    asked = Target(measure, target)
    given = TradeInput(shared)
    session = given.session()
    names = given.instruments(session, account)
    with progress("hedging", 1) as step:
        terms = (session.book, session.arrays, session.market, session.model, account, asked)
        how: dict[str, Any] = {
            "instruments": names,
            "costs": given.costs,
            "limits": given.limits,
            "backend": given.options.backend,
        }
        if session.orders is None:
            found = hedge(*terms, **how)
        else:
            found = hedge_with_orders(*terms, session.orders, **how)
        step("done")
    side = "at most" if measure in CEILINGS else "at least"
    showing = f"target: {measure} {side} {money([target])[0]} {found.currency}"
    show_trades(found, session, given, [showing if found.trades else f"{showing}, which is met already"])
