"""Raw SVI slices: published values, Derive's clamped vols, slices fitted by others, and the arbitrage checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.arbitrage import butterfly_minimum, calendar_minimum, wing_slopes
from pricing.resolve import slice_vol
from pricing.surfaces import svi
from tests.vectors import data_file, literature_vectors, reference_json

RAW = ("a", "b", "rho", "m", "sigma")
DERIVE_WIDTH, DERIVE_CAP = 4.0, 144.0


def raw_of(inputs: dict[str, Any]) -> np.ndarray:
    return np.array([inputs[name] for name in RAW])


def slices(strikes_far: float = 1.0) -> st.SearchStrategy[np.ndarray]:
    """Slices with w > 0 and wing slopes up to 2, built from their smallest variance and two slopes."""

    def build(lowest: float, left: float, right: float, m: float, sigma: float) -> np.ndarray:
        b, rho = 0.5 * (left + right), (right - left) / (left + right)
        return np.array([lowest - sigma * np.sqrt(left * right), b, rho, m, sigma])

    slope = st.floats(1e-3, 2.0)
    lowest, m = st.floats(1e-4, 2.0), st.floats(-strikes_far, strikes_far)
    return st.builds(build, lowest, slope, slope, m, st.floats(0.01, 3.0))


@pytest.mark.reference
def test_literature_svi_eval(report_vectors: Callable[..., None]) -> None:
    worst, vectors = 0.0, literature_vectors("svi_eval")
    for vector in vectors:
        inputs = vector["inputs"]
        raw, k, tau = raw_of(inputs["raw"]), np.float64(inputs["k"]), np.float64(inputs["t"])
        found = {
            "total_variance": svi.total_variance(np, k, *raw),
            "implied_variance": svi.total_variance(np, k, *raw) / tau,
            "implied_vol": slice_vol(np.exp(k), np.float64(1.0), tau, raw),
            "durrleman_g": svi.butterfly_g(np, k, *raw),
        }[inputs["quantity"]]
        error = abs(float(found) - vector["expected"]["value"])
        assert error <= vector["tolerance"]["value"]["abs"], vector["id"]
        worst = max(worst, error)
    report_vectors(len(vectors), worst)


@pytest.mark.reference
def test_literature_svi_butterfly_check(report_vectors: Callable[..., None]) -> None:
    worst, vectors = 0.0, literature_vectors("svi_butterfly_check")
    for vector in vectors:
        inputs, expected, tolerance = vector["inputs"], vector["expected"], vector["tolerance"]
        found = butterfly_minimum(raw_of(inputs["raw"]), inputs["k_min"], inputs["k_max"])
        error = abs(found.value[0] - expected["g_min"])
        assert (found.value[0] >= 0) == expected["arbitrage_free"], vector["id"]
        assert error <= tolerance["g_min"]["abs"], vector["id"]
        assert abs(found.k[0] - expected["k_at_g_min"]) <= tolerance["k_at_g_min"]["abs"], vector["id"]
        worst = max(worst, error)
    report_vectors(len(vectors), worst)


def derive_vol(strike: float, parameters: dict[str, float]) -> float:
    """Derive's reading of a slice: k clamped, w capped, refused (NaN) where its radicand or w is negative."""
    raw = raw_of(parameters)
    forward, tau = parameters["svi_forward"], parameters["svi_ref_tau"]
    radicand = raw[0] + raw[1] * raw[4]
    if strike == 0 or radicand < 0:
        return 0.0 if strike == 0 else np.nan
    reach = DERIVE_WIDTH * np.sqrt(radicand)
    clamped = np.clip(strike, forward * np.exp(-reach), forward * np.exp(reach))
    vol = slice_vol(np.float64(clamped), np.float64(forward), np.float64(tau), raw)
    return float(np.minimum(vol, np.sqrt(DERIVE_CAP / tau)))


@pytest.mark.reference
def test_derive_svi(report_vectors: Callable[..., None]) -> None:
    content = reference_json("derive-svi.json")
    tolerance, worst, count = content["header"]["tolerance"]["vol_rel"], 0.0, 0
    for row in content["slices"]:
        for point in row["points"]:
            vol, count = derive_vol(point["strike"], row["params"]), count + 1
            if point.get("reverts"):
                assert np.isnan(vol), row["id"]
                continue
            error = abs(vol - point["vol"]) / max(point["vol"], np.finfo(float).tiny)
            assert error <= tolerance, (row["id"], point)
            worst = max(worst, error)
    report_vectors(count, worst, "relative")


@pytest.mark.data
def test_slices_fitted_by_others(report_vectors: Callable[..., None]) -> None:
    """Their g and wing slopes as the README gives them, from a scan in steps of 0.001 of |k| <= 1.5."""
    import pandas as pd

    table = pd.read_csv(data_file("surface_params/svi_params.csv"))
    raw = table[list(RAW)].to_numpy()
    found = butterfly_minimum(raw, -1.5, 1.5)
    above = table["min_g"].to_numpy() - found.value
    assert np.all((above > -1e-12) & (above < 5e-6))
    assert np.all(np.abs(found.k - table["k_min_g"]) < 1e-3)
    slope_error = np.abs(wing_slopes(raw) - table[["roger_lee_left", "roger_lee_right"]].to_numpy())
    assert slope_error.max() < 1e-12
    flagged = pd.Series(found.value < 0).groupby(table["set"]).sum()
    assert flagged[flagged > 0].to_dict() == {"SPY_2011-04-07_svi_unifiedvol": 9}
    beyond = pd.Series(butterfly_minimum(raw).value < 0).groupby(table["set"]).sum()
    assert beyond[beyond > 0].to_dict() == {"SPY_2011-04-07_svi_unifiedvol": 11}
    report_vectors(len(table), above.max(), "of g")


def test_wings_that_a_window_misses() -> None:
    """A wing slope above 2 is arbitrage at infinity, whatever a window shows."""
    steep = np.array([0.05, 1.2, 0.8, 0.0, 0.3])
    found = butterfly_minimum(steep, -1.5, 1.5)
    everywhere = butterfly_minimum(steep)
    assert everywhere.value[0] <= 0.25 - (1.2 * 1.8) ** 2 / 16.0 < 0.0
    assert everywhere.value[0] <= found.value[0]
    flat = butterfly_minimum(np.array([0.04, 0.0, 0.0, 0.0, 1.0]))
    assert flat.value[0] == 1.0


def test_no_density_where_variance_is_not_positive() -> None:
    found = butterfly_minimum(np.array([[-0.05, 0.2, 0.1, 0.3, 0.2], [np.nan] * 5]))
    lowest = 0.3 - 0.2 * 0.1 / np.sqrt(1.0 - 0.1**2)
    assert found.value[0] == -np.inf
    assert found.k[0] == pytest.approx(lowest, abs=1e-5)
    assert np.isnan(found.value[1])


@given(slices(), st.lists(st.floats(-20.0, 20.0), min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_point_lies_below_the_minimum_found(raw: np.ndarray, k: list[float]) -> None:
    found = butterfly_minimum(raw)
    limits = 0.25 - wing_slopes(raw)[0] ** 2 / 16.0
    assert found.value[0] <= svi.butterfly_g(np, np.array(k), *raw).min() + 1e-9
    assert found.value[0] <= limits.min()
    if np.isfinite(found.k[0]):
        assert svi.butterfly_g(np, found.k[0], *raw) == pytest.approx(found.value[0], abs=1e-12)


@given(slices())
@settings(max_examples=100, deadline=None)
def test_g_approaches_its_wing_limits(raw: np.ndarray) -> None:
    far = 1e9 * np.array([-1.0, 1.0])
    limits = 0.25 - wing_slopes(raw)[0] ** 2 / 16.0
    assert np.allclose(svi.butterfly_g(np, far, *raw), limits, atol=1e-4)


@given(slices(), st.floats(-3.0, 3.0))
@settings(max_examples=150, deadline=None)
def test_derivatives_are_those_of_total_variance(raw: np.ndarray, k: float) -> None:
    step = 1e-4 * raw[4]
    near = svi.total_variance(np, np.array([k - step, k, k + step]), *raw)
    w, slope, curvature = svi.derivatives(np, k, *raw)
    scale = raw[1] * max(1.0, abs(k - raw[3]))
    assert w == near[1]
    assert slope == pytest.approx((near[2] - near[0]) / (2.0 * step), abs=1e-5 * scale / raw[4])
    bend = (near[2] - 2.0 * near[1] + near[0]) / step**2
    assert curvature == pytest.approx(bend, abs=1e-3 * raw[1] / raw[4] + 4e-15 * near.max() / step**2)


@given(slices(), st.floats(-5.0, 5.0))
def test_the_minimum_of_total_variance(raw: np.ndarray, k: float) -> None:
    lowest = svi.minimum_total_variance(np, *raw)
    at = raw[3] - raw[2] * raw[4] / np.sqrt(1.0 - raw[2] ** 2)
    assert svi.total_variance(np, k, *raw) >= lowest - 1e-12
    assert svi.total_variance(np, at, *raw) == pytest.approx(lowest, abs=1e-9)


@given(slices(), slices(), st.floats(-1.0, 1.0))
@settings(max_examples=150, deadline=None)
def test_no_gap_lies_below_the_calendar_minimum(earlier: np.ndarray, later: np.ndarray, share: float) -> None:
    found = calendar_minimum(earlier, later)
    reach = 10.0 * np.sqrt(svi.total_variance(np, 0.0, *later))
    k = share * reach
    gap = svi.total_variance(np, k, *later) - svi.total_variance(np, k, *earlier)
    assert abs(found.k[0]) <= reach
    assert found.value[0] <= gap + 1e-9


def test_calendar_minimum_within_bounds() -> None:
    earlier, later = np.array([0.04, 0.1, 0.0, 0.0, 0.1]), np.array([0.06, 0.05, 0.0, 0.0, 0.1])
    assert calendar_minimum(earlier, later).value[0] < 0
    inner = calendar_minimum(earlier, later, -0.2, 0.2)
    root = np.sqrt(0.2**2 + 0.1**2)
    assert inner.value[0] == pytest.approx(0.02 - 0.05 * root, abs=1e-12)
    assert abs(inner.k[0]) == pytest.approx(0.2)
    assert np.isnan(calendar_minimum(earlier, later, 0.2, -0.2).value[0])
