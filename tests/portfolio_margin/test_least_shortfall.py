"""Portfolios of least expected shortfall against the published ones, the other method, and every neighbour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.least_shortfall import min_cvar_of_scenarios, min_cvar_portfolio
from pricing import ConfigError, DataError, NumericalError
from pricing.errors import InfeasibleError
from scenarios.backtest.shortfall import normal_tail
from tests.vectors import literature_vectors


def test_published_portfolios() -> None:
    for v in literature_vectors("min_cvar_portfolio"):
        i = v["inputs"]
        names = ("confidence", "required_return", "budget", "long_only")
        found = min_cvar_portfolio(i["mean"], i["covariance"], **{name: i[name] for name in names})
        for name, value in v["expected"].items():
            assert getattr(found, name) == pytest.approx(value, abs=v["tolerance"][name]["abs"]), name


def drawn(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of random returns."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(count, count + 2)) * 0.1
    return random.normal(0.01, 0.02, count), root @ root.T


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.1, 0.9), st.booleans())
def test_no_other_portfolio_is_better(seed: int, count: int, share: float, required: bool) -> None:
    mean, covariance = drawn(seed, count)
    least = float(share * mean.max() + (1.0 - share) * mean.min()) if required else None
    found = min_cvar_portfolio(mean, covariance, confidence=0.975, required_return=least, budget=2.0)
    assert found.weights.sum() == pytest.approx(2.0, rel=1e-9) and found.weights.min() >= 0.0
    others = 2.0 * np.random.default_rng(seed).dirichlet(np.full(count, 0.5), 2_000)
    mixed = 0.99 * found.weights + 0.01 * others
    for weights in (others, mixed):
        fit = weights if least is None else weights[weights @ mean >= least]
        deviations = np.sqrt(np.einsum("wi,ij,wj->w", fit, covariance, fit))
        shortfalls = normal_tail(fit @ mean, deviations, 0.975).expected_shortfall
        assert shortfalls.min(initial=np.inf) >= found.cvar - 1e-8
    if least is not None:
        assert found.mean >= least - 1e-9


def test_short_sales_by_hand() -> None:
    """Two assets of one variance, uncorrelated, and a return that binds: the weights are those that reach it."""
    found = min_cvar_portfolio(
        [0.0, 0.1], [[1.0, 0.0], [0.0, 1.0]], confidence=0.99, required_return=0.2, long_only=False
    )
    assert found.weights == pytest.approx([-1.0, 2.0])
    assert found.cvar == pytest.approx(normal_tail(0.2, np.sqrt(5.0), 0.99).expected_shortfall)


def test_scenarios_of_a_normal_law_approach_it() -> None:
    (vector, *_) = literature_vectors("min_cvar_portfolio")
    i = vector["inputs"]
    half = np.random.default_rng(3).multivariate_normal(np.zeros(3), i["covariance"], 10_000)
    returns = np.concatenate([half, -half]) + np.array(i["mean"])
    found = min_cvar_of_scenarios(returns, confidence=i["confidence"], required_return=i["required_return"])
    assert found.weights == pytest.approx(vector["expected"]["weights"], abs=0.05)
    losses = np.sort(-(returns @ found.weights))
    tail = round(len(losses) * (1.0 - i["confidence"]))
    # The standard error of a sample's expected shortfall (Manistre and Hancock 2005).
    square = losses[-tail:].var() + i["confidence"] * (found.cvar - found.value_at_risk) ** 2
    assert found.cvar == pytest.approx(vector["expected"]["cvar"], abs=4.0 * np.sqrt(square / tail))
    assert found.cvar == pytest.approx(losses[-tail:].mean(), rel=1e-7)
    assert losses[-tail - 1] - 1e-9 <= found.value_at_risk <= losses[-tail] + 1e-9


def test_refusals() -> None:
    terms = {"confidence": 0.95}
    with pytest.raises(InfeasibleError, match=r"largest return is 0\.02"):
        min_cvar_portfolio([0.01, 0.02], np.eye(2), required_return=0.03, **terms)
    with pytest.raises(InfeasibleError, match=r"largest return is 0\.02"):
        min_cvar_of_scenarios([[0.01, 0.02]], required_return=0.03, **terms)
    with pytest.raises(NumericalError):
        min_cvar_of_scenarios([[0.0, 1.0], [0.0, 2.0]], long_only=False, **terms)
    with pytest.raises(DataError, match="positive definite"):
        min_cvar_portfolio([0.0, 0.1], np.ones((2, 2)), **terms)
    with pytest.raises(DataError, match="mean"):
        min_cvar_portfolio([np.nan], [[1.0]], **terms)
    for confidence in (0.5, 1.0, np.nan):
        with pytest.raises(ConfigError, match="confidence"):
            min_cvar_portfolio([0.1], [[1.0]], confidence=confidence)
