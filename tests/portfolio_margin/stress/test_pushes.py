"""What forced sales do to prices: what stays does not depend on steps, and a venue that is late sees it late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.pushes import Pushes
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Impact, Rules
from portfolio_margin.stress.run import run
from tests.portfolio_margin.books import book_of
from tests.portfolio_margin.stress.test_run import QUIET, perpetual_long
from tests.portfolio_margin.stress.venues import path_of, venue_of

THIN = Impact(daily_volume=1e7)


def at_hours(hours: list[float], price: list[float], vol: list[float] | None = None) -> StressPath:
    return replace(path_of(price, vol), hours=np.array(hours))


def sold_at_hour_one(hours: list[float], impact: Impact) -> Result:
    """A fall by hour 1 that ends an account at once, and nothing afterwards."""
    path = at_hours([0.0, 1.0, *hours], [1.0, *[0.75] * (1 + len(hours))])
    rules = Rules(fund=1e7, impact=impact, rounds=1)
    return run(venue_of(book_of({**perpetual_long("long", 20.0, 0.2), "rich": {"USD": 1e6}})), path, rules)


@pytest.mark.parametrize("permanent", [2.0 / 3.0, 0.0, 1.0])
def test_what_is_left_of_a_sale_does_not_depend_on_the_steps_since(permanent: float) -> None:
    impact = replace(THIN, permanent=permanent)
    grids = [[97.0], [25.0, 49.0, 73.0, 97.0], list(np.linspace(3.0, 97.0, 30))]
    results = [sold_at_hour_one(hours, impact) for hours in grids]
    first = results[0].pushed[1, 0]
    assert first < -0.005 and all(result.liquidated.tolist() == [True, False] for result in results)
    for result in results:
        assert result.total("liquidated") == 1.0 and result.pushed[1, 0] == first
        expected = first * (permanent + (1.0 - permanent) * 0.5**4)
        assert result.pushed[-1, 0] == pytest.approx(expected, rel=1e-12)
        assert result.price[-1, 0] == pytest.approx(0.75 * venue_of(book_of({})).market.spot[0] * np.exp(expected))


@given(
    st.lists(st.tuples(st.floats(0.1, 50.0), st.floats(-0.3, 0.3)), max_size=6),
    st.floats(0.0, 400.0),
    st.floats(0.0, 1.0),
    st.floats(0.5, 100.0),
)
def test_each_sale_fades_by_itself(sales: list[tuple[float, float]], now: float, stays: float, half: float) -> None:
    pushes, hours, expected = Pushes.none(2), 0.0, 0.0
    for gap, move in sales:
        hours += gap
        pushes = pushes.after(hours, np.array([move, -2.0 * move]))
        if hours <= now:
            expected += stays * move + (1.0 - stays) * move * 2.0 ** ((hours - now) / half)
    found = pushes.at(now, Impact(permanent=stays, half_life_hours=half))
    assert found == pytest.approx([expected, -2.0 * expected], abs=1e-7)


def test_a_late_venue_sees_its_own_sales_late() -> None:
    """The sale at the start puts the other account below maintenance by its price; the venue learns it later."""
    accounts = {**perpetual_long("first", 40.0, 0.05), **perpetual_long("second", 5.0, 0.132)}
    path = at_hours([0.0, 1.0, 2.0, 3.0, 4.0], [1.0] * 5)
    rules = Rules(fund=1e7, impact=replace(THIN, permanent=1.0), buffer=0.0)
    for delay, hour in ((0.0, 0.0), (0.5, 1.0), (3.0, 3.0)):
        result = run(venue_of(book_of(accounts)), path, replace(rules, delay_hours=delay), follow=1)
        quiet = run(venue_of(book_of(accounts)), path, replace(rules, delay_hours=delay, impact=QUIET))
        assert result.pushed[0, 0] < -0.01 and quiet.liquidated.tolist() == [True, False]
        assert result.followed is not None
        assert path.hours[np.flatnonzero(result.followed.traded)[0]] == hour, delay


def test_a_late_venue_sees_vols_late() -> None:
    """Nothing but vol moves, at hour 1: a short straddle is safe in the eyes of a venue that is a day behind."""
    sold = {"short": {"BTC-60D-68000-C": -1.0, "BTC-60D-68000-P": -1.0, "USD": 25_000.0}, "rich": {"USD": 1e6}}
    path = at_hours([0.0, 1.0, 2.0, 24.05, 25.0], [1.0] * 5, [1.0, 2.5, 2.5, 2.5, 2.5])
    first = {}
    for delay in (0.0, 1.0, 24.0):
        result = run(venue_of(book_of(sold)), path, Rules(fund=1e7, impact=QUIET, delay_hours=delay))
        first[delay] = next(row.hours for row in result.rows if row.liquidated)
        # The books are at the true vols all along.
        assert result.rows[1].equity < result.rows[0].equity - 1_000.0
    assert first == {0.0: 1.0, 1.0: 2.0, 24.0: 25.0}


def test_a_late_venue_has_not_seen_the_first_move_at_once() -> None:
    accounts = {**perpetual_long("long", 10.0, 0.2), "rich": {"USD": 1e6}}
    path = path_of([0.75, 0.75, 0.75], hours=6.0)
    rows = run(venue_of(book_of(accounts)), path, Rules(fund=1e7, impact=QUIET, delay_hours=6.0)).rows
    assert [row.liquidated for row in rows] == [0, 1, 0]
