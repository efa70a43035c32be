"""Quantiles of delta-gamma P&L against published numbers, closed laws, simulation and numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chi2, gamma, ncx2, norm

from pricing.errors import ConfigError, DataError
from scenarios.delta_gamma import delta_gamma_cumulants, delta_gamma_probability, delta_gamma_quantile
from tests.vectors import literature_vectors


def drawn(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """delta, gamma and covariance of a random book."""
    random = np.random.default_rng(seed)
    bent, root = random.normal(size=(2, count, count))
    return random.normal(size=count) * random.choice([0.3, 1.0, 3.0]), bent + bent.T, root @ root.T


def test_published_quantiles() -> None:
    for v in literature_vectors("delta_gamma_quantile"):
        i = v["inputs"]
        found = delta_gamma_quantile(i["delta"], i["gamma"], i["covariance"], i["quantile_of_pnl"])
        assert found == pytest.approx(v["expected"]["pnl_quantile"], rel=v["tolerance"]["pnl_quantile"]["rel"])


@pytest.mark.parametrize("probability", [1e-9, 0.01, 0.5, 0.99, 1.0 - 1e-9])
def test_one_factor(probability: float) -> None:
    """A square of a shifted normal, up and down, and a normal."""
    up = delta_gamma_quantile([3.0], [[2.0]], [[4.0]], probability)
    # P&L = 6 y + 4 y^2 = 4 (y + 0.75)^2 - 2.25
    assert up == pytest.approx(4.0 * ncx2.ppf(probability, 1, 0.75**2) - 2.25, rel=1e-7, abs=1e-9)
    down = delta_gamma_quantile([0.0], [[-2.0]], [[4.0]], probability)
    assert down == pytest.approx(-4.0 * chi2.isf(probability, 1), rel=1e-9)
    flat = delta_gamma_quantile([-3.0], [[0.0]], [[4.0]], probability)
    assert flat == pytest.approx(6.0 * norm.ppf(probability), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("probability", [1e-9, 0.001, 0.3, 0.99, 1.0 - 1e-6])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_many_equal_factors(count: int, probability: float) -> None:
    square = delta_gamma_quantile(np.zeros(count), np.eye(count), np.eye(count), probability)
    assert square == pytest.approx(0.5 * chi2.ppf(probability, count), rel=1e-8)
    short = delta_gamma_quantile(np.ones(count), -np.eye(count), np.eye(count), probability)
    assert short == pytest.approx(0.5 * count - 0.5 * ncx2.isf(probability, count, count), rel=1e-7, abs=1e-9)


def test_two_curvatures_of_opposite_sign() -> None:
    """y1^2 / 2 + y2^2 / 2 - y3^2 / 2 - y4^2 / 2 is the difference of two exponential laws: a Laplace law."""
    signs = np.diag([1.0, 1.0, -1.0, -1.0])
    for probability in (1e-10, 0.01, 0.4):
        found = delta_gamma_quantile(np.zeros(4), signs, np.eye(4), probability)
        assert found == pytest.approx(np.log(2.0 * probability), rel=1e-9)
    # With four factors of one curvature a gamma law of shape 2.
    assert delta_gamma_quantile(np.zeros(4), np.eye(4), np.eye(4), 0.01) == pytest.approx(gamma.ppf(0.01, 2.0))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 0.01, 0.2, 0.7]))
def test_two_factors_by_integration(seed: int, probability: float) -> None:
    """Given one factor, the other is a quadratic of one normal: its law is closed, and is integrated over the first."""
    slope, curvature = np.random.default_rng(seed).normal(size=(2, 2))
    x = delta_gamma_quantile(slope, np.diag(curvature), np.eye(2), probability)

    def given_the_first(y: float) -> float:
        left = x - slope[0] * y - 0.5 * curvature[0] * y * y
        square = slope[1] ** 2 + 2.0 * curvature[1] * left
        if square <= 0.0:
            return 0.0 if curvature[1] > 0.0 else float(norm.pdf(y))
        low, high = sorted((-slope[1] + side * np.sqrt(square)) / curvature[1] for side in (-1.0, 1.0))
        inside = norm.cdf(high) - norm.cdf(low) if low < 0.0 else norm.sf(low) - norm.sf(high)
        return float(norm.pdf(y) * (inside if curvature[1] > 0.0 else norm.cdf(low) + norm.sf(high)))

    kinks = np.roots([0.5 * curvature[0], slope[0], -x - 0.5 * slope[1] ** 2 / curvature[1]])
    points = sorted({float(k.real) for k in kinks if abs(k.imag) < 1e-12 and abs(k.real) < 12.0})
    total = quad(given_the_first, -12.0, 12.0, points=points or None, limit=500, epsabs=0.0, epsrel=1e-9)[0]
    assert total == pytest.approx(probability, rel=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_simulation(seed: int, count: int) -> None:
    delta, bent, covariance = drawn(seed, count)
    moves = np.random.default_rng(seed + 1).multivariate_normal(np.zeros(count), covariance, 100_000)
    pnl = moves @ delta + 0.5 * np.einsum("ni,ij,nj->n", moves, bent, moves)
    for probability in (0.01, 0.5, 0.95):
        share = np.mean(pnl <= delta_gamma_quantile(delta, bent, covariance, probability))
        assert abs(share - probability) < 5.0 * np.sqrt(probability * (1.0 - probability) / len(pnl))
    moments = delta_gamma_cumulants(delta, bent, covariance)
    assert moments.mean == pytest.approx(0.5 * np.trace(bent @ covariance))
    assert moments.variance == pytest.approx(pnl.var(), rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.001, 0.999), st.floats(0.01, 100.0))
def test_properties(seed: int, count: int, probability: float, scale: float) -> None:
    """Homogeneous in the book, mirrored by the short book, inverse to the probability, rising."""
    delta, bent, covariance = drawn(seed, count)
    found = delta_gamma_quantile(delta, bent, covariance, probability)
    size = np.sqrt(delta_gamma_cumulants(delta, bent, covariance).variance)
    assert delta_gamma_quantile(scale * delta, scale * bent, covariance, probability) == pytest.approx(
        scale * found, rel=1e-7, abs=1e-8 * scale * size
    )
    assert -delta_gamma_quantile(-delta, -bent, covariance, 1.0 - probability) == pytest.approx(
        found, rel=1e-7, abs=1e-8 * size
    )
    assert delta_gamma_probability(delta, bent, covariance, found) == pytest.approx(probability, rel=1e-6)
    assert delta_gamma_quantile(delta, bent, covariance, 0.5 * probability) < found


def test_cornish_fisher() -> None:
    """Exact for a normal P&L, close where gamma is small; for pure gamma off by a factor of thousands, as published."""
    delta, covariance = [1.0, 2.0], [[1.0, 0.3], [0.3, 2.0]]
    flat, method = np.zeros((2, 2)), "cornish_fisher"
    normal = delta_gamma_quantile(delta, flat, covariance, 0.01, method=method)
    assert normal == pytest.approx(delta_gamma_quantile(delta, flat, covariance, 0.01), rel=1e-9)
    slight = 0.05 * np.eye(2)
    exact = delta_gamma_quantile(delta, slight, covariance, 0.01)
    assert delta_gamma_quantile(delta, slight, covariance, 0.01, method=method) == pytest.approx(exact, rel=1e-4)
    corrected = delta_gamma_quantile(delta, slight, covariance, 0.01, method=method)
    assert abs(normal - exact) > 10.0 * abs(corrected - exact)
    short = ([0.0], [[-1.0]], [[1e4]], 0.99)
    assert delta_gamma_quantile(*short, method=method) == pytest.approx(-4707.9, abs=0.05)
    assert delta_gamma_quantile(*short) == pytest.approx(-0.785, abs=5e-4)


def test_nothing_moves() -> None:
    assert delta_gamma_quantile([1.0], [[1.0]], [[0.0]], 0.01) == 0.0
    assert delta_gamma_probability([0.0], [[0.0]], [[1.0]], -1.0) == 0.0


def test_refusals() -> None:
    for probability in (0.0, 1.0, -1.0, np.nan):
        with pytest.raises(ConfigError, match="probability"):
            delta_gamma_quantile([1.0], [[1.0]], [[1.0]], probability)
    with pytest.raises(ConfigError, match="method"):
        delta_gamma_quantile([1.0], [[1.0]], [[1.0]], 0.01, method="normal")
    with pytest.raises(ConfigError, match="pnl"):
        delta_gamma_probability([1.0], [[1.0]], [[1.0]], np.nan)
    with pytest.raises(DataError, match="covariance"):
        delta_gamma_quantile([1.0], [[1.0]], [[-1.0]], 0.01)
