"""What vols and forwards of a whole surface did: constant tenors, principal components, shocks of basis and rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import DAYS_PER_YEAR, FloatArray, StrArray
from pricing.errors import ConfigError
from scenarios.calibrate.bootstrap import Figure, block_band, block_length
from scenarios.calibrate.moves import horizon_moves, quantile
from scenarios.calibrate.settings import Settings

TENORS = (3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0)
# Log-moneyness in deviations to expiry of the vol at the money: ln(K/F) / (vol sqrt(tau)).
MONEYNESS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
LEAST_DAYS = 20


class SurfaceHistory(NamedTuple):
    """Vols and forwards at constant tenors, one row a day.

    date       (T,) YYYY-MM-DD, rising
    days       (K,) tenors in days
    moneyness  (Z,) ln(K/F) / (vol sqrt(tau))
    vol        (T,K,Z) per sqrt(year); NaN where the quotes do not reach
    rate       (T,K) ln(forward / spot) / tau, a year; NaN where no expiry is on either side
    gaps       days before and after each gap, "2026-01-03 to 2026-01-12"; the days of a gap are rows of NaN, so that no
               move over it counts
    """

    date: StrArray
    days: FloatArray
    moneyness: FloatArray
    vol: FloatArray
    rate: FloatArray
    gaps: tuple[str, ...] = ()

    @property
    def known_days(self) -> int:
        """Days on which there is a vol."""
        return int(np.isfinite(self.vol).any(axis=(1, 2)).sum())

    @property
    def at_the_money(self) -> FloatArray:
        """(T,K) vols at the forward."""
        return self.vol[:, :, int(np.argmin(np.abs(self.moneyness)))]


def slice_vols(log_moneyness: ArrayLike, vol: ArrayLike, tau: float, moneyness: ArrayLike) -> FloatArray:
    """(Z,) vols of one expiry at places of moneyness, straight lines between quotes; NaN outside them.

    log_moneyness, vol  (N,) quotes of one expiry, ln(K/F) rising
    tau                 years to expiry, above 0
    moneyness           (Z,) in deviations to expiry of the vol at the forward
    """
    k, v, places = (np.asarray(x, dtype=np.float64) for x in (log_moneyness, vol, moneyness))
    if len(k) < 2 or not k[0] <= 0.0 <= k[-1]:
        return np.full(len(places), np.nan)
    at = float(np.interp(0.0, k, v))
    return np.asarray(np.interp(places * at * np.sqrt(tau), k, v, left=np.nan, right=np.nan))


def constant_tenors(tau: ArrayLike, values: ArrayLike, days: ArrayLike) -> FloatArray:
    """(K,...) numbers that are linear in time between expiries, such as total variances, at tenors; NaN outside.

    tau     (X,) years to expiry, rising
    values  (X,...) one row an expiry; NaN where there is none, which takes both intervals beside it
    days    (K,) tenors
    """
    times, table = np.asarray(tau, dtype=np.float64), np.asarray(values, dtype=np.float64)
    wanted = np.asarray(days, dtype=np.float64) / DAYS_PER_YEAR
    found = np.full((len(wanted), *table.shape[1:]), np.nan)
    for n, time in enumerate(wanted):
        if len(times) > 1 and times[0] <= time <= times[-1]:
            after = min(int(np.searchsorted(times, time, side="left")), len(times) - 1)
            before = max(after - 1, 0)
            part = (time - times[before]) / (times[after] - times[before]) if after > before else 0.0
            found[n] = (1.0 - part) * table[before] + part * table[after] if part < 1.0 else table[after]
    return found


class Components(NamedTuple):
    """Principal components of daily log changes, the largest first.

    share    (C,) of the variance
    loading  (C,N) of every column, of length 1; the sum of each is 0 or more
    shock    (C,) quantile of the size of its score over the horizon, in logarithm, at the confidence
    rows     days with all columns known
    """

    share: FloatArray
    loading: FloatArray
    shock: FloatArray
    rows: int


def components(changes: ArrayLike, settings: Settings, count: int = 3) -> Components:
    """Principal components of (T,N) log changes a day, of the days on which all columns are known.

    ConfigError where there are too few of them.
    """
    table = np.asarray(changes, dtype=np.float64)
    known = table[np.all(np.isfinite(table), axis=1)]
    if len(known) < LEAST_DAYS:
        raise ConfigError(f"{len(known)} days on which all {table.shape[1]} vols are known: needs {LEAST_DAYS}")
    centred = known - known.mean(axis=0)
    _, size, loading = np.linalg.svd(centred, full_matrices=False)
    kept = min(count, len(size))
    loading = loading[:kept] * np.where(loading[:kept].sum(axis=1) < 0.0, -1.0, 1.0)[:, None]
    scores = np.abs(horizon_moves(known @ loading.T, int(settings.horizon_days)))
    shock = np.array([quantile(scores[:, n], settings.confidence) for n in range(kept)])
    return Components(size[:kept] ** 2 / np.sum(size**2), loading, shock, len(known))


class BasisShock(NamedTuple):
    """How far forwards move against the spot: a move of the forward of at most max(floor, rate x years), relative.

    days    (K,) tenors
    basis   (K,) quantile of the change of ln(forward / spot) at a constant tenor over the horizon
    change  (K,) the same of the rate a year
    rate    a year, that covers every tenor beyond a month
    floor   that covers every tenor up to a month
    band    of the change of the 30-day rate
    """

    days: FloatArray
    basis: FloatArray
    change: FloatArray
    rate: float
    floor: float
    band: Figure


def basis_shock(days: ArrayLike, rate: ArrayLike, settings: Settings) -> BasisShock:
    """Shocks of basis and rate from a history of rates at constant tenors.

    days   (K,) tenors in days
    rate   (T,K) ln(forward / spot) / tau a year, one row a day, NaN where it is not known
    """
    tenors, rates = np.asarray(days, dtype=np.float64), np.asarray(rate, dtype=np.float64)
    steps = int(settings.horizon_days)
    moves = np.abs(rates[steps:] - rates[:-steps])
    change = np.array([_known_quantile(moves[:, k], settings.confidence) for k in range(len(tenors))])
    basis = change * tenors / DAYS_PER_YEAR
    near = tenors <= 30.0
    month = moves[:, int(np.argmin(np.abs(tenors - 30.0)))]
    month = month[np.isfinite(month)]
    if len(month) < LEAST_DAYS:
        raise ConfigError(f"{len(month)} days with a rate at 30 days: needs {LEAST_DAYS}")
    figure = block_band(
        lambda sizes: quantile(sizes, settings.confidence),
        month, block_length(month, settings), int(settings.draws), settings.band, int(settings.seed),
    )  # fmt: skip
    far = change[~near][np.isfinite(change[~near])]
    close = basis[near][np.isfinite(basis[near])]
    return BasisShock(tenors, basis, change, float(far.max(initial=0.0)), float(close.max(initial=0.0)), figure)


def _known_quantile(values: FloatArray, level: float) -> float:
    known = values[np.isfinite(values)]
    return quantile(known, level) if len(known) >= LEAST_DAYS else float("nan")
