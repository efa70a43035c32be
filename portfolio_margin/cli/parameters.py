"""Parameter sets from a TOML file and from name=value options, checked name by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pricing.errors import ConfigError, DataError, Problem

PARAMETER_FAMILIES = {"model": "portfolio_margin.models", "family": "scenarios.families"}


def load_registered(package: str, name: str) -> Any:
    """The module `<package>.<name>`: the name of the file is the name of the thing."""
    if not name.isidentifier() or importlib.util.find_spec(f"{package}.{name}") is None:
        raise ConfigError(f"{name!r} is not a module of {package}")
    return importlib.import_module(f"{package}.{name}")


def read_parameters(path: str | None, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file. DataError where it is no TOML or holds a table nobody asked for."""
    if path is None:
        return {}
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError([Problem(path, None, "content", str(error), "this is not valid TOML")]) from None
    bad = [name for name, table in document.items() if name not in known or not isinstance(table, dict)]
    if bad:
        remedy = f"unknown; tables here are {', '.join(f'[{name}]' for name in known)}"
        raise DataError([Problem(path, None, "table", name, remedy) for name in bad])
    return document


def assignments(options: Sequence[str]) -> dict[str, Any]:
    """name=value options as nested values: `dynamics.short_power=0.3`, `days=0,1`, `haircut_by_asset.BTC=0.1`."""
    values: dict[str, Any] = {}
    for option in options:
        path, separator, text = option.partition("=")
        if not separator or not path:
            raise ConfigError(f"{option!r}: write name=value")
        *outer, name = path.split(".")
        target = values
        for step in outer:
            target = target.setdefault(step, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{option!r}: {step} is given both a value and parts")
        target[name] = _value(text)
    return values


def build(params: type, *layers: Mapping[str, Any]) -> Any:
    """A parameter set from its defaults and the layers of values over them, later ones winning."""
    values: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            known = values.get(name)
            values[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    known_fields = {field.name: field for field in fields(params)}
    for name in values:
        if name not in known_fields:
            near = difflib.get_close_matches(name, known_fields, 2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known_fields)}"
            raise ConfigError(f"{params.__module__} has no parameter {name!r}; {hint}")
    return _construct(params, values)


def _construct(params: type, values: dict[str, Any]) -> Any:
    defaults = {}
    for field in fields(params):
        if field.default_factory is not None and callable(field.default_factory):
            defaults[field.name] = field.default_factory()
        else:
            defaults[field.name] = field.default
    given = {}
    for name, value in values.items():
        default = defaults[name]
        if is_dataclass(default) and isinstance(value, Mapping):
            given[name] = build(type(default), {f.name: getattr(default, f.name) for f in fields(default)}, value)
        elif isinstance(default, tuple):
            given[name] = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        else:
            given[name] = value
    try:
        return params(**given)
    except TypeError as error:
        raise ConfigError(f"{params.__module__}: {error}") from None


def _value(text: str) -> Any:
    if "," in text:
        return [_value(part.strip()) for part in text.split(",") if part.strip()]
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return text
