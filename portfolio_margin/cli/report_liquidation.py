"""What a report says of liquidation: payoff with liquidation prices, ladder of a liquidation, crash of the venue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio_margin.cli.inputs import Options, Session
from portfolio_margin.cli.liquidate import next_lines, owed_by, policy_module, rules_text
from portfolio_margin.cli.output import money, number
from portfolio_margin.cli.stress import DEFAULT_FUND, venue_of
from portfolio_margin.cli.stress_rules import rules_line
from portfolio_margin.edge.levels import Case, account_at, open_case
from portfolio_margin.edge.prices import TOUCHES, LiquidationPrices, liquidation_prices
from portfolio_margin.liquidation.plan import DEFAULT_COST, DEFAULT_PENALTY, Costs, LiquidationPlan
from portfolio_margin.report import Column, Section
from portfolio_margin.statement import MarginStatement
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.result import Followed, Result
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.run import run
from pricing.errors import DataError

# Accounts of a venue whose crash a report computes unasked: some seconds.
MOST_ACCOUNTS = 2_000
# How far beyond a liquidation price the ladder is made.
BEYOND = 0.01


@dataclass(frozen=True)
class Edges:
    """Liquidation prices along every underlying held.

    found   (case, prices) of each that could be searched
    told    why the others could not, a sentence each
    """

    found: tuple[tuple[Case, LiquidationPrices], ...]
    told: tuple[str, ...]


def underlyings_of(session: Session, account: str) -> list[str]:
    """Names of the underlyings of what an account holds."""
    arrays, own = session.arrays, session.book.select(account)
    held = arrays.underlying_idx[own.instrument_idx[own.quantity != 0]]
    return [str(arrays.underlying_id[u]) for u in np.unique(held[held >= 0])]


def edges_of(session: Session, account: str) -> Edges:
    """Liquidation prices of an account, every option keeping its vol as the price moves, as in the payoff."""
    if session.instruments is None or session.market is None:
        return Edges((), ("Liquidation prices need contracts revalued in other markets: give a market for them.",))
    found, told = [], []
    moves = session.arrays.scenario_set
    for name in underlyings_of(session, account):
        try:
            case = open_case(
                session.book, session.instruments, session.market, session.model, moves, account, name, sticky="strike"
            )
            found.append((case, liquidation_prices(case)))
        except DataError as error:
            # A model without a rule for something held has no edge of the account; everything else stands.
            told.append(f"No liquidation prices along {name}: {error}")
    return Edges(tuple(found), tuple(told))


def payoff_section(session: Session, account: str, edges: Edges) -> Section:
    """Payoffs along every underlying, with liquidation prices, and these as a table."""
    from portfolio_margin.plots.payoff import payoff

    if session.instruments is None or session.market is None:
        return Section(
            "Payoff", ["Risk arrays alone have no vols to value contracts by: give a market for this picture."]
        )
    names, marks = underlyings_of(session, account), {prices.underlying: prices for _, prices in edges.found}
    pictures = [
        (
            f"P&L over the price of {name}",
            payoff(session.book, session.instruments, session.market, account, name, marks=marks.get(name)),
        )
        for name in names
    ]
    if not names:
        return Section("Payoff", ["Nothing is held that has a price of its own."])
    notes = ["Vols of contracts and the other underlyings unmoved.", *edges.told]
    if marks:
        notes.append(
            "Shaded: the account is below maintenance margin at that price now. A triangle is a liquidation price, "
            "filled where the way out from today's price leads into liquidation, hollow where it leads out of it again."
        )
    for name, prices in marks.items():
        notes += _none_found(name, prices)
    return Section("Payoff", notes, [_price_table(marks)] if any(map(len, marks.values())) else [], pictures)


def _none_found(name: str, prices: LiquidationPrices) -> list[str]:
    low, high = prices.span.low * prices.spot, prices.span.high * prices.spot
    searched = [f"No further along {name}, since {reason}." for reason in prices.without_rule]
    if len(prices):
        return searched
    where = "is liquidated at every price" if prices.liquidated else "is liquidated at no price"
    return [f"The account {where} of {name} from {low:,.6g} to {high:,.6g}.", *searched]


def _price_table(marks: dict[str, LiquidationPrices]) -> list[Column]:
    rows = [
        (name, prices.price[k], prices.move[k], str(prices.side[k]))
        for name, prices in marks.items()
        for k in range(len(prices))
    ]
    names, price, move, side = zip(*rows, strict=True)
    words = [word if word == TOUCHES else f"{word} liquidation" for word in side]
    return [
        Column("liquidation prices", names, is_text=True),
        Column("price", [f"{value:,.8g}" for value in price]),
        Column("move [%]", number(100.0 * np.array(move), 2)),
        Column("from today's price", words, is_text=True),
    ]


def ladder_section(
    session: Session, statement: MarginStatement, row: int, edges: Edges, policy: str
) -> Section | None:  # fmt: skip
    """What a policy would close: today of an account below maintenance margin, else past its nearest edge; None of an
    account that holds nothing with a price of its own."""
    from portfolio_margin.plots.liquidation import liquidation_ladder

    heading, account = "Liquidation ladder", str(statement.account[row])
    if statement.below_maintenance[row]:
        book, arrays = session.book.select(account), session.arrays
        where = "The account is below maintenance margin, so this is what would be closed now."
    else:
        nearest = _nearest(edges)
        if nearest is None:
            if not len(underlyings_of(session, account)):
                return None
            told = "No price of an underlying alone brings the account below maintenance margin." if edges.found else ""
            return Section(heading, [text for text in (told, *edges.told) if text])
        case, multiple = nearest
        book, arrays = account_at(case, multiple)
        where = (
            f"The nearest liquidation price is of {case.underlying}; with it {100 * BEYOND:g} % further, at "
            f"{multiple * case.spot:,.6g} ({100 * (multiple - 1):+.1f} %), this is what would be closed."
        )
    module = policy_module(policy)
    buffer = module.Params().buffer
    costs = Costs.of(arrays, DEFAULT_COST * arrays.notional, DEFAULT_PENALTY * arrays.notional)
    plan: LiquidationPlan = module.plan(book, arrays, session.model, costs)
    notes = [
        f"{where} Outcome: {plan.outcome.value}, cost {money([plan.cost])[0]} and penalty "
        f"{money([plan.penalty])[0]} {plan.currency}. Every margin is computed anew.",
        rules_text({"policy": policy, "buffer": buffer, "cost": DEFAULT_COST, "penalty": DEFAULT_PENALTY})
        + "; the crash below has the same but for the policy: it cuts all accounts at once, in proportional slices.",
        *next_lines(plan, owed_by(plan, book, costs)),
    ]
    return Section(
        heading,
        notes,
        pictures=[("margin balance and maintenance margin by step", liquidation_ladder(plan, arrays, buffer))],
    )


def _nearest(edges: Edges) -> tuple[Case, float] | None:
    """The case of the nearest way into liquidation, and the multiple of today's price a little past it."""
    found = []
    for case, prices in edges.found:
        below, above = prices.nearest
        found += [(abs(np.log1p(below)), case, (1.0 + below) * (1.0 - BEYOND))] if below > -1.0 else []
        found += [(np.log1p(above), case, (1.0 + above) * (1.0 + BEYOND))] if np.isfinite(above) else []
    return min(found, key=lambda one: one[0])[1:] if found else None


def crash_section(
    session: Session, options: Options, row: int, path: StressPath, wanted: bool | None
) -> Section:  # fmt: skip
    """A crash of the whole venue, with the liquidation of its accounts in the loop and the account followed."""
    from portfolio_margin.plots.stress import loss_waterfall, timeline

    heading = f"Stress of the venue: {path.name}"
    if session.market is None or session.instruments is None:
        return Section(heading, ["Contracts are revalued at every step: give a market for this."])
    if wanted is False or (wanted is None and len(session.book) > MOST_ACCOUNTS):
        return Section(heading, [f"Left out, of {len(session.book):,} accounts; --stress computes it."])
    try:
        rules = Rules(fund=DEFAULT_FUND)
        result = run(venue_of(session, options), path, rules, follow=row)
    except DataError as error:
        if wanted:
            raise
        return Section(heading, [f"Not computed: {error}"])
    pictures = [("prices, accounts, losses and margin by hour", timeline(result))]
    if result.total("shortfall"):
        pictures.append(("who bore the shortfall", loss_waterfall(result)))
    return Section(heading, _crash_notes(result, rules), pictures=pictures)


def _crash_notes(result: Result, rules: Rules) -> list[str]:
    def amount(name: str) -> str:
        return f"{money([result.total(name)])[0]}"

    before, unit = result.shortfall_before, result.currency
    start = (
        f" Accounts below 0 before the path begins ({result.accounts_below_before}) owe {money([before])[0]} of it."
        if before
        else ""
    )
    notes = [
        f"{result.path.source}. {len(result.liquidated):,} accounts; insurance fund {money([result.fund])[0]} {unit}",
        rules_line(rules, None, False, unit) + ".",
        f"{int(result.liquidated.sum())} accounts are liquidated, {int(result.total('bankrupt'))} of them bankrupt; "
        f"shortfall {amount('shortfall')}, of it the fund bears {amount('from_fund')}, deleveraging "
        f"{amount('deleveraged')}, a socialised loss {amount('socialised')}.{start} The fund ends with "
        f"{money([result.rows[-1].fund])[0]} {unit}.",
    ]
    own = result.followed
    if own is not None:
        notes.append(_own_note(result, own))
    return notes


def _own_note(result: Result, own: Followed) -> str:
    """What the crash did to the account of the page."""
    told = []
    for k in np.flatnonzero(own.traded):
        reason = " after a contract of it expired" if own.expired[k] else ""
        figures = (own.balance_before, own.maintenance_before, own.balance, own.maintenance)
        b0, m0, b1, m1 = (money([column[k]])[0] for column in figures)
        told.append(f"at hour {result.rows[k].hours:.1f}{reason} (balance {b0}, maintenance {m0}; then {b1}, {m1})")
    fate = f"is liquidated {', '.join(told)}" if told else "is not liquidated"
    return (
        f"This account {fate}; its margin balance is {money([own.balance[0]])[0]} after the first step, "
        f"{money([own.balance.min()])[0]} at its lowest, {money([own.balance[-1]])[0]} at the end."
    )
