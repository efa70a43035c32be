"""The tail of weighted needs: bounds against Poisson's own, and intervals where the quantile is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from portfolio_margin.stress.path_fund import Params, simulated_paths
from portfolio_margin.stress.weighted_tail import LEAST_EFFECTIVE, rate_bounds, tail_of, weighted_quantile


def test_the_weighted_quantile_by_counting() -> None:
    """Equal weights: the k-th largest of a hundred; half the weight of the upper ones moves it."""
    need, ones = np.arange(1.0, 101.0), np.ones(100)
    for level in (0.505, 0.905, 0.985):
        amount = weighted_quantile(need, ones, level)
        assert np.mean(need > amount) <= 1.0 - level < np.mean(need >= amount)
    lighter = np.where(need > 90.0, 0.5, ones)
    assert weighted_quantile(need, lighter, 0.945) == 90.0 > weighted_quantile(need, lighter, 0.955) - 5.0
    assert weighted_quantile(need, np.full(100, 1e-9), 0.9) == 0.0


@pytest.mark.parametrize("count", [0, 1, 3, 40])
@pytest.mark.parametrize("weight", [1.0, 0.02])
def test_equal_weights_have_the_exact_bounds_of_a_count(count: int, weight: float) -> None:
    """At the bounds, so many or more, or so few or fewer, have a probability of 2.5 %."""
    rates, variances = np.array([count * weight]), np.array([count * weight**2])
    low, high = (float(bound[0]) / weight for bound in rate_bounds(rates, variances, weight))
    assert poisson.cdf(count, high) == pytest.approx(0.025, rel=1e-9)
    assert (poisson.sf(count - 1, low) == pytest.approx(0.025, rel=1e-9)) if count else low == 0.0


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.7, 0.9, 0.97]))
def test_the_interval_by_counting_pair_by_pair(seed: int, level: float) -> None:
    """The same bounds from sums made anew for every need: lower from below, upper from above."""
    random = np.random.default_rng(seed)
    size = 2 * int(random.integers(2, 60))
    need, weight = np.round(5.0 * random.exponential(size=size)), random.uniform(0.1, 2.0, size)
    severity, rare = random.uniform(size=size), 1.0 - level
    found = tail_of(need, weight, severity, level)

    def pairs(chosen: np.ndarray) -> list[float]:
        held = np.where(chosen, weight, 0.0) / size
        return [held[k] + held[k + 1] for k in range(0, size, 2)]

    def bounds(chosen: np.ndarray, heaviest: float) -> tuple[float, float]:
        sums = pairs(chosen)
        low, high = rate_bounds(np.array([sum(sums)]), np.array([sum(s * s for s in sums)]), heaviest)
        return float(low[0]), float(high[0])

    lower = 0.0
    for value in np.unique(need):
        if not bounds(need >= value, 0.0)[0] > rare:
            break
        lower = float(value)
    assert found.low == min(lower, found.amount)
    alike = severity >= severity[need > found.low].min() if found.beyond else np.ones(size, dtype=np.bool_)
    heaviest, upper = max(pairs(alike)), np.inf
    for value in np.unique(need)[::-1]:
        if not bounds(need > value, heaviest)[1] <= rare:
            break
        upper = float(value)
    few = found.beyond > 0 and found.effective < LEAST_EFFECTIVE
    assert found.high == (np.inf if few else max(upper, found.amount))
    assert found.low <= found.amount <= found.high and found.beyond == int((need > found.amount).sum())
    assert (found.runs_needed > size) == np.isinf(found.high)


def test_with_nothing_beyond_it_is_the_rule_of_three() -> None:
    """Of independent runs of weight 1, 3.69 over the share that must be excluded; pairs may both be beyond."""
    none = np.zeros(1_000)
    found = tail_of(none, np.ones(1_000), none, 0.999)
    assert (found.amount, found.low, found.high, found.beyond, found.effective) == (0.0, 0.0, np.inf, 0, 0.0)
    assert found.runs_needed == int(np.ceil(2.0 * -np.log(0.025) / 0.001))
    size = 2 * (found.runs_needed // 2 + 1)
    assert tail_of(np.zeros(size), np.ones(size), np.zeros(size), 0.999).high == 0.0
    assert np.isinf(tail_of(np.zeros(size - 4), np.ones(size - 4), np.zeros(size - 4), 0.999).high)


def test_one_heavy_run_beyond_supports_no_bound() -> None:
    need = np.repeat([100.0, 50.0, 7.0], [2, 12, 126])
    weight = np.where(need > 90.0, 0.05, np.where(need > 10.0, 1e-4, 1.1))
    found = tail_of(need, weight, need, 0.999)
    assert (found.amount, found.low, found.high, found.beyond) == (7.0, 7.0, np.inf, 14)
    assert 1.0 < found.effective < 1.1 and found.runs_needed > 1_000


@pytest.mark.parametrize("kind", ["fall", "either way"])
def test_intervals_hold_the_quantile_of_many_paths(kind: str) -> None:
    """Of 80 draws each; a bound that is wrong in 2.5 % of them is wrong in six or more with a probability of 2 %."""

    def needs(seed: int, paths: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        drawn = simulated_paths(["BTC"], Params(days=2.0, paths=paths, seed=seed))
        move = np.log(drawn.price[:, 0])
        size = np.abs(move).max(axis=0)
        lost = -move.min(axis=0) if kind == "fall" else size + 0.01 * np.log(drawn.vol.max(axis=0))
        return np.maximum(lost - 0.05, 0.0), drawn.weight, size

    need, weight, _ = needs(7, 60_000)
    exact = weighted_quantile(need, weight, 0.99)
    found = [tail_of(*needs(100 + n, 1_120), 0.99) for n in range(80)]
    assert sum(tail.low > exact for tail in found) <= 5 and sum(tail.high < exact for tail in found) <= 5
    stated = [tail for tail in found if np.isfinite(tail.high)]
    assert len(stated) > 20 and np.median([tail.high - tail.low for tail in stated]) < 1.5 * exact
