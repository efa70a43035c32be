"""probability: how probable it is that the maintenance margin is breached within a horizon.

The excess of the account is computed anew on a grid of price, vol and time and read linearly between its points; paths
of price and vol with jumps run through it, and an account is looked at at every step, at the end of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from portfolio_margin.edge.distance import implied_vol_over
from portfolio_margin.edge.levels import Case, levels, levels_where_ruled
from portfolio_margin.edge.price_paths import Dynamics, Paths, proposals, simulated
from portfolio_margin.edge.prices import liquidation_prices
from pricing.arrays import DAYS_PER_YEAR, BoolArray, FloatArray
from pricing.errors import ConfigError

PRICE_NODES, VOL_NODES, TIME_NODES = 161, 7, 3
# Around an edge at today's vol, in logarithms of the price: the excess bends most where it matters.
NEAR_EDGE = np.array([0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03])
CHECKED = 256


@dataclass(frozen=True)
class Simulation:
    """How a probability is simulated.

    paths   number of paths, at least
    steps   times at which the account is looked at, evenly over the horizon
    seed    of the generator
    """

    paths: int = 20_000
    steps: int = 24
    seed: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (("paths", 100, 10_000_000), ("steps", 1, 10_000), ("seed", 0, 2**63 - 1)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"{name} = {value!r}: must be a whole number from {low:,} to {high:,}")


@dataclass(frozen=True)
class BreachProbability:
    """That the margin balance falls below the maintenance margin at one of the times looked at.

    probability     estimate, in [0, 1]; 1 where the account is below today
    standard_error  of the estimate; 0 where there is nothing to estimate
    plain_error     standard error of plain simulation with as many paths: sqrt(p (1 - p) / n)
    at_end          probability that the account is below at the end of the horizon
    without_rule    probability that a path comes, before a breach, to a market in which the model has no rule for what
                    the account then holds; such paths count as no breach
    horizon_days    length of the horizon
    paths, steps, seed   what was simulated
    misread         of 256 points that paths came to, those at which the excess read between grid points has another
                    sign than that computed anew
    dynamics        of price and vol
    """

    probability: float
    standard_error: float
    plain_error: float
    at_end: float
    without_rule: float
    horizon_days: float
    paths: int
    steps: int
    seed: int
    misread: int
    dynamics: Dynamics

    @property
    def upper_bound(self) -> float:
        """Above the probability with 95 % confidence: 2 standard errors; 3 / n where no path came to a breach."""
        return min(self.probability + 2.0 * self.standard_error, 1.0) if self.probability > 0.0 else 3.0 / self.paths

    @property
    def reduction(self) -> float:
        """Paths that plain simulation would need for the same error, over those used; NaN where no error is known."""
        return (self.plain_error / self.standard_error) ** 2 if self.standard_error > 0.0 else float("nan")


def breach_probability(
    case: Case,
    horizon_days: float = 1.0,
    dynamics: Dynamics | None = None,
    simulation: Simulation | None = None,
    known_edges: Sequence[float] | None = None,
) -> BreachProbability:
    """The probability of a breach within a horizon, with its standard error.

    horizon_days  above 0, and no longer than to the first expiry held: what settles then is another account
    dynamics      of price and vol; None for `Dynamics.usual` at the implied vol over the horizon
    simulation    None for 20,000 paths of 24 steps
    known_edges   relative price moves to the edges around today's price that paths are led to; None to look for them

    Variance is reduced by mirrored noise, by importance sampling towards the edges on both sides and by control
    variates: densities of the proposals, whose means are known (Owen and Zhou 2000, Safe and effective importance
    sampling). ConfigError for a horizon beyond the first expiry.
    """
    run = simulation or Simulation()
    years = horizon_days / DAYS_PER_YEAR
    if not 0.0 < years <= case.first_expiry_years:
        latest = case.first_expiry_years * DAYS_PER_YEAR
        remedy = f"must be above 0 and at most {latest:.6g}, when the first contract held expires"
        raise ConfigError(f"horizon_days = {horizon_days!r}: {remedy}")
    moving = dynamics or Dynamics.usual(implied_vol_over(case, years))
    if levels(case, np.ones(1)).excess[0] < 0.0:
        certain = (1.0, 0.0, 0.0, 1.0, 0.0)
        return BreachProbability(*certain, horizon_days, run.paths, run.steps, run.seed, 0, moving)
    around = liquidation_prices(case).nearest if known_edges is None else known_edges
    logs = [float(np.log1p(move)) for move in around if -1.0 < move < np.inf]
    paths = simulated(moving, years, run.steps, run.paths, run.seed, proposals(moving, years, run.steps, logs))
    surface = _surface(case, paths, years, logs)
    below, lost, at_end = _outcomes(surface, paths)
    estimates = [_estimate(outcome, paths) for outcome in (below, at_end, lost)]
    (probability, error), (end, _), (unruled, _) = estimates
    plain = float(np.sqrt(max(probability * (1.0 - probability), 0.0) / len(below)))
    misread = _misread(case, surface, paths)
    return BreachProbability(
        probability, error, plain, end, unruled, horizon_days, len(below), run.steps, run.seed, misread, moving
    )


@dataclass(frozen=True)
class _Surface:
    """Excess (T,V,P) at times (T,) in years, logarithms of vol (V,) and price (P,); NaN where there is no rule."""

    times: FloatArray
    vols: FloatArray
    prices: FloatArray
    excess: FloatArray

    def at(self, years: float, log_vol: FloatArray, log_price: FloatArray) -> FloatArray:
        """(n,) excess by linear interpolation, of all three."""
        place = float(np.interp(years, self.times, np.arange(len(self.times))))
        first = min(int(place), len(self.times) - 2)
        share = place - first
        sheet = (1.0 - share) * self.excess[first] + share * self.excess[first + 1]
        read = RegularGridInterpolator((self.vols, self.prices), sheet)
        return np.asarray(read(np.column_stack([log_vol, log_price])))


def _surface(case: Case, paths: Paths, years: float, logs: Sequence[float]) -> _Surface:
    """The excess wherever paths come to."""
    low, high = min(float(paths.log_price.min()), -1e-6), max(float(paths.log_price.max()), 1e-6)
    quantiles = np.quantile(paths.log_price, np.linspace(0.0, 1.0, PRICE_NODES // 2))
    near = np.add.outer(np.array(logs), np.append(-NEAR_EDGE[1:], NEAR_EDGE)).ravel()
    prices = np.concatenate([np.linspace(low, high, PRICE_NODES // 2), quantiles, near[(near > low) & (near < high)]])
    prices = np.unique(np.append(prices, 0.0))
    spread = max(float(np.abs(paths.log_vol).max()), 1e-9)
    vols = np.linspace(-spread, spread, VOL_NODES if spread > 1e-6 else 2)
    times = np.linspace(0.0, years, TIME_NODES)
    price, vol = np.tile(np.exp(prices), len(vols)), np.repeat(np.exp(vols), len(prices))
    sheets = [levels_where_ruled(case, price, vol, float(time))[0].excess for time in times]
    return _Surface(times, vols, prices, np.array(sheets).reshape(len(times), len(vols), len(prices)))


def _outcomes(surface: _Surface, paths: Paths) -> tuple[BoolArray, BoolArray, BoolArray]:
    """(n,) each: below at a time looked at, before that in a market without a rule, below at the last."""
    steps, count = paths.log_price.shape
    below, lost, here = (np.zeros(count, dtype=np.bool_) for _ in range(3))
    for m in range(steps):
        excess = surface.at(float(surface.times[-1]) * (m + 1) / steps, paths.log_vol[m], paths.log_price[m])
        here = excess < 0.0
        below |= here & ~lost
        lost |= np.isnan(excess) & ~below
    return below, lost, here & ~lost


def _estimate(outcome: BoolArray, paths: Paths) -> tuple[float, float]:
    """Estimate and standard error of the probability of an outcome.

    By mirrored pairs, whose mean is one observation, within the strata that the proposals are; control variates are
    the densities of all proposals but one, each with the mean 1, by regression on the pairs.
    """
    weighted = outcome * paths.likelihood[:, 0]
    value = weighted.reshape(-1, 2).mean(axis=1)
    controls = paths.likelihood.reshape(len(value), 2, -1).mean(axis=1)[:, :-1] - 1.0
    stratum = paths.proposal[::2]
    if controls.shape[1] and np.any(value != 0.0):
        centred = [a - _stratum_means(a, stratum) for a in (controls, value)]
        slope = np.linalg.lstsq(centred[0], centred[1], rcond=None)[0]
        value = value - controls @ slope
    # Allocation is in proportion to the shares, so that the plain mean is the stratified estimate.
    left = value - _stratum_means(value, stratum)
    counts = np.bincount(stratum)
    variance = np.bincount(stratum, left**2) / np.maximum(counts - 1, 1)
    error = float(np.sqrt(np.sum((counts / len(value)) ** 2 * variance / counts)))
    return float(np.clip(value.mean(), 0.0, 1.0)), error


def _stratum_means(values: FloatArray, stratum: np.ndarray) -> FloatArray:
    """The mean of its stratum, in every row."""
    counts = np.bincount(stratum)
    columns = values if values.ndim == 2 else values[:, None]
    means = np.column_stack([np.bincount(stratum, column) / counts for column in columns.T])[stratum]
    return np.asarray(means if values.ndim == 2 else means[:, 0])


def _misread(case: Case, surface: _Surface, paths: Paths) -> int:
    """At how many points, where paths end, the excess read has another sign than that computed anew."""
    chosen = np.linspace(0, paths.log_price.shape[1] - 1, CHECKED).astype(np.int64)
    log_price, log_vol = paths.log_price[-1, chosen], paths.log_vol[-1, chosen]
    read = surface.at(float(surface.times[-1]), log_vol, log_price)
    anew = levels_where_ruled(case, np.exp(log_price), np.exp(log_vol), float(surface.times[-1]))[0].excess
    both = np.isfinite(read) & np.isfinite(anew)
    return int(np.sum((read < 0.0)[both] != (anew < 0.0)[both]))
