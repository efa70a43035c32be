"""SPAN risk parameter files on the command line: as risk arrays with rules, and checked against themselves."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from portfolio_margin.cli.output import emit
from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.told import Told
from portfolio_margin.models.span import parameter_set_of
from portfolio_margin.requirement import MarginModel
from portfolio_margin.span.choices import Choices
from portfolio_margin.span.contracts import ContractView
from portfolio_margin.span.file_arrays import FileArrays, file_arrays, valuation_time_ms
from portfolio_margin.span.levels import array_rate
from portfolio_margin.span.recompute import Recomputed, recompute, within, worst
from portfolio_margin.span.tables import RiskParameterFile
from pricing.errors import DataError, EngineError
from scenarios.risk_arrays import RiskArrays

FAILED = 1
NAMES_SHOWN = 5
# One wrong value may contradict many places; what follows from it is counted.
PROBLEMS_SHOWN = 4
# Recomputing so many takes a second or two.
CHECKED_ARRAYS = 5_000
# Of the price scan range, and of a delta; single precision of a clearing house's own arrays makes up to 4.3e-6.
DEFAULT_TOLERANCE = 1e-5


class SpanInput:
    """A SPAN file that was read: its tables, what is told of it, and risk arrays for a model."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.file, self.notes = read_span_file(path)
        except DataError as error:
            raise _shortened(error) from None
        self._made: dict[tuple[int, bool], tuple[RiskArrays, Told]] = {}

    @property
    def time(self) -> int:
        """ms UTC of the file."""
        return valuation_time_ms(self.file)

    def arrays_for(self, model: MarginModel) -> tuple[MarginModel, RiskArrays, Told]:
        """The model with the rules of the file, where it takes any, and the risk arrays of its account type."""
        choices = model.params if isinstance(model.params, Choices) else None
        takes_rules = choices is not None
        rate = array_rate(self.file, choices) if takes_rules else self._usual_rate
        arrays, told = self._arrays(rate, choices is not None and choices.risk_exponent == "apply")
        if takes_rules:
            origin = parameter_set_of(self.file, Path(self.path).name, model.parameter_set.changed)
            with_file: Any = replace(model, file=self.file, parameter_set=origin)  # type: ignore[type-var]
            model = with_file.for_arrays(arrays)
        return model, arrays, told

    def usual_arrays(self) -> tuple[RiskArrays, Told]:
        """The arrays of models that take no rules of the file, and what is told of them."""
        return self._arrays(self._usual_rate, False)

    def checked(self, told: Told) -> Told:
        """What is told, and whether the arrays are those of the scan ranges of the file: where it has few enough to
        recompute them beside a margin, else that nobody did."""
        remedy = f"arrays --check {Path(self.path).name} recomputes them"
        if len(self.file.arrays) > CHECKED_ARRAYS:
            return told.noted([f"its arrays are taken as they stand, unchecked: {remedy} from its scan ranges"])
        try:
            found = recompute(self.file, self._usual_rate)
        except EngineError as error:
            return told.noted([f"its arrays could not be compared with its scan ranges: {error}"])
        good = within(found, DEFAULT_TOLERANCE, DEFAULT_TOLERANCE)
        names = ContractView(self.file).name
        beyond = [str(names[row]) for row in found.contract[~good]]
        if beyond:
            off = f"{len(beyond)} of {len(good)} arrays are not those of the file's own scan ranges"
            told = told.warned([f"{off}: {_shown(beyond)}; they count as they stand, {remedy}"])
        unknown = len(found.skipped)
        if unknown:
            told = told.noted([f"{unknown} arrays could not be compared with the file's scan ranges: {remedy}"])
        return told

    @property
    def _usual_rate(self) -> int:
        return int(self.file.arrays.rate.min(initial=1))

    def _arrays(self, rate: int, exponent: bool) -> tuple[RiskArrays, Told]:
        """Made once, as several models may want the same."""
        if (rate, exponent) not in self._made:
            self._made[rate, exponent] = self._made_anew(rate, exponent)
        return self._made[rate, exponent]

    def _made_anew(self, rate: int, exponent: bool) -> tuple[RiskArrays, Told]:
        made = self.made(rate, exponent)
        notes = tuple(f"{name}: {reason}" for name, reason in made.left_out.items())
        told = Told.of_lines(made.arrays.notes)._replace(left_out=notes)
        told = told._replace(notes=(*told.notes, *self.notes))
        return replace(made.arrays, notes=told.lines()), told

    def made(self, rate: int, exponent: bool) -> FileArrays:
        """Risk arrays of the tables, which know nothing of their file: what is wrong is said with its name."""
        try:
            return file_arrays(self.file, rate=rate, apply_exponent=exponent)
        except DataError as error:
            raise error.within(self.path) from None


def _shortened(error: DataError) -> DataError:
    """The first problems of a file, and how many others there are."""
    first, rest = error.problems[:PROBLEMS_SHOWN], len(error.problems) - PROBLEMS_SHOWN
    if rest <= 1:
        return error
    last = first[-1]
    more = f"{last.remedy}; and {rest} problems more in this file, which may follow from the first"
    return DataError([*first[:-1], replace(last, remedy=more)])


def check_file(path: str, tolerance: float, look_ahead: float | None, backend: str) -> None:
    """Recompute every array of a file from its own scan ranges and say how well.

    Exit 1 where one is off by more than the tolerance, or could not be recomputed.
    """
    file, notes = read_span_file(path)
    rate = int(file.arrays.rate.min(initial=1))
    found = recompute(file, rate, look_ahead=look_ahead, backend=backend)
    good = within(found, tolerance, tolerance)
    emit("\n".join([*_report(path, file, found), *notes]) + "\n")
    names = ContractView(file).name
    beyond = [str(names[row]) for row in found.contract[~good]]
    unknown = [str(names[row]) for row, _ in found.skipped]
    if beyond:
        click.echo(f"{len(beyond)} arrays are off by more than {tolerance:g}: {_shown(beyond)}", err=True)
    if unknown:
        click.echo(f"{len(unknown)} arrays could not be recomputed: {_shown(unknown)}", err=True)
    if beyond or unknown:
        sys.exit(FAILED)


def _shown(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" if names[NAMES_SHOWN:] else "")


def _report(path: str, file: RiskParameterFile, found: Recomputed) -> list[str]:
    view = ContractView(file)
    option = view.is_option[found.contract]
    lines = [f"{path}: {file.header.clearing_org} of {file.header.date}, {len(file.arrays)} arrays"]
    for name, rows in (("options", option), ("others", ~option)):
        if not rows.any():
            continue
        contract, loss, delta = found.contract[rows], found.loss_error[rows], found.delta_error[rows]
        lines.append(
            f"{int(rows.sum())} {name} recomputed: largest error {loss.max():.2e} of the price scan range in "
            f"{worst(loss, contract, view.name)}, of a composite delta {delta.max():.2e} in "
            f"{worst(delta, contract, view.name)}"
        )
    reasons = sorted({reason for _, reason in found.skipped})
    for reason in reasons:
        rows_of = [row for row, why in found.skipped if why == reason]
        lines.append(f"{len(rows_of)} not recomputed, {reason}: {view.name[rows_of[0]]} ...")
    return lines
