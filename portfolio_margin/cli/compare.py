"""compare: the same accounts under every margin model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import numpy as np

from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.inputs import (
    BACKEND_OPTION,
    BOOK_OPTIONS,
    MARKET_OPTIONS,
    read_book_option,
    read_market_option,
    revalued,
    rows_of,
    with_book_notes,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    moment_text,
    money,
    number,
    output_options,
    progress,
    rows_document,
    show_table,
)
from portfolio_margin.cli.parameters import MODELS, registered
from portfolio_margin.cli.policy import DEFAULT_FAMILY, ModelInput
from portfolio_margin.cli.tell import tell
from portfolio_margin.compare import Comparison, comparison
from portfolio_margin.io.told import Told
from portfolio_margin.requirement import MarginModel
from pricing.errors import ConfigError
from scenarios.risk_arrays import DEFAULT_TICK

REFERENCE = "worst_case"
SCALES = ("notional", "amount")
MONEY_COLUMNS = ("initial_margin", "maintenance_margin", "saving", "largest_charge_amount", "notional")


@click.command("compare")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS)
@click.option("--model", "models", multiple=True, help="Only this model; repeatable. By default all there are.")
@click.option("--reference", help=f"Model that savings are measured against.  [default: {REFERENCE}, else the first]")
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
@output_options
def command(
    market: str | None,
    positions: str | None,
    collateral: str | None,
    plot_file: str | None,
    plot_scale: str,
    **options: Any,
) -> None:
    """Initial and maintenance margin of every account under every margin model."""
    output = chosen_output(*(options.pop(name) for name in ("as_json", "as_csv", "parquet_file", "output_file")))
    if market is not None and positions is None:
        raise ConfigError("--market needs --positions FILE: the sample's accounts hold other contracts")
    chain = ChainOptions.take(options)
    inputs = {
        name: ModelInput.read(name, None, options["params_file"], (), options["family"], every_model=True)
        for name in options["models"] or registered(MODELS)
    }
    with progress("reading", len(inputs) + 2) as step:
        given = read_market_option(market, chain)
        book = read_book_option(positions, collateral, given.instruments, given.market, given.left_out)
        chosen = rows_of(book, options["accounts"]) or list(range(len(book)))
        step("models")
        models, refused = _models(inputs, given.market.valuation_time)
        moves = next(iter(inputs.values())).family_input(options["scenario"]).scenarios(given.market)
        how = {name: options[name] for name in ("backend", "threads")}
        result = comparison(
            book,
            given.market,
            models,
            lambda scenario_set: revalued(given, scenario_set, tick=options["tick"], **how),
            moves,
            options["reference"] or (REFERENCE if REFERENCE in models else None),
            **how,
        )
        step("done")
    result = replace(result, left_out={**refused, **result.left_out}).select(chosen)
    told = with_book_notes(given.told, positions, collateral)
    told = told.warned(warning for statement in result.statements.values() for warning in statement.warnings)
    if plot_file is not None:
        _draw(plot_file, result, plot_scale)
    identity = {**result.identity(), **told.document()}
    columns = result.columns()
    if not deliver(output, columns, identity, rows_document(identity, "rows", columns, MONEY_COLUMNS)):
        _show(result, given.source, told)


def _models(inputs: dict[str, ModelInput], at: int) -> tuple[dict[str, MarginModel], dict[str, str]]:
    """The models whose parameters can be had, and why the others cannot."""
    models: dict[str, MarginModel] = {}
    refused: dict[str, str] = {}
    for name, policy in inputs.items():
        try:
            models[name] = policy.model(at, nearest=True)
        except ConfigError as error:
            refused[name] = str(error)
    return models, refused


def _draw(path: str, result: Comparison, scale: str) -> None:
    from portfolio_margin.plots.comparison import margin_map

    margin_map(result, scale).save(path)
    tell(f"wrote {path}")


def _show(result: Comparison, source: str, told: Told) -> None:
    columns = result.columns()
    first = next(iter(result.statements.values()))
    unit = f" [{first.currency}]"
    order = np.argsort(np.tile(np.arange(len(result.account)), len(result.model)), kind="stable")
    reference = np.tile(result.initial[result.model.index(result.reference)], len(result.model))
    with np.errstate(divide="ignore", invalid="ignore"):
        saved = np.where(reference > 0, 100 * columns["saving"] / reference, np.nan)

    def text(name: str) -> list[str]:
        return [str(value) for value in columns[name][order]]

    shown = [
        Column("account", text("account"), right=False),
        Column("model", text("model"), right=False),
        Column("initial" + unit, money(columns["initial_margin"][order])),
        Column("maint." + unit, money(columns["maintenance_margin"][order])),
        Column("saving [%]", number(saved[order], 1)),
        Column("largest charge", text("largest_charge"), right=False, keep=False),
        Column("of it" + unit, money(columns["largest_charge_amount"][order]), keep=False),
        Column("worst scenario", text("worst_scenario"), right=False, keep=False),
    ]
    title = f"margin of {source} at {moment_text(first.as_of_ms)} by model, saving against {result.reference}"
    show_table(title, shown, _footer(result, told))


def _footer(result: Comparison, told: Told) -> str:
    lines = []
    for name, statement in result.statements.items():
        row, base = result.model.index(name), result.initial[result.model.index(result.reference)].sum()
        share = f"{100 * result.initial[row].sum() / base:.1f} %" if base > 0 else "no share"
        lines.append(
            f"{name}: {share} of {result.reference} in all; {statement.parameter_set.text()}; "
            f"positions excluded: {len(statement.positions_excluded) or 'none'}"
        )
    lines += [f"left out, {name}: {reason}" for name, reason in result.left_out.items()]
    return "\n".join([*lines, *told.remarks()])
