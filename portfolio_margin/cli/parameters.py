"""Parameters from a TOML file, from a reply of Deribit in JSON, and from name=value options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portfolio_margin.cli.tell import tell
from portfolio_margin.io.parameters import (
    FAMILIES,
    MODELS,
    Layer,
    build,
    build_all,
    load_registered,
    registered,
)
from portfolio_margin.nearest import did_you_mean
from pricing.errors import ConfigError, DataError, Problem

NO_REMEDIES: Mapping[str, str] = {}

__all__ = [
    "FAMILIES",
    "MODELS",
    "Layer",
    "assignments",
    "build",
    "build_all",
    "file_label",
    "load_registered",
    "read_parameters",
    "registered",
]


def read_parameters(
    path: str | None,
    known: Sequence[str],
    passed_over: Sequence[str] = (),
    remedies: Mapping[str, str] = NO_REMEDIES,
) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file; from a .json file, a reply of Deribit's get_params, one table for every model that
    takes it. DataError where it is neither or holds a table nobody asked for.

    path         of the file; None for none, which holds nothing
    known        names of the tables that are asked for
    passed_over  names of tables that the file may hold for other commands; told where it holds nothing else
    remedies     what is said of tables by these names in place of the names that are known
    """
    if path is None:
        return {}
    if path.lower().endswith(".json"):
        return _margin_reply(path, known)
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError([Problem(path, None, "content", str(error), "this is not valid TOML")]) from None
    except UnicodeDecodeError:
        raise DataError([Problem(path, None, "content", "no text", "not UTF-8, so not TOML")]) from None
    remedy = f"unknown; tables are {', '.join(f'[{name}]' for name in known)}"
    others = [name for name in document if name in passed_over and name not in known]
    if others and len(others) == len(document):
        tell(f"{path}: not used here: {', '.join(f'[{name}]' for name in others)}")
    unknown = [name for name in document if name not in known and name not in others]
    # One remedy is said once, whatever the number of tables that it is for.
    firsts = {remedies.get(name, name): name for name in reversed(unknown)}
    problems = [
        Problem(path, None, "table", name, remedies.get(name) or remedy + did_you_mean(name, known))
        for name in unknown
        if name in firsts.values()
    ]
    problems += [
        Problem(path, None, name, table, f"must be one table, written [{name}] on a line of its own")
        for name, table in document.items()
        if name in known and not isinstance(table, dict)
    ]
    if problems:
        raise DataError(problems)
    return {name: table for name, table in document.items() if name not in others}


def _margin_reply(path: str, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    from portfolio_margin.io.deribit_margin import MODEL_NAMES, read_margin_parameters

    taken = [name for name in known if name in MODEL_NAMES]
    if not taken:
        remedy = f"JSON is a reply of Deribit's get_params, for the models {' and '.join(MODEL_NAMES)}; write TOML"
        raise DataError([Problem(path, None, "content", "JSON", remedy)])
    values = read_margin_parameters(path)
    return dict.fromkeys(taken, values)


def file_label(path: str) -> str:
    """What a statement calls a parameter file: its name without the folder, and the time that a reply states."""
    from portfolio_margin.io.deribit_margin import reply_time

    moment = reply_time(path) if path.lower().endswith(".json") else None
    said = "" if moment is None else f" of {np.datetime_as_string(np.datetime64(moment, 'ms'), unit='s')}Z"
    return f"{Path(path).name}{said}"


def assignments(options: Sequence[str]) -> dict[str, Any]:
    """name=value options as nested values: `dynamics.short_power=0.3`, `days=0,1`, `haircut_by_asset.BTC=0.1`."""
    values: dict[str, Any] = {}
    for option in options:
        path, separator, text = option.partition("=")
        *outer, name = path.strip().split(".")
        if not separator or not name:
            raise ConfigError(f"{option!r}: write name=value")
        target = values
        for step in outer:
            target = target.setdefault(step, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{option!r}: {step} is given both a value and parts")
        if name in target:
            raise ConfigError(f"{option!r}: {path} is given twice")
        target[name] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    if "," in text:
        return [_value(part.strip()) for part in text.split(",") if part.strip()]
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)
