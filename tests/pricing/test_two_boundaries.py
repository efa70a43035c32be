"""Rates below 0 that make two exercise boundaries: against trees, the perpetual limit, and what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import UnsolvedError, price
from pricing.american import american_greeks, american_price, exercise_boundary
from tests.naive.american import american_value

# Spots of a put of strike 100: below, between and above both boundaries, of terms whose boundaries meet before, near
# and after expiry.
TERMS = ((-0.005, -0.05), (-0.005, -0.01), (-0.02, -0.03), (-0.005, -0.007))
terms = st.tuples(
    st.floats(50.0, 200.0),
    st.floats(0.02, 5.0),
    st.floats(0.05, 0.8),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.001, 0.05),
    st.floats(0.002, 0.08),
)


def sample(size: int, seed: int = 11) -> tuple[np.ndarray, ...]:
    """spot, strike, tau, vol, sign, rate, yield with two boundaries: rates down to -5 %, vols 8-60 %, to five years."""
    random = np.random.default_rng(seed)
    sign = random.choice([-1.0, 1.0], size)
    near = -random.uniform(0.001, 0.05, size)
    far = near - random.uniform(0.002, 0.06, size)
    rate, payout = np.where(sign < 0, near, far), np.where(sign < 0, far, near)
    strike = 100.0 * np.exp(random.normal(0, 0.3, size))
    return (
        np.full(size, 100.0),
        strike,
        random.uniform(0.02, 5.0, size),
        random.uniform(0.08, 0.6, size),
        sign,
        rate,
        payout,
    )


@pytest.mark.parametrize(("rate", "payout"), TERMS)
def test_against_tree(rate: float, payout: float) -> None:
    """Before, in and after the region; the tree itself is right to about 1e-5 of the strike."""
    for tau in (0.2, 1.0, 5.0):
        for spot in (9.0, 40.0, 72.0, 80.0, 104.0):
            ours = float(american_price(spot, 100.0, tau, 0.2, -1, rate, payout))
            assert ours == pytest.approx(american_value(spot, 100.0, tau, 0.2, -1, rate, payout), abs=2e-3)


def test_stated_accuracy() -> None:
    columns = sample(40)
    finest = american_price(*columns, accuracy="accurate")
    assert np.abs(american_price(*columns) - finest).max() < 1e-9 * 100
    assert np.abs(american_price(*columns, accuracy="fast") - finest).max() < 1e-9 * 100


def test_far_from_the_usual() -> None:
    """Boundaries that start 10,000 apart and meet late: solutions of the equations other than theirs exist."""
    spot, strike, tau, vol, rate, payout = 60.81, 100.0, 1.8221, 1.93156, -1.70759e-05, -0.172194
    ours = american_price(spot, strike, tau, vol, -1, rate, payout, accuracy="accurate")
    assert float(ours) == pytest.approx(american_value(spot, strike, tau, vol, -1, rate, payout), abs=2e-3)
    assert american_price(strike, spot, tau, vol, 1, payout, rate) == pytest.approx(float(ours), abs=1e-8)
    with pytest.raises(UnsolvedError, match=r"row 1, vol = 0.02: no exercise boundary found \(put, rate -0.0002"):
        american_price(spot, strike, [1.0, 15.0], [0.2, 0.02], -1, -0.0002, -0.1)


def test_the_boundaries_meet() -> None:
    """The region closes at one time; until then value and slope at both boundaries are the payoff's."""
    put = (100.0, 0.2, -1, -0.005, -0.01)
    strike, vol, sign, rate, payout = put
    lives = np.array([1e-4, 0.2, 0.8, 1.19, 1.1990, 1.1991, 3.0])
    near = exercise_boundary(strike, lives, vol, sign, rate, payout)
    far = exercise_boundary(strike, lives, vol, sign, rate, payout, far=True)
    assert np.isnan(near[-2:]).all()
    assert np.isnan(far[-2:]).all()
    assert np.all(np.diff(near[:-2]) < 0)
    assert np.all(np.diff(far[:-2]) > 0)
    assert near[4] - far[4] < 0.01
    assert far[0] == pytest.approx(100.0 * rate / payout, rel=2e-3)
    for tau, upper, lower in zip(lives[1:4], near[1:4], far[1:4], strict=True):
        spots = np.array([upper, lower, 0.5 * (upper + lower)]) * np.array([1.0 + 1e-9, 1.0 - 1e-9, 1.0])
        g = american_greeks(spots, strike, tau, vol, sign, rate, payout)
        assert g["price"] == pytest.approx(strike - spots, abs=1e-7)
        assert g["delta"] == pytest.approx(-1.0, abs=1e-6)
        outside = american_price(spots[:2] * [1.01, 0.99], strike, tau, vol, sign, rate, payout)
        assert np.all(outside > strike - spots[:2] * [1.01, 0.99])


def test_long_lives_tend_to_the_perpetual_boundaries() -> None:
    """Where vol < sqrt(-2 yield) - sqrt(-2 rate) they never meet: each is b = m/(m - 1), m a root of the equation of
    the perpetual option, vol^2/2 m (m - 1) + (r - q) m - r = 0 (Battauz, De Donno and Sbuelz 2015)."""
    rate, payout, vol = -0.005, -0.05, 0.15
    roots = np.roots([0.5 * vol * vol, rate - payout - 0.5 * vol * vol, -rate])
    expected = np.sort(100.0 * roots / (roots - 1.0))
    far, near = (exercise_boundary(100.0, [5.0, 60.0], vol, -1, rate, payout, far=far) for far in (True, False))
    assert near[1] == pytest.approx(expected[1], rel=2e-2)
    assert far[1] == pytest.approx(expected[0], rel=5e-2)
    assert far[0] < far[1] < expected[0]
    assert near[0] > near[1] > expected[1]


@pytest.mark.parametrize(
    ("rate", "payout", "tau", "spot"),
    [(-0.01, -0.05, 0.8, 15.0), (-0.01, -0.05, 0.8, 104.0), (-0.005, -0.01, 0.8, 30.0), (-0.005, -0.01, 4.0, 70.0)],
)
def test_greeks_are_the_derivatives(rate: float, payout: float, tau: float, spot: float) -> None:
    put = {"spot": spot, "strike": 100.0, "tau": tau, "vol": 0.25, "sign": -1.0, "rate": rate, "dividend_yield": payout}
    call = {**put, "spot": 100.0, "strike": spot, "sign": 1.0, "rate": payout, "dividend_yield": rate}
    steps = {"spot": 0.3, "vol": 0.002, "tau": 0.005, "rate": 0.0001}
    away, weights = np.array([-3, -2, -1, 1, 2, 3]), np.array([-1.0, 9.0, -45.0, 45.0, -9.0, 1.0]) / 60.0
    for option in (put, call):
        ours = {name: float(v) for name, v in american_greeks(**option).items()}
        along = {}
        for field, step in steps.items():
            moved = american_greeks(**{**option, field: option[field] + step * away})
            along[field] = {name: float(weights @ values) / step for name, values in moved.items()}
        assert ours["delta"] == pytest.approx(along["spot"]["price"], rel=1e-7)
        assert ours["gamma"] == pytest.approx(along["spot"]["delta"], rel=1e-6, abs=1e-9)
        assert ours["vega"] == pytest.approx(along["vol"]["price"], rel=1e-6)
        assert ours["vanna"] == pytest.approx(along["vol"]["delta"], rel=1e-5, abs=1e-7)
        assert ours["volga"] == pytest.approx(along["vol"]["vega"], rel=1e-4, abs=1e-3)
        assert ours["theta"] == pytest.approx(-along["tau"]["price"], rel=1e-5)
        assert ours["charm"] == pytest.approx(-along["tau"]["delta"], rel=1e-4, abs=1e-7)
        assert ours["rho"] == pytest.approx(along["rate"]["price"], rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(terms)
def test_bounds_symmetry_and_time(option: tuple[float, ...]) -> None:
    strike, tau, vol, sign, near, more = option
    rate, payout = (-near, -near - more) if sign < 0 else (-near - more, -near)
    life = tau * np.array([0.5, 0.9, 1.0, 1.1])
    ours = american_price(100.0, strike, life, vol, sign, rate, payout)
    european = price(100.0 * np.exp((rate - payout) * life), strike, life, vol, sign, np.exp(-rate * life))
    assert np.all(ours >= european - 1e-9)
    assert np.all(ours >= max(sign * (100.0 - strike), 0.0) - 1e-12)
    assert np.all(np.diff(ours) >= -2e-7)
    other = american_price(strike, 100.0, life, vol, -sign, payout, rate)
    assert ours == pytest.approx(other, abs=2e-7)


def test_continuous_where_the_second_boundary_comes_and_goes() -> None:
    """At a rate of 0 from below, and at a yield that reaches the rate, where nothing is exercised early."""
    for sign in (-1.0, 1.0):
        rates, payouts = np.array([-1e-9, -1e-12, 0.0, 1e-12]), np.full(4, -0.03)
        rate, payout = (rates, payouts) if sign < 0 else (payouts, rates)
        at_zero = american_price(95.0, 100.0, 2.0, 0.2, sign, rate, payout)
        assert np.ptp(at_zero) < 1e-6
    shrinking = american_price(80.0, 100.0, 1.0, 0.2, -1, -0.02, -0.02 - np.array([1e-3, 1e-4, 1e-6, 1e-9, 0.0]))
    european = price(80.0, 100.0, 1.0, 0.2, -1, math.exp(0.02))
    assert np.all(np.diff(np.abs(shrinking - float(european))) <= 1e-9)


def test_backends_agree() -> None:
    columns = sample(8)
    reference, ours = american_greeks(*columns, backend="numpy"), american_greeks(*columns)
    for name, values in ours.items():
        assert values == pytest.approx(reference[name], rel=1e-9, abs=1e-9), name
    assert american_price(*columns, backend="jax") == pytest.approx(reference["price"], rel=1e-12)
