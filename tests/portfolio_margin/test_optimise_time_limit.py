"""optimise_book that is ended by time: what it returns is verified, and claims no more than was proven by then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pytest

from portfolio_margin import GreekProfile, Hedge, Limits, Target, hedge, hedge_enumeration, optimise_book
from portfolio_margin.io import clock
from portfolio_margin.search_watch import SearchProgress, Watch
from portfolio_margin.sensitivities import with_orders
from pricing import ConfigError
from pricing.errors import InfeasibleError
from tests.portfolio_margin import books
from tests.portfolio_margin.test_optimise import NAMES, PROFILE, WORLD, bands_about, greeks_anew, own

# Rows of the book, contracts and how much of them may be traded: where nothing is proven, and where the gap is closed.
Case: TypeAlias = tuple[int, tuple[str, ...], Limits]
OPEN: Case = (11, tuple(books.CONTRACTS[:8]), Limits())
CLOSED: Case = (
    3,
    tuple(NAMES),
    Limits({name: 2 * float(books.ARRAYS.quantity_step[books.ROW[name]]) for name in NAMES}),
)
ROW = OPEN[0]
ACCOUNT = str(books.BOOK.account_id[ROW])


def clock_of(looks: int) -> Callable[[float], Callable[[], float]]:
    """A clock of which time is up after so many looks at it."""

    def countdown(seconds: float) -> Callable[[], float]:
        left = iter([seconds] * looks)
        return lambda: next(left, 0.0)

    return countdown


def bands_of(row: int) -> dict[str, tuple[float, float]]:
    return bands_about(greeks_anew(own(row)), 0.1)


def optimised(case: Case, time_limit: float | None, told: list[SearchProgress]) -> Hedge:
    row, names, limits = case
    profile = GreekProfile(bands_of(row), PROFILE.by_contract)
    account = str(books.BOOK.account_id[row])
    searched = replace(limits, time_limit=time_limit, progress=told.append)
    return optimise_book(*WORLD, account, profile, instruments=names, limits=searched)


def objective(found: Hedge) -> float:
    return found.cost + found.margins.post["initial_margin"]


@pytest.fixture(autouse=True)
def by_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes time: a list of all trades does not."""
    monkeypatch.setattr(hedge_enumeration, "MOST_LISTED", 0)


@pytest.mark.parametrize("case", [OPEN, CLOSED])
def test_the_best_by_then_is_verified_and_claims_no_more_than_is_true(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, bands = optimised(case, None, []), bands_of(case[0])
    assert whole.finished
    assert np.isnan(whole.gap) == (case is OPEN)
    reached = []
    for looks in (0, 3, 6, 12, 24, 1000):
        monkeypatch.setattr(clock, "countdown", clock_of(looks))
        told: list[SearchProgress] = []
        found = optimised(case, 1e6, told)
        after = greeks_anew(with_orders(own(case[0]), books.ARRAYS, found.orders))
        assert all(low - 1e-6 <= after[name] <= high + 1e-6 for name, (low, high) in bands.items())
        reached.append(objective(found))
        assert reached[-1] == pytest.approx(told[-1].best, abs=0.02)
        if not np.isnan(found.gap):
            assert found.lower_bound <= objective(whole) + 0.02
            assert found.gap == pytest.approx(1.0 - found.lower_bound / reached[-1], abs=1e-4)
        assert found.finished or looks < 1000
        assert looks or not found.finished
        assert ("the search was ended after 1e+06 s" in " ".join(found.notes)) is not found.finished
        assert found.identity()["finished"] is found.finished
    assert all(later <= earlier + 0.02 for earlier, later in pairwise(reached))
    assert reached[0] == pytest.approx(whole.margins.pre["initial_margin"], abs=0.02)


@pytest.mark.parametrize("case", [OPEN, CLOSED])
def test_progress_moves(case: Case) -> None:
    told: list[SearchProgress] = []
    found = optimised(case, None, told)
    assert len(told) > 3
    assert [step.programs for step in told] == sorted(step.programs for step in told)
    assert all(later.best <= earlier.best for earlier, later in pairwise(told))
    assert told[-1].best == pytest.approx(objective(found), abs=0.02)
    assert told[-1].bound == pytest.approx(found.lower_bound, abs=0.02, nan_ok=True)
    assert told[-1].gap == pytest.approx(found.gap, abs=1e-6, nan_ok=True)
    assert np.isnan(SearchProgress(np.nan, np.nan, 0, 0).gap)


def test_nothing_found_in_time_is_not_told_as_impossible() -> None:
    now = greeks_anew(own(ROW))["vega"]
    profile = GreekProfile({"vega": (now + 0.5 * abs(now), np.inf)}, PROFILE.by_contract)
    with pytest.raises(InfeasibleError, match=r"in 0 s, the time limit, no trades were found that bring its Greeks"):
        optimise_book(*WORLD, ACCOUNT, profile, instruments=OPEN[1], limits=Limits(time_limit=0.0))


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf"), "soon"])
def test_limits_that_are_none_are_refused(limit: float) -> None:
    with pytest.raises(ConfigError, match="time_limit"):
        Limits(time_limit=limit)


def test_a_hedge_takes_no_time_limit() -> None:
    with pytest.raises(ConfigError, match="only optimise_book takes one"):
        hedge(*WORLD, ACCOUNT, Target(), instruments=OPEN[1], limits=Limits(time_limit=1.0))


def test_a_watch_says_once_and_for_all_that_time_is_up() -> None:
    seconds = [3.0, 0.0, 5.0]
    watch = Watch(left=lambda: seconds.pop(0))
    assert [watch.over() for _ in range(3)] == [False, True, True]
    assert not Watch().over()
    left = clock.countdown(100.0)
    assert 99.0 < left() <= 100.0
