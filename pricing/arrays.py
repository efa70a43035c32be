"""Dimension letters, array aliases, limits and freezing.

Letters in annotations and docstrings: U underlyings, X (underlying, expiry) pairs, C currencies,
N instruments, S scenarios, A accounts, G margin groups, P positions, T history dates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pricing.errors import Problem

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
StrArray = NDArray[np.str_]
BoolArray = NDArray[np.bool_]

MILLISECONDS_PER_YEAR = 365 * 86_400_000
DAYS_PER_YEAR = 365.0

MAX_SCENARIOS = 4_096
MAX_INSTRUMENTS = 200_000
MAX_EXPIRIES = 4_096
MAX_ACCOUNTS = 10_000_000


def freeze(values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """A C-contiguous read-only array of `dtype` with the values given, copied only where needed."""
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.flags.writeable:
        array = array.copy() if array is values or array.base is not None else array
        array.flags.writeable = False
    return array


def read_only(column: FloatArray) -> FloatArray:
    """The same numbers, read-only: numba compiles anew for every mixture of writeable and read-only columns."""
    view = column.view()
    view.flags.writeable = False
    return view


def freeze_fields(table: object, dtypes: dict[str, Any]) -> None:
    """Freeze the named array fields of a frozen dataclass in place, once, in its __post_init__."""
    for name, dtype in dtypes.items():
        object.__setattr__(table, name, freeze(getattr(table, name), dtype))


def row_problems(
    table: str, field: str, bad: BoolArray, values: NDArray[Any], remedy: str, names: StrArray | None = None
) -> list[Problem]:
    """One `Problem` per row of a table where `bad` is true; rows are named, or counted from 0."""
    return [
        Problem(table, int(row) if names is None else str(names[row]), field, _plain(values[row]), remedy)
        for row in np.flatnonzero(bad)
    ]


def _plain(value: Any) -> object:
    return value.tolist() if hasattr(value, "tolist") else value
