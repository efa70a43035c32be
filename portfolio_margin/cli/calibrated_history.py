"""Parameters of historical_simulation from histories, for the command `calibrate`; docs/calibration.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from portfolio_margin.cli.calibrated_grid import SETTINGS, SOURCE, day_after, note_of, read_histories, settings_of
from portfolio_margin.cli.compressed_history import compress_params
from portfolio_margin.cli.output import Column, Output, deliver, show_table
from portfolio_margin.cli.parameters import read_parameters
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.calibrated import CalibrationHistory, common_days, findings
from portfolio_margin.io.parameter_archive import keep_parameters, plain_values
from portfolio_margin.io.parameter_sets import find_parameter_set
from portfolio_margin.io.parameters import Layer, build
from portfolio_margin.models.historical_simulation import Params
from pricing.arrays import FloatArray, StrArray
from pricing.errors import ConfigError
from scenarios.calibrate.history_set import history_params
from scenarios.calibrate.moves import log_returns
from scenarios.calibrate.scenario_sets import Compression

MODEL = "historical_simulation"


def run(prices: Mapping[str, str], vols: Mapping[str, str], output: Output, given: Mapping[str, Any]) -> None:
    """Make the set for the day after the histories; write it and show it.

    prices, vols   files by name of the underlying
    given          options of the command
    """
    tables = read_parameters(given["params_file"], (SETTINGS, MODEL))
    settings, stated = settings_of(tables), tables.get(MODEL, {})
    if "history" in stated:
        raise ConfigError(f"[{MODEL}] history: calibrated from the histories; leave it out")
    histories = read_histories(prices, vols, given)
    day = day_after(histories)
    for line in findings(histories):
        tell(line)
    dates, returns, vol_returns = _joint(histories)
    history, periods = history_params(dates, returns, vol_returns, settings)
    shipped = {name: value for name, value in find_parameter_set(MODEL).values.items() if name != "history"}
    own = {
        "subsamples": int(settings.horizon_days),
        "confidence": settings.confidence,
        "history": plain_values(history),
    }
    params: Params = build(Params, Layer("", shipped), Layer("", own), Layer(f"[{MODEL}]", stated))
    note, said = note_of(settings, day, prices, vols, given), {}
    if given["compress"] is not None:
        last_vols = {name: found.last_vol for name, found in histories.items()}
        params, few = compress_params(params, given["compress"], last_vols, settings)
        said = {"compression": {**few._asdict(), "kept": len(few.kept), "of": history.horizons}}
        tell(_compression_line(few, history.horizons))
        note = f"{note}; {_compression_line(few, history.horizons)}"
    if given["archive"]:
        stem = f"{day}-{given['name']}" if given["name"] else day
        tell(f"written: {keep_parameters(given['archive'], MODEL, params, stem, source=SOURCE, note=note)}")
    identity = {"model": MODEL, "valid_from": day, "settings": plain_values(settings)}
    rows = {
        "first_day": np.array([str(dates[p.first]) for p in periods], dtype=np.str_),
        "last_day": np.array([str(dates[p.last]) for p in periods], dtype=np.str_),
        "stress": np.array([p.stress for p in periods]),
    }
    stressed = [dict(zip(rows, row, strict=True)) for row in zip(*(x.tolist() for x in rows.values()), strict=True)]
    document = {**identity, "params": plain_values(params), "stressed_periods": stressed, **said}
    if not deliver(output, rows, identity, lambda: document):
        title = (
            f"{MODEL}, valid from {day}: {params.history.horizons} moves of {settings.horizon_days:g} days, "
            f"{history.method}, and {len(history.stress_dates)} of the stressed periods"
        )
        columns = [
            Column(name.replace("_", " "), rows[name].tolist(), right=False) for name in ("first_day", "last_day")
        ]
        show_table(title, [*columns, Column("stress [of usual]", [f"{x:.2f}" for x in rows["stress"]])])


def _compression_line(few: Compression, there: int) -> str:
    return (
        f"compressed to {len(few.kept)} of {there} moves, without correlation break; {few.tried} books chose them, of "
        f"those held out {100 * few.missed:.1f} % miss one of their tail, and their measure falls short by "
        f"{100 * few.mean:.2f} % in the mean and {100 * few.largest:.2f} % at most"
    )


def _joint(
    histories: Mapping[str, CalibrationHistory],
) -> tuple[StrArray, dict[str, FloatArray], dict[str, FloatArray]]:
    """Days, and returns of prices and of vols from one day that all prices have to the next; NaN where a vol is not
    known on either."""
    days = common_days(histories)
    returns, vols = {}, {}
    for name, history in histories.items():
        returns[name] = log_returns(history.price.close[np.searchsorted(history.price.date, days)])
        known = dict(zip(history.vol.date.tolist(), np.log(history.vol.close).tolist(), strict=True))
        vols[name] = np.diff([known.get(day, np.nan) for day in days.tolist()])
    return days[1:], returns, vols
