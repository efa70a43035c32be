"""Writing parameters into an archive of dated sets, from which `load_parameters` has them again, number for number."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.parameter_sets import FILE_NAME, FoundSet, given_names, parameter_files, read_parameter_set
from portfolio_margin.io.parameters import MODELS, build, load_registered
from pricing.errors import ConfigError, DataError, Problem

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MARKS = ("second_hand", "doubtful")
NO_REMARKS: Mapping[str, str] = {}
STATED = ("source", "note", "valid_to", *MARKS, "doubt")
TEXTS = ("source", "note", "valid_to", "doubt")


def keep_parameters(
    folder: str | Path,
    model: str,
    params: Any,
    name: str,
    *,
    source: str,
    note: str,
    valid_to: str = "",
    second_hand: Sequence[str] | None = None,
    doubtful: Sequence[str] | None = None,
    doubt: str | None = None,
) -> Path:
    """Write the parameters of a model as FOLDER/MODEL/NAME.toml, an archive for `load_parameters`; its path.

    folder    of the archive, made where it is not there
    model     name of the file in portfolio_margin/models
    name      YYYY-MM-DD, the first day they are valid, or YYYY-MM-DD-word
    source, note   who published them, and what else there is to know
    valid_to  the last day, YYYY-MM-DD; "" where they are valid until the next set
    second_hand, doubtful   names of parameters, as `ParameterSet` has them; None for those that the shipped set nearest
              to `params` marks so, where the value is the same here; () for none
    doubt     what the doubtful ones do to margins; None for what the shipped sets say whose doubtful parameters have
              their values here

    The file gets its name when it has been read again and gives everything back. A set is never changed, so that a
    past day can be margined again as it was: ConfigError where it is there already and says anything else, where
    `params` are not those of the model, or the archive could not give them back as they are; DataError for a name, day,
    text or mark that is none, naming it. What is refused leaves the archive as it was.
    """
    module = load_registered(MODELS, model)
    path = Path(folder) / model / f"{name}.toml"
    if not isinstance(params, module.Params):
        raise ConfigError(f"params = {type(params).__name__}: must be the Params of {model}")
    given = {"second_hand": second_hand, "doubtful": doubtful}
    marks = {mark: _marks_of_same(model, params, mark) if names is None else names for mark, names in given.items()}
    doubt = _doubt_of_same(model, params, marks["doubtful"]) if doubt is None else doubt
    header = {"source": source, "note": note, "valid_to": valid_to, "doubt": doubt, **marks}
    values = plain_values(params)
    _check_header(path, name, header, given_names(values))
    written = [f"source = {_value(source)}", f"note = {_value(note)}", f"valid_from = {name[:10]}"]
    written += [f"valid_to = {valid_to}"] if valid_to else []
    written += [f"{mark} = {_value(list(names))}" for mark, names in marks.items() if names]
    written += [f"doubt = {_value(doubt)}"] if doubt else []
    text = "\n".join(["[header]", *written, "", *toml_table("params", values)]) + "\n"
    _place(path, text, params)
    return path


def _place(path: Path, text: str, params: Any) -> None:
    """Write a set beside its place, read it, and move it there; where one is, check that it says the same."""
    made = [place for place in (path.parent, path.parent.parent) if not place.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=path.parent) as drafts:
            draft = Path(drafts) / path.name
            write_whole(draft, text.encode())
            found = _given_back(path, draft, params)
            if path.exists():
                _check_same(path, found, params)
            else:
                os.replace(draft, path)
    except OSError as error:
        raise DataError([Problem(str(path), None, "archive", error.strerror, "cannot be written")]) from error
    finally:
        for empty in made:
            # Only of a set that was refused they are empty.
            with suppress(OSError):
                empty.rmdir()


def _given_back(path: Path, draft: Path, params: Any) -> FoundSet:
    """What the loader reads of a draft; ConfigError where those are not the parameters."""
    try:
        found = read_parameter_set(draft)
        same = build(type(params), found.layer()) == params
    except (DataError, ConfigError) as error:
        raise ConfigError(f"{path}: these parameters cannot be written as a set: {error}") from None
    if not same:
        raise ConfigError(
            f"{path}: these parameters cannot be written as a set, since they would not come back the same"
        )
    return found


def _check_same(path: Path, found: FoundSet, params: Any) -> None:
    """ConfigError where the set that is there has other parameters than this one, or says something else of them."""
    known = read_parameter_set(path)
    remedy = "and a set is never changed: take another name"
    if build(type(params), known.layer()) != params:
        raise ConfigError(f"{path} is there with other parameters, {remedy}")
    for name in STATED:
        there, here = getattr(known.info, name), getattr(found.info, name)
        if there != here:
            raise ConfigError(f"{path} is there with {name} = {there!r}, not {here!r}, {remedy}")


def _marks_of_same(model: str, params: Any, mark: str) -> tuple[str, ...]:
    """Names that the shipped set nearest to these parameters marks, of those that have the value of that set here.

    The nearest has most single parameters in common; of several, all of them count. Another set may have the same value
    from another place, and its marks are about that place.
    """
    here = plain_values(params)
    marks: dict[int, dict[str, None]] = {}
    for path in parameter_files(model).values():
        found = read_parameter_set(path)
        there = plain_values(build(type(params), found.layer()))
        alike = sum(_at(here, name) == _at(there, name) for name in given_names(there))
        same = [n for n in getattr(found.info, mark) if _at(here, n) is not None and _at(here, n) == _at(there, n)]
        marks.setdefault(alike, {}).update(dict.fromkeys(same))
    return tuple(marks[max(marks)]) if marks else ()


def _doubt_of_same(model: str, params: Any, doubtful: Sequence[str]) -> str:
    """What shipped sets say of doubtful parameters that are among these and have the value of the set here."""
    here = plain_values(params)
    said: dict[str, None] = {}
    for path in parameter_files(model).values():
        found = read_parameter_set(path)
        there = plain_values(build(type(params), found.layer()))
        if any(name in doubtful and _at(here, name) == _at(there, name) for name in found.info.doubtful):
            said[found.info.doubt] = None
    return " ".join(text for text in said if text)


def _at(values: Any, name: str) -> Any:
    """The value of a parameter named with its parts joined by dots, None where there is none."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _check_header(path: Path, name: str, header: Mapping[str, Any], known: Sequence[str]) -> None:
    """DataError for everything of a header that the loader would not read.

    known  names of the parameters, of which the marks are some or what they begin with
    """
    match = FILE_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None or not _is_day(match.group(1)):
        raise DataError([Problem(str(path), None, "name", name, "write YYYY-MM-DD or YYYY-MM-DD-name, a day there is")])
    problems = [
        Problem(str(path), None, key, header[key], "must be a text") for key in TEXTS if not _is_text(header[key])
    ]
    valid_to = header["valid_to"]
    if not problems and valid_to and not _is_day(valid_to):
        problems.append(Problem(str(path), None, "valid_to", valid_to, "write the last day as YYYY-MM-DD, or nothing"))
    elif not problems and valid_to and valid_to < match.group(1):
        problems.append(Problem(str(path), None, "valid_to", valid_to, f"is before the first day, {match.group(1)}"))
    for mark in MARKS:
        names = header[mark]
        if isinstance(names, str) or not all(map(_is_text, names)):
            problems.append(Problem(str(path), None, mark, names, "must be a list of names of parameters"))
            continue
        problems += [
            Problem(str(path), None, mark, wrong, "no parameter of this set")
            for wrong in names
            if not any(stated == wrong or stated.startswith(f"{wrong}.") for stated in known)
        ]
    if problems:
        raise DataError(problems)


def _is_day(text: str) -> bool:
    try:
        return DAY.fullmatch(text) is not None and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_text(value: Any) -> bool:
    """Whether a value is a text that can be written; half of a surrogate pair cannot."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def plain_values(params: Any) -> dict[str, Any]:
    """Parameters as nested mappings, lists, numbers and texts; what is None has no entry."""
    named = {field.name: getattr(params, field.name) for field in fields(params)} if is_dataclass(params) else params
    return {str(name): _plain(value) for name, value in named.items() if value is not None}


def _plain(value: Any) -> Any:
    if is_dataclass(value) or isinstance(value, Mapping):
        return plain_values(value)
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def toml_table(name: str, values: Mapping[str, Any], remarks: Mapping[str, str] = NO_REMARKS) -> Iterator[str]:
    """Lines of a table and those inside it: numbers first, as TOML has it.

    remarks  what is said behind the value of a name, such as grid.price_range.BTC, in one line
    """
    yield f"[{name}]"
    inner = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    for key, value in values.items():
        if key not in inner:
            remark = remarks.get(f"{name}.{key}", "")
            yield f"{_key(key)} = {_value(value)}" + (f"  # {remark}" if remark else "")
    for key, value in inner.items():
        yield ""
        yield from toml_table(f"{name}.{_key(key)}", value, remarks)


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A text in quotes as TOML has it: like JSON, but characters beyond 16 bits stand for themselves."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
