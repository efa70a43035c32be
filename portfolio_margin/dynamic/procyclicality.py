"""Anti-procyclicality: the three tools of EMIR, and a limit per day.

Delegated Regulation (EU) 153/2013, article 28 (1): a buffer of 25 % or more that stress may use up, a weight of 25 % or
more on stressed observations, a floor from ten years. They are alternatives: one is chosen. How procyclical a series of
margins was is measured by `scenarios/backtest/procyclicality.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError

# What the regulation asks for at least, of buffer and of weight.
LEAST_SHARE = 0.25


def buffered(margin: ArrayLike, buffer: float = LEAST_SHARE) -> FloatArray:
    """(...) margin with its buffer, 28 (1) (a), as it is while nothing of the buffer is in use."""
    return np.asarray(np.asarray(margin, dtype=np.float64) * (1.0 + buffer))


def buffer_drawn(margin: ArrayLike, usual: ArrayLike, buffer: float = LEAST_SHARE) -> FloatArray:
    """(...) margin with a buffer that is used up as the margin rises above its usual level.

    margin  (...) what the model asks for
    usual   (...) what it asks for in the long run
    buffer  share of it, 0 or more

    Up to the usual level the whole buffer is on top; from there on the charge stands still until the margin has used it
    up, and is then the margin: continuous, never below the margin, never falling while it rises.
    """
    asked = np.asarray(margin, dtype=np.float64)
    return np.asarray(np.maximum(asked, (1.0 + buffer) * np.minimum(asked, np.asarray(usual, dtype=np.float64))))


def stressed_weighted(margin: ArrayLike, stressed: ArrayLike, weight: float = LEAST_SHARE) -> FloatArray:
    """(...) margin in which the stressed one has a weight of its own, 28 (1) (b)."""
    asked = np.asarray(margin, dtype=np.float64)
    return np.asarray((1.0 - weight) * asked + weight * np.asarray(stressed, dtype=np.float64))


def floored(margin: ArrayLike, floor: ArrayLike) -> FloatArray:
    """(...) margin, and at least that of the ten years, 28 (1) (c)."""
    return np.maximum(np.asarray(margin, dtype=np.float64), np.asarray(floor, dtype=np.float64))


def rate_limited(target: ArrayLike, rise: float, fall: float) -> FloatArray:
    """(T,) a path that follows a target above 0 by no more than a share of itself per step.

    target  (T,) where it would go, oldest first; the path begins there
    rise    largest rise per step, a share of what it was, 0 or more
    fall    largest fall per step, 0 to below 1
    """
    wanted = np.asarray(target, dtype=np.float64)
    if not rise >= 0.0 or not 0.0 <= fall < 1.0:
        raise ConfigError(f"rise = {rise!r}, fall = {fall!r}: must be 0 or more, and 0 to below 1")
    path = wanted.copy()
    for step in range(1, len(path)):
        path[step] = min(max(wanted[step], path[step - 1] * (1.0 - fall)), path[step - 1] * (1.0 + rise))
    return path
