"""Models in other variables where a rounding of the forward is digits of the price, and charm deep in the money."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pricing import greeks, price
from pricing.price import BACKENDS
from tests.naive import exact
from tests.pricing.test_models import exact_value, scale_of

mp = pytest.importorskip("mpmath")

MODELS = ("black_scholes_merton", "displaced")
RELATIVE = 1e-13


def a_contract(model: str, rng: np.random.Generator, deviation: float) -> tuple[tuple[Any, ...], dict[str, float]]:
    """Some deviations from the money on either side, and what the model takes besides."""
    forward, tau, distance = 10.0 ** rng.uniform(0.0, 4.0), 10.0 ** rng.uniform(-5.0, 1.0), rng.normal(0.0, 4.0)
    if model == "displaced":
        own = {"displacement": forward * rng.uniform(-0.5, 3.0)}
        strike = (forward + own["displacement"]) * np.exp(distance * deviation) - own["displacement"]
    else:
        own = {"rate": rng.uniform(-0.05, 0.1), "dividend_yield": rng.uniform(0.0, 0.1)}
        strike = forward * np.exp((own["rate"] - own["dividend_yield"]) * tau + distance * deviation)
    return (forward, float(strike), tau, deviation / np.sqrt(tau), int(rng.choice([-1, 1]))), own


def exactly(model: str, contract: tuple[Any, ...], own: dict[str, float]) -> dict[str, float]:
    forward, strike, tau, vol, sign = contract
    return exact.derivatives(exact_value(model, strike, sign, mp.mpf(0), own), (forward, tau, vol))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", MODELS)
def test_prices_to_thirteen_digits(model: str, backend: str, report_vectors: Any) -> None:
    """Down to deviations of 1e-14, on either side of the money, of prices and of the price among Greeks."""
    rng, errors = np.random.default_rng(41), []
    for deviation in 10.0 ** rng.uniform(-14.0, -4.0, 60):
        contract, own = a_contract(model, rng, float(deviation))
        forward, strike, tau, vol, sign = contract
        with mp.workdps(60):
            terms = (mp.mpf(forward), mp.mpf(tau), mp.mpf(vol))
            truth = exact_value(model, strike, sign, mp.mpf(0), own)(*terms)
            if truth < 1e-290:
                continue
            for order in (0, 2, 3):
                ours = price(*contract, model=model, backend=backend, **own)
                if order:
                    ours = greeks(*contract, model=model, backend=backend, order=order, **own)["price"]
                errors.append(float(abs(mp.mpf(float(ours)) / truth - 1)))
    report_vectors(len(errors), max(errors), "of the price", f"{model} at small deviations, {backend}")
    assert max(errors) < RELATIVE


def test_the_two_contracts_that_showed_it() -> None:
    """9.4e-13 and 9e-10 of the price off while rests of the forward were put back by a derivative."""
    soon = (143.959406321029, 156.98397889028354, 1.0, 1e-7, 1)
    carry = {"rate": 0.08661218686449437, "dividend_yield": 0.0}
    near = (0.5111865934263697, 0.5111865933856498, 0.0024467607726521043, 2.1126673681869706e-10, -1)
    for model, contract, own in (
        ("black_scholes_merton", soon, carry),
        ("displaced", near, {"displacement": 0.5236694137661991}),
    ):
        truth = exactly(model, contract, own)["price"]
        assert abs(float(price(*contract, model=model, **own)) / truth - 1) < 1e-14


@pytest.mark.parametrize("model", MODELS)
def test_greeks_are_the_derivatives_in_60_digits(model: str, report_vectors: Any) -> None:
    rng, errors = np.random.default_rng(42), []
    for deviation in (9e-5, 1e-6, 1e-8, 1e-10, 1e-12):
        for backend in BACKENDS:
            contract, own = a_contract(model, rng, deviation)
            forward, _, tau, vol, _ = contract
            expected = exactly(model, contract, own)
            second, third = (greeks(*contract, model=model, backend=backend, order=n, **own) for n in (2, 3))
            for name, value in expected.items():
                unit = max(abs(value), 1e-3 * scale_of(name, expected, forward, tau, vol), 1e-290)
                for ours in (second, third):
                    if name in ours:
                        errors.append(abs(float(ours[name]) - value) / unit)
    report_vectors(len(errors), max(errors), "of a Greek", f"{model} at small deviations")
    assert max(errors) < RELATIVE


@pytest.mark.parametrize("model", MODELS)
def test_either_way_gives_the_same_at_the_border(model: str) -> None:
    """Deviations a little above and below that at which the way changes, in one call: no step, no neighbour matters."""
    own = {"displacement": 30.0} if model == "displaced" else {"rate": 0.05, "dividend_yield": 0.02}
    middle = 100.0 if model == "displaced" else 100.0 * np.exp(0.03 * 0.25)
    vol = 2e-4 * (1.0 + np.array([-1e-13, 1e-13] * 20))
    strike = np.repeat(middle + 0.002 * np.linspace(-3.0, 3.0, 20), 2)
    for backend in BACKENDS:
        for sign in (-1, 1):
            columns = (100.0, strike, 0.25, vol, sign)
            found = greeks(*columns, model=model, backend=backend, order=3, **own)
            for name, values in found.items():
                np.testing.assert_allclose(values[::2], values[1::2], rtol=1e-9, err_msg=name)
            alone = greeks(100.0, strike[7], 0.25, vol[7], sign, model=model, backend=backend, order=3, **own)
            assert all(alone[name] == values[7] for name, values in found.items())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [2, 3])
def test_charm_deep_in_the_money_is_what_the_yield_leaves(order: int, backend: str) -> None:
    """3.57994e-12 for 3.58008e-12 while carry times delta was taken from rate times delta."""
    for contract, own in (
        ((4100.0, 2500.0, 0.2, 0.15, 1), {"rate": 0.04, "dividend_yield": 0.0}),
        ((4100.0, 2500.0, 0.2, 0.15, 1), {"rate": 0.04, "dividend_yield": 1e-9}),
        ((2500.0, 4100.0, 0.2, 0.15, -1), {"rate": -0.02, "dividend_yield": 0.0}),
        ((2500.0, 3100.0, 0.001, 0.55, -1), {"rate": 0.1, "dividend_yield": 0.0}),
    ):
        ours = greeks(*contract, model="black_scholes_merton", backend=backend, order=order, **own)
        truth = exactly("black_scholes_merton", contract, own)["charm"]
        assert abs(float(ours["charm"]) / truth - 1) < 2e-12, (contract, own)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [2, 3])
def test_theta_deep_in_the_money_minutes_before_expiry(order: int, backend: str) -> None:
    """1e-9 of itself off while the rate was that of a rounded discount factor."""
    for tau in (1e-6, 1e-4):
        contract, own = (100.0, 80.0, tau, 0.3, 1), {"rate": 0.05, "dividend_yield": 0.02}
        ours = greeks(*contract, model="black_scholes_merton", backend=backend, order=order, **own)
        assert abs(float(ours["theta"]) / exactly("black_scholes_merton", contract, own)["theta"] - 1) < 1e-12
