"""What supports a worst loss from below: the gains of the active scenario of every netting set, as they are."""

from __future__ import annotations

import numpy as np

from portfolio_margin.charges import short_option_rows
from pricing.arrays import BoolArray, FloatArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays


def loss_rates(
    arrays: RiskArrays, quantity: FloatArray, haircut: FloatArray, long: BoolArray, netting: str
) -> FloatArray:
    """(N,) rates of the loss summed over netting sets: of every set minus the gains in its worst scenario, 0 where it
    gains in all.

    quantity (N,) held; haircut (N,) off what is `long` (N,). The loss of any account is at least its quantities times
    these: the greatest of the scenarios is no less than one of them.
    """
    counted = np.where(arrays.is_collateral & long, 1.0 - haircut, 1.0)
    rates = np.zeros(len(arrays))
    held = np.flatnonzero(quantity)
    gains = (quantity[held] * counted[held])[:, None] * arrays.pnl[held]
    owner = np.zeros(len(arrays)) if netting == "joint" else arrays.underlying_idx
    for one in np.unique(owner[held]):
        sums = gains[owner[held] == one].sum(axis=0)
        worst = int(np.argmin(sums))
        if sums[worst] < 0.0:
            own = owner == one
            rates[own] = -arrays.pnl[own, worst] * counted[own]
    return rates


def floor_rates(arrays: RiskArrays, quantity: FloatArray, rate: float) -> FloatArray:
    """(N,) rates of the short option minimum: of every option that is sold, what one short contract asks for."""
    asked = short_option_rows(arrays, rate) * (arrays.tick_size / arrays.unit)
    return np.where((arrays.kind == Kind.OPTION) & (quantity < 0.0), -asked, 0.0)
