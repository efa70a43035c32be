"""The worst move of an ellipsoid against published vectors, every point of a fine grid, and identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.errors import ConfigError, DataError, InfeasibleError
from scenarios.plausible import (
    WorstCase,
    chi_square_radius,
    linear_worst_case,
    most_plausible_loss,
    outside_probability,
    quadratic_worst_case,
)
from tests.vectors import literature_vectors

ANGLES = np.linspace(0.0, 2.0 * np.pi, 1_001)
SHARES = np.linspace(0.0, 1.0, 51)[:, None]


def agrees(found: WorstCase, expected: dict, tolerance: dict) -> None:
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=tolerance[name]["rel"], abs=1e-14), name


def test_published_linear_worst_cases() -> None:
    for v in literature_vectors("linear_worst_case"):
        i = v["inputs"]
        agrees(linear_worst_case(i["exposures"], i["covariance"], i["radius"]), v["expected"], v["tolerance"])


def test_published_quadratic_worst_cases() -> None:
    for v in literature_vectors("quadratic_worst_case"):
        i = v["inputs"]
        found = quadratic_worst_case(i["delta"], i["gamma"], i["covariance"], i["radius"])
        agrees(found, v["expected"], v["tolerance"])


def drawn(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """delta, gamma and covariance of a random book."""
    random = np.random.default_rng(seed)
    gamma, root = random.normal(size=(2, count, count))
    return random.normal(size=count), gamma + gamma.T, root @ root.T + 0.01 * np.eye(count)


def brute(delta: np.ndarray, gamma: np.ndarray, covariance: np.ndarray, radius: float) -> float:
    """The largest loss at the points of a fine polar grid of a two-dimensional ellipsoid."""
    circle = SHARES[..., None] * radius * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)
    moves = circle.reshape(-1, 2) @ np.linalg.cholesky(covariance).T
    return float(-(moves @ delta + 0.5 * np.einsum("ni,ij,nj->n", moves, gamma, moves)).min())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 10.0))
def test_no_point_of_a_fine_grid_is_worse(seed: int, radius: float) -> None:
    delta, gamma, covariance = drawn(seed, 2)
    found, grid = quadratic_worst_case(delta, gamma, covariance, radius), brute(delta, gamma, covariance, radius)
    steepest = np.abs(np.linalg.eigvalsh(gamma)).max() * np.trace(covariance) * radius**2 + found.max_loss
    assert grid <= found.max_loss * (1.0 + 1e-12) + 1e-12
    assert grid >= found.max_loss - 1e-3 * steepest


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.floats(0.01, 100.0))
def test_conditions_of_the_optimum(seed: int, count: int, radius: float) -> None:
    """More and Sorensen: stationary, positive semidefinite, complementary; together they prove the global optimum."""
    delta, gamma, covariance = drawn(seed, count)
    found = quadratic_worst_case(delta, gamma, covariance, radius)
    inverse, move = np.linalg.inv(covariance), found.worst_scenario
    size = np.abs(gamma).max() * np.abs(move).max() + np.abs(delta).max()
    residual = delta + gamma @ move + found.multiplier * inverse @ move
    assert np.abs(residual).max() <= 1e-7 * size * np.linalg.cond(covariance) ** 0.5
    root = np.linalg.cholesky(covariance)
    assert np.linalg.eigvalsh(root.T @ gamma @ root).min() + found.multiplier >= -1e-9 * np.abs(gamma).max() * count
    assert found.multiplier >= 0.0
    assert found.distance == pytest.approx(radius, rel=1e-9) or (found.multiplier == 0.0 and found.distance < radius)
    assert found.distance**2 == pytest.approx(move @ inverse @ move, rel=1e-6, abs=1e-12)
    assert found.euler_contributions.sum() == pytest.approx(found.max_loss, rel=1e-9, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0), st.floats(0.1, 10.0))
def test_homogeneous_in_the_book(seed: int, scale: float, radius: float) -> None:
    delta, gamma, covariance = drawn(seed, 3)
    once = quadratic_worst_case(delta, gamma, covariance, radius)
    often = quadratic_worst_case(scale * delta, scale * gamma, covariance, radius)
    assert often.max_loss == pytest.approx(scale * once.max_loss, rel=1e-9)
    assert often.worst_scenario == pytest.approx(once.worst_scenario, rel=1e-5, abs=1e-6 * radius)


def test_without_gamma_it_is_the_linear_case() -> None:
    delta, _, covariance = drawn(3, 4)
    linear = linear_worst_case(delta, covariance, 2.5)
    quadratic = quadratic_worst_case(delta, np.zeros((4, 4)), covariance, 2.5)
    assert quadratic.max_loss == pytest.approx(linear.max_loss, rel=1e-13)
    assert quadratic.worst_scenario == pytest.approx(linear.worst_scenario, rel=1e-10)
    assert quadratic.multiplier == pytest.approx(linear.multiplier, rel=1e-12)


def test_the_multiplier_is_what_more_radius_costs() -> None:
    delta, gamma, covariance = drawn(5, 3)
    step = 1e-5
    wider, tighter = (quadratic_worst_case(delta, gamma, covariance, 2.0 + h).max_loss for h in (step, -step))
    found = quadratic_worst_case(delta, gamma, covariance, 2.0)
    assert (wider - tighter) / (2.0 * step) == pytest.approx(2.0 * found.multiplier, rel=1e-6)


def test_the_hard_case() -> None:
    """Short straddles on two underlyings, delta-neutral: up and down are as bad."""
    found = quadratic_worst_case([0.0, 0.0], [[-3.0, 0.0], [0.0, -1.0]], np.eye(2), 2.0)
    assert found.max_loss == pytest.approx(6.0)
    assert np.abs(found.worst_scenario) == pytest.approx([2.0, 0.0])
    assert found.multiplier == pytest.approx(3.0)
    beside = quadratic_worst_case([0.0, 1.0], [[-3.0, 0.0], [0.0, -1.0]], np.eye(2), 2.0)
    # y2 = -1 / (3 - 1), the rest of the length along the first axis.
    assert beside.worst_scenario[1] == pytest.approx(-0.5)
    assert beside.max_loss == pytest.approx(0.5 * 3.0 * (4.0 - 0.25) + 0.5 + 0.5 * 0.25)
    nearly = quadratic_worst_case([1e-13, 1.0], [[-3.0, 0.0], [0.0, -1.0]], np.eye(2), 2.0)
    assert nearly.max_loss == pytest.approx(beside.max_loss, rel=1e-11)


def test_a_long_straddle_loses_nothing_and_a_bowl_its_depth() -> None:
    assert quadratic_worst_case([0.0], [[2.0]], [[1.0]], 3.0).max_loss == 0.0
    inside = quadratic_worst_case([1.0, 0.0], [[4.0, 0.0], [0.0, 0.0]], np.eye(2), 3.0)
    assert inside.max_loss == pytest.approx(0.125)
    assert inside.multiplier == 0.0 and inside.distance == pytest.approx(0.25)


def test_covariances_of_less_than_full_rank() -> None:
    """Two factors that move as one are one factor of their sums; what does not move costs nothing."""
    both = quadratic_worst_case([1.0, 2.0, 9.0], np.diag([-1.0, 0.0, -5.0]), [[1, 1, 0], [1, 1, 0], [0, 0, 0]], 2.0)
    one = quadratic_worst_case([3.0], [[-1.0]], [[1.0]], 2.0)
    assert both.max_loss == pytest.approx(one.max_loss, rel=1e-12)
    assert both.worst_scenario == pytest.approx([-2.0, -2.0, 0.0])
    assert linear_worst_case([1.0, -1.0], [[1.0, 1.0], [1.0, 1.0]], 2.0).max_loss == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 8.0))
def test_reverse_stress_inverts_the_worst_case(seed: int, radius: float) -> None:
    delta, gamma, covariance = drawn(seed, 3)
    worst = quadratic_worst_case(delta, gamma, covariance, radius)
    nearest = most_plausible_loss(delta, gamma, covariance, worst.max_loss)
    assert nearest.max_loss == pytest.approx(worst.max_loss, rel=1e-9)
    assert nearest.distance == pytest.approx(worst.distance, rel=1e-6)


def test_plausibility_falls_with_the_factors() -> None:
    radii = [chi_square_radius(0.99, n) for n in (1, 2, 10)]
    assert radii[0] == pytest.approx(2.5758293035489004)
    assert radii[1] == pytest.approx(np.sqrt(-2.0 * np.log(0.01)))
    assert radii == sorted(radii)
    assert [outside_probability(r, n) for r, n in zip(radii, (1, 2, 10), strict=True)] == pytest.approx([0.01] * 3)


def test_refusals() -> None:
    with pytest.raises(InfeasibleError, match=r"largest loss is 0\.125"):
        most_plausible_loss([1.0], [[4.0]], [[1.0]], 1.0)
    with pytest.raises(DataError, match="variance in some direction"):
        linear_worst_case([1.0, 1.0], [[1.0, 2.0], [2.0, 1.0]], 1.0)
    with pytest.raises(DataError, match=r"gamma\[0,1\] and \[1,0\] = \(1.0, 0.0\): must be equal"):
        quadratic_worst_case([1.0, 1.0], [[0.0, 1.0], [0.0, 0.0]], np.eye(2), 1.0)
    with pytest.raises(DataError, match="row 1, delta = nan"):
        quadratic_worst_case([1.0, np.nan], np.eye(2), np.eye(2), 1.0)
    with pytest.raises(DataError, match="must be 2 x 2"):
        linear_worst_case([1.0, 1.0], np.eye(3), 1.0)
    for radius in (0.0, -1.0, np.nan, 1e9):
        with pytest.raises(ConfigError, match="radius"):
            linear_worst_case([1.0], [[1.0]], radius)
    for loss in (0.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match="loss"):
            most_plausible_loss([1.0], [[1.0]], [[1.0]], loss)
    with pytest.raises(ConfigError, match="confidence"):
        chi_square_radius(1.0, 2)
    with pytest.raises(ConfigError, match="factors"):
        outside_probability(1.0, 0)
