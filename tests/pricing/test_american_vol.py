"""The vol an American price implies: round trips, a plain bisection, the ends of the range, and what has no vol."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import ConfigError, DataError, NumericalError, Status, implied_vol, price
from pricing.american_vol import RESOLUTION, STATED
from pricing.price import BACKENDS


def sample(size: int, seed: int = 7) -> tuple[np.ndarray, ...]:
    """forward, strike, tau, vol, sign, discount: vols 10-90 %, a week to two years, rates -2 to 8 %."""
    random = np.random.default_rng(seed)
    forward, tau = 10 ** random.uniform(0, 4, size), random.uniform(7, 730, size) / 365
    strike, vol = forward * np.exp(random.normal(0, 0.2, size)), random.uniform(0.1, 0.9, size)
    return forward, strike, tau, vol, random.choice([-1.0, 1.0], size), np.exp(-random.uniform(-0.02, 0.08, size) * tau)


def american(
    vol: object, terms: tuple[np.ndarray, ...], accuracy: str = "default", backend: str = "numba"
) -> np.ndarray:
    forward, strike, tau, sign, discount = terms
    return price(forward, strike, tau, vol, sign, discount, model="american", accuracy=accuracy, backend=backend)


@pytest.mark.parametrize(
    ("backend", "accuracy", "size"),
    [
        ("numba", "fast", 2_000),
        ("numba", "default", 1_000),
        ("numba", "accurate", 60),
        ("numpy", "fast", 80),
        ("jax", "fast", 12),
    ],
)
def test_round_trips(backend: str, accuracy: str, size: int) -> None:
    """Every vol comes back, or the error of the scheme would move it too far, as the price's own slope says."""
    forward, strike, tau, vol, sign, discount = sample(size)
    terms = (forward, strike, tau, sign, discount)
    value = american(vol, terms, accuracy, backend)
    found, status = implied_vol(value, *terms, model="american", accuracy=accuracy, backend=backend)
    good = status == Status.OK
    assert good.mean() > 0.9
    assert np.max(np.abs(found - vol)[good]) < 1e-9
    assert set(status[~good]) <= {Status.NOT_DETERMINED}
    assert np.isnan(found[~good]).all()
    rest = tuple(column[~good] for column in terms)
    moved = american(vol[~good] + 0.5 * RESOLUTION, rest, accuracy, backend) - value[~good]
    assert np.all(moved < 2.0 * STATED[accuracy] * np.maximum(rest[0], rest[1]))


def test_against_plain_bisection() -> None:
    forward, strike, tau, vol, sign, discount = sample(40, seed=8)
    terms = (forward, strike, tau, sign, discount)
    value = american(vol, terms) * 1.01
    found, status = implied_vol(value, *terms, model="american")
    low, high = np.full(40, 1e-3), np.full(40, 3.0)
    for _ in range(45):
        middle = 0.5 * (low + high)
        above = american(middle, terms) > value
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    good = status == Status.OK
    assert good.sum() > 30
    assert np.max(np.abs(found - low)[good]) < 1e-6


def test_without_early_exercise_it_is_the_european_vol() -> None:
    own, european = (implied_vol(8.0, 100.0, 100.0, 1.0, 1, 1.05, model=model) for model in ("american", "black76"))
    assert own[0] == european[0] and own[1] == Status.OK


def test_prices_without_a_vol_and_company() -> None:
    value = [8.0, 9.0, 10.0, 101.0, 8.0, np.nan, 98.0]
    forward = [100.0, 110.0, 110.0, 100.0, 100.0, 100.0, 100.0]
    tau = [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    found, status = implied_vol(value, forward, 100.0, tau, 1, 0.95, model="american")
    expected = ["OK", "BELOW_INTRINSIC", "NOT_DETERMINED", "ABOVE_MAXIMUM", "EXPIRED", "NOT_FINITE", "NOT_DETERMINED"]
    assert [Status(code).name for code in status] == expected
    alone, _ = implied_vol(8.0, 100.0, 100.0, 1.0, 1, 0.95, model="american")
    assert alone == found[0]
    clipped, _ = implied_vol(value, forward, 100.0, tau, 1, 0.95, model="american", on_error="clip")
    assert list(clipped[1:4]) == [0.0, 0.0, np.inf]
    with pytest.raises(DataError, match=r"implied_vol, row 1, price = 9\.0: below the intrinsic value"):
        implied_vol(value, forward, 100.0, tau, 1, 0.95, model="american", on_error="raise")
    with pytest.raises(NumericalError, match="too close to an end"):
        implied_vol(10.0, 110.0, 100.0, 1.0, 1, 0.95, model="american", on_error="raise")


def test_accuracies_are_those_of_the_model() -> None:
    with pytest.raises(ConfigError, match="accuracy = 'best'"):
        implied_vol(8.0, 100.0, 100.0, 1.0, 1, model="american", accuracy="best")
    with pytest.raises(ConfigError, match="belongs to the model 'american', not to 'black76'"):
        implied_vol(8.0, 100.0, 100.0, 1.0, 1, accuracy="fast")


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_asked_nothing_found(backend: str) -> None:
    found, status = implied_vol([], 100.0, 100.0, 1.0, 1, model="american", backend=backend)
    assert found.shape == status.shape == (0,)
