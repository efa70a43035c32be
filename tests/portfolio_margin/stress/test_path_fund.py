"""The fund by simulated paths: the paths and their weights, the quantile, and what it must agree with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin.stress.moves import RECENT
from portfolio_margin.stress.path_fund import (
    CRASH,
    Params,
    PathFund,
    path_fund,
    simulated_paths,
    stress_paths,
    without_idle_options,
)
from portfolio_margin.stress.prevention import fund_needed
from portfolio_margin.stress.rules import VOL_BETA, Rules
from portfolio_margin.stress.run import run
from portfolio_margin.stress.weighted_tail import tail_of
from pricing import ConfigError, DataError
from scenarios.families import grid
from tests.portfolio_margin.books import book_of
from tests.portfolio_margin.stress.test_run import QUIET, perpetual_long
from tests.portfolio_margin.stress.venues import path_of, venue_of

NAMES = ["BTC", "ETH"]
SMALL = Params(days=1.0, step_hours=12.0, paths=56)


def test_the_paths_have_the_moments_of_the_moves() -> None:
    """Weighted back, the variance and correlation of a day are those of the fitted distribution."""
    params = Params(days=1.0, step_hours=4.0, paths=40_000, seed=3)
    drawn = simulated_paths(NAMES, params)
    moved = np.log(drawn.price[-1])
    weight = drawn.weight / drawn.weight.sum()
    covariance = (moved * weight) @ moved.T
    expected = RECENT.scale[:2, :2] * RECENT.df / (RECENT.df - 2.0)
    assert drawn.weight.mean() == pytest.approx(1.0, abs=0.02)
    assert covariance == pytest.approx(expected, rel=0.1)
    # No drift: the price is expected to stay.
    assert (drawn.price[-1, 0] * weight).sum() == pytest.approx(1.0, abs=2e-3)


def test_vols_follow_a_fall_beyond_the_crash_and_not_before() -> None:
    drawn = simulated_paths(NAMES, replace(SMALL, paths=560))
    quiet = simulated_paths(NAMES, replace(SMALL, paths=560, seed=1))
    fallen = -np.log(drawn.price[:, 0])
    assert np.array_equal(drawn.vol, quiet.vol)
    far = fallen > CRASH + 0.05
    assert far.any()
    # What the vol has beside its own path is exactly the rule.
    own = np.log(drawn.vol) - VOL_BETA * np.maximum(fallen - CRASH, 0.0)
    assert abs(own.mean()) < 0.02 and own.std() < 0.1


def test_a_path_of_the_engine_is_the_drawn_one() -> None:
    drawn = simulated_paths(NAMES, SMALL)
    path = next(iter(stress_paths(drawn, NAMES)))
    assert path.hours.tolist() == [0.0, 12.0, 24.0]
    assert np.array_equal(path.price[1:], drawn.price[:, :, 0]) and path.price[0].tolist() == [1.0, 1.0]
    assert path.vol[1:, 0, 1] == pytest.approx(drawn.vol[:, 0])


def thin_fund(seed: int, paths: int) -> PathFund:
    # Margined so narrowly that two percent are enough at the start.
    narrow = {"scenarios": lambda market: grid.scenarios(grid.Params(price_range=0.01, buckets=2, days=(0.0,)), market)}
    venue = venue_of(book_of({**perpetual_long("thin", 10.0, 0.02), "rich": {"USD": 1e6}}), **narrow)
    rules = Rules(cost=0.0, penalty=0.0, impact=QUIET)
    return path_fund(venue, rules, Params(days=1.0, step_hours=24.0, paths=paths, level=0.99, seed=seed))


def test_one_step_of_a_linear_account_needs_its_loss() -> None:
    """Closed after one gap: what a long perpetual of N dollars then owes, path by path without the engine."""
    found = thin_fund(1, 112)
    drawn = simulated_paths(NAMES, Params(days=1.0, step_hours=24.0, paths=112, level=0.99, seed=1))
    held = perpetual_long("thin", 10.0, 0.02)["thin"]
    notional = 10.0 * held["BTC-PERPETUAL"]
    owed = np.maximum(notional * (1.0 - drawn.price[-1, 0]) - held["USD"], 0.0)
    assert found.need == pytest.approx(owed, abs=0.03) and owed.max() > 0.03 * notional
    severity = np.abs(np.log(drawn.price[:, 0])).max(axis=0)
    assert found.tail == tail_of(found.need, drawn.weight, severity, 0.99)
    assert found.at_start == 0.0 and 0.0 < found.tail.amount < owed.max()


def test_what_is_missing_before_anything_moves_is_stated_apart() -> None:
    """An account that owes as it stands: every path needs that much, and what it costs to close it."""
    owing = {"owing": {"BTC-PERPETUAL": 1_000.0, "USD": -5_000.0}}
    venue = venue_of(book_of({**owing, **perpetual_long("a", 10.0, 0.5), "rich": {"USD": 1e6}}))
    found = path_fund(venue, Rules(cost=0.001, penalty=0.001, impact=QUIET), SMALL)
    assert found.at_start == pytest.approx(5_000.0 + 0.001 * 10_000.0, abs=0.02)
    assert np.all(found.need >= found.at_start) and found.tail.amount >= found.at_start


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    one, again, other = thin_fund(1, 56), thin_fund(1, 56), thin_fund(2, 56)
    assert one.tail == again.tail and other.tail.amount != one.tail.amount


def test_a_need_is_that_of_the_path_run_alone() -> None:
    venue = venue_of(
        book_of({**perpetual_long("a", 10.0, 0.08), **perpetual_long("b", 3.0, 0.12), "rich": {"USD": 1e6}})
    )
    rules = Rules(fund=5.0)
    found = path_fund(venue, rules, SMALL)
    worst = int(np.argmax(found.need))
    path = list(stress_paths(simulated_paths(NAMES, SMALL), NAMES))[worst]
    owed = run(venue, path, replace(rules, fund=1e13)).rows[-1].owed
    needed = fund_needed(venue, path, rules)
    assert found.need[worst] > 0.0
    assert found.need[worst] == pytest.approx(needed if owed == 0.0 else found.need[worst], abs=0.02)
    frame = found.columns()
    assert len(frame["need"]) == len(frame["weight"]) == 56 and frame["lowest_price_factor"].max() <= 1.0


def test_options_that_nobody_holds_change_nothing() -> None:
    venue = venue_of(book_of({**perpetual_long("a", 10.0, 0.1), "rich": {"USD": 1e6}}))
    small = without_idle_options(venue)
    assert len(small.instruments) < len(venue.instruments)
    path = path_of([1.0, 0.93, 0.8])
    before, after = run(venue, path, Rules(fund=1e6)), run(small, path, Rules(fund=1e6))
    assert before.rows == after.rows and np.array_equal(before.balances.trader, after.balances.trader)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"paths": 10}, "paths = 10"),
        ({"paths": 100.5}, "paths = 100.5"),
        ({"days": 0.1, "step_hours": 12.0}, "step_hours = 12.0: must not exceed"),
        ({"level": 1.0}, "level = 1.0"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_bounds(change: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Params(**change)  # type: ignore[arg-type]


def test_an_underlying_without_moves_is_named() -> None:
    with pytest.raises(DataError, match="SOL"):
        simulated_paths(["BTC", "SOL"], SMALL)
