"""backtest: margins against what happened, parameter sets side by side, over a history and a library of books."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import click
import numpy as np

from portfolio_margin.backtest.parts import parts_of
from portfolio_margin.backtest.plan import Plan
from portfolio_margin.backtest.run import BackTest, back_test
from portfolio_margin.backtest.sets import KINDS, Dated, Set, Venue, as_used
from portfolio_margin.cli.backtest_sets import DEFAULT_SETS, FILE, labelled, read_sets, rows_in_sample, told_of_dated
from portfolio_margin.cli.backtest_summary import cost_columns, coverage_columns
from portfolio_margin.cli.calibrated_dynamic import latest_day
from portfolio_margin.cli.output import (
    chosen_output,
    deliver,
    output_options,
    progress,
    refuse_overwriting_inputs,
    show_table,
)
from portfolio_margin.cli.parameters import MODELS, Layer, build, load_registered
from portfolio_margin.cli.provenance import PAGE_ENDINGS, file_digests, made_rows
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.backtest_history import read_history
from portfolio_margin.io.parameter_archive import plain_values
from portfolio_margin.io.parameter_sets import find_parameter_set
from portfolio_margin.io.results import json_rows
from portfolio_margin.requirement import MarginModel
from portfolio_margin.version import VERSION
from pricing.errors import ConfigError
from scenarios.backtest.books import COUNT, SEED, standard_books
from scenarios.backtest.history import MS_PER_DAY


@click.command("backtest")
@click.option("--history", "history_file", required=True, metavar="FILE", help="Closes of bars, days or hours.")
@click.option("--name", "underlying", default="", metavar="WORD", help="Of the underlying.  [name of the file]")
@click.option("--vol-history", "vol_file", metavar="FILE", help="30-day vol index; without it a stand-in from prices.")
@click.option("--price-columns", default="date,close", show_default=True, help="Names of time and close.")
@click.option("--vol-columns", default="date,close", show_default=True, help="Names of time and close of the index.")
@click.option("--vol-unit", type=click.Choice(("percent", "decimal")), default="percent", show_default=True)
@click.option("--from", "first_day", default="", metavar="DATE", help="First day tested; rules use what is before.")
@click.option("--until", default="", metavar="DATE", help="Last day taken.")
@click.option(
    "--horizon",
    type=int,
    default=1,
    show_default=True,
    metavar="DAYS",
    help="That a position is held; calibrate has 2.",
)
@click.option("--confidence", type=float, default=0.99, show_default=True, help="Coverage that is claimed.")
@click.option("--least-days", type=int, default=500, show_default=True, help="Of history before a rule's first day.")
@click.option("--daily", is_flag=True, help="Of shorter bars the closes of days alone.")
@click.option("--accept", multiple=True, metavar="DATE", help="A day whose jump is real; repeatable.")
@click.option("--books", "count", type=int, default=COUNT, show_default=True, help="Standard books, then random ones.")
@click.option("--seed", type=click.IntRange(0), default=SEED, show_default=True, help="Of the random books.")
@click.option(
    "--set",
    "names",
    multiple=True,
    metavar="NAME",
    help=(
        f"A set to test; repeatable, and the first is the one that others are compared against. A kind with its "
        f"defaults ({', '.join(kind for kind in KINDS if kind != FILE)}), a table [sets.NAME] of --params, or the path "
        f"of a dated set, OWN.toml.  [{', '.join(DEFAULT_SETS)}; with --params every table of it]"
    ),
)
@click.option("--params", "params_file", metavar="FILE", help='TOML: [sets.NAME] with kind = "quantile" and fields.')
@click.option("--backend", type=click.Choice(("numba", "numpy", "jax")), default="numba", show_default=True)
@click.option("--cluster", metavar="ADDRESS", help="Compute on a Dask cluster: its scheduler's address, or local.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes of --cluster local; one a core.")
@click.option("--chunk-books", type=click.IntRange(1), metavar="N", help="Books to a part of --cluster.")
@click.option("--report", "report_file", metavar="FILE", help="Write the whole back-test as a page, an .html file.")
@output_options
def command(
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    report_file: str | None,
    **given: Any,
) -> None:
    """Margins of standard books against realised losses, day by day, with what was known on each day.

    Positions are held for --horizon days, 1 by default, and rules are fitted to as many. `calibrate` writes sets for
    2 days, the time to close a position that it assumes: test these with --horizon 2.
    """
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    if report_file and not report_file.lower().endswith(PAGE_ENDINGS):
        raise ConfigError(f"--report {report_file}: a report is a page; name it .html")
    refuse_overwriting_inputs()
    if not given["cluster"]:
        useless = [f"--{name.replace('_', '-')}" for name in ("workers", "chunk_books") if given[name] is not None]
        if useless:
            raise ConfigError(f"{', '.join(useless)} has no effect without --cluster; leave it out")
    sets = read_sets(given["names"], given["params_file"], given["underlying"])
    plan, findings = _plan(given)
    for line in findings:
        tell(line)
    _refuse_unusable(sets, plan)
    own = {name: _margin_model(name, s) for name, s in sets.items() if isinstance(s, Venue)}
    found = _on_cluster(plan, sets, own, given) if given["cluster"] else _here(plan, sets, own, given)
    identity = _identity(found, sets, given, findings)
    if report_file:
        _write_report(report_file, found, sets, identity)
    if not deliver(output, found.table(), identity, lambda: _document(found, identity)):
        _show(labelled(found, sets)[0], plan.underlying, identity["notes"])


def _here(plan: Plan, sets: Mapping[str, Set], own: Mapping[str, MarginModel], given: Mapping[str, Any]) -> BackTest:
    with contextlib.ExitStack() as bars:
        started = lambda total: bars.enter_context(progress("back-test", total))  # noqa: E731
        return back_test(plan, sets, started, given["backend"], own)


def _on_cluster(
    plan: Plan, sets: Mapping[str, Set], own: Mapping[str, MarginModel], given: Mapping[str, Any]
) -> BackTest:
    """The same bits, computed by the workers of a cluster, a set and some books at a time."""
    from portfolio_margin.cluster import Workers, connect

    count = len(parts_of(plan, list(sets), given["chunk_books"]))
    with connect(given["cluster"], given["workers"], tell) as client, progress("back-test", count) as step:
        workers = Workers(client, lambda part: step(next(iter(part.sets))))
        return back_test(plan, sets, None, given["backend"], own, each=workers, books_each=given["chunk_books"])


def _plan(given: Mapping[str, Any]) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and what is told of the files."""
    names = {}
    for option in ("price_columns", "vol_columns"):
        first, separator, second = given[option].partition(",")
        if not (separator and first.strip() and second.strip()) or "," in second:
            raise ConfigError(f"--{option.replace('_', '-')} {given[option]}: needs two names with a comma")
        names[option] = (first.strip(), second.strip())
    read = read_history(
        given["history_file"],
        given["vol_file"],
        vol_unit=given["vol_unit"],
        until=given["until"],
        accept=given["accept"],
        daily=given["daily"],
        known_days=given["least_days"],
        latest=latest_day(),
        **names,
    )
    plan = Plan(
        read.history,
        standard_books(given["count"], given["seed"]),
        given["confidence"],
        given["horizon"],
        given["least_days"],
        _midnight(given["first_day"]),
        given["underlying"] or str(given["history_file"]).replace("\\", "/").rpartition("/")[2].split(".")[0],
    )
    return plan, read.findings


def _refuse_unusable(sets: Mapping[str, Set], plan: Plan) -> None:
    """ConfigError naming options and set where a set cannot be walked with first day and horizon of the plan."""
    for name, chosen in sets.items():
        try:
            as_used(chosen, plan.least_days, plan.horizon_days)
        except ConfigError as error:
            options = f"--least-days {plan.least_days} --horizon {plan.horizon_days}"
            raise ConfigError(f"{options}, set {name}: {error}") from None


def _margin_model(name: str, chosen: Venue) -> MarginModel:
    """A margin model with the parameters of its set and those given over them."""
    module = load_registered(MODELS, chosen.model)
    found = find_parameter_set(chosen.model, chosen.parameter_set or None)
    model: MarginModel = module.Model(
        build(module.Params, found.layer(), Layer(f"[sets.{name}.values]", chosen.values))
    )
    return model


def _midnight(day: str) -> int | None:
    """The end of the day before, in ms UTC: what is known when the day begins."""
    if not day:
        return None
    try:
        return int(np.datetime64(day, "D").astype(np.int64)) * MS_PER_DAY
    except ValueError:
        raise ConfigError(f"--from {day}: must be a day of the calendar, YYYY-MM-DD") from None


def _identity(
    found: BackTest, sets: Mapping[str, Set], given: Mapping[str, Any], findings: Sequence[str]
) -> dict[str, Any]:
    """What reproduces the result."""
    own, rows = found.plan.given, found.rows
    first, last = found.period()
    indexed = own.indexed[rows].mean()
    return {
        "underlying": found.plan.underlying,
        "history": given["history_file"],
        "vol_history": given["vol_file"] or "",
        "engine_version": VERSION,
        "sha256": file_digests((given["history_file"], given["vol_file"], given["params_file"])),
        "findings": list(findings),
        "first": first,
        "last": last,
        "steps_per_day": own.steps_per_day,
        "days_per_year": own.days_per_year,
        "horizon_days": found.plan.horizon_days,
        "confidence": found.plan.confidence,
        "books": len(found.plan.books),
        "seed": given["seed"],
        "share_with_vol_index": round(float(indexed), 4),
        "notes": told_of_dated(found, sets),
        "sets": {name: _used(found, chosen) for name, chosen in sets.items()},
    }


def _used(found: BackTest, chosen: Set) -> dict[str, Any]:
    """A set as it was walked, and of a dated one the rows that its maker may have seen."""
    said = plain_values(as_used(chosen, found.plan.least_days, found.plan.horizon_days))
    kind = next(name for name, params in KINDS.items() if isinstance(chosen, params))
    seen = {"rows_in_sample": rows_in_sample(found, chosen)} if isinstance(chosen, Dated) and chosen.valid_from else {}
    return {"kind": kind, **said, **seen}


def _document(found: BackTest, identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity, "summary": json_rows(found.summary(), ()), "rows": json_rows(found.table(), ())}


def _write_report(path: str, found: BackTest, sets: Mapping[str, Set], identity: Mapping[str, Any]) -> None:
    from portfolio_margin.cli.backtest_page import page
    from portfolio_margin.io.atomic import write_whole

    with progress("report", 1) as step:
        write_whole(path, page(found, sets, identity, made_rows(identity["sha256"])).encode())
        step("done")
    tell(f"wrote {path}")


def _show(found: BackTest, underlying: str, notes: Sequence[str]) -> None:
    show_table(_title(found, underlying), coverage_columns(found))
    cost = "what it missed, what it cost, and how procyclical it was"
    show_table(cost, cost_columns(found), "\n".join([*_lines(found), *notes]))


def _title(found: BackTest, underlying: str) -> str:
    plan, (first, last) = found.plan, (stamp[:10] for stamp in found.period())
    held = "one day" if plan.horizon_days == 1 else f"{plan.horizon_days} days"
    return (
        f"back-test on {underlying}, {first} to {last}: {len(found.rows):,} losses of {held} each, "
        f"{len(plan.books)} books, {100 * plan.confidence:g} % claimed"
    )


def _lines(found: BackTest) -> list[str]:
    lines = []
    for tested in found.sets:
        row = tested.worst()
        worst = tested.verdicts[row]
        lines.append(
            f"{tested.name}: least covered is {found.plan.books.name[row]}, {100 * worst.coverage:.2f} %, {worst.words}"
        )
    return lines
