"""arrays: write the risk array file that reproduces every margin."""

from __future__ import annotations

from typing import Any

import click

from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.inputs import (
    ACCURACY_OPTION,
    MARKET_OPTIONS,
    layers,
    read_market_option,
    revalued,
    with_options,
)
from portfolio_margin.cli.output import progress, refuse_overwriting_inputs
from portfolio_margin.cli.parameters import FAMILIES, MODELS, build, load_registered, read_parameters, registered
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.arrays_file import check_arrays_name, write_arrays
from pricing.price import BACKENDS
from scenarios.risk_arrays import DEFAULT_TICK, METHODS, RiskArrays


@click.command("arrays")
@with_options(*MARKET_OPTIONS)
@click.option("--output", "output_file", metavar="FILE", required=True, help="Where the .npz file goes.")
@click.option("--family", default="grid", show_default=True, help="Scenario family.")
@click.option(
    "--params", "params_file", metavar="FILE", help="TOML with a table for the family; those of models are passed over."
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
    family: str,
    params_file: str | None,
    scenario: tuple[str, ...],
    **chain_and_method: Any,
) -> None:
    """Write the risk array file: numpy .npz, one row per instrument, one column per scenario."""
    check_arrays_name(output_file)
    refuse_overwriting_inputs()
    module = load_registered(FAMILIES, family)
    tables = read_parameters(params_file, (*registered(MODELS), family))
    params = build(module.Params, *layers(params_file, tables, family, ("--scenario", scenario)))
    given = read_market_option(market, ChainOptions.take(chain_and_method))
    with progress("revaluing", 2) as step:
        arrays = revalued(given, module.scenarios(params, given.market), **chain_and_method)
        step("writing")
        write_arrays(output_file, arrays)
        step("done")
    if arrays.method == "taylor":
        _tell_error(
            arrays, revalued(given, module.scenarios(params, given.market), **{**chain_and_method, "method": "full"})
        )
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
