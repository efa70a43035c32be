"""Confidence bands by the block bootstrap: blocks keep what neighbouring days have to do with each other.

Circular blocks of one length (Politis and Romano 1992). Bands are percentiles of the statistic over the draws
(Efron 1979), so they lie where the statistic can be.

The length follows from the series (Politis and White 2004, corrected by Patton, Politis and White 2009): with the
autocovariances R(k) up to twice the lag from which on they are noise, tapered by the flat-top window w,

    length = (2 G^2 / D)^(1/3) T^(1/3),   G = sum w |k| R(k),   D = 4/3 (sum w R(k))^2

It is the best for the variance of a mean; the series is the size of the moves, whose memory is that of volatility.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError, NumericalError
from scenarios.calibrate.settings import Settings

# A history has so many blocks at least, however long its memory seems.
LEAST_BLOCKS = 10
# Moves beyond a quantile that come in fewer separate blocks do not tell how uncertain it is.
LEAST_CLUSTERS = 10


class Figure(NamedTuple):
    """An estimate with its confidence band.

    value      of the whole history
    low, high  of the band
    block      rows of a block; NaN where the band is of no blocks
    clusters   separate blocks that hold a move beyond the value; NaN where it is no quantile
    """

    value: float
    low: float
    high: float
    block: float = float("nan")
    clusters: float = float("nan")

    def changed(self, change: Callable[[float], ArrayLike]) -> Figure:
        """The figure in another unit; change is a rising function of a number."""
        value, low, high = (float(np.asarray(change(x))) for x in (self.value, self.low, self.high))
        return self._replace(value=value, low=low, high=high)

    @property
    def doubtful(self) -> bool:
        """Whether the moves beyond the value come in so few clusters that the band may be too narrow."""
        return self.clusters < LEAST_CLUSTERS


def automatic_block(series: ArrayLike) -> float:
    """Rows of a circular block that suit a series of (T,) numbers, by their autocovariances; 1 where it is constant.

    Not rounded and without a bound, as the rule has it.
    """
    x = np.asarray(series, dtype=np.float64)
    count = len(x)
    x = x - x.mean()
    scale = float(x @ x) / count if count else 0.0
    if count < 10 or scale <= 0.0:
        return 1.0
    # So many correlations in a row must be noise, as Politis and White advise, among lags up to the root of the rows.
    run = max(5, int(np.ceil(np.sqrt(np.log10(count)))))
    most = min(int(np.ceil(np.sqrt(count))) + run, count - 1)
    covariance = np.array([x[lag:] @ x[: count - lag] for lag in range(most + 1)]) / count
    noise = np.abs(covariance[1:] / scale) < 2.0 * np.sqrt(np.log10(count) / count)
    quiet = [lag for lag in range(most - run + 1) if noise[lag : lag + run].all()]
    loud = np.flatnonzero(~noise)
    last = quiet[0] if quiet else int(loud[-1]) + 1 if len(loud) else 1
    width = min(2 * max(last, 1), most)
    lags = np.arange(width + 1)
    # The flat top: 1 up to half of the width, then straight down to 0; lags on both sides.
    weight = np.clip(2.0 * (1.0 - lags / width), 0.0, 1.0) * np.where(lags > 0, 2.0, 1.0) * covariance[: width + 1]
    total = float(weight.sum())
    if total <= 0.0:
        return 1.0
    return float((1.5 * (float(weight @ lags) / total) ** 2) ** (1.0 / 3.0) * count ** (1.0 / 3.0))


def block_length(series: ArrayLike, settings: Settings, apart: int = 1, memory: float = 0.0) -> int:
    """Rows of a block for (T,) moves: those of the settings, or by the size of the moves where these say 0.

    At least a horizon, over which neighbours share days, and at most a tenth of the rows.

    series  (T,) moves, of which the sizes count
    apart   days from one row to the next
    memory  days that volatility is known to remember; of a short history the rule may not see them
    """
    sizes = np.abs(np.asarray(series, dtype=np.float64))
    wanted = (
        settings.block_days / apart if settings.block_days else np.ceil(max(automatic_block(sizes), memory / apart))
    )
    least = -(-int(settings.horizon_days) // apart)
    most = len(sizes) if settings.block_days else max(len(sizes) // LEAST_BLOCKS, least)
    return int(min(max(int(wanted), 1 if settings.block_days else least), most, len(sizes)))


def clusters_beyond(series: ArrayLike, level: float, block: int) -> int:
    """Separate blocks, counted back from the last row, that hold a number of (T,) beyond a level."""
    back = np.flatnonzero(np.asarray(series, dtype=np.float64)[::-1] > level)
    return len(np.unique(back // block))


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
    value = statistic(rows)
    drawn = [of_draw(statistic, rows[chosen]) for chosen in block_rows(len(rows), block, draws, seed)]
    return band(value, drawn, level)


def of_draw(statistic: Callable[[FloatArray], float], rows: FloatArray) -> float:
    """A statistic of a draw of a history that has it; NaN where the draw has not.

    A draw holds rows more than once. Where a tail begins at such a move, too few others may be above it.
    """
    try:
        return statistic(rows)
    except (ConfigError, NumericalError):
        return float("nan")


def band(value: float, drawn: ArrayLike, level: float) -> Figure:
    """A figure from its value and the values of the draws; draws in which it could not be had are NaN and left out.

    ConfigError where it could be had in fewer than half of them, which are then no sample of what it may be.
    """
    values = np.asarray(drawn, dtype=np.float64)
    known = int(np.sum(np.isfinite(values)))
    if 2 * known < len(values):
        raise ConfigError(
            f"a figure of {value:.6g} can be had in {known} of {len(values)} draws of its history, and its band needs "
            f"half of them; widen tail_share, or give a longer history"
        )
    low, high = np.nanquantile(values, (0.5 - level / 2.0, 0.5 + level / 2.0))
    return Figure(float(value), float(low), float(high))
