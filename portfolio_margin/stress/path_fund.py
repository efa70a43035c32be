"""The fund that survives almost every path of several days, with the liquidation engine in the loop.

Paths have jumps and a vol that moves (`edge.price_paths`): the first underlying of the market is the driver, the others
follow it by the regression of their moves on its, with noise of their own that is as large as the vol of the moment.
Implied vol moves with the vol of the driver; once the driver has fallen by more than CRASH since the start, log vol
rises by VOL_BETA times what it falls further, as it did on such days.

What is rare is sampled more often, towards a fall and towards a rise, and weighted back; so a few hundred runs say
something of one path in a thousand. How much they say is stated: standard error and interval by a bootstrap of the
pairs of mirrored paths, proposal by proposal (Davison and Hinkley 1997, chapter 9.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.edge.price_paths import Dynamics, Paths, proposals, simulated
from portfolio_margin.held import rows_only
from portfolio_margin.stress.moves import RECENT, Moves
from portfolio_margin.stress.path import StressPath, by_tenor
from portfolio_margin.stress.prevention import AMPLE
from portfolio_margin.stress.rules import VOL_BETA, Rules
from portfolio_margin.stress.run import Venue, run
from portfolio_margin.stress.sections import contracts_held
from pricing.arrays import DAYS_PER_YEAR, FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.shocks import check_bounds

HOURS_PER_DAY = 24.0
TENORS = np.array([7.0, 30.0, 90.0, 180.0])
# Fall of the log price since the start from which on vols follow it.
CRASH = 0.06
# Standard deviations of the horizon that the rare paths are led to.
FAR = 3.5
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Params:
    """What is simulated, with bounds.

    days        of a path, 0.1 to 60
    step_hours  between two looks of the venue, 0.25 to 48
    paths       to run, 56 to 100,000; rounded up to two of every proposal
    level       share of the paths that the fund survives, 0.5 to 0.99999
    resamples   of the bootstrap, 50 to 10,000
    seed        0 to 2^53
    jump        "merton" or "kou"
    moves       joint distribution of daily moves: vols, and how the others follow the driver
    """

    days: float = 5.0
    step_hours: float = 4.0
    paths: int = 280
    level: float = 0.999
    resamples: int = 400
    seed: int = 1
    jump: str = "merton"
    moves: Moves = RECENT

    def __post_init__(self) -> None:
        bounds = {"days": (0.1, 60.0), "step_hours": (0.25, 48.0), "paths": (56, 100_000), "level": (0.5, 0.99999)}
        check_bounds(self, {**bounds, "resamples": (50, 10_000), "seed": (0, 2**53)})
        for name in ("paths", "resamples", "seed"):
            if getattr(self, name) != int(getattr(self, name)):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        if self.days * HOURS_PER_DAY < self.step_hours:
            raise ConfigError(f"step_hours = {self.step_hours!r}: must not exceed the {self.days:g} days of a path")

    @property
    def steps(self) -> int:
        """Steps of a path after its start."""
        return max(1, round(self.days * HOURS_PER_DAY / self.step_hours))


class SimulatedPaths(NamedTuple):
    """n paths, each of M steps.

    hours     (M,) since the start, 0 left out
    price     (M,U,n) factor on the start, vol (M,n) factor on the vol of 30 days
    weight    (n,) density under the model over that under the mixture; its mean is about 1
    proposal  (n,) that each was drawn from; two and two are mirrored
    """

    hours: FloatArray
    price: FloatArray
    vol: FloatArray
    weight: FloatArray
    proposal: IntArray


@dataclass(frozen=True)
class PathFund:
    """A fund that survives a share of all paths, margin currency.

    amount          the weighted quantile of the needs
    standard_error  of it
    low, high       bounds of a 95 % interval, the bootstrap's
    beyond          runs that need more than the amount
    effective       runs of equal weight that would say as much of the paths beyond: (sum w)^2 / sum w^2 of them
    need, weight    (n,) of every run
    lowest          (n,) lowest price factor of the driver
    """

    amount: float
    standard_error: float
    low: float
    high: float
    beyond: int
    effective: float
    need: FloatArray
    weight: FloatArray
    lowest: FloatArray

    def columns(self) -> dict[str, Any]:
        """One row a run."""
        return {"need": self.need, "weight": self.weight, "lowest_price_factor": self.lowest}


def _silent(name: str) -> None:
    """Nobody is told."""


def path_fund(
    venue: Venue, rules: Rules | None = None, params: Params | None = None, tell: Callable[[str], None] = _silent
) -> PathFund:
    """The fund that survives `level` of all paths under the rules of the venue. Deterministic under the seed.

    tell  is called with a text after every run, for a bar

    A path needs what the fund has been drawn by at any time, and what accounts that are not closed owe at the end.
    DataError where the moves of an underlying are not known.
    """
    how, law = params or Params(), replace(rules or Rules(), fund=AMPLE)
    venue = without_idle_options(venue)
    drawn = simulated_paths(venue.market.underlying_id.tolist(), how)
    need = []
    for path in stress_paths(drawn, venue.market.underlying_id.tolist()):
        result = run(venue, path, law)
        need.append(result.drawn + result.rows[-1].owed)
        tell(path.name)
    needed = np.array(need)
    amount = weighted_quantile(needed, drawn.weight, how.level)
    again = _resampled(needed, drawn, how)
    far = needed > amount
    weight = drawn.weight[far]
    effective = float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0
    low, high = np.quantile(again, INTERVAL)
    lowest = np.minimum(drawn.price[:, 0].min(axis=0), 1.0)
    deviation = float(np.std(again, ddof=1))
    return PathFund(amount, deviation, float(low), float(high), int(far.sum()), effective, needed, drawn.weight, lowest)


def without_idle_options(venue: Venue) -> Venue:
    """The venue without the options that nobody holds, which nobody comes to hold; all else has the same bits."""
    kept = ~venue.instruments.is_option
    for held in venue.ask(contracts_held, venue.setting(Rules())):
        kept |= held
    book, instruments, market = rows_only(venue.book, venue.instruments, venue.market, np.flatnonzero(kept))
    return replace(venue, book=book, instruments=instruments, market=market)


def weighted_quantile(need: FloatArray, weight: FloatArray, level: float) -> float:
    """The smallest of the needs (n,) that at most a share 1 - level of the paths exceeds, by their weights (n,) over n:
    a share of the paths of the model, not of those drawn."""
    order = np.argsort(need)[::-1]
    beyond = np.cumsum(weight[order]) / len(need)
    # All that need more than the k-th largest weigh beyond[k - 1].
    inside = np.flatnonzero(beyond > 1.0 - level)
    return float(need[order[inside[0]]]) if len(inside) else 0.0


def simulated_paths(names: list[str], params: Params) -> SimulatedPaths:
    """Paths of the underlyings in this order, the first being the driver. DataError where its moves are not known."""
    known = params.moves.for_underlyings(np.array(names))
    covariance = known.scale[:-1, :-1] * known.df / (known.df - 2.0)
    vol = float(np.sqrt(covariance[0, 0] * DAYS_PER_YEAR))
    dynamics, years = Dynamics.usual(vol, params.jump), params.steps * params.step_hours / HOURS_PER_DAY / DAYS_PER_YEAR
    far = FAR * vol * np.sqrt(years)
    led = proposals(dynamics, years, params.steps, (-far, far))
    driver = simulated(dynamics, years, params.steps, int(params.paths), int(params.seed), led)
    price = np.asarray(np.exp(_followers(driver, covariance, params)), dtype=np.float64)
    fallen = np.maximum(-driver.log_price - CRASH, 0.0)
    hours = np.asarray(params.step_hours * np.arange(1, params.steps + 1), dtype=np.float64)
    level = np.asarray(np.exp(driver.log_vol + VOL_BETA * fallen), dtype=np.float64)
    return SimulatedPaths(hours, price, level, driver.likelihood[:, 0], driver.proposal)


def _followers(driver: Paths, covariance: FloatArray, params: Params) -> FloatArray:
    """(M,U,n) log prices: the driver, and what follows it with noise of its own."""
    beta = covariance[:, 0] / covariance[0, 0]
    own = covariance[1:, 1:] - np.outer(beta[1:], beta[1:]) * covariance[0, 0]
    log_price = beta[None, :, None] * driver.log_price[:, None, :]
    if not len(own):
        return np.asarray(log_price)
    random = np.random.default_rng([int(params.seed), 3])
    step_days = params.step_hours / HOURS_PER_DAY
    noise = random.standard_normal((len(driver.log_price), len(own), driver.log_price.shape[1]))
    before = np.exp(np.vstack([np.zeros((1, driver.log_vol.shape[1])), driver.log_vol[:-1]]))[:, None, :]
    moves = np.einsum("ij,mjn->min", np.linalg.cholesky(own), noise) * before * np.sqrt(step_days)
    moves -= 0.5 * np.diag(own)[None, :, None] * before**2 * step_days
    log_price[:, 1:] += np.cumsum(moves, axis=0)
    return np.asarray(log_price)


def stress_paths(drawn: SimulatedPaths, names: list[str]) -> Iterator[StressPath]:
    """Every path as the engine takes it, from a start in which nothing has moved."""
    hours, none = np.append(0.0, drawn.hours), np.zeros(0, dtype=np.str_)
    for n in range(len(drawn.weight)):
        price = np.vstack([np.ones(len(names)), drawn.price[:, :, n]])
        tenors = by_tenor(np.append(1.0, drawn.vol[:, n])[:, None], TENORS)
        vol = np.repeat(tenors[:, None, :], len(names), axis=1)
        yield StressPath(
            name=f"path {n + 1}", source="simulated", hours=hours, underlying_id=np.array(names), price=price,
            tenor_days=TENORS, vol=vol, token=none, peg=np.zeros((len(hours), 0)),
        )  # fmt: skip


def _resampled(need: FloatArray, drawn: SimulatedPaths, params: Params) -> FloatArray:
    """(resamples,) the quantile of needs drawn again, pair by pair, as many of every proposal as there were."""
    random = np.random.default_rng([int(params.seed), 4])
    pairs = [np.flatnonzero(drawn.proposal == p)[::2] for p in np.unique(drawn.proposal)]
    found = np.empty(int(params.resamples))
    for k in range(len(found)):
        first = np.concatenate([mine[random.integers(0, len(mine), len(mine))] for mine in pairs])
        rows = np.concatenate([first, first + 1])
        found[k] = weighted_quantile(need[rows], drawn.weight[rows], params.level)
    return found
