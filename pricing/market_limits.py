"""How far the numbers of a market may be from what markets are like before they are taken for slips."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pricing.arrays import FloatArray
from pricing.errors import DataError, Problem

MAX_DISCOUNT = 2.0
# 1,000 % a year; a vol in percent is above it, and no option market known has been.
MAX_VOL = 10.0
# 1 % a year: below the vol of any listed option market; pegged currencies are outside this engine.
MIN_VOL = 0.01
# Rates, carries and yields beyond 200 % a year, and expiries beyond 50 years, are slips of a digit or a unit.
MAX_RATE = 2.0
MAX_YEARS = 50.0
# Of total variance in log-moneyness, a little above Lee's 2 for the rounding of a fit that ends there.
LEE_SLOPE = 2.0 + 1e-9
# Forward and discount may be off what a rate explains by this much: premiums of perpetuals, days to settlement.
CARRY_SLACK = 0.2
# A perpetual trades at its index.
UNDATED_SLACK = 0.05
# A vol so many times above or below the median of its expiry is a slip of the decimal point or of the unit.
VOL_RATIO = 6.0
# The fx of a coin may be off its spot by this share, unless the market declares another limit for it.
FX_TOLERANCE = 0.01


@dataclass(frozen=True)
class MarketLimits:
    """Limits that a market declares where the usual ones do not hold: a frozen oracle, a token in distress, a venue's
    test case. They decide what is refused and change no number. Each above 0, min_vol 0 or more; math.inf for none.

    undated_slack  |ln(forward / spot)| of undated rows: how far a perpetual may trade from its index
    carry_slack    the same of dated rows, and |ln(discount)|, beside what max_rate explains until expiry
    max_rate       per year
    min_vol        of mark_vol and of slices at the money, per sqrt(year); 0 admits live options without any vol as
                   well, which are worth what exercise would pay
    max_vol        of both
    max_discount   of discount factors
    """

    undated_slack: float = UNDATED_SLACK
    carry_slack: float = CARRY_SLACK
    max_rate: float = MAX_RATE
    min_vol: float = MIN_VOL
    max_vol: float = MAX_VOL
    max_discount: float = MAX_DISCOUNT

    def __post_init__(self) -> None:
        problems = []
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            least = field.name == "min_vol"
            if not number or not (value > 0 or (least and value == 0)):
                remedy = "must be 0 or more" if least else "must be a number above 0, or inf"
                problems.append(Problem("market limits", None, field.name, value, remedy))
            else:
                object.__setattr__(self, field.name, float(value))
        if problems:
            raise DataError(problems)

    def explained(self, years: FloatArray) -> FloatArray:
        """Logarithm of a price or discount that max_rate explains over `years`; 0 where none are left."""
        alive = years > 0.0
        # Not max_rate x years: inf x 0 is no number.
        return np.where(alive, self.max_rate * np.where(alive, years, 1.0), 0.0)


USUAL = MarketLimits()
