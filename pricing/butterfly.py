"""Freedom from butterfly arbitrage of raw SVI, as an exact decision and by the conditions of Martini and Mingone.

Exact decision. With k - m = sigma (u - 1/u) / 2, u > 0, the root of raw SVI disappears: w, w' and w'' are rational
in u, and g(k) >= 0 for all k is G(u) >= 0 for all u > 0 with a polynomial G of degree 10,

    G = sigma (u^2 + 1) { 4 [2 W (u^2 + 1) - b K P]^2 - b^2 P^2 W (8 u + W) } + 64 b u^3 W^2,
    W = 2 u w = 2 a u + b sigma [(1 + rho) u^2 + 1 - rho],  K = 2 u k = 2 m u + sigma (u^2 - 1),
    P = (1 + rho) u^2 - (1 - rho),

whose coefficients are rational numbers for the five doubles of a slice. Sturm's theorem counts its roots without
rounding, so the answer is right for the slice as it stands, however close to the boundary, in the wings too.

Martini and Mingone 2022 (with Fukasawa 2012): w = sigma N(l), l = (k - m) / sigma, mu = m / sigma, splits

    g = G1(l) + G2(l) / (2 sigma),  G1 = [1 - N' (l + mu) / (2 N)]^2 - (N'/4)^2,  G2 = N'' - N'^2 / (2 N),

neither of which holds sigma. G1 > 0 is an interval of mu, and then g >= 0 is sigma >= sigma*: with a / sigma, b, rho
and mu kept, a slice is freed by scaling it up.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from pricing.arbitrage import LEE_SLOPE, smallest_on_grid
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.columns import slice_rows
from pricing.polynomials import Polynomial, never_negative, product, total, whole

FARTHEST_T = 20.0
T_POINTS = 401
PSI_T_POINTS = 161


def butterfly_free(slices: ArrayLike) -> BoolArray:
    """Whether raw slices (X,5) are free of butterfly arbitrage: exact for the numbers given; NaN rows are not.

    A slice is five numbers: one NaN alone is no slice, and a DataError like any other shape.

    Free: b >= 0, |rho| <= 1, sigma > 0 (where b > 0), w > 0 everywhere, a left wing slope of at most 2 and a
    right one below 2 (at 2 the call price has a limit above 0), and g >= 0 everywhere (Gatheral and Jacquier
    2014, lemma 2.2).
    """
    rows = slice_rows("butterfly_free", "slices", slices)
    return np.array([bool(np.isfinite(row).all()) and _is_free(*row) for row in rows], dtype=np.bool_)


def mass_interval(alpha: ArrayLike, b: ArrayLike, rho: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest mu = m / sigma for which G1 > 0 everywhere (Fukasawa's condition), each (X,).

    alpha = a / sigma. Needs N > 0 and wing slopes of at most 2; without a falling (rising) wing there is no lower
    (upper) bound.
    """
    shape = [np.atleast_1d(np.asarray(value, dtype=np.float64))[:, None] for value in (alpha, b, rho)]

    def upper(t: FloatArray, rows: IntArray) -> FloatArray:
        ell, n, slope, _ = _normalised(t, *(column[rows] for column in shape))
        return np.where(slope > 0, 2.0 * n / np.where(slope > 0, slope, 1.0) - 0.5 * n - ell, np.inf)

    def lower(t: FloatArray, rows: IntArray) -> FloatArray:
        ell, n, slope, _ = _normalised(t, *(column[rows] for column in shape))
        return np.where(slope < 0, -2.0 * n / np.where(slope < 0, slope, -1.0) - 0.5 * n + ell, np.inf)

    grid = np.broadcast_to(np.linspace(-FARTHEST_T, FARTHEST_T, T_POINTS), (len(shape[1]), T_POINTS))
    lowest, highest = smallest_on_grid(lower, grid).value, smallest_on_grid(upper, grid).value
    return np.where(np.isnan(lowest), -np.inf, -lowest), np.where(np.isnan(highest), np.inf, highest)


def smallest_sigma(alpha: ArrayLike, b: ArrayLike, rho: ArrayLike, mu: ArrayLike) -> FloatArray:
    """(X,) sigma*, the smallest sigma free of butterfly arbitrage at these a / sigma, b, rho and m / sigma.

    inf where no sigma is: N not positive, a wing slope above 2, or mu outside its interval.
    """
    columns = [np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (alpha, b, rho, mu)]
    table = np.stack(np.broadcast_arrays(*columns))

    def negative_ratio(t: FloatArray, rows: IntArray) -> FloatArray:
        *shape, offset = table[:, rows, None]
        ell, n, slope, curvature = _normalised(t, *shape)
        inner = 1.0 - 0.5 * slope * (ell + offset) / n
        bound = inner * inner - slope * slope / 16.0
        return np.where(bound > 0, 0.5 * (curvature - 0.5 * slope * slope / n) / np.where(bound > 0, bound, 1.0), 0.0)

    grid = np.broadcast_to(np.linspace(-FARTHEST_T, FARTHEST_T, T_POINTS), (table.shape[1], T_POINTS))
    smallest = np.maximum(-smallest_on_grid(negative_ratio, grid).value, 0.0)
    level, steep, tilt, offset = table
    positive = level + steep * np.sqrt((1.0 - tilt) * (1.0 + tilt)) > 0
    low, high = mass_interval(level, steep, tilt)
    allowed = positive & (steep * (1.0 + np.abs(tilt)) <= LEE_SLOPE) & (offset > low) & (offset < high)
    return np.where(allowed, smallest, np.inf)


def largest_psi(theta: ArrayLike, rho: ArrayLike) -> FloatArray:
    """Largest psi = theta phi of an SSVI slice free of butterfly arbitrage, exact; theta > 0 and rho broadcast.

    psi^2 <= inf over l of 4 theta r h^2 / (theta r N'^2 / 16 - G2), r = sqrt(1 - rho^2), N = r + rho l +
    sqrt(l^2 + 1), h = 1 - (l - rho / r) N' / (2 N), and psi <= 4 / (1 + |rho|) (Martini and Mingone 2022,
    proposition 6.3).
    """
    theta, rho = np.broadcast_arrays(np.asarray(theta, dtype=np.float64), np.abs(np.asarray(rho, dtype=np.float64)))
    shape, scale = theta.shape, np.sqrt((1.0 - rho) * (1.0 + rho)).reshape(-1, 1)
    theta, rho = theta.reshape(-1, 1), rho.reshape(-1, 1)

    def square(t: FloatArray, rows: IntArray) -> FloatArray:
        level, r = theta[rows] * scale[rows], scale[rows]
        ell, n, slope, curvature = _normalised(t, r, 1.0, rho[rows])
        inner = 1.0 - 0.5 * slope * (ell - rho[rows] / r) / n
        below = level * slope * slope / 16.0 - (curvature - 0.5 * slope * slope / n)
        return np.where(below > 0, 4.0 * level * inner * inner / np.where(below > 0, below, 1.0), np.inf)

    grid = np.broadcast_to(np.linspace(-FARTHEST_T, FARTHEST_T, PSI_T_POINTS), (len(theta), PSI_T_POINTS))
    found = np.sqrt(smallest_on_grid(square, grid, brackets=1, refinements=7).value)
    return np.minimum(found, 4.0 / (1.0 + rho[:, 0])).reshape(shape)


def _normalised(t, alpha, b, rho):  # type: ignore[no-untyped-def]
    """l = sinh(t), N, N' and N'' of the slice with sigma 1 and m 0."""
    ell, root = np.sinh(t), np.cosh(t)
    return ell, alpha + b * (rho * ell + root), b * (rho + np.tanh(t)), b / root**3


def _is_free(a: float, b: float, rho: float, m: float, sigma: float) -> bool:
    if b == 0:
        return a > 0
    if b < 0 or abs(rho) > 1 or sigma <= 0:
        return False
    numbers = [Fraction(float(value)) for value in (a, b, rho, m, sigma)]
    a_, b_, rho_, _, sigma_ = numbers
    if a < 0 and a_ * a_ >= (b_ * sigma_) ** 2 * (1 - rho_ * rho_):
        return False
    if b_ * (1 + rho_) >= 2 or b_ * (1 - rho_) > 2:
        return False
    return never_negative(_butterfly_polynomial(*numbers))


def _butterfly_polynomial(a: Fraction, b: Fraction, rho: Fraction, m: Fraction, sigma: Fraction) -> Polynomial:
    """Coefficients of G, times the power of two that makes them whole."""
    one = [Fraction(1), Fraction(0), Fraction(1)]
    w = [b * sigma * (1 - rho), 2 * a, b * sigma * (1 + rho)]
    k = [-sigma, 2 * m, sigma]
    p = [rho - 1, Fraction(0), 1 + rho]
    inner = total(product([Fraction(2)], product(w, one)), product([-b], product(k, p)))
    steep = product(product([-b * b], product(p, p)), product(w, total([Fraction(0), Fraction(8)], w)))
    g = product(product([sigma], one), total(product([Fraction(4)], product(inner, inner)), steep))
    g = total(g, product([Fraction(0)] * 3 + [64 * b], product(w, w)))
    return whole(g)
