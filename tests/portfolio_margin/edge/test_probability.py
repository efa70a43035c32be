"""The probability of a breach: linear positions under a price without jumps have one in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from portfolio_margin.edge.levels import levels
from portfolio_margin.edge.price_paths import Dynamics
from portfolio_margin.edge.prices import liquidation_prices
from portfolio_margin.edge.probability import Simulation, breach_probability
from pricing import ConfigError
from tests.portfolio_margin.edge.cases import NO_DEBTS, PRICE, case_of, linear_case, random_case, short_of_vol
from tests.portfolio_margin.test_contracts import model_of

SHORT = linear_case(3_000.0, {"U-PERPETUAL": -10.0})
BARRIER = float(np.log(liquidation_prices(SHORT).price[0] / PRICE))
# zeta(1/2) / sqrt(2 pi): a barrier looked at now and then is hit as one so many deviations of a step further away is.
SHIFT = 0.5825971579390106


def hit(barrier: float, vol: float, years: float) -> float:
    """P(max of ln price over [0, years] > barrier > 0), the price a martingale (reflection principle)."""
    spread, drift = vol * np.sqrt(years), -0.5 * vol**2 * years
    return float(norm.cdf((drift - barrier) / spread) + np.exp(-barrier) * norm.cdf((-drift - barrier) / spread))


def hit_at_steps(barrier: float, vol: float, years: float, steps: int) -> float:
    """The same looked at `steps` times, by passing the density on from one time to the next on a fine grid."""
    spread, drift = vol * np.sqrt(years / steps), -0.5 * vol**2 * years / steps
    nodes, weights = np.polynomial.legendre.leggauss(300)
    low = -9.0 * vol * np.sqrt(years)
    x = low + (nodes + 1.0) * (barrier - low) / 2.0
    w = weights * (barrier - low) / 2.0
    kernel = norm.pdf((x[:, None] - x[None, :] - drift) / spread) / spread
    density = norm.pdf((x - drift) / spread) / spread
    for _ in range(steps - 1):
        density = kernel @ (w * density)
    return float(1.0 - w @ density)


def check(found: float, error: float, known: float, deviations: float = 4.0) -> None:
    assert 0.0 < error < known
    assert abs(found - known) < deviations * error


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_a_linear_position_breaches_as_a_barrier_is_hit(steps: int) -> None:
    days, vol = 10.0, 0.6
    found = breach_probability(SHORT, days, Dynamics(vol=vol), Simulation(40_000, steps, 21))
    known = hit_at_steps(BARRIER, vol, days / 365.0, steps)
    check(found.probability, found.standard_error, known)
    spread = vol * np.sqrt(days / 365.0)
    check(found.at_end, found.standard_error, float(norm.cdf((-0.5 * spread**2 - BARRIER) / spread)), 6.0)
    assert found.misread == 0 and found.without_rule == 0.0
    if steps == 50:
        shifted = BARRIER + SHIFT * vol * np.sqrt(days / 365.0 / steps)
        assert known == pytest.approx(hit(shifted, vol, days / 365.0), rel=0.01)
        assert found.probability == pytest.approx(hit(shifted, vol, days / 365.0), rel=0.06)


def test_what_is_rare_is_found_with_few_paths() -> None:
    """One in twenty million, with 20,000 paths: plain simulation would see nothing."""
    found = breach_probability(SHORT, 1.0, Dynamics(vol=0.6), Simulation(20_000, 4, 3))
    known = hit_at_steps(BARRIER, 0.6, 1.0 / 365.0, 4)
    assert known < 1e-7
    check(found.probability, found.standard_error, known)
    assert found.standard_error < 0.1 * known
    assert found.reduction > 1e4


def test_errors_are_as_stated_and_variance_is_reduced() -> None:
    """Over many seeds: the spread of the estimates is their standard error, their mean the known probability."""
    days, steps = 10.0, 3
    known = hit_at_steps(BARRIER, 0.6, days / 365.0, steps)
    runs = [
        breach_probability(SHORT, days, Dynamics(vol=0.6), Simulation(2_000, steps, seed), [(np.exp(BARRIER), 1.0)])
        for seed in range(40)
    ]
    estimates = np.array([run.probability for run in runs])
    stated = np.array([run.standard_error for run in runs])
    assert estimates.std(ddof=1) == pytest.approx(stated.mean(), rel=0.4)
    assert abs(estimates.mean() - known) < 4.0 * stated.mean() / np.sqrt(len(runs))
    assert min(run.reduction for run in runs) > 3.0


def test_jumps_and_leads_do_not_change_what_is_estimated() -> None:
    """With importance sampling and without, under both kinds of jumps and a vol that moves."""
    for jump in ("merton", "kou"):
        case = linear_case(3_000.0, {"U-1000-C": -8.0, "U-1000-P": -8.0})
        dynamics = Dynamics.usual(0.6, jump)
        led = breach_probability(case, 5.0, dynamics, Simulation(20_000, 5, 1))
        plain = breach_probability(case, 5.0, dynamics, Simulation(60_000, 5, 2), [])
        both = np.hypot(led.standard_error, plain.standard_error)
        assert abs(led.probability - plain.probability) < 4.0 * both
        assert led.probability > 8.0 * led.standard_error and led.reduction > 1.5
        assert led.misread <= 3


@pytest.mark.parametrize(("cash", "least"), [(225_000.0, 0.95), (242_000.0, 5.0)], ids=["near", "rare"])
def test_an_edge_of_vol_is_led_to_or_left_alone(cash: float, least: float) -> None:
    """No price is near: without leads to vols the mixture would be worse than plain simulation."""
    case, dynamics = short_of_vol(cash), Dynamics.usual(0.536)
    led = breach_probability(case, 1.0, dynamics, Simulation(8_000, 4, 1))
    plain = breach_probability(case, 1.0, dynamics, Simulation(40_000, 4, 2), [])
    assert abs(led.probability - plain.probability) < 4.0 * np.hypot(led.standard_error, plain.standard_error)
    assert led.probability > 8.0 * led.standard_error and led.reduction > least
    assert led.misread <= 3


def test_leads_that_miss_most_of_the_breaches_are_not_taken_for_good_ones() -> None:
    """A far edge of price is reached by jumps with weights of next to nothing; the one of vols is what is met."""
    case = short_of_vol(250_000.0)
    found = breach_probability(case, 1.0, Dynamics.usual(0.536), Simulation(8_000, 4, 1))
    assert 1e-5 < found.probability < 1e-3 and found.probability > 8.0 * found.standard_error
    assert found.reduction > 50.0


def test_no_simulation_is_worse_than_a_plain_one() -> None:
    """Mirrored paths of a straddle breach together, which plain ones do not: then they are not mirrored."""
    case = linear_case(1_500.0, {"U-1000-C": -8.0, "U-1000-P": -8.0})
    for days in (1.0, 5.0):
        for dynamics in (Dynamics(vol=0.6), Dynamics.usual(0.6)):
            found = breach_probability(case, days, dynamics, Simulation(8_000, 4, 3))
            assert 0.01 < found.probability < 0.9 and found.reduction > 0.95


def test_it_is_deterministic_and_rises_with_the_vol() -> None:
    one, same = (breach_probability(SHORT, 5.0, None, Simulation(2_000, 5, 4)) for _ in range(2))
    assert one == same
    assert one.dynamics.vol == pytest.approx(0.6, rel=1e-12)
    high = breach_probability(SHORT, 5.0, Dynamics.usual(0.9), Simulation(2_000, 5, 4))
    assert high.probability > one.probability


def test_below_today_is_certain_and_never_is_bounded() -> None:
    gone = breach_probability(linear_case(-200.0, {"U-PERPETUAL": 10.0}), 1.0, Dynamics(vol=0.6))
    assert (gone.probability, gone.standard_error) == (1.0, 0.0)
    safe = breach_probability(linear_case(5_000.0, {"U-PERPETUAL": 2.0}), 1.0, Dynamics(vol=0.6), Simulation(1_000))
    assert safe.probability == 0.0
    assert np.isnan(safe.reduction)
    assert safe.upper_bound == pytest.approx(3.0 / safe.paths)


def test_paths_into_markets_without_a_rule_are_counted_apart() -> None:
    """A perpetual in coin: its loss leaves a debt of coins, for which a model may have no rule."""
    case = case_of({"BTC": 0.03, "BTC-PERPETUAL": 100.0, "USD": 20_000.0}, model_of("deribit_xpm"))
    ruled = breach_probability(case, 2.0, Dynamics(vol=0.9), Simulation(4_000, 4))
    assert ruled.without_rule == 0.0
    owing = case_of({"BTC": 0.002, "BTC-PERPETUAL": 100.0, "USD": 2_000.0}, NO_DEBTS)
    owed_below = 1.0 / (1.0 / 68_000.0 + 0.002 / 1_000.0)
    assert levels(owing, np.array([1.02 * owed_below / 68_000.0])).equity[0] > 0
    found = breach_probability(owing, 2.0, Dynamics(vol=0.9), Simulation(4_000, 4))
    assert found.without_rule > 0.0 and found.probability + found.without_rule <= 1.0


def test_bad_runs_are_refused() -> None:
    option = linear_case(1e4, {"U-1000-C": 1.0})
    for days in (0.0, -1.0, 31.0, np.nan):
        with pytest.raises(ConfigError, match=r"horizon_days = .*at most 30"):
            breach_probability(option, days, Dynamics(vol=0.6))
    for name, value in (("paths", 10), ("steps", 0), ("seed", -1), ("paths", 1e4), ("seed", True)):
        with pytest.raises(ConfigError, match=name):
            replace(Simulation(), **{name: value})


def test_random_accounts_have_probabilities() -> None:
    for number in range(4):
        found = breach_probability(random_case(number), 2.0, None, Simulation(1_000, 4))
        assert 0.0 <= found.probability <= 1.0
        assert found.standard_error <= 0.03
