"""Joint moves: shrinkage against the paper's formula by loops, its limits, credits of known spreads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pricing import ConfigError
from scenarios.calibrate.joint_moves import shrunk_correlation, spread_credit
from scenarios.calibrate.moves import quantile
from scenarios.calibrate.settings import Settings
from tests.naive import calibrate as naive


def test_the_intensity_is_that_of_the_paper() -> None:
    random = np.random.default_rng(1)
    rows = random.standard_t(5, (60, 4)) @ random.normal(size=(4, 4))
    found = shrunk_correlation(rows)
    correlation, intensity = naive.shrunk_correlation(rows.tolist())
    assert found.intensity == pytest.approx(intensity, rel=1e-10)
    assert found.correlation == pytest.approx(np.array(correlation), rel=1e-10)
    assert found.sample == pytest.approx(np.corrcoef(rows.T), rel=1e-10)
    assert np.diag(found.correlation) == pytest.approx(np.ones(4))
    assert np.all(np.linalg.eigvalsh(found.correlation) > 0.0)


def test_more_history_shrinks_less_and_noise_shrinks_away() -> None:
    random = np.random.default_rng(2)
    common = random.normal(size=(4000, 1))
    rows = 0.9 * common + 0.5 * random.normal(size=(4000, 5))
    short, long = (shrunk_correlation(rows[:n]).intensity for n in (50, 4000))
    assert long < 0.01 < short
    noise = shrunk_correlation(random.normal(size=(30, 20)))
    assert noise.intensity > 0.8
    truth = np.eye(20)
    assert np.sum((noise.correlation - truth) ** 2) < 0.1 * np.sum((noise.sample - truth) ** 2)
    for bad in (np.zeros((10, 2)), np.ones((2, 2)), np.arange(5.0)):
        with pytest.raises(ConfigError, match="needs three rows"):
            shrunk_correlation(bad)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_credits_of_normal_moves(correlation: float) -> None:
    random = np.random.default_rng(3)
    factor = np.array([[1.0, 0.0], [correlation, np.sqrt(1.0 - correlation**2)]])
    moves = 1e-4 * random.normal(size=(8000, 2)) @ factor.T
    z = float(stats.norm.ppf(0.995))
    settings = Settings(horizon_days=1, draws=40)
    found = spread_credit(moves[:, 0], moves[:, 1], (z * 1e-4, z * 1e-4), settings)
    # The spread has the variance 2 (1 - correlation) in units of a leg's.
    assert found.credit.value == pytest.approx(1.0 - 0.5 * np.sqrt(2.0 * (1.0 - correlation)), abs=0.03)
    assert found.credit.low <= found.credit.value <= found.credit.high
    assert found.granted == max(found.credit.low, 0.0)
    assert found.worst <= found.credit.value
    against = spread_credit(moves[:, 0], -3.0 * moves[:, 0], (z * 1e-4, z * 1e-4), settings)
    assert against.granted == 0.0


@pytest.mark.parametrize("first", [0, 7, 135])
def test_the_worst_year_is_looked_for_on_every_day(first: int) -> None:
    """Four wide days, which only one stretch of 365 days has all of: the fourth largest is the quantile of a year."""
    spread = np.random.default_rng(first).uniform(0.0, 0.01, 500)
    spread[first + np.array([0, 100, 200, 364])] = 0.02
    found = spread_credit(np.log1p(spread), np.zeros(500), (0.04, 0.04), Settings(horizon_days=1, draws=20))
    assert found.worst == pytest.approx(1.0 - 0.5 * 0.02 / 0.04, rel=1e-2)
    years = [1.0 - 0.5 * quantile(spread[n : n + 365] / 0.04, 0.99) for n in range(136)]
    assert found.worst == pytest.approx(min(years), rel=1e-12) and sorted(years)[1] > found.worst + 0.05
