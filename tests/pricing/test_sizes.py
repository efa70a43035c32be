"""Sizes: prices are right up to the bounds of every argument, and refused by name beyond."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from pricing import ConfigError, DataError, Expiries, greeks, implied_vol, price
from pricing.price import BACKENDS
from tests.naive import exact

mp = pytest.importorskip("mpmath")

GOOD = {"forward": 100.0, "strike": 100.0, "tau": 1.0, "vol": 0.2, "sign": 1, "discount": 1.0}
MODELS: dict[str, dict[str, Any]] = {
    "black76": {},
    "bachelier": {},
    "displaced": {"displacement": 1.0},
    "inverse": {},
    "black_scholes_merton": {"rate": 0.01},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("field", "inside", "outside", "text"),
    [
        ("forward", 1e150, 1.1e150, "must be at most 1e\\+150"),
        ("strike", 1e150, 9e307, "must be at most 1e\\+150"),
        ("tau", 1e100, 1.1e100, "must be at most 1e\\+100"),
        ("vol", 1e100, 1e308, "must be at most 1e\\+100"),
        ("discount", 1e50, 1e308, "must be at most 1e\\+50"),
        ("discount", 1e-50, 0.9e-50, "must be at least 1e-50"),
    ],
)
def test_bounds_of_size(model: str, backend: str, field: str, inside: float, outside: float, text: str) -> None:
    """One row that is fine and one that is not, beside usual ones; no warning and no number that is none."""
    own = dict(MODELS[model])
    if model == "black_scholes_merton":
        if field == "discount":
            return
        own = {} if field in ("tau", "forward") else own
    if model == "displaced" and field in ("forward", "strike"):
        text = "0 or more together with displacement"
    usual = dict(GOOD) if model != "black_scholes_merton" else {k: v for k, v in GOOD.items() if k != "discount"}
    if model == "inverse" and field == "strike":
        inside, text = 1e100, "a coin worth nothing"
    terms = {"model": model, "backend": backend, **own}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.all(np.isfinite(price(**{**usual, field: [usual[field], inside]}, **terms)))
        for order in (2, 3):
            values = greeks(**{**usual, field: [usual[field], inside]}, order=order, **terms)
            assert not any(np.isnan(column).any() for column in values.values())
        for function in (price, greeks):
            with pytest.raises(DataError, match=f"row 1, .*{text}"):
                function(**{**usual, field: [usual[field], outside]}, **terms)


@pytest.mark.parametrize("backend", BACKENDS)
def test_prices_are_right_up_to_the_bounds(backend: str) -> None:
    """At the money at the bounds themselves, in 60 digits: at 9e307 prices were wrong by a factor of 1e4."""
    cases = [
        (1e150, 1e150, 1.0, 0.2, 1, 1e50),
        (1e150, 0.9e150, 1e100, 1e-51, -1, 1.0),
        (1e-250, 1.1e-250, 1e-100, 1e49, 1, 1.0),
        (1e-298, 1e-298, 1.0, 0.3, 1, 1e-5),
        (100.0, 100.0, 1.0, 1.1e-145, 1, 1.0),
        (100.0, 101.0, 1e-200, 1e100, 1, 1e-50),
    ]
    for forward, strike, tau, vol, sign, discount in cases:
        with mp.workdps(60):
            terms = (mp.mpf(number) for number in (forward, strike, tau, vol))
            truth = float(mp.mpf(discount) * exact.black(*terms, sign))
        ours = float(price(forward, strike, tau, vol, sign, discount, backend=backend))
        assert ours == pytest.approx(truth, rel=1e-13), (forward, strike, tau, vol)
    normal = float(price(-1e150, -1e150, 1e100, 1e100, 1, model="bachelier", backend=backend))
    assert normal == pytest.approx(1e150 / np.sqrt(2.0 * np.pi), rel=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deviation_that_vanishes_counts_as_none(backend: str) -> None:
    assert float(price(100.0, 100.0, 1.0, 0.9e-145, 1, backend=backend)) == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", MODELS)
def test_no_greek_is_nan_from_bound_to_bound(model: str, backend: str) -> None:
    """Every corner with prices of 0 or 1e-150 (a spot: 1e-50) and above; a Greek may be infinite, never NaN."""
    small, vanishing = (1e-50, 1e-50) if model == "black_scholes_merton" else (1e-150, 1e-145)
    lengths = [0.0, small, 1e-40, 1.0, 1e50, 1e150]
    forward, strike, tau, vol, sign = (
        grid.ravel()
        for grid in np.meshgrid(lengths, lengths, [0.0, 1e-100, 1.0, 1e100], [0.0, vanishing, 1.0, 1e100], [-1.0, 1.0])
    )
    own = dict(MODELS[model])
    if model == "inverse":
        fit = (forward >= 1e-50) & (strike <= 1e100 * forward)
        forward, strike, tau, vol, sign = (column[fit] for column in (forward, strike, tau, vol, sign))
    if model == "black_scholes_merton":
        own = {"rate": 0.05 * ((tau <= 1.0) & (forward < 1e149))}
    for discount in (1.0,) if model == "black_scholes_merton" else (1e-50, 1.0, 1e50):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            terms = (forward, strike, tau, vol, sign, discount)
            assert np.all(np.isfinite(price(*terms, model=model, backend=backend, **own)))
            for order in (2, 3):
                values = greeks(*terms, model=model, backend=backend, order=order, **own)
                assert not any(np.isnan(column).any() for column in values.values())


def test_a_spot_far_below_its_strike_has_the_greeks_of_nothing() -> None:
    values = greeks(1e-200, 1e150, 1.0, 0.2, -1, model="black_scholes_merton", rate=0.05, order=3)
    assert float(values["delta"]) == pytest.approx(-1.0, rel=1e-15)
    assert float(values["gamma"]) == 0.0


def test_wrong_kinds_are_refused_in_our_words() -> None:
    with pytest.raises(DataError, match="tau"):
        Expiries(np.zeros(3, dtype=np.int64), np.zeros(2))
    for wrong in ("a", np.nan, None, 0.0, [1.0, 2.0]):
        with pytest.raises(ConfigError, match="resolution"):
            implied_vol(8.0, 100.0, 100.0, 1.0, 1, resolution=wrong)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for backend in BACKENDS:
            for model, own in (("displaced", {"displacement": 1.0}), ("black_scholes_merton", {"rate": 0.1})):
                for bad in (np.inf, np.nan):
                    with pytest.raises(DataError, match="strike = "):
                        price(100.0, bad, 1.0, 0.2, 1, model=model, backend=backend, **own)  # type: ignore[arg-type]
                    _, status = implied_vol(8.0, bad, 100.0, 1.0, 1, model=model, backend=backend, **own)  # type: ignore[arg-type]
                    assert status != 0
        with pytest.raises(DataError, match="forward = inf"):
            price(np.longdouble("1e400"), 100.0, 1.0, 0.2, 1)
