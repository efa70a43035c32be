"""The Greeks-based approximation: exact where it must be, of third order nearby, and honest about the rest."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import ConfigError
from scenarios import revalue
from scenarios.families import grid
from scenarios.shocks import make
from scenarios.taylor import taylor_error
from tests.examples import market_and_instruments

INSTRUMENTS, MARKET = market_and_instruments()
GRID = grid.scenarios(grid.Params(), MARKET)


def both(size: float, direction: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Full and approximate P&L of moves of price and vol of this size, to both sides."""
    price, vol = (size * part * np.array([1.0, -1.0]) for part in direction)
    moves = make(["there", "back"], price, vol)
    full, approximate = (revalue(INSTRUMENTS, MARKET, moves, method=m, tick=None) for m in ("full", "taylor"))
    return full.pnl, approximate.pnl


def test_linear_products_are_exact() -> None:
    full, approximate = (revalue(INSTRUMENTS, MARKET, GRID, method=m, tick=None) for m in ("full", "taylor"))
    linear = ~INSTRUMENTS.is_option
    assert approximate.pnl[linear] == pytest.approx(full.pnl[linear], abs=1e-9)
    assert np.array_equal(approximate.value, full.value)
    assert np.array_equal(approximate.delta, full.delta)


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 10.0), (1.0, 1.0), (1.0, -1.0)])
def test_the_error_is_of_third_order(direction: tuple[float, float]) -> None:
    """Half the move, an eighth of the error, whether price, vol or both move."""
    option = INSTRUMENTS.is_option
    errors = [np.abs(np.subtract(*both(size, direction)))[option].max() for size in (0.001, 0.0005, 0.00025)]
    assert errors[0] / errors[1] == pytest.approx(8.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(8.0, rel=0.1)


def test_time_alone_costs_theta() -> None:
    moves = make(["t"], np.zeros(1), time_step_years=np.array([0.001 / 365]))
    full, approximate = (revalue(INSTRUMENTS, MARKET, moves, method=m, tick=None) for m in ("full", "taylor"))
    option = INSTRUMENTS.is_option
    assert approximate.pnl[option] == pytest.approx(full.pnl[option], rel=1e-3, abs=1e-6)
    assert np.all(full.pnl[option] <= 1e-9)
    assert full.pnl[option].min() < -1e-3


def test_weights_count_the_same() -> None:
    moves = make(["a", "b"], np.array([0.1, 0.1]), weight=np.array([1.0, 0.25]))
    pnl = revalue(INSTRUMENTS, MARKET, moves, method="taylor", tick=None).pnl
    assert pnl[:, 1] == pytest.approx(0.25 * pnl[:, 0], rel=1e-14)


def test_the_error_is_measured() -> None:
    full, approximate = (revalue(INSTRUMENTS, MARKET, GRID, method=m, tick=None) for m in ("full", "taylor"))
    measured = taylor_error(full, approximate)
    gap = np.abs(full.pnl - approximate.pnl)
    row, column = INSTRUMENTS.index_of()[measured.instrument], GRID.label.tolist().index(measured.scenario)
    assert measured.largest == gap.max() == gap[row, column]
    assert np.array_equal(measured.by_scenario, gap.max(axis=0))
    assert np.array_equal(measured.by_instrument, gap.max(axis=1))
    assert (measured.full_pnl, measured.taylor_pnl) == (full.pnl[row, column], approximate.pnl[row, column])
    # Far from the market the expansion is no margin: here it is off by more than a quarter of the coin.
    assert measured.largest > 0.25 * MARKET.spot[0]


def test_only_like_is_compared() -> None:
    full = revalue(INSTRUMENTS, MARKET, GRID)
    other = revalue(INSTRUMENTS, MARKET, make(["a"], np.zeros(1)))
    with pytest.raises(ConfigError, match="not about the same"):
        taylor_error(full, other)
