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
    Session,
    collect,
    open_session,
    statement_of,
    with_options,
)
from portfolio_margin.cli.liquidate import POLICIES
from portfolio_margin.cli.output import (
    MONEY_DIGITS,
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
from portfolio_margin.io.stress_path import SOURCES, read_path, shipped_path
from portfolio_margin.margin_parts import digest_of_book
from portfolio_margin.stress import gap, path_fund
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.prevention import Prevention, fund_needed, prevented_by, topped_up
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Impact, Rules
from portfolio_margin.stress.run import Venue, run
from pricing.errors import ConfigError
from scenarios.families import grid
from scenarios.shocks import ScenarioSet

DEFAULT_PATH = "crash_2026"
DEFAULT_FUND = 50_000.0
MONEY = ("shortfall", "from_fund", "deleveraged", "socialised", "uncovered", "costs", "penalties", "fund", "equity",
         "owed", "initial_margin", "maintenance_margin")  # fmt: skip
OWING_SHOWN = 3
UNCOUNTED = "a run also counts the penalties that the fund gets in the same step and may survive; these jumps do not"
SCAN_RANGE = (0.9, 0.01)
BUFFER = (2.0, 0.01)

OPTIONS = (
    click.option("--path", "path_name", default=DEFAULT_PATH, show_default=True, metavar="NAME|FILE",
                 help=f"A path that ships ({', '.join(SOURCES)}), or a table of factors (.csv, .csv.gz, .parquet)."),
    click.option("--refine", type=float, metavar="HOURS", help="Steps in between, none longer than this."),
    click.option("--fund", type=float, default=DEFAULT_FUND, show_default=True, help="Insurance fund, margin money."),
    click.option("--buffer", type=float, default=Rules().buffer, help="Share of maintenance restored above it.  [1/9]"),
    click.option("--cost", type=float, default=0.0005, show_default=True, help="Of trading, a share of the notional."),
    click.option("--penalty", type=float, default=0.0025, show_default=True, help="On closing, share of the notional."),
    click.option("--demand", type=float, default=float("inf"), help="Maintenance margin bidders take over, an hour."),
    click.option("--delay-hours", type=float, default=0.0, show_default=True, help="By which the venue's prices lag."),
    click.option("--impact", type=float, default=1.0, show_default=True, help="Coefficient of forced trades' impact."),
    click.option("--impact-exponent", type=float, default=0.5, show_default=True, help="0.5: square root; 1: linear."),
    click.option("--policy", "policies", multiple=True, metavar="ACCOUNT=POLICY", help="For an account; repeatable."),
    click.option("--size-fund", is_flag=True, help="The fund that survives 99.9 % of jumps of a day, simulated."),
    click.option("--fund-by-paths", is_flag=True, help="The fund that survives 99.9 % of simulated paths of days, with "
                 "liquidations in the loop."),
    click.option("--paths", type=int, default=path_fund.Params().paths, show_default=True, help="Paths to run for it."),
    click.option("--path-days", type=float, default=path_fund.Params().days, show_default=True, help="Days of a path."),
    click.option("--reverse", is_flag=True, help="The most likely jump of a day that exhausts the fund."),
    click.option("--prevent", is_flag=True, help="The scan range, and the buffer, that would have been enough."),
    click.option("--draws", type=int, default=gap.Params().draws, show_default=True, help="Of the simulation."),
    click.option("--seed", type=int, default=1, show_default=True, help="Of the simulation and the search."),
    *STRESS_OPTIONS,
    click.option("--plots", metavar="FOLDER", help="Write timeline and loss waterfall as pictures."),
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What was asked for beside the run; None where it was not.

    needed          the smallest fund that bears the path, NaN where none does
    size, reverse   by simulation of jumps
    by_paths        by simulation of paths
    prevention      scan range and buffer
    """

    needed: float
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
        with progress("stress", len(path)) as step:
            result = run(venue, path, rules, step)
        needed = result.fund_needed if result.survived else fund_needed(venue, path, rules)
        answers = _answers(asked, needed, venue, path, rules, (jumps, simulated))
    if asked["plots"]:
        _draw(asked["plots"], result)
    identity: dict[str, Any] = {"path": path.name, "path_source": path.source, "currency": result.currency}
    identity |= {"as_of_ms": statement.as_of_ms, "seed": asked["seed"], **_summary(result, needed)}
    identity |= {**statement.identity(()), **session.told.document()}
    del identity["charges_of_ours"]
    if result.digests:
        # The rows were read in parts, so that there is no hash of all of them at once.
        del identity["input_hash"]
        identity["book_hash"] = digest_of_book(result.digests)[:16]

    def document() -> dict[str, Any]:
        return {**identity, **_answered(answers), "steps": json_rows(result.columns(), MONEY)}

    if not deliver(output, result.columns(), identity, document):
        heading = market_text(statement, session.source)
        _show(result, f"stress by {path.name}, {heading}", answers)


def _own_names() -> set[str]:
    return {"path_name", "refine", "fund", "buffer", "cost", "penalty", "demand", "delay_hours", "impact",
            "impact_exponent", "policies", "size_fund", "reverse", "prevent", "draws", "seed", "plots",
            "fund_by_paths", "paths", "path_days"}  # fmt: skip


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


def _answers(
    asked: dict[str, Any],
    needed: float,
    venue: Venue,
    path: StressPath,
    rules: Rules,
    how: tuple[gap.Params, path_fund.Params],
) -> Answers:
    jumps, simulated = how
    size = gap.fund_size(venue, jumps) if asked["size_fund"] else None
    reverse = gap.reverse_stress(venue, asked["fund"], jumps) if asked["reverse"] else None
    by_paths = None
    if asked["fund_by_paths"]:
        with progress("paths", simulated.paths) as step:
            by_paths = path_fund.path_fund(venue, rules, simulated, step)
    prevention: tuple[Prevention, ...] = ()
    # Where the fund was enough there is nothing to prevent.
    if asked["prevent"] and not asked["fund"] >= needed:
        with progress("prevention", 1) as step:
            prevention = tuple(_prevented(venue, path, rules))
            step("done")
    return Answers(needed, size, reverse, by_paths, prevention)


def _prevented(venue: Venue, path: StressPath, rules: Rules) -> list[Prevention]:
    """By the scan range where the scenarios are the grid's, and by the buffer."""
    found = []
    if venue.model.scenario_set(venue.market) is None:

        def ranged(value: float) -> Result:
            wider = replace(venue, scenarios=lambda m: grid.scenarios(grid.Params(price_range=value), m))
            return run(topped_up(wider), path, rules)

        found.append(prevented_by("price_range", ranged, grid.Params().price_range, *SCAN_RANGE))  # type: ignore[arg-type]

    def buffered(value: float) -> Result:
        return run(venue, path, replace(rules, buffer=value))

    return [*found, prevented_by("buffer", buffered, rules.buffer, *BUFFER)]


def _summary(result: Result, needed: float) -> dict[str, Any]:
    last = result.rows[-1]
    amounts = {name: result.total(name) for name in ("shortfall", "from_fund", "deleveraged", "socialised")}
    amounts |= {"owed": last.owed, "fund_before": result.fund, "fund_after": last.fund}
    return {
        "accounts": len(result.liquidated),
        "accounts_liquidated": int(result.liquidated.sum()),
        # Whole cents, in which the run counts, without the binary noise of cents times their number.
        **{name: round(amount, MONEY_DIGITS) for name, amount in amounts.items()},
        "fund_needed": None if np.isnan(needed) else round(needed, MONEY_DIGITS),
        "survived": result.survived,
    }


def _answered(answers: Answers) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if answers.size is not None:
        found["fund_size"] = {"amount": answers.size.amount, "standard_error": answers.size.standard_error}
    if answers.by_paths is not None:
        figures = ("amount", "standard_error", "low", "high", "beyond", "effective")
        found["fund_by_paths"] = {name: getattr(answers.by_paths, name) for name in figures}
        found["fund_by_paths"] |= {"paths": len(answers.by_paths.need), "level": path_fund.Params().level}
    if answers.reverse is not None:
        found["reverse_stress"] = json_rows(answers.reverse.columns(), ())
        owing = answers.reverse.owing
        if owing:
            debts = [{"account": account, "owes": money_text(debt)} for account, debt in owing]
            found["exhausted_before_any_move"] = {"accounts": debts, "note": UNCOUNTED}
    if answers.prevention:
        found["prevention"] = [
            {"parameter": p.parameter, "value": None if np.isnan(p.value) else p.value, "runs": len(p.trials)}
            for p in answers.prevention
        ]
    return found


def _show(result: Result, title: str, answers: Answers) -> None:
    table, unit = result.columns(), f" [{result.currency}]"
    columns = [Column("step", [str(n) for n in table["step"]]), Column("hours", number(table["hours"], 1))]
    columns += [Column(str(u), number(table[f"price_{u}"], 0)) for u in result.underlying_id]
    vols = [(str(u), table[f"vol_{u}"]) for u in result.underlying_id]
    columns += [Column(f"vol {name}", number(values, 2), keep=False) for name, values in vols]
    columns += [Column(name, [str(n) for n in table[name]]) for name in ("liquidated", "bankrupt", "waiting")]
    columns += [Column(name + (unit if name == "shortfall" else ""), money(table[name])) for name in MONEY[:4]]
    columns += [
        Column("fund", money(table["fund"])),
        Column("costs", money(table["costs"]), keep=False),
        Column("penalties", money(table["penalties"]), keep=False),
        Column("initial", money(table["initial_margin"]), keep=False),
        Column("maintenance", money(table["maintenance_margin"])),
    ]
    show_table(title, columns, "\n".join(_lines(result, answers)))


def _lines(result: Result, answers: Answers) -> list[str]:
    text: Callable[[float], str] = lambda amount: f"{money([amount])[0]} {result.currency}"  # noqa: E731
    told = _summary(result, answers.needed)
    needs = (
        "no fund is enough for this path, as accounts that owe stay open"
        if told["fund_needed"] is None
        else f"this path needs {text(told['fund_needed'])}"
    )
    lines = [
        f"path: {result.path.source}",
        f"{told['accounts_liquidated']} of {told['accounts']} accounts liquidated; shortfall "
        f"{text(told['shortfall'])}, of it the fund {text(told['from_fund'])}, "
        f"deleveraged {text(told['deleveraged'])}, socialised {text(told['socialised'])}; "
        f"accounts below 0 at the end owe {text(told['owed'])}",
        f"fund {text(told['fund_before'])} before, {text(told['fund_after'])} after; {needs}",
    ]
    if answers.size is not None:
        error = text(answers.size.standard_error)
        lines.append(
            f"fund that survives 99.9 % of jumps of a day: {text(answers.size.amount)}, standard error {error}"
        )
    if answers.by_paths is not None:
        f = answers.by_paths
        lines.append(
            f"fund that survives 99.9 % of simulated paths, liquidations in the loop: {text(f.amount)}, standard error "
            f"{text(f.standard_error)}, 95 % interval {money([f.low])[0]} to {money([f.high])[0]}; {f.beyond} of "
            f"{len(f.need)} runs need more and say as much of such paths as {f.effective:.1f} of equal weight"
        )
    if answers.reverse is not None:
        lines.append(_reverse_line(answers.reverse, text))
    for found in answers.prevention:
        most = max(trial.value for trial in found.trials)
        value = f"none up to {most:.3g}" if np.isnan(found.value) else f"{found.value:.3g}"
        lines.append(f"{found.parameter} that would have been enough: {value} ({len(found.trials)} runs)")
    return lines


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
