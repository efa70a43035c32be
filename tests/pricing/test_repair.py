"""Conversions of slices for users, and repair of slices that hold arbitrage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pricing
from pricing import DataError, butterfly_free, calendar_free, repair_slices
from pricing.surfaces import natural, svi

RAW = np.array([[0.02, 0.1, -0.3, 0.05, 0.2], [0.015, 0.12, 0.2, -0.1, 0.3]])
VOGT = [-0.041, 0.1331, 0.306, 0.3586, 0.4153]


@given(
    st.floats(0.001, 0.5), st.floats(0.01, 1.0), st.floats(-0.9, 0.9), st.floats(0.01, 0.5), st.floats(0.02, 2.0),
    st.floats(0.01, 3.0),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_form_leads_back(level: float, b: float, rho: float, m: float, sigma: float, tau: float) -> None:
    """Vols are the same, whatever sigma or rho a rounding has moved."""
    raw, k = [level, b, rho, m, sigma], np.linspace(-1.0, 1.0, 9)
    w = svi.total_variance(np, k, *raw)
    by_natural = pricing.raw_from_natural(pricing.natural_from_raw(raw))
    assert np.allclose(svi.total_variance(np, k, *by_natural[0]), w, rtol=1e-12)
    wings = pricing.jump_wing_from_raw(raw, tau)
    assert wings[0, 0] == pytest.approx(svi.total_variance(np, 0.0, *raw) / tau)
    if abs(wings[0, 1]) > 1e-4 * (wings[0, 2] + wings[0, 3]):
        back = pricing.raw_from_jump_wing(wings, [tau])
        assert np.allclose(svi.total_variance(np, k, *back[0]), w, rtol=1e-6)


def test_lists_and_ssvi() -> None:
    assert np.array_equal(pricing.natural_from_raw(RAW.tolist()), pricing.natural_from_raw(RAW))
    first = pricing.natural_from_raw(RAW)[0]
    assert natural.total_variance(np, 0.1, *first) == pytest.approx(svi.total_variance(np, 0.1, *RAW[0]))
    flat_wing = pricing.jump_wing_from_raw([0.02, 0.1, -1.0, 0.0, 0.2], 0.1)
    assert flat_wing[0, 3] == 0.0
    assert np.allclose(pricing.raw_from_jump_wing(flat_wing, 0.1), [0.02, 0.1, -1.0, 0.0, 0.2], atol=1e-15)
    found = pricing.raw_from_ssvi([0.04, 0.09], -0.4, [1.0, 0.8])
    assert np.allclose(svi.total_variance(np, 0.0, *found.T), [0.04, 0.09])


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("jump_wing_from_raw", ([0.02, 0.0, -0.3, 0.0, 0.2], 0.1), r"row 0, b = 0.0: must be above 0"),
        ("jump_wing_from_raw", ([0.02, 0.1, -1.1, 0.0, 0.2], 0.1), r"rho = -1.1: must lie between"),
        ("natural_from_raw", ([0.02, 0.1, -1.0, 0.0, 0.2],), r"rho = -1.0: must lie between"),
        ("jump_wing_from_raw", ([-0.2, 0.1, 0.0, 0.0, 0.2], 0.1), r"total variance at the money = -0.18"),
        ("jump_wing_from_raw", (RAW, [0.1, 0.0]), r"row 1, tau = 0.0: years, above 0"),
        ("jump_wing_from_raw", (RAW, [0.1, 0.2, 0.3]), r"one number or \(2,\)"),
        ("jump_wing_from_raw", (RAW[:, :4], 0.1), r"raw slices a b rho m sigma are"),
        ("natural_from_raw", ([0.02, 0.1, -0.3, 0.0, 0.0],), r"sigma = 0.0: must be above 0"),
        ("natural_from_raw", ([0.02, 0.1, -0.3, np.nan, 0.1],), r"m = nan"),
        ("raw_from_natural", ([0.0, 0.0, -0.3, 0.1, 0.0],), r"zeta = 0.0: must be above 0"),
        ("raw_from_jump_wing", ([0.2, 0.0, 0.5, 0.5, 0.1], 0.1), r"psi = 0.0: must not be 0"),
        ("raw_from_jump_wing", ([0.2, 0.4, 0.5, 0.5, 0.1], 0.1), r"psi = 0.4: no slice has this skew"),
        ("raw_from_jump_wing", ([0.2, -0.1, 0.5, 0.5, 0.3], 0.1), r"v_tilde = 0.3: must be below v"),
        ("raw_from_jump_wing", ([0.2, -0.1, -0.5, 0.5, 0.1], 0.1), r"p = -0.5"),
        ("raw_from_ssvi", (0.04, 1.0, 1.0), r"rho = 1.0"),
        ("raw_from_ssvi", ([0.04, 0.0], 0.1, 1.0), r"row 1, theta = 0.0"),
    ],
)
def test_what_has_no_other_form_is_refused(name: str, arguments: tuple[Any, ...], match: str) -> None:
    with pytest.raises(DataError, match=match):
        getattr(pricing, name)(*arguments)


def test_a_butterfly_is_repaired() -> None:
    """Axel Vogt's slice (Gatheral and Jacquier 2014, example 3.1)."""
    assert not butterfly_free(VOGT)[0]
    found = repair_slices(VOGT, 1.0)
    assert found.free.tolist() == [True]
    assert butterfly_free(found.svi)[0]
    k = np.linspace(-4.0, 4.0, 61) * np.sqrt(svi.total_variance(np, 0.0, *VOGT))
    moved = np.sqrt(svi.total_variance(np, k, *found.svi[0])) - np.sqrt(svi.total_variance(np, k, *VOGT))
    assert 100 * np.abs(moved).max() == pytest.approx(found.moved_vol_points[0], rel=1e-6)
    assert 0.1 < found.moved_vol_points[0] < 2.0


def test_a_stack_is_repaired_and_a_free_one_left_alone() -> None:
    crossing = np.array([[0.02, 0.1, -0.3, 0.0, 0.2], [0.015, 0.12, -0.2, 0.0, 0.2]])
    assert not calendar_free(crossing[0], crossing[1])[0]
    found = repair_slices(crossing, [0.2, 0.4])
    assert found.free.all()
    assert butterfly_free(found.svi).all()
    assert calendar_free(found.svi[0], found.svi[1])[0]
    assert np.all(found.moved_vol_points < 1.0)
    again = repair_slices(found.svi, [0.2, 0.4])
    assert np.array_equal(again.svi, found.svi)
    assert not again.moved_vol_points.any()


@pytest.mark.parametrize(
    ("slices", "tau", "match"),
    [
        (RAW, [0.4, 0.2], r"row 1, tau = 0.2: years, above 0 and rising"),
        (RAW, 0.4, r"shapes = .*tau \(1,\)"),
        ([[np.nan] * 5], 0.4, r"row 0, slices = .*no slice in this row"),
        ([-0.2, 0.1, 0.0, 0.0, 0.2], 0.4, r"total variance at the money = -0.18"),
    ],
)
def test_what_cannot_be_repaired(slices: Any, tau: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        repair_slices(slices, tau)
