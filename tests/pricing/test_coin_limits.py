"""Coin-settled options where a plain formula loses its digits, and Greeks in trader units against differences."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import DataError, greeks, price
from pricing.price import BACKENDS

DAY = 1.0 / 365.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_coin_worth_nothing_is_refused(backend: str) -> None:
    for call in (
        lambda: price(0.0, 100.0, 0.5, 0.3, -1, model="inverse", backend=backend),
        lambda: greeks([100.0, 0.0], 100.0, 0.5, 0.3, 1, model="inverse", backend=backend),
        lambda: price(0.9e-50, 1e-50, 0.5, 0.3, -1, model="inverse", backend=backend),
    ):
        with pytest.raises(DataError, match="a coin worth nothing"):
            call()
    assert float(price(1e-50, 1e50, 0.5, 0.3, -1, model="inverse", backend=backend)) == pytest.approx(1e100)
    with pytest.raises(DataError, match="a coin worth nothing"):
        price(1e-50, 1.1e50, 0.5, 0.3, -1, model="inverse", backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_premium_adjusted_delta_keeps_its_digits(backend: str) -> None:
    """s D K/F N(s d2) by mpmath, from far in to far out of the money."""
    mp = pytest.importorskip("mpmath")
    tau, vol, discount, forward = 0.25, 0.6, 0.98, 70_000.0
    with mp.workdps(40):
        for strike in (1e-4, 1.0, 700.0, 60_000.0, 90_000.0, 4e6):
            for sign in (1, -1):
                found = greeks(forward, strike, tau, vol, sign, discount, model="inverse", backend=backend, order=1)
                spread = vol * mp.sqrt(tau)
                below = mp.log(mp.mpf(forward) / strike) / spread - spread / 2
                exact = sign * mp.mpf(discount) * strike / forward * mp.ncdf(sign * below)
                assert float(found["delta_pa"]) == pytest.approx(float(exact), rel=1e-12), (strike, sign)
                assert float(found["delta"]) == pytest.approx(float(exact / forward), rel=1e-12), (strike, sign)
    still = greeks(100.0, [1e-6, 200.0, 1e-6], 0.0, 0.5, [1, -1, -1], model="inverse", backend=backend)["delta_pa"]
    assert still == pytest.approx([1e-8, -2.0, 0.0], rel=1e-14)


def test_trader_units_are_what_a_trader_sees() -> None:
    """Per point and per day by differences of prices and of vegas and deltas, no divisor taken from the package."""
    forward, strike, tau, vol, sign = 100.0, np.array([90.0, 100.0, 115.0]), 0.5, 0.4, 1
    point = 0.01
    seen = greeks(forward, strike, tau, vol, sign, order=3, units="trader")

    def slope(name: str, change: str, step: float) -> np.ndarray:
        """The change of a Greek (per point for vega) with one unit, by central differences at a tenth of it."""

        def at(k: float) -> np.ndarray:
            moved = {"vol": vol + k * step * (change == "vol"), "tau": tau - k * step * (change == "tau")}
            found = greeks(forward, strike, moved["tau"], moved["vol"], sign, order=2)
            return np.asarray(found[name]) * (point if name == "vega" else point**2 if name == "volga" else 1.0)

        h = 0.1
        return (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)

    expected = {
        "vega": slope("price", "vol", point),
        "volga": slope("vega", "vol", point),
        "ultima": slope("volga", "vol", point),
        "vanna": slope("delta", "vol", point),
        "zomma": slope("gamma", "vol", point),
        "theta": slope("price", "tau", DAY),
        "charm": slope("delta", "tau", DAY),
        "color": slope("gamma", "tau", DAY),
        "veta": slope("vega", "tau", DAY),
    }
    for name, values in expected.items():
        assert seen[name] == pytest.approx(values, rel=1e-6, abs=1e-12), name
