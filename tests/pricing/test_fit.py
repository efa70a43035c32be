"""Fitting slices: recovery of known ones, what happens to bad quotes, and real snapshots through a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.arbitrage import butterfly_minimum
from pricing.errors import ConfigError, DataError
from pricing.fit import Expiries, Quotes, QuoteUse, SliceStatus, Surface, expiries_of, fit, quotes_from_prices
from pricing.models import black76
from pricing.slice_fit import butterfly_gradient, raw_from_wings, wing_jacobian
from pricing.surfaces import svi
from pricing.xp import numpy as xp
from tests.examples import market_and_instruments
from tests.vectors import data_file, literature_vectors

RAW = ("a", "b", "rho", "m", "sigma")
VOGT = np.array([-0.041, 0.1331, 0.306, 0.3586, 0.4153])
TYPICAL = np.array([0.004, 0.06, -0.2, 0.02, 0.1])
TAU = 0.1


def quotes_on(raw: np.ndarray, k: np.ndarray, tau: float = TAU, half_width: float = np.nan, expiry: int = 0) -> Quotes:
    """Out-of-the-money quotes that lie on a slice, with bid and ask `half_width` of vol to either side."""
    vol = np.sqrt(svi.total_variance(np, k, *raw) / tau)
    shape = np.ones(len(k))
    sign = np.where(k >= 0, 1.0, -1.0)
    bid, ask = vol - half_width, vol + half_width
    return Quotes(np.full(len(k), expiry), 50_000.0 * np.exp(k), sign, 50_000.0 * shape, tau * shape, bid, ask, vol)


def joined(*parts: Quotes) -> Quotes:
    return Quotes(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Quotes.__annotations__})


def one_expiry(tau: float = TAU) -> Expiries:
    return Expiries(np.zeros(1), np.array([tau]))


def changed(quotes: Quotes, row: int, **values: float) -> Quotes:
    """The quotes with some fields of one row replaced."""
    columns = {name: getattr(quotes, name).copy() for name in values}
    for name, value in values.items():
        columns[name][row] = value
    return replace(quotes, **columns)


@pytest.mark.reference
def test_literature_svi_calibration_recovery(report_vectors: Callable[..., None]) -> None:
    worst, vectors = 0.0, literature_vectors("svi_calibration_recovery")
    for vector in vectors:
        inputs, expected = vector["inputs"], vector["expected"]
        k, w, tau = np.array(inputs["k"]), np.array(inputs["total_variance"]), inputs["t"]
        shape = np.ones(len(k))
        side = np.where(k >= 0, 1.0, -1.0)
        none = np.nan * shape
        quotes = Quotes(0 * side, 100.0 * np.exp(k), side, 100.0 * shape, tau * shape, none, none, np.sqrt(w / tau))
        found = fit(quotes, one_expiry(tau), remove_arbitrage=False)
        for name, value in zip(RAW, found.svi[0], strict=True):
            error = abs(value - expected[name])
            assert error <= vector["tolerance"][name]["abs"], (vector["id"], name)
            worst = max(worst, error)
    report_vectors(len(vectors), worst)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    """A slice on the scale of its own deviation, 31 strikes over 4 deviations to each side, and a tau."""
    deviation, vol = draw(st.floats(0.01, 0.6)), draw(st.floats(0.1, 1.2))
    left, right = (np.sqrt(deviation * draw(st.floats(0.1, 0.8))) for _ in range(2))
    m, sigma = deviation * draw(st.floats(-1.0, 1.0)), deviation * draw(st.floats(0.3, 3.0))
    lowest = deviation**2 * draw(st.floats(0.3, 1.0))
    wings = np.array([lowest, left, right, m, sigma])
    return raw_from_wings(wings), deviation * np.linspace(-4.0, 4.0, 31), (deviation / vol) ** 2


@given(shapes())
@settings(max_examples=60, deadline=None)
def test_a_slice_that_is_there_is_found(shape: tuple[np.ndarray, np.ndarray, float]) -> None:
    raw, k, tau = shape
    found = fit(quotes_on(raw, k, tau), one_expiry(tau), remove_arbitrage=False)
    assert found.diagnostics.rmse_vega[0] < 1e-6
    assert np.allclose(found.svi[0], raw, rtol=1e-4, atol=1e-6)


@given(shapes(), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_whatever_is_fitted_is_free_of_butterflies(shape: tuple[np.ndarray, np.ndarray, float], seed: int) -> None:
    """Noise of several spreads on top of a slice: positive, within Lee's bound, and g >= 0 or said not to be."""
    raw, k, tau = shape
    quotes = quotes_on(raw, k, tau)
    noise = np.exp(0.1 * np.random.default_rng(seed).standard_normal(len(k)))
    found = fit(replace(quotes, mark_vol=quotes.mark_vol * noise), one_expiry(tau))
    done = found.diagnostics
    assert done.minimum_total_variance[0] > 0
    assert np.all((done.wing_slope[0] >= 0) & (done.wing_slope[0] <= 2.0 + 1e-12))
    assert (done.minimum_g[0] >= 0) == (done.status[0] in (SliceStatus.FITTED, SliceStatus.REPAIRED))
    assert done.minimum_g[0] == butterfly_minimum(found.svi).value[0]


@given(st.permutations(range(24)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_quotes_does_not_matter(order: list[int]) -> None:
    k = np.linspace(-0.4, 0.5, 24)
    quotes = quotes_on(TYPICAL, k, half_width=0.01)
    quotes = replace(quotes, mark_vol=quotes.mark_vol + 0.01 * np.sin(40.0 * k))
    shuffled = Quotes(**{name: getattr(quotes, name)[order] for name in Quotes.__annotations__})
    first, second = fit(quotes, one_expiry()), fit(shuffled, one_expiry())
    assert np.allclose(first.svi, second.svi, rtol=1e-6)


def test_derivatives_by_the_wing_parameters() -> None:
    wings, k = np.array([0.03, 0.4, 0.5, 0.1, 0.3]), np.linspace(-1.5, 1.5, 13)
    for at, found in enumerate((*wing_jacobian(k, wings), butterfly_gradient(k, wings)[1])):
        for column in range(5):
            step = np.zeros(5)
            step[column] = 1e-6
            up, down = (_shape(k, wings + sign * step)[at] for sign in (1.0, -1.0))
            assert np.allclose(found[:, column], (up - down) / 2e-6, atol=1e-7), (at, column)


def _shape(k: np.ndarray, wings: np.ndarray) -> tuple[np.ndarray, ...]:
    raw = raw_from_wings(wings)
    return (*svi.derivatives(np, k, *raw), svi.butterfly_g(np, k, *raw))


def test_butterfly_arbitrage_is_removed_and_both_errors_are_told() -> None:
    found = fit(quotes_on(VOGT, np.linspace(-1.5, 1.5, 40), 1.0), one_expiry(1.0))
    done = found.diagnostics
    assert done.status[0] == SliceStatus.REPAIRED
    assert done.minimum_g_unconstrained[0] == pytest.approx(-0.0328636, abs=1e-6)
    assert done.minimum_g[0] >= 0.0
    assert done.rmse_unconstrained[0] < 1e-6 < done.rmse[0] < 2.0


def test_arbitrage_left_in_is_reported() -> None:
    found = fit(quotes_on(VOGT, np.linspace(-1.5, 1.5, 40), 1.0), one_expiry(1.0), remove_arbitrage=False)
    assert found.diagnostics.status[0] == SliceStatus.ARBITRAGE
    assert found.diagnostics.minimum_g_k[0] == pytest.approx(0.879263, abs=1e-4)


def test_calendar_arbitrage_is_measured_against_the_preceding_expiry() -> None:
    """Rows out of time order, a second underlying in between, and one expiry without quotes."""
    k = np.linspace(-0.3, 0.3, 15)
    later, lower = np.array([0.006, 0.06, -0.2, 0.02, 0.1]), np.array([0.002, 0.06, -0.2, 0.02, 0.1])
    parts = (
        quotes_on(later, k, 0.2, expiry=0),
        quotes_on(TYPICAL, k, 0.1, expiry=1),
        quotes_on(lower, k, 0.4, expiry=2),
    )
    other = quotes_on(lower, k, 0.15, expiry=4)
    expiries = Expiries(np.array([0, 0, 0, 0, 1]), np.array([0.2, 0.1, 0.4, 0.3, 0.15]))
    done = fit(joined(*parts, other), expiries).diagnostics
    assert done.calendar_gap_quoted[[0, 2]] == pytest.approx([0.002, -0.004], abs=1e-6)
    assert done.calendar_gap[2] < 0
    assert np.allclose(done.calendar_slope_gap[[0, 2]], 0.0, atol=1e-4)
    assert np.all(np.isnan(done.calendar_gap[[1, 3, 4]]))
    assert done.status[3] == SliceStatus.NO_QUOTES


def test_what_becomes_of_each_quote() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 17), half_width=0.01)
    changes: dict[QuoteUse, dict[str, float]] = {
        QuoteUse.CROSSED: {"bid_vol": quotes.ask_vol[2] + 0.01},
        QuoteUse.MARK: {"bid_vol": np.nan},
        QuoteUse.ONE_SIDED: {"bid_vol": 0.0, "mark_vol": 0.0},
        QuoteUse.NO_VOL: {"bid_vol": 0.0, "ask_vol": np.nan, "mark_vol": 0.0},
        QuoteUse.TOO_SHORT: {"tau": 1e-6},
    }
    for row, values in enumerate(changes.values(), 2):
        quotes = changed(quotes, row, **values)
    twin = replace(quotes, sign=-quotes.sign)
    twin = Quotes(**{name: getattr(twin, name)[-3:] for name in Quotes.__annotations__})
    done = fit(joined(quotes, twin), one_expiry()).diagnostics
    assert done.quote_use[2:7].tolist() == list(changes)
    assert done.quote_use[17:].tolist() == [QuoteUse.TWIN] * 3
    assert done.quote_count[0].sum() == 20
    assert done.used_count[0] == 13
    assert done.rejected_count[0] == 4
    assert done.inside_count[0] == 12
    assert done.inside_share[0] == 1.0
    assert np.isnan(done.target_vol[[2, 4, 5, 6, 17]]).all()


def test_an_unusable_side_is_stood_in_for_by_its_twin() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 17))
    twin = replace(quotes, sign=-quotes.sign)
    done = fit(joined(changed(quotes, 3, mark_vol=np.nan), twin), one_expiry()).diagnostics
    assert done.quote_use[3] == QuoteUse.NO_VOL
    assert done.quote_use[17 + 3] == QuoteUse.MARK
    assert done.used_count[0] == 17


def test_a_wide_quote_gives_way_to_the_mark_and_counts_for_little() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 17), half_width=0.01)
    wide = changed(quotes, 8, bid_vol=0.1, ask_vol=3.0)
    assert fit(wide, one_expiry()).diagnostics.quote_use[8] == QuoteUse.MARK
    lone = fit(changed(wide, 8, mark_vol=np.nan), one_expiry())
    assert lone.diagnostics.quote_use[8] == QuoteUse.MID
    assert lone.diagnostics.fitted_vol[8] == pytest.approx(quotes.mark_vol[8], abs=0.003)


@pytest.mark.parametrize("strikes", [1, 4])
def test_few_strikes_give_a_flat_slice(strikes: int) -> None:
    found = fit(quotes_on(TYPICAL, np.linspace(0.0, 0.1, strikes)), one_expiry())
    assert found.diagnostics.status[0] == SliceStatus.FLAT
    assert found.svi[0, 1] == 0.0
    targets = found.diagnostics.target_vol
    assert targets.min() <= found.diagnostics.fitted_vol[0] <= targets.max()


def test_no_usable_quote_gives_no_slice() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.1, 0.1, 7))
    found = fit(replace(quotes, mark_vol=np.zeros(7)), one_expiry())
    assert found.diagnostics.status[0] == SliceStatus.NO_QUOTES
    assert np.isnan(found.svi).all()
    assert np.isnan(found.diagnostics.rmse[0])


def test_bad_rows_are_all_named() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.1, 0.1, 7))
    columns = {name: getattr(quotes, name).copy() for name in Quotes.__annotations__}
    columns["mark_vol"][[1, 4]] = -0.5
    columns["strike"][2] = 0.0
    columns["forward"][3] = np.nan
    columns["sign"][5] = 2.0
    columns["bid_vol"][6] = np.inf
    with pytest.raises(DataError) as caught:
        Quotes(**columns)
    named = {(problem.row, problem.field) for problem in caught.value.problems}
    assert named == {(1, "mark_vol"), (4, "mark_vol"), (2, "strike"), (3, "forward"), (5, "sign"), (6, "bid_vol")}


def test_one_contract_may_not_stand_twice() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.1, 0.1, 7))
    with pytest.raises(DataError, match="same contract twice"):
        joined(quotes, quotes)


def test_percent_is_noticed_on_the_median_only() -> None:
    quotes = quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 17))
    with pytest.raises(DataError, match="looks like percent"):
        replace(quotes, mark_vol=100.0 * quotes.mark_vol)
    steep = np.where(np.arange(17) < 6, 4.0, quotes.mark_vol)
    assert fit(replace(quotes, mark_vol=steep), one_expiry()).diagnostics.used_count[0] == 17


def test_nothing_to_fit_is_an_error() -> None:
    empty = np.empty(0)
    with pytest.raises(DataError, match="no quotes"):
        Quotes(*([empty] * 8))


def test_quotes_must_point_to_a_dated_expiry() -> None:
    _, market = market_and_instruments()
    expiries = expiries_of(market)
    assert np.isnan(expiries.tau[[2, 5]]).all()
    for row, text in ((2, "dated expiry"), (6, "6 expiry rows"), (-1, "6 expiry rows")):
        with pytest.raises(DataError, match=text):
            fit(quotes_on(TYPICAL, np.linspace(-0.1, 0.1, 7), expiry=row), expiries)


@pytest.mark.parametrize("model", ["inverse", "black76"])
def test_quotes_from_prices(model: str) -> None:
    """Prices of known vols come back; empty sides and a bid below intrinsic value have no vol."""
    strike, forward, tau = np.array([40_000.0, 50_000.0, 60_000.0, 30_000.0]), np.full(4, 50_000.0), np.full(4, TAU)
    sign, vol = np.array([-1.0, 1.0, 1.0, 1.0]), np.array([0.7, 0.6, 0.65, 0.8])
    unit = forward if model == "inverse" else 1.0
    bid = black76.value(xp, forward, strike, tau, vol - 0.01, 1.0, sign) / unit
    ask = black76.value(xp, forward, strike, tau, vol + 0.01, 1.0, sign) / unit
    bid[1], bid[2], bid[3] = np.nan, 0.0, 0.9 * 20_000.0 / (50_000.0 if model == "inverse" else 1.0)
    quotes = quotes_from_prices(np.zeros(4), strike, sign, forward, tau, bid, ask, vol, model=model)
    assert quotes.bid_vol[0] == pytest.approx(0.69, abs=1e-9)
    assert np.isnan(quotes.bid_vol[1:]).all()
    assert quotes.ask_vol == pytest.approx(vol + 0.01, abs=1e-6)
    with pytest.raises(DataError, match="row 0, ask"):
        quotes_from_prices(np.zeros(4), strike, sign, forward, tau, bid, -ask, vol, model=model)


def test_prices_of_other_shapes_or_models_are_refused() -> None:
    columns = ([0, 0], [90.0, 100.0], [-1, 1], [100.0, 100.0], [0.1, 0.1], [0.2, 1.0], [0.3, 1.1])
    assert np.isnan(quotes_from_prices(*columns, model="black76").mark_vol).all()
    with pytest.raises(DataError, match=r"shapes = .strike \(2,\), sign \(1,\)"):
        quotes_from_prices(*columns[:2], [1], *columns[3:])
    with pytest.raises(DataError, match=r"tau \(\)"):
        quotes_from_prices(*columns[:4], 0.1, *columns[5:])
    with pytest.raises(DataError, match=r"bid = .*must be a number"):
        quotes_from_prices(*columns[:5], ["a", "b"], columns[6])
    with pytest.raises(ConfigError, match=r"model = 'bachelier': must be one of black76, inverse"):
        quotes_from_prices(*columns, model="bachelier")


@cache
def snapshots(name: str, step: int) -> list[tuple[str, Quotes, Expiries]]:
    """(time, quotes, expiries) of every step-th snapshot of a chain file; expiries sorted by coin and time."""
    import pandas as pd

    frame = pd.read_parquet(data_file(f"deribit_chain/{name}"))
    taken = frame["snapshot_utc"].drop_duplicates().sort_values().iloc[::step]
    return [(str(time), *_chain(frame[frame["snapshot_utc"] == time])) for time in taken]


def _chain(frame: Any) -> tuple[Quotes, Expiries]:
    tau = ((frame["expiry_utc"] - frame["snapshot_utc"]).dt.total_seconds() / (365 * 86_400)).to_numpy()
    coin = frame["currency"].to_numpy() == "ETH"
    expiries, row = np.unique(np.stack([coin, tau]), axis=1, return_inverse=True)
    sign = np.where(frame["cp"].to_numpy() == "C", 1.0, -1.0)
    columns = (frame[name].to_numpy(np.float64) for name in ("underlying", "bid", "ask", "mark_iv"))
    forward, bid, ask, mark_vol = columns
    contracts = (row.ravel(), frame["strike"].to_numpy(), sign, forward, tau)
    quotes = quotes_from_prices(*contracts, bid, ask, mark_vol, model="inverse")
    return quotes, Expiries(expiries[0], expiries[1])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "step"), [("crash_20260131_20260208.parquet", 1), ("daily_20251230_20260415.parquet", 10)]
)
def test_real_snapshots(name: str, step: int, report_vectors: Callable[..., None]) -> None:
    """Every expiry of every moment: a full slice, free of butterflies, most quotes inside their spread."""
    found: list[Surface] = []
    for time, quotes, expiries in snapshots(name, step):
        found.append(fit(quotes, expiries))
        done = found[-1].diagnostics
        assert set(done.status) <= {SliceStatus.FITTED, SliceStatus.REPAIRED}, time
        assert done.converged.all(), time
        assert np.all(done.minimum_g >= 0), time
        assert np.all(done.rmse_vega < 8.0), time
        assert np.average(done.inside_share, weights=done.inside_count) > 0.85, time
    rmse, rmse_mid, rmse_vega, share, count = (
        np.concatenate([getattr(surface.diagnostics, field) for surface in found])
        for field in ("rmse", "rmse_mid", "rmse_vega", "inside_share", "inside_count")
    )
    inside = np.average(share, weights=count)
    assert np.median(rmse_mid) < 0.8
    assert inside > 0.95
    medians = f"median rmse {np.median(rmse):.2f}, mid {np.median(rmse_mid):.2f}, vega {np.median(rmse_vega):.2f}"
    label = f"test_real_snapshots {name[:5]} [{medians} vol points, {inside:.1%} inside]"
    report_vectors(len(rmse), rmse_vega.max(), "vol points, by vega", label)
