"""Oracle: a price that is old or unsure adds to the move that must be covered.

  extra move = confidence_factor x confidence + stale_factor x sigma x sqrt(max(0, age - grace) / day)

confidence is the half width of the interval that the feed states, as a share of the price; sigma the relative move of a
day, which grows with the root of the time nobody looked. A price older than `max_age_seconds` is refused: what it says
is no margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from scenarios.shocks import check_bounds

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    confidence_factor  extra move per unit of confidence, 0 to 10
    stale_factor       sigmas of the time since the price, 0 to 10
    grace_seconds      age that costs nothing, 0 to 86,400
    max_age_seconds    age from which on a price is refused, 1 to 604,800
    """

    confidence_factor: float = 1.0
    stale_factor: float = 2.33
    grace_seconds: float = 60.0
    max_age_seconds: float = 3600.0

    def __post_init__(self) -> None:
        factors = dict.fromkeys(("confidence_factor", "stale_factor"), (0.0, 10.0))
        check_bounds(self, {**factors, "grace_seconds": (0.0, 86_400.0), "max_age_seconds": (1.0, 604_800.0)})


def extra_move(age_seconds: ArrayLike, confidence: ArrayLike, day_move: ArrayLike, params: Params) -> FloatArray:
    """(U,) relative move to add on both sides.

    age_seconds  (U,) since the price, 0 or more
    confidence   (U,) half width of the feed's interval, relative
    day_move     (U,) sigma of a day, relative
    """
    late = np.maximum(np.asarray(age_seconds, dtype=np.float64) - params.grace_seconds, 0.0)
    drift = params.stale_factor * np.asarray(day_move) * np.sqrt(late / SECONDS_PER_DAY)
    return np.asarray(params.confidence_factor * np.asarray(confidence, dtype=np.float64) + drift)
