"""The smallest sizes that meet a ceiling, against every whole size one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin import Costs, Limits, Target, hedge, hedge_enumeration, margin
from portfolio_margin.hedge import open_desk, program_of
from portfolio_margin.hedge_candidates import completions
from portfolio_margin.hedge_enumeration import MOST_LISTED
from portfolio_margin.hedge_search import Search
from portfolio_margin.models import worst_case
from portfolio_margin.trial_margins import single_margins, trial_margins
from pricing.errors import InfeasibleError
from tests.portfolio_margin import books
from tests.portfolio_margin.hedge_examples import sample_under

WORLD = (books.BOOK, books.ARRAYS, books.MARKET, worst_case.Model())
NAMES = [books.CONTRACTS[k] for k in (0, 3, 5, len(books.CONTRACTS) - 1)]
MOST = 40


def search_of(row: int) -> Search:
    """Of available funds, with up to 40 lots of four contracts."""
    desk = open_desk(*WORLD, str(books.BOOK.account_id[row]), NAMES, "numba")
    step = desk.trials.step
    limits = Limits(size={name: MOST * float(s) for name, s in zip(NAMES, step, strict=True)})
    return Search(desk.trials, program_of(desk, Costs(), limits, spent=True), "available_funds")


@pytest.mark.parametrize("row", [3, 20, 47, 101])
@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0, 0.0), (2.0, -7.0, 0.0, 0.0)])
def test_the_cheapest_is_that_of_all_sizes(row: int, start: tuple[float, ...]) -> None:
    search, lots = search_of(row), np.array(start)
    first = search.values(lots[None, :])[0] + search.program.cost(lots)
    ceiling = first - 2.0
    found = completions(search, lots, ceiling, np.inf)
    best = np.inf
    for k in range(len(NAMES)):
        sizes = np.arange(-MOST, MOST + 1.0)
        points = np.repeat(lots[None, :], len(sizes), axis=0)
        points[:, k] = sizes
        points = points[sizes != 0.0]
        costs = np.array([search.program.cost(point) for point in points])
        best = min(best, costs[search.values(points) + costs <= ceiling].min(initial=np.inf))
    if np.isinf(best):
        assert found == []
        return
    assert found[0].cost == pytest.approx(best, rel=1e-9)
    for candidate in found:
        assert search.program.allows(candidate.lots)
        assert candidate.cost == pytest.approx(search.program.cost(candidate.lots), rel=1e-9)
        assert np.count_nonzero(candidate.lots != lots) <= 1
        assert search.values(candidate.lots[None, :])[0] + candidate.cost <= ceiling + 1e-6
    assert all(candidate.cost < best * 1.5 for candidate in completions(search, lots, ceiling, best * 1.5))


def test_margins_of_single_contracts_are_those_of_the_whole_trades() -> None:
    trials = search_of(20).trials
    lots = np.array([1.0, 0.0, -3.0, 0.0])
    which, further = np.array([0, 2, 2, 3, 1, 0]), np.array([5.0, -2.0, 3.0, 7.0, -1.0, 0.0])
    points = np.repeat(lots[None, :], len(which), axis=0)
    points[np.arange(len(which)), which] += further
    alone, whole = single_margins(trials, lots, which, further), trial_margins(trials, points)
    assert alone.initial == pytest.approx(whole.initial, rel=1e-12, abs=1e-9)
    assert alone.balance == pytest.approx(whole.balance, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("reach", [0.3, 0.9, 0.9966])
@pytest.mark.parametrize("most", [0, MOST_LISTED])
def test_what_the_least_requirement_meets_is_no_target_out_of_reach(
    reach: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planes by differences, where nothing is proven, once left the program no solution at the last of these."""
    monkeypatch.setattr(hedge_enumeration, "MOST_LISTED", most)
    world, account = sample_under("worst_case"), "calendar-01"
    names = ["BTC-26JUN26-72000-C", "BTC-27MAR26"]
    limits = Limits(size={names[0]: (0.3, 0.5), names[1]: (3.0, 1.0)}, gap=0.0)
    costs = Costs(
        option_fee=0.0,
        future_fee=0.0005,
        option_half_spread=0.0,
        option_least_half_spread=1e-4,
        future_half_spread=0.01,
    )
    before = margin(*world).maintenance_margin[world[0].row_of(account)]
    target = Target("maintenance_margin", float(before))
    with pytest.raises(InfeasibleError) as told:
        hedge(*world, account, replace(target, amount=before / 2.0), instruments=names, costs=costs, limits=limits)
    least = told.value.reachable
    target = replace(target, amount=before - reach * (before - least))
    found = hedge(*world, account, target, instruments=names, costs=costs, limits=limits)
    assert least <= found.after("maintenance_margin") <= target.amount
