"""The book that a grid sees least of: an exact search over all books of a strip, by linear programmes.

One programme a fine scenario gives the worst of all books there (`grid_nodes.py` has the pair of them). Scenarios are
taken in the order of a bound that is quick to have, the distance from lines between the nodes, until no other scenario
can have more: what is found is then the largest there is, and the difference from the bound says how near it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray
from pricing.errors import NumericalError
from scenarios.calibrate.grid_nodes import GridTerms, fine_places, lines, strip, values

MOST_PROGRAMMES = 20
# Of the bound: a book that has so much of it is the worst.
CLOSE = 1.0 - 1e-6


class WorstBook(NamedTuple):
    """The worst book of a strip of calls and futures, one option in all.

    miss      what it loses at `move` beyond all that it loses on the grid, share of the range
    bound     what no book exceeds, the same where the search has ended
    strike    (N,) over the forward, of the strip
    expiry    (N,) days
    quantity  (N,) contracts, + long, sizes adding up to 1
    futures   beside them
    move      relative price move at which it loses most, with vol_move and days
    """

    miss: float
    bound: float
    strike: FloatArray
    expiry: FloatArray
    quantity: FloatArray
    futures: float
    move: float
    vol_move: float
    days: float


def worst_book(terms: GridTerms, nodes: FloatArray) -> WorstBook:
    """The worst book, over price moves at eight places of every gap, vols of the grid and between, and its days."""
    places = np.asarray(nodes, dtype=np.float64)
    options, days = strip(terms, places), np.array(terms.days)
    now = values(options, np.zeros(1), np.zeros(1), np.zeros(1))
    coarse, fine = terms.price_range * places, terms.price_range * fine_places(places)
    on_grid = now - values(options, coarse, terms.vol_moves, days)
    lost = now - values(options, fine, terms.fine_vols, days)
    straight = lines(on_grid, coarse, fine, terms.vol_moves, terms.fine_vols)
    by_scenario, moves = on_grid.reshape(len(now), -1), np.repeat(coarse, len(terms.vol_moves) * len(days))
    bounds = np.abs(lost - straight).max(axis=0)
    order = np.argsort(-bounds, axis=None, kind="stable")
    best: tuple[float, FloatArray, float, int] | None = None
    limit = float(bounds.max())
    for number, place in enumerate(order.tolist()):
        limit = float(bounds.flat[place])
        if best is not None and (best[0] >= CLOSE * limit or number >= MOST_PROGRAMMES):
            break
        at = np.unravel_index(place, bounds.shape)
        miss, quantity, futures = _programme(lost[(slice(None), *at)], by_scenario, float(fine[at[0]]), moves)
        if best is None or miss > best[0]:
            best = (miss, quantity, futures, place)
    assert best is not None
    at = np.unravel_index(best[3], bounds.shape)
    where = float(fine[at[0]]), float(terms.fine_vols[at[1]]), float(days[at[2]])
    share = terms.price_range
    bound = max(best[0], limit) / share
    return WorstBook(best[0] / share, bound, options[0], options[1], best[1], best[2], *where)


def _programme(
    lost: FloatArray, on_grid: FloatArray, move: float, moves: FloatArray
) -> tuple[float, FloatArray, float]:
    """The largest miss at one fine scenario with losses (N,), and the quantities and futures of the book that has it.

    Solved from the other side, least distance from a mixture of the grid's scenarios; the book is its multipliers.
    """
    from scipy.optimize import linprog

    contracts, scenarios = on_grid.shape
    unit = -np.ones((contracts, 1))
    share = np.append(np.ones(scenarios), 0.0)
    solved = linprog(
        np.append(np.zeros(scenarios), 1.0),
        A_ub=np.vstack([np.hstack([on_grid, unit]), np.hstack([-on_grid, unit]), share]),
        b_ub=np.concatenate([lost, -lost, [1.0]]),
        A_eq=np.append(moves, 0.0)[None],
        b_eq=[move],
        method="highs",
    )
    if solved.fun is None:
        raise NumericalError(f"linear programme of the worst book: {solved.message}")
    by_row = -solved.ineqlin.marginals
    quantity = by_row[contracts : 2 * contracts] - by_row[:contracts]
    return float(solved.fun), quantity, -float(solved.eqlin.marginals[0])
