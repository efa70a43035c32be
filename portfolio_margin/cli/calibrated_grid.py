"""Parameters of worst_case and of its grid from histories, for the command `calibrate`; docs/calibration.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from portfolio_margin.cli.calibrated_dynamic import column_names, common_day, latest_day
from portfolio_margin.cli.calibration_report import (
    FAMILY,
    Evidence,
    NodeErrors,
    columns,
    document,
    doubts,
    remarks,
    show,
)
from portfolio_margin.cli.calibration_sources import SOURCES_TITLE, shared_vols, source_columns, sources
from portfolio_margin.cli.output import Output, deliver, progress, show_table
from portfolio_margin.cli.parameters import read_parameters
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.calibrated import (
    CalibrationHistory,
    common_returns,
    day_numbers,
    findings,
    read_calibration_history,
)
from portfolio_margin.io.history import refuse_unknown_days
from portfolio_margin.io.parameter_archive import plain_values
from portfolio_margin.io.parameters import Layer, build
from portfolio_margin.io.params_file import write_params_file
from portfolio_margin.io.surface_history import read_surface_history, surfaces_told
from portfolio_margin.models import worst_case
from pricing.errors import ConfigError
from scenarios.calibrate.grid_nodes import GridFit, GridTerms, fit_grid, grid_error, vol_error
from scenarios.calibrate.grid_set import (
    NODE_DIGITS,
    Figures,
    base_params,
    farthest_move,
    grid_params,
    refuse_near_moves,
    rounded,
    spanned_days,
)
from scenarios.calibrate.joint_moves import Credit, Shrunk, shrunk_correlation, spread_credit
from scenarios.calibrate.levels import first_taken
from scenarios.calibrate.moves import log_returns
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.surface_shocks import SurfaceShocks, surface_shocks
from scenarios.calibrate.underlying import Calibrated, calibrate_underlying
from scenarios.calibrate.vol_shocks import common_powers
from scenarios.calibrate.worst_book import worst_book
from scenarios.families import grid
from scenarios.shocks import VolDynamics

MODEL, SETTINGS = "worst_case", "calibration"
TABLES = (SETTINGS, MODEL, FAMILY)
MADE = ("price_range", "vol_up", "vol_down", "tail_factor", "price_nodes")
# Of the worst loss: what covers it keeps an account; a quarter more opens one, so that an account at the limit of what
# it may trade is not in liquidation with the next move.
FACTORS = {"initial_factor": 1.25, "maintenance_factor": 1.0}
SOURCE = "portfolio-margin calibrate"


def run(prices: Mapping[str, str], vols: Mapping[str, str], output: Output, given: Mapping[str, Any]) -> None:
    """Make the set for the day after the histories; write it and show it.

    prices, vols   files by name of the underlying
    given          options of the command
    """
    tables = read_parameters(given["params_file"], TABLES)
    chain_file = _one_chain(given["chains"])
    settings = settings_of(tables)
    base = _base(tables, chain_file, settings)
    histories = read_histories(prices, vols, given)
    if "days" not in tables.get(FAMILY, {}):
        base = replace(base, days=(0.0, _passing(histories, settings)))
    day = day_after(histories)
    told = [*findings(histories), *shared_vols(histories)]
    for line in told:
        tell(line)
    evidence = _evidence(histories, base, settings, given)
    if "tail_moves" in tables.get(FAMILY, {}):
        refuse_near_moves(base.tail_moves, {name: one.range.chosen for name, one in evidence.found.items()})
    for line in doubts(evidence, settings):
        tell(line)
    made = _grid(base, evidence)
    params = {
        MODEL: build(worst_case.Params, Layer("", FACTORS), Layer(f"[{MODEL}]", tables.get(MODEL, {}))),
        FAMILY: made,
    }
    of_margins = margin_remarks(params[MODEL], settings)
    if given["set_file"]:
        said = {"source": SOURCE, "note": note_of(settings, day, prices, vols, given)}
        write_params_file(given["set_file"], day, said, params, of_margins | remarks(evidence, settings))
        tell(f"written: {given['set_file']}")
    if given["report_file"]:
        from portfolio_margin.cli.calibration_page import write_page

        read = (*prices.values(), *vols.values(), *given["chains"], given["params_file"])
        write_page(given["report_file"], evidence, histories, (made, settings, day), told, read)
    identity = {"model": MODEL, "valid_from": day, "settings": plain_values(settings)}
    whole = {
        **identity,
        "params": {name: plain_values(value) for name, value in params.items()},
        "evidence": document(evidence, settings),
        "doubts": doubts(evidence, settings),
        "findings": told,
        "histories": [source._asdict() for source in sources(histories, settings)],
    }
    if not deliver(output, columns(evidence), identity, lambda: whole):
        show_table(SOURCES_TITLE, source_columns(histories, settings))
        margins = [f"{name.partition('.')[2].replace('_factor', ' margin')}: {of}" for name, of in of_margins.items()]
        show(evidence, settings, f"{MODEL} with {FAMILY}, valid from {day}", "\n".join(margins))


def margin_remarks(model: worst_case.Params, settings: Settings) -> dict[str, str]:
    """What initial and maintenance margin are of the worst loss, by the names of the parameters."""
    initial, maintenance = model.initial_factor, model.maintenance_factor
    tested = "the worst loss over the grid, which is what backtest tests"
    buffered = f"; with the whole buffer of {100 * settings.buffer:g} % " if settings.buffer else "; "
    return {
        f"{MODEL}.initial_factor": f"{initial:g} times the worst loss, so that an account at its limit of trading is "
        f"{100 * (initial / maintenance - 1.0):.3g} % above maintenance margin and not in liquidation at once"
        f"{buffered}{initial * (1.0 + settings.buffer):.3g} times the move that is calculated",
        f"{MODEL}.maintenance_factor": tested if maintenance == 1.0 else f"{maintenance:g} times {tested}",
    }


def settings_of(tables: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings of a parameter file, with defaults for the rest."""
    settings: Settings = build(Settings, Layer(f"[{SETTINGS}]", tables.get(SETTINGS, {})))
    return settings


def day_after(histories: Mapping[str, CalibrationHistory]) -> str:
    """The day after the histories, YYYY-MM-DD."""
    return str(np.datetime64(common_day({name: history.last_day for name, history in histories.items()})) + 1)


def note_of(
    settings: Settings, day: str, prices: Mapping[str, str], vols: Mapping[str, str], given: Mapping[str, Any]
) -> str:
    """What a set was made from."""
    files = [f"{name}={path}" for name, path in (*prices.items(), *vols.items())]
    files += given["chains"]
    return f"settings {plain_values(settings)}; histories before {day}: {', '.join(files)}"


def read_histories(
    prices: Mapping[str, str], vols: Mapping[str, str], given: Mapping[str, Any]
) -> dict[str, CalibrationHistory]:
    """The histories of every underlying, checked."""
    # Volumes do not count here, so that the default of three columns is fine and two are enough.
    count = 3 if given["price_columns"].count(",") == 2 else 2
    of_price, of_vol = column_names(given, "price_columns", count), column_names(given, "vol_columns", 2)
    found = {
        name: read_calibration_history(
            path,
            vols[name],
            price_columns=(of_price[0], of_price[1]),
            vol_columns=(of_vol[0], of_vol[1]),
            vol_unit=given["vol_unit"],
            until=given["until"],
            accept=given["accept"],
            latest=latest_day(),
        )
        for name, path in prices.items()
    }
    refuse_unknown_days(given["accept"], [one for history in found.values() for one in (history.price, history.vol)])
    return found


def _one_chain(chains: Sequence[str]) -> str | None:
    """The file of chains, or None. ConfigError where there are several."""
    if len(chains) > 1:
        raise ConfigError(f"--chain is given {len(chains)} times: {MODEL} takes the chains of all days in one file")
    return chains[0] if chains else None


def _base(tables: Mapping[str, Mapping[str, Any]], chain_file: str | None, settings: Settings) -> grid.Params:
    """What of the grid is not calibrated. ConfigError where something is given that is."""
    given = tables.get(FAMILY, {})
    stated = [name for name in MADE if name in given]
    stated += [name for name in ("short_power", "long_power") if chain_file and name in given.get("dynamics", {})]
    if stated:
        raise ConfigError(f"[{FAMILY}] {', '.join(stated)}: calibrated from the histories; leave it out")
    base: grid.Params = build(grid.Params, Layer("", plain_values(base_params(settings))), Layer(f"[{FAMILY}]", given))
    return base


def _passing(histories: Mapping[str, CalibrationHistory], settings: Settings) -> float:
    """Calendar days that a horizon takes, of the underlying that takes most."""
    ends = [day_numbers(history.price.date) for history in histories.values()]
    return max(spanned_days(own[first_taken(len(own), settings, own) :], settings) for own in ends)


def _evidence(
    histories: Mapping[str, CalibrationHistory], base: grid.Params, settings: Settings, given: Mapping[str, Any]
) -> Evidence:
    chain_file = _one_chain(given["chains"])
    found: dict[str, Calibrated] = {}
    surfaces: dict[str, SurfaceShocks] = {}
    farthest = farthest_move(base)
    with progress("calibrating", 2 * len(histories) + 1) as step:
        for name, history in histories.items():
            price, vol, _ = history.joint_returns()
            returns = log_returns(history.price.close), log_returns(history.vol.close)
            days = day_numbers(history.price.date), day_numbers(history.vol.date)
            least = (0.0, 0.0)
            if chain_file:
                surface = read_surface_history(chain_file, name, given["until"])
                surfaces[name] = surface_shocks(surface, settings)
                tell(f"{chain_file}: {surfaces_told(name, surface)}")
                least = surfaces[name].up.shock.value, surfaces[name].down.shock.value
            step(f"surface of {name}")
            found[name] = calibrate_underlying(*returns, (price, vol), farthest, settings, least, days)
            step(name)
        correlation, credits = _joint(histories, found, settings)
        dynamics = _dynamics(base, surfaces)
        nodes, errors = _nodes(histories, found, dynamics, base.days, settings)
        step("grid")
    return Evidence(found, surfaces, correlation, credits, nodes, errors, dynamics)


def _joint(
    histories: Mapping[str, CalibrationHistory], found: Mapping[str, Calibrated], settings: Settings
) -> tuple[Shrunk | None, dict[tuple[str, str], Credit]]:
    """Correlations and credits over the days that all histories have."""
    if len(histories) < 2:
        return None, {}
    table = common_returns(histories)
    returns = dict(zip(histories, table.T, strict=True))
    credits = {
        (a, b): spread_credit(returns[a], returns[b], (found[a].range.chosen, found[b].range.chosen), settings)
        for a, b in combinations(histories, 2)
    }
    return shrunk_correlation(table), credits


def _nodes(
    histories: Mapping[str, CalibrationHistory],
    found: Mapping[str, Calibrated],
    dynamics: VolDynamics,
    days: tuple[float, ...],
    settings: Settings,
) -> tuple[tuple[GridFit, str], dict[str, NodeErrors]]:
    """Nodes of the underlying that needs most, and their error for every one."""
    terms = {
        name: GridTerms(
            one.range.chosen, histories[name].last_vol, one.vol.up, one.vol.down, dynamics.short_power, days
        )
        for name, one in found.items()
    }
    fits = {name: fit_grid(of, settings.grid_error) for name, of in terms.items()}
    needs = max(fits, key=lambda name: len(fits[name].nodes))
    nodes = np.round(fits[needs].nodes, NODE_DIGITS)
    errors = {
        name: NodeErrors(grid_error(of, nodes), vol_error(of, nodes), worst_book(of, nodes).miss)
        for name, of in terms.items()
    }
    return (fits[needs]._replace(nodes=nodes), needs), errors


def _dynamics(base: grid.Params, surfaces: Mapping[str, SurfaceShocks]) -> VolDynamics:
    """Powers over tenors: those of `common_powers`, a grid has one pair; what chains do not say stays."""
    given = base.dynamics.short_power, base.dynamics.long_power
    fitted = common_powers(fit for one in surfaces.values() for fit in (one.up, one.down))
    short, long = (own if np.isnan(power) else rounded(power) for own, power in zip(given, fitted, strict=True))
    return replace(base.dynamics, short_power=short, long_power=long)


def _grid(base: grid.Params, evidence: Evidence) -> grid.Params:
    figures = {
        name: Figures(one.range.chosen, one.vol.up, one.vol.down, one.tail.used) for name, one in evidence.found.items()
    }
    known = replace(base, dynamics=evidence.dynamics)
    return grid_params(known, figures, evidence.nodes[0].nodes)
