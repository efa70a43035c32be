"""Implied vols where rounding takes something from the forward itself, and prices within roundings of their ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pricing import Status, implied_vol, price
from pricing.price import BACKENDS
from pricing.xp import error_free

mp = pytest.importorskip("mpmath")

ROUNDINGS_ALLOWED = 10
SOON_DISPLACED = (121.78530954464402, 121.79149548081021, 1.319599797281645e-05, 0.012619483409608065, -1)
SOON_SPOT = (52.687617857353786, 52.687973402532926, 1.6579777783525047e-05, 0.011375979354487909, 1)


def exact(model: str, forward: float, strike: float, tau: float, vol: float, sign: int, **own: float) -> Any:
    """The price and its vega in 60 digits, from the model's own variables."""
    with mp.workdps(60):
        f, k, t, d = mp.mpf(forward), mp.mpf(strike), mp.mpf(tau), mp.mpf(1)
        if model == "displaced":
            f, k = f + mp.mpf(own["displacement"]), k + mp.mpf(own["displacement"])
        else:
            f *= mp.exp((mp.mpf(own["rate"]) - mp.mpf(own["dividend_yield"])) * t)
            d = mp.exp(-mp.mpf(own["rate"]) * t)
        s = mp.mpf(vol) * mp.sqrt(t)
        d1 = mp.log(f / k) / s + s / 2
        value = d * sign * (f * mp.ncdf(sign * d1) - k * mp.ncdf(sign * (d1 - s)))
        return float(value), float(d * f * mp.npdf(d1) * mp.sqrt(t))


def roundings(model: str, contract: tuple[Any, ...], backend: str = "numba", **own: float) -> float:
    """By how many roundings of the price or of itself the vol found is off; 0 where none is determined."""
    forward, strike, tau, vol, sign = contract
    value, vega = exact(model, forward, strike, tau, vol, sign, **own)
    found, status = implied_vol(value, forward, strike, tau, sign, model=model, backend=backend, **own)
    if status == Status.NOT_DETERMINED:
        return 0.0
    assert status == Status.OK, (contract, own, Status(int(status)).name)
    return abs(float(found) - vol) / max(np.spacing(value) / vega, np.spacing(vol))


@pytest.mark.parametrize("backend", BACKENDS)
def test_minutes_before_expiry(backend: str) -> None:
    """20,551 and 15,273 roundings off while what rounding took stayed in the price."""
    assert roundings("displaced", SOON_DISPLACED, backend, displacement=30.0) <= ROUNDINGS_ALLOWED
    own = {"rate": 0.03, "dividend_yield": 0.01}
    assert roundings("black_scholes_merton", SOON_SPOT, backend, **own) <= ROUNDINGS_ALLOWED


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_a_rounding_of_the_forward_is_many_deviations(backend: str) -> None:
    """7,740 roundings off while the sums' rests were put back to third order; further off where they are deviations."""
    for s in (1e-12, 1e-16):
        contract = (0.5111865934263697, 0.5111865934263697, 0.01, s / 0.1, -1)
        assert roundings("displaced", contract, backend, displacement=0.5236694137661991) <= ROUNDINGS_ALLOWED
        nearly = (0.3, float(np.nextafter(0.3, 1.0)), 0.01, s / 0.1, 1)
        assert roundings("displaced", nearly, backend, displacement=70.0) <= ROUNDINGS_ALLOWED


@pytest.mark.parametrize("model", ["displaced", "black_scholes_merton"])
def test_anywhere(model: str) -> None:
    """From deviations of 1e-15 to 3."""
    rng, seen = np.random.default_rng(7), 0
    for _ in range(600):
        forward, tau = 10.0 ** rng.uniform(0.0, 4.0), 10.0 ** rng.uniform(-5.0, 1.0)
        sign, deviations = int(rng.choice([-1, 1])), rng.normal(0.0, 3.0)
        if model == "displaced":
            own = {"displacement": forward * rng.uniform(-0.5, 3.0)}
            s = 10.0 ** rng.uniform(-15.0, 0.5)
            strike = (forward + own["displacement"]) * np.exp(deviations * s) - own["displacement"]
        else:
            own = {"rate": rng.uniform(-0.05, 0.1), "dividend_yield": rng.uniform(0.0, 0.08)}
            drift = (own["rate"] - own["dividend_yield"]) * tau
            s = 10.0 ** rng.uniform(-15.0, 0.5)
            strike = forward * np.exp(drift + deviations * s)
        contract = forward, float(strike), tau, float(s / np.sqrt(tau)), sign
        off = roundings(model, contract, **own)
        assert off <= ROUNDINGS_ALLOWED, (contract, own, off)
        seen += off > 0.0
    assert seen > 200


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_the_spot_drifts_thousands_of_deviations(backend: str) -> None:
    """Up to a million: what the double of the forward lacks is then most of what a deviation is."""
    rng, seen = np.random.default_rng(11), 0
    for _ in range(200 if backend == "numba" else 20):
        s, sign, deviations = 10.0 ** rng.uniform(-10.0, -3.0), int(rng.choice([-1, 1])), rng.normal(0.0, 3.0)
        drift = rng.choice([-1.0, 1.0]) * min(s * 10.0 ** rng.uniform(0.0, 6.0), 2.0)
        tau = max(10.0 ** rng.uniform(-3.0, 1.0), abs(drift) / 0.3)
        own = {"rate": rng.uniform(-0.05, 0.1)}
        own["dividend_yield"] = own["rate"] - drift / tau
        spot = 10.0 ** rng.uniform(0.0, 4.0)
        strike = spot * np.exp((own["rate"] - own["dividend_yield"]) * tau + deviations * s)
        contract = spot, float(strike), tau, float(s / np.sqrt(tau)), sign
        off = roundings("black_scholes_merton", contract, backend, **own)
        assert off <= ROUNDINGS_ALLOWED, (contract, own, off)
        seen += off > 0.0
    assert seen > (100 if backend == "numba" else 10)


def test_a_logarithm_to_30_digits() -> None:
    """Of doubles, and of sums of two."""
    rng, size = np.random.default_rng(0), 500
    first = 10.0 ** rng.uniform(-3.0, 3.0, size)
    second = first * np.exp(rng.normal(0.0, 1.0, size) * 10.0 ** rng.uniform(-16.0, 1.0, size))
    rests = [column * rng.uniform(-1.0, 1.0, size) * 2.0**-54 for column in (first, second)]
    for first_rest, second_rest in ((np.zeros(size), np.zeros(size)), rests):
        high, low = error_free.log_ratio_finely(first, second, first_rest, second_rest)
        with mp.workdps(60):
            for a, b, c, d, h, rest in zip(first, second, first_rest, second_rest, high, low, strict=True):
                exactly = mp.log((mp.mpf(a) + mp.mpf(c)) / (mp.mpf(b) + mp.mpf(d)))
                assert abs(mp.mpf(h) + mp.mpf(rest) - exactly) < 1e-30 * (1 + abs(exactly))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_price_of_a_vol_is_never_outside_its_range(backend: str) -> None:
    """A rounding or two below the intrinsic value, or above the largest one, nobody knows on which side a price is."""
    contract, own = (113.69616873214542, 111.09527920699858, 0.00043812522980384456), {"dividend_yield": 0.01}
    value = price(*contract, 0.14674467016889342, 1, model="black_scholes_merton", rate=0.03, **own)
    for given in (value, exact("black_scholes_merton", *contract, 0.14674467016889342, 1, rate=0.03, **own)[0]):
        found = implied_vol(given, *contract, 1, model="black_scholes_merton", backend=backend, rate=0.03, **own)
        assert found[1] == Status.NOT_DETERMINED
    deep = (5525.182645970108, 9208.805249952838, 0.1675066693246224, 0.00029032929717798516, 1, 0.6)
    for model in ("black76", "bachelier"):
        assert implied_vol(*deep, model=model, backend=backend)[1] == Status.NOT_DETERMINED
        assert implied_vol(deep[0] * (1 - 3e-15), *deep[1:], model=model, backend=backend)[1] == Status.BELOW_INTRINSIC


def test_correctly_rounded_prices_deep_in_the_money_are_not_below() -> None:
    """Half a rounding of the price, of F - K and of D (F - K) each."""
    rng, size = np.random.default_rng(3), 3_000
    forward, discount = rng.uniform(1.0, 10_000.0, size), rng.uniform(0.5, 1.0, size)
    strike = forward * rng.uniform(0.01, 2.0, size)
    sign = np.where(forward > strike, 1.0, -1.0)
    with mp.workdps(60):
        terms = zip(forward, strike, discount, sign, strict=True)
        value = np.array([float(int(s) * (mp.mpf(f) - mp.mpf(k)) * mp.mpf(d)) for f, k, d, s in terms])
        highest = np.array([float(mp.mpf(d) * mp.mpf(m)) for d, m in zip(discount, forward, strict=True)])
    for model in ("black76", "bachelier"):
        _, status = implied_vol(value, forward, strike, 0.1, sign, discount, model=model)
        assert np.all(status == Status.NOT_DETERMINED)
    coin, status = implied_vol(value / forward, forward, strike, 0.1, sign, discount, model="inverse", on_error="clip")
    assert np.all(status == Status.NOT_DETERMINED)
    assert np.all(np.isnan(coin) | (coin == 0.0))
    assert np.all(implied_vol(highest, forward, strike, 0.1, 1, discount)[1] == Status.NOT_DETERMINED)
