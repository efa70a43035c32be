"""GARCH by maximum likelihood: the compiled recursion, its maximum, and bands that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.backends.garch_numba import garch_likelihood, known_variance
from scenarios.calibrate.made_histories import garch_bands, make_histories
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.volatility import Filter, degenerate, ewma, fit_garch, residuals, simulate
from scenarios.filters import ewma_variance, garch_variance
from tests.naive import calibrate as naive
from tests.naive import historical as naive_historical
from tests.scenarios.calibrate.histories import ALPHA, BETA, LONG_RUN, OMEGA, pareto_innovations

TRUTH = Filter(OMEGA, ALPHA, BETA, LONG_RUN, float("nan"))
PATHS = simulate(TRUTH, pareto_innovations(np.random.default_rng(5), (12, 2500)))


def test_the_likelihood_is_that_of_the_text() -> None:
    squares = PATHS[0, :400] ** 2
    for point in ((OMEGA, ALPHA, BETA), (1e-4, 0.3, 0.5), (1e-6, 0.01, 0.985)):
        ours = garch_likelihood(squares, *point, LONG_RUN)
        wanted = naive.garch_likelihood(squares.tolist(), *point, LONG_RUN)
        assert ours[0] == pytest.approx(wanted[0], rel=1e-12)
        assert ours[1:] == pytest.approx(wanted[1:], rel=1e-5)
        known = naive_historical.known_variance(PATHS[0, :400].tolist(), *point, LONG_RUN)
        assert known_variance(squares, *point, LONG_RUN) == pytest.approx(known, rel=1e-12)


def test_a_fit_is_likelier_than_everything_around_it() -> None:
    path = PATHS[0]
    fitted = fit_garch(path)
    squares = path * path
    assert fitted.log_likelihood == pytest.approx(
        garch_likelihood(squares, fitted.omega, fitted.alpha, fitted.beta, fitted.start)[0], rel=1e-12
    )
    assert fitted.log_likelihood >= garch_likelihood(squares, OMEGA, ALPHA, BETA, fitted.start)[0]
    for a in (0.9, 1.0, 1.1):
        for b in (0.99, 1.0, 1.01):
            for w in (0.9, 1.0, 1.1):
                near = garch_likelihood(squares, w * fitted.omega, a * fitted.alpha, b * fitted.beta, fitted.start)[0]
                assert near <= fitted.log_likelihood + 1e-6
    again = fit_garch(path, fitted)
    assert (again.alpha, again.beta) == pytest.approx((fitted.alpha, fitted.beta), abs=1e-4)
    scaled = fit_garch(100.0 * path)
    assert (scaled.alpha, scaled.beta) == pytest.approx((fitted.alpha, fitted.beta), abs=1e-4)
    assert scaled.omega == pytest.approx(1e4 * fitted.omega, rel=1e-2)


def test_bands_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of twelve histories, bands of 90 % hold the truth in eight at least: fewer have a probability below 0.5 %."""
    held = np.zeros(3)
    for n, path in enumerate(PATHS):
        settings = Settings(draws=40, seed=n)
        bands = garch_bands(make_histories(path, settings), settings)
        truth = {"alpha": ALPHA, "beta": BETA, "long_run_deviation": np.sqrt(LONG_RUN)}
        held += [bands[name].low <= value <= bands[name].high for name, value in truth.items()]
        assert all(figure.low <= figure.high for figure in bands.values())
    assert np.all(held >= 8)


def test_variances_over_a_horizon() -> None:
    """The expected squares of the next days, added up."""
    now = np.array([0.5 * LONG_RUN, 3.0 * LONG_RUN])
    expected, step = np.zeros(2), now.copy()
    for _ in range(5):
        expected += step
        step = OMEGA + (ALPHA + BETA) * step
    assert TRUTH.horizon_variance(now, 5) == pytest.approx(expected, rel=1e-12)
    path = PATHS[1, :300]
    smooth = ewma(path, 0.94)
    assert smooth.horizon_variance(now, 5) == pytest.approx(5.0 * now)
    assert smooth.variance(path) == pytest.approx(ewma_variance(path, 0.94, np.mean(path**2)), rel=1e-12)
    assert TRUTH.variance(path) == pytest.approx(garch_variance(path, OMEGA, ALPHA, BETA, LONG_RUN), rel=1e-12)
    assert np.isinf(smooth.long_run_variance)
    assert np.sqrt(TRUTH.long_run_variance) == pytest.approx(0.035, rel=1e-3)


def test_residuals_undo_the_recursion() -> None:
    z = pareto_innovations(np.random.default_rng(8), (1, 500))
    assert residuals(simulate(TRUTH, z)[0], TRUTH) == pytest.approx(z[0], rel=1e-9)


def test_histories_without_a_filter_are_refused() -> None:
    with pytest.raises(ConfigError, match="99 returns: GARCH needs 100"):
        fit_garch(np.full(99, 0.01))
    with pytest.raises(ConfigError, match="not all 0"):
        fit_garch(np.zeros(200))
    with pytest.raises(ConfigError, match="decay = 1"):
        ewma(np.ones(10), 1.0)


def test_a_filter_at_the_end_of_its_scale_is_named() -> None:
    """One jump that is no move makes all other moves alike; the moves alone have a fit inside its bounds."""
    sound = PATHS[0]
    assert degenerate(fit_garch(sound)) == ""
    jumped = sound.copy()
    jumped[len(sound) // 2] += np.log(6.5)
    assert "the last day alone" in degenerate(fit_garch(jumped))
    known = fit_garch(sound)
    assert "alpha = 1.0e-09: no move changes the deviation, as without" in degenerate(known._replace(alpha=1e-9))
    assert "the last day alone" in degenerate(known._replace(beta=1e-6))
    assert "never reverts" in degenerate(known._replace(beta=1.0 - known.alpha - 1e-5))
