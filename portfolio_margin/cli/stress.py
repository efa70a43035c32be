"""stress: a crash over all accounts, with the liquidation engine in the loop, and what would have helped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy as np

from portfolio_margin.cli.cluster import STRESS_OPTIONS, chosen_stress, read_later, venue_on
from portfolio_margin.cli.heading import market_text
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARGIN_OPTIONS,
    MARKET_OPTIONS,
    Options,
    Session,
    collect,
    open_session,
    statement_of,
    with_options,
)
from portfolio_margin.cli.liquidate import POLICIES
from portfolio_margin.cli.output import (
    chosen_output,
    deliver,
    money,
    output_options,
    plots_in,
    progress,
    show_table,
)
from portfolio_margin.cli.prevented import grid_params, prevention_document, prevention_lines, preventions
from portfolio_margin.cli.stress_rules import HASH_DIGITS, rules_document, rules_line, stress_hash
from portfolio_margin.cli.stressed import ACCOUNT_MONEY, MONEY, Needs, lines, step_columns, summary, worst_lines
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.results import json_rows, money_text, write_result
from portfolio_margin.io.stress_path import SOURCES, read_path, shipped_path
from portfolio_margin.margin_parts import digest_of_book
from portfolio_margin.statement import MarginStatement
from portfolio_margin.stress import gap, path_fund
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.prevention import Prevention, topped_up, with_ample_fund
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Impact, Rules
from portfolio_margin.stress.run import Venue, run
from portfolio_margin.stress.sections import account_names
from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.shocks import ScenarioSet

DEFAULT_PATH = "crash_2026"
DEFAULT_FUND = 50_000.0
OWING_SHOWN = 3
PATHS_ROUNDED = 100
DRIVER = "the first underlying"
UNCOUNTED = "a run also counts the penalties that the fund gets in the same step and may survive; these jumps do not"
NOTHING_TO_PREVENT = "nothing to prevent, the fund is enough"

OPTIONS = (
    click.option("--path", "path_name", default=DEFAULT_PATH, show_default=True, metavar="NAME|FILE",
                 help=f"A path that ships ({', '.join(SOURCES)}), or a table of factors (.csv, .csv.gz, .parquet)."),
    click.option("--refine", type=float, metavar="HOURS", help="Steps in between, none longer than this."),
    click.option("--fund", type=float, default=DEFAULT_FUND, show_default=True, help="Insurance fund, margin money."),
    click.option("--buffer", type=float, default=Rules().buffer, help="Share of maintenance restored above it.  [1/9]"),
    click.option("--cost", type=float, default=0.0005, show_default=True, help="Of trading, a share of the notional."),
    click.option("--penalty", type=float, default=0.0025, show_default=True, help="On closing, share of the notional."),
    click.option("--demand", type=float, default=float("inf"), help="Maintenance margin bidders take over, an hour."),
    click.option("--delay-hours", type=float, default=0.0, show_default=True, help="By which its prices and vols lag."),
    click.option("--impact", type=float, default=1.0, show_default=True, help="Coefficient of forced trades' impact."),
    click.option("--impact-exponent", type=float, default=0.5, show_default=True, help="0.5: square root; 1: linear."),
    click.option("--policy", "policies", multiple=True, metavar="ACCOUNT=POLICY", help="For an account; repeatable."),
    click.option("--size-fund", is_flag=True, help="The fund that survives 99.9 % of jumps of a day, simulated."),
    click.option("--fund-by-paths", is_flag=True, help="The fund that survives 99.9 % of simulated paths of days, with "
                 "liquidations in the loop."),
    click.option("--paths", type=int, default=path_fund.Params().paths, show_default=True, help="Paths to run for it."),
    click.option("--path-days", type=float, default=path_fund.Params().days, show_default=True, help="Days of a path."),
    click.option("--reverse", is_flag=True, help="The most likely jump of a day that exhausts the fund."),
    click.option("--prevent", is_flag=True, help="The scan range that would have been enough, where who is short of "
                 "initial margin pays in at the start (--topped-up), and the buffer; with the commands that show it."),
    click.option("--topped-up", is_flag=True, help="Who has equity and is short of initial margin at the start pays in "
                 "what is missing before the path begins."),
    click.option("--draws", type=int, default=gap.Params().draws, show_default=True, help="Of the simulation."),
    click.option("--seed", type=int, default=1, show_default=True, help="Of the simulation and the search."),
    *STRESS_OPTIONS,
    click.option("--accounts", "accounts_file", metavar="FILE", help="Write who was liquidated, when and at what cost: "
                 ".csv, .parquet or .json."),
    click.option("--plots", metavar="FOLDER", help="Write timeline and loss waterfall as pictures."),
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What was asked for beside the run; None where it was not.

    size, reverse   by simulation of jumps
    by_paths        by simulation of paths
    prevention      scan range and buffer
    """

    size: gap.FundSize | None
    reverse: gap.ReverseStress | None
    by_paths: path_fund.PathFund | None
    prevention: tuple[Prevention, ...]


@click.command("stress")
@with_options(*OPTIONS, *MARKET_OPTIONS, *BOOK_OPTIONS, *MARGIN_OPTIONS)
@output_options
def command(as_json: bool, as_csv: bool, parquet_file: str | None, output_file: str | None, **given: Any) -> None:
    """A crash over all accounts of a venue, step by step, with the liquidation of accounts in the loop.

    Open orders are none of it: maintenance margin, by which accounts are liquidated, does not know them, and a venue
    cancels those of an account before it closes anything.
    """
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    asked = {name: given.pop(name) for name in tuple(given) if name in _own_names()}
    on_cluster = chosen_stress(given)
    options = collect(given)
    path, rules = _path(asked), _rules(asked)
    jumps = gap.Params(draws=asked["draws"], seed=asked["seed"], cost=asked["cost"])
    simulated = path_fund.Params(paths=asked["paths"], days=asked["path_days"], seed=asked["seed"])
    session = open_session(options) if on_cluster is None else open_session(options, read_later)
    statement = statement_of(session, options)
    # Notes on what accounts hold are left out: where a cluster reads the book in parts, nobody has seen it all.
    session = replace(session, told=session.told.warned(statement.warnings))
    with ExitStack() as opened:
        venue = venue_of(session, options)
        if on_cluster is not None:
            venue = opened.enter_context(venue_on(on_cluster, session, options, venue))
        done = _stressed(venue, path, rules, asked["topped_up"])
        answers = _answers(asked, done, options, (jumps, simulated))
        accounts = _accounts(venue, done.result)
    result = done.result
    if asked["plots"]:
        _draw(asked["plots"], result)
    identity = _identity(done, statement, session, asked)
    if asked["accounts_file"]:
        write_result(asked["accounts_file"], accounts, identity, ACCOUNT_MONEY)
        tell(f"wrote {asked['accounts_file']}")

    def document() -> dict[str, Any]:
        whose = {"liquidated_accounts": json_rows(accounts, ACCOUNT_MONEY)}
        return {**identity, **_answered(answers, asked), **whose, "steps": json_rows(result.columns(), MONEY)}

    if not deliver(output, result.columns(), identity, document):
        footer = lines(result, done.needs, asked["refine"] is not None)
        footer += worst_lines(accounts, result.currency)
        footer += [] if done.venue.paid is None else [_paid_line(done.venue.paid, result.currency)]
        footer += _other_lines(result, answers, asked)
        footer.append(rules_line(rules, asked["refine"], asked["topped_up"], result.currency))
        hashes = {"inputs": "input_hash", "book": "book_hash", "parameters": "parameters_hash"}
        footer.append(", ".join(f"{word} {identity[name]}" for word, name in hashes.items() if name in identity))
        title = f"stress by {path.name}, {market_text(statement, session.source)}"
        show_table(title, step_columns(result), "\n".join(footer))


@dataclass(frozen=True)
class Stressed:
    """A stress that was run: the venue before and after anybody has paid in, path, rules, result, fund needed."""

    unpaid: Venue
    venue: Venue
    path: StressPath
    rules: Rules
    result: Result
    needs: Needs


def _stressed(unpaid: Venue, path: StressPath, rules: Rules, paid_up: bool) -> Stressed:
    venue = topped_up(unpaid) if paid_up else unpaid
    with progress("stress", len(path)) as step:
        result = run(venue, path, rules, step)
    needs = Needs.of(result if result.survived else with_ample_fund(venue, path, rules))
    return Stressed(unpaid, venue, path, rules, result, needs)


def _identity(done: Stressed, statement: MarginStatement, session: Session, asked: dict[str, Any]) -> dict[str, Any]:
    """What the stress is of and what came out in all; the input hash is of rules and path as well."""
    path, result = done.path, done.result
    rules = rules_document(done.rules, asked["refine"], asked["topped_up"])
    identity: dict[str, Any] = {"path": path.name, "path_source": path.source, "currency": result.currency}
    identity |= {"as_of_ms": statement.as_of_ms, "seed": asked["seed"], **summary(result, done.needs), "rules": rules}
    identity |= {**statement.identity(()), **session.told.document()}
    del identity["charges_of_ours"]
    if result.digests:
        # The rows were read in parts, so that there is no hash of all of them at once.
        del identity["input_hash"]
        identity["book_hash"] = digest_of_book(result.digests)[:HASH_DIGITS]
    else:
        identity["input_hash"] = stress_hash(statement.input_hash, rules, path)
    return identity


def _accounts(venue: Venue, result: Result) -> dict[str, Any]:
    """The liquidated accounts by name, which whoever reads the book knows."""
    return result.accounts(np.concatenate(venue.ask(account_names, venue.setting(Rules()))))


def _paid_line(paid: tuple[FloatArray, ...], currency: str) -> str:
    """How much is paid in before the path."""
    amounts = np.concatenate(paid)
    count = int(np.count_nonzero(amounts))
    return f"paid in at the start by {count} accounts short of initial margin: {money([amounts.sum()])[0]} {currency}"


def _own_names() -> set[str]:
    return {"path_name", "refine", "fund", "buffer", "cost", "penalty", "demand", "delay_hours", "impact",
            "impact_exponent", "policies", "size_fund", "reverse", "prevent", "draws", "seed", "plots",
            "fund_by_paths", "paths", "path_days", "topped_up", "accounts_file"}  # fmt: skip


def named_path(name: str) -> StressPath:
    """A path that ships, or of a file."""
    looks_like_a_file = any(mark in name for mark in "./\\")
    return read_path(name) if looks_like_a_file else shipped_path(name)


def _path(asked: dict[str, Any]) -> StressPath:
    path = named_path(asked["path_name"])
    return path if asked["refine"] is None else path.refined(asked["refine"])


def _rules(asked: dict[str, Any]) -> Rules:
    named: dict[str, str] = {}
    for text in asked["policies"]:
        account, separator, policy = text.rpartition("=")
        if not separator or not account or policy not in POLICIES:
            raise ConfigError(f"--policy {text}: must be ACCOUNT=POLICY, with one of {', '.join(POLICIES)}")
        if account in named:
            raise ConfigError(
                f"--policy {text}: {account} has one already, {named[account]}; give one policy an account"
            )
        named[account] = policy
    impact = Impact(coefficient=asked["impact"], exponent=asked["impact_exponent"])
    same = {name: asked[name] for name in ("fund", "buffer", "cost", "penalty", "demand", "delay_hours")}
    return Rules(**same, impact=impact, named=named)


def venue_of(session: Session, options: Any) -> Venue:
    """The venue of a session. ConfigError where there is no market to be moved."""
    if session.market is None or session.instruments is None:
        raise ConfigError("stress revalues contracts at every step: give a --market, not --arrays")
    moves = session.arrays.scenario_set
    own = session.model.scenario_set(session.market)

    def scenarios(market: Any) -> ScenarioSet:
        return moves

    if own is None and (moves.price_move.shape[1] > 1 or moves.expiry_vol_move.shape[1] > 1):
        tell("the scenarios are those of the start at every step")
    how = {"backend": options.backend, "threads": options.threads}
    return Venue(session.book, session.instruments, session.market, session.model, scenarios, **how)


def _answers(asked: dict[str, Any], run_of: Stressed, options: Options, how: tuple[Any, Any]) -> Answers:
    venue, path, rules, needs = run_of.venue, run_of.path, run_of.rules, run_of.needs
    jumps, simulated = how
    size = gap.fund_size(venue, jumps) if asked["size_fund"] else None
    reverse = gap.reverse_stress(venue, asked["fund"], jumps) if asked["reverse"] else None
    by_paths = None
    if asked["fund_by_paths"]:
        with progress("paths", simulated.paths) as step:
            by_paths = path_fund.path_fund(venue, rules, simulated, step)
    prevention: tuple[Prevention, ...] = ()
    # Where the fund was enough there is nothing to prevent.
    if asked["prevent"] and not asked["fund"] >= needs.fund:
        with progress("prevention", 1) as step:
            params = grid_params(options, venue)
            prevention = preventions(run_of.unpaid, path, rules, params, asked["topped_up"])
            step("done")
    return Answers(size, reverse, by_paths, prevention)


def _answered(answers: Answers, asked: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if answers.size is not None:
        found["fund_size"] = _cents(answers.size, ("amount", "standard_error"))
    if answers.by_paths is not None:
        tail = answers.by_paths.tail
        found["fund_by_paths"] = _cents(tail, ("amount", "low", "high"))
        found["fund_by_paths"] |= {"missing_at_start": round(answers.by_paths.at_start, 2), "beyond": tail.beyond}
        found["fund_by_paths"] |= {"effective_pairs": tail.effective, "runs_needed": tail.runs_needed}
        found["fund_by_paths"] |= {"paths": len(answers.by_paths.need), "level": path_fund.Params().level}
    if answers.reverse is not None:
        found["reverse_stress"] = json_rows(answers.reverse.columns(), ())
        owing = answers.reverse.owing
        if owing:
            debts = [{"account": account, "owes": money_text(debt)} for account, debt in owing]
            found["exhausted_before_any_move"] = {"accounts": debts, "note": UNCOUNTED}
    if asked["prevent"]:
        found["prevention"] = [prevention_document(each) for each in answers.prevention]
        found |= {} if answers.prevention else {"prevention_note": NOTHING_TO_PREVENT}
    return found


def _cents(found: Any, names: tuple[str, ...]) -> dict[str, float | None]:
    """Amounts of a result, to the cent; None where there is no such amount."""
    amounts = {name: float(getattr(found, name)) for name in names}
    return {name: round(amount, 2) if np.isfinite(amount) else None for name, amount in amounts.items()}


def _other_lines(result: Result, answers: Answers, asked: dict[str, Any]) -> list[str]:
    """What was asked for beside the run."""
    text: Callable[[float], str] = lambda amount: f"{money([amount])[0]} {result.currency}"  # noqa: E731
    lines = []
    if answers.size is not None:
        error = text(answers.size.standard_error)
        lines.append(
            f"fund that survives 99.9 % of jumps of a day: {text(answers.size.amount)}, standard error {error}"
        )
    if answers.by_paths is not None:
        lines += _lines_by_paths(answers.by_paths, text)
    if answers.reverse is not None:
        lines.append(_reverse_line(answers.reverse, text))
    if asked["prevent"] and not answers.prevention:
        lines.append(f"{NOTHING_TO_PREVENT}: {text(asked['fund'])} is enough for this path")
    return [*lines, *(line for found in answers.prevention for line in prevention_lines(found, result.currency))]


def _lines_by_paths(found: path_fund.PathFund, text: Callable[[float], str]) -> list[str]:
    tail = found.tail
    if np.isfinite(tail.high):
        sure = f"95 % interval {money([tail.low])[0]} to {money([tail.high])[0]}, where a path that needs more moves "
        sure += f"{DRIVER} as far as those that do"
    else:
        more = -(-tail.runs_needed // PATHS_ROUNDED) * PATHS_ROUNDED
        sure = f"at least {text(tail.low)}, and no upper bound can be stated from so few: "
        sure += f"it takes {more:,} --paths or more"
    return [
        f"fund that survives 99.9 % of simulated paths, liquidations in the loop: {text(tail.amount)}; {sure}",
        f"  {tail.beyond} of {len(found.need)} runs need more, which say as much of such paths as {tail.effective:.1f} "
        "independent ones of equal weight",
        f"  {text(found.at_start)} is missing before anything moves, in every path: accounts that owe as they stand",
    ]


def _reverse_line(found: gap.ReverseStress, text: Callable[[float], str]) -> str:
    if found.owing:
        debts = [f"{account} owes {text(debt)}" for account, debt in found.owing[:OWING_SHOWN]]
        others = len(found.owing) - len(debts)
        debts += [f"{others} others owe less each"] if others else []
        return f"the fund is exhausted before any move: {', '.join(debts)}, cost of closing included; {UNCOUNTED}"
    if not np.isfinite(found.distance):
        return f"no jump within reach exhausts a fund of {text(found.fund)}"
    moves = ", ".join(f"{name} {100 * move:+.1f} %" for name, move in zip(found.names, found.move, strict=True))
    return (
        f"most likely jump of a day that exhausts the fund: {moves}; distance {found.distance:.1f}, a jump as far "
        f"in any direction has a probability of {found.likelihood:.2g}"
    )


def _draw(folder: str, result: Result) -> None:
    from portfolio_margin.plots.stress import loss_waterfall, timeline

    for name, picture in (("stress-timeline", timeline(result)), ("loss-waterfall", loss_waterfall(result))):
        target = plots_in(folder) / f"{name}.png"
        picture.save(target)
        tell(f"wrote {target}")
