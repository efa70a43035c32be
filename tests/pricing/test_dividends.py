"""The call with one known dividend: against the closed form with a bivariate normal, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pricing import DataError, price
from pricing.dividends import american_call_with_dividend

TERMS = (80.0, 82.0, 1 / 3, 0.30, 0.06, 4.0, 0.25)


def closed_form(
    spot: float, strike: float, tau: float, vol: float, rate: float, dividend: float, dividend_tau: float
) -> float:
    """Whaley (1981, eq. 9 corrected), the cumulative bivariate normal by mpmath's quadrature of its density."""
    mp = pytest.importorskip("mpmath")
    clean = spot - dividend * math.exp(-rate * dividend_tau)
    left = tau - dividend_tau

    def european(s: float) -> float:
        d1 = (mp.log(s / strike) + (rate + vol**2 / 2) * left) / (vol * mp.sqrt(left))
        return s * mp.ncdf(d1) - strike * mp.exp(-rate * left) * mp.ncdf(d1 - vol * mp.sqrt(left))

    switch = mp.findroot(lambda s: european(s) - s - dividend + strike, strike)

    def bivariate(a: float, b: float, rho: float) -> float:
        return mp.quad(lambda x: mp.npdf(x) * mp.ncdf((b - rho * x) / mp.sqrt(1 - rho**2)), [-12, -4, 0, a])

    a1 = (mp.log(clean / strike) + (rate + vol**2 / 2) * tau) / (vol * mp.sqrt(tau))
    b1 = (mp.log(clean / switch) + (rate + vol**2 / 2) * dividend_tau) / (vol * mp.sqrt(dividend_tau))
    a2, b2 = a1 - vol * mp.sqrt(tau), b1 - vol * mp.sqrt(dividend_tau)
    rho = -mp.sqrt(dividend_tau / tau)
    return float(
        clean * mp.ncdf(b1)
        + clean * bivariate(a1, -b1, rho)
        - strike * mp.exp(-rate * tau) * bivariate(a2, -b2, rho)
        - (strike - dividend) * mp.exp(-rate * dividend_tau) * mp.ncdf(b2)
    )


def test_published_value() -> None:
    """Haug (2007), table 9-1."""
    assert float(american_call_with_dividend(*TERMS)) == pytest.approx(4.3860, abs=5e-5)


@pytest.mark.parametrize("change", [{}, {3: 0.1}, {3: 0.8}, {5: 1.0}, {5: 10.0}, {6: 0.02}, {6: 0.33}, {0: 120.0}])
def test_closed_form(change: dict[int, float]) -> None:
    terms = [change.get(k, value) for k, value in enumerate(TERMS)]
    assert float(american_call_with_dividend(*terms)) == pytest.approx(closed_form(*terms), abs=1e-9)


def test_small_dividend_is_never_worth_it() -> None:
    """Below K (1 - exp(-r left)) the call is the European one on the spot less the dividend."""
    spot, strike, tau, vol, rate, _, dividend_tau = TERMS
    small = strike * (1 - math.exp(-rate * (tau - dividend_tau))) * 0.99
    clean = spot - small * math.exp(-rate * dividend_tau)
    european = price(clean * math.exp(rate * tau), strike, tau, vol, 1, math.exp(-rate * tau))
    ours = american_call_with_dividend(spot, strike, tau, vol, rate, [0.0, small], dividend_tau)
    assert ours[1] == pytest.approx(float(european), abs=1e-12)
    just_above = american_call_with_dividend(spot, strike, tau, vol, rate, small / 0.99 * 1.001, dividend_tau)
    below = american_call_with_dividend(spot, strike, tau, vol, rate, small / 0.99 * 0.999, dividend_tau)
    assert abs(just_above - below) < 2 * 0.002 * small


def test_bounds() -> None:
    spots = np.linspace(60.0, 110.0, 11)
    ours = american_call_with_dividend(spots, *TERMS[1:])
    assert np.all(ours >= np.maximum(spots - TERMS[1], 0.0) - 1e-12)
    assert np.all(np.diff(ours) > 0)
    assert np.all(np.diff(ours) < np.diff(spots))


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        (0, 3.0, "spot"),
        (2, 0.0, "tau"),
        (3, 0.0, "vol"),
        (4, -0.01, "rate"),
        (5, -1.0, "dividend"),
        (6, 0.5, "dividend_tau"),
    ],
)
def test_refusals(place: int, value: float, field: str) -> None:
    terms = [value if k == place else number for k, number in enumerate(TERMS)]
    with pytest.raises(DataError) as caught:
        american_call_with_dividend(*terms)
    assert field in {problem.field for problem in caught.value.problems}
