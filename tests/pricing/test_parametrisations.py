"""Ways to write a slice: published values, exact maps between them, and what makes SSVI free of arbitrage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.arbitrage import calendar_minimum, wing_slopes
from pricing.butterfly import butterfly_free, largest_psi
from pricing.surfaces import jump_wing, lee, natural, ssvi, svi
from tests.vectors import literature_vectors

RAW = ("a", "b", "rho", "m", "sigma")
JUMP_WING = ("v", "psi", "p", "c", "v_tilde")
NATURAL = ("delta", "mu", "rho", "omega", "zeta")
PAIR = ("theta", "rho", "psi")


def values(names: tuple[str, ...], table: dict[str, float]) -> list[float]:
    return [table[name] for name in names]


def checked(vector: dict[str, Any], found: dict[str, float]) -> float:
    """Largest error of one vector, within its tolerances."""
    worst = 0.0
    for name, value in found.items():
        error, tolerance = abs(value - vector["expected"][name]), vector["tolerance"][name]
        limit = max(tolerance.get("abs", 0.0), tolerance.get("rel", 0.0) * abs(vector["expected"][name]))
        assert error <= limit, (vector["id"], name)
        worst = max(worst, error)
    return worst


def jump_wing_of(inputs: dict[str, Any]) -> dict[str, float]:
    found = jump_wing.from_raw(np, *values(RAW, inputs["raw"]), inputs["t"])
    return dict(zip(JUMP_WING, map(float, found), strict=True))


def raw_of(inputs: dict[str, Any]) -> dict[str, float]:
    found = jump_wing.to_raw(np, *values(JUMP_WING, inputs["jw"]), inputs["t"])
    return dict(zip(RAW, map(float, found), strict=True))


@pytest.mark.reference
@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("svi_raw_to_jw", jump_wing_of),
        ("svi_jw_to_raw", raw_of),
        ("svi_raw_to_jw_component", lambda inputs: {"value": jump_wing_of(inputs)[inputs["component"]]}),
        ("lee_moment_slope", lambda i: {"max_wing_slope_total_variance": float(lee.wing_slope(np, i["moment_p"]))}),
    ],
)
def test_literature(kind: str, answer: Callable[..., Any], report_vectors: Callable[..., None]) -> None:
    vectors = literature_vectors(kind)
    worst = max(checked(vector, answer(vector["inputs"])) for vector in vectors)
    report_vectors(len(vectors), worst, label=f"test_literature_{kind}")


@pytest.mark.reference
def test_literature_svi_natural_roundtrip(report_vectors: Callable[..., None]) -> None:
    worst, vectors = 0.0, literature_vectors("svi_natural_roundtrip")
    for vector in vectors:
        raw = values(RAW, vector["inputs"]["raw"])
        found = natural.from_raw(np, *raw)
        errors = np.abs(np.array(found) - values(NATURAL, vector["expected"]["natural"]))
        assert errors.max() <= vector["tolerance"]["natural"]["abs"], vector["id"]
        assert np.allclose(natural.to_raw(np, *found), raw, rtol=0.0, atol=1e-15)
        worst = max(worst, errors.max())
    report_vectors(len(vectors), worst)


@pytest.mark.reference
def test_literature_ssvi_implied_vol(report_vectors: Callable[..., None]) -> None:
    worst, vectors = 0.0, literature_vectors("ssvi_implied_vol")
    for vector in vectors:
        i = vector["inputs"]
        theta = i["vol_atm"] ** 2 * i["t"]
        phi = i["eta"] / np.sqrt(theta)
        w = ssvi.total_variance(np, np.log(i["strike"] / i["forward"]), theta, i["rho"], phi)
        worst = max(worst, checked(vector, {"vol": float(np.sqrt(w / i["t"]))}))
    report_vectors(len(vectors), worst)


@pytest.mark.reference
def test_literature_ssvi_max_psi(report_vectors: Callable[..., None]) -> None:
    worst, vectors = 0.0, literature_vectors("ssvi_max_psi")
    for vector in vectors:
        theta, rho = vector["inputs"]["theta"], vector["inputs"]["abs_rho"]
        found = {
            "psi_max_exact": float(largest_psi(theta, -rho)),
            "psi_max_gatheral_jacquier": float(ssvi.sufficient_psi(np, theta, rho)),
        }
        worst = max(worst, checked(vector, found))
    report_vectors(len(vectors), worst)


@pytest.mark.reference
def test_literature_ssvi_butterfly_flag(report_vectors: Callable[..., None]) -> None:
    vectors = literature_vectors("ssvi_butterfly_flag")
    for vector in vectors:
        theta, phi, rho = values(("theta", "phi", "rho"), vector["inputs"])
        raw = np.array(ssvi.to_raw(np, theta, rho, phi))
        expected = vector["expected"]
        assert butterfly_free(raw)[0] == expected["arbitrage_free"], vector["id"]
        assert (theta * phi <= largest_psi(theta, rho)) == expected["arbitrage_free"], vector["id"]
        sufficient = theta * phi <= ssvi.sufficient_psi(np, theta, rho)
        assert sufficient == expected["gatheral_jacquier_sufficient"], vector["id"]
    report_vectors(len(vectors), 0.0, "exact")


@pytest.mark.reference
def test_literature_essvi_calendar_pair(report_vectors: Callable[..., None]) -> None:
    vectors = literature_vectors("essvi_calendar_pair")
    for vector in vectors:
        short, long = (values(PAIR, vector["inputs"][name]) for name in ("short", "long"))
        expected = vector["expected"]
        assert (ssvi.calendar_margin(np, short, long) >= 0) == expected["sufficient_mingone"], vector["id"]
        assert (ssvi.wing_margin(np, short, long) >= 0) == expected["wing_condition_only"], vector["id"]
        slices = [np.array(ssvi.to_raw(np, theta, rho, psi / theta)) for theta, rho, psi in (short, long)]
        apart = (wing_slopes(slices[1]) - wing_slopes(slices[0])).min()
        free = calendar_minimum(*slices).value[0] >= 0 and apart >= 0
        assert free == expected["calendar_arbitrage_free"], vector["id"]
    report_vectors(len(vectors), 0.0, "exact")


def raw_slices() -> st.SearchStrategy[np.ndarray]:
    """Raw slices with w > 0, |rho| <= 0.95 and m as far out as the slice is wide."""

    def build(lowest: float, b: float, rho: float, m: float, sigma: float) -> np.ndarray:
        return np.array([lowest - b * sigma * np.sqrt(1.0 - rho * rho), b, rho, m * sigma, sigma])

    rho = st.floats(-0.95, 0.95)
    return st.builds(build, st.floats(1e-3, 1.0), st.floats(0.01, 1.0), rho, st.floats(-2.0, 2.0), st.floats(0.01, 2.0))


@given(raw_slices(), st.floats(0.01, 3.0), st.floats(-2.0, 2.0))
@settings(max_examples=200, deadline=None)
def test_maps_there_and_back(raw: np.ndarray, tau: float, k: float) -> None:
    as_natural = natural.from_raw(np, *raw)
    assert np.allclose(natural.to_raw(np, *as_natural), raw, rtol=1e-12, atol=1e-12)
    assert natural.total_variance(np, k, *as_natural) == pytest.approx(svi.total_variance(np, k, *raw), rel=1e-11)
    wings = jump_wing.from_raw(np, *raw, tau)
    if abs(wings[1]) > 0.05:  # at psi = 0 the five numbers do not hold sigma
        assert np.allclose(jump_wing.to_raw(np, *wings, tau), raw, rtol=1e-8, atol=1e-8)


def test_jump_wings_at_the_points_where_the_published_map_divides_by_zero() -> None:
    centred = np.array([0.01, 0.3, -0.4, 0.0, 0.2])
    assert np.allclose(jump_wing.to_raw(np, *jump_wing.from_raw(np, *centred, 0.5), 0.5), centred, rtol=1e-13)
    even = jump_wing.from_raw(np, 0.01, 0.3, 0.0, 0.0, 0.2, 0.5)
    with np.errstate(invalid="ignore"):
        assert np.isnan(jump_wing.to_raw(np, *even, 0.5)[4])


@given(st.floats(1e-3, 2.0), st.floats(-0.99, 0.99), st.floats(0.01, 20.0), st.floats(-3.0, 3.0))
@settings(max_examples=150, deadline=None)
def test_an_ssvi_slice_is_a_raw_slice(theta: float, rho: float, phi: float, k: float) -> None:
    w = ssvi.total_variance(np, k, theta, rho, phi)
    assert svi.total_variance(np, k, *ssvi.to_raw(np, theta, rho, phi)) == pytest.approx(w, rel=1e-11)
    psi, step = theta * phi, 1e-6
    for column, found in enumerate(ssvi.parameter_derivatives(np, k, theta, rho, psi)):
        moved = []
        for sign in (1.0, -1.0):
            at = np.array([theta, rho, psi])
            at[column] += sign * step * (1.0 if column == 1 else at[column])
            moved.append(ssvi.total_variance(np, k, at[0], at[1], at[2] / at[0]))
        width = 2.0 * step * (1.0 if column == 1 else (theta, rho, psi)[column])
        assert found == pytest.approx((moved[0] - moved[1]) / width, rel=1e-4, abs=1e-6 * max(1.0, abs(w) / width))


@pytest.mark.parametrize("x", [1e-8, 1e-3, 0.0999, 0.1001, 0.7, 40.0])
def test_heston_like_phi_in_fifty_digits(x: float) -> None:
    with mpmath.workdps(50):
        exact = (1 - (1 - mpmath.exp(-mpmath.mpf(x))) / mpmath.mpf(x)) / mpmath.mpf(x)
        assert float(abs(ssvi.heston_like(np, np.float64(x), 1.0) / exact - 1)) < 2e-14


@given(st.floats(-0.95, 0.95), st.floats(0.05, 0.5), st.floats(0.2, 1.0), st.lists(st.floats(1e-3, 1.0), min_size=3))
@settings(max_examples=50, deadline=None)
def test_power_law_and_heston_surfaces_are_free(rho: float, gamma: float, share: float, thetas: list[float]) -> None:
    theta = np.sort(np.array(thetas[:6]))
    for phi in (
        ssvi.power_law(np, theta, share * 2.0 / (1.0 + abs(rho)), gamma),
        ssvi.heston_like(np, theta, (1.0 + abs(rho)) / (4.0 * share)),
    ):
        slices = np.array([ssvi.to_raw(np, *row) for row in zip(theta, np.full(len(theta), rho), phi, strict=True)])
        assert np.all(butterfly_free(slices))
        assert np.all(calendar_minimum(slices[:-1], slices[1:]).value >= -1e-12)


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(-0.9, 0.9), st.floats(0.05, 1.5)), min_size=2, max_size=2))
@settings(max_examples=200, deadline=None)
def test_the_sufficient_calendar_conditions_are_sufficient(pair: list[tuple[float, float, float]]) -> None:
    short, long = pair
    if ssvi.calendar_margin(np, short, long) >= 0:
        slices = [np.array(ssvi.to_raw(np, theta, rho, psi / theta)) for theta, rho, psi in pair]
        assert calendar_minimum(*slices).value[0] >= -1e-12


@given(st.floats(1e-6, 1e6))
def test_lee_slope_and_moment_are_inverse(moment: float) -> None:
    slope = lee.wing_slope(np, moment)
    assert 0.0 < slope <= 2.0
    assert lee.moment(np, slope) == pytest.approx(moment, rel=1e-9, abs=1e-12)
