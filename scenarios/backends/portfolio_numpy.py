"""P&L of one portfolio of options along a product grid: the reference."""

from __future__ import annotations

import numpy as np

from pricing.arrays import FloatArray
from pricing.models import black76
from pricing.xp import numpy as xp
from scenarios.legs import Grid, Legs


def grid_pnl(legs: Legs, grid: Grid, threads: int = 1) -> FloatArray:
    """(V*T*M,) P&L by the reference formula on numpy arrays."""
    columns = (legs.strike, legs.vol, legs.sign)
    strike, vol, sign = (column[:, None, None, None] for column in columns)
    tau, discount = (table[:, None, :-1, None] for table in (legs.tau, legs.discount))
    forward = legs.forward[:, None, None, None] * grid.growth
    shocked = np.maximum(vol * grid.vol_factor[:, None, None], 0.0)
    with np.errstate(under="ignore"):
        value = black76.value(xp, forward, strike, tau, shocked, discount, sign)
        now = legs.tau[:, -1], legs.vol, legs.discount[:, -1], legs.sign
        base = black76.value(xp, legs.forward, legs.strike, *now)
    return np.asarray(np.einsum("n,nvtm->vtm", legs.quantity, value - base[:, None, None, None]).ravel())
