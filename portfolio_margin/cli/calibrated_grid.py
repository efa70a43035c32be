"""Parameters of worst_case and of its grid from histories, for the command `calibrate`; docs/calibration.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from portfolio_margin.cli.calibrated_dynamic import column_names, common_day
from portfolio_margin.cli.output import Column, Output, deliver, progress, show_table
from portfolio_margin.cli.parameters import read_parameters
from portfolio_margin.cli.tell import tell
from portfolio_margin.dynamic.rule import rounded
from portfolio_margin.io.calibrated import CalibrationHistory, findings, read_calibration_history
from portfolio_margin.io.parameter_archive import plain_values
from portfolio_margin.io.parameters import Layer, build
from portfolio_margin.io.params_file import write_params_file
from portfolio_margin.models import worst_case
from pricing.errors import ConfigError
from scenarios.calibrate.bootstrap import Figure
from scenarios.calibrate.moves import log_returns
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.underlying import Calibrated, calibrate_underlying
from scenarios.families import grid

MODEL, FAMILY, SETTINGS = "worst_case", "grid", "calibration"
TABLES = (SETTINGS, MODEL, FAMILY)
MADE = ("price_range", "vol_up", "vol_down", "tail_factor", "price_nodes")
# Of the worst loss: what covers it keeps an account; a quarter more, which stress may use up, opens one.
FACTORS = {"initial_factor": 1.25, "maintenance_factor": 1.0}
SOURCE = "portfolio-margin calibrate"


def run(prices: Mapping[str, str], vols: Mapping[str, str], output: Output, given: Mapping[str, Any]) -> None:
    """Make the set for the day after the histories; write it and show it.

    prices, vols   files by name of the underlying
    given          options of the command
    """
    tables = read_parameters(given["params_file"], TABLES)
    settings, base = settings_of(tables), _base(tables)
    histories = read_histories(prices, vols, given)
    last_day = common_day({name: history.last_day for name, history in histories.items()})
    for line in findings(histories):
        tell(line)
    farthest = max((abs(move) for move in base.tail_moves), default=1.0)
    found: dict[str, Calibrated] = {}
    with progress("calibrating", len(histories)) as step:
        for name, history in histories.items():
            found[name] = _calibrated(history, farthest, settings)
            step(name)
    params = {MODEL: build(worst_case.Params, Layer("", FACTORS), Layer(f"[{MODEL}]", tables.get(MODEL, {}))),
              FAMILY: _grid(base, found)}  # fmt: skip
    day = str(np.datetime64(last_day) + 1)
    if given["set_file"]:
        note = f"settings {plain_values(settings)}; histories to {last_day}: " + ", ".join(
            f"{name}={path}" for name, path in (*prices.items(), *vols.items())
        )
        write_params_file(given["set_file"], day, {"source": SOURCE, "note": note}, params, _remarks(found, settings))
        tell(f"written: {given['set_file']}")
    identity = {"model": MODEL, "valid_from": day, "settings": plain_values(settings)}
    document = {
        **identity,
        "params": {name: plain_values(value) for name, value in params.items()},
        "evidence": {name: _evidence(one) for name, one in found.items()},
        "findings": findings(histories),
    }
    if not deliver(output, _columns(found), identity, lambda: document):
        _show(found, settings, day)


def settings_of(tables: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings of a parameter file, with defaults for the rest."""
    settings: Settings = build(Settings, Layer(f"[{SETTINGS}]", tables.get(SETTINGS, {})))
    return settings


def read_histories(
    prices: Mapping[str, str], vols: Mapping[str, str], given: Mapping[str, Any]
) -> dict[str, CalibrationHistory]:
    """The histories of every underlying, checked."""
    # Volumes do not count here, so that the default of three columns is fine and two are enough.
    count = 3 if given["price_columns"].count(",") == 2 else 2
    of_price, of_vol = column_names(given, "price_columns", count), column_names(given, "vol_columns", 2)
    return {
        name: read_calibration_history(
            path,
            vols[name],
            price_columns=(of_price[0], of_price[1]),
            vol_columns=(of_vol[0], of_vol[1]),
            vol_unit=given["vol_unit"],
            until=given["until"],
            accept=given["accept"],
        )
        for name, path in prices.items()
    }


def _base(tables: Mapping[str, Mapping[str, Any]]) -> grid.Params:
    """What of the grid is not calibrated. ConfigError where something is given that is."""
    stated = [name for name in MADE if name in tables.get(FAMILY, {})]
    if stated:
        raise ConfigError(f"[{FAMILY}] {', '.join(stated)}: calibrated from the histories; leave it out")
    base: grid.Params = build(
        grid.Params,
        Layer("", {"dynamics": {"minimum_vol_up": 0.0}}),
        Layer(f"[{FAMILY}]", tables.get(FAMILY, {})),
    )
    return base


def _calibrated(history: CalibrationHistory, farthest: float, settings: Settings) -> Calibrated:
    price, vol, _ = history.joint_returns()
    return calibrate_underlying(
        log_returns(history.price.close), log_returns(history.vol.close), (price, vol), farthest, settings
    )


def _grid(base: grid.Params, found: Mapping[str, Calibrated]) -> grid.Params:
    # The law is one for all underlyings: the largest factor, which is the larger requirement.
    factor = max(one.tail.used for one in found.values())
    values = {
        "price_range": {name: rounded(one.range.chosen) for name, one in found.items()},
        "vol_up": {name: rounded(one.vol.up) for name, one in found.items()},
        "vol_down": {name: rounded(one.vol.down) for name, one in found.items()},
        "tail_factor": rounded(factor),
    }
    made: grid.Params = build(grid.Params, Layer("", plain_values(base)), Layer("", values))
    return made


def _remarks(found: Mapping[str, Calibrated], settings: Settings) -> dict[str, str]:
    """What stands behind the numbers of the file: figure and band of the method of the settings, and the floor."""
    said = {}
    way = (settings.filter, settings.tail)
    for name, one in found.items():
        ranged = one.range
        said[f"{FAMILY}.price_range.{name}"] = (
            f"{'/'.join(way)} {_band(ranged.methods[way])}, floor {100 * ranged.floor:.2f} %"
        )
        said[f"{FAMILY}.vol_up.{name}"] = f"{'/'.join(way)} {_band(one.vol.up_methods[way])}"
        said[f"{FAMILY}.vol_down.{name}"] = f"{'/'.join(way)} {_band(one.vol.down_methods[way])}"
    factor = max(found.values(), key=lambda one: one.tail.used).tail.factor
    said[f"{FAMILY}.tail_factor"] = f"band {factor.low:.3f} to {factor.high:.3f}"
    return said


def _band(figure: Figure) -> str:
    return f"{100 * figure.value:.2f} %, band {100 * figure.low:.2f} to {100 * figure.high:.2f} %"


def _evidence(one: Calibrated) -> dict[str, Any]:
    """A calibration as JSON: every figure with its band."""

    def methods(found: Mapping[tuple[str, str], Figure]) -> list[dict[str, Any]]:
        return [{"filter": name, "way": way, **figure._asdict()} for (name, way), figure in found.items()]

    ranged, vol = one.range, one.vol
    return {
        "price_range": {**ranged._replace(methods={})._asdict(), "methods": methods(ranged.methods)},
        "vol_up": {"chosen": vol.up, "methods": methods(vol.up_methods)},
        "vol_down": {"chosen": vol.down, "methods": methods(vol.down_methods)},
        "leverage": one.leverage._asdict(),
        "tail": {**one.tail._asdict(), "factor": one.tail.factor._asdict(), "tail": one.tail.tail._asdict()},
        "garch": {**one.garch._asdict(), "bands": {name: f._asdict() for name, f in one.garch_bands.items()}},
    }


def _figures(found: Mapping[str, Calibrated]) -> list[tuple[str, str, str, str, Figure]]:
    """Underlying, parameter, filter, way, figure: one line each."""
    rows = []
    for name, one in found.items():
        of_parameters = {
            "price_range": one.range.methods,
            "vol_up": one.vol.up_methods,
            "vol_down": one.vol.down_methods,
        }
        for parameter, methods in of_parameters.items():
            rows += [(name, parameter, used, way, figure) for (used, way), figure in methods.items()]
    return rows


def _columns(found: Mapping[str, Calibrated]) -> dict[str, Any]:
    """One row a figure."""
    rows = _figures(found)
    texts = {key: np.array([row[n] for row in rows], dtype=np.str_)
             for n, key in enumerate(("underlying", "parameter", "filter", "way"))}  # fmt: skip
    return {**texts, **{key: np.array([getattr(row[4], key) for row in rows]) for key in Figure._fields}}


def _show(found: Mapping[str, Calibrated], settings: Settings, day: str) -> None:
    rows = _figures(found)
    share = f"{100 * settings.band:g} %"
    show_table(
        f"moves over {settings.horizon_days:g} days at {100 * settings.confidence:g} %, bands of {share}",
        [
            *(Column(title, [str(row[n]) for row in rows], right=False)
              for n, title in enumerate(("underlying", "parameter", "filter", "way"))),
            *(Column(f"{key} [%]", [f"{100 * getattr(row[4], key):.2f}" for row in rows]) for key in Figure._fields),
        ],
    )  # fmt: skip
    all_of = list(found.values())
    show_table(
        f"{MODEL} with {FAMILY}, valid from {day}",
        [
            Column("underlying", list(found), right=False),
            Column("price range [%]", [f"{100 * one.range.chosen:.2f}" for one in all_of]),
            Column("floor [%]", [f"{100 * one.range.floor:.2f}" for one in all_of]),
            Column("vol up [%]", [f"{100 * one.vol.up:.2f}" for one in all_of]),
            Column("vol down [%]", [f"{100 * one.vol.down:.2f}" for one in all_of]),
            Column("tail factor", [f"{one.tail.used:.3f}" for one in all_of]),
            Column("tail shape", [f"{one.tail.tail.shape:.3f}" for one in all_of]),
            Column("largest move [%]", [f"{100 * one.tail.largest:.1f}" for one in all_of]),
            Column("price and vol inside [%]", [f"{100 * one.leverage.joint:.2f}" for one in all_of]),
        ],
    )
