"""Gaps: what the fund of a venue would bear if the market jumped and only then was everybody closed.

No liquidation takes place on the way, so that all that margin does is what accounts have put up. The fund that survives
almost every jump, and the most likely jump that exhausts a fund (reverse stress by the Mahalanobis distance: Breuer,
Jandacka, Rheinberger and Summer 2009).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from portfolio_margin.aggregate import account_pnl
from portfolio_margin.book import Book
from portfolio_margin.stress.moves import RECENT, Moves
from portfolio_margin.stress.path import LONG_POWER, SHORT_POWER
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.run import Venue
from portfolio_margin.stress.sections import Section, Setting
from pricing.arrays import MAX_SCENARIOS, FloatArray
from pricing.errors import ConfigError
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import VolDynamics, check_bounds, make

if TYPE_CHECKING:
    import pandas as pd

# Vols of other days than 30 move by these powers of 30 / days, as venues publish.
DYNAMICS = VolDynamics(short_power=SHORT_POWER, long_power=LONG_POWER)
# Numbers of accounts by scenarios that are held at once, 64 MB.
NUMBERS_AT_ONCE = 8_000_000
SCENARIOS_AT_ONCE = 1_024
# What an account owes is counted in these of a unit of the margin currency, whose sums are exact.
FRACTIONS = 2.0**20
# A fund of nothing is exhausted by a cent.
SMALLEST_LOSS = 0.01


@dataclass(frozen=True)
class Params:
    """How jumps are drawn and searched, with bounds.

    hours       that a jump is drawn over: from the last margin until everybody is closed, 0.1 to 240
    draws       1,000 to 1,000,000
    level       share of the draws that the fund survives, 0.5 to 0.99999
    resamples   of the bootstrap behind the standard error, 10 to 10,000
    seed        of draws and of directions, 0 to 2^53
    cost        of closing, share of the notional of everything held, 0 to 1
    directions  tried in a reverse stress, 10 to 10,000
    farthest    distance up to which a reverse stress looks, 1 to 100
    moves       joint distribution of daily moves
    """

    hours: float = 24.0
    draws: int = 20_000
    level: float = 0.999
    resamples: int = 200
    seed: int = 1
    cost: float = 0.0005
    directions: int = 200
    farthest: float = 40.0
    moves: Moves = RECENT

    def __post_init__(self) -> None:
        bounds = {"hours": (0.1, 240.0), "draws": (1_000, 1_000_000), "level": (0.5, 0.99999), "cost": (0.0, 1.0)}
        bounds |= {"seed": (0, 2**53), "resamples": (10, 10_000), "directions": (10, 10_000), "farthest": (1.0, 100.0)}
        check_bounds(self, bounds)
        for name in ("draws", "resamples", "directions", "seed"):
            if getattr(self, name) != int(getattr(self, name)):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")


class FundSize(NamedTuple):
    """A fund that survives a share of all jumps, margin currency.

    amount          the quantile of the losses
    standard_error  of it, by bootstrap of the draws
    loss            (M,) of every draw; moves (M,U+1) its log moves, vol last
    """

    amount: float
    standard_error: float
    loss: FloatArray
    moves: FloatArray


@dataclass(frozen=True)
class ReverseStress:
    """The most likely jump that costs a fund or more.

    fund, currency   that it exhausts
    names      of the underlyings, then "vol"
    move       (U+1,) relative moves of prices and of vol, -0.2 = -20 %; NaN where no jump within reach exhausts it
    distance   Mahalanobis distance of the log moves, inf where there is none
    likelihood probability of a jump as far or farther under the distribution: of any direction, so an upper bound
    loss       what it costs
    owing      accounts that owe before anything moves, the largest debt first, and what each owes with the cost of
               closing it; () unless they owe the fund or more together: then the move is none, the distance 0
    """

    fund: float
    currency: str
    names: tuple[str, ...]
    move: FloatArray
    distance: float
    likelihood: float
    loss: float
    owing: tuple[tuple[str, float], ...] = ()

    def columns(self) -> dict[str, Any]:
        """One row a risk factor."""
        size = len(self.names)
        return {
            "factor": np.array(self.names),
            "move": self.move,
            "distance": np.full(size, self.distance),
            "likelihood": np.full(size, self.likelihood),
            "loss": np.full(size, self.loss),
            "fund": np.full(size, self.fund),
        }

    def frame(self) -> pd.DataFrame:
        """pandas frame, one row a risk factor."""
        from portfolio_margin.io.frames import frame

        return frame(self.columns(), {"currency": self.currency})


def gap_losses(venue: Venue, moves: FloatArray, cost: float = 0.0) -> FloatArray:
    """(M,) what accounts would owe after jumps and the cost of closing, margin currency.

    moves  (M,U+1) log moves of the underlyings of the market in their order, then of vols
    cost   share of the notional of everything held, paid by each account on top
    """
    return _losses(venue, venue.setting(Rules()), moves, cost)


def _losses(venue: Venue, setting: Setting, moves: FloatArray, cost: float) -> FloatArray:
    width, found = min(SCENARIOS_AT_ONCE, MAX_SCENARIOS), [np.zeros(0)]
    for first in range(0, len(moves), width):
        jumps = _jumps(venue, moves[first : first + width], cost)
        whole, rest = np.sum(venue.ask(debts_after, setting, jumps), axis=0)
        found.append(whole + rest / FRACTIONS)
    return np.concatenate(found)


class Jumps(NamedTuple):
    """Risk arrays over jumps, and (N,) what closing costs a contract held."""

    arrays: RiskArrays
    charge: FloatArray


def _jumps(venue: Venue, moves: FloatArray, cost: float) -> Jumps:
    price, vol = np.expm1(moves[:, :-1]), np.expm1(moves[:, -1])
    scenarios = make([f"jump-{row}" for row in range(len(moves))], price, vol, dynamics=DYNAMICS)
    arrays = revalue(venue.instruments, venue.market, scenarios, backend=venue.backend)
    return Jumps(arrays, np.where(arrays.is_collateral, 0.0, cost * arrays.notional))


def debts_after(shared: tuple[Setting, Jumps], section: Section) -> FloatArray:
    """(2,M) what accounts of a section owe after each jump, in whole units and in fractions of one.

    Both are sums of whole numbers, so that the sum over sections is the same however accounts are cut.
    """
    total = np.zeros((2, shared[1].arrays.pnl.shape[1]))
    for _, after in _equity_after(shared, section):
        debt = -np.minimum(after[after.min(axis=1) < 0.0], 0.0)
        whole = np.floor(debt)
        total += whole.sum(axis=0), np.rint((debt - whole) * FRACTIONS).sum(axis=0)
    return total


def owing_before(shared: tuple[Setting, Jumps], section: Section) -> list[tuple[str, float]]:
    """Accounts of a section that owe before anything moves, and how much; of one jump, which moves nothing."""
    return [
        (str(book.account_id[row]), -float(after[row, 0]))
        for book, after in _equity_after(shared, section)
        for row in np.flatnonzero(after[:, 0] < 0.0)
    ]


def _equity_after(shared: tuple[Setting, Jumps], section: Section) -> Iterator[tuple[Book, FloatArray]]:
    """Some accounts at a time and their (A,M) equity after each jump and the cost of closing."""
    setting, (arrays, charge) = shared
    every = section.accounts(setting)
    most = max(1, NUMBERS_AT_ONCE // arrays.pnl.shape[1])
    for first in range(0, len(every), most):
        book = every.accounts(first, min(first + most, len(every)))
        owner = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
        value = book.quantity * arrays.value[book.instrument_idx]
        closing = np.abs(book.quantity) * charge[book.instrument_idx]
        equity = np.bincount(owner, value - closing, minlength=len(book))
        yield book, equity[:, None] + account_pnl(book, arrays, **setting.how)


def _owing(venue: Venue, setting: Setting, cost: float) -> tuple[tuple[str, float], ...]:
    """Accounts that owe before anything moves, the largest debt first."""
    still = np.zeros((1, len(venue.market.underlying_id) + 1))
    found = venue.ask(owing_before, setting, _jumps(venue, still, cost))
    return tuple(sorted(itertools.chain.from_iterable(found), key=lambda debt: -debt[1]))


def fund_size(venue: Venue, params: Params | None = None) -> FundSize:
    """The fund that survives `level` of all jumps, and its standard error. Deterministic under the seed.

    DataError where the moves of an underlying are not known.
    """
    how = params or Params()
    known = how.moves.for_underlyings(venue.market.underlying_id)
    moves = known.draws(int(how.draws), how.hours, int(how.seed))
    loss = gap_losses(venue, moves, how.cost)
    random = np.random.default_rng([int(how.seed), 1])
    again = [np.quantile(loss[random.integers(0, len(loss), len(loss))], how.level) for _ in range(int(how.resamples))]
    return FundSize(float(np.quantile(loss, how.level)), float(np.std(again, ddof=1)), loss, moves)


def reverse_stress(venue: Venue, fund: float, params: Params | None = None) -> ReverseStress:
    """The jump nearest to nothing, by the Mahalanobis distance, that costs `fund` or more.

    fund  margin currency, 0 or more

    Rays in many directions, each on a ladder of distances; then rays around the best one, closer and closer. The loss
    need not rise along a ray: the first rung that costs enough counts, what lies between two rungs may be missed.
    Where accounts owe the fund or more before anything moves there is no jump to look for: `owing` names them.
    """
    how = params or Params()
    if not 0.0 <= fund < np.inf:
        raise ConfigError(f"fund = {fund!r}: must be a finite number, 0 or more")
    known = how.moves.for_underlyings(venue.market.underlying_id)
    root = np.linalg.cholesky(known.over(how.hours))
    names = (*known.underlying_id.tolist(), "vol")
    currency = str(venue.market.currency_id[0])
    setting = venue.setting(Rules())
    owing = _owing(venue, setting, how.cost)
    owed = sum(debt for _, debt in owing)
    if owed >= max(fund, SMALLEST_LOSS):
        return ReverseStress(fund, currency, names, np.zeros(len(root)), 0.0, 1.0, owed, owing)
    random = np.random.default_rng([int(how.seed), 2])
    best = _Best(how.farthest, None)
    for spread in (None, 0.5, 0.2, 0.07, 0.02):
        if spread is not None and best.direction is None:
            break
        given = random.standard_normal((int(how.directions), len(root)))
        rays = given if best.direction is None or spread is None else best.direction + spread * given
        rays = np.vstack([rays, np.eye(len(root)), -np.eye(len(root))]) if spread is None else rays
        rays /= np.linalg.norm(rays, axis=1)[:, None]
        best = _nearest(venue, setting, rays @ root.T, rays, best, (max(fund, SMALLEST_LOSS), how.cost))
    if best.direction is None:
        return ReverseStress(fund, currency, names, np.full(len(root), np.nan), np.inf, 0.0, np.nan)
    move = best.distance * (root @ best.direction)
    loss = float(_losses(venue, setting, move[None, :], how.cost)[0])
    chance = _beyond(best.distance, len(root), known.df)
    return ReverseStress(fund, currency, names, np.expm1(move), best.distance, chance, loss)


class _Best(NamedTuple):
    """The shortest distance found, and its unit vector (U+1,) of independent moves."""

    distance: float
    direction: FloatArray | None


def _nearest(
    venue: Venue, setting: Setting, steps: FloatArray, rays: FloatArray, best: _Best, wanted: tuple[float, float]
) -> _Best:
    """The best of these rays and what was known; steps (K,U+1) is a move by a distance of 1 along each."""
    fund, cost = wanted
    low, high = np.zeros(len(steps)), np.full(len(steps), best.distance)
    for rungs in (16, 8, 8):
        share = np.arange(1, rungs + 1) / rungs
        reach = low[:, None] + (high - low)[:, None] * share
        moves = (reach[:, :, None] * steps[:, None, :]).reshape(-1, steps.shape[1])
        enough = _losses(venue, setting, moves, cost).reshape(reach.shape) >= fund
        hit = enough.any(axis=1)
        if not hit.any():
            return best
        first = np.argmax(enough, axis=1)[hit]
        reach, steps, rays = reach[hit], steps[hit], rays[hit]
        rows = np.arange(len(reach))
        high = reach[rows, first]
        low = np.where(first > 0, reach[rows, np.maximum(first - 1, 0)], low[hit])
        # Only rays that may still be the best are looked at closer.
        near = low <= high.min()
        low, high, steps, rays = low[near], high[near], steps[near], rays[near]
    found = int(np.argmin(high))
    if high[found] < best.distance or best.direction is None:
        return _Best(float(high[found]), rays[found])
    return best


def _beyond(distance: float, size: int, df: float) -> float:
    """Probability that a draw of the t distribution is as far or farther: distance^2 / size is F-distributed."""
    from scipy.stats import f

    return float(f.sf(distance**2 / size, size, df))
