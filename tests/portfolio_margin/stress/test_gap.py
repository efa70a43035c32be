"""Jumps: their cost, the fund that survives them, the nearest that exhausts it, and what would have prevented it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from portfolio_margin import margin
from portfolio_margin.stress.gap import Params, fund_size, gap_losses, reverse_stress
from portfolio_margin.stress.moves import RECENT, Moves, fitted
from portfolio_margin.stress.prevention import prevented_by, topped_up
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.run import Venue, run
from pricing import ConfigError, DataError
from scenarios.families import grid
from tests.portfolio_margin.books import MARKET, book_of
from tests.portfolio_margin.stress.test_run import QUIET, perpetual_long
from tests.portfolio_margin.stress.venues import MODEL, path_of, venue_of

NAMES = np.array(["BTC", "ETH"])
LONG = perpetual_long("long", 10.0, 0.2)
NOTIONAL = 10.0 * LONG["long"]["BTC-PERPETUAL"]


def test_losses_of_a_linear_account_by_hand() -> None:
    """A long perpetual of N dollars loses N (1 - exp x); what is beyond its cash is the fund's."""
    moves = np.zeros((5, 3))
    moves[:, 0] = np.log([1.1, 0.9, 0.8, 0.7, 0.5])
    loss = gap_losses(venue_of(book_of(LONG)), moves)
    cash = LONG["long"]["USD"]
    expected = [max(NOTIONAL * (1.0 - np.exp(x)) - cash, 0.0) for x in moves[:, 0]]
    assert loss == pytest.approx(expected, abs=0.02)
    charged = gap_losses(venue_of(book_of(LONG)), moves, 0.01)
    assert charged[3] - loss[3] == pytest.approx(0.01 * NOTIONAL)


def test_losses_are_those_of_the_engine_after_one_gap() -> None:
    """Whoever is bankrupt after the jump is closed in the next step at the same prices: the same shortfall."""
    short = {"BTC-PERPETUAL": -LONG["long"]["BTC-PERPETUAL"], "BTC": -1.0, "USD": 0.4 * NOTIONAL}
    accounts = {**LONG, "short": short, "rich": {"BTC": 2.0}}
    jump = np.array([np.log(1.6), 0.0, 0.0])
    path = path_of([1.0, 1.6], hours=0.001)
    result = run(venue_of(book_of(accounts)), path, Rules(cost=0.0, penalty=0.0, fund=1e9, impact=QUIET))
    loss = gap_losses(venue_of(book_of(accounts)), jump[None, :])
    assert result.total("shortfall") == pytest.approx(float(loss[0]), abs=0.05) and loss[0] > 1e4


def test_the_fund_that_survives_by_the_distribution() -> None:
    """One long perpetual: the quantile of its loss is that of a t distribution, to a few standard errors."""
    params = Params(draws=8_000, level=0.99, cost=0.0)
    found = fund_size(venue_of(book_of(LONG)), params)
    sigma = np.sqrt(RECENT.scale[0, 0])
    fall = np.exp(sigma * stats.t.ppf(0.01, RECENT.df))
    expected = max(NOTIONAL * (1.0 - fall) - LONG["long"]["USD"], 0.0)
    assert expected == 0.0 == found.amount
    thin = perpetual_long("thin", 10.0, 0.02)
    found = fund_size(venue_of(book_of(thin)), params)
    expected = NOTIONAL * (1.0 - fall) - thin["thin"]["USD"]
    assert found.standard_error > 0 and abs(found.amount - expected) < 4.0 * found.standard_error
    again = fund_size(venue_of(book_of(thin)), params)
    assert again.amount == found.amount and again.standard_error == found.standard_error
    assert fund_size(venue_of(book_of(thin)), replace(params, seed=2)).amount != found.amount


def test_the_nearest_jump_by_hand() -> None:
    """One long perpetual: the loss depends on BTC alone, so the distance is that of its own log move."""
    found = reverse_stress(venue_of(book_of(LONG)), 50_000.0, Params(cost=0.0))
    fall = np.log(1.0 - (50_000.0 + LONG["long"]["USD"]) / NOTIONAL)
    assert found.distance == pytest.approx(-fall / np.sqrt(RECENT.scale[0, 0]), rel=0.01)
    assert found.move[0] == pytest.approx(np.expm1(fall), rel=0.01)
    # ETH goes along as far as it is correlated, which costs nothing and is most likely.
    expected = RECENT.scale[:, 0] / RECENT.scale[0, 0] * fall
    assert found.move[1] == pytest.approx(np.expm1(expected[1]), abs=0.05) and found.loss >= 50_000.0
    assert found.columns()["factor"].tolist() == ["BTC", "ETH", "vol"]
    safe = reverse_stress(venue_of(book_of({"rich": {"USD": 1e6}})), 1.0, Params(directions=10))
    assert np.isinf(safe.distance) and np.all(np.isnan(safe.move)) and safe.likelihood == 0.0
    with pytest.raises(ConfigError, match="fund = -1"):
        reverse_stress(venue_of(book_of(LONG)), -1.0)


def test_a_fund_that_is_exhausted_before_anything_moves() -> None:
    """Debts by hand: cash below 0, and the cost of closing; who owes less than the fund leaves a jump to look for."""
    accounts = {**LONG, "broke": {"USD": -700.0}, "worse": {"USD": -900.0}}
    venue = venue_of(book_of(accounts))
    found = reverse_stress(venue, 1_600.0, Params(directions=10))
    assert found.owing == (("worse", 900.0), ("broke", 700.0))
    assert found.distance == 0.0 and found.likelihood == 1.0 and found.loss == 1_600.0 and not found.move.any()
    more = reverse_stress(venue, 1_600.5, Params(directions=10))
    assert more.owing == () and more.distance > 0.5 and more.move[0] < -0.01
    thin = perpetual_long("thin", 10.0, 0.001)
    charged = reverse_stress(venue_of(book_of(thin)), 0.0, Params(directions=10, cost=0.01))
    ((account, debt),) = charged.owing
    assert account == "thin" and debt == pytest.approx(0.01 * NOTIONAL - thin["thin"]["USD"])


def test_moves() -> None:
    """Distances are independent of the units, draws have the distribution, the fit finds it again."""
    assert RECENT.distance(np.zeros((1, 3)), 24.0)[0] == 0.0
    one = np.linalg.cholesky(RECENT.over(6.0))
    assert RECENT.distance((one @ [0.0, 2.0, 0.0])[None, :], 6.0)[0] == pytest.approx(2.0)
    draws = RECENT.draws(40_000, 24.0, 5)
    assert np.median(RECENT.distance(draws, 24.0) ** 2 / 3) == pytest.approx(stats.f.median(3, RECENT.df), rel=0.03)
    again = fitted(draws[:4_000], NAMES)
    assert again.df == pytest.approx(RECENT.df, abs=0.4) and np.allclose(
        again.scale, RECENT.scale, rtol=0.15, atol=1e-5
    )
    swapped = RECENT.for_underlyings(NAMES[::-1])
    assert swapped.scale[0, 0] == RECENT.scale[1, 1] and swapped.scale[0, 2] == RECENT.scale[1, 2]
    with pytest.raises(DataError, match="no moves of it are known"):
        RECENT.for_underlyings(np.array(["SOL"]))
    for scale, message in ((np.eye(2), "symmetric"), (-np.eye(3), "eigenvalues")):
        with pytest.raises(DataError, match=message):
            Moves(NAMES, scale, 4.0)
    with pytest.raises(DataError, match="df = 2"):
        Moves(NAMES, np.eye(3), 2.0)


def ranged(venue: Venue, value: float) -> Result:
    wider = replace(
        venue, scenarios=lambda market: grid.scenarios(grid.Params(price_range=value, tail_moves=()), market)
    )
    return run(topped_up(wider), path_of([1.0, 0.7]), Rules(cost=0.0, penalty=0.0, impact=QUIET))


def test_the_scan_range_that_would_have_been_enough() -> None:
    """A fall of 30 % in one step: who must have 30 % of the notional survives it, to the tolerance."""
    venue = venue_of(book_of(LONG))
    found = prevented_by("price_range", lambda value: ranged(venue, value), 0.1, 0.9, 0.01)
    assert found.value == pytest.approx(0.30, abs=0.011) and len(found.trials) <= 10
    assert all((trial.beyond > 0.0) == (trial.value < found.value) for trial in found.trials)
    never = prevented_by("price_range", lambda value: ranged(venue, value), 0.1, 0.2, 0.01)
    assert np.isnan(never.value) and [trial.value for trial in never.trials] == [0.1, 0.2]
    enough = prevented_by("price_range", lambda value: ranged(venue, value), 0.5, 0.6, 0.01)
    assert enough.value == 0.5 and len(enough.trials) == 1
    with pytest.raises(ConfigError, match=r"low = 0.5 must be below high"):
        prevented_by("price_range", lambda value: ranged(venue, value), 0.5, 0.5, 0.01)


def test_margin_calls_are_answered() -> None:
    accounts = {**LONG, "rich": {"USD": 1e6}, "broke": {"BTC-PERPETUAL": 1_000.0, "USD": -10.0}}
    before = venue_of(book_of(accounts))
    wide = replace(before, scenarios=lambda market: grid.scenarios(grid.Params(price_range=0.4), market))
    after = topped_up(wide)
    assert after.paid is not None and before.book.account_id.tolist() == sorted(accounts)
    for name, amount in zip(sorted(accounts), after.paid[0].tolist(), strict=True):
        accounts[name] = {**accounts[name], "USD": accounts[name]["USD"] + amount}
    statement = margin(book_of(accounts), after.arrays(MARKET), MARKET, MODEL, backend="numpy")
    row = {str(name): number for number, name in enumerate(statement.account)}
    assert statement.available_funds[row["long"]] == pytest.approx(0.0, abs=0.02)
    assert statement.equity[row["rich"]] == 1e6 and statement.equity[row["broke"]] == -10.0
