"""What was tested, on the page of a back-test: parameters in force, bands, settings, how the page was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portfolio_margin.backtest.bands import last_day_bands
from portfolio_margin.backtest.run import BackTest, Tested
from portfolio_margin.backtest.sets import KINDS, Calibration, Dated, Set, Simulated, Venue, as_used
from portfolio_margin.io.parameter_archive import plain_values
from portfolio_margin.plots.backtest_parameters import parameter_paths
from portfolio_margin.report import Column, Section
from scenarios.calibrate.grid_nodes import equal_nodes
from scenarios.calibrate.settings import least_vol_move

# Settings that say how a walk goes, shown whether they are defaults or not.
TELLING = ("price_range", "vol_up", "vol_down", "horizon_days", "least_days", "confidence", "filter", "tail",
           "lookback_days", "window_days", "window", "buffer", "floor", "refit_days", "every_days", "decay", "multiple",
           "layout", "buckets", "tail_factor", "measure", "scaled", "model", "parameter_set")  # fmt: skip
# A number within it of its least stands at it.
ROUNDING = 1e-9
PARAMETERS = {"price_range": "price range [%]", "vol_up": "vol up [%]", "vol_down": "vol down [%]",
              "tail_factor": "factor of far moves [%]"}  # fmt: skip


def parameters(found: BackTest, sets: Mapping[str, Set]) -> Section:
    """In force on the last day, its bands, and the settings that matter, over the path through time."""
    walked = [tested for tested in found.sets if tested.daily is not None]
    notes = [
        "Every set but a fixed one and a file was fitted anew along the history with what was known on the day; a rule "
        "whose parameters change when later days are cut off is refused before anything is computed.",
        "First what is in force on the last day; then the settings that differ from the defaults of their kind, and "
        "those that say how the walk goes. All the others stand at the end.",
    ]
    tables: list[Sequence[Column]] = [_in_force(found, walked, sets)] if walked else []
    bands = _bands(found, sets)
    if bands:
        tables.append(bands)
        notes += [
            "Bands are those of `calibrate`: of the estimate of the filter and tail of the settings on the last day, "
            "before buffer, floor and bounds. Doubtful: the moves beyond it come in so few clusters that the band may "
            "be too narrow. Of other kinds of sets no band is estimated. Which counts says what made the number in "
            "force: calculated, which is the estimate after buffer and floor of the vols; the floor of the price "
            "range; or the least that a setting asks for, whatever the estimate, with the share of the days walked on "
            "which it was that.",
            *(_least(name, chosen, found) for name, chosen in sets.items() if isinstance(chosen, Calibration)),
        ]
    tables.append(_settings(_telling(found, sets)))
    if any(tested.bare is not None for tested in walked):
        notes.append(
            "The dashed line of a picture is the same rule without its tools against procyclicality: of a calibrated "
            "set without buffer, floor and lower bounds, of the rule of `dynamic` without buffer, weight of stressed "
            "days and floor."
        )
    pictures = [("price ranges through time, a panel a set", parameter_paths(found))] if walked else []
    return Section("Parameters", notes, tables, pictures)


def all_settings(identity: Mapping[str, Any]) -> Section:
    """Every setting of every set, behind a click."""
    rows = [(name, key, str(value)) for name, chosen in identity["sets"].items() for key, value in _flat(chosen)]
    return Section(
        "All settings", tables=[_settings(rows)], folded=f"{len(rows)} settings of {len(identity['sets'])} sets"
    )


def reproduction(identity: Mapping[str, Any], made: Sequence[tuple[str, str]]) -> Section:
    """What makes the page again."""
    rows = [
        *made,
        ("seed of the random books", str(identity["seed"])),
        ("days a year, rows a day", f"{identity['days_per_year']:g}, {identity['steps_per_day']}"),
    ]
    note = "The same version with the same files makes every number of this page again, on any number of cores."
    table = [
        Column("", [name for name, _ in rows], is_text=True),
        Column("", [value for _, value in rows], is_text=True),
    ]
    return Section("How this page was made", [note], [table])


def _in_force(found: BackTest, walked: Sequence[Tested], sets: Mapping[str, Set]) -> list[Column]:
    rows = [(tested, tested.daily, sets[tested.name]) for tested in walked]
    moved = [
        Column(text, [f"{100 * getattr(path, field)[-1]:.2f}" for _, path, _ in rows if path is not None])
        for field, text in list(PARAMETERS.items())[:3]
    ]
    return [
        Column("set", [tested.name for tested, *_ in rows], is_text=True),
        *moved,
        Column("nodes", [_nodes(chosen) for *_, chosen in rows], is_text=True),
        Column("factor of far moves", [_factor(path, chosen) for _, path, chosen in rows]),
        Column("days that pass", [_days(found, path) for _, path, _ in rows]),
    ]


def _nodes(chosen: Set) -> str:
    """Places of the price moves, in words."""
    if isinstance(chosen, Simulated | Venue):
        return "of its model"
    if isinstance(chosen, Calibration):
        count = len(equal_nodes(chosen.settings.grid_error))
    elif isinstance(chosen, Dated):
        nodes = chosen.params.price_nodes
        gaps = np.diff(nodes)
        if len(nodes) and not np.allclose(gaps, gaps[0]):
            return f"{len(nodes)}, at most {100.0 * gaps.max():.3g} % of the range apart"
        count = len(nodes) or 2 * chosen.params.buckets + 1
    elif chosen.scenarios.layout == "span":
        return "16 scenarios of SPAN"
    else:
        count = 2 * chosen.scenarios.buckets + 1
    return f"{count}, {200.0 / (count - 1):.3g} % of the range apart"


def _factor(path: Any, chosen: Set) -> str:
    if isinstance(chosen, Calibration):
        return f"{path.tail_factor[-1]:.3f}"
    if isinstance(chosen, Dated):
        return f"{chosen.params.tail_factor:.3f}" if len(chosen.params.tail_moves) else "none"
    if isinstance(chosen, Simulated | Venue) or chosen.scenarios.layout == "span":
        return ""
    return f"{chosen.scenarios.tail_factor:.3f}" if chosen.scenarios.tails else "none"


def _days(found: BackTest, path: Any) -> str:
    passed = float(path.days[-1])
    return f"{found.plan.horizon_days if np.isnan(passed) else passed:g}"


def _bands(found: BackTest, sets: Mapping[str, Set]) -> list[Column]:
    """Estimate and band of every parameter of the calibrated sets; () where there is none."""
    rows = [
        (name, field, figure, *_counts(found, name, chosen, field))
        for name, chosen in sets.items()
        if isinstance(chosen, Calibration)
        for field, figure in last_day_bands(found, name, chosen).items()
    ]
    if not rows:
        return []
    shares = {next(s.settings.band for s in sets.values() if isinstance(s, Calibration))}
    band = f"{100 * shares.pop():g} % band"
    return [
        Column("set", [name for name, *_ in rows], is_text=True),
        Column("parameter", [PARAMETERS[row[1]] for row in rows], is_text=True),
        Column("estimate", [f"{100 * row[2].value:.2f}" for row in rows]),
        Column(f"{band} from", [f"{100 * row[2].low:.2f}" for row in rows]),
        Column("to", [f"{100 * row[2].high:.2f}" for row in rows]),
        Column("in force", [f"{100 * row[3]:.2f}" for row in rows]),
        Column("which counts", [row[4] for row in rows], is_text=True),
        Column("at its least [% of days]", [f"{100 * row[5]:.1f}" for row in rows]),
        Column("clusters beyond", ["" if np.isnan(row[2].clusters) else f"{row[2].clusters:.0f}" for row in rows]),
        Column("", ["doubtful" if row[2].doubtful else "" for row in rows], is_text=True),
    ]


def _leasts(found: BackTest, chosen: Calibration) -> dict[str, float]:
    """The least of every parameter over the horizon of the back-test, relative."""
    settings = chosen.used(found.plan.least_days, found.plan.horizon_days).settings
    low = least_vol_move(settings)
    values = (settings.range_low, np.expm1(low), -np.expm1(-low), settings.tail_low)
    return dict(zip(PARAMETERS, map(float, values), strict=True))


def _counts(found: BackTest, name: str, chosen: Calibration, field: str) -> tuple[float, str, float]:
    """A parameter in force on the last day, what made it, and the share of the days walked on which its least did."""
    path = next(tested.daily for tested in found.sets if tested.name == name)
    assert path is not None  # a calibrated set has one
    least = getattr(path, field) <= _leasts(found, chosen)[field] * (1.0 + ROUNDING)
    walked = (found.days >= found.rows[0]) & (found.days <= found.rows[-1])
    floor = field == "price_range" and bool(path.at_floor[-1])
    counts = "least" if least[-1] else "floor" if floor else "calculated"
    return float(getattr(path, field)[-1]), counts, float(np.mean(least[walked]))


def _least(name: str, chosen: Calibration, found: BackTest) -> str:
    """Where the least of a calibrated set comes from."""
    least, usual = _leasts(found, chosen), _leasts(found, Calibration())
    vols = "those of the VIX of 1990 to 2019" if least["vol_up"] == usual["vol_up"] else "of the settings"
    tail = least["tail_factor"] == usual["tail_factor"]
    source = "2/3, of coins before 2020 (Begusic and others 2018)" if tail else "of the settings"
    return (
        f"{name}: the least vol shocks are {100 * least['vol_up']:.2f} % up and {100 * least['vol_down']:.2f} % down, "
        f"{vols}; the least factor of far moves is {least['tail_factor']:.3f}, {source}."
    )


def _telling(found: BackTest, sets: Mapping[str, Set]) -> list[tuple[str, str, str]]:
    """Set, name, value of the settings that differ from the defaults of their kind, or tell how the walk goes."""
    rows = []
    for name, chosen in sets.items():
        used = as_used(chosen, found.plan.least_days, found.plan.horizon_days)
        usual = dict(_flat(plain_values(type(chosen)())))
        kind = next(word for word, made in KINDS.items() if isinstance(chosen, made))
        rows.append((name, "kind", kind))
        for key, value in _flat(plain_values(used)):
            differs = key not in usual or usual[key] != value
            if differs or key.rpartition(".")[2] in TELLING:
                rows.append((name, key, f"{value}" + ("" if differs else "  (default)")))
    return rows


def _settings(rows: Sequence[tuple[str, str, str]]) -> list[Column]:
    headers = ("set", "setting", "value")
    return [Column(header, [row[n] for row in rows], is_text=True) for n, header in enumerate(headers)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
