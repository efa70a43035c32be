"""Total variance between and beyond fitted expiries, at constant log-moneyness k = ln(K/F) of the expiry asked for.

before the first slice   w scales with time, w = w_1 tau / tau_1: the vol at k stays. Free of butterfly arbitrage where
                         the first slice is: g of c w is concave in c between c = 0, where it is a square, and c = 1
between two slices       w is linear in time. Free of calendar arbitrage where the slices are; butterfly freedom is not
                         a theorem there (Gatheral and Jacquier 2014, section 5.3, interpolate option prices for that)
after the last slice     w moves up in parallel, w = w_X + w_X(0) (tau / tau_X - 1): the vol at the money stays, wings
                         flatten, wing slopes stay within Lee's bound
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray, row_problems
from pricing.columns import flat_columns, numbers, slice_rows
from pricing.errors import DataError, Problem
from pricing.surfaces import svi


def total_variance_at(slices: ArrayLike, slice_tau: ArrayLike, tau: ArrayLike, k: ArrayLike) -> FloatArray:
    """Total variance of one underlying at times and log-moneyness; tau and k broadcast.

    slices     (X,5) raw SVI of one underlying in the order of time, no row of NaN: `slices_of` chooses them
    slice_tau  (X,) years to their expiries, above 0 and strictly rising
    tau        years, 0 or more
    k          ln(strike / forward of that expiry)

    Raises DataError naming the rows: those of two underlyings do not rise in time, and an expiry without quotes has
    no slice.
    """
    return _total_variance("total_variance_at", slices, slice_tau, tau, k, may_be_0=True)[0]


def vol_at(slices: ArrayLike, slice_tau: ArrayLike, tau: ArrayLike, k: ArrayLike) -> FloatArray:
    """Vol per sqrt(year) at times tau above 0 and log-moneyness k, as `total_variance_at`."""
    total_variance, time = _total_variance("vol_at", slices, slice_tau, tau, k, may_be_0=False)
    return np.sqrt(total_variance / time)


def _total_variance(
    function: str, slices: ArrayLike, slice_tau: ArrayLike, tau: ArrayLike, k: ArrayLike, may_be_0: bool
) -> tuple[FloatArray, FloatArray]:
    """Total variance, and the times that it stands for, in the broadcast shape."""
    rows, times = slice_rows(function, "slices", slices), numbers(function, "slice_tau", slice_tau)
    columns, shape = flat_columns(function, {"tau": tau, "k": k})
    tau, k = (columns[name].reshape(shape) for name in ("tau", "k"))
    problems = _stack_problems(function, rows, times)
    lowest = 0.0 if may_be_0 else np.nextafter(0.0, 1.0)
    early: BoolArray = ~(np.isfinite(columns["tau"]) & (columns["tau"] >= lowest))
    problems += row_problems(function, "tau", early, columns["tau"], f"years, {'0 or more' if may_be_0 else 'above 0'}")
    problems += row_problems(function, "k", ~np.isfinite(columns["k"]), columns["k"], "must be a finite number")
    if problems:
        raise DataError(problems)
    later = np.searchsorted(times, tau)
    earlier = np.maximum(later - 1, 0)
    at = np.minimum(later, len(times) - 1)
    w_later = svi.total_variance(np, k, *np.moveaxis(rows[at], -1, 0))
    w_earlier = np.where(later > 0, svi.total_variance(np, k, *np.moveaxis(rows[earlier], -1, 0)), 0.0)
    time_earlier = np.where(later > 0, times[earlier], 0.0)
    inside = later < len(times)
    share = (tau - time_earlier) / np.where(inside, times[at] - time_earlier, 1.0)
    growth = svi.total_variance(np, 0.0, *rows[-1]) * (tau / times[-1] - 1.0)
    return np.where(inside, w_earlier + share * (w_later - w_earlier), w_later + growth), tau


def _stack_problems(function: str, rows: FloatArray, times: FloatArray) -> list[Problem]:
    if times.shape != (len(rows),) or not len(rows):
        shapes = f"slices {rows.shape}, slice_tau {times.shape}"
        return [Problem(function, None, "shapes", shapes, "needs slices (X, 5) and slice_tau (X,), X of 1 or more")]
    missing: BoolArray = np.asarray(~np.isfinite(rows).all(axis=1))
    early: BoolArray = ~(np.isfinite(times) & (times > 0.0))
    problems = row_problems(function, "slices", missing, rows, "no slice in this row: take `slices_of` one underlying")
    problems += row_problems(function, "slice_tau", early, times, "years, above 0")
    if not problems:
        back = np.diff(times, prepend=0.0) <= 0.0
        remedy = "times must rise from row to row: take `slices_of` one underlying"
        problems = row_problems(function, "slice_tau", back, times, remedy)
    return problems
