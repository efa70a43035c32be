"""Forward curves of collected option chains, for the rule that says how far forwards move against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.dynamic.basis_rule import Curves
from portfolio_margin.io.deribit import moments_in
from portfolio_margin.io.tables import number_column, read_table, refuse, require_columns, row_problems_of, text_column
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("snapshot_utc", "currency", "expiry_utc", "underlying", "index")


def read_forward_curves(sources: Sequence[str | Path | pd.DataFrame], until: str = "") -> dict[str, Curves]:
    """Curves of every underlying, from chains with one row a contract and several snapshots.

    sources  tables with the columns COLUMNS: time of the snapshot, underlying, expiry, forward and spot of the row;
             together they are one history, in which a snapshot that two have counts once
    until    last day that counts, YYYY-MM-DD; "" for all

    A forward over the spot is the median of its rows, as they are collected one after another. DataError listing every
    bad row, and for a file without a snapshot up to `until`.
    """
    parts = [_points(source, until) for source in sources]
    times, names, expiries, basis = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(times):
        refuse("forward curves", "until", until, "no snapshot is as early")
    mine = {str(name): names == name for name in np.unique(names)}
    return {name: _curves(times[here], expiries[here], basis[here]) for name, here in mine.items()}


def _points(source: str | Path | pd.DataFrame, until: str) -> tuple[IntArray, np.ndarray, IntArray, FloatArray]:
    table = read_table(source, "chains")
    require_columns(table, list(COLUMNS), only=False)
    moments, numbers, problems = [], [], []
    for column in ("snapshot_utc", "expiry_utc"):
        times, unread = moments_in(table, column)
        problems += row_problems_of(table, column, unread, "must be a time")
        moments.append(times)
    for column in ("underlying", "index"):
        values, unread = number_column(table, column)
        problems += row_problems_of(table, column, unread | ~(values > 0.0), "must be a price above 0")
        numbers.append(values)
    if problems:
        raise DataError(problems)
    end = np.iinfo(np.int64).max
    if until:
        end = (np.datetime64(until, "D") + 1).astype("datetime64[ms]").astype(np.int64)
    kept = moments[0] < end
    names = np.array(text_column(table, "currency").to_list(), dtype=np.str_)
    return moments[0][kept], names[kept], moments[1][kept], np.log(numbers[0] / numbers[1])[kept]


def _curves(times: IntArray, expiries: IntArray, basis: FloatArray) -> Curves:
    moment, row = np.unique(times, return_inverse=True)
    expiry, place = np.unique(expiries, return_inverse=True)
    order = np.lexsort((basis, place, row))
    key = (row * len(expiry) + place)[order]
    found, first, count = np.unique(key, return_index=True, return_counts=True)
    ranked = basis[order]
    curve = np.full(len(moment) * len(expiry), np.nan)
    curve[found] = 0.5 * (ranked[first + (count - 1) // 2] + ranked[first + count // 2])
    return Curves(moment, expiry, curve.reshape(len(moment), len(expiry)))
