"""arrays: write the risk array file that reproduces every margin."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.inputs import (
    ACCURACY_OPTION,
    ARCHIVE_OPTIONS,
    BACKEND_OPTION,
    MARKET_OPTIONS,
    read_market_option,
    revalued,
    with_options,
)
from portfolio_margin.cli.output import progress, refuse_overwriting_inputs
from portfolio_margin.cli.parameters import build_all
from portfolio_margin.cli.policy import DEFAULT_FAMILY, Archive, ModelInput, scenarios_for
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.arrays_file import check_arrays_name, write_arrays
from pricing.errors import ConfigError
from scenarios.risk_arrays import DEFAULT_TICK, METHODS, RiskArrays

SPAN, DEFAULT_MODEL = "span", "worst_case"
SPAN_ENDINGS = (".spn", ".spn.gz")
# What makes sense beside a SPAN file; its account type decides which of its arrays are taken.
OPTIONS_BESIDE_FILE = frozenset({"span_file", "output_file", "model", "parameter_set", "params", "params_file",
                                 "archive", "archive_only"})  # fmt: skip
POLICY_OPTIONS = ("model", "parameter_set", "params_file", "params", "family")
ARCHIVE = ("archive", "archive_only")


@click.command("arrays")
@click.argument("span_file", metavar="[FILE]", required=False)
@with_options(*MARKET_OPTIONS)
@click.option("--output", "output_file", metavar="FILE", help="Where the file goes: .npz, or .spn for a SPAN file.")
@click.option("--check", "check_path", metavar="FILE", help="Recompute the arrays of a SPAN file from its scan ranges.")
@click.option("--tolerance", type=float, help="Error that --check allows, share of the scan range.  [default: 1e-5]")
@click.option("--look-ahead", type=float, help="Years that pass in the scenarios of --check, if the file is silent.")
@click.option("--model", help="Margin model whose scenarios they are for.  [default: worst_case; span for .spn]")
@click.option("--parameter-set", metavar="NAME", help="Parameter set of the model; by default by date.")
@with_options(*ARCHIVE_OPTIONS)
@click.option("--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter of the model; repeatable.")
@click.option(
    "--family", help=f"Scenario family, for a model without scenarios of its own.  [default: {DEFAULT_FAMILY}]"
)
@click.option(
    "--params", "params_file", metavar="FILE", help="TOML with a table for model and family; others are passed over."
)
@click.option("--scenario", metavar="NAME=VALUE", multiple=True, help="A parameter of the family; repeatable.")
@with_options(BACKEND_OPTION)
@click.option("--threads", type=click.IntRange(1), help="Threads; by default one for small work, else all cores.")
@click.option("--method", type=click.Choice(METHODS), default="full", show_default=True)
@click.option("--tick", type=float, default=DEFAULT_TICK, show_default=True, help="Rounding of risk arrays.")
@with_options(ACCURACY_OPTION)
def command(
    span_file: str | None,
    market: str | None,
    output_file: str | None,
    check_path: str | None,
    tolerance: float | None,
    look_ahead: float | None,
    scenario: tuple[str, ...],
    **options: Any,
) -> None:
    """Write the risk array file, one row per instrument and one column per scenario: numpy .npz, or a SPAN file.

    The arrays are those of a market, or as they stand in FILE, a SPAN file (.spn, .pa2). With --check, recompute a SPAN
    file instead; exit 1 where an array is off by more than the tolerance, or cannot be recomputed.
    """
    if span_file is not None:
        if check_path is not None or output_file is None or tolerance is not None or look_ahead is not None:
            raise ConfigError(f"give --output FILE.npz for the arrays of {span_file}, or --check {span_file} alone")
        _refuse_beside_file(span_file)
        _write_arrays_of(span_file, output_file, options)
        return
    if check_path is not None:
        _check(check_path, output_file, tolerance, look_ahead, options["backend"])
        return
    if output_file is None or tolerance is not None or look_ahead is not None:
        raise ConfigError("give --output FILE, or --check FILE with --tolerance and --look-ahead")
    as_span = output_file.lower().endswith(SPAN_ENDINGS)
    if not as_span:
        check_arrays_name(output_file)
    refuse_overwriting_inputs()
    policy = _policy(as_span, options)
    chain_and_method = {name: value for name, value in options.items() if name not in POLICY_OPTIONS + ARCHIVE}
    moves_of = policy.family_input(scenario)
    build_all(policy.wanted(None), moves_of.wanted())
    given = read_market_option(market, ChainOptions.take(chain_and_method))
    model = policy.model(given.market.valuation_time)
    moves = scenarios_for(model, moves_of, given.market)
    with progress("revaluing", 2) as step:
        arrays = revalued(given, moves, **chain_and_method)
        step("writing")
        if as_span:
            _write_span(output_file, model, arrays)
        else:
            write_arrays(output_file, arrays)
        step("done")
    if arrays.method == "taylor":
        _tell_error(arrays, revalued(given, moves, **{**chain_and_method, "method": "full"}))
    rows, columns = arrays.rows.shape
    for line in given.told.remarks():
        tell(line)
    click.echo(
        f"wrote {output_file}: {rows} instruments x {columns} scenarios of {given.source}, digest {arrays.digest[:16]}"
    )


def _refuse_beside_file(span_file: str) -> None:
    """ConfigError where an option was given that says how arrays are made; those of a SPAN file are made."""
    context = click.get_current_context()
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    others = sorted(set(given) - OPTIONS_BESIDE_FILE)
    if others:
        names = ", ".join("--" + name.replace("_", "-").replace("params-file", "params") for name in others)
        raise ConfigError(f"{names} has no effect beside {span_file}, which has its arrays already; leave it out")


def _write_arrays_of(path: str, output_file: str, options: dict[str, Any]) -> None:
    """The arrays of a SPAN file as a risk array file; without its rules, which stay in the SPAN file."""
    from portfolio_margin.cli.span_input import SpanInput
    from portfolio_margin.io.span_source import is_span_name

    if not is_span_name(path):
        raise ConfigError(f"{path}: a SPAN file ends in .spn or .pa2 (.gz, .zip); a market is given by --market")
    if output_file.lower().endswith(SPAN_ENDINGS):
        raise ConfigError(
            f"--output {output_file}: {path} is a SPAN file already; its arrays alone go into a .npz, and "
            "portfolio_margin.io.span_write.write_spn writes the whole file again"
        )
    check_arrays_name(output_file)
    refuse_overwriting_inputs()
    with progress("reading", 2) as step:
        given = SpanInput(path)
        step("writing")
        _, arrays, told = given.arrays_for(_policy(True, options).model(given.time))
        write_arrays(output_file, arrays)
        step("done")
    for line in told.remarks():
        tell(line)
    tell(f"note: {output_file} holds the arrays of {path} and none of its rules: the model span needs {path} itself")
    rows, columns = arrays.rows.shape
    click.echo(f"wrote {output_file}: {rows} instruments x {columns} scenarios of {path}, digest {arrays.digest[:16]}")


def _policy(as_span: bool, options: dict[str, Any]) -> ModelInput:
    """The model whose scenarios are asked for; a SPAN file is always that of the model span."""
    model = options["model"] or (SPAN if as_span else DEFAULT_MODEL)
    if as_span and model != SPAN:
        raise ConfigError(f"a SPAN file holds the scenarios of the model {SPAN}, not of {model}")
    if as_span and options["method"] != "full":
        raise ConfigError("a SPAN file is made by full revaluation")
    parameter_set, params_file, params, family = (options[name] for name in POLICY_OPTIONS[1:])
    archive = Archive.take({name: options[name] for name in ARCHIVE})
    return ModelInput.read(model, parameter_set, params_file, params, family, every_model=True, archive=archive)


def _write_span(path: str, model: Any, arrays: RiskArrays) -> None:
    from portfolio_margin.io.span_write import write_spn

    made = model.market_file(arrays)
    write_spn(path, made.file)
    if made.left_out:
        tell(
            f"note: {', '.join(made.left_out)} held as such: no place in a SPAN file, which lists contracts only; "
            f"a book with such collateral is refused beside {path}"
        )


def _check(path: str, output_file: str | None, tolerance: float | None, look_ahead: float | None, backend: str) -> None:
    from portfolio_margin.cli.span_input import DEFAULT_TOLERANCE, check_file

    if output_file is not None:
        raise ConfigError("--check writes no file; leave --output out")
    check_file(path, DEFAULT_TOLERANCE if tolerance is None else tolerance, look_ahead, backend)


def _tell_error(approximate: RiskArrays, full: RiskArrays) -> None:
    from scenarios.taylor import taylor_error

    error = taylor_error(full, approximate)
    tell(
        f"an expansion, for screening only: up to {error.largest:.2f} {full.currency} a contract from full revaluation "
        f"({error.instrument} in {error.scenario}: {error.taylor_pnl:.2f} instead of {error.full_pnl:.2f})"
    )
