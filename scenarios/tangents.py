"""tangents: how the unit P&L of every scenario changes as the market moves, by automatic differentiation."""

from __future__ import annotations

import importlib

import numpy as np

from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from pricing.instruments import Instruments
from pricing.market import Market
from pricing.resolve import PricingInputs, is_solved, models_of, resolve
from scenarios.bind import ShockedInputs, bind
from scenarios.shocks import ScenarioSet


def unit_pnl_tangent(
    instruments: Instruments, markets: tuple[Market, Market, Market], step: float, scenario_set: ScenarioSet
) -> FloatArray:
    """(N,S) derivative of the P&L of one long contract, margin currency per unit of the step.

    markets  before, at and after a move of one parameter by -step, 0 and +step

    What pricing is given (forwards, times, vols, fx in every scenario) is followed by differences, which are smooth
    and cheap; what pricing makes of it, by jax. ConfigError for contracts with early exercise, which have no formula.
    """
    names, models = models_of(instruments)
    solved = [str(name) for name, model in models.items() if is_solved(model)]
    if solved:
        raise ConfigError(f"derivatives by the market need pricing models with a formula, and {solved[0]} has none")
    low, here, high = (_joined(instruments, market, scenario_set) for market in markets)
    inputs_tangent = PricingInputs._make((b - a) / (2.0 * step) for a, b in zip(low[0], high[0], strict=True))
    shocked_tangent = ShockedInputs._make((b - a) / (2.0 * step) for a, b in zip(low[1], high[1], strict=True))
    tangent = np.zeros((len(instruments), len(scenario_set)))
    module = importlib.import_module("scenarios.backends.tangents_jax")
    for name, model in models.items():
        mask = names == name
        columns = [part.rows(mask) for part in (*here, inputs_tangent, shocked_tangent)]
        tangent[mask] = module.unit_pnl_tangent(model, *columns)
    return tangent


def _joined(instruments: Instruments, market: Market, moves: ScenarioSet) -> tuple[PricingInputs, ShockedInputs]:
    inputs = resolve(instruments, market)
    return inputs, bind(moves, market, inputs)
