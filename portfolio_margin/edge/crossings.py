"""crossings: every root of functions of one variable that are cheap only when many points are asked for at once.

A dense grid adapts where a function may dip to 0 between its points, by a bound from second divided differences; what
is left of local minima of |y| is narrowed down, so that two roots close together, or one that only touches, are found;
then every interval whose ends differ in sign is cut into equal parts, all intervals at once, until it is as short as
asked. An interval that keeps its sign change cannot lose it: it is bisection with more than one cut. What a grid and
its bound cannot see, a spike narrower than the spacing without a trace at the grid's points, is not found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray

Function = Callable[[FloatArray, IntArray], FloatArray]
# A dip below a straight line is at most |y''| h^2 / 8; by so much more it is looked for.
SAFETY = 6.0
ADAPTING, NARROWING, CUTTING = 4, 12, 14
PARTS = 16
# Width of an interval that holds a root; between two roots that are one touch; of points that are one touch.
CLOSE, ONE_ROOT, ONE_TOUCH = 1e-11, 1e-9, 1e-3


class Crossings(NamedTuple):
    """M roots, by line and then by x.

    line     (M,) -> function
    x        (M,)
    falls    (M,) True where y falls below 0 as x rises
    touches  (M,) True where y comes to 0 and keeps its sign
    jump     (M,) largest |y| beside it: 0 up to rounding for a root, more where y jumps over 0
    """

    line: IntArray
    x: FloatArray
    falls: BoolArray
    touches: BoolArray
    jump: FloatArray


@dataclass(frozen=True)
class _Pool:
    """Points known, sorted by line and x."""

    line: IntArray
    x: FloatArray
    y: FloatArray

    def with_points(self, function: Function, line: IntArray, x: FloatArray) -> _Pool:
        """The pool with more points, evaluated together."""
        if not len(x):
            return self
        y = np.append(self.y, function(x, line))
        line, x = np.append(self.line, line), np.append(self.x, x)
        order = np.lexsort((x, line))
        line, x, y = line[order], x[order], y[order]
        kept = np.append(True, (np.diff(x) != 0) | (np.diff(line) != 0))
        return _Pool(line[kept], x[kept], y[kept])

    def cut(self, function: Function, first: IntArray, parts: int) -> _Pool:
        """The pool with the intervals that begin at these points cut into equal parts."""
        share = np.arange(1, parts) / parts
        x = self.x[first][:, None] + (self.x[first + 1] - self.x[first])[:, None] * share
        return self.with_points(function, np.repeat(self.line[first], parts - 1), x.ravel())

    @property
    def curvature(self) -> FloatArray:
        """(n,) |y''| by divided differences, inner points of a line; 0 at its ends."""
        result = np.zeros(len(self.x))
        inner = np.flatnonzero(self.line[2:] == self.line[:-2]) + 1
        left, right = self.x[inner] - self.x[inner - 1], self.x[inner + 1] - self.x[inner]
        slopes = (self.y[inner + 1] - self.y[inner]) / right - (self.y[inner] - self.y[inner - 1]) / left
        result[inner] = np.abs(2.0 * slopes / (left + right))
        return result


def crossings(function: Function, grid: FloatArray, lines: int, tolerance: float, close: float = CLOSE) -> Crossings:
    """Roots of several functions on the span of a grid.

    function   (x (n,), line (n,)) -> y (n,), finite
    grid       (m,) of every line, or (lines,m) of each, rising; equal points are asked for once
    lines      number of functions
    tolerance  |y| that is 0 where y does not change its sign
    close      width of an interval that holds a root and is cut no further; a straight line is drawn in it
    """
    each = np.broadcast_to(grid, (lines, grid.shape[-1]))
    kept = np.diff(each, axis=1, prepend=-np.inf) > 0
    line, x = np.repeat(np.arange(lines), kept.sum(axis=1)), each[kept]
    empty = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    pool = _Pool(*empty).with_points(function, line, x)
    for _ in range(ADAPTING):
        pool = pool.cut(function, _may_dip(pool), 4)
    for _ in range(NARROWING):
        pool = pool.cut(function, _beside_minima(pool), 8)
    for _ in range(CUTTING):
        wide = _changes(pool)
        pool = pool.cut(function, wide[pool.x[wide + 1] - pool.x[wide] > close], PARTS)
    return _found(pool, tolerance)


def _changes(pool: _Pool) -> IntArray:
    """Intervals at whose ends y is below 0 at one and not at the other."""
    same = pool.line[1:] == pool.line[:-1]
    return np.flatnonzero(same & ((pool.y[1:] < 0) != (pool.y[:-1] < 0)))


def _may_dip(pool: _Pool) -> IntArray:
    """Intervals without a sign change in which y may reach 0, by its curvature at both ends."""
    width = np.diff(pool.x)
    bound = SAFETY * np.maximum(pool.curvature[1:], pool.curvature[:-1]) * width**2 / 8.0
    least = np.minimum(np.abs(pool.y[1:]), np.abs(pool.y[:-1]))
    kept = (pool.line[1:] == pool.line[:-1]) & ((pool.y[1:] < 0) == (pool.y[:-1] < 0))
    return np.flatnonzero(kept & (least < bound))


def _beside_minima(pool: _Pool) -> IntArray:
    """Intervals on both sides of local minima of |y| that may still reach 0."""
    size, below = np.abs(pool.y), pool.y < 0
    inner = np.arange(1, max(len(pool.x) - 1, 1))
    lowest = (size[inner] <= size[inner - 1]) & (size[inner] <= size[inner + 1]) if len(pool.x) > 2 else inner > inner
    inner = inner[lowest]
    one_line = pool.line[inner - 1] == pool.line[inner + 1]
    one_sign = (below[inner - 1] == below[inner]) & (below[inner] == below[inner + 1])
    wide = pool.x[inner + 1] - pool.x[inner - 1]
    bound = SAFETY * pool.curvature[inner] * wide**2 / 8.0
    inner = inner[one_line & one_sign & (wide > CLOSE) & (size[inner] > 0) & (size[inner] < bound)]
    return np.union1d(inner - 1, inner)


def _found(pool: _Pool, tolerance: float) -> Crossings:
    first = _changes(pool)
    left, right = pool.y[first], pool.y[first + 1]
    root = pool.x[first] + left / (left - right) * (pool.x[first + 1] - pool.x[first])
    touch = _touches(pool, tolerance)
    none, some = np.zeros(len(first), dtype=np.bool_), np.ones(len(touch), dtype=np.bool_)
    line, x = np.append(pool.line[first], pool.line[touch]), np.append(root, pool.x[touch])
    falls, touches = np.append(left >= 0, ~some), np.append(none, some)
    jump = np.append(np.maximum(np.abs(left), np.abs(right)), np.abs(pool.y[touch]))
    order = np.lexsort((x, line))
    return _merged(Crossings(line[order], x[order], falls[order], touches[order], jump[order]))


def _merged(found: Crossings) -> Crossings:
    """Two roots at one place are a touch: y comes to 0 from below, where 0 itself is not below."""
    if len(found.x) < 2:
        return found
    pair = (np.diff(found.line) == 0) & (np.diff(found.x) < ONE_ROOT) & ~found.touches[1:] & ~found.touches[:-1]
    pair &= found.falls[1:] & ~found.falls[:-1]
    first = np.append(pair, False)
    kept = ~np.append(False, pair)
    return Crossings(*(column[kept] for column in found._replace(touches=found.touches | first)))


def _touches(pool: _Pool, tolerance: float) -> IntArray:
    """Points, one a touch, at which |y| is within the tolerance of 0 and beside which it is not, on the same side."""
    near = np.abs(pool.y) <= tolerance
    edges = np.flatnonzero(np.diff(np.concatenate([[False], near, [False]]).astype(np.int8)))
    chosen = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        inside = first > 0 and end < len(pool.x) and pool.line[first - 1] == pool.line[end]
        if not inside or pool.x[end - 1] - pool.x[first] > ONE_TOUCH:
            continue  # at the end of a line, or flat: nothing is touched
        if np.all((pool.y[first - 1 : end + 1] < 0) == (pool.y[end] < 0)):
            chosen.append(first + int(np.argmin(np.abs(pool.y[first:end]))))
    return np.array(chosen, dtype=np.int64)
