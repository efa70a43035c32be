"""Columns: what every table of a risk parameter file is, frozen arrays of equal length."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

import numpy as np

from pricing.arrays import freeze_fields
from pricing.errors import DataError, Problem

DTYPES: dict[str, Any] = {
    "StrArray": np.str_,
    "IntArray": np.int64,
    "FloatArray": np.float64,
    "BoolArray": np.bool_,
}


class Columns:
    """Abstract base of the tables: every field is an array, all of one length, frozen; NaN or "" is absent."""

    def __post_init__(self) -> None:
        freeze_fields(self, {f.name: DTYPES[str(f.type)] for f in fields(self)})  # type: ignore[arg-type]
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        if len(set(lengths.values())) > 1:
            raise DataError([Problem(type(self).__name__, None, "rows", lengths, "columns of one length are needed")])

    def __len__(self) -> int:
        first = fields(self)[0].name  # type: ignore[arg-type]
        return len(getattr(self, first))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and not self.differences(other)

    def __hash__(self) -> int:
        return id(self)

    def differences(self, other: Self) -> list[str]:
        """Names of the columns in which two tables differ; absent values are alike."""
        different = []
        for f in fields(self):  # type: ignore[arg-type]
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if not np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"):
                different.append(f.name)
        return different

    @classmethod
    def from_rows(cls, rows: dict[str, list[Any]]) -> Self:
        """The table of column lists; a column without entries gets its type all the same."""
        dtype = {f.name: DTYPES[str(f.type)] for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: np.asarray(rows[name], dtype=dtype[name]) for name in dtype})
