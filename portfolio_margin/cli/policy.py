"""The margin model and scenario family that a command is told to use, and their parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from portfolio_margin.cli.parameters import (
    FAMILIES,
    MODELS,
    Layer,
    assignments,
    build,
    file_label,
    load_registered,
    read_parameters,
    registered,
)
from portfolio_margin.cli.params_dates import HEADER, check_dates, tell_dates
from portfolio_margin.io.parameter_archive import plain_values
from portfolio_margin.io.parameter_sets import FoundSet, find_parameter_set, given_names, parameter_files, valid_by_name
from portfolio_margin.requirement import MarginModel
from pricing.errors import ConfigError
from pricing.market import Market
from scenarios.shocks import ScenarioSet

DEFAULT_FAMILY = "grid"


class Archive(NamedTuple):
    """A folder of parameter sets of one's own, None for the shipped ones; extend, whether these are used as well."""

    folder: str | None = None
    extend: bool = False

    @classmethod
    def take(cls, values: dict[str, Any]) -> Archive:
        """Take the options out of the keyword arguments of a command. ConfigError where they contradict."""
        folder, only = values.pop("archive"), values.pop("archive_only")
        if only and folder is None:
            raise ConfigError("--archive-only says that parameter sets of --archive FOLDER are used alone; give it too")
        return cls(folder, folder is not None and not only)


SHIPPED = Archive()


class FamilyInput(NamedTuple):
    """A scenario family and the layers of its parameters; given, the options that asked for any of it."""

    module: Any
    layers: tuple[Layer, ...]
    given: tuple[str, ...]

    def wanted(self) -> tuple[type, tuple[Layer, ...]]:
        """As `build_all` takes it."""
        return self.module.Params, self.layers

    def scenarios(self, market: Market) -> ScenarioSet:
        """The set of the family for a market."""
        moves: ScenarioSet = self.module.scenarios(build(self.module.Params, *self.layers), market)
        return moves


@dataclass(frozen=True)
class ModelInput:
    """A margin model and where its parameters come from: a dated set, a file over it, options over both.

    name, module        of the model
    parameter_set       name of the set asked for, None for the one valid at the market's time
    family              the scenario family asked for, None where none was
    params_file, tables the parameter file and what it holds
    params              name=value options
    archive             where the sets lie
    """

    name: str
    module: Any
    parameter_set: str | None
    family: str | None
    params_file: str | None
    tables: Mapping[str, Mapping[str, Any]]
    params: tuple[str, ...]
    archive: Archive = SHIPPED

    @classmethod
    def read(
        cls,
        name: str,
        parameter_set: str | None,
        params_file: str | None,
        params: tuple[str, ...],
        family: str | None,
        every_model: bool = False,
        archive: Archive = SHIPPED,
    ) -> ModelInput:
        """Find the model and read the file; with `every_model` tables of others in it are kept as well."""
        model, separator, of_it = name.partition(":")
        if separator and model in registered(MODELS):
            raise ConfigError(
                f"--model {name}: that form is for compare; write --model {model} --parameter-set {of_it}"
            )
        module = load_registered(MODELS, name)
        load_registered(FAMILIES, family or DEFAULT_FAMILY)
        models = registered(MODELS)
        used = models if every_model else [name]
        tables = read_parameters(params_file, (HEADER, *used, family or DEFAULT_FAMILY), models)
        if HEADER in tables:
            check_dates(str(params_file), tables[HEADER])
        return cls(name, module, parameter_set, family, params_file, tables, params, archive)

    @property
    def given(self) -> bool:
        """Whether a set or parameters of this model were asked for, or an archive of one's own has some."""
        folder = self.archive.folder
        return self.asked or (folder is not None and bool(parameter_files(self.name, folder)))

    @property
    def asked(self) -> bool:
        """Whether a set or parameters of this model were named with the command."""
        return self.parameter_set is not None or bool(self.tables.get(self.name)) or bool(self.params)

    def without_given(self) -> ModelInput:
        """The same with nothing given over its parameter set."""
        return replace(self, tables={}, params=())

    @property
    def family_name(self) -> str:
        """The family asked for, or the usual one."""
        return self.family or DEFAULT_FAMILY

    def family_input(self, scenario: tuple[str, ...]) -> FamilyInput:
        """The scenario family with name=value options."""
        table = self.tables.get(self.family_name, {})
        layers = (Layer(f"{self.params_file} [{self.family_name}]", table), Layer("--scenario", assignments(scenario)))
        asked = {
            "--family": self.family is not None,
            "--scenario": bool(scenario),
            f"[{self.family_name}]": bool(table),
        }
        return FamilyInput(
            load_registered(FAMILIES, self.family_name), layers, tuple(name for name, given in asked.items() if given)
        )

    def wanted(self, at: int | None) -> tuple[type, tuple[Layer, ...]]:
        """Parameters and layers as `build_all` takes them; at, ms UTC of the market, None where it is not known yet."""
        return self.module.Params, (self._found(at).layer(), *self._layers())

    def model(self, at: int, nearest: bool = False) -> MarginModel:
        """The model with the parameters valid at `at`, and what was given over them; with `nearest`, the oldest ones
        where none is old enough, which the statement then says."""
        found = self._found(at, nearest)
        params = build(self.module.Params, found.layer(), *self._layers())
        named = dict.fromkeys(name for layer in self._layers() for name in given_names(layer.values))
        before, after = _stated(self.module.Params, found) if named else {}, _single(plain_values(params))
        changed = [name for name in named if name not in before or before[name] != after.get(name)]
        overlay = file_label(self.params_file) if self.params_file and self.tables.get(self.name) else ""
        tell_dates(str(self.params_file), self.tables.get(HEADER, {}), at)
        info = replace(found.info, changed=tuple(changed), overlay=overlay)
        model: MarginModel = self.module.Model(params, info)
        return model

    def valid_by_name(self, at: int) -> list[str]:
        """Sets valid at `at` that no search by date takes, since they have a word behind their date."""
        folder, extend = self.archive
        return valid_by_name(self.name, at, folder, extend=extend)

    def with_parameters_of(self, underlyings: Collection[str], at: int) -> list[str]:
        """Those of `valid_by_name` that have parameters under the name of one of the underlyings."""
        folder, extend = self.archive
        sets = {n: find_parameter_set(self.name, n, at, folder, extend=extend).values for n in self.valid_by_name(at)}
        parts = {n: {part for path in given_names(values) for part in path.split(".")} for n, values in sets.items()}
        return [n for n, names in parts.items() if not names.isdisjoint(underlyings)]

    def _found(self, at: int | None, nearest: bool = False) -> FoundSet:
        folder, extend = self.archive
        return find_parameter_set(self.name, self.parameter_set, at, folder, nearest=nearest, extend=extend)

    def _layers(self) -> tuple[Layer, Layer]:
        table = self.tables.get(self.name, {})
        return Layer(f"{self.params_file} [{self.name}]", table), Layer("--param", assignments(self.params))


def _stated(params: type, found: FoundSet) -> dict[str, Any]:
    """Every single parameter of a set, by its name, with the defaults of those that the set leaves out."""
    try:
        return _single(plain_values(build(params, found.layer())))
    except ConfigError:  # what has neither a default nor a value in the set is changed whatever it is given
        return _single(found.values)


def _single(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by the names of `given_names`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _single(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def scenarios_for(model: MarginModel, family: FamilyInput, market: Market) -> ScenarioSet:
    """The scenarios a model is computed under: its own, or those of the family.

    ConfigError where a family was asked for beside a model with scenarios of its own.
    """
    own = model.scenario_set(market)
    if own is None:
        return family.scenarios(market)
    if family.given:
        raise ConfigError(
            f"{', '.join(family.given)} has no effect beside {model.model_id}, which has scenarios of its own; "
            "leave it out"
        )
    return own
