"""The weight law of far moves: the mean loss of a wing against a closed form and a simulation, and what it covers."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tail_weights import (
    mean_wing_loss,
    needed_power,
    tail_weights,
    threshold_diagnostics,
    wing_factor,
)
from scenarios.calibrate.tails import Tail
from tests.scenarios.calibrate.histories import pareto_innovations

TAIL = Tail(0.05, 0.15, 0.03, 300, 3000, 0.0)


def test_the_mean_loss_of_a_wing() -> None:
    """With moves small enough that logarithm and relative move are one, it is the mean excess of the tail."""
    small = Tail(0.0005, 0.15, 0.0003, 300, 3000, 0.0)
    strike = 0.0015
    mean_excess = (small.scale + small.shape * (strike - small.threshold)) / (1.0 - small.shape)
    assert mean_wing_loss(small, strike, strike) == pytest.approx(mean_excess, rel=3e-3)
    share = np.random.default_rng(1).uniform(size=400_000)
    level = np.log1p(0.15)
    scale = TAIL.scale + TAIL.shape * (level - TAIL.threshold)
    moves = np.expm1(level + scale * np.expm1(-TAIL.shape * np.log(share)) / TAIL.shape)
    for strike in (0.15, 0.25, 0.5):
        simulated = np.maximum(moves - strike, 0.0)
        error = 4.0 * simulated.std() / np.sqrt(len(share))
        assert mean_wing_loss(TAIL, 0.15, strike) == pytest.approx(simulated.mean(), abs=error)


def test_the_factor_charges_that_loss() -> None:
    factor = wing_factor(TAIL, 0.15, 5.0)
    moves = np.array([0.3, 0.5, 1.0, 2.0, 5.0])
    charge = (np.minimum(1.0, factor * 0.15 / moves) * (moves - 0.15)).max()
    assert charge == pytest.approx(mean_wing_loss(TAIL, 0.15, 0.15), rel=1e-12)
    heavy = TAIL._replace(shape=0.5)
    assert wing_factor(heavy, 0.15, 5.0) > factor
    # Weights that single wings need fall faster than the law has it, the faster the lighter the tail.
    assert needed_power(TAIL, 0.15, 5.0) > needed_power(heavy, 0.15, 5.0) > 1.0


def test_a_history_has_its_law() -> None:
    returns = 0.03 * pareto_innovations(np.random.default_rng(3), (3000,), 0.2)
    settings = Settings(horizon_days=1, draws=60, tail_low=0.0)
    found = tail_weights(returns, 0.08, 5.0, settings)
    assert found.factor.low <= found.factor.value <= found.factor.high
    assert found.used == min(found.factor.value, 1.0)
    # A fall stays one: by its size in logarithm it would be shown as the rise that undoes it.
    assert found.largest_fall == pytest.approx(np.expm1(returns.min())) and -1.0 < found.largest_fall < 0.0
    assert found.largest_rise == pytest.approx(np.expm1(returns.max()))
    beyond = np.maximum(np.expm1(np.abs(returns)) - 0.08, 0.0)
    charge = found.used * 0.08 * (1.0 - 0.08 / 5.0)
    assert found.worst == pytest.approx(beyond.max() - charge)
    assert found.covered == pytest.approx(np.mean(beyond[beyond > 0.0] <= charge))
    # The charge is the mean loss beyond the range.
    assert charge == pytest.approx(beyond[beyond > 0.0].mean(), rel=0.25)
    assert tail_weights(returns, 0.08, 5.0, Settings(horizon_days=1, draws=20)).used == Settings().tail_low > found.used
    far = tail_weights(returns, 0.9, 5.0, settings)
    assert (far.covered, far.worst) == (1.0, 0.0)


def test_thresholds_of_a_history() -> None:
    """The innovations are Pareto above their 90 % quantile: from there on the shape stays and is the true one."""
    returns = 0.03 * pareto_innovations(np.random.default_rng(5), (3600,), 0.2)
    excess, stable = threshold_diagnostics(returns, Settings(horizon_days=1))
    assert np.array_equal(excess.threshold, stable.threshold) and np.all(np.diff(stable.threshold) > 0.0)
    assert np.array_equal(excess.above, stable.exceedances)
    high = stable.exceedances <= 365
    assert np.all(np.abs(stable.shape[high] - 0.2) <= 2.5 * stable.shape_error[high])
    few, _ = threshold_diagnostics(returns[:300], Settings(horizon_days=1, confidence=0.95))
    assert few.above.min() >= 15
