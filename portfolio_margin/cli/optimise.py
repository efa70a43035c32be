"""optimise: the trades after which the margin of an account is smallest while its Greeks stay where they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click
import numpy as np

from portfolio_margin.cli.inputs import BOOK_OPTIONS, MARGIN_OPTIONS, MARKET_OPTIONS, Session, with_options
from portfolio_margin.cli.output import output_options, progress
from portfolio_margin.cli.trades import TRADE_OPTIONS, TradeInput, show_trades
from portfolio_margin.hedge_terms import CEILINGS
from portfolio_margin.optimise import GREEKS, GreekProfile, account_greeks, greek_profile, optimise_book
from portfolio_margin.search_watch import SearchProgress
from portfolio_margin.sensitivities import with_orders
from pricing.errors import ConfigError, DataError, Problem

DELTA = "delta_cash"
KEPT = (DELTA, "gamma_cash_1pct", "vega", "theta")


@click.command("optimise")
@click.argument("account")
@click.option("--measure", type=click.Choice(CEILINGS), default="initial_margin", show_default=True)
@click.option("--price", type=float, default=1.0, show_default=True, help="Cost that a unit of margin is worth.")
@click.option("--keep", type=float, default=0.1, show_default=True, help="Share by which Greeks may change.")
@click.option(
    "--band", "bands", metavar="GREEK=LOW:HIGH", multiple=True, help=f"Instead of --keep: {', '.join(GREEKS)}."
)
@click.option(
    "--time-limit",
    type=float,
    metavar="SECONDS",
    help="End the search with the best it has found by then, and what is proven of it.",
)
@with_options(*TRADE_OPTIONS, *MARKET_OPTIONS, *BOOK_OPTIONS, *MARGIN_OPTIONS)
@output_options
def command(
    account: str,
    measure: str,
    price: float,
    keep: float,
    bands: tuple[str, ...],
    time_limit: float | None,
    **shared: Any,
) -> None:
    """The trades after which the margin of ACCOUNT is smallest, its Greeks inside their bands.

    On the sample it takes half a minute to a minute, with many contracts more; --time-limit SECONDS ends it with the
    best found by then. Every margin model will do. Risk arrays of a file, a SPAN risk parameter file too, have no
    Greek but delta, which alone is kept with --arrays.
    """
    if not 0.0 <= keep <= 1e6:
        raise ConfigError(f"--keep {keep!r}: must be a share, 0 or more")
    given = TradeInput(shared)
    session = given.session()
    asked = _parsed(bands)
    profile = _profile(session, asked, given.options.backend)
    now = account_greeks(session.book.select(account), profile)
    kept = {
        name: (now[name] - keep * abs(now[name]), now[name] + keep * abs(now[name])) for name in KEPT if name in now
    }
    profile = GreekProfile(asked or kept, profile.by_contract)
    names = given.instruments(session, account)
    with progress("optimising", None) as step:
        limits = replace(given.limits, time_limit=time_limit, progress=lambda so_far: step(progress_text(so_far)))
        found = optimise_book(
            session.book, session.arrays, session.market, session.model, account, profile,
            instruments=names, costs=given.costs, limits=limits, objective=(measure, price),
        )  # fmt: skip
    after = account_greeks(with_orders(session.book.select(account), session.arrays, found.orders), profile)
    greeks = {
        name: {"pre": now[name], "post": after[name], "low": low, "high": high}
        for name, (low, high) in profile.bands.items()
    }
    within = [
        f"{name}: {of['pre']:,.2f} -> {of['post']:,.2f}, band {of['low']:,.2f} to {of['high']:,.2f}"
        for name, of in greeks.items()
    ]
    headline = [f"smallest {measure} + costs with", *within]
    show_trades(found, session, given, headline, {"greeks": greeks})


def _profile(session: Session, asked: Mapping[str, tuple[float, float]], backend: str) -> GreekProfile:
    """The Greeks of every contract, without bands. ConfigError for bands of Greeks that risk arrays lack."""
    if session.instruments is not None and session.market is not None:
        return greek_profile(session.instruments, session.market, {}, backend=backend)
    lacking = [name for name in asked if name in GREEKS and name != DELTA]
    if lacking:
        raise ConfigError(f"--band {lacking[0]}: risk arrays of a file have no Greek but {DELTA}; give a --market")
    return GreekProfile({}, {DELTA: session.arrays.delta})


def progress_text(so_far: SearchProgress) -> str:
    """What a search has found and proven so far, in a line."""
    found = "none allowed yet" if np.isnan(so_far.best) else f"best {so_far.best:,.2f}"
    proven = "" if np.isnan(so_far.gap) else f", at least {so_far.bound:,.2f} (gap {100 * so_far.gap:.2g} %)"
    return f"margin + costs: {found}{proven}; {so_far.programs} programs, {so_far.tried:,} trades tried"


def _parsed(bands: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """GREEK=LOW:HIGH; DataError naming every other text."""
    problems: list[Problem] = []
    found: dict[str, tuple[float, float]] = {}
    for row, text in enumerate(bands, start=1):
        name, _, band = text.partition("=")
        low, _, high = band.partition(":")
        try:
            found[name] = (float(low), float(high))
        except ValueError:
            problems.append(Problem("--band", row, "band", text, "write GREEK=LOW:HIGH"))
    if problems:
        raise DataError(problems)
    return found
