"""Parameter sets from a TOML file and from name=value options, checked name by name."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from portfolio_margin.nearest import did_you_mean, did_you_mean_or_known
from pricing.errors import ConfigError, DataError, Problem

MODELS = "portfolio_margin.models"
FAMILIES = "scenarios.families"


class Layer(NamedTuple):
    """Values for a parameter set and what messages call the place they were given in."""

    origin: str
    values: Mapping[str, Any]


def registered(package: str) -> list[str]:
    """Names of the modules of a package: the name of the file is the name of the thing."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))


def load_registered(package: str, name: str) -> Any:
    """The module `<package>.<name>`. ConfigError with the nearest names where there is none."""
    names = registered(package)
    if name not in names:
        raise ConfigError(f"{name!r} is none of {package}{did_you_mean_or_known(name, names)}")
    return importlib.import_module(f"{package}.{name}")


def read_parameters(path: str | None, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file. DataError where it is no TOML or holds a table nobody asked for."""
    if path is None:
        return {}
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError([Problem(path, None, "content", str(error), "this is not valid TOML")]) from None
    except UnicodeDecodeError:
        raise DataError([Problem(path, None, "content", "no text", "not UTF-8, so not TOML")]) from None
    remedy = f"unknown; tables are {', '.join(f'[{name}]' for name in known)}"
    problems = [
        Problem(path, None, "table", name, remedy + did_you_mean(name, known)) for name in document if name not in known
    ]
    problems += [
        Problem(path, None, name, table, f"must be one table, written [{name}] on a line of its own")
        for name, table in document.items()
        if name in known and not isinstance(table, dict)
    ]
    if problems:
        raise DataError(problems)
    return document


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


def build_all(*wanted: tuple[type, tuple[Layer, ...]]) -> list[Any]:
    """Several parameter sets. ConfigError listing what is wrong with any of them."""
    built, problems = [], []
    for params, layers in wanted:
        try:
            built.append(build(params, *layers))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return built


def build(params: type, *layers: Layer) -> Any:
    """A parameter set from its defaults and layers of values over them, later ones winning.

    ConfigError listing every unknown name and every value of the wrong type, or the first one out of its bounds.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for layer in layers:
        found = _problems(params, layer.values, "")
        problems += [f"{layer.origin}: {problem}" if layer.origin else problem for problem in found]
        if not found:
            values = _merged(values, layer.values)
    if problems:
        raise ConfigError("\n".join(problems))
    origin = ", ".join(layer.origin for layer in layers if layer.values and layer.origin)
    try:
        return _construct(params, values)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}" if origin else str(error)) from None


def _problems(params: type, values: Mapping[str, Any], prefix: str) -> list[str]:
    """What is wrong with names and types; bounds are checked by the parameter set itself."""
    types = get_type_hints(params)
    problems = []
    for name, value in values.items():
        full = f"{prefix}{name}"
        if name not in types:
            problems.append(f"unknown parameter {full}{did_you_mean_or_known(name, list(types))}")
        elif is_dataclass(types[name]) and isinstance(value, Mapping):
            problems += _problems(types[name], value, f"{full}.")
        elif not _fits(value, types[name]):
            problems.append(f"{full} = {value!r}: must be {_described(types[name])}")
    return problems


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value has the type of a field: number, text, list of numbers, names with numbers."""
    if is_dataclass(wanted):
        return isinstance(value, Mapping)
    origin = get_origin(wanted)
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return all(_fits(item, get_args(wanted)[0]) for item in items)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(item, get_args(wanted)[1]) for item in value.values())
    if get_args(wanted):
        return any(_fits(value, option) for option in get_args(wanted))
    if wanted in (int, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _described(wanted: Any) -> str:
    if is_dataclass(wanted):
        names = ", ".join(field.name for field in fields(wanted))
        return f"given by its parts: {names}"
    origin = get_origin(wanted)
    if origin is tuple:
        return "a list of numbers"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return "numbers given by name, such as NAME.BTC=0.1"
    if get_args(wanted):
        return " or ".join(_described(option) for option in get_args(wanted))
    return {int: "a number", float: "a number", str: "a text"}.get(wanted, wanted.__name__)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for name, value in above.items():
        known = result.get(name)
        nested = isinstance(known, Mapping) and isinstance(value, Mapping)
        result[name] = _merged(known, value) if nested else value  # type: ignore[arg-type]
    return result


def _construct(params: type, values: Mapping[str, Any]) -> Any:
    given = {}
    for field in fields(params):
        if field.name not in values:
            continue
        value, default = values[field.name], _default(field)
        if is_dataclass(default) and not isinstance(default, type):
            base = {part.name: getattr(default, part.name) for part in fields(default)}
            value = _construct(type(default), _merged(base, value))
        elif isinstance(default, tuple):
            value = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        given[field.name] = value
    missing = [field.name for field in fields(params) if field.name not in given and _default(field) is MISSING]
    if missing:
        raise ConfigError(
            f"{params.__module__.rpartition('.')[2]} needs a value for {', '.join(missing)}: "
            "give NAME=VALUE with --scenario (a family) or --param (a model), or a table of --params FILE"
        )
    return params(**given)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _value(text: str) -> Any:
    if "," in text:
        return [_value(part.strip()) for part in text.split(",") if part.strip()]
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return text
