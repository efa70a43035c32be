"""The fund that survives almost every path of several days, with the liquidation engine in the loop.

Paths have jumps and a vol that moves (`edge.price_paths`): the first underlying of the market is the driver, the others
follow it by the regression of their moves on its, with noise of their own that is as large as the vol of the moment.
Implied vol moves with the vol of the driver; once the driver has fallen by more than CRASH since the start, log vol
rises by VOL_BETA times what it falls further, as it did on such days.

What is rare is sampled more often, towards a fall and towards a rise, and weighted back; so a thousand runs say
something of one path in a thousand. How much they say is stated: an interval of the quantile without a distribution
(`weighted_tail`), or how many runs it would take. What is missing before anything moves is stated apart.
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
from portfolio_margin.stress.weighted_tail import Tail, tail_of
from pricing.arrays import DAYS_PER_YEAR, FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.shocks import check_bounds

HOURS_PER_DAY = 24.0
TENORS = np.array([7.0, 30.0, 90.0, 180.0])
# Fall of the log price since the start from which on vols follow it.
CRASH = 0.06
# Standard deviations of the horizon that the rare paths are led to.
FAR = 3.5


@dataclass(frozen=True)
class Params:
    """What is simulated, with bounds.

    days        of a path, 0.1 to 60
    step_hours  between two looks of the venue, 0.25 to 48
    paths       to run, 56 to 100,000; rounded up to two of every proposal
    level       share of the paths that the fund survives, 0.5 to 0.99999
    seed        0 to 2^53
    jump        "merton" or "kou"
    moves       joint distribution of daily moves: vols, and how the others follow the driver
    """

    days: float = 5.0
    step_hours: float = 4.0
    paths: int = 280
    level: float = 0.999
    seed: int = 1
    jump: str = "merton"
    moves: Moves = RECENT

    def __post_init__(self) -> None:
        bounds = {"days": (0.1, 60.0), "step_hours": (0.25, 48.0), "paths": (56, 100_000), "level": (0.5, 0.99999)}
        check_bounds(self, {**bounds, "seed": (0, 2**53)})
        for name in ("paths", "seed"):
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

    tail            the weighted quantile of the needs, `tail.amount`, and its interval
    at_start        what is missing before anything moves, in it: of accounts that owe as the venue stands
    need, weight    (n,) of every run
    lowest          (n,) lowest price factor of the driver
    """

    tail: Tail
    at_start: float
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

    A path needs what the fund has been drawn by at any time, and what accounts that are not closed owe at the end. How
    severe it is for `tail_of` is the largest move of the driver's log price.
    DataError where the moves of an underlying are not known.
    """
    how, law = params or Params(), replace(rules or Rules(), fund=AMPLE)
    venue = without_idle_options(venue)
    names = venue.market.underlying_id.tolist()
    drawn = simulated_paths(names, how)
    need = []
    for path in stress_paths(drawn, names):
        need.append(_needed(venue, path, law))
        tell(path.name)
    needed = np.array(need)
    severity = np.abs(np.log(drawn.price[:, 0])).max(axis=0)
    lowest = np.minimum(drawn.price[:, 0].min(axis=0), 1.0)
    tail = tail_of(needed, drawn.weight, severity, how.level)
    return PathFund(tail, _needed(venue, _standing(names), law), needed, drawn.weight, lowest)


def _needed(venue: Venue, path: StressPath, law: Rules) -> float:
    result = run(venue, path, law)
    return result.drawn + result.rows[-1].owed


def _standing(names: list[str]) -> StressPath:
    """One step, in which nothing moves."""
    none = SimulatedPaths(np.zeros(0), np.ones((0, len(names), 1)), np.ones((0, 1)), np.ones(1), np.zeros(1, np.int64))
    return next(stress_paths(none, names))


def without_idle_options(venue: Venue) -> Venue:
    """The venue without the options that nobody holds, which nobody comes to hold; all else has the same bits."""
    kept = ~venue.instruments.is_option
    for held in venue.ask(contracts_held, venue.setting(Rules())):
        kept |= held
    book, instruments, market = rows_only(venue.book, venue.instruments, venue.market, np.flatnonzero(kept))
    return replace(venue, book=book, instruments=instruments, market=market)


def simulated_paths(names: list[str], params: Params) -> SimulatedPaths:
    """Paths of the underlyings in this order, the first being the driver. DataError where its moves are not known."""
    known = params.moves.for_underlyings(np.array(names))
    covariance = known.scale[:-1, :-1] * known.df / (known.df - 2.0)
    vol = float(np.sqrt(covariance[0, 0] * DAYS_PER_YEAR))
    dynamics, years = Dynamics.usual(vol, params.jump), params.steps * params.step_hours / HOURS_PER_DAY / DAYS_PER_YEAR
    far = FAR * vol * np.sqrt(years)
    led = proposals(dynamics, years, params.steps, ((-far, 0.0), (far, 0.0)))
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
