"""Models that are Black-76 in other variables: their own loops beside the formula, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pricing import ConfigError, DataError, greeks, implied_vol, price
from pricing.price import BACKENDS

EXTRA = {"displaced": {"displacement": 30.0}, "black_scholes_merton": {"rate": 0.05, "dividend_yield": 0.02}}


@pytest.mark.parametrize("model", ["displaced", "black_scholes_merton"])
def test_a_loop_of_the_models_own_and_the_formula_agree(model: str) -> None:
    """Usual rows, rows for the long way and rows at their limits in one call; neighbours do not matter."""
    random = np.random.default_rng(12)
    size = 3_000
    forward, tau = random.uniform(50, 150, size), 10 ** random.uniform(-3, 0.3, size)
    vol, sign = random.uniform(0.05, 2, size), random.choice([-1.0, 1.0], size)
    strike = forward * np.exp(
        np.where(random.uniform(size=size) < 0.2, 12.0, random.normal(size=size)) * vol * tau**0.5
    )
    vol[::7] = tau[5::7] = 0.0
    columns = (forward, strike, tau, vol, sign)
    ours, reference = (greeks(*columns, model=model, backend=b, **EXTRA[model]) for b in ("numba", "numpy"))
    value = price(*columns, model=model, **EXTRA[model])
    assert list(ours) == list(reference)
    scale = np.maximum(forward, strike)
    assert np.max(np.abs(ours["price"] - reference["price"]) / scale) < 2e-15
    assert np.max(np.abs(value - ours["price"]) / scale) < 2e-15
    for name, values in reference.items():
        natural = np.abs(values) + 1e-6 * np.max(np.abs(values))
        assert np.max(np.abs(ours[name] - values) / natural) < 1e-9, name
    for rows in (slice(0, 40), slice(11, None, 13)):
        part = greeks(*(column[rows] for column in columns), model=model, **EXTRA[model])
        assert all(np.array_equal(part[name], values[rows]) for name, values in ours.items())
    into = np.empty(size)
    assert price(*columns, model=model, out=into, **EXTRA[model]) is into
    assert np.array_equal(into, value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spot", [-5.0, math.nan, math.inf])
def test_a_spot_that_is_none_is_refused(spot: float, backend: str) -> None:
    for function in (price, greeks):
        with pytest.raises(DataError) as caught:
            function([100.0, spot], 100.0, 1.0, 0.2, 1, model="black_scholes_merton", backend=backend, rate=0.05)
        assert [(p.row, p.field, repr(p.value)) for p in caught.value.problems] == [(1, "forward", repr(spot))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_rates_beyond_all_numbers_are_refused(backend: str) -> None:
    with pytest.raises(DataError, match=r"price, row 1, rate = 5\.0: leaves no forward or discount factor"):
        price(100.0, 100.0, 200.0, 0.2, 1, model="black_scholes_merton", backend=backend, rate=[0.05, 5.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_displaced_prices_below_0_are_named_with_the_displacement(backend: str) -> None:
    with pytest.raises(DataError) as caught:
        price([100.0, -30.0], 100.0, 1.0, 0.2, 1, model="displaced", backend=backend, displacement=10.0)
    text = "price, row 1, forward = -30.0: must be a finite number, 0 or more together with displacement = 10.0"
    assert str(caught.value) == text
    assert float(price(-30.0, 40.0, 1.0, 0.2, 1, model="displaced", backend=backend, displacement=31.0)) >= 0.0


def test_an_unknown_model_is_told_the_known_ones() -> None:
    known = "american, bachelier, black76, black_scholes_merton, displaced, inverse, linear"
    for function in (price, greeks):
        with pytest.raises(ConfigError) as caught:
            function(100.0, 100.0, 1.0, 0.2, 1, model="blak76")
        assert str(caught.value) == f"model = 'blak76': did you mean black76? must be one of {known}"
    with pytest.raises(ConfigError, match=r"model = 7: must be one of american, .*linear$"):
        price(100.0, 100.0, 1.0, 0.2, 1, model=7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="model = 'blak76': did you mean black76"):
        implied_vol(8.0, 100.0, 100.0, 1.0, 1, model="blak76")
