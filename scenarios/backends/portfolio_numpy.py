"""P&L of one portfolio of options along a product grid: the reference."""

from __future__ import annotations

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.models import black76
from pricing.xp import numpy as xp
from scenarios.legs import (
    DISCOUNT,
    FORWARD,
    LARGEST_DISCOUNT,
    LARGEST_PRICE,
    LARGEST_QUANTITY,
    LARGEST_VOL,
    LATER,
    LONGEST,
    QUANTITY,
    SIGN,
    SMALLEST_PRICE,
    STRIKE,
    TAU,
    VOL,
    Grid,
)


def grid_pnl(legs: FloatArray, grid: Grid, threads: int | None = 1) -> tuple[FloatArray, int]:
    """(V*T*M,) P&L by the reference formula on numpy arrays, and how many legs are not fit, which leave none."""
    unfit = int(np.count_nonzero(~_fit(legs)))
    if unfit:
        return np.zeros(len(grid.vol_factor) * len(grid.step) * len(grid.growth)), unfit
    # Axes of legs, vol moves, time steps and price moves.
    forward, strike, lasting, vol, sign, _ = legs[:DISCOUNT, :, None, None, None]
    tau = np.maximum(lasting - grid.step[:, None], 0.0)
    discount, later = (legs[DISCOUNT], legs[LATER:].T[:, None, :, None]) if len(legs) > DISCOUNT else (1.0, 1.0)
    shocked = np.maximum(vol * grid.vol_factor[:, None, None], 0.0)
    with np.errstate(under="ignore"):
        value = black76.value(xp, forward * grid.growth, strike, tau, shocked, later, sign)
        now = legs[TAU], legs[VOL], discount, legs[SIGN]
        base = black76.value(xp, legs[FORWARD], legs[STRIKE], *now)
    return np.asarray(np.einsum("n,nvtm->vtm", legs[QUANTITY], value - base[:, None, None, None]).ravel()), 0


def _fit(legs: FloatArray) -> BoolArray:
    """(N,) which legs are fit."""
    forward, strike, tau, vol, sign, quantity = legs[:DISCOUNT]
    fit = (np.abs(quantity) <= LARGEST_QUANTITY) & (np.abs(sign) == 1.0)
    for due in legs[DISCOUNT:LATER]:
        fit &= (due > 0.0) & (due <= LARGEST_DISCOUNT)
    for price in (forward, strike):
        fit &= (price > SMALLEST_PRICE) & (price < LARGEST_PRICE)
    return np.asarray(fit & (tau >= 0.0) & (tau <= LONGEST) & (vol >= 0.0) & (vol <= LARGEST_VOL))
