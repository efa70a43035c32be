"""The most plausible worst move of an account: found by its delta and gamma, stated with its full revaluation.

Factors are the relative price move of every underlying and, where wanted, the relative move of its vols. Delta and
gamma of the account by them are central differences of its P&L under a `ScenarioSet`, so that coin settlement,
collateral and the dynamics of vols take part. `scenarios.plausible` finds the worst move of the ellipsoid, or the
nearest that loses an amount; beside its delta-gamma loss stands what the account loses there by full revaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.aggregate import account_pnl
from portfolio_margin.book import Book
from pricing.arrays import FloatArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.delta_gamma import delta_gamma_quantile
from scenarios.plausible import WorstCase, most_plausible_loss, outside_probability, quadratic_worst_case
from scenarios.revalue import revalue
from scenarios.shocks import VolDynamics, make

# Relative step of the differences: far above rounding, far below the moves that strikes are apart.
STEP = 1e-3


@dataclass(frozen=True)
class FactorGreeks:
    """Second-order P&L of an account.

    factor      (F,) price:NAME or vol:NAME
    delta       (F,) margin currency by a relative move of 1.00
    gamma       (F,F) margin currency by two of them
    covariance  (F,F) of the moves over the horizon
    """

    factor: StrArray
    delta: FloatArray
    gamma: FloatArray
    covariance: FloatArray

    def quantile(self, probability: float, *, method: str = "exact") -> float:
        """P&L not exceeded with the probability if moves are normal, as `scenarios.delta_gamma` has it."""
        return delta_gamma_quantile(self.delta, self.gamma, self.covariance, probability, method=method)


@dataclass(frozen=True)
class PlausibleMove:
    """A joint move and what it costs the account.

    greeks       behind it
    move         (F,) relative, by factor
    loss         by delta and gamma, margin currency
    by_factor    (F,) parts of it
    full_loss    by full revaluation at the move; negative for a gain
    distance     of the move by Mahalanobis
    probability  of a normal move as far or farther in any direction
    """

    greeks: FactorGreeks
    move: FloatArray
    loss: float
    by_factor: FloatArray
    full_loss: float
    distance: float
    probability: float


@dataclass(frozen=True)
class _Account:
    book: Book
    instruments: Instruments
    market: Market
    dynamics: VolDynamics

    def pnl(self, moves: FloatArray) -> FloatArray:
        """(S,) P&L under moves (S,F), unrounded."""
        count = len(self.market.underlying_id)
        vols = moves[:, count:] if moves.shape[1] > count else None
        labels = [f"move {row}" for row in range(len(moves))]
        scenario_set = make(labels, moves[:, :count], vols, dynamics=self.dynamics)
        arrays = revalue(self.instruments, self.market, scenario_set, tick=None)
        return np.asarray(account_pnl(self.book, arrays))[0]


def factor_greeks(
    book: Book,
    instruments: Instruments,
    market: Market,
    account: str,
    covariance: ArrayLike,
    *,
    dynamics: VolDynamics | None = None,
) -> FactorGreeks:
    """Delta and gamma of an account by the factors.

    book, instruments, market   as `revalue` and `margin` take them
    account     whose positions count
    covariance  of relative moves over the horizon: (U,U) of prices, or (2U,2U) of prices and then vols, in the order of
                market.underlying_id
    dynamics    of vols, VolDynamics() where None

    DataError for unknown accounts, ConfigError for the shape of the covariance.
    """
    names = [str(name) for name in market.underlying_id]
    spread = np.atleast_2d(np.asarray(covariance, dtype=np.float64))
    if spread.shape not in ((len(names),) * 2, (2 * len(names),) * 2):
        listed = ", ".join(names)
        raise ConfigError(f"covariance of the shape {spread.shape}: must be of the prices of {listed}, or also of vols")
    count = len(spread)
    owner = _Account(book.select(account), instruments, market, dynamics or VolDynamics())
    pairs = list(combinations(range(count), 2))
    unit = np.eye(count)
    moves = [0.0 * unit[0], *unit, *-unit]
    moves += [a * unit[i] + b * unit[j] for i, j in pairs for a in (1.0, -1.0) for b in (1.0, -1.0)]
    pnl = owner.pnl(STEP * np.array(moves))
    base, up, down = pnl[0], pnl[1 : count + 1], pnl[count + 1 : 2 * count + 1]
    gamma = np.diag((up - 2.0 * base + down) / STEP**2)
    crossed = pnl[2 * count + 1 :].reshape(-1, 4) @ np.array([1.0, -1.0, -1.0, 1.0]) / (4.0 * STEP**2)
    for (i, j), value in zip(pairs, crossed, strict=True):
        gamma[i, j] = gamma[j, i] = value
    factor = np.array([f"{kind}:{name}" for kind in ("price", "vol") for name in names])[:count]
    return FactorGreeks(factor, (up - down) / (2.0 * STEP), gamma, spread)


def plausible_move(
    book: Book,
    instruments: Instruments,
    market: Market,
    account: str,
    covariance: ArrayLike,
    *,
    radius: float | None = None,
    loss: float | None = None,
    dynamics: VolDynamics | None = None,
) -> PlausibleMove:
    """The worst move within a Mahalanobis radius, or the nearest move that loses an amount (reverse stress).

    book, instruments, market, account, covariance, dynamics   as `factor_greeks` takes them
    radius  of the ellipsoid, see `scenarios.plausible.chi_square_radius`; or
    loss    by delta and gamma, margin currency, above 0

    Exactly one of the two. Raises what `factor_greeks` and `scenarios.plausible` raise; ConfigError where the move
    takes a price or a vol to 0 or below, as a normal law of relative moves may.
    """
    if (radius is None) == (loss is None):
        raise ConfigError(f"radius = {radius!r}, loss = {loss!r}: must be one of the two")
    greeks = factor_greeks(book, instruments, market, account, covariance, dynamics=dynamics)
    terms = (greeks.delta, greeks.gamma, greeks.covariance)
    found = _found(terms, radius, loss)
    move = found.worst_scenario
    lowest = int(np.argmin(move))
    if move[lowest] <= -1.0:
        raise ConfigError(
            f"the move of {greeks.factor[lowest]} is {move[lowest]:.2f}: ask for a smaller radius or loss"
        )
    owner = _Account(book.select(account), instruments, market, dynamics or VolDynamics())
    return PlausibleMove(
        greeks=greeks,
        move=move,
        loss=found.max_loss,
        by_factor=found.euler_contributions,
        full_loss=-float(owner.pnl(move[None, :])[0]),
        distance=found.distance,
        probability=outside_probability(found.distance, len(move)),
    )


def _found(terms: tuple[FloatArray, FloatArray, FloatArray], radius: float | None, loss: float | None) -> WorstCase:
    if radius is not None:
        return quadratic_worst_case(*terms, radius)
    assert loss is not None
    return most_plausible_loss(*terms, loss)
