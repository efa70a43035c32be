"""How vol follows price and time: tenor scaling, floors, stickiness."""

from __future__ import annotations

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.resolve import PricingInputs, slice_vol
from scenarios.shocks import VolDynamics

REFERENCE_DAYS = 30.0


def tenor_scale(tau: FloatArray, dynamics: VolDynamics) -> FloatArray:
    """(30 / days)^power of a vol shock, days floored; short power up to and including 30 days."""
    days = np.maximum(tau * DAYS_PER_YEAR, dynamics.days_floor)
    power = np.where(tau * DAYS_PER_YEAR <= REFERENCE_DAYS, dynamics.short_power, dynamics.long_power)
    return (REFERENCE_DAYS / days) ** power


def shocked_vol(
    inputs: PricingInputs,
    vol_move: FloatArray,
    vol_shift: FloatArray,
    forward: FloatArray,
    svi: FloatArray,
    dynamics: VolDynamics,
) -> FloatArray:
    """(N,S) vol of every contract in every scenario, never below 0.

    vol_move, vol_shift, forward are (N,S) for each contract's underlying and expiry; svi is (N,5).
    """
    base = inputs.vol[:, None]
    if dynamics.rule == "sticky_moneyness":
        base = np.maximum(base + _slice_change(inputs, forward, svi), 0.0)
    moved = base * (1.0 + vol_move * tenor_scale(inputs.tau, dynamics)[:, None])
    moved = np.maximum(moved, dynamics.vol_floor)
    if dynamics.minimum_vol_up > 0.0:
        moved = np.where(vol_move > 0.0, np.maximum(moved, dynamics.minimum_vol_up), moved)
    return np.maximum(moved + vol_shift, 0.0)


def _slice_change(inputs: PricingInputs, forward: FloatArray, svi: FloatArray) -> FloatArray:
    """(N,S) change of the slice's vol as the forward moves; 0 where a contract has no slice."""
    strike, tau, parameters = inputs.strike[:, None], inputs.tau[:, None], svi[:, None, :]
    after = slice_vol(strike, forward, tau, parameters)
    before = slice_vol(strike, inputs.forward[:, None], tau, parameters)
    return np.nan_to_num(after - before, nan=0.0)
