"""Where the price moves of a grid should stand, how many it takes, and what the worst of all books loses between them.

The error of a grid is what any book loses on a fine grid beyond what it loses on the grid: a share of the price range,
for one option contract in all, whatever futures are held beside it. Let L(x) be the losses of all contracts at a price
move x. A book q loses q L(x) there and max q L(g) over the nodes g, so over all books with sum |q| = 1

    error(x) = max over q of [ q L(x) - max over g of q L(g) ] = min over w of || L(x) - sum w(g) L(g) ||,

w >= 0 with sum 1 and, since futures cost nothing, sum w(g) g = x; the norm is the largest component (duality of linear
programming). Straight lines between the two nodes beside x are one such w. A call rises with the price by 0 to 1 and is
convex, whatever its vol and tenor, so that it is nowhere farther than a quarter of the gap from its line:

    error <= (widest gap between nodes) / 4,                for every book of options and futures

and a call that expires within the days of the grid, struck midway between two nodes, bought and hedged, has just that.
No places have a smaller widest gap than equal ones. Where nothing expires within the days, values are smooth and nodes
that are not equal are a few percent better: a minimum is found by descent (BFGS) on a rounded-off error with exact
derivatives (jax), where that may save a node.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray, IntArray
from pricing.errors import ConfigError
from pricing.price import price
from scenarios.calibrate.vol_shocks import REFERENCE_DAYS

MOST_SIDE = 50
# Nodes are moved where equal ones are so near to the error allowed: what is gained is a few percent of it.
WORTH_FITTING = 1.1
STRIKES_A_RANGE, STRIKES_BEYOND = 32, 1.25
# Of the forward: a strike at 0 itself, which a range of 80 % has in its strip, is one but for rounding.
LEAST_STRIKE = 1e-9
# Vol moves between two of the grid's, beside them.
VOLS_BETWEEN = 3
# Places between two nodes, shares of the gap.
PLACES = np.arange(1, 8) / 8.0
# Rounding-off of the maximum, shares of the range.
SMOOTH = (3e-3, 1e-3, 3e-4)


class GridTerms(NamedTuple):
    """What a grid is for, one underlying with a forward of 1.

    price_range       relative
    vol               per sqrt(year), of every option
    vol_up, vol_down  relative moves at 30 days
    power             of their scaling over tenors up to 30 days
    days              that pass in the grid
    expiry_days       calendar days to expiry of the options there are
    """

    price_range: float
    vol: float
    vol_up: float
    vol_down: float
    power: float
    days: tuple[float, ...] = (0.0, 2.0)
    expiry_days: tuple[float, ...] = (1.0, 3.0, 7.0, 30.0)

    @property
    def expiring(self) -> bool:
        """Whether an option expires within the days of the grid."""
        return min(self.expiry_days) <= max(self.days)

    @property
    def vol_moves(self) -> FloatArray:
        """(3,) vol moves of the grid."""
        return np.array([-self.vol_down, 0.0, self.vol_up])

    @property
    def fine_vols(self) -> FloatArray:
        """Vol moves of the grid and between them."""
        low, none, high = self.vol_moves
        halves = [np.linspace(a, b, VOLS_BETWEEN + 2)[:-1] for a, b in ((low, none), (none, high))]
        return np.concatenate([*halves, [high]])


class GridFit(NamedTuple):
    """The error curve, and the grid chosen on it.

    side        (C,) nodes on each side of 0
    equal       (C,) error of equal buckets, for all books
    fitted      (C,) error of the nodes that were found, never above that of equal ones
    nodes       (2 side + 1,) shares of the range from -1 to 1, of the smallest grid within the error allowed
    error       of that grid, at the vols it has
    vol_error   the same at the vols between them as well
    worst_kind  the book that has the error
    """

    side: FloatArray
    equal: FloatArray
    fitted: FloatArray
    nodes: FloatArray
    error: float
    vol_error: float
    worst_kind: str


def equal_nodes(allowed: float) -> FloatArray:
    """The fewest equal places from -1 to 1 whose error is allowed for every book: gaps of four times as much."""
    side = int(np.ceil(0.25 / allowed - 1e-9))
    return np.arange(-side, side + 1) / side


def fit_grid(terms: GridTerms, allowed: float, most_side: int = MOST_SIDE) -> GridFit:
    """The smallest grid whose error is allowed, and the errors of all up to it.

    allowed    largest error, share of the price range
    most_side  largest number of nodes on each side, 1 to 50

    ConfigError where not even that many are enough.
    """
    if not 1 <= most_side <= MOST_SIDE:
        raise ConfigError(f"most_side = {most_side!r}: must be from 1 to {MOST_SIDE}")
    curve: list[tuple[float, float]] = []
    for side in range(1, most_side + 1):
        best = np.arange(-side, side + 1) / side
        error = least = grid_error(terms, best)
        if not terms.expiring and side > 1 and allowed < error <= WORTH_FITTING * allowed:
            fitted = _descend(terms, best)
            least = min(grid_error(terms, fitted), error)
            best = fitted if least < error else best
        curve.append((error, least))
        if curve[-1][1] <= allowed * (1.0 + 1e-9):
            break
    else:
        raise ConfigError(
            f"grid_error = {allowed!r}: {most_side} nodes on each side leave {curve[-1][1]:.2g} of the range"
        )
    equal_errors, fitted_errors = np.array(curve).T
    return GridFit(
        np.arange(1.0, len(curve) + 1), equal_errors, fitted_errors, best, curve[-1][1],
        vol_error(terms, best), _kind(terms, best),
    )  # fmt: skip


def grid_error(terms: GridTerms, nodes: FloatArray) -> float:
    """The error of a grid of nodes, shares of the range, that no book exceeds at the vols of the grid.

    A quarter of the widest gap where an option expires within the days. Elsewhere the largest distance of an option
    from its line, over strikes, expiries, vols and days, which no book exceeds either.
    """
    places = np.asarray(nodes, dtype=np.float64)
    if terms.expiring:
        return float(np.diff(places).max() / 4.0)
    return float(_distances(terms, places, terms.vol_moves).max())


def vol_error(terms: GridTerms, nodes: FloatArray) -> float:
    """The same at the vols between those of the grid as well, by lines in price and vol; at least `grid_error`."""
    places = np.asarray(nodes, dtype=np.float64)
    return max(float(_distances(terms, places, terms.fine_vols).max()), grid_error(terms, places))


def strip(terms: GridTerms, nodes: FloatArray) -> tuple[FloatArray, ...]:
    """Calls of every expiry, struck at 32 places a range and midway between nodes: strike, days, vol, share of a vol
    move, (N,) each. With futures free a put is a call, and strikes are above 0: no option is struck elsewhere."""
    reach = STRIKES_BEYOND
    regular = np.linspace(-reach, reach, int(2 * reach * STRIKES_A_RANGE) + 1)
    places = np.concatenate([regular, (nodes[1:] + nodes[:-1]) / 2.0])
    places = places[1.0 + terms.price_range * places > LEAST_STRIKE]
    expiry, place = (column.ravel() for column in np.meshgrid(terms.expiry_days, places, indexing="ij"))
    share = (REFERENCE_DAYS / np.maximum(expiry, 1.0)) ** terms.power
    return 1.0 + terms.price_range * place, expiry, np.full(len(place), terms.vol), share


def values(options: tuple[FloatArray, ...], moves: FloatArray, vol_moves: FloatArray, days: FloatArray) -> FloatArray:
    """(N,M,V,D) values of the calls of a strip, shares of the forward, after every price move, vol move and days."""
    strike, expiry, vol, share = (column[:, None, None, None] for column in options)
    left = np.maximum(expiry - days, 0.0) / DAYS_PER_YEAR
    shocked = vol * np.maximum(1.0 + share * vol_moves[:, None], 0.0)
    return price(1.0 + moves[:, None, None], strike, left, shocked, 1, backend="numba")


def lines(
    on_nodes: FloatArray, nodes: FloatArray, points: FloatArray, vol_nodes: FloatArray, vol_points: FloatArray
) -> FloatArray:
    """(N,M,V,D) straight lines, in price and in vol, between what is known at nodes, (N,m,v,D)."""
    cell, part = _between(nodes, points)
    known = on_nodes[:, cell] + part[:, None, None] * (on_nodes[:, cell + 1] - on_nodes[:, cell])
    cell, part = _between(vol_nodes, vol_points)
    return np.asarray(known[:, :, cell] + part[:, None] * (known[:, :, cell + 1] - known[:, :, cell]))


def fine_places(nodes: FloatArray) -> FloatArray:
    """The nodes, and seven places in every gap."""
    inside = nodes[:-1, None] + np.diff(nodes)[:, None] * np.append(0.0, PLACES)
    return np.append(inside.ravel(), nodes[-1])


def _between(nodes: FloatArray, points: FloatArray) -> tuple[IntArray, FloatArray]:
    cell = np.clip(np.searchsorted(nodes, points, side="right") - 1, 0, len(nodes) - 2)
    return cell, (points - nodes[cell]) / (nodes[cell + 1] - nodes[cell])


def _distances(terms: GridTerms, nodes: FloatArray, vols: FloatArray) -> FloatArray:
    """(N,) largest distance of every call from its lines, shares of the range."""
    options, days, fine = strip(terms, nodes), np.array(terms.days), fine_places(nodes)
    on_nodes = values(options, terms.price_range * nodes, terms.vol_moves, days)
    known = values(options, terms.price_range * fine, vols, days)
    missed = np.abs(lines(on_nodes, nodes, fine, terms.vol_moves, vols) - known)
    return np.asarray(missed.max(axis=(1, 2, 3)) / terms.price_range)


def _kind(terms: GridTerms, nodes: FloatArray) -> str:
    if terms.expiring:
        return f"option of {_days(min(terms.expiry_days))} bought and hedged, struck midway between two nodes"
    row = int(np.argmax(_distances(terms, nodes, terms.vol_moves)))
    strike, expiry = (float(column[row]) for column in strip(terms, nodes)[:2])
    return f"option of {_days(expiry)} bought and hedged, struck at {100 * (strike - 1.0):+.1f} %"


def _days(count: float) -> str:
    return "1 day" if count == 1.0 else f"{count:g} days"


def _descend(terms: GridTerms, nodes: FloatArray) -> FloatArray:
    """Places of least error near given ones; what moves are the logarithms of the gaps between them."""
    from scipy.optimize import minimize

    side, backend = len(nodes) // 2, importlib.import_module("scenarios.backends.grid_jax")
    # The options that are nearest to their expiry when the days have passed are bent most.
    options = strip(terms._replace(expiry_days=(min(terms.expiry_days),)), nodes[:0])

    def places(at: FloatArray) -> FloatArray:
        down, up = (np.cumsum(np.exp(part)) / np.exp(part).sum() for part in np.split(at, 2))
        return np.concatenate([-down[::-1], [0.0], up])

    def loss(at: FloatArray, smooth: float) -> tuple[float, FloatArray]:
        here = places(at)
        unit = smooth * terms.price_range
        value, by_move = backend.smooth_largest(
            terms.price_range * here, options, terms.vol_moves, np.array(terms.days), PLACES, unit
        )
        slopes = []
        for part, slope, place in (
            (at[:side], -by_move[:side][::-1], -here[:side][::-1]),
            (at[side:], by_move[side + 1 :], here[side + 1 :]),
        ):
            gap = np.exp(part) / np.exp(part).sum()
            # place[j] = sum of gaps up to j; a gap moves its own place and all beyond it, less what it takes from all.
            slopes.append(gap * (np.cumsum(slope[::-1])[::-1] - slope @ place))
        return value / terms.price_range, np.concatenate(slopes)

    point = np.zeros(2 * side)
    for smooth in SMOOTH:
        point = minimize(loss, point, args=(smooth,), jac=True, method="BFGS", options={"maxiter": 60}).x
    return places(point)
