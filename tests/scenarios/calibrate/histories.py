"""Histories whose truth is known."""

from __future__ import annotations

import numpy as np

from pricing.arrays import FloatArray

# A day of a coin: 3.5 % deviation in the long run, and a memory of two months.
OMEGA, ALPHA, BETA = 2.45e-5, 0.08, 0.90
LONG_RUN = OMEGA / (1.0 - ALPHA - BETA)


def pareto_innovations(random: np.random.Generator, shape: tuple[int, ...], tail: float = 0.2) -> FloatArray:
    """Draws of mean 0 and variance 1 whose size is Pareto beyond its 90 % quantile, with that shape, uniform below."""
    share = random.uniform(size=shape)
    edge = 1.0
    # The density is continuous at the edge: 0.9 uniformly below it.
    scale = edge * 0.1 / 0.9
    far = edge + scale * np.expm1(-tail * np.log(np.minimum(np.maximum(1.0 - share, 1e-300) / 0.1, 1.0))) / tail
    size = np.where(share < 0.9, edge * share / 0.9, far)
    signs = np.where(random.uniform(size=shape) < 0.5, -1.0, 1.0)
    return signs * size / np.sqrt(second_moment(tail))


def second_moment(tail: float) -> float:
    """Of the size before it is scaled."""
    scale = 0.1 / 0.9
    beyond = 1.0 + 2.0 * scale / (1.0 - tail) + 2.0 * scale**2 / ((1.0 - tail) * (1.0 - 2.0 * tail))
    return 0.9 / 3.0 + 0.1 * beyond


def quantile_of_innovations(level: float, tail: float = 0.2) -> float:
    """The quantile of the size of an innovation, above its 90 % quantile."""
    return float(
        (1.0 + (0.1 / 0.9) * np.expm1(-tail * np.log((1.0 - level) / 0.1)) / tail) / np.sqrt(second_moment(tail))
    )
