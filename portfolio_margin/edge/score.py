"""score: one number from 0, far from any trouble, to 100, at or beyond the edge; its formula is a convention of ours.

    score = 100 (1 - (1 - r)^a (1 - exp(-d / s))^b (1 - g G) (1 - v V) (1 - l L))

r is the margin ratio, maintenance margin over margin balance, at most 1; d the deviations to the nearest edge; G and V
the concentrations of short gamma and vega; L the cost of closing everything as a share of itself and the excess. The
score rises with each of them but d, with which it falls, and is 100 where r is 1 or d is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.edge.distance import Distance
from portfolio_margin.edge.levels import Case
from portfolio_margin.edge.prices import LiquidationPrices
from portfolio_margin.greeks import contract_greeks, position_greeks
from pricing.arrays import FloatArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.shocks import check_bounds


@dataclass(frozen=True)
class ScoreParams:
    """What weighs how much; a weight of 0 leaves its part out.

    margin_power, distance_power   a and b
    distance_scale   s, deviations
    gamma_weight, vega_weight, liquidity_weight   g, v and l, in [0, 1)
    closing_cost     of closing, a share of the notional
    """

    margin_power: float = 0.5
    distance_power: float = 0.5
    distance_scale: float = 2.0
    gamma_weight: float = 0.2
    vega_weight: float = 0.1
    liquidity_weight: float = 0.3
    closing_cost: float = 0.0005

    def __post_init__(self) -> None:
        weights = dict.fromkeys(("gamma_weight", "vega_weight", "liquidity_weight"), (0.0, 0.99))
        powers = dict.fromkeys(("margin_power", "distance_power"), (0.0, 10.0))
        check_bounds(self, {**weights, **powers, "distance_scale": (1e-3, 100.0), "closing_cost": (0.0, 1.0)})


class ScoreInputs(NamedTuple):
    """What a score is made of; numbers or arrays that broadcast.

    margin_ratio         maintenance margin over margin balance, 0 or more, inf where the balance is not above 0
    distance_sigmas      deviations to the nearest edge, 0 or more, inf where there is none
    gamma_concentration  of the gross gamma of all options, the share by which the most short expiry is short; 0 to 1
    vega_concentration   the same of vega
    liquidity            cost of closing over cost and excess, 0 to 1
    """

    margin_ratio: ArrayLike
    distance_sigmas: ArrayLike
    gamma_concentration: ArrayLike
    vega_concentration: ArrayLike
    liquidity: ArrayLike


def risk_score(inputs: ScoreInputs, params: ScoreParams | None = None) -> FloatArray:
    """The score, in [0, 100]. DataError for inputs outside their bounds."""
    p = params or ScoreParams()
    columns = [np.asarray(values, dtype=np.float64) for values in inputs]
    for name, values, most in zip(inputs._fields, columns, (np.inf, np.inf, 1.0, 1.0, 1.0), strict=True):
        bad = np.flatnonzero(~((values >= 0.0) & (values <= most)).ravel())
        if len(bad):
            remedy = "must be 0 or more" if most == np.inf else "must be from 0 to 1"
            raise DataError([Problem("score", int(bad[0]), name, float(values.ravel()[bad[0]]), remedy)])
    ratio, distance, gamma, vega, liquidity = columns
    safety = (1.0 - np.minimum(ratio, 1.0)) ** p.margin_power
    safety = safety * (-np.expm1(-distance / p.distance_scale)) ** p.distance_power
    for weight, share in ((p.gamma_weight, gamma), (p.vega_weight, vega), (p.liquidity_weight, liquidity)):
        safety = safety * (1.0 - weight * share)
    return np.asarray(100.0 * (1.0 - safety))


def score_inputs(
    case: Case, prices: LiquidationPrices, away: Distance, params: ScoreParams | None = None
) -> ScoreInputs:
    """The inputs of one account as it stands."""
    p = params or ScoreParams()
    now = prices.now
    maintenance, balance, excess = float(now.maintenance[0]), float(now.balance[0]), float(now.excess[0])
    ratio = maintenance / balance if balance > 0.0 else (np.inf if maintenance > 0.0 or balance < 0.0 else 0.0)
    gamma, vega, notional = _exposures(case)
    cost = p.closing_cost * notional
    if not np.isfinite(cost):
        raise ConfigError(f"closing cost of {case.account} is no finite number")
    room = cost + max(excess, 0.0)
    return ScoreInputs(ratio, away.sigmas, gamma, vega, cost / room if room > 0.0 else 0.0)


def _exposures(case: Case) -> tuple[float, float, float]:
    """Concentrations of short gamma and vega, and the gross notional of contracts in margin currency."""
    table, market, own, inputs = case.mover.instruments, case.mover.market, case.own, case.mover.inputs
    greeks = position_greeks(own, table, market, contract_greeks(table, market))
    expiry = np.maximum(table.expiry_idx[own.instrument_idx], 0)
    shares = [_short_share(greeks[name], expiry, len(market.forward)) for name in ("gamma_cash_1pct", "vega")]
    price = np.where(inputs.inverse > 0, 1.0, inputs.forward)
    unit = inputs.multiplier * price * market.fx[inputs.currency_idx]
    contract = ~table.is_collateral[own.instrument_idx]
    return shares[0], shares[1], float(np.sum(np.abs(own.quantity) * unit[own.instrument_idx] * contract))


def _short_share(amount: FloatArray, expiry: np.ndarray, expiries: int) -> float:
    """By how much the expiry that is shortest is short, of the gross amount of all positions."""
    gross = float(np.abs(amount).sum())
    if gross == 0.0:
        return 0.0
    net = np.bincount(expiry, amount, minlength=expiries)
    return float(min(max(0.0, -net.min()) / gross, 1.0))
