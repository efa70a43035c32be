"""Freedom from calendar arbitrage of two raw SVI slices, as an exact decision.

The difference of total variances is D(k) = A(k) + sqrt(B2(k)) - sqrt(B1(k)) with A linear and B1, B2 quadratic in k.
Squared twice, D = 0 becomes a quartic, (A^2 + B2 - B1)^2 = 4 A^2 B2, whose real roots hold every crossing; between
them the sign of D does not change. Roots are separated by Sturm's theorem and signs compared as rational numbers, so
nothing is rounded and no window is chosen. Pairs far from touching are told apart sooner, by bounds in doubles.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray
from pricing.columns import slice_rows
from pricing.errors import DataError, Problem
from pricing.polynomials import product, sample_points, total, whole
from pricing.surfaces import svi

Linear = list[Fraction]
FARTHEST_T = 12.0
PLAIN_POINTS = 65
# Some five hundred roundings of a double: the formulas make fewer than thirty.
ROUNDING = 1e-13


def calendar_free(earlier: ArrayLike, later: ArrayLike) -> BoolArray:
    """Whether w of the later slice is nowhere below w of the earlier one; raw slices (X,5) each, b >= 0.

    Exact for the numbers given. A pair with NaN is not free. Both must be of one underlying, as `slices_of` gives them:
    `calendar_free(chosen.svi[:-1], chosen.svi[1:])`.
    """
    first, second = slice_rows("calendar_free", "earlier", earlier), slice_rows("calendar_free", "later", later)
    if len(first) != len(second):
        counts = f"{len(first)} earlier, {len(second)} later"
        raise DataError([Problem("calendar_free", None, "rows", counts, "a pair needs one slice of each")])
    known: BoolArray = np.isfinite(np.concatenate([first, second], axis=1)).all(axis=1)
    crosses, apart = _plain_pairs(first, second)
    free: BoolArray = known & apart
    for row in np.flatnonzero(known & ~crosses & ~apart):
        free[row] = _never_crosses(first[row], second[row])
    return free


def _plain_pairs(earlier: FloatArray, later: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Pairs (X,) that cross, and pairs that do not, where doubles prove it; neither where rounding could matter.

    A crossing is one point where w falls by more than any rounding. That there is none is shown between every two
    neighbouring points, both slices being convex: the earlier one lies below its chord, the later one above its
    tangents; and beyond the last points by the wing slopes of the earlier one.
    """
    first, second = earlier.T[:, :, None], later.T[:, :, None]
    with np.errstate(all="ignore"):  # what overflows proves nothing
        t = np.sinh(np.linspace(-FARTHEST_T, FARTHEST_T, PLAIN_POINTS))
        k = np.sort(np.concatenate([m + sigma * t for *_, m, sigma in (first, second)], axis=1), axis=1)
        below = svi.total_variance(np, k, *first)
        above, slope, _ = svi.derivatives(np, k, *second)
        rounding = ROUNDING * (_size(k, *first) + _size(k, *second))
        gap = above - below
        step, rise, chord = np.diff(k, axis=1), np.diff(above, axis=1), np.diff(below, axis=1)
        # Where the tangents at both ends meet, the later slice is above them, and they are nearest to the chord.
        meeting = (rise - slope[:, 1:] * step) / -np.diff(slope, axis=1)
        meeting = np.clip(np.where(np.isfinite(meeting), meeting, 0.0), 0.0, step)
        left = above[:, :-1] + slope[:, :-1] * meeting
        right = above[:, 1:] - slope[:, 1:] * (step - meeting)
        room = np.minimum(left, right) - below[:, :-1] - chord * (meeting / np.where(step > 0.0, step, 1.0))
        between = room > np.maximum(rounding[:, 1:], rounding[:, :-1])
        falling, rising = svi.wing_slopes(*earlier.T)
        slack = 4.0 * ROUNDING * (earlier[:, 1] + later[:, 1])
        wings = (-slope[:, 0] - falling > slack) & (slope[:, -1] - rising > slack)
        crosses: BoolArray = (gap < -rounding).any(axis=1)
        convex = (earlier[:, 1] >= 0.0) & (later[:, 1] >= 0.0)
        apart: BoolArray = convex & wings & (gap > rounding).all(axis=1) & between.all(axis=1)
    return crosses, apart


def _size(k: FloatArray, a: FloatArray, b: FloatArray, rho: FloatArray, m: FloatArray, sigma: FloatArray) -> FloatArray:
    """What the roundings of w, and of a step along its tangent, are a share of."""
    return np.asarray(np.abs(a) + 2.0 * np.abs(b) * (1.0 + np.abs(rho)) * (np.abs(k) + np.abs(m) + np.abs(sigma)))


def _never_crosses(earlier: FloatArray, later: FloatArray) -> bool:
    (a1, line1, square1), (a2, line2, square2) = _parts(earlier), _parts(later)
    linear = [a2[0] - a1[0] + line2[0] - line1[0], line2[1] - line1[1]]
    minus = [Fraction(-1)]
    inner = total(total(product(linear, linear), square2), product(minus, square1))
    quartic = total(product(inner, inner), product([Fraction(-4)], product(product(linear, linear), square2)))
    points = sample_points(whole(quartic))
    return all(_sign(_at(linear, k), _at(square2, k), _at(square1, k)) >= 0 for k in points)


def _parts(row: FloatArray) -> tuple[Linear, Linear, Linear]:
    """a, b rho (k - m) and b^2 [(k - m)^2 + sigma^2] as polynomials in k."""
    a, b, rho, m, sigma = (Fraction(float(value)) for value in row)
    return [a], [-b * rho * m, b * rho], [b * b * (m * m + sigma * sigma), -2 * b * b * m, b * b]


def _at(polynomial: list[Fraction], k: Fraction) -> Fraction:
    value = Fraction(0)
    for coefficient in reversed(polynomial):
        value = value * k + coefficient
    return value


def _sign(linear: Fraction, added: Fraction, taken: Fraction) -> int:
    """Sign of linear + sqrt(added) - sqrt(taken)."""
    if linear < 0 and linear * linear >= added:  # the first two are not above 0
        return -1 if taken > 0 or linear * linear > added else 0
    return _sign_with_root(linear * linear + added - taken, 2 * linear, added)


def _sign_with_root(rational: Fraction, factor: Fraction, radicand: Fraction) -> int:
    """Sign of rational + factor sqrt(radicand)."""
    left, right = rational * rational, factor * factor * radicand
    first, second = (rational > 0) - (rational < 0), (right != 0) * ((factor > 0) - (factor < 0))
    if first * second >= 0:
        return first or second
    return first * ((left > right) - (left < right))
