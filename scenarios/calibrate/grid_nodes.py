"""Where the price moves of a grid should stand, and how many it takes.

The error of a grid is the largest, over books made to deceive it, of the worst loss on a fine grid less that on the
grid: a share of the price range for a book of one contract in all. Books are butterflies, condors and calendars sold at
every place of the range, which lose most between nodes, and options and strangles sold, which lose most at its edge; of
a day to a month. Nodes stand at 0 and at both edges, the others where the error is least: a minimum found by descent
(BFGS) on a rounded-off error with exact derivatives (jax), from equal buckets on, rounding off less and less.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.errors import ConfigError
from scenarios.calibrate.vol_shocks import REFERENCE_DAYS

MOST_SIDE = 16
FINE_SIDE = 120
FINE_VOLS = 9
STRIKES_A_RANGE = 16
EXPIRY_DAYS = (1.0, 7.0, 30.0)
# Rounding-off of maxima, shares of the range.
SMOOTH = (3e-3, 1e-3, 3e-4)


class GridTerms(NamedTuple):
    """What a grid is for, one underlying with a forward of 1.

    price_range       relative
    vol               per sqrt(year), of every option
    vol_up, vol_down  relative moves at 30 days
    power             of their scaling over tenors up to 30 days
    """

    price_range: float
    vol: float
    vol_up: float
    vol_down: float
    power: float


class Books(NamedTuple):
    """Books made to deceive a grid.

    options   strike, tau, vol, sign, share of a vol move, (N,) each
    quantity  (B,N), sizes of a book adding up to 1
    kind      (B,) what each is
    """

    options: tuple[FloatArray, ...]
    quantity: FloatArray
    kind: tuple[str, ...]


class GridFit(NamedTuple):
    """The error curve, and the grid chosen on it.

    side        (C,) nodes on each side of 0
    equal       (C,) error with equal buckets
    fitted      (C,) error with nodes where it is least, never above that of equal ones
    nodes       (2 side + 1,) shares of the range from -1 to 1, of the smallest grid within the error allowed
    error       of that grid
    vol_error   that its three vols leave, against fine ones at the same price moves
    worst_kind  the kind of book that has the error
    """

    side: FloatArray
    equal: FloatArray
    fitted: FloatArray
    nodes: FloatArray
    error: float
    vol_error: float
    worst_kind: str


def fit_grid(terms: GridTerms, allowed: float, most_side: int = MOST_SIDE) -> GridFit:
    """The smallest grid whose error is allowed, and the errors of all up to it.

    allowed    largest error, share of the price range
    most_side  largest number of nodes on each side, 1 to 16

    ConfigError where not even that many are enough.
    """
    if not 1 <= most_side <= MOST_SIDE:
        raise ConfigError(f"most_side = {most_side!r}: must be from 1 to {MOST_SIDE}")
    books = deceptive_books(terms)
    worst = _worst(books, terms, np.arange(-FINE_SIDE, FINE_SIDE + 1) / FINE_SIDE)
    curve: list[tuple[float, float]] = []
    for side in range(1, most_side + 1):
        equal = np.arange(1, side + 1) / side
        half = np.concatenate([equal, equal])
        fitted = _descend(books, terms, worst, half)
        errors = [_error(books, terms, worst, _nodes(x)) for x in (half, fitted)]
        best = half if errors[0] <= errors[1] else fitted
        curve.append((errors[0], min(errors)))
        if curve[-1][1] <= allowed:
            break
    else:
        raise ConfigError(
            f"grid_error = {allowed!r}: {most_side} nodes on each side leave {curve[-1][1]:.2g} of the range"
        )
    nodes = _nodes(best)
    missed = worst - _worst(books, terms, nodes)
    fine_vols = np.linspace(-terms.vol_down, terms.vol_up, FINE_VOLS)
    vol_error = (_worst(books, terms, nodes, np.sort(np.append(fine_vols, 0.0))) - _worst(books, terms, nodes)).max()
    equal_errors, fitted_errors = np.array(curve).T
    return GridFit(
        np.arange(1.0, len(curve) + 1), equal_errors, fitted_errors, nodes, curve[-1][1],
        float(vol_error / terms.price_range), books.kind[int(np.argmax(missed))],
    )  # fmt: skip


def grid_error(terms: GridTerms, nodes: FloatArray) -> float:
    """The error of a grid of nodes, shares of the range."""
    books = deceptive_books(terms)
    worst = _worst(books, terms, np.arange(-FINE_SIDE, FINE_SIDE + 1) / FINE_SIDE)
    return _error(books, terms, worst, np.asarray(nodes, dtype=np.float64))


def deceptive_books(terms: GridTerms) -> Books:
    """Butterflies, condors, calendars, options and strangles, all sold, at every place of the range."""
    places = np.arange(-STRIKES_A_RANGE - 8, STRIKES_A_RANGE + 9)
    strikes = 1.0 + terms.price_range * places / STRIKES_A_RANGE
    count, expiries = len(strikes), len(EXPIRY_DAYS)
    strike, tau = np.tile(strikes, expiries), np.repeat(EXPIRY_DAYS, count) / DAYS_PER_YEAR
    share = (REFERENCE_DAYS / np.repeat(EXPIRY_DAYS, count)) ** terms.power
    options = (strike, tau, np.full(len(strike), terms.vol), np.where(strike >= 1.0, 1.0, -1.0), share)
    rows, kind = [], []

    def sell(name: str, legs: dict[int, float]) -> None:
        row = np.zeros(len(strike))
        for column, quantity in legs.items():
            row[column] = quantity
        rows.append(row / np.abs(row).sum())
        kind.append(name)

    for e, days in enumerate(EXPIRY_DAYS):
        for n in range(count):
            at = e * count + n
            sell(f"option of {days:g} days", {at: -1.0})
            if n < count // 2:
                sell(f"strangle of {days:g} days", {at: -1.0, (e + 1) * count - 1 - n: -1.0})
            for wide in (1, 2, 4):
                if wide <= n < count - wide:
                    sell(f"butterfly of {days:g} days", {at - wide: -1.0, at: 2.0, at + wide: -1.0})
                if wide <= n < count - 2 * wide:
                    legs = {at - wide: -1.0, at: 1.0, at + wide: 1.0, at + 2 * wide: -1.0}
                    sell(f"condor of {days:g} days", legs)
            if e:
                sell(f"calendar of {days:g} days", {at: -1.0, at - count: 1.0})
    return Books(options, np.array(rows), tuple(kind))


def _backend() -> Any:
    return importlib.import_module("scenarios.backends.grid_jax")


def _vols(terms: GridTerms) -> FloatArray:
    return np.array([-terms.vol_down, 0.0, terms.vol_up])


def _worst(books: Books, terms: GridTerms, nodes: FloatArray, vols: FloatArray | None = None) -> FloatArray:
    vol_moves = _vols(terms) if vols is None else vols
    found: FloatArray = _backend().worst_on_grid(books.options, books.quantity, terms.price_range * nodes, vol_moves)
    return found


def _error(books: Books, terms: GridTerms, worst: FloatArray, nodes: FloatArray) -> float:
    return float(max((worst - _worst(books, terms, nodes)).max(), 0.0) / terms.price_range)


def _nodes(half: FloatArray) -> FloatArray:
    """Places of both sides, rising from 0 to 1 each, as nodes from -1 to 1."""
    down, up = np.split(half, 2)
    return np.concatenate([-down[::-1], [0.0], up])


def _descend(books: Books, terms: GridTerms, worst: FloatArray, half: FloatArray) -> FloatArray:
    """Places of least error near given ones; what moves are the logarithms of the gaps between them."""
    from scipy.optimize import minimize

    side = len(half) // 2
    if side == 1:
        return half
    kept = np.arange(2 * MOST_SIDE + 1) < 2 * side + 1
    gaps = np.concatenate([np.diff(part, prepend=0.0) for part in np.split(half, 2)])
    point = np.log(gaps)

    def places(at: FloatArray) -> FloatArray:
        parts = [np.exp(part) for part in np.split(at, 2)]
        return np.concatenate([np.cumsum(part) / part.sum() for part in parts])

    def loss(at: FloatArray, smooth: float) -> tuple[float, FloatArray]:
        here = places(at)
        moves = np.zeros(len(kept))
        moves[: 2 * side + 1] = terms.price_range * _nodes(here)
        value, by_move = _backend().largest_error(
            moves, kept, books.options, books.quantity, _vols(terms), worst, smooth * terms.price_range
        )
        by_place = np.concatenate([-by_move[:side][::-1], by_move[side + 1 : 2 * side + 1]]) * terms.price_range
        slopes = []
        for part, slope, place in zip(np.split(at, 2), np.split(by_place, 2), np.split(here, 2), strict=True):
            gap = np.exp(part) / np.exp(part).sum()
            # place[j] = sum of gaps up to j; a gap moves its own place and all beyond it, less what it takes from all.
            slopes.append(gap * (np.cumsum(slope[::-1])[::-1] - slope @ place))
        return value / terms.price_range, np.concatenate(slopes) / terms.price_range

    for smooth in SMOOTH:
        point = minimize(loss, point, args=(smooth,), jac=True, method="BFGS", options={"maxiter": 60}).x
    return places(point)
