"""nearest_point: the point of the boundary of liquidation that is nearest over price and vol, in deviations.

Price and vol move as a normal pair, ln of each; in its own coordinates, z, distance is a length and today is the
origin. The boundary is looked for on rays from there and on rings around it, both adapted by second differences and
solved by `crossings`; a ring between today and what rays have met so far may show a pocket between two rays, which gets
rays of its own. The nearest meetings are then refined in their directions.

What can be missed, within RINGS_TO deviations: a pocket of breach that holds no point of that net and leaves no trace
in the curvature of the excess at its points. The net is no coarser than RING_GAP both ways, so a disc that escapes is
smaller than the square root of 2 times that across, 0.36 deviations. Further out rays alone look, RAY_GAP apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from portfolio_margin.edge.crossings import CLOSE, crossings
from portfolio_margin.edge.levels import Case, levels
from portfolio_margin.edge.price_paths import Dynamics
from portfolio_margin.edge.prices import NOTHING, Span, bends_of
from portfolio_margin.edge.vols import HIGHEST, LOWEST
from pricing.arrays import FloatArray, IntArray

RAYS = 64
RAY_GAP = 2.0 * np.pi / RAYS
# Between rings, and how far out there are any: beyond, rays alone look, at points further and further apart.
RING_GAP, RINGS_TO, FAR_POINTS = 0.25, 8.0, 48
# Of the refinement: directions tried beside each, rounds, and how many directions of nearest meetings it starts from.
BESIDE, ROUNDS, STARTS = 4, 6, 2
# Deviations to which a meeting is solved while directions are looked for, and radii that a ray begins with.
ROUGHLY, FEWEST = 1e-3, 9


class NearestPoint(NamedTuple):
    """The nearest point of the boundary.

    sigmas  deviations to it over the horizon, sqrt(x' C^-1 x); 0 where the account is below today, inf where none is
    price   its multiple of today's price, NaN where there is none
    vol     its multiple of today's vols
    """

    sigmas: float
    price: float
    vol: float


NONE = NearestPoint(np.inf, np.nan, np.nan)


@dataclass(frozen=True)
class Plane:
    """Price and vol in deviations of the pair.

    price_deviation, vol_deviation   of the logarithms over the horizon
    correlation                      of the two
    low, high                        (2,) ln price and ln vol: what is looked at, today inside
    """

    price_deviation: float
    vol_deviation: float
    correlation: float
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, dynamics: Dynamics, years: float, span: Span) -> Plane:
        """The plane over a horizon, prices within a span and vols from a fifth of today's to five times them."""
        spread = float(np.sqrt(years))
        low, high = np.log([span.low, LOWEST]), np.log([span.high, HIGHEST])
        return cls(dynamics.vol * spread, dynamics.vol_of_vol * spread, dynamics.correlation, low, high)

    @property
    def is_line(self) -> bool:
        """Whether vol does not move, or moves with the price alone, so that there are two directions only."""
        return self.vol_deviation == 0.0 or abs(self.correlation) == 1.0

    @property
    def axes(self) -> FloatArray:
        """(2,2) ln price and ln vol of a deviation of each coordinate, coordinates first."""
        rest = np.sqrt(1.0 - self.correlation**2)
        tilt, free = self.vol_deviation * self.correlation, self.vol_deviation * rest
        return np.array([[self.price_deviation, tilt], [0.0, free]])

    def logs(self, z: FloatArray) -> FloatArray:
        """(n,2) ln price and ln vol of points in deviations, those outside what is looked at moved to its rim."""
        return np.asarray(np.clip(z @ self.axes, self.low, self.high))

    def deviations(self, logs: FloatArray) -> FloatArray:
        """(n,2) the coordinates of ln price and ln vol; NaN for points off the line where there is no plane."""
        if not self.is_line:
            return np.asarray(np.linalg.solve(self.axes.T, logs.T).T)
        along = logs[:, 0] / self.price_deviation
        on = np.abs(logs[:, 1] - along * self.axes[0, 1]) <= 1e-9
        return np.column_stack([np.where(on, along, np.nan), np.where(on, 0.0, np.nan)])

    def reach(self, angle: FloatArray) -> FloatArray:
        """(n,) deviations to the rim of what is looked at in each direction."""
        direction = _unit(angle) @ self.axes
        rim = np.where(direction > 0.0, self.high, self.low)
        with np.errstate(divide="ignore"):
            ratio = np.where(direction == 0.0, np.inf, rim / np.where(direction == 0.0, 1.0, direction))
        return np.asarray(ratio.min(axis=1))


def nearest_point(case: Case, dynamics: Dynamics, years: float, span: Span, known: FloatArray) -> NearestPoint:
    """The nearest point of the boundary in the plane of price and vol.

    dynamics  whose vol, vol of vol and correlation make the deviations; a mean reversion of vol is left out
    years     the horizon, above 0
    span      of prices, at all of which, and vols from a fifth to five times, the model has rules for what is held
    known     (M,2) price and vol multiples of points already known to be on the boundary
    """
    if levels(case, np.ones(1)).excess[0] < 0.0:
        return NearestPoint(0.0, 1.0, 1.0)
    plane = Plane.of(dynamics, years, span)
    exact = plane.deviations(np.log(known.reshape(-1, 2)))
    exact = exact[np.isfinite(exact).all(axis=1)]
    directions = np.array([0.0, np.pi]) if plane.is_line else _searched(case, plane, exact)
    return _nearest(plane, np.concatenate([exact, _met(case, plane, directions, _least(exact), CLOSE)]))


def _searched(case: Case, plane: Plane, known: FloatArray) -> FloatArray:
    """Directions in which the boundary is nearest; none where it is nowhere."""
    z = np.concatenate([known, _met(case, plane, np.linspace(0.0, 2.0 * np.pi, RAYS, endpoint=False), _least(known))])
    z = np.concatenate([z, _on_rings(case, plane, _least(z))])
    gap = RAY_GAP
    for _ in range(ROUNDS if len(z) else 0):
        beside = np.linspace(-gap, gap, 2 * BESIDE + 1)
        z = np.concatenate([z, _met(case, plane, np.add.outer(_directions(z), beside).ravel(), _least(z))])
        gap /= BESIDE
    return _directions(z)


def _unit(angle: FloatArray) -> FloatArray:
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _least(z: FloatArray) -> float:
    return float(np.hypot(*z.T).min(initial=np.inf))


def _nearest(plane: Plane, z: FloatArray) -> NearestPoint:
    if not len(z):
        return NONE
    nearest = z[[int(np.argmin(np.hypot(*z.T)))]]
    price, vol = np.exp(plane.logs(nearest)[0])
    return NearestPoint(float(np.hypot(*nearest[0])), float(price), float(vol))


def _directions(z: FloatArray) -> FloatArray:
    """Directions of the nearest points, no two of them of one gap between rays."""
    chosen: list[float] = []
    for k in np.argsort(np.hypot(*z.T), kind="stable"):
        angle = float(np.arctan2(z[k, 1], z[k, 0]))
        apart = np.abs(np.angle(np.exp(1j * (np.array(chosen) - angle))))
        if np.all(apart >= RAY_GAP):
            chosen.append(angle)
        if len(chosen) == STARTS:
            break
    return np.array(chosen)


def _met(case: Case, plane: Plane, angle: FloatArray, within: float, close: float = ROUGHLY) -> FloatArray:
    """(m,2) where rays first meet the boundary, no further out than `within` deviations, but by rounding."""
    most = np.minimum(plane.reach(angle), within * (1.0 + 1e-9))
    inner = np.minimum(most, RINGS_TO)
    near = np.linspace(0.0, inner, max(int(np.ceil(inner.max(initial=0.0) / RING_GAP)) + 1, FEWEST), axis=1)
    far = np.geomspace(inner, most, FAR_POINTS, axis=1)
    across = np.cos(angle)[:, None] * plane.price_deviation
    with np.errstate(divide="ignore", invalid="ignore"):
        bends = bends_of(case) / across
    # Repeated radii are asked for once.
    bends = np.where((bends > 0.0) & (bends < most[:, None]), bends, 0.0)
    unit = _unit(angle)

    def excess(r: FloatArray, line: IntArray) -> FloatArray:
        return _excess(case, plane, r[:, None] * unit[line])

    grid = np.sort(np.concatenate([near, far, bends], axis=1), axis=1)
    found = crossings(excess, grid, len(angle), NOTHING * case.scale, close)
    crossed = np.flatnonzero(~found.touches)
    _, first = np.unique(found.line[crossed], return_index=True)
    first = crossed[first]
    return np.asarray(found.x[first][:, None] * unit[found.line[first]])


def _on_rings(case: Case, plane: Plane, within: float) -> FloatArray:
    """(m,2) where rays through what rings show to be below first meet the boundary, and the crossings of the rings."""
    radius = np.arange(RING_GAP, min(RINGS_TO, within), RING_GAP)
    radius = radius[radius < plane.reach(np.linspace(-np.pi, np.pi, RAYS + 1)).max()]
    if not len(radius):
        return np.zeros((0, 2))
    with np.errstate(invalid="ignore"):
        turn = np.arccos(bends_of(case) / (radius[:, None] * plane.price_deviation))
    turn = np.nan_to_num(turn, nan=0.0)
    points = np.maximum(np.ceil(2.0 * np.pi * radius / RING_GAP), RAYS)
    even = np.minimum(np.arange(int(points.max()) + 1) * (2.0 * np.pi / points)[:, None] - np.pi, np.pi)
    grid = np.sort(np.concatenate([even, turn, -turn], axis=1), axis=1)

    def excess(angle: FloatArray, line: IntArray) -> FloatArray:
        return _excess(case, plane, radius[line, None] * _unit(angle))

    found = crossings(excess, grid, len(radius), NOTHING * case.scale, ROUGHLY)
    crossed = ~found.touches
    line, angle, falls = found.line[crossed], found.x[crossed], found.falls[crossed]
    if not len(line):
        return np.zeros((0, 2))
    # What lies below between two crossings is met by the ray through its middle.
    pair = np.flatnonzero((line[1:] == line[:-1]) & falls[:-1] & ~falls[1:])
    middle = (angle[pair] + angle[pair + 1]) / 2.0
    at = plane.deviations(plane.logs(radius[line, None] * _unit(angle)))
    return np.concatenate([at, _met(case, plane, np.append(middle, angle), within)])


def _excess(case: Case, plane: Plane, z: FloatArray) -> FloatArray:
    price, vol = np.exp(plane.logs(z)).T
    return levels(case, price, vol).excess
