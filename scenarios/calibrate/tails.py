"""Tails: the generalised Pareto distribution above a threshold, its diagnostics, and the normal tail beside it.

Peaks over threshold (Pickands 1975; McNeil, Frey and Embrechts 2015, section 5.2): excesses y over a high threshold u
have G(y) = 1 - (1 + shape y/scale)^(-1/shape). With N_u of n observations above u,
    VaR_p = u + scale/shape ((n/N_u (1-p))^(-shape) - 1)
    ES_p  = (VaR_p + scale - shape u)/(1 - shape)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError, NumericalError
from scenarios.calibrate.moves import quantile

LEAST_EXCESSES = 10
# Below this shape the likelihood is unbounded (Smith 1985); at the other end the mean of the tail is long gone.
SMALLEST_SHAPE, LARGEST_SHAPE = -0.9, 5.0
# Nodes of the first search, in theta x mean excess: from nearly the upper end of the data to very heavy tails.
SEARCH = np.concatenate([-np.geomspace(1.0, 1e-4, 60), np.geomspace(1e-4, 200.0, 90)])
NEAR_EXPONENTIAL = 1e-7


class Tail(NamedTuple):
    """A generalised Pareto tail.

    threshold       u, in the unit of the observations
    shape, scale    of the excesses; shape above 0 is a heavy tail
    exceedances     observations above the threshold
    observations    all of them
    log_likelihood  of the excesses
    """

    threshold: float
    shape: float
    scale: float
    exceedances: int
    observations: int
    log_likelihood: float

    def quantile(self, level: float) -> float:
        """The quantile, in the unit of the observations; ConfigError for a level that is below the threshold."""
        ratio = self._share_beyond(level)
        if abs(self.shape) < NEAR_EXPONENTIAL:
            return float(self.threshold - self.scale * np.log(ratio))
        return float(self.threshold + self.scale * np.expm1(-self.shape * np.log(ratio)) / self.shape)

    def expected_shortfall(self, level: float) -> float:
        """Mean beyond the quantile; infinite where the shape is 1 or more."""
        if self.shape >= 1.0:
            return float("inf")
        return float((self.quantile(level) + self.scale - self.shape * self.threshold) / (1.0 - self.shape))

    def _share_beyond(self, level: float) -> float:
        share = self.exceedances / self.observations
        if not 1.0 - share - 1e-12 <= level < 1.0:
            raise ConfigError(f"level = {level!r}: the tail begins at {1.0 - share:.6g}, so give that to below 1")
        return min((1.0 - level) / share, 1.0)


def moves_in_tail(count: int, share: float) -> int:
    """How many of `count` moves, all of them different, are above their quantile (`moves.quantile`) at 1 - share."""
    return int(np.sum(np.arange(count) > quantile(np.arange(count), 1.0 - share))) if count > 0 else 0


def tail_of_share(values: ArrayLike, share: float, level: float) -> Tail:
    """The tail of a share of a sample: above its quantile at 1 - share.

    values  (T,) sizes of moves over the horizon
    share   `tail_share` of the settings
    level   that the tail has to reach down to, `confidence` of the settings

    ConfigError, with setting and history, where too few of them lie above: equal moves, of a price that stands still or
    of a draw that has a move many times, are all on the threshold or all above.
    """
    sample = np.asarray(values, dtype=np.float64)
    threshold = quantile(sample, 1.0 - share)
    above, least = int(np.sum(sample > threshold)), max(math.ceil((1.0 - level) * len(sample) - 1e-9), LEAST_EXCESSES)
    if above < least:
        raise ConfigError(
            f"tail_share = {share!r}: of a history of {len(sample)} moves over the horizon {above} are above "
            f"{threshold:.4g}, where the tail begins, and it needs {least}; widen it, or give a longer history"
        )
    return fit_tail(sample, threshold)


def fit_tail(values: ArrayLike, threshold: float) -> Tail:
    """The tail of a sample above a threshold, by maximum likelihood.

    values     (T,) observations, losses as positive numbers
    threshold  u; what is above it counts

    With theta = shape/scale the likelihood has its maximum over the scale in closed form, so that one number is
    searched: shape(theta) = mean ln(1 + theta y) (Grimshaw 1993). ConfigError for too few excesses.
    """
    sample = np.asarray(values, dtype=np.float64)
    excesses = sample[sample > threshold] - threshold
    return fit_excesses(excesses, threshold, len(sample))


def fit_excesses(excesses: ArrayLike, threshold: float, observations: int) -> Tail:
    """The same from (N,) excesses above 0 over the threshold, of so many observations."""
    from scipy.optimize import minimize_scalar

    y = np.asarray(excesses, dtype=np.float64)
    if len(y) < LEAST_EXCESSES or not np.all((y > 0.0) & np.isfinite(y)):
        raise ConfigError(f"threshold = {threshold!r}: {len(y)} excesses above it, needs {LEAST_EXCESSES} above 0")
    mean, highest = float(y.mean()), float(y.max())
    scaled = y / mean
    nodes = np.where(SEARCH < 0.0, SEARCH * mean / highest * (1.0 - 1e-9), SEARCH)
    nodes = np.sort(np.append(nodes, 0.0))
    profile = _profiles(nodes, scaled)
    best = int(np.argmax(profile))
    low, high = nodes[max(best - 1, 0)], nodes[min(best + 1, len(nodes) - 1)]
    # A neighbour whose shape is out of bounds has no likelihood: no parabola goes through it, and sections are golden.
    with np.errstate(invalid="ignore"):
        found = minimize_scalar(
            lambda theta: -_profile(theta, scaled), bounds=(low, high), method="bounded", options={"xatol": 1e-12}
        )
    theta = float(found.x) if -found.fun >= profile[best] else float(nodes[best])
    shape, scale = _shape_and_scale(theta, scaled)
    likelihood = _profile(theta, scaled) - len(y) * np.log(mean)
    if not np.isfinite(likelihood):
        raise NumericalError(f"threshold = {threshold!r}: no tail fits the {len(y)} excesses above it")
    return Tail(float(threshold), shape, scale * mean, len(y), int(observations), float(likelihood))


def _shape_and_scale(theta: float, y: FloatArray) -> tuple[float, float]:
    if abs(theta) < NEAR_EXPONENTIAL:
        return 0.0, float(y.mean())
    shape = float(np.log1p(theta * y).mean())
    return shape, shape / theta


def _profile(theta: float, y: FloatArray) -> float:
    """Log-likelihood at theta and the scale that is best for it; -inf where the shape is out of its bounds."""
    shape, scale = _shape_and_scale(theta, y)
    if not SMALLEST_SHAPE <= shape <= LARGEST_SHAPE or not scale > 0.0:
        return -np.inf
    # sum ln(1 + theta y) = n shape, whatever theta.
    return float(-len(y) * (np.log(scale) + (1.0 + shape if shape else 1.0)))


def _profiles(thetas: FloatArray, y: FloatArray) -> FloatArray:
    """(K,) `_profile` at all of these at once."""
    flat = np.abs(thetas) < NEAR_EXPONENTIAL
    shape = np.where(flat, 0.0, np.log1p(thetas[:, None] * y).mean(axis=1))
    scale = np.where(flat, y.mean(), shape / np.where(flat, 1.0, thetas))
    fits = (shape >= SMALLEST_SHAPE) & (shape <= LARGEST_SHAPE) & (scale > 0.0)
    likelihood = -len(y) * (np.log(np.where(fits, scale, 1.0)) + 1.0 + shape)
    return np.asarray(np.where(fits, likelihood, -np.inf))


class MeanExcess(NamedTuple):
    """Mean excess over thresholds; a straight line from some threshold on says that the tail is Pareto from there on.

    threshold  (K,) the thresholds
    mean       (K,) mean of what is above, less the threshold
    error      (K,) standard error of it
    above      (K,) observations above
    """

    threshold: FloatArray
    mean: FloatArray
    error: FloatArray
    above: FloatArray


def mean_excess(values: ArrayLike, thresholds: ArrayLike) -> MeanExcess:
    """The mean excess plot (Davison and Smith 1990), as numbers; NaN where fewer than two are above."""
    sample, levels = np.asarray(values, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    rows = []
    for level in levels:
        above = sample[sample > level] - level
        enough = len(above) > 1
        rows.append((above.mean() if enough else np.nan, above.std(ddof=1) / np.sqrt(len(above)) if enough else np.nan,
                     len(above)))  # fmt: skip
    mean, error, count = np.array(rows, dtype=np.float64).T
    return MeanExcess(levels, mean, error, count)


class Stability(NamedTuple):
    """Tails over thresholds: from a good threshold on, shape and modified scale do not depend on it.

    threshold       (K,)
    exceedances     (K,) observations above
    shape           (K,)
    modified_scale  (K,) scale - shape x threshold (Coles 2001, section 4.3.4)
    quantile        (K,) at the level asked for
    shape_error     (K,) asymptotic standard error of the shape, (1 + shape)/sqrt(N) (Smith 1987)
    """

    threshold: FloatArray
    exceedances: FloatArray
    shape: FloatArray
    modified_scale: FloatArray
    quantile: FloatArray
    shape_error: FloatArray


def stability(values: ArrayLike, thresholds: ArrayLike, level: float) -> Stability:
    """The tail at every threshold; ConfigError where one has too few observations above."""
    tails = [fit_tail(values, float(threshold)) for threshold in np.asarray(thresholds, dtype=np.float64)]
    columns = [
        (t.threshold, t.exceedances, t.shape, t.scale - t.shape * t.threshold, t.quantile(level),
         (1.0 + t.shape) / np.sqrt(t.exceedances))
        for t in tails
    ]  # fmt: skip
    return Stability(*np.array(columns, dtype=np.float64).T)


class NormalTail(NamedTuple):
    """Losses of a normal P&L; see `normal_tail`."""

    value_at_risk: float
    expected_shortfall: float


def normal_tail(mean: float, deviation: float, confidence: float) -> NormalTail:
    """Value at risk and expected shortfall of a normal P&L, as losses of 0 or more.

    mean, deviation  of the P&L, gain positive
    confidence       such as 0.99
    """
    from scipy.special import ndtri

    z = float(ndtri(confidence))
    density = float(np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))
    return NormalTail(max(z * deviation - mean, 0.0), max(density / (1.0 - confidence) * deviation - mean, 0.0))


def normal_shortfall(mean: float, deviation: float, target: float) -> tuple[float, float]:
    """Probability that a normal outcome is below a target, and how far below it is then, on average."""
    from scipy.special import ndtr

    z = (target - mean) / deviation
    probability = float(ndtr(z))
    density = float(np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))
    return probability, float(target - mean + deviation * density / probability)
