"""Delta-gamma P&L under jointly distributed moves, in the coordinates in which it falls apart into single factors.

P&L = delta' r + r' gamma r / 2 with moves r of covariance C. With C = V diag(d) V', r = V diag(sqrt d) Q y: the moves y
are uncorrelated with variance 1, and Q is chosen so that

    P&L = sum over j of slope_j y_j + curvature_j y_j^2 / 2

(the transformation of Rouvinez, Going Greek with VaR, Risk 10, 1997). A covariance of less than full rank is taken: it
has fewer y than r, and the directions without variance do not move.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.columns import numbers
from pricing.errors import DataError, Problem

MAX_FACTORS = 1_000
# Of the largest eigenvalue of a covariance or entry of a gamma: what is rounding, no variance and no asymmetry.
ROUNDING = 1e-12
ASYMMETRY = 1e-9


class Terms(NamedTuple):
    """A delta-gamma P&L.

    delta       (F,) P&L by unit of a move
    gamma       (F,F) symmetric, P&L by unit of two moves
    covariance  (F,F) symmetric, of the moves
    """

    delta: FloatArray
    gamma: FloatArray
    covariance: FloatArray

    def pnl(self, move: FloatArray) -> float:
        """P&L after a move (F,)."""
        return float(self.delta @ move + 0.5 * move @ self.gamma @ move)


class Diagonal(NamedTuple):
    """The same P&L factor by factor.

    slope      (R,) P&L by standard deviation of a factor
    curvature  (R,) P&L by two of them, rising
    basis      (F,R) move = basis y
    """

    slope: FloatArray
    curvature: FloatArray
    basis: FloatArray


def checked_terms(function: str, delta: ArrayLike, gamma: ArrayLike | None, covariance: ArrayLike) -> Terms:
    """The terms as arrays. DataError names what has a wrong shape, is not finite, symmetric or a covariance.

    function   named in errors
    delta      (F,); gamma (F,F), None for none
    covariance (F,F) without a negative variance in any direction
    """
    linear = np.atleast_1d(numbers(function, "delta", delta))
    if linear.ndim != 1 or not 1 <= len(linear) <= MAX_FACTORS:
        _refuse(function, "delta", linear.shape, f"must be one number a factor, of 1 to {MAX_FACTORS:,} factors")
    count = len(linear)
    square = np.zeros((count, count)) if gamma is None else numbers(function, "gamma", gamma)
    named = {"gamma": square, "covariance": numbers(function, "covariance", covariance)}
    for name, matrix in named.items():
        if matrix.shape != (count, count):
            _refuse(function, name, matrix.shape, f"must be {count} x {count}, as many as delta has factors")
    for name, array in {"delta": linear, **named}.items():
        if not np.all(np.isfinite(array)):
            row = int(np.flatnonzero(~np.isfinite(array.reshape(count, -1)).all(axis=1))[0])
            raise DataError([Problem(function, row, name, array[row].tolist(), "must be finite numbers")])
    for name, matrix in named.items():
        gap = np.abs(matrix - matrix.T)
        if np.any(gap > ASYMMETRY * np.abs(matrix).max()):
            row, column = (int(place) for place in np.unravel_index(np.argmax(gap), gap.shape))
            pair = (float(matrix[row, column]), float(matrix[column, row]))
            _refuse(function, f"{name}[{row},{column}] and [{column},{row}]", pair, "must be equal: it is symmetric")
    spread = 0.5 * (named["covariance"] + named["covariance"].T)
    lowest = float(np.linalg.eigvalsh(spread)[0])
    if lowest < -ASYMMETRY * max(float(np.abs(spread).max()), 0.0):
        _refuse(function, "covariance", lowest, "this is its variance in some direction: must be 0 or more in all")
    return Terms(linear, 0.5 * (named["gamma"] + named["gamma"].T), spread)


def _refuse(function: str, field: str, value: object, remedy: str) -> None:
    raise DataError([Problem(function, None, field, value, remedy)])


def diagonal(terms: Terms) -> Diagonal:
    """The P&L factor by factor; directions without variance are left out."""
    variance, axes = np.linalg.eigh(terms.covariance)
    moving = variance > ROUNDING * max(float(variance[-1]), 0.0)
    root = axes[:, moving] * np.sqrt(variance[moving])
    curvature, turned = np.linalg.eigh(root.T @ terms.gamma @ root)
    basis = root @ turned
    return Diagonal(basis.T @ terms.delta, curvature, basis)
