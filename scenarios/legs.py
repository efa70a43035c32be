"""One portfolio and a product grid of moves, as the kernels of `portfolio_pnl` take them."""

from __future__ import annotations

from typing import NamedTuple

from pricing.arrays import FloatArray

# A leg is fit whose numbers are finite and whose prices, time, vol and discount are above 0 and up to these; so is the
# magnitude of what is held. No sum of what they multiply to is beyond the largest double.
SMALLEST_PRICE, LARGEST_PRICE = 1e-100, 1e100
LONGEST, LARGEST_VOL, LARGEST_DISCOUNT, LARGEST_QUANTITY = 1_000.0, 1_000.0, 1e6, 1e100


# Rows of a table of legs, (6,N) where all discounts are 1, else (7 + T,N) with those of now and of each time step.
FORWARD, STRIKE, TAU, VOL, SIGN, QUANTITY, DISCOUNT, LATER = range(8)


class Grid(NamedTuple):
    """Factors of the moves: growth (M,) of prices, ascending, and its logarithm, vol_factor (V,); step (T,) years."""

    growth: FloatArray
    log_growth: FloatArray
    vol_factor: FloatArray
    step: FloatArray
