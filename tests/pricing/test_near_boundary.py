"""Greeks of American options near the exercise boundary, against what must hold on it."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import american_greeks, american_price, exercise_boundary
from pricing.price import BACKENDS

# Of one accuracy: relative errors of gamma, vanna, charm and volga, and of theta by the strike a year.
STATED = {"fast": (3e-3, 3e-3, 3e-2, 5e-3, 3e-4), "default": (2e-4, 2e-4, 5e-3, 2e-3, 1e-5)}
STATED["accurate"] = (1e-5, 5e-5, 2e-3, 2e-3, 1e-6)
# The call of which gamma was half of the least that it can be, and theta 13.88 a year.
HALVED = (100.0, 1.6630361920556926, 0.8458236833311612, 1.0, 0.016294735366579518, 0.0784508747483873)


def contracts(size: int, seed: int = 3) -> dict[str, np.ndarray]:
    """strike 100, a week to two years, vols 10-90 %, rates and yields up to 8 %; boundaries from 1 to 10,000."""
    random = np.random.default_rng(seed)
    tau, vol = random.uniform(7, 730, size) / 365, random.uniform(0.1, 0.9, size)
    rates = random.uniform(0.0, 0.08, (2, size))
    columns = (np.full(size, 100.0), tau, vol, random.choice([-1.0, 1.0], size), *rates)
    terms = dict(zip(("strike", "tau", "vol", "sign", "rate", "dividend_yield"), columns, strict=True))
    for name, first in zip(terms, HALVED, strict=True):
        terms[name][0] = first
    edge = exercise_boundary(**terms)
    return {name: column[(edge > 1.0) & (edge < 1e4)] for name, column in terms.items()}


def slope(terms: dict[str, np.ndarray], name: str, accuracy: str) -> np.ndarray:
    """Central difference of the boundary by one of the terms."""
    step = 1e-4 * terms[name]
    up, down = (exercise_boundary(**{**terms, name: terms[name] + s}, accuracy=accuracy) for s in (step, -step))
    return (up - down) / (2.0 * step)


@pytest.mark.parametrize("accuracy", list(STATED))
@pytest.mark.parametrize("gap", [1e-6, 1e-9])
def test_conditions_on_the_boundary(accuracy: str, gap: float) -> None:
    """Value and delta are the payoff's all along the boundary, and so are their derivatives along it.

    By vol, from V_S(B(v), v) = sign: vanna = -gamma B_v, and from V_v(B(v), v) = 0: volga = gamma B_v^2; by time,
    charm = gamma B_tau and theta = 0, which with the equation of Black and Scholes gives gamma (Merton 1973).
    """
    terms = contracts(120)
    sign, strike, vol, rate = (terms[name] for name in ("sign", "strike", "vol", "rate"))
    edge = exercise_boundary(**terms, accuracy=accuracy)
    ours = american_greeks(edge * (1.0 - sign * gap), **terms, accuracy=accuracy)
    carried = rate * sign * (edge - strike) - (rate - terms["dividend_yield"]) * edge * sign
    gamma = 2.0 * carried / (vol * edge) ** 2
    by_vol, by_tau = slope(terms, "vol", accuracy), slope(terms, "tau", accuracy)
    expected = {"gamma": gamma, "vanna": -gamma * by_vol, "charm": gamma * by_tau, "volga": gamma * by_vol**2}
    # At 1e-6 the Greeks themselves have moved by 1e-4.
    moved = 100.0 * gap
    for (name, at_edge), bound in zip(expected.items(), STATED[accuracy], strict=False):
        assert np.abs(ours[name] / at_edge - 1.0).max() < bound + 2.0 * moved, name
    assert np.abs(ours["theta"]).max() < (STATED[accuracy][4] + 2.0 * gap) * 100.0
    assert np.abs(ours["delta"] - sign).max() < 2e-5
    assert np.abs(ours["vega"]).max() < 2e-2


@pytest.mark.parametrize("accuracy", list(STATED))
def test_theta_is_never_above_zero(accuracy: str) -> None:
    """An American option loses by the passing of time only, at every distance from its boundary."""
    terms = contracts(120, seed=8)
    edge = exercise_boundary(**terms, accuracy=accuracy)
    for gap in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        ours = american_greeks(edge * (1.0 - terms["sign"] * gap), **terms, accuracy=accuracy)
        assert ours["theta"].max() < STATED[accuracy][4] * 100.0, gap


@pytest.mark.parametrize(("accuracy", "bound"), [("fast", 2e-3), ("default", 2e-5), ("accurate", 2e-6)])
def test_gamma_adds_up_to_delta_and_price(accuracy: str, bound: float) -> None:
    """int gamma dx = delta - sign and int (S - x) gamma(x) dx = price - payoff from the boundary to S.

    S is 0.05, 0.3 and 0.9 deviations away: where the points are the row's own, and where they are not.
    """
    terms = contracts(24, seed=5)
    sign, strike = terms["sign"], terms["strike"]
    node, weight = np.polynomial.legendre.leggauss(24)
    edge = exercise_boundary(**terms, accuracy=accuracy)
    for deviations in (0.05, 0.3, 0.9):
        spot = edge * np.exp(-sign * deviations * terms["vol"] * np.sqrt(terms["tau"]))
        along = edge + (spot - edge) * 0.5 * (node[:, None] + 1.0)
        share = (spot - edge) * 0.5 * weight[:, None]
        gamma = american_greeks(along, **terms, accuracy=accuracy)["gamma"]
        delta = american_greeks(spot, **terms, accuracy="accurate")["delta"]
        slope_gained, gained = (share * gamma).sum(0), (share * (spot - along) * gamma).sum(0)
        value = american_price(spot, **terms, accuracy="accurate")
        assert np.abs(slope_gained / (delta - sign) - 1.0).max() < bound, deviations
        assert np.abs(gained / (value - sign * (spot - strike)) - 1.0).max() < bound, deviations


def test_backends_agree_near_the_boundary() -> None:
    terms = contracts(30, seed=6)
    edge = exercise_boundary(**terms)
    spot = edge * (1.0 - terms["sign"] * 10.0 ** np.linspace(-7.0, -1.0, len(edge)))
    reference = american_greeks(spot, **terms, backend="numpy")
    for backend in BACKENDS[1:]:
        for name, values in american_greeks(spot, **terms, backend=backend).items():
            bound = 1e-5 if name in ("volga", "charm") else 1e-8
            assert np.abs(values - reference[name]).max() < bound * max(1.0, np.abs(reference[name]).max()), name
