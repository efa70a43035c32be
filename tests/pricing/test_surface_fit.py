"""Surfaces free of arbitrage: a published target, the exact decisions on what comes out, and real snapshots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.arbitrage import calendar_minimum, wing_slopes
from pricing.butterfly import butterfly_free
from pricing.calendar_spread import calendar_free
from pricing.errors import ConfigError
from pricing.fit import METHODS, Expiries, Quotes, QuoteUse, SliceStatus, fit
from pricing.fit_diagnostics import calendar_diagnostics
from pricing.repair import repair_slices
from pricing.slice_fit import SliceData
from pricing.ssvi_fit import essvi_surface, fit_essvi, fit_ssvi, reduced_residuals, ssvi_surface
from pricing.surfaces import ssvi, svi
from tests.pricing.test_fit import TYPICAL, changed, joined, one_expiry, quotes_on, snapshots
from tests.vectors import data_file, literature_vectors

FREE_METHODS = tuple(method for method in METHODS if method != "svi")
RAW = ["a", "b", "rho", "m", "sigma"]


def assert_free(slices: np.ndarray, underlying: np.ndarray, tau: np.ndarray) -> None:
    """No slice with a butterfly, no pair of neighbours that crosses: exact for the numbers that come out."""
    order = np.lexsort((tau, underlying))
    assert butterfly_free(slices).all()
    slices, underlying = slices[order], underlying[order]
    same = np.diff(underlying) == 0
    assert calendar_free(slices[:-1][same], slices[1:][same]).all()


@pytest.mark.reference
@pytest.mark.parametrize("name", ["essvi_mingone_2022_mm", "ssvi_power_law", "ssvi_heston_like"])
def test_literature_vol_surface_calibration_target(name: str, report_vectors: Callable[..., None]) -> None:
    """As scored there: errors relative to the largest quote of their slice, root mean square slice by slice."""
    (vector,) = literature_vectors("vol_surface_calibration_target")
    data, quoted = [], []
    for one in vector["inputs"]["slices"]:
        k, vol = np.log(np.array(one["strikes"]) / one["forward"]), np.array(one["implied_vols"])
        data.append(SliceData(k, vol**2 * one["t_years"], 1.0 / (2.0 * vol * one["t_years"] * vol.max())))
        quoted.append((vol, one["t_years"]))
    found = fit_essvi(data) if name.startswith("essvi") else fit_ssvi(data, name[5:])
    errors = [
        (np.sqrt(svi.total_variance(np, one.k, *raw) / tau) - vol) / vol.max()
        for one, raw, (vol, tau) in zip(data, found.raw, quoted, strict=True)
    ]
    target = vector["info"]["targets"][name]
    rmse = max(float(np.sqrt(np.mean(error**2))) for error in errors)
    assert rmse <= target["rmse"]
    assert max(float(np.abs(error).max()) for error in errors) <= target["max_quote_error_rel"]
    assert vector["expected"]["static_arbitrage_free"]
    assert_free(found.raw, np.zeros(len(data)), np.array([tau for _, tau in quoted]))
    report_vectors(1, rmse, "rmse, relative", f"test_literature_vol_surface_calibration_target {name}")


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    """A point of Mingone's box for two to six expiries."""
    count = draw(st.integers(2, 6))
    rho = [draw(st.floats(-0.9, 0.9)) for _ in range(count)]
    added = [10.0 ** draw(st.floats(-4.0, 0.0)) for _ in range(count)]
    return np.array([*rho, *added, *(draw(st.floats(0.001, 0.999)) for _ in range(count))])


@given(boxes())
@settings(max_examples=40, deadline=None)
def test_every_point_of_the_box_is_free_of_arbitrage(box: np.ndarray) -> None:
    surface, _ = essvi_surface(box)
    theta, rho, psi = surface.T
    assert_free(np.stack(ssvi.to_raw(np, theta, rho, psi / theta), axis=1), np.zeros(len(theta)), np.arange(len(theta)))


@pytest.mark.parametrize("seed", range(6))
def test_jacobian_of_the_box(seed: int) -> None:
    """At points where no minimum or maximum changes its branch: there the two sides of a difference agree."""
    random = np.random.default_rng(seed)
    box = np.concatenate([random.uniform(-0.8, 0.8, 5), 10.0 ** random.uniform(-3, 0, 5), random.uniform(0.1, 0.9, 5)])
    _, jacobian = essvi_surface(box)
    scale = np.abs(jacobian).max(axis=(0, 2))
    for column in range(len(box)):
        step = np.zeros(len(box))
        step[column] = 1e-5 * abs(box[column])
        up, down = (essvi_surface(box + side * step)[0] for side in (1.0, -1.0))
        assert np.all(np.abs((up - down) / (2.0 * step[column]) - jacobian[:, :, column]) < 1e-4 * scale)


@pytest.mark.parametrize("phi", ["power_law", "heston_like"])
def test_jacobian_of_ssvi(phi: str) -> None:
    box = np.array([0.01, 0.02, 0.05, -0.4, 0.6] + ([0.35] if phi == "power_law" else []))
    _, jacobian = ssvi_surface(box, phi)
    for column in range(len(box)):
        step = np.zeros(len(box))
        step[column] = 1e-5 * abs(box[column])
        up, down = (ssvi_surface(box + side * step, phi)[0] for side in (1.0, -1.0))
        assert np.allclose(jacobian[:, :, column], (up - down) / (2.0 * step[column]), rtol=1e-5, atol=1e-7)


@given(boxes(), st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_essvi_finds_an_essvi_surface(box: np.ndarray, seed: int) -> None:
    """Total variances of a surface of the box, strikes over three deviations, come back to a thousandth."""
    (theta, rho, psi), random = essvi_surface(box)[0].T, np.random.default_rng(seed)
    data = []
    for row in zip(theta, rho, psi / theta, strict=True):
        k = np.sqrt(row[0]) * np.sort(random.uniform(-3.0, 3.0, 25))
        w = ssvi.total_variance(np, k, *row)
        data.append(SliceData(k, w, 1.0 / w))
    found = fit_essvi(data)
    assert found.cost < 1e-6 * sum(len(one.k) for one in data)


def test_reduced_residuals_have_the_same_squares() -> None:
    """What the search sees, four rows a slice, against every quote's own row."""
    random = np.random.default_rng(8)
    surface = np.array([[0.02, -0.4, 0.1], [0.05, 0.1, 0.2]])
    by_point = random.normal(size=(2, 3, 6))
    counts = (40, 2)  # the second with fewer quotes than numbers
    data = [SliceData(*random.uniform(0.1, 1.0, (3, count))) for count in counts]
    residual, jacobian = [], []
    for one, (theta, rho, psi), slopes in zip(data, surface, by_point, strict=True):
        residual.append(one.weight * (ssvi.total_variance(np, one.k, theta, rho, psi / theta) - one.w))
        by_slice = np.stack(ssvi.parameter_derivatives(np, one.k, theta, rho, psi), axis=1)
        jacobian.append(one.weight[:, None] * by_slice @ slopes)
    whole, rows = np.concatenate(residual), np.concatenate(jacobian)
    few, few_rows = reduced_residuals(data, surface, by_point)
    assert few.shape == (8,)
    assert few @ few == pytest.approx(whole @ whole, rel=1e-13)
    assert np.allclose(few_rows.T @ few, rows.T @ whole, rtol=1e-12, atol=1e-13)
    assert np.allclose(few_rows.T @ few_rows, rows.T @ rows, rtol=1e-12, atol=1e-13)


def crossing_expiries() -> tuple[Quotes, Expiries]:
    """Three expiries of one underlying, the second with Vogt's butterfly, the third below the second at the money."""
    k, vogt = np.linspace(-0.8, 0.9, 30), np.array([-0.041, 0.1331, 0.306, 0.3586, 0.4153])
    lower = np.array([0.004, 0.05, 0.0, 0.1, 0.2])
    parts = [
        quotes_on(raw, k, tau, expiry=x) for x, (raw, tau) in enumerate([(TYPICAL, 0.1), (vogt, 1.0), (lower, 1.5)])
    ]
    return joined(*parts), Expiries(np.zeros(3), np.array([0.1, 1.0, 1.5]))


@pytest.mark.parametrize("method", FREE_METHODS)
def test_arbitrage_is_removed(method: str) -> None:
    quotes, expiries = crossing_expiries()
    before = fit(quotes, expiries, remove_arbitrage=False)
    assert not butterfly_free(before.svi[1])[0]
    assert not calendar_free(before.svi[1], before.svi[2])[0]
    found = fit(quotes, expiries, method=method)
    assert_free(found.svi, expiries.underlying_idx, expiries.tau)
    assert np.all(found.diagnostics.minimum_g >= 0)
    assert np.all(found.diagnostics.calendar_gap[1:] >= 0)
    assert np.all(found.diagnostics.calendar_slope_gap[1:] >= 0)
    expected = SliceStatus.REPAIRED if method == "svi_joint" else SliceStatus.FITTED
    assert found.diagnostics.status[2] == expected


def sliding_dip() -> tuple[Quotes, Expiries]:
    """Two slices with nearly flat right wings, the first with a dip of g below 0 far out, as found on SPY."""
    first = np.array([-1.34203713e-04, 1.5332413e-02, -0.987019296, -5.3933232e-02, 5.4563467e-02])
    second = np.array([-3.55079548e-04, 1.77914417e-02, -0.950232663, -6.27041565e-02, 7.14457014e-02])
    tau, half = (0.0603, 0.0795), 0.004
    near = quotes_on(first, np.linspace(-0.2267, 0.0466, 25), tau[0], half)
    far = quotes_on(second, np.linspace(-0.2558, 0.0537, 25), tau[1], half, expiry=1)
    return joined(near, far), Expiries(np.zeros(2), np.array(tau))


def test_the_joint_fit_stays_near_where_a_dip_of_g_slides_out() -> None:
    """The search once ended with the dip still there, and extended SSVI took its place, ten vol points off."""
    quotes, expiries = sliding_dip()
    apart = fit(quotes, expiries, weighting="vega")
    assert apart.diagnostics.minimum_g_unconstrained[0] < 0
    found = fit(quotes, expiries, method="svi_joint", weighting="vega")
    assert_free(found.svi, expiries.underlying_idx, expiries.tau)
    assert np.all(found.diagnostics.rmse < 2.0 * apart.diagnostics.rmse + 0.05)
    # The second slice is moved by less than a hundredth of a vol point: that is no repair.
    assert found.diagnostics.status.tolist() == [SliceStatus.REPAIRED, SliceStatus.FITTED]


def test_a_fallback_to_extended_ssvi_is_told() -> None:
    quotes, expiries = sliding_dip()
    found = fit(quotes, expiries, method="svi_joint")
    assert_free(found.svi, expiries.underlying_idx, expiries.tau)
    fallen = found.diagnostics.status == SliceStatus.FALLBACK
    far = found.diagnostics.rmse > found.diagnostics.rmse_unconstrained + 1.0
    assert np.array_equal(far, fallen)


def test_what_needs_no_repair_is_left_alone() -> None:
    k = np.linspace(-0.4, 0.4, 21)
    later = np.array([0.02, 0.09, -0.2, 0.02, 0.15])
    quotes = joined(quotes_on(TYPICAL, k, 0.1), quotes_on(later, k, 0.4, expiry=1))
    expiries = Expiries(np.zeros(2), np.array([0.1, 0.4]))
    apart, together = fit(quotes, expiries), fit(quotes, expiries, method="svi_joint")
    assert np.allclose(apart.svi, together.svi, rtol=1e-9)
    assert set(together.diagnostics.status) == {SliceStatus.FITTED}


def test_an_expiry_of_few_strikes_leans_on_the_others() -> None:
    """Two strikes between two full expiries, marked too low: no crossing either way."""
    k = np.linspace(-0.4, 0.4, 21)
    later = np.array([0.02, 0.09, -0.2, 0.02, 0.15])
    few = quotes_on(0.6 * TYPICAL, np.array([-0.05, 0.05]), 0.2, expiry=1)
    quotes = joined(quotes_on(TYPICAL, k, 0.1), few, quotes_on(later, k, 0.4, expiry=2))
    expiries = Expiries(np.zeros(3), np.array([0.1, 0.2, 0.4]))
    for method in FREE_METHODS:
        assert_free(fit(quotes, expiries, method=method).svi, expiries.underlying_idx, expiries.tau)


def test_methods_that_do_not_exist_or_contradict() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 17))
    with pytest.raises(ConfigError, match="must be one of svi, svi_joint"):
        fit(quotes, one_expiry(), method="sabr")
    with pytest.raises(ConfigError, match="remove_arbitrage"):
        fit(quotes, one_expiry(), method="essvi", remove_arbitrage=False)


def test_weights_by_vega_ignore_the_spread() -> None:
    """Wings quoted tightly but off the slice: they rule the fit by spread, and hardly touch it by vega."""
    k = np.linspace(-0.5, 0.5, 33)
    quotes = quotes_on(TYPICAL, k, half_width=0.03)
    wing = np.abs(k) > 0.35
    tight = np.where(wing, 0.08, 0.0)
    wrong = replace(
        quotes,
        bid_vol=np.where(wing, quotes.mark_vol - 0.003, quotes.bid_vol) + tight,
        ask_vol=np.where(wing, quotes.mark_vol + 0.003, quotes.ask_vol) + tight,
    )
    by_spread, by_vega = (fit(wrong, one_expiry(), weighting=name).diagnostics for name in ("spread", "vega"))
    near = np.abs(k) < 0.2
    errors = [np.abs(done.fitted_vol - quotes.mark_vol)[near].max() for done in (by_spread, by_vega)]
    assert errors[1] < 0.5 * errors[0]
    assert by_vega.rmse_vega[0] < by_spread.rmse_vega[0]
    with pytest.raises(ConfigError, match="must be one of spread, vega"):
        fit(quotes, one_expiry(), weighting="volume")


def test_outliers_are_left_out_and_told() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 33), half_width=0.005)
    wrong = changed(quotes, 20, bid_vol=0.95, ask_vol=0.96)
    kept, cleaned = fit(wrong, one_expiry()), fit(wrong, one_expiry(), reject_outliers=True)
    assert kept.diagnostics.rmse_mid[0] > 1.0
    assert cleaned.diagnostics.quote_use[20] == QuoteUse.OUTLIER
    assert cleaned.diagnostics.used_count[0] == 32
    assert np.allclose(cleaned.svi[0], TYPICAL, rtol=1e-4, atol=1e-7)
    assert fit(quotes, one_expiry(), reject_outliers=True).diagnostics.used_count[0] == 33


def test_where_many_would_be_outliers_none_is() -> None:
    k = np.linspace(-0.4, 0.4, 33)
    quotes = quotes_on(TYPICAL, k, half_width=0.005)
    shifted = np.where(np.arange(33) % 3 == 0, 0.2, 0.0)
    split = replace(quotes, bid_vol=quotes.bid_vol + shifted, ask_vol=quotes.ask_vol + shifted)
    assert fit(split, one_expiry(), reject_outliers=True).diagnostics.used_count[0] == 33


def test_stale_quotes_are_left_out() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 17))
    older = changed(quotes, 3, tau=quotes.tau[3] + 400.0 / (365.0 * 86_400.0))
    assert fit(older, one_expiry()).diagnostics.quote_use[3] == QuoteUse.MARK
    found = fit(older, one_expiry(), oldest_seconds=300.0).diagnostics
    assert found.quote_use[3] == QuoteUse.STALE
    assert found.used_count[0] == 16


def random_pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices and neighbours that are nearly the same, so that many pairs touch or nearly touch."""
    random = np.random.default_rng(seed)
    left, right = random.uniform(0.05, 1.5, (2, count))
    sigma, m = 10.0 ** random.uniform(-1.5, 0.5, count), random.uniform(-1.0, 1.0, count)
    lowest, b, rho = 10.0 ** random.uniform(-3.0, 0.0, count), 0.5 * (left + right), (right - left) / (left + right)
    first = np.stack([lowest - sigma * np.sqrt(left * right), b, rho, m, sigma], axis=1)
    second = first.copy()
    second[:, 0] += random.uniform(-0.02, 0.2, count)
    second[:, 1] *= random.uniform(0.95, 1.6, count)
    second[:, 3] += random.normal(0.0, 0.05, count)
    second[:, 4] *= random.uniform(0.7, 1.3, count)
    return first, second


def test_the_calendar_decision_agrees_with_a_dense_scan(report_vectors: Callable[..., None]) -> None:
    first, second = random_pairs(400, 5)
    t, lowest = np.sinh(np.linspace(-16.0, 16.0, 6001)), []
    for one, other in zip(first, second, strict=True):
        k = np.concatenate([one[3] + one[4] * t, other[3] + other[4] * t])
        lowest.append((svi.total_variance(np, k, *other) - svi.total_variance(np, k, *one)).min())
    steeper = (wing_slopes(second) - wing_slopes(first)).min(axis=1) >= 0
    free = calendar_free(first, second)
    assert np.array_equal(free, (np.array(lowest) >= 0) & steeper)
    assert 100 < free.sum() < 390
    report_vectors(len(free), np.abs(lowest).min(), "of w, nearest to touching")


def test_calendar_decision_at_the_edge() -> None:
    flat, low = np.array([0.04, 0.0, 0.0, 0.0, 1.0]), np.array([0.05, 0.0, 0.0, 0.0, 1.0])
    touching = np.array([0.04 - 0.1 * 0.2, 0.1, 0.0, 0.3, 0.2])  # its smallest w is 0.04, give or take a rounding
    assert calendar_free(TYPICAL, TYPICAL)[0]
    assert calendar_free(flat, low)[0]
    assert not calendar_free(low, flat)[0]
    assert calendar_free(flat, touching + np.array([1e-15, 0, 0, 0, 0]))[0]
    assert not calendar_free(flat, touching - np.array([1e-15, 0, 0, 0, 0]))[0]
    assert not calendar_free(np.full(5, np.nan), flat)[0]
    # A crossing at k = 60,000 that no window of standard deviations shows.
    earlier, later = np.array([0.04, 0.1, 0.0, 0.0, 0.1]), np.array([0.1, 0.099999, 0.0, 0.0, 0.1])
    assert calendar_minimum(earlier, later).value[0] > 0
    assert not calendar_free(earlier, later)[0]


def test_a_crossing_that_no_window_shows_is_told() -> None:
    """The exact decision, row by row against the expiry before it in time, whatever the gaps within quotes say."""
    slices = np.array([[0.1, 0.099999, 0.0, 0.0, 0.1], [0.04, 0.1, 0.0, 0.0, 0.1], np.full(5, np.nan), TYPICAL])
    underlying, tau = np.array([0, 0, 0, 1]), np.array([0.5, 0.2, 0.3, 0.1])
    found = calendar_diagnostics(slices, underlying, tau, np.full(4, -0.5), np.full(4, 0.5))
    assert found["crosses_previous"].tolist() == [True, False, False, False]
    assert found["calendar_gap"][0] > 0
    assert found["calendar_gap_quoted"][0] > 0
    quotes, expiries = crossing_expiries()
    assert fit(quotes, expiries).diagnostics.crosses_previous.tolist() == [False, True, True]
    assert not fit(quotes, expiries, method="svi_joint").diagnostics.crosses_previous.any()


@pytest.mark.data
def test_arbitrageable_slices_of_others_are_repaired(report_vectors: Callable[..., None]) -> None:
    """Eleven slices of SPY, nine with g < 0 on |k| <= 1.5: quotes on them, refitted, come out free, vols as near."""
    import pandas as pd

    table = pd.read_csv(data_file("surface_params/svi_params.csv"))
    table = table[table["set"] == "SPY_2011-04-07_svi_unifiedvol"].sort_values("t_years")
    tau, raw = table["t_years"].to_numpy(), table[RAW].to_numpy()
    parts = []
    for x, (t, row) in enumerate(zip(tau, raw, strict=True)):
        deviation = np.sqrt(svi.total_variance(np, 0.0, *row))
        parts.append(quotes_on(row, deviation * np.linspace(-4.0, 1.5, 23), t, expiry=x))
    quotes, expiries = joined(*parts), Expiries(np.zeros(len(tau)), tau)
    assert (~butterfly_free(raw)).sum() == 11
    for method, limit in (("svi", 0.3), ("svi_joint", 0.3), ("essvi", 1.5)):
        found = fit(quotes, expiries, method=method)
        assert butterfly_free(found.svi).all()
        assert np.nanmax(found.diagnostics.rmse_vega) < limit
        report_vectors(len(tau), np.nanmax(found.diagnostics.rmse_vega), "vol points, by vega", f"repaired by {method}")
        if method != "svi":
            assert_free(found.svi, expiries.underlying_idx, tau)
    repaired = repair_slices(raw, tau)
    assert repaired.free.all()
    moved = repaired.moved_vol_points
    report_vectors(len(tau), moved.max(), f"vol points moved, at least {moved.min():.2g}", "repaired as they stand")


@pytest.mark.data
@pytest.mark.parametrize("name", ["crash_20260131_20260208.parquet", "daily_20251230_20260415.parquet"])
def test_real_snapshots_free_of_arbitrage(name: str, report_vectors: Callable[..., None]) -> None:
    step = 12 if name.startswith("crash") else 54
    inside, worst, count = [], 0.0, 0
    for time, quotes, expiries in snapshots(name, step):
        found, apart = (fit(quotes, expiries, method=method, backend="numba") for method in ("svi_joint", "svi"))
        done = found.diagnostics
        assert set(done.status) <= {SliceStatus.FITTED, SliceStatus.REPAIRED}, time
        assert_free(found.svi, expiries.underlying_idx, expiries.tau)
        assert np.all(done.rmse_vega < apart.diagnostics.rmse_vega + 1.0), time
        inside.append(np.average(done.inside_share, weights=done.inside_count))
        worst, count = max(worst, float(done.rmse_vega.max())), count + len(expiries)
    assert np.mean(inside) > 0.94
    report_vectors(count, worst, "vol points, by vega", f"joint {name[:5]} [{np.mean(inside):.1%} inside]")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [4, 5, 6])
def test_quotes_that_are_mostly_crossed_end_in_slices_or_none(seed: int, method: str) -> None:
    """Bids at random against orderly asks: whatever is left to fit, no row ends in an exception or in infinity."""
    strike = np.tile(np.linspace(80.0, 120.0, 9), 2)
    expiry, vol = np.repeat([0, 1], 9), 0.5 + 0.3 * np.log(strike / 100.0) ** 2
    bid = np.random.default_rng(seed).uniform(0.01, 3.0, 18)
    sign, forward, tau = np.where(strike < 100.0, -1.0, 1.0), np.full(18, 100.0), np.array([0.1, 0.3])
    quotes = Quotes(expiry, strike, sign, forward, tau[expiry], bid, vol + 0.005, vol)
    surface = fit(quotes, Expiries(np.zeros(2, np.int64), tau), method=method)
    assert not np.isinf(surface.svi).any()
    assert np.all(np.isfinite(surface.svi).all(axis=1) | np.isnan(surface.svi).all(axis=1))


@pytest.mark.parametrize("weighting", ["spread", "vega"])
def test_only_the_ratios_of_weights_count(weighting: str) -> None:
    quotes, expiries = crossing_expiries()
    weight = np.random.default_rng(3).uniform(0.5, 2.0, len(quotes))
    first, *others = (
        fit(replace(quotes, weight=weight * scale), expiries, weighting=weighting).svi
        for scale in (1.0, 2.0**-20, 2.0**20)
    )
    for other in others:
        assert np.array_equal(first, other)
