"""Nodes, weights and interpolation matrices of the collocation of the exercise boundary.

They depend on the accuracy alone, not on any contract: nodes are shares of the time to expiry.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray, freeze
from pricing.errors import ConfigError

TINY = 1e-15


class Scheme(NamedTuple):
    """n nodes, l quadrature points at each, p points of the premium; all arrays read-only.

    node           (n,) sqrt(u/tau) of the nodes, 1 first, decreasing; u = 0 is understood
    basis          (n, n l) H at every point of every node from H at the nodes: H_points = H @ basis
    points         (n l, n) the same, transposed
    root, weight   (l,) sqrt(t/tau) and weight of the points of any node, t counted back from the node
    premium_basis  (n, p) the same for the premium, whose points reach back from tau
    premium_root, premium_weight   (p,)
    steps          Newton steps at most
    tolerance      step of y in units of vol sqrt(tau) that ends the iteration
    out_power, grade   H / sqrt(u)^out_power is interpolated by a polynomial in s, with sqrt(u) = s^grade
    """

    node: FloatArray
    basis: FloatArray
    points: FloatArray
    root: FloatArray
    weight: FloatArray
    premium_basis: FloatArray
    premium_root: FloatArray
    premium_weight: FloatArray
    steps: int
    tolerance: float
    out_power: float
    grade: int


@functools.cache
def scheme(parameters: tuple[int, int, int, float, int, int, float]) -> Scheme:
    """The arrays for (nodes, points, premium points, power out, grade, steps, tolerance)."""
    nodes, points, premium_points, out_power, grade, steps, tolerance = parameters
    s = _chebyshev(nodes)
    angle, root, weight = _angles(points, grade)
    premium_angle, premium_root, premium_weight = _angles(premium_points, grade)
    every = interpolation(nodes, (s[:nodes, None] * angle).ravel(), out_power, grade)
    return Scheme(
        node=freeze(s[:nodes] ** grade, np.float64),
        basis=freeze(every.T, np.float64),
        points=freeze(every, np.float64),
        root=freeze(root, np.float64),
        weight=freeze(weight, np.float64),
        premium_basis=freeze(interpolation(nodes, premium_angle, out_power, grade).T, np.float64),
        premium_root=freeze(premium_root, np.float64),
        premium_weight=freeze(premium_weight, np.float64),
        steps=steps,
        tolerance=tolerance,
        out_power=out_power,
        grade=grade,
    )


def scheme_of(schemes: dict[str, tuple[int, int, int, float, int, int, float]], accuracy: str) -> Scheme:
    """The scheme of that name. ConfigError where there is none."""
    if accuracy not in schemes:
        raise ConfigError(f"accuracy = {accuracy!r}: must be one of {', '.join(schemes)}")
    return scheme(schemes[accuracy])


def interpolation(nodes: int, s: FloatArray, out_power: float, grade: int) -> FloatArray:
    """(len(s), nodes) matrix that takes H at the nodes to H at s, by the barycentric formula.

    The polynomial goes through (H / sqrt(u)^out_power) at the nodes and through 0 at u = 0, where H is of the
    order of u: taking a power out keeps the interpolated H positive next to 0.
    """
    at = _chebyshev(nodes)
    barycentric = (-1.0) ** np.arange(nodes + 1)
    barycentric[[0, -1]] *= 0.5
    gap = s[:, None] - at
    hit = np.abs(gap) < TINY
    ratio = barycentric / np.where(hit, 1.0, gap)
    matrix = np.where(np.any(hit, axis=1, keepdims=True), hit, ratio / ratio.sum(axis=1, keepdims=True))
    power = grade * out_power
    return np.asarray((matrix * s[:, None] ** power)[:, :nodes] / at[:nodes] ** power)


def basis_at(scheme: Scheme, share: FloatArray) -> FloatArray:
    """(G,p,n) from y^2 at the nodes to y^2 at these shares (G,p) of the time solved for."""
    s = np.sqrt(share) ** (1.0 / scheme.grade)
    return interpolation(len(scheme.node), s.ravel(), scheme.out_power, scheme.grade).reshape(*share.shape, -1)


def _chebyshev(nodes: int) -> FloatArray:
    """(nodes + 1,) extrema of the Chebyshev polynomial on [0, 1], from 1 to 0."""
    return np.asarray(np.cos(np.pi * np.arange(nodes + 1) / (2 * nodes)) ** 2)


def _angles(points: int, grade: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """sin f, sqrt(t/tau) and weight of each point for u = tau sin(f)^(2 grade), f Gauss-Legendre on [0, pi/2]."""
    node, weight = np.polynomial.legendre.leggauss(points)
    f = (node + 1.0) * (np.pi / 4)
    sine, cosine = np.sin(f), np.cos(f)
    inner = np.sum([sine ** (2 * k) for k in range(grade)], axis=0)
    return sine, cosine * np.sqrt(inner), weight * (np.pi / 4) * 2 * grade * sine ** (2 * grade - 1) * cosine
