"""Every part by itself: against the naive twin, against identities, and for what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.dynamic import concentration, crowding, liquidity, near_expiry, oracle
from portfolio_margin.dynamic.underlying import BOUNDS, Underlying
from pricing import ConfigError
from tests.bounds import check_bounds_of_numbers
from tests.naive import dynamic as naive
from tests.portfolio_margin.dynamic.states import STATE, state

sizes = st.floats(0.0, 1e4)
curves = st.sampled_from(concentration.CURVES)
TIERED = concentration.Params(curve="tiered")


@given(sizes, curves, st.floats(0.0, 1.0))
def test_multiplier_is_the_naive_one(x: float, curve: str, exponent: float) -> None:
    p = concentration.Params(curve=curve, exponent=exponent)
    found = float(concentration.size_multiplier(np.array([x]), p)[0])
    assert found == pytest.approx(naive.multiplier(x, curve, exponent, list(p.tiers), list(p.factors)), rel=1e-12)
    assert found >= 1.0


@given(st.floats(1e-6, 1e4), st.floats(1.0, 10.0), curves)
def test_a_larger_position_costs_more_than_in_proportion(x: float, more: float, curve: str) -> None:
    """Loss and size both grow with the position, the charge is loss times multiplier."""
    p = concentration.Params(curve=curve)
    one, grown, two = (float(concentration.size_multiplier(np.array([s]), p)[0]) for s in (x, more * x, 2.0 * x))
    assert grown >= one * (1.0 - 1e-14)
    assert 2.0 * two >= 2.0 * one * (1.0 - 1e-14)
    if curve == "continuous" or 2.0 * x > p.tiers[1] * 1.001:
        assert two > one


@pytest.mark.parametrize("start", TIERED.tiers[1:])
def test_tiers_have_no_cliff(start: float) -> None:
    below, above = concentration.size_multiplier(np.array([start * (1 - 1e-9), start * (1 + 1e-9)]), TIERED)
    assert above == pytest.approx(below, rel=1e-8)


def test_tiers_are_the_mean_of_the_factors_of_what_lies_in_them() -> None:
    """One and a half of a tier of 0.25 at 1, 0.75 at 1.25 and 0.5 at 1.6."""
    found = concentration.size_multiplier(np.array([1.5]), TIERED)[0]
    assert found == pytest.approx((0.25 * 1.0 + 0.75 * 1.25 + 0.5 * 1.6) / 1.5, rel=1e-14)


@given(st.floats(0.001, 4000.0), st.floats(-1.0, 1.0))
def test_bucket_weights_interpolate(days: float, delta: float) -> None:
    """Weights are shares, those of the naive twin, and give back days and delta: linear interpolation between nodes."""
    p = liquidity.Params()
    weights = liquidity.bucket_weights(np.array([days]), np.array([delta]), p)[0].reshape(len(p.days), len(p.deltas))
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0, rel=1e-12)
    size = min(abs(delta), 1.0 - abs(delta))
    by_days = naive.shares(float(np.log(max(days, 0.01))), [float(np.log(d)) for d in p.days])
    assert weights == pytest.approx(np.outer(by_days, naive.shares(size, list(p.deltas))), abs=1e-12)
    assert weights.sum(axis=0) @ p.deltas == pytest.approx(np.clip(size, p.deltas[0], p.deltas[-1]), abs=1e-12)
    inside = np.clip(np.log(max(days, 0.01)), np.log(p.days[0]), np.log(p.days[-1]))
    assert weights.sum(axis=1) @ np.log(p.days) == pytest.approx(inside, abs=1e-12)


@given(st.floats(-1e9, 1e9), st.floats(0.0, 0.1), st.floats(0.0, 0.5), st.floats(1.0, 1e12))
def test_cost_is_even_superlinear_and_the_naive_one(size: float, spread: float, move: float, volume: float) -> None:
    one, two, other = (float(liquidity.closing_cost(q, spread, move, volume, 1.0)) for q in (size, 2 * size, -size))
    assert one == other == pytest.approx(naive.cost(size, spread, move, volume, 1.0), rel=1e-12)
    assert two >= 2.0 * one * (1.0 - 1e-14)


def test_square_root_law_forgets_the_horizon() -> None:
    """Over four days sigma is twice, volume four times that of a day."""
    one = liquidity.closing_cost(1e7, 0.0, 0.03, 1e9, 0.7)
    four = liquidity.closing_cost(1e7, 0.0, 0.03 * 2.0, 1e9 * 4.0, 0.7)
    assert float(one) == pytest.approx(float(four), rel=1e-14)
    assert float(one) == pytest.approx(0.7 * 0.03 * 1e7 * 0.1, rel=1e-14)  # a hundredth of the volume


@given(st.floats(0.0, 1.0))
def test_widening_begins_at_the_threshold_and_ends_at_the_cap(share: float) -> None:
    p = crowding.Params(threshold=0.6, slope=2.0, cap=0.5)
    found = float(crowding.widening(share, p))
    assert found == pytest.approx(naive.widening(share, 0.6, 2.0, 0.5), abs=1e-15)
    assert (found > 0.0) == (share > 0.6)
    assert found <= 0.5


@given(st.floats(0.0, 3600.0), st.floats(0.0, 0.1), st.floats(0.0, 0.2))
def test_doubt_about_a_price_is_the_naive_one_and_grows(age: float, confidence: float, day_move: float) -> None:
    p = oracle.Params()
    found = float(oracle.extra_move(age, confidence, day_move, p))
    assert found == pytest.approx(naive.extra_move(age, confidence, day_move, p), abs=1e-15)
    assert float(oracle.extra_move(age + 600.0, confidence, day_move, p)) >= found
    if age <= p.grace_seconds:
        assert found == pytest.approx(confidence, abs=1e-15)


def test_gap_share_begins_without_a_step_and_ends_with_the_average() -> None:
    p = near_expiry.Params(window_days=3.0, rate=0.5, averaging_minutes=30.0)
    days = np.array([4.0, 3.0, 2.999, 1.5, 30.0 / 1440, 15.0 / 1440, 0.0])
    found = near_expiry.gap_share(days / 365.0, np.zeros(7), p)
    assert found == pytest.approx([naive.gap_share(float(day), p) for day in days], abs=1e-15)
    assert found[:3] == pytest.approx([0.0, 0.0, 0.5 * 0.001 / 3.0], abs=1e-12)
    assert found[-1] == 0.0
    # A market that says what is fixed has it in its scenarios already.
    stated = near_expiry.gap_share(days[-2:] / 365.0, np.array([0.5, 0.9]), p)
    assert stated == pytest.approx(0.5 * (1.0 - days[-2:] / 3.0), rel=1e-12)


@pytest.mark.parametrize("module", [concentration, liquidity, crowding, oracle, near_expiry])
def test_parameters_of_parts_have_bounds(module: object) -> None:
    kind = module.Params  # type: ignore[attr-defined]
    check_bounds_of_numbers(kind(), kind)


def test_states_have_bounds() -> None:
    stated = check_bounds_of_numbers(state(), state)
    assert set(stated) == set(BOUNDS) == set(STATE)
    with pytest.raises(ConfigError, match=r"price_floor = 0.2: must not exceed price_range = 0.16"):
        Underlying(**{**STATE, "price_floor": 0.2})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (concentration.Params, {"tiers": (0.1, 0.2, 0.3, 0.4)}),
        (concentration.Params, {"tiers": (0.0, 0.25, 1.0, float("inf"))}),
        (concentration.Params, {"factors": (1.0, 1.25, 1.6, float("nan"))}),
        (concentration.Params, {"factors": (True, 1.25, 1.6, 2.5)}),
        (liquidity.Params, {"days": (True, 7.0, 30.0, 90.0, 365.0)}),
        (liquidity.Params, {"half_spreads": ((True,) * 4,) * 5}),
        (liquidity.Params, {"half_spreads": 0.1}),
        (liquidity.Params, {"half_spreads": (0.1,) * 5}),
        (concentration.Params, {"factors": (1.0, 0.9, 1.0, 1.0)}),
        (concentration.Params, {"factors": (1.0, 1.1)}),
        (concentration.Params, {"factors": (1.0, 1.1, 1.2, 101.0)}),
        (liquidity.Params, {"days": (1.0, 1.0)}),
        (liquidity.Params, {"deltas": (0.1, 0.6)}),
        (liquidity.Params, {"half_spreads": ((0.1,),)}),
        (liquidity.Params, {"half_spreads": ((3.0,) * 4,) * 5}),
    ],
)
def test_tables_that_are_none_are_refused(kind: type, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        kind(**change)
