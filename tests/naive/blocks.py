"""The length of a block by Politis and White (2004) with the correction of 2009, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence


def automatic_block(series: Sequence[float]) -> float:
    """Rows of a circular block."""
    count = len(series)
    mean = sum(series) / count

    def covariance(lag: int) -> float:
        return sum((series[n] - mean) * (series[n + lag] - mean) for n in range(count - lag)) / count

    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    most = math.ceil(math.sqrt(count)) + run
    bound = 2.0 * math.sqrt(math.log10(count) / count)

    def loud(lag: int) -> bool:
        return abs(covariance(lag) / covariance(0)) >= bound

    last = None
    for lag in range(most - run + 1):
        if not any(loud(lag + k) for k in range(1, run + 1)):
            last = lag
            break
    if last is None:
        last = max((lag for lag in range(1, most + 1) if loud(lag)), default=1)
    width = min(2 * max(last, 1), most)
    slope = level = 0.0
    for lag in range(-width, width + 1):
        far = abs(lag) / width
        weight = 1.0 if far <= 0.5 else 2.0 * (1.0 - far)
        level += weight * covariance(abs(lag))
        slope += weight * abs(lag) * covariance(abs(lag))
    return float((2.0 * slope**2 / (4.0 / 3.0 * level**2)) ** (1.0 / 3.0) * count ** (1.0 / 3.0))
