"""Greeks near a boundary where there are two, which rates below 0 make, against what must hold on each."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from pricing import american_greeks, exercise_boundary, near_two_boundaries

# Relative errors of gamma, vanna, charm and volga on the boundary, and of theta by the strike a year.
STATED = {"default": (2e-5, 2e-4, 1e-3, 1e-2, 1e-6), "accurate": (1e-5, 2e-4, 1e-3, 1e-2, 1e-6)}
Terms = dict[str, np.ndarray]


@functools.cache
def contracts(size: int = 12, seed: int = 3) -> Terms:
    """strike 100, a month to a year, vols 10-30 %, rates and yields below 0, boundaries that have not met yet."""
    random = np.random.default_rng(seed)
    sign = random.choice([-1.0, 1.0], size)
    near = -random.uniform(0.002, 0.03, size)
    far = near - random.uniform(0.01, 0.06, size)
    terms = {
        "strike": np.full(size, 100.0),
        "tau": random.uniform(0.08, 1.0, size),
        "vol": random.uniform(0.1, 0.3, size),
        "sign": sign,
        "rate": np.where(sign < 0, near, far),
        "dividend_yield": np.where(sign < 0, far, near),
    }
    first, last = (exercise_boundary(**terms, far=other) for other in (False, True))
    apart = np.abs(np.log(first / last)) > 0.1
    assert apart.sum() > 7
    return {name: column[apart] for name, column in terms.items()}


@functools.cache
def boundary(far: bool) -> np.ndarray:
    return exercise_boundary(**contracts(), far=far, accuracy="accurate")


@functools.cache
def slope(name: str, far: bool) -> np.ndarray:
    terms = contracts()
    step = 1e-4 * terms[name]
    up, down = (exercise_boundary(**{**terms, name: terms[name] + s}, far=far) for s in (step, -step))
    return (up - down) / (2.0 * step)


@pytest.mark.parametrize("far", [False, True], ids=["first", "second"])
@pytest.mark.parametrize(("accuracy", "gap"), [("default", 1e-6), ("default", 1e-9), ("accurate", 1e-8)])
def test_conditions_on_either_boundary(accuracy: str, gap: float, far: bool) -> None:
    """As on a single one: value and delta are the payoff's all along it, and so are their derivatives along it."""
    terms, edge = contracts(), boundary(far)
    sign, strike, vol, rate = (terms[name] for name in ("sign", "strike", "vol", "rate"))
    outside = sign if far else -sign
    ours = american_greeks(edge * (1.0 + outside * gap), **terms, accuracy=accuracy)
    carried = rate * sign * (edge - strike) - (rate - terms["dividend_yield"]) * edge * sign
    gamma = 2.0 * carried / (vol * edge) ** 2
    by_vol, by_tau = slope("vol", far), slope("tau", far)
    expected = {"gamma": gamma, "vanna": -gamma * by_vol, "charm": gamma * by_tau, "volga": gamma * by_vol**2}
    for (name, at_edge), bound in zip(expected.items(), STATED[accuracy], strict=False):
        # At 1e-6 the Greeks themselves have moved by 1e-4.
        assert np.abs(ours[name] / at_edge - 1.0).max() < bound + 100.0 * gap, name
    assert np.abs(ours["theta"]).max() < (STATED[accuracy][4] + 2.0 * gap) * 100.0
    assert np.abs(ours["delta"] - sign).max() < 2e-5


@pytest.mark.parametrize("far", [False, True], ids=["first", "second"])
def test_gamma_adds_up_to_delta(far: bool) -> None:
    """int gamma dx = delta - sign from the boundary to a spot: where the points are the row's own, and beyond."""
    terms, edge = contracts(), boundary(far)
    sign = terms["sign"]
    node, weight = np.polynomial.legendre.leggauss(16)
    for deviations in (0.05, 0.35):
        spot = edge * np.exp((sign if far else -sign) * deviations * terms["vol"] * np.sqrt(terms["tau"]))
        along = edge + (spot - edge) * 0.5 * (node[:, None] + 1.0)
        gamma = american_greeks(along, **terms)["gamma"]
        gained = ((spot - edge) * 0.5 * weight[:, None] * gamma).sum(0)
        delta = american_greeks(spot, **terms)["delta"]
        assert np.abs(gained / (delta - sign) - 1.0).max() < 2e-5, deviations


def test_own_points_and_shared_ones_agree_where_they_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """From `FAR` deviations on."""
    terms = contracts()
    rows = []
    for far in (False, True):
        outside = terms["sign"] if far else -terms["sign"]
        for deviations in (0.21, 0.5):
            rows.append(boundary(far) * np.exp(outside * deviations * terms["vol"] * np.sqrt(terms["tau"])))
    shared = american_greeks(np.array(rows), **terms)
    monkeypatch.setattr(near_two_boundaries, "FAR", 2.0)
    own = american_greeks(np.array(rows), **terms)
    for name, values in own.items():
        bound = 1e-4 if name == "volga" else 2e-6
        assert np.abs(shared[name] - values).max() < bound * np.abs(values).max(), name


@pytest.mark.parametrize("after", [1e-6, 1e-4, 1e-2])
def test_just_after_the_boundaries_have_met(after: float) -> None:
    """Nothing is exercised any more, and gamma is the slope of delta where they met and around it."""
    terms = {"strike": 100.0, "vol": 0.2, "sign": -1, "rate": -0.01, "dividend_yield": -0.02}
    met, tau = 58.347726574, 1.5341873933781243
    assert not np.isnan(exercise_boundary(tau=tau * (1.0 - 1e-6), **terms))
    terms["tau"] = tau * (1.0 + after)
    assert np.isnan(exercise_boundary(**terms))
    spot = met * np.exp(np.array([-0.05, -0.01, 0.0, 0.01, 0.05]))
    ours = american_greeks(spot, **terms)
    up, down = (american_greeks(spot * (1.0 + step), **terms)["delta"] for step in (1e-4, -1e-4))
    assert ours["gamma"] == pytest.approx((up - down) / (2e-4 * spot), rel=1e-4)
    assert np.all(ours["theta"] < 0.0)
