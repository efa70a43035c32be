"""The worst joint move of a given plausibility, for a book known by its delta and gamma.

Moves r are as plausible as the ellipsoid r' C^-1 r <= k^2 says, C their covariance: k is the Mahalanobis distance from
no move at all. The worst of them is found exactly, and so is its inverse, the most plausible move that loses an amount
(reverse stress). Second order is exact only locally: revalue the move in full before a number is believed.

Sources: Studer, Maximum loss for measurement of market risk (1997); Breuer, Jandacka, Rheinberger and Summer, How to
find plausible, severe and useful stress scenarios, International Journal of Central Banking 5 (2009); the quadratic
program on a ball: More and Sorensen, Computing a trust region step, SIAM J. Sci. Stat. Comput. 4 (1983).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import chi2

from pricing.arrays import FloatArray
from pricing.errors import ConfigError, InfeasibleError, NumericalError
from scenarios.quadratic import Diagonal, Terms, checked_terms, diagonal

LARGEST_RADIUS = 1e6
TIGHTEST = 4.0 * float(np.finfo(np.float64).eps)


class WorstCase(NamedTuple):
    """The worst move of an ellipsoid.

    max_loss             loss there, 0 or more
    worst_scenario       (F,) the move; of two that lose alike one, without preference
    euler_contributions  (F,) loss by factor, -(delta_i r_i + r_i (gamma r)_i / 2); they sum to the loss
    multiplier           of the constraint in max loss - multiplier (r' C^-1 r - k^2) / 2: a unit of k more adds
                         multiplier x k to the loss; 0 where the worst move lies inside
    distance             of the move by Mahalanobis, at most k
    """

    max_loss: float
    worst_scenario: FloatArray
    euler_contributions: FloatArray
    multiplier: float
    distance: float


def chi_square_radius(confidence: float, factors: int) -> float:
    """The radius of the ellipsoid that holds normal moves of so many factors with the confidence.

    confidence  above 0 and below 1
    factors     1 or more: the same radius holds less of more factors (Breuer and others 2009)
    """
    if not 0.0 < confidence < 1.0 or factors < 1:
        raise ConfigError(f"confidence = {confidence!r}, factors = {factors!r}: must be within (0, 1), and 1 or more")
    return float(np.sqrt(chi2.ppf(confidence, factors)))


def outside_probability(distance: float, factors: int) -> float:
    """The probability of a normal move of so many factors as far as the distance or farther, in any direction."""
    if not distance >= 0.0 or factors < 1:
        raise ConfigError(f"distance = {distance!r}, factors = {factors!r}: must be 0 or more, and 1 or more")
    return float(chi2.sf(distance * distance, factors))


def linear_worst_case(exposures: ArrayLike, covariance: ArrayLike, radius: float) -> WorstCase:
    """The worst move of a linear book: a loss of k sqrt(x' C x) at r = -k C x / sqrt(x' C x).

    exposures   (F,) P&L by unit of a move, gain positive
    covariance  (F,F) of the moves, of any rank
    radius      k, above 0

    DataError for shapes, numbers and covariances that are none; ConfigError for the radius.
    """
    terms = checked_terms("linear_worst_case", exposures, None, covariance)
    _check_radius(radius)
    swept = terms.covariance @ terms.delta
    deviation = float(np.sqrt(max(float(terms.delta @ swept), 0.0)))
    if deviation == 0.0:
        nothing = np.zeros(len(swept))
        return WorstCase(0.0, nothing, nothing.copy(), 0.0, 0.0)
    move = -(radius / deviation) * swept
    return WorstCase(radius * deviation, move, -terms.delta * move, deviation / radius, float(radius))


def quadratic_worst_case(delta: ArrayLike, gamma: ArrayLike, covariance: ArrayLike, radius: float) -> WorstCase:
    """The worst move of a delta-gamma book, to rounding: also where it lies inside, and where two moves lose alike.

    delta       (F,) P&L by unit of a move, gain positive
    gamma       (F,F) symmetric, P&L by unit of two moves
    covariance  (F,F) of the moves, of any rank
    radius      k, above 0

    With y the uncorrelated factors of `quadratic`, curvatures l and slopes c, the move is y = -c / (l + m) with the
    multiplier m at which |y| = k, and no curvature + m below 0 (More and Sorensen 1983, lemma 2.4).
    DataError for shapes, numbers and covariances that are none; ConfigError for the radius.
    """
    terms = checked_terms("quadratic_worst_case", delta, gamma, covariance)
    _check_radius(radius)
    return _worst(terms, diagonal(terms), float(radius))


def most_plausible_loss(delta: ArrayLike, gamma: ArrayLike, covariance: ArrayLike, loss: float) -> WorstCase:
    """The move nearest to none at all that loses an amount (reverse stress).

    delta, gamma, covariance   as `quadratic_worst_case` takes them
    loss   to be lost, above 0

    InfeasibleError with the largest loss where no move loses as much.
    """
    terms = checked_terms("most_plausible_loss", delta, gamma, covariance)
    if not (np.isfinite(loss) and loss > 0.0):
        raise ConfigError(f"loss = {loss!r}: must be above 0")
    parts = diagonal(terms)
    far = 1.0
    while _worst(terms, parts, far).max_loss < loss:
        if far >= LARGEST_RADIUS:
            most = _worst(terms, parts, far).max_loss
            raise InfeasibleError(f"no move loses {loss:,.6g}: the largest loss is {most:,.6g}", most)
        far *= 2.0
    near = far
    while near > 1e-300 and _worst(terms, parts, near).max_loss >= loss:
        near *= 0.5
    return _worst(terms, parts, brentq(lambda k: _worst(terms, parts, k).max_loss - loss, near, far, xtol=1e-300))


def _check_radius(radius: float) -> None:
    if not 0.0 < radius <= LARGEST_RADIUS:
        raise ConfigError(f"radius = {radius!r}: must be above 0 and at most {LARGEST_RADIUS:,.0f}")


def _worst(terms: Terms, parts: Diagonal, radius: float) -> WorstCase:
    factors, multiplier = _on_ball(parts, radius)
    move = parts.basis @ factors
    contributions = -(terms.delta * move + 0.5 * move * (terms.gamma @ move))
    loss = -float(parts.slope @ factors + 0.5 * parts.curvature @ (factors * factors))
    return WorstCase(max(loss, 0.0), move, contributions, multiplier, float(np.linalg.norm(factors)))


def _on_ball(parts: Diagonal, radius: float) -> tuple[FloatArray, float]:
    """(R,) the lowest point of sum slope y + curvature y^2 / 2 on the ball, and its multiplier.

    Found by s = multiplier + lowest curvature, in which nothing cancels where the lowest slope is next to nothing.
    """
    slope, curvature = parts.slope, parts.curvature
    if not len(slope):
        return np.zeros(0), 0.0
    lowest = float(curvature[0])
    above = curvature - lowest
    least = max(lowest, 0.0)

    def inner(s: float) -> FloatArray:
        height = above + s
        # Without a slope a factor does not move, whatever its curvature.
        return np.asarray(-np.divide(slope, height, out=np.zeros_like(slope), where=slope != 0.0))

    flat = (above + least <= 0.0) & (slope != 0.0)
    if not flat.any():
        at_least = inner(least)
        short = radius * radius - float(at_least @ at_least)
        if short >= 0.0:
            if lowest < 0.0:  # the hard case: both ways along the lowest curvature are as bad
                at_least[0] += np.sqrt(short)
            return at_least, least - lowest
    start = max(least, float(np.max(np.abs(slope) / radius - above)))
    end = max(start, float(np.linalg.norm(slope)) / radius)

    def missing(s: float) -> float:
        # Nearly linear in s, unlike the length itself (More and Sorensen 1983, section 3).
        return 1.0 / float(np.linalg.norm(inner(s))) - 1.0 / radius

    if missing(start) >= 0.0 or start == end:
        return inner(start), start - lowest
    found, answer = brentq(
        missing, start, end * (1.0 + 1e-12), xtol=1e-300, rtol=TIGHTEST, full_output=True, disp=False
    )
    if not answer.converged:
        raise NumericalError("the worst move of the ellipsoid was not found: its multiplier did not converge")
    return inner(found), found - lowest
