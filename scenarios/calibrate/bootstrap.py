"""Confidence bands by the block bootstrap: blocks keep what neighbouring days have to do with each other.

Circular blocks of one length (Politis and Romano 1992). Bands are percentiles of the statistic over the draws
(Efron 1979), so they lie where the statistic can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError


class Figure(NamedTuple):
    """An estimate with its confidence band.

    value      of the whole history
    low, high  of the band
    """

    value: float
    low: float
    high: float


def block_rows(count: int, block: int, draws: int, seed: int) -> IntArray:
    """(draws, count) rows of resampled histories: blocks of neighbouring rows, the first following on the last.

    count   rows of the history
    block   rows of a block, 1 to count
    draws   resampled histories, 1 or more
    seed    of the generator; the same seed gives the same rows
    """
    if not 1 <= block <= count or draws < 1:
        raise ConfigError(f"block = {block!r}, draws = {draws!r}: needs blocks of 1 to {count} rows and draws above 0")
    starts = np.random.default_rng(seed).integers(0, count, size=(draws, -(-count // block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :count]
    return np.asarray(rows % count, dtype=np.int64)


def block_band(
    statistic: Callable[[FloatArray], float], series: ArrayLike, block: int, draws: int, level: float, seed: int
) -> Figure:
    """A statistic of a history and its band.

    statistic  of (T,...) rows to a number
    series     (T,...) rows, oldest first
    block, draws, seed   as `block_rows`
    level      share of the draws inside the band, such as 0.90
    """
    rows = np.asarray(series, dtype=np.float64)
    drawn = [statistic(rows[chosen]) for chosen in block_rows(len(rows), block, draws, seed)]
    return band(statistic(rows), drawn, level)


def band(value: float, drawn: ArrayLike, level: float) -> Figure:
    """A figure from its value and the values of the draws; draws in which it could not be had are NaN and left out."""
    low, high = np.nanquantile(np.asarray(drawn, dtype=np.float64), (0.5 - level / 2.0, 0.5 + level / 2.0))
    return Figure(float(value), float(low), float(high))
