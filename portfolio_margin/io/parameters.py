"""Parameter sets from plain values: names, types and bounds checked one by one.

A field may be a number, a text, a truth value, another parameter set, or a list or a mapping of those.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from portfolio_margin.nearest import did_you_mean_or_known
from pricing.errors import ConfigError

MODELS = "portfolio_margin.models"
FAMILIES = "scenarios.families"
TEXTS = {int: "a number", float: "a number", str: "a text", bool: "true or false"}


PARAMETER_SET = "parameter set"


class Layer(NamedTuple):
    """Values for a parameter set and what messages call the place they were given in.

    lacking  what messages say of values that are needed and that this layer might have had, "" for nothing
    """

    origin: str
    values: Mapping[str, Any]
    lacking: str = ""


class _Missing(ConfigError):
    """A parameter set without values that have no default."""

    def __init__(self, name: str, missing: Sequence[str]) -> None:
        self.needs = (
            f"needs a value for {', '.join(missing)}: "
            "give NAME=VALUE with --scenario (a family) or --param (a model), or a table of --params FILE"
        )
        super().__init__(f"{name} {self.needs}")


def registered(package: str) -> list[str]:
    """Names of the modules of a package: the name of the file is the name of the thing."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))


def load_registered(package: str, name: str) -> Any:
    """The module `<package>.<name>`. ConfigError with the nearest names where there is none."""
    names = registered(package)
    if name not in names:
        raise ConfigError(f"{name!r} is none of {package}{did_you_mean_or_known(name, names)}")
    return importlib.import_module(f"{package}.{name}")


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
    try:
        return _construct(params, values, None)
    except _Missing as error:
        lacking = next((layer.lacking for layer in layers if layer.lacking), "")
        given = ", ".join(layer.origin for layer in layers if layer.values and layer.origin)
        said = f"{lacking} and {error.needs}" if lacking else str(error)
        if any(layer.values and layer.origin.startswith(PARAMETER_SET) for layer in layers):
            said += f"; a {PARAMETER_SET} states everything that has no default"
        raise ConfigError(f"{given}: {said}" if given else said) from None
    except ConfigError as error:
        origin = _origin(str(error), layers)
        raise ConfigError(f"{origin}: {error}" if origin else str(error)) from None


def _origin(refusal: str, layers: Sequence[Layer]) -> str:
    """Where the parameter comes from that a refusal names first: the last layer that gives it, else all of them."""
    named = refusal.partition(" = ")[0].split(".")
    for layer in reversed(layers):
        if _gives(layer.values, named):
            return layer.origin
    return ", ".join(layer.origin for layer in layers if layer.values and layer.origin)


def _gives(values: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def _problems(params: type, values: Mapping[str, Any], prefix: str) -> list[str]:
    """What is wrong with names and types; bounds are checked by the parameter set itself."""
    types = get_type_hints(params)
    problems = []
    for name, value in values.items():
        full = f"{prefix}{name}"
        if name not in types:
            problems.append(f"unknown parameter {full}{did_you_mean_or_known(name, list(types))}")
        elif not _fits(value, types[name]):
            problems.append(f"{full} = {value!r}: must be {_described(types[name])}")
        else:
            problems += _inner_problems(value, types[name], full)
    return problems


def _inner_problems(value: Any, wanted: Any, full: str) -> list[str]:
    """The same for the parts of a value."""
    wanted = _chosen(value, wanted)
    if is_dataclass(wanted):
        return _problems(wanted, value, f"{full}.") if isinstance(wanted, type) else []
    if isinstance(value, Mapping):
        inner = get_args(wanted)[1]
        return [text for name, item in value.items() for text in _inner_problems(item, inner, f"{full}.{name}")]
    if get_origin(wanted) is tuple and isinstance(value, (list, tuple)):
        typed = zip(value, _item_types(wanted, len(value)), strict=True)
        return [text for row, (item, t) in enumerate(typed) for text in _inner_problems(item, t, f"{full}[{row}]")]
    return []


def _chosen(value: Any, wanted: Any) -> Any:
    """Of several types a field may have, the one that this value has."""
    if _is_union(wanted):
        return next((_chosen(value, option) for option in get_args(wanted) if _fits(value, option)), wanted)
    return wanted


def _is_union(wanted: Any) -> bool:
    origin = get_origin(wanted)
    return bool(get_args(wanted)) and not (isinstance(origin, type) and issubclass(origin, (tuple, Mapping)))


def _item_types(wanted: Any, count: int) -> list[Any]:
    """The type of each item of a tuple type."""
    types = get_args(wanted)
    return [types[0]] * count if len(types) < 2 or types[1] is Ellipsis else list(types)


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value has the type of a field: number, text, list of numbers, names with numbers."""
    if is_dataclass(wanted):
        return isinstance(value, Mapping)
    if wanted is NoneType:
        return value is None
    if _is_union(wanted):
        return any(_fits(value, option) for option in get_args(wanted))
    origin = get_origin(wanted)
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        types = _item_types(wanted, len(items))
        return len(types) == len(items) and all(map(_fits, items, types))
    if origin is not None:
        return isinstance(value, Mapping) and all(_fits(item, get_args(wanted)[1]) for item in value.values())
    if wanted in (int, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _described(wanted: Any) -> str:
    if is_dataclass(wanted):
        names = ", ".join(field.name for field in fields(wanted))
        return f"given by its parts: {names}"
    if _is_union(wanted):
        return " or ".join(_described(option) for option in get_args(wanted) if option is not NoneType)
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)[0]
        return f"a list of {'numbers' if inner in (int, float) else 'entries, each ' + _described(inner)}"
    if get_origin(wanted) is not None:
        inner = get_args(wanted)[1]
        if inner in (int, float):
            return "numbers given by name, such as NAME.BTC=0.1"
        return f"entries given by name, each {_described(inner)}"
    return TEXTS.get(wanted, getattr(wanted, "__name__", str(wanted)))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for name, value in above.items():
        known = result.get(name)
        nested = isinstance(known, Mapping) and isinstance(value, Mapping)
        result[name] = _merged(known, value) if nested else value  # type: ignore[arg-type]
    return result


def _construct(params: type, values: Mapping[str, Any], base: Any, path: str = "") -> Any:
    """A parameter set of values that fit; what is missing is taken from `base`, or from the defaults.

    path  names of what it is a part of, each with a dot after it; refusals name the parameter with them
    """
    types, given, missing = get_type_hints(params), {}, []
    for field in fields(params):
        default = _default(field) if base is None else getattr(base, field.name)
        if field.name in values:
            given[field.name] = _converted(values[field.name], types[field.name], default, f"{path}{field.name}")
        elif base is not None:
            given[field.name] = default
        elif default is MISSING:
            missing.append(field.name)
    if missing:
        package, _, module = params.__module__.rpartition(".")
        raise _Missing(path.removesuffix(".") or (module if package in (MODELS, FAMILIES) else "the model"), missing)
    try:
        return params(**given)
    except ConfigError as error:
        raise ConfigError(f"{path}{error}") from None


def _converted(value: Any, wanted: Any, default: Any, path: str) -> Any:
    wanted = _chosen(value, wanted)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _construct(wanted, value, default if isinstance(default, wanted) else None, f"{path}.")
    if get_origin(wanted) is tuple:
        items = value if isinstance(value, (list, tuple)) else (value,)
        typed = zip(items, _item_types(wanted, len(items)), strict=True)
        return tuple(_converted(item, inner, None, f"{path}[{row}]") for row, (item, inner) in enumerate(typed))
    if isinstance(value, Mapping) and get_args(wanted):
        known = default if isinstance(default, Mapping) else {}
        inner = get_args(wanted)[1]
        return {name: _converted(item, inner, known.get(name), f"{path}.{name}") for name, item in value.items()}
    return value


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
