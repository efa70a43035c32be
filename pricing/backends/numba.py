"""value and greeks of flat arrays compiled by numba: production."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numba
import numpy as np

from pricing import exercise
from pricing.arrays import FloatArray, read_only
from pricing.backends import american_numba
from pricing.models import black76
from pricing.resolve import is_solved
from pricing.xp import numba as XP

GREEKS = 9


def _value_template(tag: str) -> Any:
    def value(forward, strike, tau, vol, discount, sign, out):
        tag  # noqa: B018 - enters the key of the disk cache
        for n in numba.prange(out.shape[0]):
            out[n] = FORMULA(XP, forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])  # noqa: F821

    return value


def _greeks_template(tag: str) -> Any:
    # Nine separate outputs: the compiler cannot prove the rows of one array apart.
    def greeks(columns, price, delta, gamma, vega, theta, rho, vanna, volga, charm):
        tag  # noqa: B018 - enters the key of the disk cache
        forward, strike, tau, vol, discount, sign = columns
        for n in numba.prange(price.shape[0]):
            row = FORMULA(XP, forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])  # noqa: F821
            price[n], delta[n], gamma[n], vega[n], theta[n], rho[n], vanna[n], volga[n], charm[n] = row

    return greeks


@functools.cache
def _value_kernel(model: ModuleType) -> Any:
    return XP.compile_kernel(_value_template(""), XP.source_hash(model), model.value, parallel=True)


@functools.cache
def _greeks_kernel(model: ModuleType) -> Any:
    return XP.compile_kernel(_greeks_template(""), XP.source_hash(model), model.greeks, parallel=True)


def value(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> FloatArray:
    """Value of each row; see the numpy backend."""
    if is_solved(model):
        european = value(black76, columns[:6], threads)
        return exercise.value(american_numba, columns, european, threads=threads)
    out = np.empty(columns[0].shape)
    with XP.thread_count(threads):
        _value_kernel(model)(*(read_only(column) for column in columns), out)
    return out


def greeks(model: ModuleType, columns: tuple[FloatArray, ...], threads: int = 1) -> tuple[FloatArray, ...]:
    """value and eight Greeks of each row; see the numpy backend."""
    if is_solved(model):
        european = greeks(black76, columns[:6], threads)
        return exercise.greeks(american_numba, columns, european, threads=threads)
    out = tuple(np.empty(columns[0].shape) for _ in range(GREEKS))
    with XP.thread_count(threads):
        _greeks_kernel(model)(tuple(read_only(column) for column in columns), *out)
    return out
