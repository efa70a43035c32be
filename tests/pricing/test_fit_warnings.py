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
    vol[6] += 0.1
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
