"""The exceptions of the engine and the status codes of its kernels.

EngineError
 +- DataError        bad input; lists every offender with file, row, field and value
 +- ConfigError      a parameter out of its bounds
 +- NumericalError   a computation that cannot be carried out exactly or did not converge
     +- UnsolvedError   rows whose value is the solution of an equation that was not solved; lists them like DataError
 +- InfeasibleError  what was asked for cannot be reached; says what can

Inside kernels a failure is a status code per element; callers decide what it means.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

PROBLEMS_SHOWN = 200
PLACES = ("line ", "byte ")
SHOWN_OF_A_KIND = 3
# What differs between the remedies of one kind: near names, names in quotes, numbers.
NEAR_NAMES = re.compile(r"; did you mean .*")
PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\d\S*")


class Status(IntEnum):
    """Outcome of one element of a numerical kernel.

    NOT_FINITE  an input is not finite or out of its bounds (a tau below 0, a sign that is neither 1 nor -1)
    """

    OK = 0
    BELOW_INTRINSIC = 1
    ABOVE_MAXIMUM = 2
    NOT_CONVERGED = 3
    NOT_FINITE = 4
    EXPIRED = 5
    NOT_DETERMINED = 6


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the input: where it stands, what stands there, what to do.

    scenario is that of a shocked row, None for the row as it stands.
    """

    file: str
    row: int | str | None
    field: str
    value: object
    remedy: str
    scenario: int | str | None = None

    def __str__(self) -> str:
        # A place in a file that is no table says itself what it is.
        place = f"{self.row}" if isinstance(self.row, str) and self.row.startswith(PLACES) else f"row {self.row}"
        where = self.file if self.row is None else f"{self.file}, {place}"
        where = where if self.scenario is None else f"{where}, scenario {self.scenario}"
        return f"{where}, {self.field} = {self.value!r}: {self.remedy}"

    @property
    def kind(self) -> tuple[str, str]:
        """What problems of the same sort share: the field, and the remedy without names and numbers."""
        return self.field, PARTICULARS.sub("...", NEAR_NAMES.sub("", self.remedy))


class EngineError(Exception):
    """Base of every exception the engine raises on purpose."""


class ConfigError(EngineError):
    """A parameter is out of its bounds or two parameters contradict each other."""


class NumericalError(EngineError):
    """A result cannot be computed exactly, or an iteration did not converge."""


class InfeasibleError(EngineError):
    """What was asked for cannot be reached within the limits.

    reachable  the nearest value found, NaN where none is known
    trades     (instrument, quantity) that reach it
    deposit    what would be missing after everything was closed, NaN where it is not that
    """

    def __init__(
        self, message: str, reachable: float, trades: Sequence[tuple[str, float]] = (), deposit: float = float("nan")
    ) -> None:
        self.message, self.reachable, self.trades, self.deposit = message, reachable, tuple(trades), deposit
        super().__init__(message, reachable, self.trades, deposit)

    def __str__(self) -> str:
        return self.message


class _ListedError(EngineError):
    """An error that lists every offender; `unlisted` counts, by kind, those beyond what anybody would read."""

    def __init__(self, problems: Sequence[Problem], unlisted: Mapping[tuple[str, str], int] | None = None) -> None:
        if not problems:
            raise AssertionError(f"a {type(self).__name__} needs at least one problem")
        self.problems = tuple(problems)
        self.unlisted = dict(unlisted or {})
        super().__init__(self.problems, self.unlisted)

    @property
    def count(self) -> int:
        """Of all offenders, listed or not."""
        return len(self.problems) + sum(self.unlisted.values())

    def within(self, file: str) -> Self:
        """The same problems, said of the file that the tables came from."""
        named = [replace(problem, file=f"{file}, {problem.file}") for problem in self.problems]
        return type(self)(named, self.unlisted)

    def __str__(self) -> str:
        """One line a problem: up to PROBLEMS_SHOWN, at least three of every kind; the rest counted by kind."""
        shown = _shown(self.problems)
        left = Counter(problem.kind for i, problem in enumerate(self.problems) if i not in shown)
        left.update(self.unlisted)
        more = [f"... and {count} more with {field}: {remedy}" for (field, remedy), count in left.items()]
        return "\n".join([*(str(self.problems[i]) for i in sorted(shown)), *more])


class DataError(_ListedError):
    """Bad input. Nothing is computed from a partly bad input; every offender is listed or counted."""


class UnsolvedError(_ListedError, NumericalError):
    """Rows whose value is the solution of an equation that was not solved. Nothing is computed; all are listed."""

    def named(self, table: str, names: Sequence[str]) -> UnsolvedError:
        """The same problems with rows, which are counted from 0, by their names in a table."""
        return UnsolvedError([replace(p, file=table, row=str(names[int(p.row or 0)])) for p in self.problems])


def _shown(problems: Sequence[Problem]) -> set[int]:
    """Positions of the problems a message shows: the first of every kind, then the first ones."""
    if len(problems) <= PROBLEMS_SHOWN:
        return set(range(len(problems)))
    seen: Counter[tuple[str, str]] = Counter()
    shown: set[int] = set()
    for i, problem in enumerate(problems):
        seen[problem.kind] += 1
        if seen[problem.kind] <= SHOWN_OF_A_KIND:
            shown.add(i)
    others = (i for i in range(len(problems)) if i not in shown)
    return shown | set(itertools.islice(others, max(PROBLEMS_SHOWN - len(shown), 0)))
