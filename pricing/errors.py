"""The exceptions of the engine and the status codes of its kernels.

EngineError
 +- DataError        bad input; lists every offender with file, row, field and value
 +- ConfigError      a parameter out of its bounds
 +- NumericalError   a computation that cannot be carried out exactly or did not converge

Inside kernels a failure is a status code per element; callers decide what it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

PROBLEMS_SHOWN = 50


class Status(IntEnum):
    """Outcome of one element of a numerical kernel."""

    OK = 0
    BELOW_INTRINSIC = 1
    ABOVE_MAXIMUM = 2
    NOT_CONVERGED = 3
    NOT_FINITE = 4
    EXPIRED = 5
    NOT_DETERMINED = 6


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the input: where it stands, what stands there, what to do."""

    file: str
    row: int | str | None
    field: str
    value: object
    remedy: str

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{where}, {self.field} = {self.value!r}: {self.remedy}"


class EngineError(Exception):
    """Base of every exception the engine raises on purpose."""


class ConfigError(EngineError):
    """A parameter is out of its bounds or two parameters contradict each other."""


class NumericalError(EngineError):
    """A result cannot be computed exactly, or an iteration did not converge."""


class DataError(EngineError):
    """Bad input. Nothing is computed from a partly bad input; every offender is listed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise AssertionError("a DataError needs at least one problem")
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def within(self, file: str) -> DataError:
        """The same problems, said of the file that the tables came from."""
        return DataError([replace(problem, file=f"{file}, {problem.file}") for problem in self.problems])

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:PROBLEMS_SHOWN]]
        left = len(self.problems) - len(shown)
        if left:
            shown.append(f"... and {left} more rows of the same kinds")
        return "\n".join(shown)
