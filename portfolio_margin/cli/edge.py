"""edge: how far an account is from its maintenance margin, in price, vol and time."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Context
from typing import TYPE_CHECKING, Any

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
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    money,
    number,
    output_options,
    plots_in,
    progress,
    show_table,
)
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.results import json_rows, money_text
from portfolio_margin.statement import MarginStatement
from pricing.arrays import DAYS_PER_YEAR
from pricing.errors import ConfigError

if TYPE_CHECKING:
    from portfolio_margin.edge.expiries import Ageing, Expiry
    from portfolio_margin.edge.overview import Edge
    from portfolio_margin.edge.prices import LiquidationPrices
    from portfolio_margin.edge.probability import BreachProbability

# No model of moves knows probabilities below this, whatever a simulation of it says.
KNOWABLE = 1e-9
WEEK_DAYS, FAR_OFF = 7.0, 0.25
SLOPES = ("equity", "initial_margin", "maintenance_margin")


@click.command("edge")
@click.argument("account")
@click.option("--underlying", help="The one whose price moves; by default that of the largest gross notional.")
@click.option(
    "--sticky",
    type=click.Choice(("moneyness", "strike")),
    default="moneyness",
    show_default=True,
    help="What vols keep to as the price moves.",
)
@click.option("--low", type=float, default=0.02, show_default=True, help="Lowest price looked at, of today's.")
@click.option("--high", type=float, default=5.0, show_default=True, help="Highest price looked at, of today's.")
@click.option(
    "--horizon-days", type=float, help="Of deviations and probability.  [default: 1, or to the first expiry held]"
)
@click.option("--vol", type=float, help="Of the price, per sqrt(year); by default implied over the horizon.")
@click.option("--jump", type=click.Choice(("merton", "kou")), default="merton", show_default=True, help="Its jumps.")
@click.option("--paths", type=int, default=20_000, show_default=True, help="Simulated for the probability.")
@click.option("--steps", type=int, default=24, show_default=True, help="Times at which the account is looked at.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulation.")
@click.option("--plots", "plots_folder", metavar="DIR", help="Write pictures of the contour and of the payoff.")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, *MARGIN_OPTIONS)
@output_options
def command(
    account: str,
    plots_folder: str | None,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Liquidation prices of ACCOUNT, the contour of its edge over price and vol, its distance and the probability of a
    breach.

    All of it is of maintenance margin, which does not know open orders: a venue cancels them before it liquidates.
    """
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    names = ("underlying", "sticky", "low", "high", "horizon_days", "vol", "jump", "paths", "steps", "seed")
    asked = {name: shared.pop(name) for name in names}
    options = collect(shared)
    session = open_session(options)
    statement = statement_of(session, options)
    session = session.warned(statement)
    found = _find(session, account, asked)
    if plots_folder is not None:
        _draw(plots_folder, found)
    row = [session.book.row_of(account)]
    identity = {"account": account, **_summary(found), **statement.identity(row), **session.told.document()}
    if not deliver(output, _columns(found), identity, lambda: _document(found, identity)):
        _show(found, statement, session, row)


def _find(session: Session, account: str, asked: dict[str, Any]) -> Edge:
    from portfolio_margin.edge.distance import implied_vol_over
    from portfolio_margin.edge.levels import open_case
    from portfolio_margin.edge.overview import EdgeSettings, edge, horizon_of
    from portfolio_margin.edge.price_paths import Dynamics
    from portfolio_margin.edge.prices import Span
    from portfolio_margin.edge.probability import Simulation

    if session.instruments is None or session.market is None:
        raise ConfigError("edge revalues the account in other markets, so it needs --market, not --arrays")
    span = Span(asked["low"], asked["high"])
    simulation = Simulation(asked["paths"], asked["steps"], asked["seed"])
    with progress("edge", 2) as step:
        case = open_case(
            session.book, session.instruments, session.market, session.model, session.arrays.scenario_set,
            account, asked["underlying"], sticky=asked["sticky"],
        )  # fmt: skip
        step("contour, probability")
        days = horizon_of(case, asked["horizon_days"])
        vol = implied_vol_over(case, days / 365.0) if asked["vol"] is None else asked["vol"]
        settings = EdgeSettings(days, span, Dynamics.usual(vol, asked["jump"]), simulation)
        found = replace(edge(case, settings), vol_implied=asked["vol"] is None)
        step("done")
    return found


def _columns(found: Edge) -> dict[str, Any]:
    """One row a liquidation price."""
    prices = found.prices
    columns: dict[str, Any] = {
        "account": np.full(len(prices), prices.account),
        "underlying": np.full(len(prices), prices.underlying),
        "price": prices.price,
        "move": prices.move,
        "side": prices.side,
        "sigmas": np.abs(np.log1p(prices.move)) / found.distance.deviation,
        "jumps": prices.jumps,
    }
    for name, slopes in (("price", prices.price_slope), ("vol", prices.vol_slope), ("year", prices.time_slope)):
        columns |= {f"{amount}_by_{name}": slopes[:, k] for k, amount in enumerate(SLOPES)}
    return columns


def _summary(found: Edge) -> dict[str, Any]:
    """Distances, probability and score, as they go beside every table."""
    away, breach, prices = found.distance, found.probability, found.prices
    return {
        "currency": prices.currency,
        "underlying": prices.underlying,
        "spot": prices.spot,
        "sticky": prices.sticky,
        "searched_from": prices.span.low * prices.spot,
        "searched_to": prices.span.high * prices.spot,
        "search_ends": list(prices.without_rule),
        "margin_balance": money_text(prices.now.balance[0]),
        "maintenance_margin": money_text(prices.now.maintenance[0]),
        "band": away.band,
        "score": found.score,
        **{name: float(value) for name, value in found.inputs._asdict().items()},
        "sigmas_below": away.sigmas_below,
        "sigmas_above": away.sigmas_above,
        "vols_below": away.vols_below,
        "vols_above": away.vols_above,
        "sigmas_vols": away.sigmas_vols,
        "sigmas_joint": away.sigmas_joint,
        "nearest_price_multiple": found.joint.price,
        "nearest_vol_multiple": found.joint.vol,
        "days": away.days,
        "days_searched": away.days_searched,
        "days_cause": list(away.ageing.cause.names) if away.ageing.cause is not None else [],
        "horizon_days": away.horizon_days,
        "vol": found.dynamics.vol,
        "vol_from": _vol_line(found),
        "jump": found.dynamics.jump,
        "breach_probability": breach.probability,
        "standard_error": breach.standard_error,
        "upper_bound": breach.upper_bound,
        "variance_reduction": breach.reduction,
        "below_at_end": breach.at_end,
        "comes_to_no_rule": breach.without_rule,
        "paths": breach.paths,
        "steps": breach.steps,
        "seed": breach.seed,
        "misread": breach.misread,
    }


def _document(found: Edge, identity: dict[str, Any]) -> dict[str, Any]:
    around = found.contour
    columns = around.columns
    boundary = {
        "vol_multiple": around.vol[around.line],
        "price": around.edge_price * found.prices.spot,
        "side": around.side,
    }
    by_vol = {
        "price": columns.price[columns.line] * found.prices.spot,
        "vol_multiple": columns.vol,
        "side": columns.side,
    }
    return {
        **identity,
        "prices": json_rows(_columns(found), ()),
        "contour": json_rows(boundary, ()),
        "vol_edges": json_rows(by_vol, ()),
        "expiries": [_settlement(expiry) for expiry in found.distance.ageing.expiries],
    }


def _settlement(expiry: Expiry) -> dict[str, Any]:
    """What an expiry does to the account, no price having moved; null where the model has no rule."""
    amounts = {
        f"{name}_{when}": money_text(value) if np.isfinite(value) else None
        for when, level in (("before", expiry.before), ("after", expiry.after))
        for name, value in (("margin_balance", level.balance[0]), ("maintenance_margin", level.maintenance[0]))
    }
    names = list(expiry.names)
    return {"days": expiry.days, "expiries": names, "contracts": expiry.contracts, **amounts, "breach": expiry.breaches}


def _show(found: Edge, statement: MarginStatement, session: Session, row: list[int]) -> None:
    prices, columns = found.prices, _columns(found)
    unit = f" [{prices.currency}]"
    percent = 0.01
    shown = [
        Column("price", [f"{price:.8g}" for price in prices.price]),
        Column("move [%]", number(100.0 * prices.move, 2)),
        Column("side", prices.side.tolist(), right=False),
        Column("sigmas", number(columns["sigmas"], 2)),
        Column("equity / 1 %" + unit, money(percent * prices.price_slope[:, 0])),
        Column("maint. / 1 %" + unit, money(percent * prices.price_slope[:, 2])),
        Column("maint. / 1 % of vols" + unit, money(percent * prices.vol_slope[:, 2]), keep=False),
        Column("maint. / day" + unit, money(prices.time_slope[:, 2] / 365.0), keep=False),
    ]
    title = (
        f"liquidation prices of {prices.account} along {prices.underlying}, {market_text(statement, session.source)}"
    )
    footer = [*_lines(found), *statement_lines(statement, statement.excluded_of(row), session.told)]
    show_table(title, shown, "\n".join(footer))
    _show_contour(found)


def _show_contour(found: Edge) -> None:
    """One row a vol with the nearest edges on both sides of today's price."""
    around, spot = found.contour, found.prices.spot
    nearest: list[list[str]] = [[], []]
    for v in range(len(around.vol)):
        here = around.edge_price[(around.line == v) & (around.side != "touches")]
        below, above = here[here < 1.0].max(initial=0.0), here[here >= 1.0].min(initial=np.inf)
        nearest[0].append(f"{below * spot:.8g}" if below > 0.0 else "none")
        nearest[1].append(f"{above * spot:.8g}" if np.isfinite(above) else "none")
    columns = [
        Column("vols [%]", number(100.0 * around.vol, 0)),
        Column("edge below", nearest[0]),
        Column("edge above", nearest[1]),
        Column("at today's price", ["liquidated" if below else "" for below in around.liquidated], right=False),
    ]
    show_table(f"edge over price and vols of {found.prices.underlying}, vols in percent of today's", columns)


def _lines(found: Edge) -> list[str]:
    """Distance, probability and score in sentences."""
    away, breach, prices = found.distance, found.probability, found.prices
    horizon = f"{away.horizon_days:g} day{'' if away.horizon_days == 1.0 else 's'}"
    run = f"{breach.paths:,} paths, {breach.steps} steps, seed {breach.seed}"
    lines = [
        f"searched from {prices.span.low * prices.spot:.6g} to {prices.span.high * prices.spot:.6g}, today "
        f"{prices.spot:.8g}, vols sticky by {prices.sticky}",
        *(f"no further, since {reason}" for reason in prices.without_rule),
        f"band: {away.band}; risk score {found.score:.0f} of 100; {_by_time(away.ageing)}",
    ]
    if prices.liquidated:
        return [*lines, _way_out(prices), f"edge in vols at today's price: {_vol_edges(found)}", _vol_line(found)]
    joint = "none"
    if np.isfinite(found.joint[0]):
        sigmas, price, vols = found.joint
        joint = f"{sigmas:.2f} sigmas, at {price * prices.spot:.6g} and {100 * vols:.4g} % of vols"
    lines += [
        f"edge in vols at today's price: {_vol_edges(found)}",
        f"nearest edge over price and vol: {joint}; a sigma is {100 * away.deviation:.2f} % in {horizon}",
        f"breach within {horizon}: {_chance(breach)} ({run}; {found.dynamics.jump} jumps)",
        _vol_line(found),
    ]
    if away.horizon_days >= found.case.first_expiry_years * DAYS_PER_YEAR:
        lines.append("the horizon ends with the first expiry held; it is looked at before and after settlement")
    if np.isfinite(breach.reduction) and breach.probability >= KNOWABLE:
        lines.append(f"variance reduction: plain simulation would need {breach.reduction:.3g} times the paths")
    if breach.without_rule > 0.0:
        lines.append(f"probability of a market in which the model has no rule: {breach.without_rule:.3g}")
    if breach.misread:
        lines.append(f"the sign of the excess is misread at {breach.misread} of 256 points between those computed")
    return lines


def _chance(breach: BreachProbability) -> str:
    if breach.probability == 0.0:
        bound = bound_text(breach.upper_bound)
        return f"no breach on {breach.paths:,} paths, so below {bound} with 95 % confidence"
    if breach.upper_bound < KNOWABLE:
        return "below 1e-9, which no model of moves can tell from 0"
    return f"{breach.probability:.3g} +- {breach.standard_error:.1g}"


def _way_out(prices: LiquidationPrices) -> str:
    """Where an account in liquidation would be above its maintenance margin again."""
    from portfolio_margin.edge.prices import OUT_OF

    short = f"below maintenance margin by {-prices.now.excess[0]:,.0f} {prices.currency}"
    out = [(p, m) for p, m, side in zip(prices.price, prices.move, prices.side, strict=True) if side == OUT_OF]
    if not out:
        return f"{short}; at no price searched would it be above again"
    places = " or ".join(f"{price:.8g} ({100.0 * move:+.2f} %)" for price, move in out)
    return f"{short}; it would be above again with {prices.underlying} beyond {places}"


def _vol_line(found: Edge) -> str:
    """The vol behind sigmas and probability, where it is from, and that of a week where it is another."""
    from portfolio_margin.edge.distance import implied_vol_over, vol_source

    case, used = found.case, found.dynamics.vol
    days = found.distance.horizon_days
    if not found.vol_implied:
        return f"vol {100.0 * used:.1f} %, as given"
    over = f"{days:g} day{'' if days == 1.0 else 's'}"
    line = f"vol {100.0 * used:.1f} % over {over}, {vol_source(case, days / DAYS_PER_YEAR)}"
    week = implied_vol_over(case, WEEK_DAYS / DAYS_PER_YEAR)
    if days < WEEK_DAYS and abs(week / used - 1.0) > FAR_OFF:
        line += (
            f"; over {WEEK_DAYS:g} days it is {100.0 * week:.1f} %: vols of single days rise and fall with weekends "
            f"and events, and sigmas, band and probability with them (--vol {week:.3g})"
        )
    return line


def _by_time(alone: Ageing) -> str:
    """What time alone does, no price moving: when it brings the account to its edge, and which expiry does."""
    if alone.cause is not None:
        before, after = alone.cause.before, alone.cause.after
        return (
            f"breach in {alone.days:.1f} days though no price moves: the settlement of {', '.join(alone.cause.names)} "
            f"takes maintenance margin from {before.maintenance[0]:,.0f} to {after.maintenance[0]:,.0f} and the margin "
            f"balance from {before.balance[0]:,.0f} to {after.balance[0]:,.0f}"
        )
    passed = sum(1 for expiry in alone.expiries if expiry.days < alone.days)
    through = f", through {passed} expiries" if passed > 1 else ", through 1 expiry" if passed else ""
    when = f"{alone.days:.1f} days" if np.isfinite(alone.days) else f"none within {alone.days_searched:.1f} days"
    lost = "".join(f"; no further, since {reason}" for reason in alone.without_rule)
    return f"edge by time alone: {when}{through}{lost}"


def _vol_edges(found: Edge) -> str:
    """The nearest edges along the vols at today's price, and the deviations to the nearer."""
    from portfolio_margin.edge.vols import HIGHEST, LOWEST

    away = found.distance
    both = (away.vols_below, away.vols_above)
    known = [f"{100.0 * (1.0 + move):.5g} % of today's" for move in both if -1.0 < move < np.inf]
    if not known:
        return f"none from {100.0 * LOWEST:g} % to {100.0 * HIGHEST:g} % of today's"
    sigmas = f", {away.sigmas_vols:.2f} sigmas" if np.isfinite(away.sigmas_vols) else ""
    return " and ".join(known) + sigmas


def bound_text(bound: float) -> str:
    """An upper bound with two digits, rounded up: rounded down, it would claim more than is known."""
    # The shortest text of a double, so that its noise is not rounded up.
    above = Context(prec=2, rounding=ROUND_CEILING).create_decimal(repr(float(bound)))
    return f"{above:.2g}"


def _draw(folder: str, found: Edge) -> None:
    from portfolio_margin.edge.payoff import payoff
    from portfolio_margin.plots import edge_contour, payoff_prices, payoff_with_marks

    target = plots_in(folder)
    curves = payoff(found.case, payoff_prices(found.prices))
    pictures = {
        "contour": edge_contour(found.contour, found.prices),
        "payoff": payoff_with_marks(curves, found.prices),
    }
    for name, picture in pictures.items():
        picture.save(target / f"{name}-{found.prices.account}.png")
    tell(f"wrote {len(pictures)} pictures to {folder}")
