"""One portfolio and a product grid of moves, as the kernels of `portfolio_pnl` take them."""

from __future__ import annotations

from typing import NamedTuple

from pricing.arrays import FloatArray


class Legs(NamedTuple):
    """Numbers of every leg: (N,) each; tau and discount (N,T+1) at every time step, the last as they stand now."""

    forward: FloatArray
    strike: FloatArray
    vol: FloatArray
    sign: FloatArray
    quantity: FloatArray
    tau: FloatArray
    discount: FloatArray


class Grid(NamedTuple):
    """Factors of the moves: growth (M,) of prices and its logarithm (M,), vol_factor (V,)."""

    growth: FloatArray
    log_growth: FloatArray
    vol_factor: FloatArray
