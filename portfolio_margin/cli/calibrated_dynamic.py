"""Parameters of dynamic_worst_case from price histories by the published rule, for the command `calibrate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from portfolio_margin.cli.output import Column, Output, deliver, show_table
from portfolio_margin.cli.parameters import read_parameters
from portfolio_margin.cli.tell import tell
from portfolio_margin.dynamic.basis_rule import measured_moves
from portfolio_margin.dynamic.effect import CALL_DAYS, Effect, effects
from portfolio_margin.dynamic.rule import Rule
from portfolio_margin.io.dynamic_history import Columns, DatedHistory, dynamic_parameters, read_dynamic_history
from portfolio_margin.io.forward_curves import read_forward_curves
from portfolio_margin.io.history import refuse_unknown_days
from portfolio_margin.io.parameter_archive import keep_parameters, plain_values
from portfolio_margin.io.parameter_sets import find_parameter_set
from portfolio_margin.io.parameters import Layer, build
from portfolio_margin.models.dynamic_worst_case import Params
from pricing.errors import ConfigError

MODEL = "dynamic_worst_case"
TABLES = ("rule", "measured", MODEL)
SHOWN = {
    "price_range": "price range [%]",
    "price_floor": "floor [%]",
    "vol_up": "vol up [%]",
    "vol_down": "vol down [%]",
    "basis_rate_move": "basis, a year [%]",
    "basis_move": "one forward [%]",
}


def run(prices: Mapping[str, str], vols: Mapping[str, str], output: Output, given: Mapping[str, Any]) -> None:
    """Make the set for the day after the histories, by the rule of docs/dynamic-margin.md; write it and show it.

    prices, vols   files by name of the underlying
    given          options of the command
    """
    tables = read_parameters(given["params_file"], TABLES)
    rule = build(Rule, Layer("[rule]", tables.get("rule", {})))
    read = _read(prices, vols, given)
    findings = list(dict.fromkeys(line for dated in read.values() for one in dated.read for line in one.findings))
    for line in findings:
        tell(line)
    last_day = common_day({name: dated.last_day for name, dated in read.items()})
    base, measured = _base(tables.get(MODEL, {})), _measured(tables.get("measured", {}), list(read))
    measured = _with_curves(measured, given["chains"], last_day, list(read), rule)
    params = dynamic_parameters(base, {name: dated.history for name, dated in read.items()}, rule, measured)
    effect = {name: effects(dated.history.close, rule) for name, dated in read.items()}
    day = str(np.datetime64(last_day) + 1)
    if given["archive"]:
        stem = f"{day}-{given['name']}" if given["name"] else day
        named = [f"{name}={path}" for name, path in (*prices.items(), *vols.items())]
        files = ", ".join((*named, *given["chains"]))
        note = f"rule {plain_values(rule)}; histories to {last_day}: {files}"
        path = keep_parameters(given["archive"], MODEL, params, stem, source="portfolio-margin calibrate", note=note)
        tell(f"written: {path}")
    days = {name: f"{dated.read[0].date[0]} to {dated.last_day}" for name, dated in read.items()}
    identity = {
        "model": MODEL,
        "valid_from": day,
        "rule": plain_values(rule),
        "histories": days,
        "findings": findings,
    }
    if not deliver(output, _columns(params, effect), identity, lambda: _document(params, effect, identity)):
        _show(params, effect, day)


def _read(prices: Mapping[str, str], vols: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, DatedHistory]:
    columns = [
        Columns(*column_names(given, option, count)) for option, count in (("price_columns", 3), ("vol_columns", 2))
    ]
    found = {
        name: read_dynamic_history(
            path,
            vols[name],
            until=given["until"],
            price_columns=columns[0],
            vol_columns=columns[1],
            vol_unit=given["vol_unit"],
            accept=given["accept"],
            latest=latest_day(),
        )
        for name, path in prices.items()
    }
    refuse_unknown_days(given["accept"], [one for dated in found.values() for one in dated.read])
    return found


def latest_day() -> str:
    """Today in UTC, which a history leaves out: it is not over."""
    return str(np.datetime64("now", "D"))


def column_names(given: Mapping[str, Any], option: str, count: int) -> list[str]:
    """The names in an option. ConfigError where they are not so many."""
    names = [name.strip() for name in given[option].split(",")]
    if len(names) != count or not all(names):
        raise ConfigError(f"--{option.replace('_', '-')} {given[option]}: needs {count} names with commas")
    return names


def common_day(days: Mapping[str, str]) -> str:
    """The last day of all histories. ConfigError where they end on different days."""
    if len(set(days.values())) > 1:
        said = ", ".join(f"{name} on {day}" for name, day in days.items())
        raise ConfigError(f"the histories end on different days, {said}: give --until")
    return next(iter(days.values()))


def _measured(given: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """What was measured of each underlying; what is given of others is told."""
    for name, table in given.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"measured.{name} = {table!r}: must be a table, written [measured.{name}]")
        for field, value in table.items():
            numbers = value if isinstance(value, list) else [value]
            if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers):
                raise ConfigError(f"measured.{name}.{field} = {value!r}: must be a number, or a list of one a day")
        if name not in names:
            tell(f"not used here: [measured.{name}], which no --history is of")
    return given


def _with_curves(
    measured: Mapping[str, Mapping[str, Any]], chains: Sequence[str], until: str, names: Sequence[str], rule: Rule
) -> Mapping[str, Mapping[str, Any]]:
    """The same with the moves of the basis, from forward curves where there are some; what has none is told."""
    fields = ("basis_rate_move", "basis_move")
    if not chains:
        for name in names:
            if not all(field in measured.get(name, {}) for field in fields):
                tell(f"no --chain, nor {' and '.join(fields)} in [measured.{name}]: the basis costs no margin")
        return measured
    curves = read_forward_curves(chains, until)
    lacking = [name for name in names if name not in curves]
    if lacking:
        raise ConfigError(f"--chain: no forwards of {', '.join(lacking)}; there are {', '.join(curves)}")
    twice = [f"measured.{name}.{field}" for name in names for field in fields if field in measured.get(name, {})]
    if twice:
        raise ConfigError(f"{', '.join(twice)}: --chain gives it as well; leave one out")
    moves = {name: measured_moves(name, curves[name], rule) for name in names}
    return {**measured, **{name: {**measured.get(name, {}), **moves[name]} for name in names}}


def _base(given: Mapping[str, Any]) -> Params:
    """Everything but the underlyings: of the newest shipped set, and what was given over it."""
    if "underlyings" in given:
        raise ConfigError(f"[{MODEL}] underlyings: the rule makes them; what no history has stands in [measured.NAME]")
    shipped = {name: value for name, value in find_parameter_set(MODEL).values.items() if name != "underlyings"}
    base: Params = build(Params, Layer("", {**shipped, "underlyings": {}}), Layer(f"[{MODEL}]", given))
    return base


def _columns(params: Params, effect: Mapping[str, tuple[Effect, Effect]]) -> dict[str, Any]:
    """One row an underlying."""
    states = [asdict(state) for state in params.underlyings.values()]
    columns: dict[str, Any] = {"underlying": np.array(list(params.underlyings), dtype=np.str_)}
    columns |= {name: np.array([state[name] for state in states]) for name in states[0]}
    for k, side in enumerate(("", "bare_")):
        found = [both[k] for both in effect.values()]
        columns |= {
            f"{side}mean_range": np.array([e.mean for e in found]),
            f"{side}peak_to_trough": np.array([e.peak_to_trough for e in found]),
            f"{side}breaches": np.array([e.breaches for e in found]),
        }
        for n, days in enumerate(CALL_DAYS):
            columns[f"{side}call_{days}d"] = np.array([e.calls[n] for e in found])
    return columns


def _document(
    params: Params, effect: Mapping[str, tuple[Effect, Effect]], identity: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole set as a document, with the effect of the rule beside that of the bare level."""
    report = {
        name: {side: found._asdict() for side, found in zip(("rule", "bare"), both, strict=True)}
        for name, both in effect.items()
    }
    return {**identity, "params": plain_values(params), "effect": report}


def _show(params: Params, effect: Mapping[str, tuple[Effect, Effect]], day: str) -> None:
    states = list(params.underlyings.values())
    shown = [Column("underlying", list(params.underlyings), right=False)]
    shown += [Column(text, [f"{100 * getattr(s, name):.2f}" for s in states]) for name, text in SHOWN.items()]
    shown.append(Column("daily volume", [f"{s.daily_volume:,.0f}" for s in states]))
    show_table(f"{MODEL}, valid from {day}", shown)
    rows = [(name, side, e) for name, both in effect.items() for side, e in zip(("rule", "bare"), both, strict=True)]
    table = [
        Column("underlying", [name for name, _, _ in rows], right=False),
        Column("path", [side for _, side, _ in rows], right=False),
        Column("mean range [%]", [f"{100 * e.mean:.2f}" for *_, e in rows]),
        Column("peak / trough", [f"{e.peak_to_trough:.2f}" for *_, e in rows]),
    ]
    for n, days in enumerate(CALL_DAYS):
        table.append(Column(f"{days} d rise [%]", [f"{100 * e.calls[n]:.1f}" for *_, e in rows]))
    table.append(Column("breaches [%]", [f"{100 * e.breaches:.2f}" for *_, e in rows]))
    show_table("what the rule does to its history, beside its bare level", table)
