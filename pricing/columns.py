"""Arguments of the array functions as flat columns, and arrays of the caller to write results into."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import PROBLEMS_SHOWN, DataError, Problem

# Comparing with the type itself takes twice as long, and short work has many arguments.
DOUBLE = np.dtype(np.float64)


def flat_columns(function: str, named: Mapping[str, ArrayLike]) -> tuple[dict[str, FloatArray], tuple[int, ...]]:
    """Every argument as a contiguous float64 column of the broadcast size, and the broadcast shape.

    Scalars, lists, numpy arrays and pandas series are accepted. DataError names what is not numbers, and the
    shapes where they do not broadcast.
    """
    arrays, shape = _broadcast(function, named)
    return {name: _flat(array, shape) for name, array in arrays.items()}, shape


def flat_table(function: str, named: Mapping[str, ArrayLike]) -> FloatArray:
    """What `flat_columns` gives as rows of a new array: for kernels that take one array sooner than many."""
    columns = [value for value in named.values() if _is_column(value)]
    # The usual case in one call: what follows takes as long as some hundred prices.
    if len(columns) == len(named) and len({len(column) for column in columns}) == 1:
        return np.concatenate(columns).reshape(len(columns), -1)
    arrays, shape = _broadcast(function, named)
    table = np.empty((len(arrays), math.prod(shape)))
    rows = table.reshape(len(arrays), *shape)
    for n, array in enumerate(arrays.values()):
        rows[n] = array
    return table


def _is_column(value: ArrayLike) -> TypeGuard[FloatArray]:
    return type(value) is np.ndarray and value.dtype == DOUBLE and value.ndim == 1


def _broadcast(function: str, named: Mapping[str, ArrayLike]) -> tuple[dict[str, FloatArray], tuple[int, ...]]:
    """Arguments as float64 arrays, and the shape that they broadcast to."""
    arrays = {name: numbers(function, name, value) for name, value in named.items()}
    try:
        different = {array.shape for array in arrays.values()}
        if len(different) > 1:
            different.discard(())  # numbers fit any shape, and the function below takes as long as all the rest
        return arrays, different.pop() if len(different) == 1 else np.broadcast_shapes(*different)
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError([Problem(function, None, "shapes", shapes, "these do not broadcast")]) from None


def _flat(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    # Most columns are what is wanted; the two functions take as long as some hundred prices to find that.
    if array.shape == shape and array.ndim == 1 and array.flags.c_contiguous:
        return array
    if not array.ndim:
        return np.full(math.prod(shape), array)
    whole = array if array.shape == shape else np.broadcast_to(array, shape)
    return whole.reshape(-1) if whole.flags.c_contiguous else np.ascontiguousarray(whole).reshape(-1)


def numbers(function: str, name: str, value: ArrayLike) -> FloatArray:
    """The argument as a float64 array. DataError for what is not numbers: texts, times, truth values, masked rows."""
    if type(value) is np.ndarray and value.dtype == DOUBLE:
        return value
    plain: object = value
    if isinstance(plain, float):
        return np.array(plain, np.float64)
    try:
        given = np.asarray(value)
        if np.ma.is_masked(value) or given.dtype.kind not in "fiuO":
            raise TypeError
        if given.dtype == np.float64:
            return given
        with np.errstate(over="ignore"):  # a wider float beyond doubles is infinite, and refused as such
            return given.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError):
        shown = repr(value)[:60]
        remedy = "+1 for a call, -1 for a put" if name == "sign" else "must be a number or an array of numbers"
        raise DataError([Problem(function, None, name, shown, remedy)]) from None


def slice_rows(function: str, name: str, value: ArrayLike) -> FloatArray:
    """Raw slices as (X,5), from (X,5) or one (5,). DataError names any other shape."""
    given = numbers(function, name, value)
    if given.shape[-1:] != (5,) or given.ndim > 2:
        raise DataError([Problem(function, None, name, given.shape, "raw slices a b rho m sigma are (X, 5) or (5,)")])
    return np.ascontiguousarray(given.reshape(-1, 5))


# Of a field, whether each row is good, and what it must be, in general or by row.
Bound = tuple[BoolArray | bool, str | Callable[[int], str]]


def check_rows(
    function: str, columns: Mapping[str, FloatArray], bounds: Mapping[str, Bound], at: IntArray | None = None
) -> None:
    """DataError where a row is not finite or not good. `at` says where the rows stand in what the caller gave.

    The first rows of each field are listed and the others counted, so that a million bad rows are refused at once.
    """
    problems: list[Problem] = []
    unlisted: Counter[tuple[str, str]] = Counter()
    for name, (good, remedy) in bounds.items():
        column = columns[name]
        rows = np.flatnonzero(~(good & np.isfinite(column)))
        listed = [
            Problem(
                function,
                int(row if at is None else at[row]),
                name,
                float(column[row]),
                remedy if isinstance(remedy, str) else remedy(int(row)),
            )
            for row in rows[:PROBLEMS_SHOWN]
        ]
        problems += listed
        if len(rows) > len(listed):
            unlisted[listed[0].kind] += len(rows) - len(listed)
    if problems:
        raise DataError(problems, unlisted)


def writable(function: str, field: str, array: Any, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """`array` if results of that shape and type can be written into it. DataError otherwise."""
    wanted = f"must be a writeable numpy array of {np.dtype(dtype).name} and of shape {shape}"
    if not isinstance(array, np.ndarray):
        raise DataError([Problem(function, None, field, type(array).__name__, wanted)])
    if array.shape != shape or array.dtype != np.dtype(dtype) or not array.flags.writeable:
        state = "writeable" if array.flags.writeable else "read-only"
        raise DataError([Problem(function, None, field, f"{state} {array.dtype.name} {array.shape}", wanted)])
    return array


def writable_by_name(function: str, arrays: Any, names: Sequence[str], shape: tuple[int, ...]) -> dict[str, FloatArray]:
    """The arrays of a dict that holds exactly `names`, each fit for results of that shape and apart from the others.

    DataError otherwise.
    """
    if not isinstance(arrays, dict) or set(arrays) != set(names):
        given = sorted(arrays) if isinstance(arrays, dict) else type(arrays).__name__
        raise DataError([Problem(function, None, "out", given, f"must be a dict of arrays named {', '.join(names)}")])
    fit = {name: writable(function, f"out[{name!r}]", arrays[name], shape, np.float64) for name in names}
    for first, second in itertools.combinations(names, 2):
        if np.may_share_memory(fit[first], fit[second]):
            text = f"must not share memory with out[{first!r}]"
            raise DataError([Problem(function, None, f"out[{second!r}]", "an array", text)])
    return fit


def direct(array: NDArray[Any], inputs: Sequence[FloatArray]) -> bool:
    """Whether a kernel may write into the array itself: contiguous, and apart from everything it reads."""
    return array.flags.c_contiguous and not any(np.may_share_memory(array, column) for column in inputs)
