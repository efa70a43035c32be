"""arrays: write the risk array file that reproduces every margin."""

from __future__ import annotations

from typing import Any

import click

from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.inputs import ACCURACY_OPTION, MARKET_OPTIONS, read_market_option, revalued, with_options
from portfolio_margin.cli.output import progress, refuse_overwriting_inputs
from portfolio_margin.cli.parameters import build_all
from portfolio_margin.cli.policy import DEFAULT_FAMILY, ModelInput, scenarios_for
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.arrays_file import check_arrays_name, write_arrays
from pricing.price import BACKENDS
from scenarios.risk_arrays import DEFAULT_TICK, METHODS, RiskArrays


@click.command("arrays")
@with_options(*MARKET_OPTIONS)
@click.option("--output", "output_file", metavar="FILE", required=True, help="Where the .npz file goes.")
@click.option("--model", default="worst_case", show_default=True, help="Margin model whose scenarios they are for.")
@click.option("--parameter-set", metavar="NAME", help="Parameter set of the model; by default by date.")
@click.option("--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter of the model; repeatable.")
@click.option(
    "--family", help=f"Scenario family, for a model without scenarios of its own.  [default: {DEFAULT_FAMILY}]"
)
@click.option(
    "--params", "params_file", metavar="FILE", help="TOML with a table for model and family; others are passed over."
)
@click.option("--scenario", metavar="NAME=VALUE", multiple=True, help="A parameter of the family; repeatable.")
@click.option("--backend", type=click.Choice(BACKENDS), default="numba", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads; by default one for small work, else all cores.")
@click.option("--method", type=click.Choice(METHODS), default="full", show_default=True)
@click.option("--tick", type=float, default=DEFAULT_TICK, show_default=True, help="Rounding of risk arrays.")
@with_options(ACCURACY_OPTION)
def command(
    market: str | None,
    output_file: str,
    model: str,
    parameter_set: str | None,
    params: tuple[str, ...],
    family: str | None,
    params_file: str | None,
    scenario: tuple[str, ...],
    **chain_and_method: Any,
) -> None:
    """Write the risk array file: numpy .npz, one row per instrument, one column per scenario."""
    check_arrays_name(output_file)
    refuse_overwriting_inputs()
    policy = ModelInput.read(model, parameter_set, params_file, params, family, every_model=True)
    moves_of = policy.family_input(scenario)
    build_all(policy.wanted(None), moves_of.wanted())
    given = read_market_option(market, ChainOptions.take(chain_and_method))
    moves = scenarios_for(policy.model(given.market.valuation_time), moves_of, given.market)
    with progress("revaluing", 2) as step:
        arrays = revalued(given, moves, **chain_and_method)
        step("writing")
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


def _tell_error(approximate: RiskArrays, full: RiskArrays) -> None:
    from scenarios.taylor import taylor_error

    error = taylor_error(full, approximate)
    tell(
        f"an expansion, for screening only: up to {error.largest:.2f} {full.currency} a contract from full revaluation "
        f"({error.instrument} in {error.scenario}: {error.taylor_pnl:.2f} instead of {error.full_pnl:.2f})"
    )
