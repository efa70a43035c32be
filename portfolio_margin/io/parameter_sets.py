"""Dated parameter sets: portfolio_margin/parameters/<model>/<YYYY-MM-DD>[-name].toml.

A file has two tables. [header] states source, note, valid_from (the date in the file's name), and where they apply
valid_to (the last day), second_hand (names of parameters whose value is not from the venue itself, parts joined by
dots), doubtful (names of parameters that the venue publishes and that look wrong) and doubt (what these do to margins).
[params] holds the parameters.
An old set keeps its date and is never changed, so that a past day can be margined again as it was.

An archive of one's own is a folder laid out alike. It stands instead of the shipped sets, or extends them: then a file
takes the place of the shipped one of the same name, and all the others are there as well.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.io.parameters import MODELS, PARAMETER_SET, Layer, build, load_registered, registered
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.requirement import ParameterSet
from pricing.errors import ConfigError, DataError, Problem

FILE_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:-([a-z0-9][a-z0-9_-]*))?")
HEADER = {
    "source": str,
    "note": str,
    "valid_from": date,
    "valid_to": date,
    "second_hand": list,
    "doubtful": list,
    "doubt": str,
}
NAMES = {str: "text", date: "date, YYYY-MM-DD without a time of day", list: "list of texts"}
LAST_MOMENT_MS = 253_402_300_799_999  # the end of the year 9999
REQUIRED = ("source", "note", "valid_from")
OF_THAT_DAY = "valid then, but with a word behind the date taken by name only"


class FoundSet(NamedTuple):
    """A parameter set as its file has it; lacking, what is said where there is none and a value is needed."""

    info: ParameterSet
    values: Mapping[str, Any]
    lacking: str = ""

    def layer(self) -> Layer:
        """Its values as the lowest layer of parameters."""
        return Layer(f"{PARAMETER_SET} {self.info.name}" if self.values else "", self.values, self.lacking)


def load_parameters(
    model: str,
    name: str | None = None,
    at: int | str | None = None,
    folder: str | Path | None = None,
    *,
    extend: bool = False,
) -> tuple[Any, ParameterSet]:
    """Parameters of a model and where they come from: Model(*load_parameters("worst_case")).

    model   name of the file in portfolio_margin/models
    name    None: the set without a name that is valid at `at`; a name such as "test": the one of that name; every set
            ends where the next begins, and does not come back when that one is over;
            the whole "2024-06-28" or "2024-06-28-test": that one, whatever the time
    at      ms UTC, `market.valuation_time`, or a day, "2026-01-05"; None for the newest, valid then or not: the
            statement says which
    folder  where the sets lie, an archive of one's own; by default those of this package
    extend  whether the sets of this package are there as well, but for those that the folder has under the same name

    A model without sets has its defaults, which are not taken beside sets of an archive. ConfigError where no set is
    valid at that time, for a time that is none, and for a parameter outside its bounds, naming bound and value;
    DataError where the folder is none, or holds sets of an unknown model.
    """
    module = load_registered(MODELS, model)
    moment = _start_of(at) if isinstance(at, str) else at
    found = find_parameter_set(model, name, moment, folder, extend=extend)
    return build(module.Params, found.layer()), found.info


def find_parameter_set(
    model: str,
    name: str | None = None,
    at: int | None = None,
    folder: str | Path | None = None,
    nearest: bool = False,
    *,
    extend: bool = False,
) -> FoundSet:
    """The set that `load_parameters` takes; with `nearest`, where none is valid, the last before or the oldest, and
    marked so."""
    if at is not None:
        _check_moment(at)
    known = parameter_files(model, folder, extend=extend)
    if not known and name is None:
        alone = folder is not None and not extend
        return FoundSet(ParameterSet(), {}, f"{model} has no parameter set in the archive {folder}" if alone else "")
    if name is not None and FILE_NAME.fullmatch(name):
        if name not in known:
            raise ConfigError(_unknown(model, name, known))
        found = _read(known[name], folder, known)
        return found._replace(info=replace(found.info, applies=at is None or found.info.valid_at(at)))
    named = {stem: path for stem, path in known.items() if _suffix(stem) == (name or "")}
    if not named:
        raise ConfigError(_unknown(model, name or "without a name", known))
    sets = [_read(path, folder, known) for _, path in sorted(named.items())]
    valid = [found for found in sets if at is None or found.info.valid_at(at)]
    if valid:
        return valid[-1]
    if nearest:
        day = str(np.datetime64(at, "ms").astype("datetime64[D]"))
        closest = ([found for found in sets if found.info.valid_from <= day] or sets[:1])[-1]
        return closest._replace(info=replace(closest.info, applies=False))
    more = ""
    by_name = valid_by_name(model, at, folder, extend=extend)
    if not name and by_name:
        more = f"; {', '.join(by_name)}: {OF_THAT_DAY}"
    if folder is not None and extend and not parameter_files(model):
        more += f"; beside sets of an archive the defaults of {model} are not taken: write a set of them for that time"
    raise ConfigError(
        f"{model} has no parameter set valid at {np.datetime64(at, 'ms')}: {', '.join(named)}; "
        f"name one of them with --parameter-set (or name=...) to use it all the same{more}"
    )


def valid_by_name(model: str, at: int | None, folder: str | Path | None = None, *, extend: bool = False) -> list[str]:
    """Sets valid at `at` that have a word behind their date, oldest first: no search by date takes them."""
    known = parameter_files(model, folder, extend=extend)
    sets = [_read(path, folder, known).info for stem, path in known.items() if _suffix(stem)]
    return [info.name for info in sets if at is None or info.valid_at(at)]


def _start_of(day: str) -> int:
    """ms UTC of the start of a day. ConfigError for what is none."""
    try:
        first = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"at = {day!r}: write a day that there is as YYYY-MM-DD, or ms UTC as a number") from None
    return int(first.timestamp()) * 1000


def _check_moment(at: object) -> None:
    """ConfigError for what is no time in ms UTC of the years 1970 to 9999, whose dates sets are named after."""
    whole = isinstance(at, (int, np.integer)) and not isinstance(at, bool)
    if not whole or not 0 <= int(at) <= LAST_MOMENT_MS:  # type: ignore[call-overload]
        raise ConfigError(f"at = {at!r}: must be a whole number, ms UTC from 0 to {LAST_MOMENT_MS}")


def parameter_files(model: str, folder: str | Path | None = None, *, extend: bool = False) -> dict[str, Path]:
    """The files of a model's sets by name, oldest first; none where it has none. folder, extend: as `load_parameters`.

    DataError for a name without date, and for a folder that is none or holds sets of an unknown model.
    """
    shipped = Path(str(files("portfolio_margin"))) / "parameters"
    if folder is None:
        return _dated_files(shipped / model)
    _check_archive(Path(folder))
    own = _dated_files(Path(folder) / model)
    return dict(sorted({**(_dated_files(shipped / model) if extend else {}), **own}.items()))


def _check_archive(folder: Path) -> None:
    if not folder.is_dir():
        remedy = "no such folder; an archive has a folder for each model, such as worst_case/2026-01-31.toml"
        raise DataError([Problem(str(folder), None, "archive", folder.name, remedy)])
    known = registered(MODELS)
    strange = sorted(path.name for path in folder.iterdir() if path.name not in known and any(path.glob("*.toml")))
    remedy = "holds parameter sets and is named after no margin model"
    problems = [
        Problem(str(folder), None, "folder", name, remedy + did_you_mean_or_known(name, known)) for name in strange
    ]
    loose = sorted(path.name for path in folder.glob("*.toml"))
    remedy = "a parameter set lies in a folder named after its model, such as worst_case/2026-01-31.toml"
    problems += [Problem(str(folder), None, "file", name, remedy) for name in loose]
    if problems:
        raise DataError(problems)


def _read(path: Path, archive: str | Path | None, known: Mapping[str, Path]) -> FoundSet:
    """A set, with the day the next of the same name begins, and the name of the archive where it is from one."""
    found = read_parameter_set(path)
    later = [stem[:10] for stem in known if _suffix(stem) == _suffix(path.stem) and stem[:10] > path.stem[:10]]
    found = found._replace(info=replace(found.info, next_from=min(later, default="")))
    if archive is None or not path.is_relative_to(archive):
        return found
    return found._replace(info=replace(found.info, archive=Path(archive).resolve().name))


def _dated_files(place: Path) -> dict[str, Path]:
    paths = sorted(place.glob("*.toml")) if place.is_dir() else []
    remedy = "the name of a parameter set is YYYY-MM-DD or YYYY-MM-DD-name"
    bad = [Problem(str(p), None, "file name", p.stem, remedy) for p in paths if not FILE_NAME.fullmatch(p.stem)]
    if bad:
        raise DataError(bad)
    return {path.stem: path for path in paths}


def read_parameter_set(path: str | Path) -> FoundSet:
    """One file. DataError where it is no TOML, or its header says too little or too much."""
    file = str(path)
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError([Problem(file, None, "content", str(error), "this is not valid TOML in UTF-8")]) from None
    header, values = document.get("header"), document.get("params")
    if not isinstance(header, dict) or not isinstance(values, dict) or set(document) != {"header", "params"}:
        remedy = "a parameter set has the tables [header] and [params] and no others"
        raise DataError([Problem(file, None, "tables", ", ".join(document), remedy)])
    problems = [
        Problem(file, None, f"header {name}", _plain(header.get(name)), f"must be a {NAMES[kind]}")
        for name, kind in HEADER.items()
        if (name in header or name in REQUIRED) and not _is_a(header.get(name), kind)
    ]
    problems += [
        Problem(file, None, f"header {name}", value, f"unknown; known: {', '.join(HEADER)}")
        for name, value in header.items()
        if name not in HEADER
    ]
    if not problems:
        problems = _header_problems(file, Path(path).stem, header, values)
    if problems:
        raise DataError(problems)
    info = ParameterSet(
        name=Path(path).stem,
        valid_from=header["valid_from"].isoformat(),
        valid_to=header["valid_to"].isoformat() if "valid_to" in header else "",
        source=header["source"],
        note=header["note"],
        second_hand=tuple(header.get("second_hand", ())),
        doubtful=tuple(header.get("doubtful", ())),
        doubt=header.get("doubt", ""),
    )
    return FoundSet(info, values)


def _is_a(value: Any, kind: type) -> bool:
    """Whether a header has a value of this type; a moment is no date, though Python says so, and lists are of texts."""
    if kind is list:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, kind) and not isinstance(value, datetime)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (date, time)) else value


def given_names(values: Mapping[str, Any], prefix: str = "") -> tuple[str, ...]:
    """Every single parameter in nested values, parts joined by dots."""
    names: list[str] = []
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        names += given_names(value, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return tuple(names)


def _header_problems(file: str, stem: str, header: Mapping[str, Any], values: Mapping[str, Any]) -> list[Problem]:
    problems = []
    start = header["valid_from"].isoformat()
    if not stem.startswith(start):
        problems.append(Problem(file, None, "header valid_from", start, "must be the date in the name of the file"))
    if "valid_to" in header and header["valid_to"] < header["valid_from"]:
        problems.append(Problem(file, None, "header valid_to", str(header["valid_to"]), "before valid_from"))
    stated = given_names(values)
    for mark in ("second_hand", "doubtful"):
        for name in header.get(mark, ()):
            if not any(known == name or known.startswith(f"{name}.") for known in stated):
                problems.append(Problem(file, None, f"header {mark}", name, "no parameter of this set"))
    return problems


def _suffix(stem: str) -> str:
    match = FILE_NAME.fullmatch(stem)
    return (match.group(2) or "") if match else ""


def _unknown(model: str, name: str, known: Mapping[str, Path]) -> str:
    if not known:
        return f"{model} has no parameter sets, only its defaults; leave {name!r} out"
    return f"{model} has no parameter set {name!r}{did_you_mean_or_known(name, list(known))}"
