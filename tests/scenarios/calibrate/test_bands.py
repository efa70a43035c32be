"""Bands: blocks as long as the memory of moves asks for, and the truth inside as often as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scenarios.calibrate.bootstrap import Figure, automatic_block, block_band, block_length, clusters_beyond
from scenarios.calibrate.levels import Side, fit_state, method_figure, tail_level
from scenarios.calibrate.made_histories import make_histories
from scenarios.calibrate.moves import horizon_moves, quantile
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.volatility import Filter, simulate
from tests.naive.blocks import automatic_block as naive_block
from tests.scenarios.calibrate.histories import ALPHA, BETA, LONG_RUN, OMEGA, pareto_innovations

TRUTH = Filter(OMEGA, ALPHA, BETA, LONG_RUN, float("nan"))
DEFAULT = Settings(draws=60)


def autoregression(random: np.random.Generator, kept: float, count: int) -> np.ndarray:
    x, noise = np.zeros(count), random.normal(size=count)
    for n in range(1, count):
        x[n] = kept * x[n - 1] + noise[n]
    return x


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.8])
def test_blocks_of_a_known_memory(kept: float) -> None:
    """Of an autoregression the rule has a closed form: G/g(0) = 2 kept / (1 - kept^2)."""
    random = np.random.default_rng(3)
    known = (1.5 * (2.0 * kept / (1.0 - kept**2)) ** 2) ** (1.0 / 3.0) * 4000 ** (1.0 / 3.0)
    found = [automatic_block(autoregression(random, kept, 4000)) for _ in range(12)]
    assert np.median(found) == pytest.approx(known, rel=0.2)


def test_blocks_agree_with_plain_loops() -> None:
    random = np.random.default_rng(4)
    for series in (random.normal(size=300), np.cumsum(random.normal(size=250)), autoregression(random, 0.7, 500)):
        assert automatic_block(series) == pytest.approx(naive_block(series.tolist()), rel=1e-9)
    assert automatic_block(np.full(100, 3.0)) == 1.0


def test_blocks_are_bounded_and_may_be_given() -> None:
    wild = np.cumsum(np.random.default_rng(5).normal(size=400))
    assert automatic_block(np.abs(wild)) > 30 and block_length(wild[:200], Settings()) == 20
    assert block_length(wild, Settings(block_days=120)) == 120
    assert block_length(wild[::2], Settings(block_days=120), apart=2) == 60
    assert block_length(wild[:50], Settings(block_days=120)) == 50
    # Memory that is known counts where the rule does not see it.
    assert block_length(np.random.default_rng(7).normal(size=1000), Settings(), memory=60.0) == 60
    # Neighbours share days over the horizon, whatever their sizes say.
    independent = np.random.default_rng(6).normal(size=1000)
    assert block_length(independent, Settings(horizon_days=10)) >= 10
    assert clusters_beyond([0.0, 9.0, 9.0, 0.0, 0.0, 9.0, 0.0], 5.0, 3) == 2
    assert Figure(1.0, 0.0, 2.0, 5.0, 9).doubtful and not Figure(1.0, 0.0, 2.0, 5.0, 10).doubtful
    assert not Figure(1.0, 0.0, 2.0).doubtful


def long_run_quantile(horizon: int) -> float:
    """The quantile of the moves of a process without an end."""
    paths = simulate(TRUTH, pareto_innovations(np.random.default_rng(8), (500, 6300)))[:, 300:]
    return quantile(np.abs(horizon_moves(paths.T, horizon)).ravel(), 0.99)


def test_bands_of_the_default_settings_hold_the_truth() -> None:
    """A process with the memory of a coin, 50 days, and Pareto tails: 90 % bands hold its quantile in 20 of 24
    histories of four years at least. Blocks of 20 days alone do so in fewer than 18."""
    random, truth = np.random.default_rng(21), long_run_quantile(DEFAULT.horizon_days)
    paths = simulate(TRUTH, pareto_innovations(random, (24, 1900)))[:, 400:]
    held = short = 0
    blocks = []
    for path in paths:
        figure = method_figure(path, DEFAULT, Side.BOTH, make_histories(path, DEFAULT))
        assert figure.value == pytest.approx(fit_state(path, DEFAULT).level)
        blocks.append(figure.block)
        held += figure.low <= truth <= figure.high
        sizes = np.abs(horizon_moves(path, DEFAULT.horizon_days))
        old = block_band(pareto_level, sizes, 20, DEFAULT.draws, DEFAULT.band, DEFAULT.seed)
        short += old.low <= truth <= old.high
    assert held >= 20
    assert short < 18
    assert np.median(blocks) > 30


def pareto_level(sizes: np.ndarray) -> float:
    """The quantile of sizes that are moves over the horizon already."""
    return tail_level(sizes, DEFAULT)


def test_bands_of_a_filter_hold_its_own_uncertainty() -> None:
    """Of tomorrow the quantile is known; bands of a GARCH hold it though its parameters are estimated."""
    settings = replace(DEFAULT, filter="garch", horizon_days=1, draws=40)
    random = np.random.default_rng(31)
    paths = simulate(TRUTH, pareto_innovations(random, (12, 1400)))[:, 400:]
    tomorrow = quantile(np.abs(pareto_innovations(random, (400_000,))), 0.99)
    held = 0
    for path in paths:
        figure = method_figure(path, settings, Side.BOTH, make_histories(path, settings))
        held += figure.low <= tomorrow * np.sqrt(TRUTH.variance(path)[-1]) <= figure.high
    assert held >= 9


def test_few_clusters_are_doubtful() -> None:
    """A year has few moves beyond 99 %, and ten years of moves that have no memory have many."""
    random = np.random.default_rng(41)
    short, long = random.normal(0.0, 0.02, 300), random.standard_t(4, 3650) * 0.02
    for path, doubtful in ((short, True), (long, False)):
        figure = method_figure(path, DEFAULT, Side.BOTH, make_histories(path, DEFAULT))
        assert figure.doubtful == doubtful
        assert figure.clusters <= np.ceil(0.03 * len(path))
