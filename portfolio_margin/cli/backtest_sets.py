"""The sets that `backtest` is asked for: kinds with their defaults, tables of a sets file, dated sets of `--params`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from portfolio_margin.backtest.run import BackTest
from portfolio_margin.backtest.sets import KINDS, Calibration, Dated, Set
from portfolio_margin.cli.parameters import Layer, build, read_parameters, registered
from portfolio_margin.cli.params_dates import HEADER, check_dates
from portfolio_margin.io.parameters import FAMILIES, MODELS
from portfolio_margin.models import worst_case
from portfolio_margin.nearest import did_you_mean_or_known
from pricing.errors import ConfigError
from scenarios.backtest.history import MS_PER_DAY
from scenarios.families import grid

KIND, FILE = "kind", "file"
DEFAULT_SETS = ("fixed", "quantile", "ewma", "apc")
MODEL, FAMILY, SETS = "worst_case", "grid", "sets"
ENDING = ".toml"


@dataclass(frozen=True)
class Source:
    """A set of the kind `file`: where it is, from the folder of the sets file on, and whose parameters are taken."""

    file: str
    underlying: str = ""


def read_sets(names: Sequence[str], path: str | None, underlying: str) -> dict[str, Set]:
    """The sets that are asked for: of the sets file by their name, files by their path, others by their kind.

    names       of --set; () for all of the file, or the default ones
    path        of the sets file, None where there is none
    underlying  --name, which says whose parameters of a dated set are taken; "" where it is not given
    """
    made = _of_file(path, underlying) if path is not None else {}
    known = {kind: params for kind, params in KINDS.items() if kind not in made and kind != FILE}
    chosen: dict[str, Set] = {}
    for name in dict.fromkeys(names or made or DEFAULT_SETS):
        if name in made:
            chosen[name] = made[name]
        elif name in known:
            chosen[name] = known[name]()
        elif name.lower().endswith(ENDING):
            label = os.path.basename(name)
            chosen[name if label in chosen or label in made else label] = read_dated(Source(name, underlying))
        else:
            raise ConfigError(
                f"--set {name}: no such set{did_you_mean_or_known(name, [*known, *made])}; "
                f"a dated set is the path of its file, OWN{ENDING}"
            )
    return chosen


def _of_file(path: str, underlying: str) -> dict[str, Set]:
    """Every set of a sets file."""
    dated = f"unknown in a file of sets: this is a dated set, which is tested with --set {path} in place of --params"
    remedies = dict.fromkeys((HEADER, *registered(MODELS), *registered(FAMILIES)), dated)
    made: dict[str, Set] = {}
    for name, table in read_parameters(path, [SETS], remedies=remedies).get(SETS, {}).items():
        kind = table.get(KIND, "") if isinstance(table, Mapping) else ""
        if kind not in KINDS:
            raise ConfigError(f"{path}: [{SETS}.{name}] needs kind, one of {', '.join(KINDS)}; found {kind!r}")
        layer = Layer(f"[{SETS}.{name}]", {field: value for field, value in table.items() if field != KIND})
        if kind != FILE:
            made[name] = build(KINDS[kind], layer)
            continue
        if FILE not in layer.values:
            raise ConfigError(f"{path}: [{SETS}.{name}] of kind {FILE} needs {FILE}, the path of a dated set")
        source: Source = build(Source, layer)
        at = os.path.join(os.path.dirname(path), source.file)
        made[name] = read_dated(Source(at, source.underlying or underlying))
    return made


def read_dated(source: Source) -> Dated:
    """A dated set of `worst_case` and its grid, such as `calibrate --set` writes, with the numbers of one underlying.

    DataError, ConfigError for a file that is none, and where it is not said whose parameters are meant.
    """
    path = source.file
    remedies = {SETS: f"unknown in a dated set: this is a file of sets, which is given with --params {path}"}
    tables = read_parameters(path, (HEADER, MODEL, FAMILY), registered(MODELS), remedies)
    if FAMILY not in tables:
        raise ConfigError(f"{path}: has no table [{FAMILY}], whose scenarios are what a back-test walks")
    header = tables.get(HEADER, {})
    check_dates(path, header)
    params: grid.Params = build(grid.Params, Layer(f"{path} [{FAMILY}]", tables[FAMILY]))
    factors: worst_case.Params = build(worst_case.Params, Layer(f"{path} [{MODEL}]", tables.get(MODEL, {})))
    name = _whose(params, source)
    by_name = [field for field in grid.BY_NAME if isinstance(getattr(params, field), Mapping)]
    return Dated(
        replace(params, **{field: getattr(params, field)[name] for field in by_name}),
        name,
        str(header.get("valid_from", "")),
        path,
        factors.initial_factor,
        factors.maintenance_factor,
        str(header.get("valid_to", "")),
    )


def _whose(params: grid.Params, source: Source) -> str:
    """The underlying whose parameters are taken: the one asked for or the only one; "" where they are for all."""
    of_each = {field: getattr(params, field) for field in grid.BY_NAME}
    named = {field: list(values) for field, values in of_each.items() if isinstance(values, Mapping)}
    if not named:
        return ""
    names = list(dict.fromkeys(name for own in named.values() for name in own))
    if not source.underlying and len(names) != 1:
        raise ConfigError(
            f"{source.file}: has parameters of {', '.join(names) or 'no underlying'}; say whose history this is, with "
            f"--name, or with underlying in a table [{SETS}.NAME] of the kind {FILE}"
        )
    name = source.underlying or names[0]
    for field, own in named.items():
        if name not in own:
            raise ConfigError(
                f"{source.file}: {field} has no entry for {name}, it has {', '.join(own)}; say whose parameters are "
                f"meant, with --name, or with underlying in a table [{SETS}.NAME] of the kind {FILE}"
            )
    return name


def rows_in_sample(found: BackTest, chosen: Dated) -> int:
    """Rows of the test that begin before the first day of a set: its maker may have seen what followed."""
    if not chosen.valid_from:
        return 0
    first = int(np.datetime64(chosen.valid_from, "D").astype(np.int64)) * MS_PER_DAY
    return int((found.plan.given.time_ms[found.rows] < first).sum())


def _rows_after(found: BackTest, day: str) -> int:
    """Rows of the test that begin after a day is over."""
    over = (int(np.datetime64(day, "D").astype(np.int64)) + 1) * MS_PER_DAY
    return int((found.plan.given.time_ms[found.rows] > over).sum())


def labelled(found: BackTest, sets: Mapping[str, Set]) -> tuple[BackTest, dict[str, Set]]:
    """The same for people: a dated set whose maker saw rows of the test says so by its name, "own.toml, in sample"."""
    names = {name: name for name in sets}
    for name, chosen in sets.items():
        seen = rows_in_sample(found, chosen) if isinstance(chosen, Dated) else 0
        if seen:
            names[name] += ", in sample" if 2 * seen > len(found.rows) else ", partly in sample"
    tested = tuple(replace(one, name=names[one.name]) for one in found.sets)
    return replace(found, sets=tested), {names[name]: chosen for name, chosen in sets.items()}


def told_of_dated(found: BackTest, sets: Mapping[str, Set]) -> list[str]:
    """What is said of dated sets: rows they had seen, what of their margins is tested, a horizon that is another."""
    said, count = [], len(found.rows)
    for name, chosen in sets.items():
        if isinstance(chosen, Calibration) and chosen.settings.confidence != found.plan.confidence:
            fitted = f"{100 * chosen.settings.confidence:g} %"
            said.append(f"{name}: fitted for {fitted}, and {100 * found.plan.confidence:g} % is tested (--confidence)")
        if not isinstance(chosen, Dated):
            continue
        of = f" of {chosen.underlying}" if chosen.underlying else ""
        if chosen.valid_from:
            last, before = np.datetime64(chosen.valid_from, "D") - 1, rows_in_sample(found, chosen)
            rest = f"{before:,} of {count:,} rows are before it, in sample" if before else "every row is after it"
            said.append(f"{name}: the set{of} was made with data to {last}: {rest}")
        else:
            said.append(f"{name}: the set{of} has no [{HEADER}] with valid_from: which rows its maker saw is not known")
        if chosen.valid_to and (after := _rows_after(found, chosen.valid_to)):
            said.append(f"{name}: {after:,} of {count:,} rows are after the set's last day, {chosen.valid_to}")
        said.append(
            f"{name}: tested is the worst loss; the file asks for {chosen.initial_factor:g} times it as initial and "
            f"{chosen.maintenance_factor:g} times as maintenance margin"
        )
        said += _other_horizon(found, name, max(chosen.params.days))
    return said


def _other_horizon(found: BackTest, name: str, days: float) -> list[str]:
    """Where markets close, so many rows take more days than that, and a longer passing of time is right."""
    held, every_day = found.plan.horizon_days, found.plan.given.days_per_year >= 365.0
    if days < held or (every_day and days > held):
        return [
            f"{name}: in the set up to {days:g} d pass, and positions are held {held} d: is --horizon that of the set?"
        ]
    return []
