"""How underlyings move together: shrunk correlations, and the credit that a spread between two has earned.

Correlations of standardised returns are shrunk towards none at all by Ledoit and Wolf (2004), which for two underlyings
says how much of a credit may be luck. The credit of a pair is that of a spread with equal ranges on both legs: what its
move over the horizon, at the confidence, leaves of the two ranges that it would be charged without netting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.calibrate.bootstrap import Figure, block_band, block_length
from scenarios.calibrate.moves import as_relative, horizon_moves, quantile
from scenarios.calibrate.settings import Settings

YEAR_DAYS = 365


class Shrunk(NamedTuple):
    """Correlations of a history.

    correlation  (N,N) shrunk, with ones on the diagonal
    sample       (N,N) as they were
    intensity    share of the target in the shrunk ones, 0 to 1
    """

    correlation: FloatArray
    sample: FloatArray
    intensity: float


def shrunk_correlation(returns: ArrayLike) -> Shrunk:
    """Correlations of (T,N) returns shrunk towards the identity, with the intensity of Ledoit and Wolf (2004, lemma 3).

    ConfigError where a column does not move or there are fewer than three rows.
    """
    rows = np.asarray(returns, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 3 or not np.all(rows.std(axis=0) > 0.0):
        raise ConfigError(f"returns of the shape {rows.shape}: needs three rows at least, and columns that move")
    z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    count, wide = z.shape
    sample = z.T @ z / count
    # Norms are over N, as in the paper; the mean of the eigenvalues of a correlation is 1.
    distance = np.sum((sample - np.eye(wide)) ** 2) / wide
    noise = (np.sum(np.sum(z * z, axis=1) ** 2) / count - np.sum(sample**2)) / (count * wide)
    intensity = float(min(max(noise, 0.0) / distance, 1.0)) if distance > 0.0 else 1.0
    return Shrunk((1.0 - intensity) * sample + intensity * np.eye(wide), sample, intensity)


class Credit(NamedTuple):
    """The offset of a spread between two underlyings, shares of the two ranges together.

    credit   1 - quantile of the spread's move / 2 ranges, with its band; what is granted is the low end of it
    granted  the low end, at least 0
    worst    credit of the 365 rows in which it was smallest, wherever they begin; that of all there is where it is
             shorter
    """

    credit: Figure
    granted: float
    worst: float


def spread_credit(first: ArrayLike, second: ArrayLike, ranges: tuple[float, float], settings: Settings) -> Credit:
    """The credit of a pair.

    first, second  (T,) log returns over the same days, oldest first
    ranges         relative price range of each
    """
    steps = int(settings.horizon_days)
    legs = [as_relative(horizon_moves(x, steps)) / r for x, r in zip((first, second), ranges, strict=True)]
    spread = np.abs(legs[0] - legs[1])

    def credit(sizes: FloatArray) -> float:
        return 1.0 - 0.5 * quantile(sizes, settings.confidence)

    block = block_length(spread, settings)
    figure = block_band(credit, spread, block, int(settings.draws), settings.band, int(settings.seed))
    years = np.lib.stride_tricks.sliding_window_view(spread, min(YEAR_DAYS, len(spread)))
    worst = min(credit(year) for year in years)
    return Credit(figure, max(figure.low, 0.0), worst)
