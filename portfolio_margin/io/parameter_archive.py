"""Writing parameters into an archive of dated sets, from which `load_parameters` has them again, number for number."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.parameter_sets import FILE_NAME, read_parameter_set
from portfolio_margin.io.parameters import MODELS, Layer, build, load_registered
from pricing.errors import ConfigError, DataError, Problem

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def keep_parameters(
    folder: str | Path, model: str, params: Any, name: str, *, source: str, note: str, valid_to: str = ""
) -> Path:
    """Write the parameters of a model as FOLDER/MODEL/NAME.toml, an archive for `load_parameters`; its path.

    folder    of the archive, made where it is not there
    model     name of the file in portfolio_margin/models
    name      YYYY-MM-DD, the first day they are valid, or YYYY-MM-DD-word
    source, note   who published them, and what else there is to know
    valid_to  the last day, YYYY-MM-DD; "" where they are valid until the next set

    A set is never changed, so that a past day can be margined again as it was: ConfigError where it is there already
    with other parameters, where `params` are not those of the model, or the archive could not give them back as they
    are; DataError for a name or day that is none.
    """
    module = load_registered(MODELS, model)
    match = FILE_NAME.fullmatch(name)
    path = Path(folder) / model / f"{name}.toml"
    if match is None:
        raise DataError([Problem(str(path), None, "name", name, "write YYYY-MM-DD or YYYY-MM-DD-name")])
    if not isinstance(params, module.Params):
        raise ConfigError(f"params = {type(params).__name__}: must be the Params of {model}")
    values = plain_values(params)
    header = [f"source = {_value(source)}", f"note = {_value(note)}", f"valid_from = {match.group(1)}"]
    header += [f"valid_to = {valid_to}"] if valid_to else []
    text = "\n".join(["[header]", *header, "", *_table("params", values)]) + "\n"
    _check_gives_back(path, text, module.Params, params)
    if path.exists():
        known = build(module.Params, read_parameter_set(path).layer())
        if known != params:
            raise ConfigError(f"{path} is there with other parameters, and a set is never changed: take another name")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    return path


def plain_values(params: Any) -> dict[str, Any]:
    """Parameters as nested mappings, lists, numbers and texts; what is None has no entry."""
    named = {field.name: getattr(params, field.name) for field in fields(params)} if is_dataclass(params) else params
    return {str(name): _plain(value) for name, value in named.items() if value is not None}


def _plain(value: Any) -> Any:
    if is_dataclass(value) or isinstance(value, Mapping):
        return plain_values(value)
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _check_gives_back(path: Path, text: str, kind: type, params: Any) -> None:
    try:
        given = tomllib.loads(text)["params"]
    except tomllib.TOMLDecodeError as error:
        raise DataError([Problem(str(path), None, "valid_to", "", f"a day is written YYYY-MM-DD ({error})")]) from None
    if build(kind, Layer("", given)) != params:
        raise ConfigError(
            f"{path}: these parameters cannot be written as a set, since they would not come back the same"
        )


def _table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A table and those inside it: numbers first, as TOML has it."""
    yield f"[{name}]"
    inner = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    yield from (f"{_key(key)} = {_value(value)}" for key, value in values.items() if key not in inner)
    for key, value in inner.items():
        yield ""
        yield from _table(f"{name}.{_key(key)}", value)


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, str) else repr(value)
