"""Perpetual futures against published numbers, QuantLib's sums over payments, and the bargain that defines them."""

from __future__ import annotations

import numpy as np
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import ConfigError, DataError, perpetual_futures_price
from tests.vectors import literature_vectors

LIMITS = {"max_examples": 60, "deadline": None}
RATES = st.floats(-0.1, 0.1)
PERIODS = st.sampled_from([1.0 / 1095.0, 1.0 / 365.0, 0.25])


def test_published_prices() -> None:
    for v in literature_vectors("perpetual_futures_price"):
        expected = pytest.approx(v["expected"]["price"], rel=v["tolerance"]["price"]["rel"])
        assert perpetual_futures_price(**v["inputs"]) == expected


@pytest.mark.parametrize("payoff", ["linear", "inverse"])
@pytest.mark.parametrize("uses", ["previous_spot", "current_spot"])
def test_quantlib(payoff: str, uses: str) -> None:
    today = ql.Date(1, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    kind = {"linear": ql.PerpetualFutures.Linear, "inverse": ql.PerpetualFutures.Inverse}[payoff]
    funding = ql.PerpetualFutures.FundingWithPreviousSpot
    funding = ql.PerpetualFutures.FundingWithCurrentSpot if uses == "current_spot" else funding
    day_count = ql.Actual365Fixed()
    future = ql.PerpetualFutures(kind, funding, ql.Period(3, ql.Months), ql.NullCalendar(), day_count)
    curves = [ql.YieldTermStructureHandle(ql.FlatForward(today, r, day_count)) for r in (0.04, 0.02)]
    spot = ql.QuoteHandle(ql.SimpleQuote(10_000.0))
    future.setPricingEngine(ql.DiscountingPerpetualFuturesEngine(*curves, spot, [0.0], [0.3], [0.005]))
    ours = perpetual_futures_price(1e4, 0.04, 0.02, 0.3, 0.005, 0.25, payoff=payoff, funding_uses=uses)
    assert ours == pytest.approx(future.NPV(), rel=1e-6)


@settings(**LIMITS)
@given(RATES, RATES, st.floats(0.2, 0.9), st.floats(-0.1, 0.1), PERIODS, st.floats(0.05, 0.5))
def test_gains_pay_for_funding(r: float, q: float, k: float, i: float, period: float, move: float) -> None:
    """Over a period in which the spot takes one of two values, under the law of the currency gains are paid in."""
    up, down = np.exp(move), np.exp(-move)
    chance = (np.exp((r - q) * period) - down) / (up - down)
    chances, spots = np.array([chance, 1.0 - chance]), 100.0 * np.array([up, down])
    # In the asset: weights times what the asset and its yield are worth by then.
    in_asset = chances * spots / 100.0 * np.exp((q - r) * period)
    assert in_asset.sum() == pytest.approx(1.0)
    for uses in ("previous_spot", "current_spot"):
        for payoff, law in (("linear", chances), ("inverse", in_asset), ("quanto", in_asset)):
            # The covariance of a spot with itself, of these two values.
            growth = float(np.log(in_asset @ spots / 100.0) / period) - (r - q)
            other = growth if payoff == "quanto" else 0.0
            if abs(other) > 10.0 or k <= np.exp((abs(other) + 0.2) * period) - 1.0:
                continue
            terms = {"payoff": payoff, "funding_uses": uses, "quanto_covariance": other}
            now = perpetual_futures_price(100.0, r, q, k, i, period, **terms)
            later = perpetual_futures_price(spots, r, q, k, i, period, **terms)
            at, spot = (now, 100.0) if uses == "previous_spot" else (later, spots)
            if payoff == "inverse":
                gains, paid = 1.0 / now - 1.0 / later, k * (1.0 / spot - 1.0 / at) - i / spot
            else:
                gains, paid = later - now, k * (at - spot) + i * spot
            assert law @ np.broadcast_to(gains - paid, 2) == pytest.approx(0.0, abs=1e-9 * np.abs(gains).max())


@settings(**LIMITS)
@given(RATES, RATES, st.floats(0.3, 5.0), st.floats(-0.2, 0.2), st.sampled_from(["linear", "inverse"]))
def test_short_periods_approach_the_continuous_form(r: float, q: float, k: float, i: float, payoff: str) -> None:
    period = 1e-6
    whole = perpetual_futures_price(1.0, r, q, k, i, 0.0, payoff=payoff)
    for uses in ("previous_spot", "current_spot"):
        parts = perpetual_futures_price(1.0, r, q, k * period, i * period, period, payoff=payoff, funding_uses=uses)
        assert parts == pytest.approx(whole, rel=1e-5)


@settings(**LIMITS)
@given(RATES, RATES, st.floats(0.3, 0.9), PERIODS, st.sampled_from(["linear", "inverse"]))
def test_an_interest_differential_that_holds_the_spot(r: float, q: float, k: float, period: float, payoff: str) -> None:
    """Where i is what the spot gains in a period the price is the spot; it is proportional to the spot."""
    gain = np.expm1((r - q) * period if payoff == "linear" else (q - r) * period)
    terms = {"payoff": payoff, "funding_uses": "previous_spot"}
    prices = perpetual_futures_price([50.0, 100.0], r, q, k, gain, period, **terms)
    assert prices == pytest.approx([50.0, 100.0], rel=1e-12)


def test_a_quanto_without_covariance_is_linear() -> None:
    for period in (0.0, 0.25):
        terms = (100.0, 0.03, 0.01, 0.4, 0.001, period)
        assert perpetual_futures_price(*terms, payoff="quanto") == perpetual_futures_price(*terms)


def test_refusals() -> None:
    with pytest.raises(
        DataError, match=r"row 1, funding_rate = 0\.001: must be above what the spot is expected to gain"
    ):
        perpetual_futures_price(100.0, 0.04, 0.02, [0.01, 0.001], 0.0, 0.25)
    with pytest.raises(DataError, match="spot"):
        perpetual_futures_price([100.0, -1.0], 0.0, 0.0, 0.1, 0.0, 0.0)
    with pytest.raises(DataError, match="interest_differential"):
        perpetual_futures_price(100.0, 0.0, 0.0, 0.1, 0.1, 0.0)
    with pytest.raises(DataError, match="quanto_covariance"):
        perpetual_futures_price(100.0, 0.0, 0.0, 0.1, 0.0, 0.0, quanto_covariance=0.1)
    with pytest.raises(DataError, match="period_years"):
        perpetual_futures_price(100.0, 0.0, 0.0, 0.1, 0.0, np.nan)
    with pytest.raises(ConfigError, match="payoff"):
        perpetual_futures_price(100.0, 0.0, 0.0, 0.1, 0.0, 0.0, payoff="cash")
