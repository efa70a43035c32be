"""payoff: what an account gains along the price of one underlying, now, later and when its first contract expires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio_margin.edge.levels import Case, levels_where_ruled
from pricing.arrays import DAYS_PER_YEAR, FloatArray, StrArray
from pricing.errors import ConfigError

AT_EXPIRY = "at first expiry"


@dataclass(frozen=True)
class Payoff:
    """Gains of an account along the price, K curves.

    price    (P,) quote currency, rising
    label    (K,) what each curve is of
    days     (K,) that have passed
    gain     (K,P) equity less equity today, margin currency; NaN where the model has no rule for what is then held
    excess   (K,P) margin balance less maintenance margin
    """

    price: FloatArray
    label: StrArray
    days: FloatArray
    gain: FloatArray
    excess: FloatArray


def payoff(case: Case, price: FloatArray, later_days: float = 1.0) -> Payoff:
    """Gains now, `later_days` later and at the first expiry held, vols as `Case` has them stick.

    price       (P,) multiples of today's price
    later_days  above 0; a curve beyond the first expiry is left out, and so is that of an account that nothing expires
    """
    if not 0.0 < later_days < np.inf:
        raise ConfigError(f"later_days = {later_days!r}: must be finite and above 0")
    expiry_days = case.first_expiry_years * DAYS_PER_YEAR
    curves = [("now", 0.0)]
    if later_days < expiry_days:
        curves.append(("tomorrow" if later_days == 1.0 else f"in {later_days:g} days", later_days))
    if np.isfinite(expiry_days):
        curves.append((AT_EXPIRY, expiry_days))
    today = float(levels_where_ruled(case, np.ones(1))[0].equity[0])
    found = [
        levels_where_ruled(case, price, 1.0, min(days / DAYS_PER_YEAR, case.first_expiry_years))[0]
        for _, days in curves
    ]
    return Payoff(
        price=price * case.spot,
        label=np.array([label for label, _ in curves], dtype=np.str_),
        days=np.array([days for _, days in curves]),
        gain=np.array([level.equity - today for level in found]),
        excess=np.array([level.excess for level in found]),
    )
