"""estimate: dynamics from data, for `price_paths.Dynamics`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError, DataError, Problem

# Regressions on itself so close to 1 do not tell a mean from none.
NO_REVERSION = 1e-9


@dataclass(frozen=True)
class JumpEstimate:
    """What a history of returns says of jumps, in the names of `Dynamics`.

    vol             of all returns, per sqrt(year), about 0
    count           jumps found
    jumps_per_year, jump_mean, jump_deviation, up_share, up_mean, down_mean   NaN sizes where there is none to measure
    variance_share  of the variance that jumps have
    """

    vol: float
    count: int
    jumps_per_year: float
    jump_mean: float
    jump_deviation: float
    up_share: float
    up_mean: float
    down_mean: float
    variance_share: float


@dataclass(frozen=True)
class VolEstimate:
    """What a history of a vol index says of its dynamics: mean_reversion, vol_of_vol, correlation of `Dynamics`."""

    mean_reversion: float
    vol_of_vol: float
    correlation: float


def estimate_jumps(returns: ArrayLike, step_years: float, threshold: float = 6.0, window: int = 168) -> JumpEstimate:
    """Jumps are returns beyond a multiple of the deviation of the window before them (Mancini 2009, Non-parametric
    threshold estimation), which is by bipower variation, so that earlier jumps hardly count (Barndorff-Nielsen and
    Shephard 2004, Power and bipower variation, equation 6).

    returns    (T,) logarithmic, of equal steps
    step_years length of a step
    threshold  in deviations, above 1
    window     steps that the deviation is taken from
    """
    given = _finite("returns", returns)
    if not (step_years > 0.0 and threshold > 1.0 and window >= 10):
        raise ConfigError("step_years must be above 0, threshold above 1 and window at least 10")
    if len(given) <= window + 2:
        remedy = f"needs more than window + 2 = {window + 2}"
        raise DataError([Problem("history", None, "returns", len(given), remedy)])
    products = np.pi / 2.0 * np.abs(given[1:]) * np.abs(given[:-1])
    local = np.convolve(products, np.full(window, 1.0 / window), "valid")[:-1]
    judged = given[window + 1 :]
    jumps = judged[np.abs(judged) > threshold * np.sqrt(local)]
    up, down = jumps[jumps > 0], jumps[jumps <= 0]
    years = len(judged) * step_years

    def mean(values: FloatArray) -> float:
        return float(values.mean()) if len(values) else np.nan

    return JumpEstimate(
        vol=float(np.sqrt(np.mean(judged**2) / step_years)),
        count=len(jumps),
        jumps_per_year=len(jumps) / years,
        jump_mean=mean(jumps),
        jump_deviation=float(jumps.std()) if len(jumps) else np.nan,
        up_share=len(up) / len(jumps) if len(jumps) else np.nan,
        up_mean=mean(up),
        down_mean=-mean(down),
        variance_share=float(np.sum(jumps**2) / np.sum(judged**2)),
    )


def estimate_vol(index: ArrayLike, returns: ArrayLike, step_years: float) -> VolEstimate:
    """Dynamics of ln v from an index of implied vol: its regression on itself one step before, exact for
    d ln v = kappa (mean - ln v) dt + xi dB, and the correlation of what is left with the returns of the price.

    index    (T,) of vol, any unit, above 0
    returns  (T-1,) logarithmic returns of the price from each value of the index to the next
    step_years  length of a step

    DataError where either is constant, and where the index does not revert: then there is no such process.
    """
    level, moves = _finite("index", index), _finite("returns", returns)
    if len(level) < 10 or len(moves) != len(level) - 1:
        remedy = f"needs one less than the {len(level)} values of the index, of which 10 at least"
        raise DataError([Problem("history", None, "returns", len(moves), remedy)])
    if np.any(level <= 0.0):
        row = int(np.flatnonzero(level <= 0.0)[0])
        raise DataError([Problem("history", row, "index", float(level[row]), "must be above 0")])
    x, y = np.log(level[:-1]), np.log(level[1:])
    for name, values in (("index", x), ("returns", moves)):
        if np.ptp(values) == 0.0:
            raise DataError([Problem("history", None, name, float(values[0]), "must not be the same all the time")])
    kept = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    if not 0.0 < kept < 1.0 - NO_REVERSION:
        remedy = "the index does not revert to a mean in this history: its regression on itself must be in (0, 1)"
        raise DataError([Problem("history", None, "index", kept, remedy)])
    left = (y - y.mean()) - kept * (x - x.mean())
    kappa = -np.log(kept) / step_years
    variance = float(np.var(left, ddof=2))
    return VolEstimate(
        mean_reversion=float(kappa),
        vol_of_vol=float(np.sqrt(variance * 2.0 * kappa / (1.0 - kept**2))),
        correlation=float(np.corrcoef(left, moves)[0, 1]),
    )


def _finite(name: str, values: ArrayLike) -> FloatArray:
    given = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(given))
    if given.ndim != 1 or len(bad):
        row = int(bad[0]) if given.ndim == 1 else None
        value = float(given[row]) if row is not None else str(given.shape)
        raise DataError([Problem("history", row, name, value, "must be one array of finite numbers")])
    return given
