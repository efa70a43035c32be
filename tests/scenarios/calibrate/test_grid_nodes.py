"""Nodes of a grid: the error that no book exceeds, against books made by other means on another library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import ndtr

from pricing import ConfigError
from pricing.arrays import FloatArray
from scenarios.backends.grid_jax import smooth_largest
from scenarios.calibrate.grid_nodes import (
    PLACES,
    GridTerms,
    equal_nodes,
    fit_grid,
    grid_error,
    strip,
    values,
    vol_error,
)
from scenarios.calibrate.worst_book import worst_book

TERMS = GridTerms(price_range=0.18, vol=0.6, vol_up=0.43, vol_down=0.25, power=0.34)
LASTING = TERMS._replace(days=(0.0,))


def black(move: FloatArray, strike: float, days: float, vol: float, sign: float) -> FloatArray:
    """Value after a price move of an option on a forward of 1."""
    forward, deviation = 1.0 + move, max(vol, 0.0) * np.sqrt(max(days, 0.0) / 365.0)
    if deviation == 0.0:
        return np.maximum(sign * (forward - strike), 0.0)
    d = (np.log(forward / strike) + 0.5 * deviation**2) / deviation
    return np.asarray(sign * (forward * ndtr(sign * d) - strike * ndtr(sign * (d - deviation))))


def losses(terms: GridTerms, moves: FloatArray, legs: list[tuple[float, float, float]]) -> FloatArray:
    """(L,M,3,D) losses of each leg (strike, days, sign) after every move, at the vols and days of the grid."""
    found = np.empty((len(legs), len(moves), 3, len(terms.days)))
    for n, (strike, days, sign) in enumerate(legs):
        share = (30.0 / max(days, 1.0)) ** terms.power
        now = black(np.zeros(1), strike, days, terms.vol, sign)
        for v, vol_move in enumerate((-terms.vol_down, 0.0, terms.vol_up)):
            for d, passed in enumerate(terms.days):
                vol = terms.vol * (1.0 + share * vol_move)
                found[n, :, v, d] = now - black(moves, strike, days - passed, vol, sign)
    return found


def missed(terms: GridTerms, nodes: FloatArray, fine: FloatArray, legs: list[tuple[float, float, float]],
           quantity: FloatArray, futures: float) -> float:  # fmt: skip
    """What a book loses on a fine grid beyond its losses on the nodes, a share of the range."""
    worst = []
    for places in (fine, nodes):
        moves = terms.price_range * places
        book = np.tensordot(quantity, losses(terms, moves, legs), 1) - futures * moves[:, None, None]
        worst.append(max(float(book.max()), 0.0))
    return (worst[0] - worst[1]) / terms.price_range


legs_of_books = st.lists(
    st.tuples(st.floats(-1.2, 1.2), st.floats(0.2, 60.0), st.sampled_from([-1.0, 1.0]), st.floats(-1.0, 1.0)),
    min_size=1,
    max_size=6,
)


@given(legs_of_books, st.floats(-1.0, 1.0), st.sampled_from([2, 3, 5, 10]))
@settings(max_examples=60, deadline=None)
def test_no_book_is_deceived_by_more_than_a_quarter_of_a_gap(
    legs: list[tuple[float, float, float, float]], futures: float, side: int
) -> None:
    """Any strikes, expiries, signs and quantities, of no library, with futures."""
    nodes = np.arange(-side, side + 1) / side
    quantity = np.array([leg[3] for leg in legs])
    options = [(1.0 + TERMS.price_range * place, days, sign) for place, days, sign, _ in legs]
    found = missed(TERMS, nodes, np.linspace(-1.0, 1.0, 241), options, quantity, futures)
    assert found <= np.abs(quantity).sum() * 0.25 / side + 1e-12


def test_a_search_by_other_means_finds_what_is_stated_and_no_more() -> None:
    """The largest miss over all books of butterfly strikes, a programme in quantities for each fine move."""
    side, stated = 3, 0.25 / 3
    nodes, strikes = np.arange(-side, side + 1) / side, np.arange(-10, 11) / 9.0
    legs = [(1.0 + TERMS.price_range * place, 2.0, sign) for place in strikes for sign in (-1.0, 1.0)]
    on_grid = losses(TERMS, TERMS.price_range * nodes, legs).reshape(len(legs), -1)
    moves = np.repeat(TERMS.price_range * nodes, 3 * len(TERMS.days))
    found = []
    for place in np.linspace(-1.0, 1.0, 37):
        fine = losses(TERMS, np.array([TERMS.price_range * place]), legs)[:, 0, 1, 1]
        # Of long, short, futures bought and sold, and the worst loss on the grid: sizes of options add up to 1.
        gain = np.concatenate([-fine, fine, TERMS.price_range * np.array([place, -place]), [1.0]])
        rows = np.column_stack([on_grid.T, -on_grid.T, -moves, moves, -np.ones(len(moves))])
        size = np.concatenate([np.ones(2 * len(legs)), np.zeros(3)])
        solved = linprog(gain, np.vstack([rows, size]), np.append(np.zeros(len(moves)), 1.0), method="highs")
        found.append(-solved.fun / TERMS.price_range)
    assert max(found) <= stated + 1e-9
    # Strikes of ninths and gaps of thirds: the nearest to the middle of a gap is a third of it away, 2/9 of the gap.
    assert max(found) == pytest.approx(0.25 / 3 * 8.0 / 9.0, rel=1e-6)


WIDE = TERMS._replace(price_range=0.9)


@pytest.mark.parametrize(
    ("terms", "side"),
    [(TERMS, 4), (LASTING, 4), (TERMS._replace(price_range=0.8), 4), (WIDE, 4), (WIDE._replace(days=(0.0,)), 4)],
)
def test_the_worst_book_loses_what_is_said(terms: GridTerms, side: int) -> None:
    nodes = np.arange(-side, side + 1) / side
    worst = worst_book(terms, nodes)
    held = np.flatnonzero(np.abs(worst.quantity) > 1e-9)
    assert np.abs(worst.quantity).sum() == pytest.approx(1.0)
    assert worst.miss <= worst.bound * (1.0 + 1e-9) <= vol_error(terms, nodes) * (1.0 + 1e-6)
    assert worst.miss == pytest.approx(worst.bound, rel=1e-3)
    legs = [(float(worst.strike[n]), float(worst.expiry[n]), 1.0) for n in held]
    assert worst.vol_move in (-terms.vol_down, 0.0, terms.vol_up)
    fine = np.append(np.linspace(-1.0, 1.0, 161), worst.move / terms.price_range)
    found = missed(terms, nodes, fine, legs, worst.quantity[held], worst.futures)
    assert found == pytest.approx(worst.miss, rel=1e-6)
    if terms.expiring:
        assert worst.miss == pytest.approx(0.25 / side, rel=1e-9)


@given(legs_of_books, st.floats(-1.0, 1.0), st.floats(0.6, 0.9), st.sampled_from([2, 4]))
@settings(max_examples=30, deadline=None)
def test_no_book_is_deceived_by_more_on_wide_ranges(
    legs: list[tuple[float, float, float, float]], futures: float, reach: float, side: int
) -> None:
    """Up to the widest range there is, with strikes down to a thousandth of the forward, and without an expiry at the
    least as the strip says, of strikes that it has not."""
    nodes, quantity = np.arange(-side, side + 1) / side, np.array([leg[3] for leg in legs])
    fine = np.linspace(-1.0, 1.0, 161)
    options = [(max(1.0 + reach * place, 1e-3), days, sign) for place, days, sign, _ in legs]
    wide = TERMS._replace(price_range=reach)
    found = missed(wide, nodes, fine, options, quantity, futures)
    assert found <= np.abs(quantity).sum() * 0.25 / side + 1e-12
    lasting = wide._replace(days=(0.0,))
    options = [(strike, max(days, 1.0), sign) for strike, days, sign in options]
    # Strikes between those of the strip: a tenth more is allowed.
    found = missed(lasting, nodes, fine, options, quantity, futures)
    assert found <= 1.1 * np.abs(quantity).sum() * grid_error(lasting, nodes)


@pytest.mark.parametrize("reach", [0.5, 0.8, 0.81, 0.9])
def test_strikes_are_above_0_and_none_is_left_out(reach: float) -> None:
    strike = strip(TERMS._replace(price_range=reach, expiry_days=(7.0,)), np.array([-1.0, 0.0, 1.0]))[0]
    assert (strike > 1e-6).all()
    wanted = [1.0 + reach * n / 32.0 for n in range(-40, 41) if 1.0 + reach * n / 32.0 > 1e-6]
    assert np.sort(strike) == pytest.approx(np.sort([*wanted, 1.0 - reach / 2.0, 1.0 + reach / 2.0]))


def test_values_are_those_of_the_text() -> None:
    options = strip(TERMS, np.array([-1.0, 0.0, 1.0]))
    moves, vols, days = np.array([-0.1, 0.0, 0.07]), np.array([-0.25, 0.43]), np.array([0.0, 2.0])
    ours = values(options, moves, vols, days)
    strike, expiry, vol, share = options
    for n in np.random.default_rng(1).integers(0, len(strike), 20).tolist():
        for v, vol_move in enumerate(vols):
            for d, passed in enumerate(days):
                shocked = float(vol[n] * (1.0 + share[n] * vol_move))
                wanted = black(moves, float(strike[n]), float(expiry[n] - passed), shocked, 1.0)
                assert ours[n, :, v, d] == pytest.approx(wanted, abs=1e-13)


def test_derivatives_by_the_nodes() -> None:
    options, vols, days = strip(LASTING, np.zeros(0)), LASTING.vol_moves, np.array(LASTING.days)
    moves = LASTING.price_range * np.array([-1.0, -0.4, 0.0, 0.5, 1.0])

    def error(at: FloatArray) -> tuple[float, FloatArray]:
        return smooth_largest(at, options, vols, days, PLACES, 1e-3)

    _, gradient = error(moves)
    for n in range(5):
        step = np.zeros(5)
        step[n] = 1e-6
        difference = (error(moves + step)[0] - error(moves - step)[0]) / 2e-6
        assert gradient[n] == pytest.approx(difference, abs=1e-6)
    nodes = moves / LASTING.price_range
    sharp, _ = smooth_largest(moves, strip(LASTING, nodes), vols, days, PLACES, 1e-7)
    assert sharp / LASTING.price_range == pytest.approx(grid_error(LASTING, nodes), rel=1e-4)


def test_the_curve_falls_and_equal_nodes_are_the_best_where_something_expires() -> None:
    found = fit_grid(TERMS, 0.03)
    assert found.equal == pytest.approx(0.25 / found.side) and np.array_equal(found.equal, found.fitted)
    assert found.error == found.equal[-1] <= 0.03 < found.equal[-2]
    assert np.array_equal(found.nodes, equal_nodes(0.03)) and len(found.nodes) == 2 * 9 + 1
    assert found.error <= found.vol_error < 0.04 and "of 1 day bought" in found.worst_kind
    # A node that is moved leaves a wider gap, and a book that shows it.
    moved = found.nodes.copy()
    moved[4] += 0.01
    assert grid_error(TERMS, moved) == pytest.approx(found.error + 0.0025)
    assert worst_book(TERMS, moved).miss == pytest.approx(found.error + 0.0025, rel=1e-6)


def test_where_nothing_expires_nodes_are_moved() -> None:
    equal = grid_error(LASTING, np.arange(-4, 5) / 4.0)
    assert equal < 0.25 / 4
    found = fit_grid(LASTING, 0.99 * equal)
    assert found.side[-1] == 4 and found.error == found.fitted[-1] <= 0.99 * equal < found.equal[-1]
    assert grid_error(LASTING, found.nodes) == pytest.approx(found.error)
    assert found.nodes[0] == -1.0 and found.nodes[-1] == 1.0 and 0.0 in found.nodes
    assert np.all(np.diff(found.nodes) > 0.0)


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 nodes on each side leave"):
        fit_grid(TERMS, 1e-3, most_side=2)
    with pytest.raises(ConfigError, match="most_side = 0"):
        fit_grid(TERMS, 0.1, most_side=0)
