"""An American option on a binomial tree: slow, short, sharing nothing with the collocation it checks."""

from __future__ import annotations

import math

import numpy as np


def tree_value(
    spot: float, strike: float, tau: float, vol: float, sign: float, rate: float, dividend_yield: float, steps: int
) -> float:
    """The tree of Leisen and Reimer (1996), probabilities by the inversion of Peizer and Pratt; `steps` is odd."""
    step = tau / steps
    spread = vol * math.sqrt(tau)
    d1 = (math.log(spot / strike) + (rate - dividend_yield) * tau) / spread + spread / 2

    def probability(z: float) -> float:
        inner = (z / (steps + 1 / 3 + 0.1 / (steps + 1))) ** 2 * (steps + 1 / 6)
        return 0.5 + math.copysign(0.5 * math.sqrt(1 - math.exp(-inner)), z)

    up_share = probability(d1)
    up = probability(d1 - spread)
    growth = math.exp((rate - dividend_yield) * step)
    rise, fall = growth * up_share / up, growth * (1 - up_share) / (1 - up)
    ups = np.arange(steps + 1)
    prices = spot * rise**ups * fall ** (steps - ups)
    values = np.maximum(sign * (prices - strike), 0.0)
    shrink = math.exp(-rate * step)
    for left in range(steps - 1, -1, -1):
        prices = prices[: left + 1] / fall
        values = shrink * (up * values[1:] + (1 - up) * values[:-1])
        values = np.maximum(values, sign * (prices - strike))
    return float(values[0])


def american_value(
    spot: float, strike: float, tau: float, vol: float, sign: float, rate: float, dividend_yield: float
) -> float:
    """Two trees extrapolated to no step (Richardson): within about 1e-5 of the spot for ordinary terms."""
    coarse, fine = (tree_value(spot, strike, tau, vol, sign, rate, dividend_yield, steps) for steps in (501, 1001))
    return fine + (fine - coarse) * 501 / 500
