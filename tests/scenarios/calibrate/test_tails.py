"""Tails: published fits, normal tails, likelihood and quantiles against brute force, diagnostics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pricing import ConfigError
from scenarios.calibrate.tails import (
    Tail,
    fit_excesses,
    fit_tail,
    mean_excess,
    normal_shortfall,
    normal_tail,
    stability,
)
from tests.vectors import literature_vectors

NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def check(got: float, wanted: float, tolerance: Any) -> float:
    """The error as a share of the tolerance."""
    if tolerance == "exact":
        return float(got != wanted) * 2.0
    return abs(got - wanted) / (tolerance.get("abs", 0.0) + tolerance.get("rel", 0.0) * abs(wanted))


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["gpd_fit", "gpd_fit_var_es"])
def test_published_fits(kind: str, report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors(kind):
        i, e = v["inputs"], v["expected"]
        tail = fit_excesses(i["excesses"], i["threshold"], i["n_total"])
        ours = {"xi": tail.shape, "beta": tail.scale, "n_exceed": tail.exceedances,
                "log_likelihood": tail.log_likelihood, "neg_log_likelihood": -tail.log_likelihood}  # fmt: skip
        for level in i.get("confidence", ()):
            ours |= {f"var_{level}": tail.quantile(level), f"es_{level}": tail.expected_shortfall(level)}
        assert set(e) <= set(ours)
        errors += [check(ours[name], wanted, v["tolerance"][name]) for name, wanted in e.items()]
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_published_normal_tails(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("gaussian_tail"):
        i, e = v["inputs"], v["expected"]
        probability, average = normal_shortfall(i["mean"], i["stdev"], i["mean"])
        ours = {**normal_tail(i["mean"], i["stdev"], i["confidence"])._asdict(),
                "shortfall_prob_at_mean": probability, "average_shortfall_at_mean": average}  # fmt: skip
        assert set(ours) == set(e)
        errors += [check(ours[name], wanted, v["tolerance"][name]) for name, wanted in e.items()]
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 0.15, 0.5, 1.2])
def test_no_pair_near_the_fit_is_likelier(shape: float) -> None:
    y = stats.genpareto.rvs(shape, scale=3.0, size=400, random_state=7)
    tail = fit_excesses(y, 1.0, 4000)
    assert tail.log_likelihood == pytest.approx(stats.genpareto.logpdf(y, tail.shape, scale=tail.scale).sum(), rel=1e-9)
    near = [
        stats.genpareto.logpdf(y, tail.shape + a, scale=tail.scale * (1.0 + b)).sum()
        for a in np.linspace(-0.1, 0.1, 21)
        for b in np.linspace(-0.1, 0.1, 21)
    ]
    assert max(near) <= tail.log_likelihood + 1e-6
    assert tail.shape == pytest.approx(shape, abs=4.0 * (1.0 + abs(shape)) / 20.0)


@given(
    st.floats(-0.5, 0.9), st.floats(0.01, 100.0), st.floats(-10.0, 10.0), st.integers(10, 500), st.floats(0.0, 0.999)
)
@settings(max_examples=60)
def test_quantile_and_shortfall_are_those_of_the_distribution(
    shape: float, scale: float, threshold: float, count: int, beyond: float
) -> None:
    shape = 0.0 if abs(shape) < 1e-6 else shape
    tail = Tail(threshold, shape, scale, count, 10 * count, 0.0)
    level = 0.9 + 0.1 * beyond
    quantile = tail.quantile(level)
    assert quantile == pytest.approx(threshold + stats.genpareto.ppf(beyond, shape, scale=scale), rel=1e-6, abs=1e-6)
    # The mean of all quantiles above it.
    share = (0.5 * (NODES + 1.0)) ** 8
    excess = stats.genpareto.isf((1.0 - level) * share / 0.1, shape, scale=scale)
    mean = np.sum(WEIGHTS * 4.0 * (0.5 * (NODES + 1.0)) ** 7 * (threshold + excess))
    if shape < 0.7:
        assert tail.expected_shortfall(level) == pytest.approx(mean, rel=2e-3, abs=2e-3 * scale)


def test_what_a_tail_cannot_say_is_refused() -> None:
    tail = Tail(1.0, 1.5, 1.0, 10, 100, 0.0)
    assert tail.expected_shortfall(0.95) == np.inf
    for level in (0.89, 1.0):
        with pytest.raises(ConfigError, match=r"the tail begins at 0\.9"):
            tail.quantile(level)
    with pytest.raises(ConfigError, match="9 excesses above it"):
        fit_tail(np.arange(1.0, 21.0), 11.0)
    with pytest.raises(ConfigError, match="needs 10 above 0"):
        fit_excesses([0.0] * 20, 1.0, 100)


def test_diagnostics_see_a_pareto_tail() -> None:
    """Above the threshold of a Pareto tail the mean excess rises with slope shape/(1 - shape) and the shape stays."""
    values = stats.genpareto.rvs(0.25, scale=1.0, size=40_000, random_state=3)
    thresholds = np.linspace(0.0, 4.0, 9)
    found = mean_excess(values, thresholds)
    expected = (1.0 + 0.25 * thresholds) / 0.75
    assert np.all(np.abs(found.mean - expected) <= 4.0 * found.error)
    assert found.above[0] == 40_000
    steady = stability(values, thresholds, 0.999)
    assert np.all(np.abs(steady.shape - 0.25) <= 4.0 * steady.shape_error)
    assert np.all(np.abs(steady.modified_scale - 1.0) <= 8.0 * steady.shape_error * (1.0 + thresholds))
    assert steady.quantile == pytest.approx(stats.genpareto.ppf(0.999, 0.25), rel=0.1)
    assert np.isnan(mean_excess([1.0, 2.0], [1.5]).mean[0])


def test_a_best_tail_beside_shapes_out_of_bounds() -> None:
    """Few excesses of a short tail: next to the best shape is one that is out of bounds; nothing warns."""
    fits = [fit_excesses(np.random.default_rng(n).uniform(0.01, 1.0, 12), 0.9, 120) for n in range(40)]
    assert all(np.isfinite(found.log_likelihood) and found.shape >= -0.9 for found in fits)
    assert sum(found.shape < -0.5 for found in fits) > 5
