"""How vol follows price and time: tenor scaling, floors, stickiness."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.resolve import PricingInputs, slice_vol
from scenarios.shocks import ScenarioSet, Skew, VolDynamics

REFERENCE_DAYS = 30.0


class VolTerms(NamedTuple):
    """(X+1,S) each: vol' = max(vol factor, floor) + shift, never below 0; combined as the dynamics say."""

    factor: FloatArray
    floor: FloatArray
    shift: FloatArray


def tenor_scale(tau: FloatArray, dynamics: VolDynamics) -> FloatArray:
    """(30 / days)^power of a vol shock, days floored; short power up to and including 30 days."""
    days = np.maximum(tau * DAYS_PER_YEAR, dynamics.days_floor)
    power = np.where(tau * DAYS_PER_YEAR <= REFERENCE_DAYS, dynamics.short_power, dynamics.long_power)
    return (REFERENCE_DAYS / days) ** power


def shocked_vol(
    inputs: PricingInputs, terms: VolTerms, forward: FloatArray, svi: FloatArray, dynamics: VolDynamics
) -> FloatArray:
    """(N,S) vol of every contract in every scenario, never below 0.

    terms and forward are by expiry row, (X+1,S); svi is (X+1,5).
    """
    expiry = inputs.expiry_idx
    base = inputs.vol[:, None]
    if dynamics.rule == "sticky_moneyness":
        base = np.maximum(base + _slice_change(inputs, forward[expiry], svi[expiry]), 0.0)
    vol = base * terms.factor[expiry]
    if np.any(terms.shift) and dynamics.combine == "larger":
        shifted = base + terms.shift[expiry]
        vol = np.where(np.abs(shifted - base) > np.abs(vol - base), shifted, vol)
    np.maximum(vol, terms.floor[expiry], out=vol)
    if np.any(terms.shift) and dynamics.combine == "sum":
        vol += terms.shift[expiry]
        np.maximum(vol, 0.0, out=vol)
    return np.asarray(vol)


def skewed(vol: FloatArray, inputs: PricingInputs, scenario_set: ScenarioSet) -> FloatArray:
    """(N,S) shocked vols times the tilt of the scenarios that have a skew; options only, others have no vol."""
    for code in (Skew.LINEAR, Skew.ABSOLUTE):
        chosen = scenario_set.skew == code
        if np.any(chosen):
            vol[:, chosen] *= skew_factor(inputs, code, scenario_set.dynamics)[:, None]
    return vol


def skew_factor(inputs: PricingInputs, skew: Skew, dynamics: VolDynamics) -> FloatArray:
    """(N,) multiplier of the vol of every contract over its unshocked log-moneyness; see VolDynamics.

    Source: Derive v2 PMRM_2, skew scenarios "Linear" and "Abs".
    """
    root = np.sqrt(inputs.tau)
    absolute = skew == Skew.ABSOLUTE
    base, slope = (dynamics.linear_cap, dynamics.linear_cap_slope)
    if absolute:
        base, slope = (dynamics.absolute_cap, dynamics.absolute_cap_slope)
    cap = base + slope * root
    spread = dynamics.skew_width_vol + root * dynamics.skew_width_vol_slope
    width = np.maximum(dynamics.skew_width_min, root * dynamics.skew_width_scale * spread)
    moneyness = np.log(inputs.strike / inputs.forward)
    k = np.abs(moneyness) if absolute else moneyness
    tilt = k * cap / width
    # With a cap below 0, which the venue's parameters allow, the two sides are not one clip.
    return np.asarray(np.maximum(0.0, 1.0 + np.where(k < 0.0, np.maximum(tilt, -cap), np.minimum(tilt, cap))))


def vol_terms(
    tau: FloatArray,
    vol_move: FloatArray,
    vol_shift: FloatArray,
    expiry_vol_move: FloatArray,
    vol_floor: FloatArray,
    dynamics: VolDynamics,
) -> VolTerms:
    """What a scenario does to any vol of an expiry; tau is (X+1,), moves and floors are (X+1,S)."""
    floor_up = max(dynamics.minimum_vol_up, dynamics.vol_floor)
    floor = np.where(vol_move + expiry_vol_move > 0.0, floor_up, dynamics.vol_floor)
    return VolTerms(
        factor=1.0 + vol_move * tenor_scale(tau, dynamics)[:, None] + expiry_vol_move,
        floor=np.maximum(floor, vol_floor),
        shift=vol_shift,
    )


def _slice_change(inputs: PricingInputs, forward: FloatArray, svi: FloatArray) -> FloatArray:
    """(N,S) change of the slice's vol as the forward moves; 0 where a contract has no slice."""
    strike, tau, parameters = inputs.strike[:, None], inputs.tau[:, None], svi[:, None, :]
    after = slice_vol(strike, forward, tau, parameters)
    before = slice_vol(strike, inputs.forward[:, None], tau, parameters)
    return np.nan_to_num(after - before, nan=0.0)
