"""Time: short gamma near expiry, and the averaging window of settlement.

In the last days a short option turns from nothing into a whole unit of the underlying within a few percent, and a hedge
that was right a moment ago is not. On top of the scan a short-gamma book pays a share of what a gap of one bucket to
either side costs it, netted inside every expiry:

  charge = rate x closeness x left x max(0, -(P&L(+gap) + P&L(-gap)))
  closeness = max(0, 1 - days / window_days), left = min(1, time to expiry / averaging window)

It rises from 0 at `window_days` without a step. Where settlement averages the price over its last minutes, what is left
of the average is all that can still move. Scenarios move the part of a forward that settlement has not fixed
(`fixed_share` of a market); where a market states that, `left` is 1 here, since the P&L has it already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray
from scenarios.shocks import check_bounds

MINUTES_PER_YEAR = DAYS_PER_YEAR * 24.0 * 60.0


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    window_days        days before expiry at which the charge begins, 0.01 to 60
    rate               share of the cost of a gap to both sides, 0 to 5
    averaging_minutes  over which settlement averages the price, 0 to 1,440
    """

    window_days: float = 3.0
    rate: float = 0.5
    averaging_minutes: float = 30.0

    def __post_init__(self) -> None:
        check_bounds(self, {"window_days": (0.01, 60.0), "rate": (0.0, 5.0), "averaging_minutes": (0.0, 1440.0)})


def gap_share(years: FloatArray, fixed_share: FloatArray, params: Params) -> FloatArray:
    """(X,) rate x closeness x left of every expiry.

    years        (X,) to expiry, 0 or more
    fixed_share  (X,) of the settlement price that the market says is fixed, 0 where it says nothing
    """
    closeness = np.maximum(1.0 - years * DAYS_PER_YEAR / params.window_days, 0.0)
    window = params.averaging_minutes / MINUTES_PER_YEAR
    left = np.minimum(years / window, 1.0) if window > 0.0 else np.ones(len(years))
    return np.asarray(params.rate * closeness * np.where(fixed_share > 0.0, 1.0, left))
