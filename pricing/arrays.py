"""Dimension letters, array aliases, limits and freezing.

Letters in annotations and docstrings: U underlyings, X (underlying, expiry) pairs, C currencies,
N instruments, S scenarios, A accounts, G margin groups, P positions, T history dates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pricing.errors import DataError, Problem

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
StrArray = NDArray[np.str_]
BoolArray = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

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


def read_only(column: NDArray[Scalar]) -> NDArray[Scalar]:
    """The same numbers, read-only: numba compiles anew for every mixture of writeable and read-only columns."""
    view = column.view()
    view.setflags(write=False)
    return view


def into(out: FloatArray | None, values: FloatArray) -> FloatArray:
    """The values, written into `out` where there is one."""
    if out is None:
        return values
    out[:] = values
    return out


def freeze_fields(table: object, dtypes: dict[str, Any]) -> None:
    """Freeze the named array fields of a frozen dataclass in place, once, in its __post_init__.

    DataError where freezing would lose something: decimals of an index, an imaginary part, a mask, a character.
    """
    problems: list[Problem] = []
    for name, dtype in dtypes.items():
        values = getattr(table, name)
        found = _unfit(type(table).__name__.lower(), name, values, np.dtype(dtype))
        problems += found
        if not found:
            object.__setattr__(table, name, freeze(values, dtype))
    if problems:
        raise DataError(problems)


def _unfit(table: str, name: str, values: Any, wanted: np.dtype[Any]) -> list[Problem]:
    """What a column of this type cannot hold."""
    try:
        given = np.ma.asarray(values) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    except (ValueError, OverflowError) as error:
        return [Problem(table, None, name, str(error), "must be one array")]
    if np.ma.is_masked(given):
        return [Problem(table, None, name, "masked values", "fill them, or leave their rows out")]
    if wanted.kind == "U":
        return [] if given.dtype.kind in "UO" or not given.size else [_wrong_type(table, name, given, "texts")]
    if given.dtype.kind not in "fiub" or (wanted.kind != "b" and given.dtype.kind == "b"):
        return [_wrong_type(table, name, given, "numbers")] if given.size else []
    if wanted.kind == "i" and given.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            broken = ~(np.rint(given) == given) | (np.abs(given) >= 2.0**63)
        return row_problems(table, name, np.atleast_1d(broken), np.atleast_1d(given), "must be a whole number")
    return []


def _wrong_type(table: str, name: str, given: NDArray[Any], wanted: str) -> Problem:
    return Problem(table, None, name, f"{given.dtype} {np.array2string(given.ravel()[:2])}", f"must hold {wanted}")


def row_problems(
    table: str,
    field: str,
    bad: BoolArray,
    values: NDArray[Any],
    remedy: str,
    names: StrArray | Callable[[], Sequence[str]] | None = None,
) -> list[Problem]:
    """One `Problem` per row of a table where `bad` is true; rows are named, by what is called only then where names are
    to be made, or counted from 0."""
    rows = np.flatnonzero(bad).tolist()
    if not rows:
        return []
    known = names() if callable(names) else names
    return [
        Problem(table, row if known is None else str(known[row]), field, _plain(values[row]), remedy) for row in rows
    ]


def _plain(value: Any) -> object:
    return value.tolist() if hasattr(value, "tolist") else value
