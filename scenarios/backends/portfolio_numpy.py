"""P&L of one portfolio of options along a product grid: the reference."""

from __future__ import annotations

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.models import black76
from pricing.xp import numpy as xp
from scenarios.legs import LARGEST_DISCOUNT, LARGEST_PRICE, LARGEST_VOL, LONGEST, SMALLEST_PRICE, Grid, Legs


def grid_pnl(legs: Legs, grid: Grid, threads: int | None = 1) -> tuple[FloatArray, int]:
    """(V*T*M,) P&L by the reference formula on numpy arrays, and how many legs are not fit, which leave none."""
    unfit = int(np.count_nonzero(~_fit(legs)))
    if unfit:
        return np.zeros(len(grid.vol_factor) * len(grid.step) * len(grid.growth)), unfit
    columns = (legs.strike, legs.vol, legs.sign)
    strike, vol, sign = (column[:, None, None, None] for column in columns)
    tau = np.maximum(legs.tau[:, None] - grid.step, 0.0)[:, None, :, None]
    discount = legs.later.T[:, None, :, None] if len(legs.later) else 1.0
    forward = legs.forward[:, None, None, None] * grid.growth
    shocked = np.maximum(vol * grid.vol_factor[:, None, None], 0.0)
    with np.errstate(under="ignore"):
        value = black76.value(xp, forward, strike, tau, shocked, discount, sign)
        now = legs.tau, legs.vol, legs.discount, legs.sign
        base = black76.value(xp, legs.forward, legs.strike, *now)
    return np.asarray(np.einsum("n,nvtm->vtm", legs.quantity, value - base[:, None, None, None]).ravel()), 0


def _fit(legs: Legs) -> BoolArray:
    """(N,) which legs are fit."""
    now, due = legs.tau, legs.discount
    fit = np.isfinite(legs.quantity) & (np.abs(legs.sign) == 1.0) & (due > 0.0) & (due <= LARGEST_DISCOUNT)
    for price in (legs.forward, legs.strike):
        fit &= (price > SMALLEST_PRICE) & (price < LARGEST_PRICE)
    return np.asarray(fit & (now >= 0.0) & (now <= LONGEST) & (legs.vol >= 0.0) & (legs.vol <= LARGEST_VOL))
