"""Nodes of a grid: exact derivatives, errors against brute force on another library, the curve, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from pricing import ConfigError
from scenarios.backends.grid_jax import largest_error, worst_on_grid
from scenarios.calibrate.grid_nodes import Books, GridTerms, deceptive_books, fit_grid, grid_error

TERMS = GridTerms(price_range=0.18, vol=0.6, vol_up=0.43, vol_down=0.25, power=0.34)
BOOKS = deceptive_books(TERMS)
VOLS = np.array([-TERMS.vol_down, 0.0, TERMS.vol_up])


def black(forward: float, strike: float, tau: float, vol: float, sign: float) -> float:
    deviation = vol * np.sqrt(tau)
    d = (np.log(forward / strike) + 0.5 * deviation**2) / deviation
    return float(sign * (forward * ndtr(sign * d) - strike * ndtr(sign * (d - deviation))))


def worst_by_hand(books: Books, row: int, moves: list[float]) -> float:
    losses = [0.0]
    for move in moves:
        for vol_move in VOLS:
            pnl = 0.0
            for n in np.flatnonzero(books.quantity[row]):
                strike, tau, vol, sign, share = (float(column[n]) for column in books.options)
                after = black(1.0 + move, strike, tau, vol * (1.0 + share * vol_move), sign)
                pnl += books.quantity[row, n] * (after - black(1.0, strike, tau, vol, sign))
            losses.append(-pnl)
    return max(losses)


def test_worst_losses_are_those_of_the_text() -> None:
    nodes = np.array([-1.0, -0.4, 0.0, 0.5, 1.0])
    ours = worst_on_grid(BOOKS.options, BOOKS.quantity, TERMS.price_range * nodes, VOLS)
    rows = np.random.default_rng(1).integers(0, len(BOOKS.kind), 25)
    wanted = [worst_by_hand(BOOKS, int(row), (TERMS.price_range * nodes).tolist()) for row in rows]
    assert ours[rows] == pytest.approx(wanted, abs=1e-13)


def test_derivatives_by_the_nodes() -> None:
    moves = TERMS.price_range * np.array([-1.0, -0.4, 0.0, 0.5, 1.0, 0.0])
    kept = np.arange(6) < 5
    fine = TERMS.price_range * np.linspace(-1.0, 1.0, 101)
    worst = worst_on_grid(BOOKS.options, BOOKS.quantity, fine, VOLS)

    def error(at: np.ndarray) -> tuple[float, np.ndarray]:
        return largest_error(at, kept, BOOKS.options, BOOKS.quantity, VOLS, worst, 1e-3)

    value, gradient = error(moves)
    for n in range(6):
        step = np.zeros(6)
        step[n] = 1e-6
        difference = (error(moves + step)[0] - error(moves - step)[0]) / 2e-6
        assert gradient[n] == pytest.approx(difference, abs=1e-6)
    missed = (worst - worst_on_grid(BOOKS.options, BOOKS.quantity, moves[:5], VOLS)).max()
    # Rounded-off maxima lie near the true ones.
    assert value == pytest.approx(missed, abs=6e-3)


def test_the_curve_falls_and_the_grid_keeps_its_error() -> None:
    found = fit_grid(TERMS, 0.03)
    assert np.all(found.fitted <= found.equal + 1e-12)
    assert np.all(np.diff(found.equal) < 0.0)
    assert found.fitted[-1] == found.error <= 0.03 < found.fitted[-2]
    assert found.nodes[0] == -1.0 and found.nodes[-1] == 1.0 and 0.0 in found.nodes
    assert np.all(np.diff(found.nodes) > 0.0)
    assert len(found.nodes) == 2 * int(found.side[-1]) + 1
    assert grid_error(TERMS, found.nodes) == pytest.approx(found.error)
    assert found.vol_error < 0.01 and found.worst_kind in BOOKS.kind
    # Nodes found are better than equal ones of the same number by more than a rounding.
    assert found.error < 0.95 * found.equal[-1]
    # Books that are not in the library, made of its options at random, are not deceived by more.
    random = np.random.default_rng(4)
    quantity = random.normal(size=(400, len(BOOKS.options[0])))
    quantity /= np.abs(quantity).sum(axis=1, keepdims=True)
    fine = worst_on_grid(BOOKS.options, quantity, TERMS.price_range * np.linspace(-1.0, 1.0, 241), VOLS)
    on_grid = worst_on_grid(BOOKS.options, quantity, TERMS.price_range * found.nodes, VOLS)
    assert (fine - on_grid).max() <= found.error * TERMS.price_range


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 nodes on each side leave"):
        fit_grid(TERMS, 1e-3, most_side=2)
    with pytest.raises(ConfigError, match="most_side = 0"):
        fit_grid(TERMS, 0.1, most_side=0)
