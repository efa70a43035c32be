"""What `calibrate --model worst_case` shows: tables for people, rows, a document, remarks in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.cli.calibrated_vols import (
    VOL_TITLE,
    factor_counts,
    range_counts,
    range_cut,
    vol_columns,
    vol_lines,
)
from portfolio_margin.cli.calibration_sources import days_told
from portfolio_margin.cli.output import Column, show_table
from scenarios.calibrate.bootstrap import LEAST_CLUSTERS, Figure
from scenarios.calibrate.grid_nodes import GridFit
from scenarios.calibrate.joint_moves import Credit, Shrunk
from scenarios.calibrate.settings import Settings, least_vol_move
from scenarios.calibrate.surface_shocks import SurfaceShocks
from scenarios.calibrate.surfaces import TENORS
from scenarios.calibrate.underlying import Calibrated
from scenarios.calibrate.vol_shocks import at_tenors
from scenarios.calibrate.volatility import degenerate
from scenarios.shocks import VolDynamics

FAMILY = "grid"
Methods = Mapping[tuple[str, str], Figure]
# The two errors of a grid, named alike wherever they are shown.
AT_VOLS, BETWEEN = "at the vols of the grid", "with vols between those of the grid"


class NodeErrors(NamedTuple):
    """The error of the nodes for one underlying, shares of its range for one option contract in all.

    bound      what no book of options and futures exceeds at the vols of the grid
    with_vols  the same at vols between them as well
    found      of the worst book that a search over all books of a strip finds, between vols as well
    """

    bound: float
    with_vols: float
    found: float


class Evidence(NamedTuple):
    """All that a set of the grid is made of.

    found        by underlying
    surfaces     by underlying, where there were chains
    correlation  of the returns of all underlyings, None of a single one
    credits      by pair
    nodes        the error curve of the underlying that needs most, and its name
    node_errors  error of the nodes chosen, by underlying
    dynamics     of vols: powers of shocks over tenors, one pair for all underlyings and both sides
    """

    found: Mapping[str, Calibrated]
    surfaces: Mapping[str, SurfaceShocks]
    correlation: Shrunk | None
    credits: Mapping[tuple[str, str], Credit]
    nodes: tuple[GridFit, str]
    node_errors: Mapping[str, NodeErrors]
    dynamics: VolDynamics


def remarks(evidence: Evidence, settings: Settings) -> dict[str, str]:
    """What stands behind the numbers of the file: figure and band of the method of the settings, and the floor."""
    said = {}
    way = (settings.filter, settings.tail)
    for name, one in evidence.found.items():
        ranged = one.range
        cut = f", doubtful: {words}" if (words := range_cut(one, settings)) else ""
        said[f"{FAMILY}.price_range.{name}"] = (
            f"{'/'.join(way)} {_band(ranged.methods[way])}{_buffer(ranged.drawn, settings)}, "
            f"floor {100 * ranged.floor:.2f} %{cut}; what counts: {range_counts(one, settings)}; "
            f"price and vol together inside {joint_told(one)}"
        )
        vol = one.vol
        for side, methods, used in (("up", vol.up_methods, vol.up_drawn), ("down", vol.down_methods, vol.down_drawn)):
            said[f"{FAMILY}.vol_{side}.{name}"] = (
                f"{'/'.join(way)} {_band(methods[way])}{_buffer(used, settings)}{_floors(methods, settings, side)}"
                f"{_chains(evidence, name, side)}"
            )
    for line in vol_lines(evidence.found, evidence.surfaces, settings):
        said[f"{FAMILY}.vol_{line.side}.{line.underlying}"] += f"; what counts: {line.counts}"
    most = max(evidence.found.values(), key=lambda one: (one.tail.used, one.tail.factor.value))
    factor = most.tail.factor
    said[f"{FAMILY}.tail_factor"] = (
        f"fitted {100 * factor.value:.2f} %, band {100 * factor.low:.2f} to {100 * factor.high:.2f} %, "
        f"least {100 * settings.tail_low:.2f} %; what counts: {factor_counts(most, settings)}"
    )
    errors = ", ".join(
        f"{name} {AT_VOLS} {100 * one.bound:.2f} %, {BETWEEN} {100 * one.with_vols:.2f} %, "
        f"worst book found {100 * one.found:.2f} %"
        for name, one in evidence.node_errors.items()
    )
    said[f"{FAMILY}.buckets"] = "of no effect: price_nodes are what counts"
    said[f"{FAMILY}.price_nodes"] = (
        f"places of the price moves, error of any book, shares of the range a contract, at most {errors}"
    )
    for field, rule in (("short_power", "largest"), ("long_power", "smallest")):
        fits = ", ".join(
            f"{name} {side} {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
            for name, surface in evidence.surfaces.items()
            for side, figure in (("up", getattr(surface.up, field)), ("down", getattr(surface.down, field)))
        )
        said[f"{FAMILY}.dynamics.{field}"] = (
            f"the {rule}, within 0 to 1, so that no shock is below its fit: {fits}"
            if fits
            else "not measured: no chains were given"
        )
    return said


def joint_told(one: Calibrated) -> str:
    """On how many horizons price and vol were together inside what is charged, by the history that it is made of."""
    how = one.leverage
    return f"{100 * how.joint:.2f} % of {how.horizons:,} horizons, in sample"


def _band(figure: Figure) -> str:
    few = f", doubtful: {figure.clusters:.0f} clusters beyond" if figure.doubtful else ""
    return (
        f"{100 * figure.value:.2f} %, band {100 * figure.low:.2f} to {100 * figure.high:.2f} %, "
        f"blocks of {figure.block:.0f}{few}"
    )


def _floors(methods: Methods, settings: Settings, side: str) -> str:
    """What a vol shock is never below: the unfiltered quantile, where the settings have a floor, and the least."""
    least = least_vol_move(settings)
    lowest = np.expm1(least) if side == "up" else -np.expm1(-least)
    floor = f", floor {100 * methods['none', 'sample'].value:.2f} %" if settings.floor == "history" else ""
    return f"{floor}, least {100 * lowest:.2f} %"


def _chains(evidence: Evidence, name: str, side: str) -> str:
    """The level that chains say at 30 days; the larger of it and what the index says counts."""
    if name not in evidence.surfaces:
        return ""
    shock = getattr(evidence.surfaces[name], side).shock
    return f"; of chains {100 * shock.value:.2f} %, band {100 * shock.low:.2f} to {100 * shock.high:.2f} %"


def doubts(evidence: Evidence, settings: Settings) -> list[str]:
    """Bands of the settings' own figures that rest on too few moves to be relied on, and filters that are none, one
    sentence each."""
    way, said = (settings.filter, settings.tail), []
    for name, one in evidence.found.items():
        of_each = {"price_range": one.range.methods, "vol_up": one.vol.up_methods, "vol_down": one.vol.down_methods}
        for parameter, methods in of_each.items():
            if methods[way].doubtful:
                said.append(
                    f"{name}, {parameter}: the moves beyond it come in {methods[way].clusters:.0f} clusters; of fewer "
                    f"than {LEAST_CLUSTERS} a band may be too narrow"
                )
        if cut := range_cut(one, settings):
            said.append(f"{name}, price_range: {cut}, so that it may cover fewer than {100 * settings.confidence:g} %")
        if at_bound := degenerate(one.garch):
            said.append(f"{name}, garch at a bound, {at_bound}; figures behind it say little: is a jump no move?")
    for name, surface in evidence.surfaces.items():
        beyond = surface.up.moves * (1.0 - settings.confidence)
        if beyond < LEAST_CLUSTERS:
            said.append(
                f"{name}, vols over tenors: of {surface.up.moves} horizons {beyond:.1f} are beyond "
                f"{100 * settings.confidence:g} %; their shocks are about the largest moves there were"
            )
    return said


def _buffer(used: float, settings: Settings) -> str:
    if settings.buffer == 0.0:
        return ""
    return f", buffer {100 * settings.buffer:g} %, of which {100 * used:.0f} % used up"


def document(evidence: Evidence, settings: Settings) -> dict[str, Any]:
    """A calibration as JSON: every figure with its band."""
    fit, of = evidence.nodes
    lines = vol_lines(evidence.found, evidence.surfaces, settings)
    counted = {(line.underlying, line.side): {"least": line.least, "counts": line.counts} for line in lines}
    correlation = evidence.correlation
    return {
        "underlyings": {
            name: _underlying(one, counted[name, "up"], counted[name, "down"]) for name, one in evidence.found.items()
        },
        "surfaces": {name: _plain(one) for name, one in evidence.surfaces.items()},
        "correlation": None if correlation is None else _plain(correlation),
        "credits": [{"pair": list(pair), **_plain(credit)} for pair, credit in evidence.credits.items()],
        "grid": {"of": of, **_plain(fit), "errors": _plain(evidence.node_errors)},
    }


def _underlying(one: Calibrated, of_up: Mapping[str, Any], of_down: Mapping[str, Any]) -> dict[str, Any]:
    def methods(found: Methods) -> list[dict[str, Any]]:
        return [{"filter": name, "way": way, **figure._asdict()} for (name, way), figure in found.items()]

    ranged, vol = one.range, one.vol
    return {
        "price_range": {**ranged._replace(methods={})._asdict(), "methods": methods(ranged.methods)},
        "vol_up": {"chosen": vol.up, **of_up, "drawn": vol.up_drawn, "methods": methods(vol.up_methods)},
        "vol_down": {"chosen": vol.down, **of_down, "drawn": vol.down_drawn, "methods": methods(vol.down_methods)},
        "leverage": _plain(one.leverage),
        "tail": _plain(one.tail),
        "mean_excess": _plain(one.mean_excess),
        "stability": _plain(one.stability),
        "garch": {**_plain(one.garch), "bands": {name: f._asdict() for name, f in one.garch_bands.items()}},
    }


def _plain(value: Any) -> Any:
    """Named tuples as mappings, arrays as lists."""
    if hasattr(value, "_asdict") or isinstance(value, Mapping):
        named = value if isinstance(value, Mapping) else value._asdict()
        return {name: _plain(item) for name, item in named.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def figures(evidence: Evidence) -> list[tuple[str, str, str, str, Figure]]:
    """Underlying, parameter, filter, way, figure: one line each."""
    rows = []
    for name, one in evidence.found.items():
        parameters = {"price_range": one.range.methods, "vol_up": one.vol.up_methods, "vol_down": one.vol.down_methods}
        for parameter, methods in parameters.items():
            rows += [(name, parameter, used, way, figure) for (used, way), figure in methods.items()]
    return rows


def columns(evidence: Evidence) -> dict[str, Any]:
    """One row a figure."""
    rows = figures(evidence)
    names = ("underlying", "parameter", "filter", "way")
    texts = {name: np.array([row[n] for row in rows], dtype=np.str_) for n, name in enumerate(names)}
    return {**texts, **{name: np.array([getattr(row[4], name) for row in rows]) for name in Figure._fields}}


def show(evidence: Evidence, settings: Settings, title: str, margins: str) -> None:
    """Tables: every figure by every method, over tenors, credits, the error curve of the grid, and what was chosen.

    title, margins   stand over and under the table of what was chosen
    """
    rows = figures(evidence)
    texts = [
        Column(name, [str(row[n]) for row in rows], right=False)
        for n, name in enumerate(("underlying", "parameter", "filter", "way"))
    ]
    numbers = [
        Column(f"{name} [%]", [f"{100 * getattr(row[4], name):.2f}" for row in rows])
        for name in ("value", "low", "high")
    ]
    counts = [
        Column(text, ["" if np.isnan(n := getattr(row[4], name)) else f"{n:.0f}" for row in rows])
        for name, text in (("block", "block [moves]"), ("clusters", "clusters beyond"))
    ]
    share = f"{100 * settings.band:g} %"
    show_table(
        f"moves over {days_told(settings.horizon_days)} at {100 * settings.confidence:g} %, bands of {share}",
        [*texts, *numbers, *counts],
    )
    _show_thresholds(evidence)
    _show_surfaces(evidence)
    _show_tenors(evidence)
    _show_credits(evidence)
    fit, of = evidence.nodes
    buckets = [
        Column("nodes a side", [f"{side:g}" for side in fit.side]),
        Column("equal buckets [%]", [f"{100 * error:.2f}" for error in fit.equal]),
    ]
    if np.any(fit.fitted < fit.equal):
        buckets.append(Column("fitted nodes [%]", [f"{100 * error:.2f}" for error in fit.fitted]))
    show_table(
        f"largest error of a grid for any book of options and futures, shares of the range of {of} a contract, "
        f"{AT_VOLS}; {BETWEEN} {100 * fit.vol_error:.2f} % at the nodes chosen",
        buckets,
    )
    _show_buffers(evidence, settings)
    show_table(VOL_TITLE, vol_columns(vol_lines(evidence.found, evidence.surfaces, settings), settings))
    all_of = list(evidence.found.values())
    show_table(
        title,
        [
            Column("underlying", list(evidence.found), right=False),
            Column("price range [%]", [f"{100 * one.range.chosen:.2f}" for one in all_of]),
            Column("floor [%]", [f"{100 * one.range.floor:.2f}" for one in all_of]),
            Column("range by", [range_counts(one, settings) for one in all_of], right=False),
            Column("vol up [%]", [f"{100 * one.vol.up:.2f}" for one in all_of]),
            Column("vol down [%]", [f"{100 * one.vol.down:.2f}" for one in all_of]),
            Column("tail factor [%]", [f"{100 * one.tail.used:.2f}" for one in all_of]),
            Column("tail factor by", [factor_counts(one, settings) for one in all_of], right=False),
            Column("tail shape", [f"{one.tail.tail.shape:.3f}" for one in all_of]),
            Column("largest fall [%]", [f"{100 * one.tail.largest_fall:.1f}" for one in all_of]),
            Column("largest rise [%]", [f"{100 * one.tail.largest_rise:+.1f}" for one in all_of]),
            Column("price and vol inside [%]", [f"{100 * one.leverage.joint:.2f}" for one in all_of]),
            Column("of horizons", [f"{one.leverage.horizons:,}" for one in all_of]),
            Column(f"grid error {AT_VOLS} [%]", [f"{100 * one.bound:.2f}" for one in evidence.node_errors.values()]),
            Column(
                f"grid error {BETWEEN} [%]", [f"{100 * one.with_vols:.2f}" for one in evidence.node_errors.values()]
            ),
            Column("worst book [%]", [f"{100 * one.found:.2f}" for one in evidence.node_errors.values()]),
        ],
        margins,
    )


def _show_buffers(evidence: Evidence, settings: Settings) -> None:
    if settings.buffer == 0.0:
        return
    all_of = list(evidence.found.values())
    show_table(
        f"buffer of {100 * settings.buffer:g} %, whole again {settings.restore_days:g} days after it was used up",
        [
            Column("underlying", list(evidence.found), right=False),
            Column("range calculated [%]", [f"{100 * one.range.current:.2f}" for one in all_of]),
            Column("with its buffer [%]", [f"{100 * (1 + settings.buffer) * one.range.current:.2f}" for one in all_of]),
            Column("in force [%]", [f"{100 * one.range.chosen:.2f}" for one in all_of]),
            Column("used up [%]", [f"{100 * one.range.drawn:.0f}" for one in all_of]),
            Column("of vol up [%]", [f"{100 * one.vol.up_drawn:.0f}" for one in all_of]),
            Column("of vol down [%]", [f"{100 * one.vol.down_drawn:.0f}" for one in all_of]),
        ],
    )


def _show_thresholds(evidence: Evidence) -> None:
    rows = [(name, one, n) for name, one in evidence.found.items() for n in range(len(one.stability.threshold))]
    show_table(
        "Pareto tails of the moves over thresholds, unfiltered and in logarithm",
        [
            Column("underlying", [name for name, *_ in rows], right=False),
            Column("threshold [% in logarithm]", [f"{100 * one.stability.threshold[n]:.2f}" for _, one, n in rows]),
            Column("moves above", [f"{one.stability.exceedances[n]:.0f}" for _, one, n in rows]),
            Column("mean excess [% in logarithm]", [f"{100 * one.mean_excess.mean[n]:.2f}" for _, one, n in rows]),
            Column("error", [f"{100 * one.mean_excess.error[n]:.2f}" for _, one, n in rows]),
            Column("shape", [f"{one.stability.shape[n]:.3f}" for _, one, n in rows]),
            Column("error", [f"{one.stability.shape_error[n]:.3f}" for _, one, n in rows]),
            Column("quantile [% in logarithm]", [f"{100 * one.stability.quantile[n]:.2f}" for _, one, n in rows]),
        ],
    )


def _show_surfaces(evidence: Evidence) -> None:
    sides = [(n, side, getattr(s, side), s) for n, s in evidence.surfaces.items() for side in ("up", "down")]
    if not sides:
        return
    show_table(
        "vols over tenors, a (30 / days)^p",
        [
            Column("underlying", [name for name, *_ in sides], right=False),
            Column("side", [side for _, side, *_ in sides], right=False),
            *(
                Column(field.replace("_", " "), [_short(getattr(fit, field)) for *_, fit, _ in sides])
                for field in ("shock", "short_power", "long_power")
            ),
            Column("worst misfit [%]", [f"{100 * fit.error:.1f}" for *_, fit, _ in sides]),
            Column("level, slope [% of variance]", [_shares(s.term.share) for *_, s in sides]),
            Column("smile level, skew [%]", [_shares(s.smile.share) for *_, s in sides]),
            Column("rate [points a year]", [f"{100 * s.basis.rate:.2f}" for *_, s in sides]),
        ],
    )


def _show_tenors(evidence: Evidence) -> None:
    """Vol shocks that are charged, with the common powers, beside those fitted to the underlying and the side."""
    if not evidence.surfaces:
        return
    rows, powers = [(name, side) for name in evidence.surfaces for side in ("up", "down")], evidence.dynamics
    shown = [Column(text, [row[n] for row in rows], right=False) for n, text in enumerate(("underlying", "side"))]
    for days in TENORS:
        cells = []
        for name, side in rows:
            fit, level = getattr(evidence.surfaces[name], side), getattr(evidence.found[name].vol, side)
            charged = float(at_tenors(level, powers.short_power, powers.long_power, days))
            fitted = float(at_tenors(fit.shock.value, fit.short_power.value, fit.long_power.value, days))
            cells.append(f"{100 * charged:.1f} / {100 * fitted:.1f}")
        shown.append(Column(f"{days:g} d", cells))
    show_table("vol shocks over tenors, charged / fitted to chains [%]", shown)


def _short(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _shares(share: Any) -> str:
    return ", ".join(f"{100 * x:.1f}" for x in share[:2])


def _show_credits(evidence: Evidence) -> None:
    if not evidence.credits or evidence.correlation is None:
        return
    names = list(evidence.found)
    at = [(names.index(a), names.index(b)) for a, b in evidence.credits]
    show_table(
        "spreads between underlyings with equal ranges on both legs",
        [
            Column("pair", [" - ".join(pair) for pair in evidence.credits], right=False),
            Column("correlation", [f"{evidence.correlation.sample[pair]:.3f}" for pair in at]),
            Column("shrunk", [f"{evidence.correlation.correlation[pair]:.3f}" for pair in at]),
            Column("credit", [_short(credit.credit) for credit in evidence.credits.values()]),
            Column("of the worst year", [f"{credit.worst:.3f}" for credit in evidence.credits.values()]),
        ],
    )
