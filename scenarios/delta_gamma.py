"""Quantiles of the P&L of a delta-gamma book under normal moves: exact, and by the expansion of Cornish and Fisher.

The P&L is a sum of independent quadratics of one normal factor each (`quadratic`). With a single factor its
distribution is closed. With more it is the inverse of its moment generating function M(z) = exp K(z) (Imhof,
Biometrika 48, 1961; Rouvinez, Risk 10, 1997),

    P(P&L <= x) = -1 / (2 pi i) times the integral of exp(K(z) - z x) / z dz,
    K(z) = sum over j of -log(1 - l_j z) / 2 + c_j^2 z^2 / (2 (1 - l_j z)),

here along a hyperbola through the saddle point left of 0, where the integrand neither oscillates nor cancels: far
tails keep their relative accuracy (Rice, SIAM J. Sci. Stat. Comput. 1, 1980; the contour: Weideman and Trefethen,
Math. Comp. 76, 2007). The trapezoidal rule along it is refined until it stands still.

Normal moves and second order: a model beside the simulated quantile, no margin of record.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from pricing.arrays import FloatArray
from pricing.errors import ConfigError, NumericalError
from scenarios.quadratic import checked_terms, diagonal

# Of the standard deviation of the P&L: factors below it are left out. Their variance is below rounding.
NEGLIGIBLE = 1e-9
# Bends of the contour from the vertical, radians, tried in this order: first the way the integrand decays for good,
# then the other, which serves where normal factors end it before; those grow beyond 45 degrees.
BENDS = (0.6, 0.3, 0.1, 0.0, -0.1, -0.3, -0.6)
# Of the value at the saddle point: where a contour ends.
END = 1e-18
# Logarithm of what the integrand may rise above the saddle point, and cancel, before a straighter contour is taken.
RISE = 5.0
ACCURACY = 1e-11
MOST_NODES = 1 << 14
# Logarithm of the bound at the saddle point below which a probability counts as none.
LOWEST = -100.0
REACH = 80.0
SMALLEST_PROBABILITY = 1e-12
ROUNDING = 4.0 * float(np.finfo(np.float64).eps)


class Cumulants(NamedTuple):
    """Of a P&L.

    mean, variance   in its unit and the square of it
    skewness, excess_kurtosis   third and fourth cumulant over powers of the deviation; 0 where nothing moves
    """

    mean: float
    variance: float
    skewness: float
    excess_kurtosis: float


class _Factors(NamedTuple):
    """slope c (R,), curvature l (R,): P&L = sum c y + l y^2 / 2."""

    slope: FloatArray
    curvature: FloatArray

    def negated(self) -> _Factors:
        return _Factors(-self.slope, -self.curvature)


def delta_gamma_cumulants(delta: ArrayLike, gamma: ArrayLike, covariance: ArrayLike) -> Cumulants:
    """Mean, variance, skewness and excess kurtosis of delta' r + r' gamma r / 2 with normal moves r of mean 0.

    delta       (F,) P&L by unit of a move, gain positive
    gamma       (F,F) symmetric, P&L by unit of two moves
    covariance  (F,F) of the moves, of any rank

    Cumulant n is (n - 1)! sum l^n / 2 + n! sum c^2 l^(n - 2) / 2. DataError as `delta_gamma_quantile`.
    """
    return _cumulants(_factors("delta_gamma_cumulants", delta, gamma, covariance))


def delta_gamma_quantile(
    delta: ArrayLike, gamma: ArrayLike, covariance: ArrayLike, probability: float, *, method: str = "exact"
) -> float:
    """The P&L that is not exceeded with the probability; value at risk at 99 % is minus that of 0.01.

    delta, gamma, covariance   as `delta_gamma_cumulants` takes them
    probability  of a lower P&L, from 1e-12 to 1 - 1e-12
    method       "exact", or "cornish_fisher": the normal quantile corrected by skewness and kurtosis (Cornish and
                 Fisher 1938, terms to the order 1/n), which far from normal may be wrong by any factor

    DataError for shapes, numbers and covariances that are none; ConfigError for the rest; NumericalError where the
    inversion does not reach its accuracy.
    """
    name = "delta_gamma_quantile"
    _check_probability(probability)
    if method not in ("exact", "cornish_fisher"):
        raise ConfigError(f"method = {method!r}: must be exact or cornish_fisher")
    factors = _factors(name, delta, gamma, covariance)
    moments = _cumulants(factors)
    if moments.variance <= 0.0:
        return moments.mean
    if method == "cornish_fisher":
        return _cornish_fisher(moments, float(ndtri(probability)))
    if probability > 0.5:
        return -_lower_quantile(factors.negated(), 1.0 - probability)
    return _lower_quantile(factors, probability)


def delta_gamma_probability(delta: ArrayLike, gamma: ArrayLike, covariance: ArrayLike, pnl: float) -> float:
    """The probability of a P&L of at most `pnl`.

    delta, gamma, covariance   as `delta_gamma_cumulants` takes them
    pnl   in the unit of delta times a move

    Raises what `delta_gamma_quantile` raises.
    """
    if not np.isfinite(pnl):
        raise ConfigError(f"pnl = {pnl!r}: must be a finite number")
    factors = _factors("delta_gamma_probability", delta, gamma, covariance)
    moments = _cumulants(factors)
    if moments.variance <= 0.0:
        return float(pnl >= moments.mean)
    if pnl > moments.mean:
        return 1.0 - _below(factors.negated(), -pnl)
    return _below(factors, pnl)


def _check_probability(probability: float) -> None:
    if not SMALLEST_PROBABILITY <= probability <= 1.0 - SMALLEST_PROBABILITY:
        raise ConfigError(f"probability = {probability!r}: must be from 1e-12 to 1 - 1e-12")


def _factors(function: str, delta: ArrayLike, gamma: ArrayLike, covariance: ArrayLike) -> _Factors:
    parts = diagonal(checked_terms(function, delta, gamma, covariance))
    if not len(parts.slope):
        return _Factors(parts.slope, parts.curvature)
    size = np.abs(parts.slope) + np.abs(parts.curvature)
    kept = size > NEGLIGIBLE * size.max()
    # A curvature that is rounding would have a branch point of its own far out, and nothing else.
    curvature = np.where(np.abs(parts.curvature) > NEGLIGIBLE**2 * size.max(), parts.curvature, 0.0)
    return _Factors(parts.slope[kept], curvature[kept])


def _cumulants(factors: _Factors) -> Cumulants:
    c2, level = factors.slope**2, factors.curvature
    variance = float((c2 + 0.5 * level**2).sum())
    if variance <= 0.0:
        return Cumulants(float(0.5 * level.sum()), 0.0, 0.0, 0.0)
    third = float((3.0 * c2 * level + level**3).sum())
    fourth = float((12.0 * c2 * level**2 + 3.0 * level**4).sum())
    return Cumulants(float(0.5 * level.sum()), variance, third / variance**1.5, fourth / variance**2)


def _cornish_fisher(moments: Cumulants, z: float) -> float:
    skew, kurtosis = moments.skewness, moments.excess_kurtosis
    corrected = (
        z
        + (z * z - 1.0) * skew / 6.0
        + (z**3 - 3.0 * z) * kurtosis / 24.0
        - (2.0 * z**3 - 5.0 * z) * skew * skew / 36.0
    )
    return float(moments.mean + np.sqrt(moments.variance) * corrected)


def _lower_quantile(factors: _Factors, probability: float) -> float:
    """Between the upper bound that Cantelli's inequality gives for any law of this variance, and steps down from it."""
    mean, variance, *_ = _cumulants(factors)
    deviation = float(np.sqrt(variance))
    high = mean + deviation * float(np.sqrt(probability / (1.0 - probability))) * (1.0 + 1e-9)
    least = mean - deviation * float(np.sqrt(1.0 / probability - 1.0)) * (1.0 + 1e-9)

    def beyond(x: float) -> float:
        return float(np.log(max(_below(factors, x), 1e-300) / probability))

    low, step = mean - deviation, deviation
    while low > least and beyond(low) > 0.0:
        high, step = low, 2.0 * step
        low = max(low - step, least)
    return float(brentq(beyond, max(low, least), high, xtol=1e-300, rtol=ROUNDING, maxiter=500))


def _below(factors: _Factors, x: float) -> float:
    """P(P&L <= x), with relative accuracy in the lower tail."""
    if len(factors.slope) == 1:
        return _below_of_one(float(factors.slope[0]), float(factors.curvature[0]), x)
    if factors.curvature.min() >= 0.0 and not np.any((factors.curvature == 0.0) & (factors.slope != 0.0)):
        bottom = -0.5 * float((factors.slope**2 / factors.curvature).sum())
        if x <= bottom:
            return 0.0
    return _inverted(factors, x)


def _below_of_one(slope: float, curvature: float, x: float) -> float:
    """c y + l y^2 / 2 = l (y + c / l)^2 / 2 - c^2 / (2 l): a square of a shifted normal."""
    if curvature == 0.0:
        return float(ndtr(x / abs(slope)))
    # Both solutions y of the quadratic equation; the one that would cancel comes from their product.
    discriminant = slope * slope + 2.0 * curvature * x
    if discriminant <= 0.0:
        return 0.0 if curvature > 0.0 else 1.0
    root = float(np.sqrt(discriminant))
    far = -(slope + np.copysign(root, slope))
    ends = sorted((far / curvature, -2.0 * x / far if far != 0.0 else 0.0))
    if curvature < 0.0:
        return float(ndtr(ends[0]) + ndtr(-ends[1]))
    # The difference of two tails on the side where they are small.
    sign = -1.0 if ends[0] > 0.0 else 1.0
    return float(abs(ndtr(sign * ends[1]) - ndtr(sign * ends[0])))


def _inverted(factors: _Factors, x: float) -> float:
    saddle = _saddle(factors, x)
    far = bool(np.all(np.abs(factors.curvature * saddle) > 1.0))
    height = float(_exponent(factors, x, np.array([saddle + 0j]), far)[0].real)
    if height < LOWEST:
        return 0.0
    width = 1.0 / np.sqrt(_curvature_at(factors, saddle))
    side = 1.0 if x >= _vertex(factors) else -1.0
    for bend in BENDS:
        total = _along(factors, x, (saddle, width, side * bend), height, far)
        if total is not None:
            return float(np.clip(np.exp(height) * total, 0.0, 1.0))
    raise NumericalError(f"the probability of a P&L of at most {x:.6g} was not found to {ACCURACY:g}")


def _vertex(factors: _Factors) -> float:
    """The P&L where no curved factor has a slope any more: which side of it x lies says where exp(K - z x) decays."""
    curved = factors.curvature != 0.0
    return -0.5 * float((factors.slope[curved] ** 2 / factors.curvature[curved]).sum())


def _exponent(factors: _Factors, x: float, z: Any, far: bool) -> Any:
    """K(z) - z x - log(-z) at complex z (n,).

    far  every factor is curved and |l z| > 1: z^2 / (1 - l z) = z / (l (1 - l z)) - z / l, whose last terms make
         -z (x - vertex) of -z x without cancelling
    """
    left = 1.0 - z[:, None] * factors.curvature
    logs = -0.5 * np.log(left).sum(axis=1) - np.log(-z + 0j)
    if far:
        shares = factors.slope**2 / factors.curvature
        return np.asarray(logs + 0.5 * (shares * z[:, None] / left).sum(axis=1) - z * (x - _vertex(factors)))
    return np.asarray(logs + 0.5 * (factors.slope**2 * z[:, None] ** 2 / left).sum(axis=1) - z * x)


def _saddle(factors: _Factors, x: float) -> float:
    """The minimum of K(z) - z x - log(-z) between the lowest branch point and 0; it is convex there."""
    c2, level = factors.slope**2, factors.curvature

    def slope_at(z: float) -> float:
        left = 1.0 - level * z
        return float((0.5 * level / left + c2 * z * (1.0 - 0.5 * level * z) / left**2).sum() - x - 1.0 / z)

    deviation = float(np.sqrt((c2 + 0.5 * level**2).sum()))
    lowest = float(level.min())
    near = -1e-3 / deviation
    while slope_at(near) <= 0.0:
        near *= 0.1
    if lowest < 0.0:
        share = 0.5
        while slope_at((1.0 - share) / lowest) >= 0.0:
            share *= 0.1
        far = (1.0 - share) / lowest
    else:
        far = 10.0 * near
        while slope_at(far) >= 0.0:
            far *= 10.0
    if far >= near:
        near = far * 1e-6
    return float(brentq(slope_at, far, near, rtol=1e-10))


def _curvature_at(factors: _Factors, z: float) -> float:
    left = 1.0 - factors.curvature * z
    return float((0.5 * (factors.curvature / left) ** 2 + factors.slope**2 / left**3).sum() + 1.0 / z**2)


def _along(factors: _Factors, x: float, contour: tuple[float, float, float], height: float, far: bool) -> float | None:
    """The integral along a hyperbola over exp(height); None where it rises on the way or does not stand still.

    z(u) = saddle + width (sin(bend) (cosh u - 1) + i cos(bend) sinh u), u > 0; the other half is its conjugate.
    """
    saddle, width, bend = contour

    def at(u: Any) -> Any:
        return saddle + width * (np.sin(bend) * (np.cosh(u) - 1.0) + 1j * np.cos(bend) * np.sinh(u))

    def values(u: FloatArray) -> FloatArray:
        z = at(u)
        slope = width * (np.sin(bend) * np.sinh(u) + 1j * np.cos(bend) * np.cosh(u))
        # Above the real axis no argument of a logarithm crosses its cut, whichever way the contour bends.
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            exponent = _exponent(factors, x, z, far) - height
            return np.where(exponent.real > -745.0, np.exp(exponent) * slope, 0.0)

    probe = np.linspace(0.0, REACH, 641)
    with np.errstate(over="ignore", invalid="ignore"):
        heights = np.abs(values(probe)) / width
    small = np.flatnonzero(heights < END)
    last = int(small[0]) if len(small) else len(probe) - 1
    end = float(probe[last])
    if not heights[: last + 1].max() <= np.exp(RISE) or not _ends_well(factors, x, saddle, at(end), height, far):
        return None
    count, before = 64, np.nan
    while count <= MOST_NODES:
        u = np.linspace(0.0, end, count + 1)
        weight = np.full(count + 1, end / count)
        weight[[0, -1]] *= 0.5
        total = float((weight * values(u).imag).sum()) / np.pi
        if abs(total - before) <= ACCURACY * abs(total):
            return total
        before, count = total, 2 * count
    return None


def _ends_well(factors: _Factors, x: float, saddle: float, end: complex, height: float, far: bool) -> bool:
    """Whether nothing lies between the end of a contour and the vertical one, on which the integrand only falls."""
    if (end.real >= saddle) == (x >= _vertex(factors)):
        return True  # the way the integrand decays for good
    between = np.linspace(saddle, end.real, 33) + 1j * end.imag
    return bool(np.all(_exponent(factors, x, between, far).real - height < np.log(END) + 5.0))
