"""Value at risk and expected shortfall of equally likely scenarios: weighted sums of the largest losses.

Both are linear in the ordered losses: the weights by rank are fixed, so that a measure falls apart exactly into what
every position loses in those scenarios (Euler allocation; Tasche, arXiv 0708.2542).
"""

from __future__ import annotations

import numpy as np

from pricing.arrays import FloatArray
from pricing.errors import ConfigError

MEASURES = ("var", "es")
QUANTILES = ("plotting", "order")
# Counts such as 60 x 0.05 are off a whole number by binary noise.
NOISE = 1e-9


def tail_weights(count: int, confidence: float, measure: str, quantile: str = "plotting") -> FloatArray:
    """(k,) weights of the k largest losses, the largest last; they sum to 1.

    count       scenarios
    confidence  in (0, 1)
    measure     "es": the mean of the worst count (1 - confidence), the last of them in part;
                "var": the quantile
    quantile    "plotting": linear between the losses at (i + 0.5) / count, as Eurex PRISMA does, the largest loss
                beyond them; "order": the loss that count (1 - confidence) are not below, rounded down to a worse one
    """
    if measure not in MEASURES or quantile not in QUANTILES:
        raise ConfigError(f"measure = {measure!r}, quantile = {quantile!r}: var or es, plotting or order")
    tail = count * (1.0 - confidence)
    if measure == "es":
        whole = int(np.floor(tail + NOISE))
        part = max(tail - whole, 0.0)
        weights = np.ones(max(whole, 1)) if part <= NOISE or whole == 0 else np.append(part, np.ones(whole))
        return np.asarray(weights / weights.sum())
    if quantile == "order":
        rank = min(count, max(1, int(np.floor(tail + NOISE))))
        return np.append(1.0, np.zeros(rank - 1))
    place = np.clip(confidence * count - 0.5, 0.0, count - 1.0)
    low = int(np.floor(place))
    share = place - low
    weights = np.zeros(count - low)
    weights[0] = 1.0 - share
    if share > 0:
        weights[1] = share
    return weights


def tail_measure(losses: FloatArray, weights: FloatArray) -> FloatArray:
    """(A,) weighted sums of the largest losses of each row (A,n), never below 0."""
    count = len(weights)
    largest = np.sort(np.partition(losses, losses.shape[1] - count, axis=1)[:, losses.shape[1] - count :], axis=1)
    total = np.zeros(len(losses))
    # Column after column, so that a row's sum never depends on the rows beside it.
    for column, weight in enumerate(weights):
        total += weight * largest[:, column]
    return np.maximum(total, 0.0)


def scenario_weights(losses: FloatArray, weights: FloatArray) -> FloatArray:
    """(n,) weight of every scenario in the measure of one row of losses; of equal losses the later ones count first."""
    result = np.zeros(len(losses))
    order = np.argsort(losses, kind="stable")
    result[order[len(losses) - len(weights) :]] = weights
    return result


def blended(historical: FloatArray, stress: FloatArray, stress_weight: float, stress_floor: float) -> FloatArray:
    """(A,) (1 - w) historical + w stress, at least a share of the stress part (the shape CME describes for SPAN 2)."""
    mixed = (1.0 - stress_weight) * np.asarray(historical) + stress_weight * np.asarray(stress)
    return np.maximum(mixed, stress_floor * np.asarray(stress))
