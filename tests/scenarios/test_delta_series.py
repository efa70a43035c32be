"""Series of deltas: how long they must be, what their terms count, and that no leg or move tells them from look-ups."""

from __future__ import annotations

from typing import Any

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.xp import numba as XP
from scenarios import portfolio_pnl
from scenarios.backends import delta_series as series
from tests.scenarios.test_portfolio import gross, legs

LEVELS, STARTS = series.LEVELS, series.STARTS


@pytest.mark.parametrize("steps", range(1, series.MOST_STEPS + 1))
def test_what_series_leave_out_is_below_the_last_digit(steps: int) -> None:
    """The integral of what is left of N(d + r s) after terms up to the order, s from 0 to 1 and to -1."""
    order, spread = steps * series.STEP, mpmath.mpf(series.SPREADS[steps - 1])
    with mpmath.workdps(40):
        for d in (mpmath.mpf(n) / 4 for n in range(-16, 17)):
            lower, hermite, density, left_out = mpmath.mpf(0), mpmath.mpf(1), mpmath.npdf(d), [mpmath.mpf(0)] * 2
            for n in range(1, order + 60):
                if n > order:
                    term = (-1) ** (n - 1) * density * hermite * spread**n / (mpmath.factorial(n) * (n + 1))
                    left_out = [left_out[0] + term, left_out[1] - (-1) ** n * term]
                lower, hermite = hermite, d * hermite - (n - 1) * lower
            assert max(map(abs, left_out)) < series.TAIL
    # A bound that is far from what it bounds would waste time.
    assert steps == 1 or series.SPREADS[steps - 1] > series.SPREADS[steps - 2]


def test_a_series_ends_where_it_may() -> None:
    steps_of = numba.njit(lambda spread: series.steps_of(spread))
    for steps, largest in enumerate(series.SPREADS, start=1):
        assert steps_of(largest) == steps
        assert steps_of(largest * (1.0 + 1e-9)) == min(steps + 1, series.MOST_STEPS)
    assert steps_of(0.0) == 1


def integral(n: int, middle: float, reach: float, away: float) -> float:
    """Of e^(middle + s) (s / reach)^n over s from 0 to `away`."""
    return float(mpmath.quad(lambda s: mpmath.exp(s + middle) * (s / reach) ** n, [0, away]))


@numba.njit
def weights_of(moves: Any, count: int, weights: Any, found: Any) -> None:
    """What `weigh_moves` finds, its limits and places in an array."""
    limits, starts = XP.scratch(LEVELS), XP.scratch(STARTS)
    for n in range(STARTS):
        starts[n] = -1.0
    series.weigh_moves(moves, count, weights, limits, starts)
    for n in range(LEVELS):
        found[n] = limits[n]
    for n in range(STARTS):
        found[LEVELS + n] = starts[n]


@pytest.mark.parametrize("moves", [np.linspace(-0.16, 0.16, 16), np.linspace(-0.6, 0.9, 61), np.repeat([-0.1, 0.2], 9)])
def test_what_a_term_counts_is_an_integral(moves: np.ndarray) -> None:
    growth, log_growth = 1.0 + moves, np.log1p(moves)
    weights, found = np.empty(series.room_of_weights(len(moves))), np.empty(LEVELS + STARTS)
    weights_of(np.concatenate([growth, log_growth]), len(moves), weights, found)
    table = weights.reshape(LEVELS, -1, series.ROWS, series.LANES)
    for level in range(LEVELS):
        groups = 1 << level
        reach = (log_growth[-1] - log_growth[0]) / (2 * groups)
        assert found[level] > 0.0
        starts = found[LEVELS + groups + level - 1 :][: groups + 1].astype(int)
        assert starts[0] == 0 and starts[-1] == len(moves) and (np.diff(starts) >= 0).all()
        for s in (0, len(moves) // 3, len(moves) - 1):
            group = np.searchsorted(starts, s, side="right") - 1
            middle = log_growth[0] + (2 * group + 1) * reach
            away = log_growth[s] - middle
            assert abs(away) < reach * (1.0 + 1e-12)
            for n in (1, 2, 7, 20, series.ORDER):
                exact = integral(n, middle, reach, away)
                held = table[level, s // 8, n - 1, s % 8] * float(mpmath.factorial(n))
                # A distance of few digits loses as many of its powers.
                assert held == pytest.approx(exact, rel=1e-14 * n, abs=1e-15 / n)


def test_wide_and_single_moves_are_looked_up() -> None:
    for moves in (np.zeros(1), np.linspace(-0.999, 90.0, 20)):
        weights, found = np.empty(series.room_of_weights(len(moves))), np.empty(LEVELS + STARTS)
        weights_of(np.concatenate([1.0 + moves, np.log1p(moves)]), len(moves), weights, found)
        assert found[0] == 0.0


@pytest.mark.parametrize("count", [16, 40, 128])
def test_every_leg_agrees_with_the_reference(count: int) -> None:
    """Legs of all deviations, near and far: looked up, and with series of any order around one, two, four middles."""
    vols, moves = np.geomspace(1e-3, 3.0, 120), (np.linspace(-0.2, 0.25, count), [-0.3, 0.0, 1.0], [0.0, 0.01])
    for n, vol in enumerate(vols):
        strike, sign = 100.0 * np.exp((n % 9 - 4) * 0.4 * vol), 1.0 - 2.0 * (n % 2)
        terms = 100.0, strike, 1.0, vol, sign, 1.0, moves, 0.98
        found, expected = (portfolio_pnl(*terms, backend=backend).pnl for backend in ("numba", "numpy"))
        assert np.abs(found - expected).max() < 2e-15 * max(125.0, strike)


def test_the_order_of_legs_and_moves_leaves_roundings_only() -> None:
    held = legs(300, seed=9)
    prices = np.linspace(-0.3, 0.2, 25)
    given = [held[name] for name in ("forward", "strike", "tau", "vol", "sign", "quantity")]
    steps = [-0.2, 0.3], [0.0, 0.02]
    found = portfolio_pnl(*given, (prices, *steps), held["discount"])
    random = np.random.default_rng(4)
    rows, moved = random.permutation(300), random.permutation(25)
    shuffled = portfolio_pnl(*(column[rows] for column in given), (prices, *steps), held["discount"][rows])
    assert np.abs(shuffled.pnl - found.pnl).max() < 1e-15 * gross(held)
    turned = portfolio_pnl(*given, (prices[moved], *steps), held["discount"])
    # The same moves are the same arithmetic, wherever their results go.
    assert turned.pnl.tobytes() == np.ascontiguousarray(found.pnl[..., moved]).tobytes()
    assert turned.loss == found.loss and turned.worst is not None and found.worst is not None
    assert moved[turned.worst[2]] == found.worst[2] and turned.worst[:2] == found.worst[:2]


near = st.floats(-0.5, 0.5) | st.sampled_from([0.0, 1e-17, -1e-17, 5e-324, 0.1])


@settings(max_examples=150, deadline=None)
@given(
    prices=st.lists(near, min_size=1, max_size=40),
    vol=st.floats(1e-4, 5.0),
    tau=st.floats(0.0, 2.0),
    moneyness=st.floats(-1.5, 1.5),
    sign=st.sampled_from([1.0, -1.0]),
    vol_moves=st.lists(st.floats(-1.0, 2.0), min_size=1, max_size=3),
)
def test_any_moves(
    prices: list[float], vol: float, tau: float, moneyness: float, sign: float, vol_moves: list[float]
) -> None:
    """Equal ones, one far from the rest, hardly apart: as the reference has it, alone and in a portfolio."""
    strike = 100.0 * np.exp([moneyness, 0.0, -moneyness])
    terms = 100.0, strike, [tau, 0.3, 1.0], [vol, 0.4, 0.8], sign, [1.0, -2.0, 1.0], (prices, vol_moves, [0.0, 0.1])
    found, expected = (portfolio_pnl(*terms, backend=backend).pnl for backend in ("numba", "numpy"))
    assert np.abs(found - expected).max() < 1e-14 * max(150.0, strike.max())
