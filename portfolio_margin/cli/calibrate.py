"""calibrate: parameters of a margin model from price and vol histories, as a dated set."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import click

from portfolio_margin.cli.output import chosen_output, output_options
from portfolio_margin.cli.provenance import PAGE_ENDINGS
from pricing.errors import ConfigError

# Model -> the module of this folder that makes its parameters.
MAKERS = {
    "dynamic_worst_case": "calibrated_dynamic",
    "worst_case": "calibrated_grid",
    "historical_simulation": "calibrated_history",
}
# Options that some models have no use for, and those that have.
ELSEWHERE = {
    "set_file": ("worst_case",),
    "report_file": ("worst_case",),
    "archive": ("dynamic_worst_case", "historical_simulation"),
    "chains": ("dynamic_worst_case", "worst_case"),
    "compress": ("historical_simulation",),
}
FLAGS = {"set_file": "--set", "report_file": "--report", "chains": "--chain"}


@click.command("calibrate")
@click.option("--model", type=click.Choice(list(MAKERS)), default="dynamic_worst_case", show_default=True)
@click.option(
    "--history", "histories", multiple=True, required=True, metavar="NAME=FILE", help="Closes and volumes of NAME."
)
@click.option(
    "--vol-history",
    "vol_histories",
    multiple=True,
    required=True,
    metavar="NAME=FILE",
    help="30-day vol index of NAME.",
)
@click.option(
    "--chain",
    "chains",
    multiple=True,
    metavar="FILE",
    help="Chains of many days: forwards against each other (dynamic_worst_case, repeatable), vol shocks over tenors.",
)
@click.option("--until", default="", metavar="DATE", help="Last day taken, YYYY-MM-DD; by default that of the files.")
@click.option("--accept", multiple=True, metavar="DATE", help="A day whose jump is real; repeatable.")
@click.option("--price-columns", default="date,close,volume", show_default=True, help="Names of time, close, volume.")
@click.option("--vol-columns", default="date,close", show_default=True, help="Names of time and close.")
@click.option("--vol-unit", type=click.Choice(("percent", "decimal")), default="percent", show_default=True)
@click.option(
    "--params",
    "params_file",
    metavar="FILE",
    help="TOML: a table for the model, and [rule], [measured.NAME] (dynamic_worst_case) or [calibration], [grid].",
)
@click.option("--set", "set_file", metavar="FILE.toml", help="Write the set of worst_case and its grid, for --params.")
@click.option(
    "--report", "report_file", metavar="FILE", help="worst_case: write parameters, evidence, limits as a page."
)
@click.option("--archive", metavar="FOLDER", help="Write the set of any other model into this archive.")
@click.option(
    "--compress", type=int, metavar="N", help="historical_simulation: the N moves most often in the tail of a book."
)
@click.option("--name", default="", metavar="WORD", help="Added to the name of the set, YYYY-MM-DD-WORD.")
@output_options
def command(
    model: str,
    histories: tuple[str, ...],
    vol_histories: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **given: Any,
) -> None:
    """Parameters of a margin model for the day after the histories.

    dynamic_worst_case, the default: by the rule of docs/dynamic-margin.md. worst_case and its grid, with
    confidence bands, and historical_simulation: by docs/calibration.md.

    All are for a horizon of 2 days, the time in which a position is closed: horizon_days in [calibration] of
    --params, in [rule] for dynamic_worst_case. `backtest` holds positions for 1 day unless it is told
    otherwise: test what is written here with `backtest --horizon 2`.

    Of worst_case maintenance margin is the worst loss over the grid, which is what backtest tests (--set of that
    command takes the file), and initial margin 1.25 times it; [worst_case] of --params has others.
    """
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    prices, vols = _files(histories, "--history"), _files(vol_histories, "--vol-history")
    if set(prices) != set(vols):
        apart = ", ".join(sorted(set(prices) ^ set(vols)))
        raise ConfigError(f"--history and --vol-history: {apart} needs one of each; one file may serve several names")
    read = [*prices.values(), *vols.values(), *given["chains"]]
    for written in (output.path, given["set_file"], given["report_file"]):
        if written and os.path.realpath(written) in map(os.path.realpath, read):
            raise ConfigError(f"{written} is an input of this command; write the result to another file")
    if given["report_file"] and not given["report_file"].lower().endswith(PAGE_ENDINGS):
        raise ConfigError(f"--report {given['report_file']}: a report is a page; name it .html")
    for option, models in ELSEWHERE.items():
        if given[option] and model not in models:
            flag = FLAGS.get(option, f"--{option}")
            raise ConfigError(f"{flag} has no effect with --model {model}; it is for {' and '.join(models)}")
    importlib.import_module(f"portfolio_margin.cli.{MAKERS[model]}").run(prices, vols, output, given)


def _files(options: Sequence[str], option: str) -> dict[str, str]:
    """NAME=FILE options. ConfigError for what is none, and for a name given twice."""
    found: dict[str, str] = {}
    for text in options:
        name, separator, path = text.partition("=")
        if not (name and separator and path):
            raise ConfigError(f"{option} {text}: write NAME=FILE")
        if name in found:
            raise ConfigError(f"{option} {text}: {name} is given twice")
        found[name] = path
    return found
