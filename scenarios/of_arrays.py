"""of_arrays: what pure functions make of risk arrays, made once for each set of arrays and kept beside it.

A margin model looks at thousands of contracts to say what its parameters mean for them, and then at the twenty that an
account holds. The first depends on nothing but arrays, market and parameters, all of them frozen: kept with the arrays,
a question about one account costs only its own sums. New arrays, as every tick makes them, know nothing; whatever is
kept dies with the arrays it was made of, so nothing is ever out of date and there is nothing to clear.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

# Where results stand in the arrays' dictionary; it is no field, and goes into no file.
KEPT = "_kept"
# Results of one function that are kept for one set of arrays: of as many models, or of as many tables of one.
MOST_KEPT = 8
PLAIN = (str, bytes, int, float, bool, type(None))


def of_arrays(function: Callable[P, R]) -> Callable[P, R]:
    """The same function of an argument `arrays` and others, which keeps what it returns with the arrays.

    It must be pure. Other arguments are told apart by identity (texts and numbers by value), and are not kept alive. An
    array among them that may be written to is no key, nor is a tuple: then the function is simply called. Results are
    made read-only, and must not hold the arrays. What raises is not kept, and raises again.
    """
    names = list(inspect.signature(function).parameters)
    place = names.index("arrays")

    @wraps(function)
    def kept(*args: P.args, **kwargs: P.kwargs) -> R:
        given: list[Any] = [*args, *(kwargs[name] for name in names[len(args) :] if name in kwargs)]
        if len(given) < len(names):
            return function(*args, **kwargs)
        made = given.pop(place).__dict__.setdefault(KEPT, {})
        entries = made.get(function, ())
        for keys, result in entries:
            if _same(keys, given):
                return result
        result = function(*args, **kwargs)
        keys = tuple(_key(value) for value in given)
        if None not in keys:
            _freeze(result)
            living = [entry for entry in entries if all(_lives(key) for key in entry[0])]
            # One assignment: of two threads either leaves a whole list.
            made[function] = ((keys, result), *living[: MOST_KEPT - 1])
        return result

    return kept


def _key(value: Any) -> Any:
    """What an argument is known by again, None where it cannot be."""
    if isinstance(value, PLAIN):
        return (value,)
    if isinstance(value, np.ndarray) and value.flags.writeable:
        return None
    try:
        return weakref.ref(value)
    except TypeError:
        return None


def _same(keys: tuple[Any, ...], given: list[Any]) -> bool:
    for key, value in zip(keys, given, strict=True):
        if type(key) is tuple:
            known = key[0]
            if known is not value and (type(known) is not type(value) or known != value):
                return False
        elif key() is not value:
            return False
    return True


def _lives(key: Any) -> bool:
    return type(key) is tuple or key() is not None


def _freeze(value: Any) -> None:
    """Make every array of a result read-only."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, (tuple, list)):
        for part in value:
            _freeze(part)
    elif isinstance(value, dict):
        for part in value.values():
            _freeze(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for column in fields(value):
            _freeze(getattr(value, column.name))
