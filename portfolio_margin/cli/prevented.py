"""What would have helped: the scan range and the buffer that would have been enough, and the commands that show it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

from portfolio_margin.cli.inputs import Options
from portfolio_margin.cli.parameters import build
from portfolio_margin.cli.policy import ModelInput
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.prevention import Prevention, prevented_by, topped_up
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.run import Venue, run
from scenarios.families import grid

SCAN_RANGE = (0.9, 0.01)
BUFFER = (2.0, 0.01)
RANGE, CUSHION = "price_range", "buffer"
# Options of the command that say what else is asked or where it goes, and nothing of the stress itself.
NOT_OF_THE_STRESS = ("prevent", "size_fund", "reverse", "fund_by_paths", "paths", "path_days", "draws", "seed", "plots",
                     "accounts_file", "as_json", "as_csv", "parquet_file", "output_file")  # fmt: skip


def grid_params(options: Options, venue: Venue) -> grid.Params | None:
    """Parameters of the grid that the venue's scenarios are; None where they are others, or the range is no number."""
    where_from = (options.model, options.parameter_set, options.params_file, options.params, options.family)
    family = ModelInput.read(*where_from, archive=options.archive).family_input(options.scenario)
    if family.module is not grid or venue.model.scenario_set(venue.market) is not None:
        return None
    params: grid.Params = build(grid.Params, *family.layers)
    return params if isinstance(params.price_range, (int, float)) else None


def preventions(
    venue: Venue, path: StressPath, rules: Rules, params: grid.Params | None, paid_up: bool
) -> tuple[Prevention, ...]:
    """By the scan range where the scenarios are the grid's, and by the buffer.

    venue    before anybody has paid in
    params   of its grid, None where its scenarios are others
    paid_up  whether margin calls are answered at the start in any case; for another scan range they always are
    """
    found = []
    if params is not None and params.price_range < SCAN_RANGE[0]:  # type: ignore[operator]

        def ranged(value: float) -> Result:
            wider = replace(params, price_range=value)
            return run(topped_up(replace(venue, scenarios=lambda m: grid.scenarios(wider, m))), path, rules)

        found.append(prevented_by(RANGE, ranged, float(params.price_range), *SCAN_RANGE))  # type: ignore[arg-type]
    start = topped_up(venue) if paid_up else venue

    def buffered(value: float) -> Result:
        return run(start, path, replace(rules, buffer=value))

    return (*found, *([prevented_by(CUSHION, buffered, rules.buffer, *BUFFER)] if rules.buffer < BUFFER[0] else []))


def command_with(found: Prevention) -> str:
    """The running command with the value found in place of what it was given, and nothing but the stress asked."""
    context = click.get_current_context()
    words = ["portfolio-margin", str(context.info_name)]
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) == ParameterSource.COMMANDLINE
        if not given or option.name in (*NOT_OF_THE_STRESS, "topped_up", found.parameter):
            continue
        values = context.params[str(option.name)]
        name = option.opts[-1]
        for value in values if isinstance(values, (list, tuple)) else [values]:
            if not (option.name == "scenario" and str(value).split("=")[0] == found.parameter):
                words += [name] if value is True else [name, _written(value)]
    value = _written(float(found.value))
    words += ["--scenario", f"{RANGE}={value}"] if found.parameter == RANGE else [f"--{CUSHION}", value]
    paid_up = found.parameter == RANGE or context.params["topped_up"]
    return shlex.join([*words, *(["--topped-up"] if paid_up else [])])


def _written(value: Any) -> str:
    """A value as a command takes it: of a number all digits, without .0."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def prevention_document(found: Prevention) -> dict[str, Any]:
    """One parameter: its value, None where none was enough, with what that rests on."""
    last = max(found.trials, key=lambda trial: trial.value)
    answer: dict[str, Any] = {"parameter": found.parameter, "runs": len(found.trials)}
    if np.isnan(found.value):
        amounts = {"beyond_fund": last.beyond, "shortfall": last.shortfall, "shortfall_before_path": last.before}
        reason = {"largest": last.value, **{name: round(amount, 2) for name, amount in amounts.items()}}
        return {**answer, "value": None, "reason": reason}
    return {**answer, "value": found.value, "supposes": supposed(found), "command": command_with(found)}


def supposed(found: Prevention) -> str:
    """What the answer supposes."""
    if found.parameter == RANGE or click.get_current_context().params["topped_up"]:
        return "who is short of initial margin at the start pays in what is missing (--topped-up)"
    return "nobody pays in"


def prevention_lines(found: Prevention, currency: str) -> list[str]:
    """The same for people."""
    runs = f"({len(found.trials)} runs)"
    if not np.isnan(found.value):
        told = f"{found.parameter} that would have been enough: {found.value:.6g} {runs}, where {supposed(found)}:"
        return [told, f"  {command_with(found)}"]
    last = max(found.trials, key=lambda trial: trial.value)
    reason = f"with it {last.beyond:.2f} {currency} are beyond the fund, of a shortfall of {last.shortfall:.2f}"
    if last.before:
        reason += (
            f"; {last.before:.2f} of it is owed by accounts below 0 before the path, whom no {found.parameter} helps"
        )
    return [f"{found.parameter} that would have been enough: none up to {last.value:.3g} {runs}: {reason}"]
