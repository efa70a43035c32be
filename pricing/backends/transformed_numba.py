"""Models that are Black-76 in other variables, compiled by numba: the change of variables is part of the loop.

A loop holds the short way alone, which serves usual options, and marks the rows that it is not enough for: the caller
takes those through the formula itself. Kernels are compiled when their model is first asked for.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from pricing import displaced, spot
from pricing.arrays import FloatArray, read_only
from pricing.inversions import black76 as inversion
from pricing.models import black76
from pricing.xp import numba as XP

GREEKS = 9
BLOCK = 32_768
SOURCES: dict[str, ModuleType] = {"black_scholes_merton": spot, "displaced": displaced}
# The arguments of each, in the order its formula takes them.
ARGUMENTS = {
    "black_scholes_merton": ("forward", "strike", "tau", "vol", "rate", "dividend_yield", "sign"),
    "displaced": ("forward", "strike", "tau", "vol", "discount", "displacement", "sign"),
}


def _value_template(tag: str) -> Any:
    def value(columns, price):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        first, strike, tau, vol, fifth, sixth, sign = columns
        left = 0
        for n in range(price.shape[0]):
            usual, row = FORMULA(XP, first[n], strike[n], tau[n], vol[n], fifth[n], sixth[n], sign[n])  # noqa: F821
            price[n] = XP.nan_unless(usual, row[0])
            left += 0 if usual else 1
        return left

    return value


def _greeks_template(tag: str) -> Any:
    def greeks(columns, price, delta, gamma, vega, theta, rho, vanna, volga, charm):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        first, strike, tau, vol, fifth, sixth, sign = columns
        left = 0
        for n in range(price.shape[0]):
            usual, row = FORMULA(XP, first[n], strike[n], tau[n], vol[n], fifth[n], sixth[n], sign[n])  # noqa: F821
            price[n] = XP.nan_unless(usual, row[0])
            delta[n], gamma[n], vega[n], theta[n], rho[n], vanna[n], volga[n], charm[n] = row[1:]
            left += 0 if usual else 1
        return left

    return greeks


@functools.cache
def _kernel(model: str, all_greeks: bool) -> Any:
    source = SOURCES[model]
    template = _greeks_template("") if all_greeks else _value_template("")
    return XP.compile_kernel(template, XP.source_hash(source, black76), source.usual_greeks_of(black76))


def _exact_vol_template(tag: str) -> Any:
    def exact_vol(columns, vol):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, sign, first, second, third = columns
        for n in range(vol.shape[0]):
            row = FORMULA(XP, vol[n], forward[n], strike[n], tau[n], sign[n], first[n], second[n], third[n])  # noqa: F821
            vol[n] = row

    return exact_vol


@functools.cache
def _exact_vol_kernel(model: str) -> Any:
    source, tag = SOURCES[model], XP.source_hash(SOURCES[model], inversion)
    return XP.compile_kernel(_exact_vol_template(""), tag, source.exact_vol_of(inversion))


def exact_vol(model: str, columns: tuple[FloatArray, ...], vol: FloatArray, threads: int) -> None:
    """Take each vol in place from the rounded forward and strike to the exact ones.

    columns   (n,) each: forward, strike, tau and sign of the formula, then three of the model: spot, rate and yield; or
              forward, strike and displacement
    """
    given, kernel = tuple(read_only(column) for column in columns), _exact_vol_kernel(model)
    XP.run_in_threads(lambda rows: kernel(tuple(column[rows] for column in given), vol[rows]), vol.size, threads)


def usual_rows(model: str, columns: dict[str, FloatArray], out: tuple[FloatArray, ...], threads: int) -> int:
    """Write the value of each row, or the nine Greeks, into `out`; the number of rows whose value is left NaN.

    model     a name of ARGUMENTS
    columns   (n,) each, by the names that stand there
    out       one array (n,), or nine
    threads   rows are shared out among so many; never changes a result
    """
    given = tuple(read_only(columns[name]) for name in ARGUMENTS[model])
    kernel = _kernel(model, len(out) == GREEKS)
    left: list[int] = []

    def run(rows: slice) -> None:
        left.append(kernel(tuple(column[rows] for column in given), *(array[rows] for array in out)))

    XP.run_in_threads(run, out[0].size, threads)
    return int(np.sum(left))
