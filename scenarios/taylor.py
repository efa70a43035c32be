"""Greeks-based revaluation, and its error against full revaluation.

dV = delta dF + gamma dF^2/2 + vega dvol + theta dt + vanna dF dvol + volga dvol^2/2.

Second order is exact only locally (a short-dated option under a 20 % move can come out with the wrong
sign), so margin is computed by full revaluation; this is for attribution and for screening.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from pricing.arrays import FloatArray
from pricing.backends import numpy as pricing_numpy
from pricing.errors import ConfigError
from pricing.resolve import PricingInputs, model_columns
from scenarios.backends.numpy import weighted_gain
from scenarios.bind import ShockedInputs
from scenarios.risk_arrays import RiskArrays


def unit_pnl(model: ModuleType, inputs: PricingInputs, shocked: ShockedInputs, accuracy: str = "default") -> FloatArray:
    """(N,S) P&L of one long contract in margin currency from Greeks, weighted like full revaluation."""
    greeks = pricing_numpy.greeks(model, model_columns(model, inputs), accuracy=accuracy)
    base, delta, gamma, vega, theta, _, vanna, volga, _ = (column[:, None] for column in greeks)
    change = taylor_change(
        (delta, gamma, vega, theta, vanna, volga),
        shocked.forward[inputs.expiry_idx] - inputs.forward[:, None],
        shocked.vol - inputs.vol[:, None],
        inputs.tau[:, None] - np.minimum(shocked.tau[inputs.expiry_idx], inputs.tau[:, None]),
    )
    return weighted_gain(base[:, 0], base + change, inputs, shocked)


def taylor_change(
    sensitivities: tuple[FloatArray, ...], forward_change: FloatArray, vol_change: FloatArray, time_years: FloatArray
) -> FloatArray:
    """Change of value from (delta, gamma, vega, theta, vanna, volga), in the currency of the value."""
    delta, gamma, vega, theta, vanna, volga = sensitivities
    return (
        delta * forward_change
        + 0.5 * gamma * forward_change**2
        + vega * vol_change
        + theta * time_years
        + vanna * forward_change * vol_change
        + 0.5 * volga * vol_change**2
    )


@dataclass(frozen=True)
class TaylorError:
    """Largest absolute error of a Taylor risk array, in margin currency per contract.

    by_scenario (S,), by_instrument (N,), largest with its instrument and scenario, and the largest
    full-revaluation P&L of that instrument for comparison.
    """

    by_scenario: FloatArray
    by_instrument: FloatArray
    largest: float
    instrument: str
    scenario: str
    full_pnl: float
    taylor_pnl: float


def taylor_error(full: RiskArrays, approximate: RiskArrays) -> TaylorError:
    """Compare the arrays of the two methods over the same instruments and scenarios."""
    if full.pnl.shape != approximate.pnl.shape or np.any(full.instrument_id != approximate.instrument_id):
        raise ConfigError("the two risk arrays are not about the same instruments and scenarios")
    gap = np.abs(full.pnl - approximate.pnl)
    row, column = np.unravel_index(np.argmax(gap), gap.shape)
    return TaylorError(
        by_scenario=gap.max(axis=0),
        by_instrument=gap.max(axis=1),
        largest=float(gap[row, column]),
        instrument=str(full.instrument_id[row]),
        scenario=str(full.scenario_set.label[column]),
        full_pnl=float(full.pnl[row, column]),
        taylor_pnl=float(approximate.pnl[row, column]),
    )
