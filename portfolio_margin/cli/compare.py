"""compare: the same accounts under every margin model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
import numpy as np

from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.compared import Compared, check_inputs, of_arrays, of_market, orders_of
from portfolio_margin.cli.inputs import (
    ACCURACY_OPTION,
    ARCHIVE_OPTIONS,
    ARRAYS_OPTION,
    BACKEND_OPTION,
    BOOK_OPTIONS,
    MARKET_OPTIONS,
    ORDERS_OPTION,
    orders_table,
    rows_of,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    left_out_lines,
    moment_text,
    money,
    number,
    output_options,
    progress,
    rows_document,
    show_table,
)
from portfolio_margin.cli.parameters import MODELS, registered
from portfolio_margin.cli.policy import DEFAULT_FAMILY, Archive, ModelInput
from portfolio_margin.cli.tell import tell
from portfolio_margin.compare import DEFAULT_REFERENCE, Comparison, comparison
from portfolio_margin.dollars import money_digits
from portfolio_margin.io.parameter_sets import OF_THAT_DAY
from portfolio_margin.io.told import Told
from portfolio_margin.margin_notes import OWN_CHARGE
from portfolio_margin.requirement import MarginModel
from pricing.errors import ConfigError, EngineError
from scenarios.risk_arrays import DEFAULT_TICK

SCALES = ("notional", "amount")
# Beside the name of a model whose parameters are those of another time.
NOT_VALID = "†"
MONEY_COLUMNS = (
    "initial_margin",
    "maintenance_margin",
    "saving",
    "largest_charge_amount",
    "charges_of_ours",
    "notional",
)


@click.command("compare")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS, ORDERS_OPTION, ARRAYS_OPTION)
@click.option(
    "--model",
    "models",
    metavar="NAME[:PARAMETER-SET]",
    multiple=True,
    help="Only this model, by default all; with a parameter set as margin takes it after --parameter-set. Repeatable.",
)
@with_options(*ARCHIVE_OPTIONS)
@click.option(
    "--reference",
    help="Model that savings are measured against.  [default: the standard model of the same venue, else "
    f"{DEFAULT_REFERENCE}, else the first]",
)
@click.option("--account", "accounts", multiple=True, help="Only this account; repeatable.")
@click.option(
    "--family", help=f"Scenario family of models without scenarios of their own.  [default: {DEFAULT_FAMILY}]"
)
@click.option("--params", "params_file", metavar="FILE", help="TOML with a table for every model that needs one.")
@click.option("--scenario", metavar="NAME=VALUE", multiple=True, help="A parameter of the family; repeatable.")
@click.option("--plot", "plot_file", metavar="FILE", help="Write a heat map of initial margins (.png, .svg, .pdf).")
@click.option("--plot-scale", type=click.Choice(SCALES), default=SCALES[0], show_default=True, help="Unit of colours.")
@with_options(BACKEND_OPTION)
@click.option("--threads", type=click.IntRange(1), help="Threads; by default one for small work, else all cores.")
@click.option("--tick", type=float, default=DEFAULT_TICK, show_default=True, help="Rounding of risk arrays.")
@with_options(ACCURACY_OPTION)
@output_options
def command(plot_file: str | None, plot_scale: str, **options: Any) -> None:
    """Initial and maintenance margin of every account under every margin model."""
    output = chosen_output(*(options.pop(name) for name in ("as_json", "as_csv", "parquet_file", "output_file")))
    chain = ChainOptions.take(options)
    inputs = _inputs(options)
    check_inputs(options, chain, inputs)
    table = orders_table(options["open_orders"], options["positions"], options["collateral"])
    with progress("reading", len(inputs) + 2) as step:
        if options["arrays"] is None:
            given = of_market(options, chain, inputs, table)
        else:
            given = of_arrays(options)
        chosen = rows_of(given.book, options["accounts"]) or list(range(len(given.book)))
        step("models")
        models, refused = _models(inputs, given.at)
        how = {name: options[name] for name in ("backend", "threads")}
        how["orders"] = None if table is None else orders_of(table, given)

        def compute(some: Mapping[str, MarginModel], **more: Any) -> Comparison:
            return comparison(given.book, given.market, some, given.prepared, **more, **how)

        reference = options["reference"]
        if reference is not None and reference not in inputs:
            raise ConfigError(f"--reference {reference}: it is not among the models compared; add --model {reference}")
        result = compute(models, reference=reference, refused=refused)
        _check_parameters(inputs, models, result.left_out, given.at, compute)
        step("done")
    result = replace(result, left_out=_with_other_sets(inputs, result.left_out, given))
    result = result.select(chosen)
    for statement in result.statements.values():
        # What is ours is said with its amount.
        notes = [note for note in statement.notes if OWN_CHARGE not in note]
        given = given._replace(told=given.told.noted(notes).warned(statement.warnings))
    told = given.told
    if plot_file is not None:
        _draw(plot_file, result, plot_scale)
    identity = {**result.identity(), **told.document()}
    columns = result.columns()
    if not deliver(output, columns, identity, rows_document(identity, "rows", columns, MONEY_COLUMNS, _digits(result))):
        _show(result, given.source, told, _instead(inputs, result, given.at))


def _inputs(options: dict[str, Any]) -> dict[str, ModelInput]:
    """The models asked for, by the name they were given."""
    file, family, archive = options["params_file"], options["family"], Archive.take(options)
    return {
        name: ModelInput.read(*_split(name), file, (), family, every_model=True, archive=archive)
        for name in options["models"] or registered(MODELS)
    }


def _split(text: str) -> tuple[str, str | None]:
    """Name of the model and of its parameter set, None where none is given."""
    name, separator, parameter_set = text.partition(":")
    if separator and not parameter_set:
        raise ConfigError(f"--model {text}: write NAME:PARAMETER-SET, or NAME for the set valid at the market's time")
    return name, parameter_set or None


def _models(inputs: dict[str, ModelInput], at: int) -> tuple[dict[str, MarginModel], dict[str, str]]:
    """The models whose parameters can be had, and why the others cannot: what is not published, nobody gave.

    ConfigError where what was given for a model is wrong.
    """
    models: dict[str, MarginModel] = {}
    refused: dict[str, str] = {}
    wrong: list[str] = []
    for name, policy in inputs.items():
        try:
            models[name] = policy.model(at, nearest=True)
        except ConfigError as error:
            if policy.asked:
                wrong.append(f"{name}: {error}")
            else:
                refused[name] = str(error)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return models, refused


def _check_parameters(
    inputs: dict[str, ModelInput],
    models: dict[str, MarginModel],
    left_out: Mapping[str, str],
    at: int,
    compute: Callable[[Mapping[str, MarginModel]], Comparison],
) -> None:
    """ConfigError where a model could not be computed because of parameters that were given: without them it can be."""
    wrong = []
    for name in left_out:
        if name in models and models[name].parameter_set.changed:
            try:
                compute({name: inputs[name].without_given().model(at, nearest=True)})
            except EngineError:
                continue  # it lacks something, with what was given or without
            wrong.append(f"{name} cannot be computed with the parameters of --params: {left_out[name]}")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _draw(path: str, result: Comparison, scale: str) -> None:
    from portfolio_margin.plots.comparison import margin_map

    margin_map(result, scale).save(path)
    tell(f"wrote {path}")


def _with_other_sets(inputs: Mapping[str, ModelInput], left_out: Mapping[str, str], given: Compared) -> dict[str, str]:
    """Why models are left out, and sets that go by name only and have parameters of the market's underlyings."""
    if given.market is None:
        return dict(left_out)
    said = {}
    for name, reason in left_out.items():
        model = inputs[name]
        underlyings = given.market.underlying_id.tolist()
        names = [] if model.parameter_set else model.with_parameters_of(underlyings, given.at)
        hint = "".join(f"\na set that goes by name has some: --model {model.name}:{other}" for other in names)
        said[name] = reason + hint
    return said


def _instead(inputs: Mapping[str, ModelInput], result: Comparison, at: int) -> list[str]:
    """Of every model whose parameters are of another time: which, and what sets of that time go by name only."""
    lines = []
    for name, valid in zip(result.model, result.applies, strict=True):
        if not valid:
            by_name = inputs[name].valid_by_name(at)
            own = result.statements[name].parameter_set.name
            more = (
                f"; {', '.join(f'{inputs[name].name}:{other}' for other in by_name)}, {OF_THAT_DAY}" if by_name else ""
            )
            lines.append(f"{NOT_VALID} {name}: {own}{more}")
    return lines


def _show(result: Comparison, source: str, told: Told, instead: Sequence[str]) -> None:
    columns = result.columns()
    first = next(iter(result.statements.values()))
    unit = f" [{first.currency}]"
    order = np.argsort(np.tile(np.arange(len(result.account)), len(result.model)), kind="stable")
    saved = columns["saving_percent"]

    def text(name: str) -> list[str]:
        return [str(value) for value in columns[name][order]]

    count = columns["positions_excluded"][order]
    excluded = [Column("excluded", [str(n) if n else "" for n in count])] if np.any(count) else []
    against = dict.fromkeys(result.references.values())
    shown = [
        Column("account", text("account"), right=False),
        Column("model", _marked(text("model"), columns["parameters_apply"][order]), right=False),
        *excluded,
        Column("initial" + unit, money(columns["initial_margin"][order], _digits(result))),
        Column("maint." + unit, money(columns["maintenance_margin"][order], _digits(result))),
        Column("saving [%]", number(saved[order], 1)),
        *([Column("against", text("reference"), right=False)] if len(against) > 1 else []),
        Column("largest charge", text("largest_charge"), right=False, keep=False),
        Column("of it" + unit, money(columns["largest_charge_amount"][order], _digits(result)), keep=False),
        Column("worst scenario", text("worst_scenario"), right=False, keep=False),
    ]
    title = f"margin of {source} at {moment_text(first.as_of_ms)} by model, saving against {' or '.join(against)}"
    show_table(title, shown, _footer(result, told, instead))


def _digits(result: Comparison) -> int:
    """Decimals of its amounts."""
    return money_digits(next(iter(result.statements.values())).money_step)


def _marked(names: Sequence[str], applies: Iterable[bool]) -> list[str]:
    return [name if valid else f"{name} {NOT_VALID}" for name, valid in zip(names, applies, strict=True)]


def _value_lines(result: Comparison) -> list[str]:
    """Where part of a requirement only takes back option value that equity holds: how much, of the accounts shown."""
    lines = []
    for name, statement, taken in zip(result.model, result.statements.values(), result.taken_back, strict=True):
        amount = float(taken.sum())
        if amount > 0:
            traits = statement.model.traits
            there = [c for c in traits.of_equity if np.any(statement.charges[c][result.row][taken > 0, 0] > 0)]
            of_it = f"{money([amount], _digits(result))[0]} {statement.currency} of it"
            lines.append(
                f"{name}: {of_it}, {'in ' if traits.of_equity_with_risk else ''}{', '.join(there)}, is no risk: "
                "option value that equity holds and that the rule sets against no other need"
            )
    return lines


def _blank_lines(result: Comparison) -> list[str]:
    """Why savings are blank: every reason with the number of accounts shown that it is true of."""
    reasons = result.saving_reason.ravel()
    counts = {str(reason): int(np.sum(reasons == reason)) for reason in dict.fromkeys(reasons.tolist()) if reason}
    one = {name: sum(n for reason, n in counts.items() if name in reason.split("; ")) for name in _parts(counts)}
    return [f"no saving where {reason} (rows: {count})" for reason, count in one.items()]


def _parts(reasons: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(part for reason in reasons for part in reason.split("; ")))


def _own_lines(result: Comparison) -> list[str]:
    """What charges of ours add to the rule of a venue, of the accounts shown."""
    lines = []
    for name, statement, amounts in zip(result.model, result.statements.values(), result.ours, strict=True):
        amount = float(amounts.sum())
        if amount > 0:
            there = [c for c in statement.model.traits.ours if np.any(statement.charges[c][result.row, 0] > 0)]
            of_it = f"{money([amount], _digits(result))[0]} {statement.currency} of it, {', '.join(there)},"
            lines.append(f"{name}: {of_it} is {OWN_CHARGE}")
    return lines


def _footer(result: Comparison, told: Told, instead: Sequence[str]) -> str:
    lines = []
    alike = result.comparable
    totals = zip(
        result.references.items(),
        np.where(alike, result.initial, 0.0).sum(axis=1),
        np.where(alike, result.reference_initial, 0.0).sum(axis=1),
        alike.sum(axis=1),
        strict=True,
    )
    for (name, reference), total, base, count in totals:
        statement = result.statements[name]
        share = f"{100 * total / base:.1f} %" if base > 0 else "no share"
        both = f"in the {count} of {len(result.account)} accounts that can be compared"
        whole = "in all" if count == len(result.account) else both
        lines.append(
            f"{name}: {share} of {reference} {whole}; {statement.parameter_set.text()}; "
            f"positions excluded: {len(statement.excluded_of(result.row.tolist())) or 'none'}"
        )
    if not result.applies.all():
        lines.append(f"{NOT_VALID} parameters not valid at the time of this market: margin would refuse them unasked")
        lines += instead
    lines += [*_blank_lines(result), *_value_lines(result), *_own_lines(result)]
    return "\n".join([*lines, *left_out_lines(result.left_out), *told.remarks()])
