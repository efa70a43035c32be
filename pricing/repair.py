"""Repair of given raw slices that hold butterfly or calendar arbitrage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray, row_problems
from pricing.butterfly import butterfly_free
from pricing.calendar_spread import calendar_free
from pricing.columns import numbers, slice_rows
from pricing.errors import DataError, Problem
from pricing.fit import Expiries, fit
from pricing.quotes import Quotes
from pricing.surfaces import svi

POINTS = 61


class RepairedSlices(NamedTuple):
    """Slices in place of given ones.

    svi                (X,5) raw slices
    moved_vol_points   (X,) largest change of vol within the deviations asked for; 0 where the slice was left alone
    free               (X,) free of butterflies, and nowhere below the slice before it: exact
    """

    svi: FloatArray
    moved_vol_points: FloatArray
    free: BoolArray


def repair_slices(slices: ArrayLike, tau: ArrayLike, *, deviations: float = 4.0) -> RepairedSlices:
    """Raw slices near the given ones and free of butterfly and of calendar arbitrage, by the joint fit.

    slices      (X,5) raw slices of one underlying in the order of time, or one (5,), of which butterflies are removed
    tau         (X,) years, above 0 and strictly rising
    deviations  how far to either side of the money the slices are to be kept, in deviations at the money

    Slices free of both are returned as they are. Else vols at 61 points of each slice, weighted by vega, are fitted as
    `fit(method="svi_joint")` fits quotes; whether the result is free is decided exactly and told. Raises DataError for
    rows that are no slice: NaN, no vol within the deviations, times that do not rise.
    """
    rows, times = slice_rows("repair_slices", "slices", slices), numbers("repair_slices", "tau", tau)
    times = np.atleast_1d(times)
    _check(rows, times, deviations)
    if _free(rows).all():
        return RepairedSlices(rows, np.zeros(len(rows)), _free(rows))
    at_the_money = svi.total_variance(np, 0.0, *rows.T)
    k = np.sqrt(at_the_money)[:, None] * np.linspace(-deviations, deviations, POINTS)
    w = svi.total_variance(np, k, *rows.T[:, :, None])
    positive = w > 0.0
    expiry, years = np.nonzero(positive)[0], np.broadcast_to(times[:, None], w.shape)[positive]
    nothing, strike = np.full(len(expiry), np.nan), np.exp(k[positive])
    vol = np.sqrt(w[positive] / years)
    sign = np.where(k[positive] >= 0.0, 1.0, -1.0)
    quotes = Quotes(expiry, strike, sign, np.ones(len(expiry)), years, nothing, nothing, vol)
    surface = fit(quotes, Expiries(np.zeros(len(rows), dtype=np.int64), times), method="svi_joint", weighting="vega")
    moved = np.zeros((len(rows), POINTS))
    moved[positive] = 100.0 * np.abs(surface.diagnostics.fitted_vol - vol)
    return RepairedSlices(surface.svi, moved.max(axis=1), _free(surface.svi))


def _free(rows: FloatArray) -> BoolArray:
    free = butterfly_free(rows)
    free[1:] &= calendar_free(rows[:-1], rows[1:])
    return free


def _check(rows: FloatArray, times: FloatArray, deviations: float) -> None:
    function = "repair_slices"
    if times.shape != (len(rows),) or not len(rows):
        shapes = f"slices {rows.shape}, tau {times.shape}"
        raise DataError([Problem(function, None, "shapes", shapes, "needs slices (X, 5) and tau (X,), X of 1 or more")])
    if not 0.0 < deviations < np.inf:
        raise DataError([Problem(function, None, "deviations", deviations, "must be a number above 0")])
    missing: BoolArray = np.asarray(~np.isfinite(rows).all(axis=1))
    back: BoolArray = ~(np.isfinite(times) & (np.diff(times, prepend=0.0) > 0.0))
    problems = row_problems(function, "slices", missing, rows, "no slice in this row")
    problems += row_problems(function, "tau", back, times, "years, above 0 and rising from row to row")
    if not problems:
        level = svi.total_variance(np, 0.0, *rows.T)
        empty: BoolArray = ~(level > 0.0)
        problems = row_problems(function, "total variance at the money", empty, level, "must be above 0")
    if problems:
        raise DataError(problems)
