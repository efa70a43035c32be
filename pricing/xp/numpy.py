"""The primitives of the formulas on numpy arrays: the reference of the other two."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

SQRT_HALF = 0.7071067811865476
SQRT_HALF_PI = 1.2533141373155003

where = np.where
sqrt = np.sqrt
exp = np.exp
log = np.log
minimum = np.minimum
maximum = np.maximum
abs = np.abs
normal_cdf = special.ndtr


def log_ratio(numerator: Any, denominator: Any) -> Any:
    """ln(numerator / denominator), exact where the two are close: the quotient is never rounded near 1."""
    relative = (numerator - denominator) / denominator
    return np.where(np.abs(relative) < 0.5, np.log1p(np.maximum(relative, -0.75)), np.log(numerator / denominator))


def mills_ratio(x: Any) -> Any:
    """N(-x) / phi(x) for x >= 0."""
    return SQRT_HALF_PI * special.erfcx(SQRT_HALF * x)
