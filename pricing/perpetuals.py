"""Perpetual futures: the price at which funding pays for what the spot is expected to gain.

Ackerer, Hugonnier and Jermann, Perpetual futures pricing (2024), with constant rates. Quoted is f = c x, x the spot.
Linear: gains f' - f in quote currency; at the end of a period longs pay k (f - x) + i x. Inverse: gains 1/f - 1/f' in
coin for one unit of quote currency; longs pay k (1/x - 1/f) - i / x coin. Quanto: as linear, paid in a third currency
at a fixed rate. Entering costs nothing, so that expected gains under the measure of the currency they are paid
in equal the expected payments: with G the expected growth of x over the period, and for inverse ones of 1/x,

    c (G - 1) = k (c - 1) + i          funding on the spot and price at the start of the period
    c (G - 1) = G (k (c - 1) + i)      at its end

for f = c x; the same for 1/f = c / x of an inverse one. A period of 0 is the continuous form, k and i by year.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.columns import check_rows, flat_columns
from pricing.errors import ConfigError

NAME = "perpetual_futures_price"
PAYOFFS = ("linear", "inverse", "quanto")
FUNDING = ("previous_spot", "current_spot")
LARGEST_RATE = 10.0


def perpetual_futures_price(
    spot: ArrayLike,
    rate: ArrayLike,
    asset_yield: ArrayLike,
    funding_rate: ArrayLike,
    interest_differential: ArrayLike,
    period_years: ArrayLike,
    *,
    payoff: str = "linear",
    funding_uses: str = "current_spot",
    quanto_covariance: ArrayLike = 0.0,
) -> FloatArray | float:
    """Price of a perpetual future in quote currency, shape of the arguments.

    spot         quote currency, above 0
    rate         of the quote currency, continuous, a year; of a quanto also, its own drops out
    asset_yield  of the asset, continuous, a year
    funding_rate           k, above 0: share of the premium paid a period, or a year where the period is 0
    interest_differential  i, below k: share of the spot paid a period, or a year where the period is 0
    period_years           between payments, 0 for continuous funding
    payoff            "linear", "inverse" (paid in the asset), "quanto" (paid in a third currency at a fixed rate)
    funding_uses      "previous_spot": spot and price at the start of the period, "current_spot": at its end
    quanto_covariance  a year, of the returns of spot and of the third currency, both in quote currency; payoff quanto

    Of a quanto paid in the asset itself the covariance is the variance of the spot. DataError names rows out of bounds,
    and those where funding is too small to hold the price: what the spot gains then outgrows the payments, and no
    finite price is free of arbitrage. ConfigError for payoff and funding_uses.
    """
    if payoff not in PAYOFFS or funding_uses not in FUNDING:
        known = f"payoff {', '.join(PAYOFFS)}; funding_uses {', '.join(FUNDING)}"
        raise ConfigError(f"payoff = {payoff!r}, funding_uses = {funding_uses!r}: must be of {known}")
    named = {"spot": spot, "rate": rate, "asset_yield": asset_yield, "funding_rate": funding_rate}
    others = {"interest_differential": interest_differential, "period_years": period_years}
    columns, shape = flat_columns(NAME, {**named, **others, "quanto_covariance": quanto_covariance})
    _check(columns, payoff)
    growth, funding = columns["rate"] - columns["asset_yield"], columns["funding_rate"]
    if payoff == "quanto":
        growth = growth + columns["quanto_covariance"]
    elif payoff == "inverse":
        growth = -growth
    period = columns["period_years"]
    # What 1/x, or x, is expected to gain in a period; at the end of one it counts from there, back.
    gain = np.where(period > 0.0, np.expm1(growth * period), growth)
    if funding_uses == "current_spot":
        gain = np.where(period > 0.0, -np.expm1(-growth * period), growth)
    left = funding - gain
    remedy = "must be above what the spot is expected to gain in a period, or no price is free of arbitrage"
    check_rows(NAME, columns, {"funding_rate": (left > 0.0, remedy)})
    share = (funding - columns["interest_differential"]) / left
    price = columns["spot"] / share if payoff == "inverse" else columns["spot"] * share
    return float(price[0]) if not shape else price.reshape(shape)


def _check(columns: dict[str, FloatArray], payoff: str) -> None:
    within = {name: np.abs(columns[name]) <= LARGEST_RATE for name in ("rate", "asset_yield", "quanto_covariance")}
    period, funding = columns["period_years"], columns["funding_rate"]
    with np.errstate(invalid="ignore"):
        bounds = {
            "spot": (columns["spot"] > 0.0, "must be above 0"),
            **{name: (good, f"must be -{LARGEST_RATE:g} to {LARGEST_RATE:g}") for name, good in within.items()},
            "period_years": ((period >= 0.0) & (period <= 1.0), "must be 0 to 1 year"),
            "funding_rate": (
                (funding > 0.0) & ((period == 0.0) | (funding <= 1.0)),
                "must be above 0, and at most 1 a period",
            ),
            "interest_differential": (columns["interest_differential"] < funding, "must be below funding_rate"),
        }
    if payoff != "quanto":
        bounds["quanto_covariance"] = (columns["quanto_covariance"] == 0.0, "must be 0 unless payoff is quanto")
    check_rows(NAME, columns, bounds)
