"""probability: how probable it is that the maintenance margin is breached within a horizon.

The excess of the account is computed anew on a grid of price, vol and time and read linearly between its points; paths
of price and vol with jumps run through it, and an account is looked at at every step, at the end of a step. What paths
are led to, and whether they are mirrored, is decided by runs before it with other random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from portfolio_margin.edge.distance import implied_vol_over
from portfolio_margin.edge.excess_surface import Nodes, excess_surface, misread_points, outcomes
from portfolio_margin.edge.levels import Case, levels
from portfolio_margin.edge.price_paths import Dynamics, Paths, Proposal, proposals, simulated
from portfolio_margin.edge.prices import liquidation_prices
from portfolio_margin.edge.vols import liquidation_vols
from pricing.arrays import DAYS_PER_YEAR, BoolArray, FloatArray
from pricing.errors import ConfigError

# Why no horizon goes on after an expiry.
BEYOND = "what is paid then depends on the price of that day, and is known no later; `expiries` follow no move"
FINE, COARSE = Nodes(161, 9, 3), Nodes(61, 5, 2)
# Paths of a run that decides, and breaches that it must have seen to be believed.
PILOT_PATHS, FEWEST_BREACHES = 2_000, 50


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
    known_edges: Sequence[tuple[float, float]] | None = None,
) -> BreachProbability:
    """The probability of a breach within a horizon, with its standard error.

    horizon_days  above 0, and no longer than to the first expiry held; where it ends with that, paths are looked at
                  once more after what expires has been settled at the price each has come to
    dynamics      of price and vol; None for `Dynamics.usual` at the implied vol over the horizon
    simulation    None for 20,000 paths of 24 steps
    known_edges   price and vol multiples of points of the boundary that paths may be led to; None for the nearest on
                  both sides along the price and along the vols

    Variance is reduced by mirrored noise, by importance sampling towards edges and by control variates: densities of
    the proposals, whose means are known (Owen and Zhou 2000, Safe and effective importance sampling); each where runs
    of 2,000 paths, with random numbers of their own, say that it pays. ConfigError for a horizon beyond the first
    expiry.
    """
    run = simulation or Simulation()
    years = horizon_days / DAYS_PER_YEAR
    if not 0.0 < years <= case.first_expiry_years:
        latest = case.first_expiry_years * DAYS_PER_YEAR
        remedy = f"must be above 0 and at most {latest:.6g}, when the first contract held expires: {BEYOND}"
        raise ConfigError(f"horizon_days = {horizon_days!r}: {remedy}")
    moving = dynamics or Dynamics.usual(implied_vol_over(case, years))
    if levels(case, np.ones(1)).excess[0] < 0.0:
        certain = (1.0, 0.0, 0.0, 1.0, 0.0)
        return BreachProbability(*certain, horizon_days, run.paths, run.steps, run.seed, 0, moving)
    known = _edges_around(case) if known_edges is None else known_edges
    edges = [(float(np.log(price)), float(np.log(vol))) for price, vol in known]
    edges = [edge for edge in edges if edge != (0.0, 0.0)]
    drawn, mirrored = _plan(case, moving, years, run, edges)
    paths = simulated(moving, years, run.steps, run.paths, run.seed, drawn, mirrored)
    surface = excess_surface(case, [paths], years, edges, FINE)
    below, lost, at_end = outcomes(surface, paths)
    estimates = [_estimate(outcome, paths) for outcome in (below, at_end, lost)]
    (probability, error), (end, _), (unruled, _) = estimates
    plain = float(np.sqrt(max(probability * (1.0 - probability), 0.0) / len(below)))
    misread = misread_points(case, surface, paths)
    return BreachProbability(
        probability, error, plain, end, unruled, horizon_days, len(below), run.steps, run.seed, misread, moving
    )


def _edges_around(case: Case) -> list[tuple[float, float]]:
    by_price, by_vol = liquidation_prices(case).nearest, liquidation_vols(case, np.ones(1)).nearest
    along_price = [(1.0 + move, 1.0) for move in by_price if -1.0 < move < np.inf]
    return along_price + [(1.0, 1.0 + move) for move in by_vol if -1.0 < move < np.inf]


def _plan(
    case: Case, dynamics: Dynamics, years: float, run: Simulation, edges: Sequence[tuple[float, float]]
) -> tuple[list[Proposal], bool]:
    """The proposals with the smallest standard error in a run of their own, and whether paths are mirrored.

    Runs whose estimate is too small beside that of another are left out. Without a run that has seen enough breaches:
    all proposals, since what is rare is seen by them first.
    """
    along_price = [edge for edge in edges if edge[1] == 0.0]
    choices = [proposals(dynamics, years, run.steps, led) for led in (edges, along_price, [])]
    # The model itself with half of the paths, for what is not rare.
    choices.insert(1, [p._replace(share=p.share / 2.0 + (k == 0) / 2.0) for k, p in enumerate(choices[0])])
    tried = [(drawn, mirrored) for drawn in choices for mirrored in (True, False)]
    paths = [
        simulated(dynamics, years, run.steps, PILOT_PATHS, (run.seed, number), drawn, mirrored)
        for number, (drawn, mirrored) in enumerate(tried, start=1)
    ]
    surface = excess_surface(case, paths, years, edges, COARSE)
    found = [_seen(outcomes(surface, part)[0], part) for part in paths]
    # A run that misses most of the breaches has a small error as well: others have then seen more than it allows for.
    least = max(estimate - 2.0 * error for estimate, error, _ in found)
    errors = [error * np.sqrt(count) if estimate + 2.0 * error >= least else np.inf for estimate, error, count in found]
    return tried[int(np.argmin(errors))]


def _seen(below: BoolArray, paths: Paths) -> tuple[float, float, int]:
    """Estimate, standard error and number of paths of a run; an error of inf where it has seen too few breaches."""
    if np.count_nonzero(below) < FEWEST_BREACHES:
        return 0.0, np.inf, len(below)
    return (*_estimate(below, paths), len(below))


def _estimate(outcome: BoolArray, paths: Paths) -> tuple[float, float]:
    """Estimate and standard error of the probability of an outcome.

    By mirrored pairs, whose mean is one observation, or by paths where they are independent, within the strata that the
    proposals are; control variates are the densities of all proposals but one, each with the mean 1, by regression.
    """
    size = 2 if paths.mirrored else 1
    weighted = outcome * paths.likelihood[:, 0]
    value = weighted.reshape(-1, size).mean(axis=1)
    controls = paths.likelihood.reshape(len(value), size, -1).mean(axis=1)[:, :-1] - 1.0
    stratum = paths.proposal[::size]
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
