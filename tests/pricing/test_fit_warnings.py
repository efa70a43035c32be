"""What a fit says about slices that are not what their quotes would have: ends of the box, far quotes, rough fits."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin.io.surface_frame import surface_frame
from pricing.fit import Expiries, SliceStatus, Surface, fit
from pricing.quotes import Quotes
from pricing.surfaces import svi

K = np.linspace(-0.3, 0.3, 25)
TAU = 0.5
TYPICAL = (0.01, 0.1, -0.3, 0.02, 0.2)
WIDE = (-0.2, 0.3, -0.2, 0.0, 1.0)  # free of arbitrage, its bend wider than the quotes' span of 0.6


def quotes_of(vol: np.ndarray, tau: float = TAU) -> Quotes:
    """Quotes 0.1 vol points wide about the vols at K."""
    count = len(K)
    contracts = (np.zeros(count), 100.0 * np.exp(K), np.where(K > 0, 1.0, -1.0), np.full(count, 100.0))
    return Quotes(*contracts, np.full(count, tau), vol - 5e-4, vol + 5e-4, np.full(count, np.nan))


def fitted(vol: np.ndarray, tau: float = TAU, **options: object) -> Surface:
    return fit(quotes_of(vol, tau), Expiries(np.zeros(1), np.array([tau])), **options)  # type: ignore[arg-type]


def vols(slice_: tuple[float, ...]) -> np.ndarray:
    return np.sqrt(svi.total_variance(np, K, *slice_) / TAU)


@pytest.mark.parametrize("method", ["svi", "svi_joint"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_bend_wider_than_the_quotes_is_said_to_end_there(method: str, backend: str) -> None:
    expiries = Expiries(np.zeros(1), np.array([TAU]))
    wide = fit(quotes_of(vols(WIDE)), expiries, method=method, backend=backend)
    assert wide.svi[0, 4] == pytest.approx(np.ptp(K), rel=1e-3)
    assert wide.diagnostics.at_bound.tolist() == [[False, False, False, False, True]]
    assert surface_frame(wide, expiries)["at_bound"].tolist() == ["sigma"]
    typical = fit(quotes_of(vols(TYPICAL)), expiries, method=method, backend=backend)
    assert typical.svi[0] == pytest.approx(TYPICAL, abs=1e-6)
    assert not typical.diagnostics.at_bound.any()
    assert typical.diagnostics.warnings() == ()


def test_one_bad_quote_is_told_of_and_left_out_on_request() -> None:
    """A default fit follows it; who reads the warnings learns of `reject_outliers`, which takes it out."""
    vol = vols(TYPICAL)
    vol[6] += 0.05
    led = fitted(vol)
    assert led.diagnostics.far_count.tolist() == [1]
    assert led.diagnostics.warnings(["May"]) == (
        "a slice may lean towards quotes far from the others (reject_outliers leaves them out): May",
    )
    assert np.delete(np.abs(led.diagnostics.fitted_vol - vols(TYPICAL)), 6).max() > 0.002
    alone = fitted(vol, reject_outliers=True)
    assert alone.diagnostics.far_count.tolist() == [0]
    assert np.abs(alone.diagnostics.fitted_vol - vols(TYPICAL)).max() < 1e-6


def test_a_skew_that_heston_like_ssvi_cannot_hold_is_told_of() -> None:
    """Its phi is at most 1/2, so its skew vanishes with theta: raw SVI follows the same quotes."""
    vol = 0.3 - 0.5 * K
    surface = fitted(vol, 0.06, method="ssvi_heston_like")
    assert surface.diagnostics.status.tolist() == [SliceStatus.FITTED]
    assert any("misses its quotes by more than 2 vol points" in text for text in surface.diagnostics.warnings())
    assert fitted(vol, 0.06).diagnostics.rmse_vega[0] < 1.0


def test_weighting_by_vega_lowers_what_is_measured_by_vega() -> None:
    """On quotes that no slice follows, spreads wide at the money: each choice is best by its own measure."""
    vol = vols(TYPICAL) + 0.01 * np.cos(25.0 * K)
    width = 0.002 + 0.05 * np.exp(-50.0 * K * K)
    quotes = quotes_of(vol)
    quotes = Quotes(quotes.expiry_idx, quotes.strike, quotes.sign, quotes.forward, quotes.tau,
                    vol - 0.5 * width, vol + 0.5 * width, quotes.mark_vol)  # fmt: skip
    expiries = Expiries(np.zeros(1), np.array([TAU]))
    by_spread, by_vega = (fit(quotes, expiries, weighting=one) for one in ("spread", "vega"))
    assert by_vega.diagnostics.rmse_vega[0] < 0.99 * by_spread.diagnostics.rmse_vega[0]
    errors = [100.0 * (one.diagnostics.fitted_vol - vol) / np.maximum(width, 0.005) for one in (by_spread, by_vega)]
    assert np.sum(errors[0] ** 2) < 0.99 * np.sum(errors[1] ** 2)


def test_a_skew_that_nobody_quoted_is_told_of() -> None:
    """Extended SSVI gives an expiry of one quote a slice with the skew of the others."""
    one, other = quotes_of(vols(TYPICAL)), quotes_of(vols(TYPICAL) + 0.01, 2.0 * TAU)
    names = [name for name in Quotes.__dataclass_fields__ if name not in ("expiry_idx", "weight")]
    columns = {name: np.append(getattr(one, name), getattr(other, name)[12]) for name in names}
    quotes = Quotes(expiry_idx=np.append(np.zeros(len(K)), 1), **columns)
    done = fit(quotes, Expiries(np.zeros(2), np.array([TAU, 2.0 * TAU])), method="essvi").diagnostics
    assert done.status[1] == SliceStatus.FITTED
    assert "a slice rests on fewer than 5 strikes: its skew is assumed, not quoted: June" in done.warnings(
        ["May", "June"]
    )
