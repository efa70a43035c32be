"""How large were breaches, and what did the margin cost for what it covered?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.errors import ConfigError

# Breaches within so many observations of each other belong to one cluster.
CLUSTER_GAP = 10


class BreachSize(NamedTuple):
    """What losses exceeded margins by, in the unit of both.

    largest        largest shortfall, loss less margin; 0 where there is none
    largest_share  largest shortfall over its margin; infinite where the margin was 0
    mean           mean shortfall of the breaches, 0 where there is none
    place          observation of the largest, -1 where there is none
    clusters       groups of breaches with less than `CLUSTER_GAP` observations from one to the next
    longest        most breaches in one of them
    """

    largest: float
    largest_share: float
    mean: float
    place: int
    clusters: int
    longest: int


class Efficiency(NamedTuple):
    """The margin against what it covered; smaller is cheaper, at equal coverage.

    mean_margin      over the observations
    over_quantile    mean margin over the quantile of losses at the confidence, infinite where that is no loss
    over_mean_loss   mean margin over the mean of the losses, gains left out; infinite where nothing was lost
    score            mean quantile score (Koenker and Bassett 1978), which ranks margins that claim the same confidence
                     for the same losses: lower is better
    """

    mean_margin: float
    over_quantile: float
    over_mean_loss: float
    score: float


def breach_size(loss: ArrayLike, margin: ArrayLike) -> BreachSize:
    """Sizes and clusters of the losses above the margin.

    loss    (T,) realised, + lost
    margin  (T,) asked for before, 0 or more
    """
    lost, asked = _both(loss, margin)
    short = lost - asked
    places = np.flatnonzero(short > 0.0)
    if not len(places):
        return BreachSize(0.0, 0.0, 0.0, -1, 0, 0)
    with np.errstate(divide="ignore"):
        share = float((short[places] / asked[places]).max())
    worst = int(places[short[places].argmax()])
    groups = np.split(places, np.flatnonzero(np.diff(places) >= CLUSTER_GAP) + 1)
    longest = max(len(group) for group in groups)
    return BreachSize(float(short[worst]), share, float(short[places].mean()), worst, len(groups), longest)


def efficiency(loss: ArrayLike, margin: ArrayLike, confidence: float) -> Efficiency:
    """What the margin cost against what happened.

    loss        (T,) realised, + lost
    margin      (T,) asked for before, 0 or more
    confidence  coverage that was claimed
    """
    lost, asked = _both(loss, margin)
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence = {confidence!r}: must be above 0 and below 1")
    quantile, losses = float(np.quantile(lost, confidence)), lost[lost > 0.0]
    mean = float(asked.mean())
    scores = np.where(lost > asked, confidence * (lost - asked), (1.0 - confidence) * (asked - lost))
    return Efficiency(
        mean_margin=mean,
        over_quantile=mean / quantile if quantile > 0.0 else float("inf"),
        over_mean_loss=mean / float(losses.mean()) if len(losses) else float("inf"),
        score=float(scores.mean()),
    )


def _both(loss: ArrayLike, margin: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    lost, asked = np.asarray(loss, dtype=np.float64), np.asarray(margin, dtype=np.float64)
    if lost.ndim != 1 or not len(lost) or lost.shape != asked.shape:
        raise ConfigError(f"loss of shape {lost.shape}, margin of shape {asked.shape}: needs two series of one length")
    return lost, asked
