"""P&L of standard books against plain Python, against the engine's own revaluation, and what books are."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import ConfigError
from scenarios import revalue
from scenarios.backtest import books, models, parameters, revaluation, snapshot, walk
from scenarios.families import grid, span
from scenarios.shocks import VolDynamics
from tests.naive import backtest as naive
from tests.scenarios.backtest.histories import walked

STANDARD = books.standard_books(120)


def legs_of(row: int) -> list[tuple[float, float, int, float]]:
    held = np.flatnonzero(STANDARD.quantity[row])
    columns = (STANDARD.tenor_days, STANDARD.deviations, STANDARD.sign, STANDARD.quantity[row])
    return [tuple(column[n].item() for column in columns) for n in held]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_pnl_against_plain_python(backend: str) -> None:
    random = np.random.default_rng(3)
    vol = np.array([0.2, 0.9])
    shape = (2, 6)
    moves = revaluation.Moves(
        random.uniform(-0.5, 0.6, shape), random.uniform(-0.6, 1.5, shape), random.choice([0.0, 1.0, 8.0], shape),
        random.uniform(0.2, 1.0, shape),
    )  # fmt: skip
    found = revaluation.book_pnl(STANDARD, revaluation.terms(STANDARD, vol, backend), moves, backend=backend)
    for row in range(0, len(STANDARD), 7):
        for day in range(2):
            for s in range(6):
                move = tuple(column[day, s].item() for column in moves[:3])
                wanted = naive.pnl(legs_of(row), STANDARD.forwards[row], STANDARD.hedged[row], vol[day], move)
                assert found[row, day, s] == pytest.approx(wanted * moves.weight[day, s], abs=1e-12)


def test_the_grid_of_a_walk_is_that_of_the_engine() -> None:
    """The same options under the same parameters by `families.grid` and `revalue`: the same worst loss."""
    given = walked(60)
    day, rows = 40, np.array([40])
    instruments, market = snapshot.snapshot(given, day, STANDARD, "X")
    params = grid.Params(price_range=0.12, vol_up=0.4, vol_down=0.3, dynamics=revaluation.DYNAMICS)
    arrays = revalue(instruments, market, grid.scenarios(params, market), tick=None)
    held = snapshot.quantities(given, day, STANDARD)
    wanted = np.maximum(-(held @ arrays.pnl).min(axis=1), 0.0) / given.price[day]
    path = parameters.fixed(0.12, 0.4, 0.3)(given)
    model = models.over_layout(path, np.arange(len(given)), models.grid_layout(1.0))
    found = walk.margins(given, STANDARD, model, rows)[0]
    assert found == pytest.approx(wanted, abs=1e-12)
    assert found.max() > 0.05


def test_the_scenarios_of_span_are_those_of_the_engine() -> None:
    given = walked(60)
    instruments, market = snapshot.snapshot(given, 40, STANDARD, "X")
    params = span.Params(price_scan_range=0.1 * float(market.spot[0]), vol_scan_range=0.3, look_ahead_years=1.0 / 365.0)
    arrays = revalue(instruments, market, span.scenarios(params, market), tick=None)
    wanted = -(snapshot.quantities(given, 40, STANDARD) @ arrays.pnl).min(axis=1) / given.price[40]
    path = parameters.fixed(0.1, 0.3, 0.3)(given)
    model = models.over_layout(path, np.arange(len(given)), models.span_layout(1.0))
    flat = VolDynamics()
    found = walk.margins(given, STANDARD, model, np.array([40]), flat)[0]
    assert found == pytest.approx(np.maximum(wanted, 0.0), abs=1e-12)


def test_opposite_books_have_opposite_losses_and_hedged_ones_no_delta() -> None:
    given = walked(80)
    rows = np.arange(60, 75)
    lost = revaluation.realised(given, STANDARD, rows, 1)
    names = STANDARD.name.tolist()
    for name in names:
        if name.startswith("long ") and "short" + name[4:] in names:
            assert lost[:, names.index(name)] == pytest.approx(-lost[:, names.index("short" + name[4:])], abs=1e-12)
    future = lost[:, names.index("long future")]
    assert future == pytest.approx(1.0 - given.price[rows + 1] / given.price[rows], abs=1e-12)
    hedged = np.flatnonzero(STANDARD.hedged)
    at = revaluation.terms(STANDARD, np.array([0.5]))
    move = np.array([[-1e-4, 1e-4]])
    moves = revaluation.Moves(move, np.zeros((1, 2)), np.zeros((1, 2)), np.ones((1, 2)))
    pnl = revaluation.book_pnl(STANDARD, at, moves)[hedged, 0]
    assert np.abs(pnl[:, 1] - pnl[:, 0]).max() < 1e-9


def test_a_straddle_is_a_put_and_a_call() -> None:
    row = STANDARD.name.tolist().index("long straddle 30d")
    calls = revaluation.Moves(*(np.full((1, 1), x) for x in (0.07, 0.2, 1.0, 1.0)))
    found = revaluation.book_pnl(STANDARD, revaluation.terms(STANDARD, np.array([0.6])), calls)[row, 0, 0]
    legs = [(30.0, 0.0, 1, 1.0), (30.0, 0.0, -1, 1.0)]
    assert found == pytest.approx(naive.pnl(legs, 0.0, False, 0.6, (0.07, 0.2, 1.0)), abs=1e-12)


def test_the_library_is_the_same_every_time_and_has_every_kind() -> None:
    again = books.standard_books(120)
    assert np.array_equal(again.quantity, STANDARD.quantity)
    assert not np.array_equal(books.standard_books(200, seed=2).quantity, books.standard_books(200).quantity)
    assert len(books.standard_books(200)) == 200
    kinds = {"futures", "straddle", "strangle", "condor", "calendar", "delta-hedged gamma", "wings", "random"}
    assert kinds <= set(STANDARD.family.tolist())
    with pytest.raises(ConfigError, match="count"):
        books.standard_books(1)
