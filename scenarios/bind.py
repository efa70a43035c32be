"""bind: a scenario set meets a market. What comes out are arrays that kernels index and nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from pricing.market import UNDATED, Market
from pricing.resolve import PricingInputs, years_to_expiry
from scenarios.dynamics import shocked_vol, skewed, vol_terms
from scenarios.shocks import BY_EXPIRY, BY_UNDERLYING, ScenarioSet


class ShockedInputs(NamedTuple):
    """The market in every scenario; scenarios last, so that a contract's row is contiguous.

    forward, discount, tau  (X+1, S); row X belongs to cash that no underlying moves and never changes
    fx                      (C, S) margin currency per unit of currency
    vol                     (N, S)
    weight                  (S,)
    base_fx                 (C,) fx before the shocks
    """

    forward: FloatArray
    discount: FloatArray
    tau: FloatArray
    fx: FloatArray
    vol: FloatArray
    weight: FloatArray
    base_fx: FloatArray

    def rows(self, mask: np.ndarray) -> ShockedInputs:
        """The same shocks with the vols of some contracts only."""
        return self._replace(vol=np.ascontiguousarray(self.vol[mask]))


def bind(scenario_set: ScenarioSet, market: Market, inputs: PricingInputs) -> ShockedInputs:
    """Forwards, discounts, times, fx and vols in every scenario.

    A price move applies to the spot and to every forward of its underlying alike, a basis move to dated forwards on
    top of it, both to the share of a forward only that settlement has not fixed yet. ConfigError where the scenario
    set was made for another number of underlyings or expiries.
    """
    underlyings, expiries = len(market.underlying_id), len(market.forward)
    for name in (*BY_UNDERLYING, *BY_EXPIRY):
        width = getattr(scenario_set, name).shape[1]
        count, kind = (underlyings, "underlyings") if name in BY_UNDERLYING else (expiries, "expiries")
        if width not in (1, count):
            raise ConfigError(f"{name} has {width} columns: the market has {count} {kind}")
    price_move = _by_underlying(scenario_set.price_move, underlyings)
    owner = np.append(market.expiry_underlying, underlyings)
    base_tau = np.append(np.maximum(years_to_expiry(market), 0.0), 0.0)
    tau = np.maximum(base_tau[:, None] - scenario_set.time_step_years, 0.0)
    left = np.divide(tau, base_tau[:, None], out=np.ones_like(tau), where=base_tau[:, None] > 0)
    base_forward = np.append(market.forward, 1.0)
    moved = (1.0 + price_move[owner]) * (1.0 + _basis_move(scenario_set, market))
    fixed = np.append(market.fixed_share, 0.0)[:, None]
    forward = base_forward[:, None] * (fixed + (1.0 - fixed) * moved)
    if scenario_set.dynamics.carry == "rolled":
        carry = base_forward / np.append(market.spot[market.expiry_underlying], 1.0)
        forward = forward * carry[:, None] ** (left - 1.0)
    terms = vol_terms(
        base_tau,
        _by_underlying(scenario_set.vol_move, underlyings)[owner],
        _by_underlying(scenario_set.vol_shift, underlyings)[owner] + _by_row(scenario_set.expiry_vol_shift, expiries),
        _by_row(scenario_set.expiry_vol_move, expiries),
        _by_underlying(scenario_set.vol_floor, underlyings)[owner],
        scenario_set.dynamics,
    )
    svi = np.vstack([market.svi, np.full((1, 5), np.nan)])
    vol = shocked_vol(inputs, terms, forward, svi, scenario_set.dynamics)
    moved_fx = np.where(market.currency_underlying >= 0, market.currency_underlying, underlyings)
    return ShockedInputs(
        forward=forward,
        discount=np.append(market.discount, 1.0)[:, None] ** left,
        tau=tau,
        fx=market.fx[:, None] * (1.0 + price_move[moved_fx]),
        vol=skewed(vol, inputs, scenario_set),
        weight=scenario_set.weight,
        base_fx=market.fx,
    )


def _basis_move(scenario_set: ScenarioSet, market: Market) -> FloatArray:
    """(X+1,S) relative move of dated forwards; 0 for spot, coins and perpetuals."""
    moves = _by_row(scenario_set.basis_move, len(market.forward))
    moves[np.append(market.expiry_time == UNDATED, True)] = 0.0
    return moves


def _by_underlying(moves: FloatArray, underlyings: int) -> FloatArray:
    """(U+1, S) moves by underlying; the last row is for what no underlying moves."""
    return _by_row(moves, underlyings)


def _by_row(moves: FloatArray, rows: int) -> FloatArray:
    """(rows+1, S) moves of every row, from (S, rows) or (S, 1); the last row, 0, is for what none of them moves."""
    spread = np.broadcast_to(moves, (len(moves), rows)) if rows else np.zeros((len(moves), 0))
    return np.ascontiguousarray(np.vstack([spread.T, np.zeros((1, len(moves)))]))
