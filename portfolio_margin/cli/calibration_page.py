"""The page of a calibration of a grid for people who decide: parameters with bands, evidence, limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from portfolio_margin.cli.calibrated_vols import vol_columns, vol_lines
from portfolio_margin.cli.calibration_report import AT_VOLS, BETWEEN, Evidence, doubts, figures, joint_told, remarks
from portfolio_margin.cli.calibration_sources import days_told, shared_vols, source_columns
from portfolio_margin.cli.calibration_words import beside_history, counted, threshold_told, why_in_force
from portfolio_margin.cli.output import Column as Shown
from portfolio_margin.cli.output import progress
from portfolio_margin.cli.provenance import file_digests, made_rows
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.calibrated import CalibrationHistory, day_numbers
from portfolio_margin.plots.calibration import (
    correlation_matrix,
    grid_error_curve,
    tail_quantile_plot,
    tenor_shocks,
    threshold_mean_excess,
    threshold_stability,
)
from portfolio_margin.plots.picture import Picture
from portfolio_margin.report import Column, Section, html_page
from pricing.arrays import FloatArray
from scenarios.calibrate.bootstrap import Figure
from scenarios.calibrate.levels import newest
from scenarios.calibrate.moves import horizon_moves, log_returns
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.surfaces import TENORS
from scenarios.calibrate.vol_shocks import at_tenors
from scenarios.families.grid import Params

Histories = Mapping[str, CalibrationHistory]
Made = tuple[Params, Settings, str]
Lines = Sequence[tuple[str, str]]


def write_page(
    path: str, evidence: Evidence, histories: Histories, made: Made, told: Sequence[str], read: Iterable[str | None]
) -> None:
    """Write the page of the running command.

    path  of the page; what was there is replaced
    evidence, histories   of the calibration, by underlying
    made  the grid that was made of the evidence, the settings, and the day from which it is valid
    told  of the files
    read  files of which it was made; None for one that was not given
    """
    with progress("report", 1) as step:
        write_whole(path, page(evidence, histories, made, told, made_rows(file_digests(read))).encode())
        step("done")
    tell(f"wrote {path}")


def page(evidence: Evidence, histories: Histories, made: Made, told: Sequence[str], how: Lines) -> str:
    """The page.

    made  the grid that was made of the evidence, the settings, and the day from which it is valid
    told  of the files
    how   it was made, `provenance.made_rows`
    """
    grid, settings, day = made
    days = {name: f"{history.price.date[0]} to {history.last_day}" for name, history in histories.items()}
    subtitle = (
        f"valid from {day}; histories of {', '.join(f'{name} {span}' for name, span in days.items())}; positions held "
        f"{days_told(settings.horizon_days)}, {100 * settings.confidence:g} % of the moves covered"
    )
    sections = [
        _parameters(evidence, grid, settings),
        Section("Histories", shared_vols(histories), [_columns(source_columns(histories, settings))]),
        *(_tails(evidence, name, history, settings) for name, history in histories.items()),
        _tenors(evidence),
        *_joint(evidence),
        _grid(evidence, settings),
        _limits(evidence, settings, told),
        Section("How this page was made", tables=[_lines(how)]),
        _settings(settings),
    ]
    return html_page("Calibration of a margin grid", subtitle, sections)


def _parameters(evidence: Evidence, grid: Params, settings: Settings) -> Section:
    way, found = (settings.filter, settings.tail), evidence.found
    rows: list[tuple[str, str, float, Figure, float]] = []
    for name, one in found.items():
        rows.append((name, "price range [%]", one.range.chosen, one.range.methods[way], one.range.drawn))
        rows.append((name, "vol up [%]", one.vol.up, one.vol.up_methods[way], one.vol.up_drawn))
        rows.append((name, "vol down [%]", one.vol.down, one.vol.down_methods[way], one.vol.down_drawn))
        rows.append((name, "factor of far moves [%]", grid.tail_factor, one.tail.factor, np.nan))
    table = [
        Column("underlying", [name for name, *_ in rows], is_text=True),
        Column("parameter", [text for _, text, *_ in rows], is_text=True),
        Column("in force", [f"{100 * value:.2f}" for *_, value, _, _ in rows]),
        Column("which counts", [counts for *_, counts in counted(evidence, settings)], is_text=True),
        *_band_columns([figure for *_, figure, _ in rows], settings),
    ]
    if settings.buffer > 0.0:
        cells = ["" if np.isnan(used) else f"{100 * used:.0f}" for *_, used in rows]
        table.append(Column("buffer used up [%]", cells))
    buffer = f"the buffer of {100 * settings.buffer:g} %, " if settings.buffer > 0.0 else ""
    notes = [
        f"In force is what the set says; the estimate is that of the filter and the tail of the settings ({way[0]}, "
        f"{way[1]}), before {buffer}the floor of the unfiltered history and the bounds. Bands are of a block bootstrap "
        "and of histories made of a GARCH, whichever is wider.",
        *why_in_force(settings, bool(evidence.surfaces)),
        f"One grid for all: {len(evidence.nodes[0].nodes)} price nodes, days {', '.join(f'{d:g}' for d in grid.days)}, "
        f"factor of far moves {100 * grid.tail_factor:.2f} %, powers of vol shocks over tenors "
        f"{evidence.dynamics.short_power:g} up to 30 days and {evidence.dynamics.long_power:g} beyond.",
    ]
    behind = remarks(evidence, settings).items()
    stated = [
        Column("parameter", [key for key, _ in behind], True),
        Column("behind it", [text for _, text in behind], True),
    ]
    vols = vol_columns(vol_lines(found, evidence.surfaces, settings), settings)
    vols[0] = replace(vols[0], header="vol shocks at 30 days")
    return Section("Parameters", notes, [table, _columns(vols), stated])


def _columns(shown: Sequence[Shown]) -> list[Column]:
    """A table of the command's own text."""
    return [Column(one.header, one.texts, is_text=not one.right) for one in shown]


def _band_columns(found: Sequence[Figure], settings: Settings) -> list[Column]:
    return [
        Column("estimate", [f"{100 * one.value:.2f}" for one in found]),
        Column(f"{100 * settings.band:g} % band from", [f"{100 * one.low:.2f}" for one in found]),
        Column("to", [f"{100 * one.high:.2f}" for one in found]),
        Column("clusters beyond", ["" if np.isnan(one.clusters) else f"{one.clusters:.0f}" for one in found]),
        Column("", ["doubtful" if one.doubtful else "" for one in found], is_text=True),
    ]


def _tails(evidence: Evidence, name: str, history: CalibrationHistory, settings: Settings) -> Section:
    one = evidence.found[name]
    moves = newest(log_returns(history.price.close), settings, day_numbers(history.price.date))
    sizes = np.abs(horizon_moves(moves, int(settings.horizon_days)))
    notes = [
        f"{len(sizes):,} overlapping moves of {days_told(settings.horizon_days)}, by their size in logarithm, "
        f"unfiltered; the tail is fitted to the largest {100 * settings.tail_share:g} %: shape "
        f"{one.tail.tail.shape:.3f}. The largest fall was {100 * one.tail.largest_fall:.1f} %, the largest rise "
        f"{100 * one.tail.largest_rise:+.1f} % of the price (not in logarithm).",
        f"Price and vol were together inside range and shocks on {joint_told(one)}; the vol index is "
        f"{history.vol.source}.",
        "On the line of the first picture the tail is what moves were like. Mean excess: rising is a Pareto tail, flat "
        "an exponential one.",
        threshold_told(one.stability, one.tail, settings),
    ]
    rows = [row for row in figures(evidence) if row[0] == name]
    table = [
        *(
            Column(text, [str(row[n]) for row in rows], True)
            for n, text in ((1, "parameter"), (2, "filter"), (3, "way"))
        ),
        *_band_columns([row[4] for row in rows], settings),
    ]
    pictures = [
        (
            f"moves of {name} against their Pareto tail",
            tail_quantile_plot(sizes, one.tail.tail, f"{name}: QQ of the tail"),
        ),
        (
            f"mean excess of {name}",
            threshold_mean_excess(one.mean_excess, f"{name}: mean excess", one.tail.tail.threshold),
        ),
        (
            f"threshold stability of {name}",
            threshold_stability(one.stability, f"{name}: Pareto tails over thresholds", one.tail.tail.threshold),
        ),
    ]
    return Section(f"Evidence: {name}", notes, [table], pictures)


def _tenors(evidence: Evidence) -> Section:
    powers, charged, fitted = evidence.dynamics, {}, {}
    for name, one in evidence.found.items():
        for side in ("up", "down"):
            level = getattr(one.vol, side)
            charged[f"{name} {side}"] = at_tenors(level, powers.short_power, powers.long_power, TENORS)
            if name in evidence.surfaces:
                fit = getattr(evidence.surfaces[name], side)
                level, short, long = (one.value for one in (fit.shock, fit.short_power, fit.long_power))
                fitted[f"{name} {side}"] = at_tenors(level, short, long, TENORS)
    tables = [_by_tenor(f"{kind}: underlying and side", shocks) for kind, shocks in
              (("charged", charged), ("fitted to chains", fitted)) if shocks]  # fmt: skip
    note = "Charged: the shock of the 30-day vol times (30 / days)^power, one pair of powers for all. " + (
        "Fitted: what the chains of each say." if fitted else "No chains were given: the powers are not measured here."
    )
    return Section(
        "Vol shocks by tenor", [note], tables, [("vol shocks by tenor", tenor_shocks(TENORS, charged, fitted))]
    )


def _by_tenor(header: str, shocks: Mapping[str, FloatArray]) -> list[Column]:
    return [
        Column(header, list(shocks), is_text=True),
        *(
            Column(f"{days:g} d [%]", [f"{100 * one[n]:.1f}" for one in shocks.values()])
            for n, days in enumerate(TENORS)
        ),
    ]


def _joint(evidence: Evidence) -> list[Section]:
    """Correlations and credits; nothing of a single underlying."""
    if evidence.correlation is None:
        return []
    credits = evidence.credits.values()
    table = [
        Column("pair", [" - ".join(pair) for pair in evidence.credits], is_text=True),
        Column("credit", [f"{one.credit.value:.3f}" for one in credits]),
        Column("band from", [f"{one.credit.low:.3f}" for one in credits]),
        Column("to", [f"{one.credit.high:.3f}" for one in credits]),
        Column("of the worst year", [f"{one.worst:.3f}" for one in credits]),
    ]
    picture: tuple[str, Picture] = (
        "correlations of daily returns", correlation_matrix(list(evidence.found), evidence.correlation)
    )  # fmt: skip
    notes = [
        "Credits are what a spread between two underlyings, with equal ranges on both legs, may save of its ranges: "
        "0.4 is 40 % of both together. They are evidence alone: worst_case grants none, and adds the losses of "
        "underlyings.",
        "What would be granted is the low end of the band, where it says from, and at least 0. Of the worst year "
        "is the credit of the 365 rows in which it was smallest, wherever they begin: where that is below the low end, "
        "that year would not have borne what is granted.",
    ]
    return [Section("Correlation", notes, [table], [picture])]


def _grid(evidence: Evidence, settings: Settings) -> Section:
    fit, of = evidence.nodes
    notes = [
        "The error of a grid is what any book of options and futures may lose on a fine grid beyond what it loses on "
        f"the grid, as a share of the range for one option contract; the curve is that of {of}, which needs most.",
        f"The book that has it: an {fit.worst_kind}.",
        f"What is allowed, {100 * settings.grid_error:g} % by the settings, is the error {AT_VOLS}; {BETWEEN} "
        "it may be more, which is the triangle, and above the line no mistake.",
    ]
    errors = evidence.node_errors
    table = [
        Column("underlying", list(errors), is_text=True),
        Column(f"error {AT_VOLS}, at most [%]", [f"{100 * one.bound:.2f}" for one in errors.values()]),
        Column(f"error {BETWEEN}, at most [%]", [f"{100 * one.with_vols:.2f}" for one in errors.values()]),
        Column("worst book found [%]", [f"{100 * one.found:.2f}" for one in errors.values()]),
    ]
    curve = grid_error_curve(fit, settings.grid_error, f"largest error of a grid for any book, {of}")
    return Section("Error of the grid", notes, [table], [("grid error curve", curve)])


def _limits(evidence: Evidence, settings: Settings, told: Sequence[str]) -> Section:
    notes = [
        "A range covers moves of one underlying over the horizon; liquidity, concentration and how long a position "
        "takes to close in stress are no part of it.",
        f"A quantile at {100 * settings.confidence:g} % rests on few stretches of stress: the bands say how few. What "
        "no history holds, no band does either.",
        "The set is for the day after its histories. Whether margins by such sets hold is what `backtest` is for.",
        *beside_history(evidence, settings),
        *doubts(evidence, settings),
    ]
    return Section("Limits", [*notes, *([f"Told of the files: {'; '.join(told)}."] if told else [])])


def _settings(settings: Settings) -> Section:
    usual = asdict(Settings())
    rows = [
        (key, f"{value}" + ("  (default)" if usual[key] == value else "")) for key, value in asdict(settings).items()
    ]
    return Section("All settings", tables=[_lines(rows)], folded=f"{len(rows)} settings")


def _lines(rows: Lines) -> list[Column]:
    return [Column("", [name for name, _ in rows], is_text=True), Column("", [text for _, text in rows], is_text=True)]
