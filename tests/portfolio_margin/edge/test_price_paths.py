"""Simulated paths: against distributions in closed form, whatever the proposals; dynamics measured from data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from portfolio_margin.edge.estimate import estimate_jumps, estimate_vol
from portfolio_margin.edge.price_paths import Dynamics, proposals, simulated
from pricing import ConfigError, DataError

YEARS, STEPS = 5.0 / 365.0, 6
MERTON = replace(Dynamics.usual(0.6), vol_of_vol=0.0)
KOU = replace(Dynamics.usual(0.6, "kou"), vol_of_vol=0.0)
PLAIN = Dynamics(vol=0.6)


def characteristic(dynamics: Dynamics, years: float, u: complex) -> complex:
    """E exp(i u x) of ln of the price, from the Levy-Khintchine formula; vol constant."""
    variance = dynamics.vol**2 - dynamics.jump_variance
    if dynamics.jump == "merton":
        jump = np.exp(1j * u * dynamics.jump_mean - 0.5 * u * u * dynamics.jump_deviation**2)
    else:
        up, down = 1.0 / dynamics.up_mean, 1.0 / dynamics.down_mean
        p = dynamics.up_share
        jump = p * up / (up - 1j * u) + (1 - p) * down / (down + 1j * u)
    exponent = -0.5 * variance * u * u + dynamics.jumps_per_year * (jump - 1.0)
    drift = -(0.5 * variance + dynamics.jump_drift)
    return np.exp(years * (1j * u * drift + exponent))


def below(dynamics: Dynamics, years: float, x: float) -> float:
    """P(ln price < x) by inversion (Gil-Pelaez 1951)."""

    def integrand(u: float) -> float:
        return float((np.exp(-1j * u * x) * characteristic(dynamics, years, u)).imag / u)

    return 0.5 - quad(integrand, 1e-12, 2_000.0, limit=2_000)[0] / np.pi


def test_the_price_is_expected_to_stay() -> None:
    for dynamics in (PLAIN, MERTON, KOU, Dynamics.usual(0.8), Dynamics.usual(0.8, "kou")):
        paths = simulated(
            dynamics,
            YEARS,
            STEPS,
            40_000,
            3,
            proposals(dynamics, YEARS, STEPS, [(-0.1, 0.0), (0.12, 0.0), (0.0, 0.2), (0.05, -0.1)]),
        )
        value = (np.exp(paths.log_price[-1]) * paths.likelihood[:, 0]).reshape(-1, 2).mean(axis=1)
        assert value.mean() == pytest.approx(1.0, abs=4.0 * value.std() / np.sqrt(len(value)))


@pytest.mark.parametrize("mirrored", [True, False])
def test_paths_led_to_vols_get_there_and_weigh_what_they_must(mirrored: bool) -> None:
    dynamics = Dynamics.usual(0.8)
    drawn = proposals(dynamics, YEARS, STEPS, [(0.0, 0.2), (0.05, -0.1)])
    paths = simulated(dynamics, YEARS, STEPS, 60_000, 4, drawn, mirrored)
    weight, vol = paths.likelihood[:, 0], paths.log_vol[-1]
    for number, known in enumerate((0.0, 0.2, -0.1)):
        assert vol[paths.proposal == number].mean() == pytest.approx(known, abs=0.003)
    size = 2 if mirrored else 1
    for value, known in ((weight, 1.0), (vol * weight, 0.0), (np.exp(paths.log_price[-1]) * weight, 1.0)):
        one = value.reshape(-1, size).mean(axis=1)
        assert one.mean() == pytest.approx(known, abs=4.0 * one.std() / np.sqrt(len(one)))
    plain = simulated(dynamics, YEARS, STEPS, 20_000, 4, drawn[:1], mirrored)
    pairs = np.corrcoef(plain.log_vol[-1][::2], plain.log_vol[-1][1::2])[0, 1]
    assert pairs == pytest.approx(-1.0 if mirrored else 0.0, abs=0.05)


@pytest.mark.parametrize("dynamics", [PLAIN, MERTON, KOU], ids=["none", "merton", "kou"])
@pytest.mark.parametrize(
    "edges", [[], [(-0.15, 0.0), (0.2, 0.0), (0.0, 0.15), (0.05, -0.2)]], ids=["plain", "led to edges"]
)
def test_the_distribution_at_the_end_is_that_of_the_model(dynamics: Dynamics, edges: list[tuple[float, float]]) -> None:
    drawn = proposals(dynamics, YEARS, STEPS, edges)
    paths = simulated(dynamics, YEARS, STEPS, 40_000, 11, drawn)
    for x in (-0.15, -0.05, 0.0, 0.08, 0.2):
        outcome = ((paths.log_price[-1] < x) * paths.likelihood[:, 0]).reshape(-1, 2).mean(axis=1)
        known = below(dynamics, YEARS, x)
        assert outcome.mean() == pytest.approx(known, abs=4.5 * outcome.std() / np.sqrt(len(outcome)) + 1e-12)
        if dynamics is PLAIN:
            spread = 0.6 * np.sqrt(YEARS)
            assert known == pytest.approx(norm.cdf((x + 0.5 * spread**2) / spread), abs=1e-8)


def test_weights_have_their_known_means_and_bound() -> None:
    drawn = proposals(MERTON, YEARS, STEPS, [(-0.2, 0.0), (0.3, 0.0)])
    paths = simulated(MERTON, YEARS, STEPS, 60_000, 5, drawn)
    assert len(drawn) == 7
    assert paths.likelihood[:, 0].max() <= len(drawn) * (1.0 + 1e-9)
    means = paths.likelihood.mean(axis=0)
    errors = paths.likelihood.std(axis=0) / np.sqrt(len(paths.proposal) / 2.0)
    assert np.all(np.abs(means - 1.0) < 4.5 * errors)


def test_a_seed_makes_the_same_paths() -> None:
    drawn = proposals(KOU, YEARS, STEPS, [(0.1, 0.0)])
    one, same, other = (simulated(KOU, YEARS, STEPS, 500, seed, drawn) for seed in (8, 8, 9))
    assert np.array_equal(one.log_price, same.log_price)
    assert not np.array_equal(one.log_price, other.log_price)


def test_vol_has_the_transition_of_its_equation() -> None:
    """Mean 0 and variance xi^2 (1 - exp(-2 kappa t)) / (2 kappa), correlated with the price as asked."""
    dynamics = Dynamics(vol=0.5, mean_reversion=8.0, vol_of_vol=0.9, correlation=-0.6)
    paths = simulated(dynamics, 0.25, 50, 40_000, 2, proposals(dynamics, 0.25, 50, []))
    variance = 0.9**2 * (1.0 - np.exp(-2 * 8.0 * 0.25)) / 16.0
    assert paths.log_vol[-1].mean() == pytest.approx(0.0, abs=1e-12)  # mirrored
    assert paths.log_vol[-1].var() == pytest.approx(variance, rel=0.03)
    first = np.corrcoef(paths.log_price[0], paths.log_vol[0])[0, 1]
    assert first == pytest.approx(-0.6, abs=0.02)


def test_dynamics_out_of_bounds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"vol = 0\.1: the jumps alone have a vol of"):
        Dynamics(vol=0.1, jumps_per_year=30.0, jump_deviation=0.05)
    for name, value in (("vol", 0.0), ("correlation", 1.1), ("jumps_per_year", -1.0), ("up_mean", 1.0)):
        with pytest.raises(ConfigError, match=name):
            replace(PLAIN, **{name: value})
    with pytest.raises(ConfigError, match="jump = 'normal'"):
        replace(PLAIN, jump="normal")


def test_jumps_are_measured_as_they_were_made() -> None:
    random = np.random.default_rng(4)
    step, hours = 1.0 / 8_760.0, 60_000
    jumps = random.random(hours) < 30.0 * step
    sizes = random.normal(-0.01, 0.05, hours)
    returns = 0.5 * np.sqrt(step) * random.standard_normal(hours) + np.where(jumps, sizes, 0.0)
    found = estimate_jumps(returns, step)
    seen = jumps & (np.abs(sizes) > 0.035)
    assert found.count == pytest.approx(seen.sum(), rel=0.15)
    assert found.jump_mean == pytest.approx(-0.01, abs=0.02)
    assert found.vol == pytest.approx(np.sqrt(0.25 + 30.0 * (0.05**2 + 0.01**2)), rel=0.1)
    assert found.up_share == pytest.approx(np.mean(sizes[seen] > 0), abs=0.06)
    assert 0.1 < found.variance_share < 0.4
    quiet = estimate_jumps(0.01 * np.sin(np.arange(1_000.0)), step)
    assert quiet.count == 0 and np.isnan(quiet.jump_mean)


def test_vol_dynamics_are_measured_as_they_were_made() -> None:
    random = np.random.default_rng(6)
    step, days, kappa, xi, rho = 1.0 / 365.0, 40_000, 12.0, 0.9, -0.5
    noise = random.standard_normal((2, days))
    kept = np.exp(-kappa * step)
    spread = xi * np.sqrt((1 - kept**2) / (2 * kappa))
    level = np.zeros(days + 1)
    for t in range(days):
        level[t + 1] = kept * level[t] + spread * (rho * noise[0, t] + np.sqrt(1 - rho**2) * noise[1, t])
    found = estimate_vol(60.0 * np.exp(level), 0.02 * noise[0], step)
    assert found.mean_reversion == pytest.approx(kappa, rel=0.1)
    assert found.vol_of_vol == pytest.approx(xi, rel=0.02)
    assert found.correlation == pytest.approx(rho, abs=0.02)


def test_histories_that_say_nothing_are_named() -> None:
    with pytest.raises(DataError, match=r"row 1, returns = nan: must be one array of finite numbers"):
        estimate_jumps([0.1, np.nan], 0.1)
    with pytest.raises(DataError, match=r"returns = 3: needs more than window \+ 2 = 12"):
        estimate_jumps([0.1, 0.2, 0.3], 0.1, window=10)
    with pytest.raises(ConfigError, match="threshold"):
        estimate_jumps(np.zeros(50), 0.1, threshold=0.5)
    with pytest.raises(DataError, match=r"index = .*: the index does not revert"):
        estimate_vol(np.exp(np.arange(20.0)), np.sin(np.arange(19.0)), 0.1)
    with pytest.raises(DataError, match=r"returns = 0\.0: must not be the same"):
        estimate_vol(np.exp(np.sin(np.arange(20.0))), np.zeros(19), 0.1)
    with pytest.raises(DataError, match=r"returns = 5: needs one less than the 20 values"):
        estimate_vol(np.ones(20), np.zeros(5), 0.1)
    with pytest.raises(DataError, match=r"row 19, index = -1\.0: must be above 0"):
        estimate_vol(np.append(np.ones(19), -1.0), np.zeros(19), 0.1)
