"""The exact butterfly decision against a dense scan, Martini and Mingone's bound, and slices fitted by others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pricing.arbitrage import butterfly_minimum, wing_slopes
from pricing.butterfly import butterfly_free, largest_psi, mass_interval, smallest_sigma
from pricing.polynomials import never_negative
from pricing.surfaces import ssvi, svi
from tests.vectors import data_file

VOGT = np.array([-0.041, 0.1331, 0.306, 0.3586, 0.4153])


def random_slices(count: int, seed: int) -> np.ndarray:
    """Slices with w > 0 over five orders of magnitude, wing slopes up to and above 2, m far out or near."""
    random = np.random.default_rng(seed)
    left, right = random.uniform(1e-3, 2.2, (2, count)) * 10.0 ** random.uniform(-2.0, 0.0, (1, count))
    lowest, sigma = 10.0 ** random.uniform(-5.0, 0.5, count), 10.0 ** random.uniform(-2.5, 1.0, count)
    m = random.uniform(-1.5, 1.5, count) * 10.0 ** random.uniform(-2.0, 0.5, count)
    b, rho = 0.5 * (left + right), (right - left) / (left + right)
    return np.stack([lowest - sigma * np.sqrt(left * right), b, rho, m, sigma], axis=1)


def scanned(slices: np.ndarray) -> np.ndarray:
    """(X,) smallest g on a dense scan reaching 1e7 sigmas out, and in both wing limits."""
    t = np.linspace(-17.0, 17.0, 20_001)
    lowest = []
    for row in slices:
        g = svi.butterfly_g(np, row[3] + row[4] * np.sinh(t), *row)
        lowest.append(min(g.min(), (0.25 - wing_slopes(row)[0] ** 2 / 16.0).min()))
    return np.array(lowest)


def test_the_decision_agrees_with_a_dense_scan(report_vectors: Callable[..., None]) -> None:
    slices = random_slices(400, 7)
    g, free = scanned(slices), butterfly_free(slices)
    assert np.array_equal(free, g >= 0)
    assert np.array_equal(free, butterfly_minimum(slices).value >= 0)
    assert 30 < free.sum() < 370
    report_vectors(len(slices), np.abs(g).min(), "of g, nearest to the boundary")


def test_the_decision_agrees_with_martini_and_mingone() -> None:
    slices = random_slices(400, 8)
    a, b, rho, m, sigma = slices.T
    assert np.array_equal(butterfly_free(slices), sigma >= smallest_sigma(a / sigma, b, rho, m / sigma))


@pytest.mark.parametrize("closeness", [1e-3, 1e-6, 1e-9])
def test_the_boundary_is_where_martini_and_mingone_put_it(closeness: float) -> None:
    """Scaled just above sigma* a slice is free, just below it is not: adversarial slices with g of that size."""
    a, b, rho, m, sigma = random_slices(150, 9).T
    smallest = smallest_sigma(a / sigma, b, rho, m / sigma)
    shape = np.stack([a / sigma, b, rho, m / sigma, np.ones(len(a))], axis=1)[np.isfinite(smallest) & (smallest > 0)]
    smallest = smallest[np.isfinite(smallest) & (smallest > 0)]
    assert len(smallest) > 30
    for side in (1.0, -1.0):
        scaled = shape.copy()
        scaled[:, [0, 3, 4]] *= (smallest * (1.0 + side * closeness))[:, None]
        assert np.all(butterfly_free(scaled) == (side > 0))


def test_no_sigma_frees_a_slice_outside_the_interval() -> None:
    a, b, rho, _, sigma = random_slices(60, 10).T
    alpha = a / sigma
    low, high = mass_interval(alpha, b, rho)
    steep = b * (1.0 + np.abs(rho)) <= 2.0
    for mu, inside in ((low - 1e-3, False), (high + 1e-3, False), (0.5 * (low + high), True)):
        assert np.array_equal(np.isfinite(smallest_sigma(alpha, b, rho, mu)), steep & inside & (low < high))


def test_what_is_no_slice_is_not_free() -> None:
    rows = {
        "as fitted by Vogt": (VOGT, False),
        "flat": (np.array([0.04, 0.0, 0.0, 0.0, 1.0]), True),
        "flat at nothing": (np.array([0.0, 0.0, 0.0, 0.0, 1.0]), False),
        "variance below 0": (np.array([-0.05, 0.2, 0.1, 0.3, 0.2]), False),
        "variance touches 0": (np.array([-0.05, 0.25, 0.0, 0.0, 0.2]), False),
        "a falling smile": (np.array([0.04, -0.1, 0.0, 0.0, 0.2]), False),
        "no correlation": (np.array([0.04, 0.1, 1.1, 0.0, 0.2]), False),
        "a kink": (np.array([0.04, 0.1, 0.0, 0.0, 0.0]), False),
        "one wing flat": (np.array([0.04, 0.1, -1.0, 0.0, 0.2]), True),
        "missing": (np.full(5, np.nan), False),
        "right wing at Lee's bound": (np.array([1.0, 1.0, 1.0, 0.0, 1.0]), False),
        "left wing at Lee's bound": (np.array([4.0, 1.0, -1.0, 0.0, 1.0]), True),
    }
    found = butterfly_free(np.array([row for row, _ in rows.values()]))
    assert dict(zip(rows, found.tolist(), strict=True)) == {name: free for name, (_, free) in rows.items()}


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=4), st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_signs_of_polynomials_with_known_roots(roots: list[int], doubled: int) -> None:
    """prod (u - r), some of them squared: below 0 somewhere on u > 0 exactly if a positive root has an odd power."""
    powers = dict.fromkeys(roots, 0)
    coefficients = np.array([1], dtype=object)
    for at, root in enumerate(roots):
        power = 2 if at < doubled else 1
        powers[root] += power
        for _ in range(power):
            coefficients = np.convolve(coefficients, np.array([-root, 1], dtype=object))
    free = not any(root > 0 and power % 2 for root, power in powers.items())
    assert never_negative([int(value) for value in coefficients]) == free


@given(st.floats(1e-3, 1.0), st.floats(-0.95, 0.95))
@settings(max_examples=25, deadline=None)
def test_the_largest_psi_is_the_boundary(theta: float, rho: float) -> None:
    largest = largest_psi(theta, rho)
    assume(largest < 3.99 / (1.0 + abs(rho)))
    for closeness, free in ((-1e-6, True), (1e-6, False)):
        phi = largest * (1.0 + closeness) / theta
        assert butterfly_free(np.array(ssvi.to_raw(np, theta, rho, phi)))[0] == free


@pytest.mark.data
def test_slices_fitted_by_others_are_flagged_where_they_should(report_vectors: Callable[..., None]) -> None:
    """The nine slices that show it on |k| <= 1.5 and two more of the same set that show it farther out."""
    import pandas as pd

    table = pd.read_csv(data_file("surface_params/svi_params.csv"))
    slices = table[["a", "b", "rho", "m", "sigma"]].to_numpy()
    flagged = ~butterfly_free(slices)
    assert flagged[table["min_g"] < 0].sum() == 9
    assert np.array_equal(flagged, scanned(slices) < 0)
    assert set(table["set"][flagged]) == {"SPY_2011-04-07_svi_unifiedvol"}
    report_vectors(len(table), flagged.sum(), "slices flagged")
