"""One margin against one book's losses: every test, and what they say in words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray
from pricing.errors import ConfigError
from scenarios.backtest.adequacy import BreachSize, Efficiency, breach_size, efficiency
from scenarios.backtest.coverage import (
    Christoffersen,
    LikelihoodRatio,
    TrafficLight,
    breaches,
    christoffersen,
    kupiec,
    rolling_count,
    traffic_light,
)
from scenarios.backtest.procyclicality import RISE_DAYS, Procyclicality, procyclicality
from scenarios.backtest.shortfall import AcerbiSzekely, acerbi_szekely, normal_reading, second_p_value

LEVEL = 0.05
WINDOW = 250
ZONES = ("green", "yellow", "red")
LEAST = 100


@dataclass(frozen=True)
class Verdict:
    """What a back-test says of a margin on a book.

    confidence     coverage that was claimed
    observations   losses looked at, overlapping where the history has several rows a horizon
    apart          losses that do not overlap, on which the tests are
    coverage       share of all observations whose loss the margin covered
    breaches       of all observations
    breaches_apart of those that do not overlap
    kupiec, christoffersen, light   coverage tests
    worst_250      most breaches of any 250 that do not overlap, in order
    worst_light    traffic light of these, as Basel has it; `light` is of the count of all that do not overlap
    shortfall, shortfall_p   Acerbi and Szekely of the margin read as a normal quantile; probability of a Z2 as low
    size           of the breaches, shares of the price
    efficiency     of the margin, shares of the price
    share          procyclicality of the margin as a share of the price
    money          procyclicality of the margin of one unit, in money
    words          the verdict

    Coverage, breaches, size with its clusters, and efficiency are of all observations; kupiec, christoffersen, light,
    worst_250, worst_light, shortfall and breaches_apart of those that do not overlap.
    """

    confidence: float
    observations: int
    apart: int
    coverage: float
    breaches: int
    breaches_apart: int
    kupiec: LikelihoodRatio
    christoffersen: Christoffersen
    light: TrafficLight
    worst_250: int
    worst_light: TrafficLight
    shortfall: AcerbiSzekely
    shortfall_p: float
    size: BreachSize
    efficiency: Efficiency
    share: Procyclicality
    money: Procyclicality
    words: str

    @property
    def kupiec_side(self) -> int:
        """+1 where Kupiec's test rejects and breaches are too many, -1 where they are too few, 0 where it does not."""
        if not self.kupiec.p_value < LEVEL:
            return 0
        return 1 if self.breaches_apart > (1.0 - self.confidence) * self.apart else -1

    @property
    def shortfall_rejected(self) -> bool:
        """Whether losses beyond the margin were deeper, or more, than those of a normal law with it as quantile."""
        return bool(self.shortfall_p < LEVEL)

    def row(self) -> dict[str, Any]:
        """The verdict as named numbers and texts, one row of a table."""
        return {
            "observations": self.observations,
            "breaches": self.breaches,
            "coverage": self.coverage,
            "apart": self.apart,
            "breaches_apart": self.breaches_apart,
            "kupiec_lr": self.kupiec.statistic,
            "kupiec_p": self.kupiec.p_value,
            "independence_lr": self.christoffersen.independence.statistic,
            "independence_p": self.christoffersen.independence.p_value,
            "conditional_lr": self.christoffersen.conditional.statistic,
            "conditional_p": self.christoffersen.conditional.p_value,
            "zone": self.light.zone,
            "worst_250_breaches": self.worst_250,
            "worst_250_zone": self.worst_light.zone,
            "z1": self.shortfall.first,
            "z2": self.shortfall.second,
            "z2_p": self.shortfall_p,
            "largest_shortfall": self.size.largest,
            "largest_shortfall_share": self.size.largest_share,
            "mean_shortfall": self.size.mean,
            "largest_shortfall_place": self.size.place,
            "clusters": self.size.clusters,
            "longest_cluster": self.size.longest,
            **self.efficiency._asdict(),
            **_paths("share", self.share),
            **_paths("money", self.money),
            "verdict": self.words,
        }


def verdict(
    loss: ArrayLike,
    margin: ArrayLike,
    price: ArrayLike,
    confidence: float,
    *,
    horizon: int = 1,
    steps_per_day: int = 1,
    at_floor: ArrayLike | None = None,
) -> Verdict:
    """Every test of one margin on one book.

    loss           (R,) realised over the horizon from each row on, a share of the price there, + lost
    margin         (R,) asked for on each row, the same unit
    price          (R,) of the rows
    confidence     coverage that is claimed
    horizon        rows that a loss lasts: the tests take one row of so many
    steps_per_day  rows a day
    at_floor       (R,) whether a floor made the parameters; None where there is none

    ConfigError for fewer than 100 losses that do not overlap.
    """
    lost, asked, level = (np.asarray(column, dtype=np.float64) for column in (loss, margin, price))
    hit = breaches(lost, asked)
    apart = np.arange(0, len(lost), horizon)
    if len(apart) < LEAST:
        raise ConfigError(f"{len(apart)} losses that do not overlap: a back-test needs {LEAST} at least")
    few = hit[apart]
    uncovered = kupiec(int(few.sum()), len(few), 1.0 - confidence)
    order = christoffersen(few, 1.0 - confidence)
    light = traffic_light(int(few.sum()), len(few), confidence)
    most = int(rolling_count(few, WINDOW).max())
    worst_light = traffic_light(most, min(WINDOW, len(few)), confidence)
    depth, depth_p = _shortfall(lost[apart], asked[apart], confidence)
    return Verdict(
        confidence=confidence,
        observations=len(lost),
        apart=len(apart),
        coverage=1.0 - float(hit.mean()),
        breaches=int(hit.sum()),
        breaches_apart=int(few.sum()),
        kupiec=uncovered,
        christoffersen=order,
        light=light,
        worst_250=most,
        worst_light=worst_light,
        shortfall=depth,
        shortfall_p=depth_p,
        size=breach_size(lost, asked),
        efficiency=efficiency(lost, asked, confidence),
        share=procyclicality(asked, at_floor, steps_per_day),
        money=procyclicality(asked * level, at_floor, steps_per_day),
        words=words(few, confidence, uncovered, order, (light, worst_light), depth_p),
    )


def words(
    hit: BoolArray,
    confidence: float,
    uncovered: LikelihoodRatio,
    order: Christoffersen,
    lights: tuple[TrafficLight, TrafficLight],
    depth_p: float,
) -> str:
    """The verdict in words: whether there were too many breaches, too few, too deep ones, or too many together.

    hit         (T,) whether each loss was a breach, none overlapping another
    confidence  that was claimed
    uncovered, order   tests of these
    lights      of their whole count, and of the most breaches of any 250 of them, which is told where it is worse
    depth_p     of the test of shortfall, NaN where there is none
    """
    light, worst = lights
    claimed = (1.0 - confidence) * len(hit)
    count = int(hit.sum())
    rejected = uncovered.p_value < LEVEL
    said = "fails: more breaches than claimed" if rejected and count > claimed else ""
    if light.zone == "red":
        said = "fails: red zone"
    if not said and light.zone == "yellow":
        said = "doubtful: yellow zone"
    if not said:
        said = "holds, more margin than claimed" if rejected else "holds"
    if ZONES.index(worst.zone) > ZONES.index(light.zone):
        said += f"; {WINDOW} losses in {worst.zone}"
    if depth_p < LEVEL:
        said += "; ES rejected"
    if order.independence.p_value < LEVEL and order.transitions[1][1] > 0:
        said += "; breaches cluster"
    return said


def _shortfall(lost: FloatArray, asked: FloatArray, confidence: float) -> tuple[AcerbiSzekely, float]:
    """Of the margin read as a normal quantile; a margin of 0 claims nothing that could be read."""
    if not np.all(asked > 0.0):
        return AcerbiSzekely(0, float("nan"), float("nan")), float("nan")
    found = acerbi_szekely(-lost, normal_reading(asked, confidence))
    return found, float(second_p_value(found.second, len(lost)))


def _paths(name: str, measured: Procyclicality) -> dict[str, float]:
    rises = {f"{name}_rise_{days}d": rise for days, rise in zip(RISE_DAYS, measured.rises, strict=True)}
    found = {f"{name}_peak_to_trough": measured.peak_to_trough, **rises}
    return found if name != "share" else {**found, "share_at_floor": measured.share_at_floor}


def columns(verdicts: list[Verdict]) -> dict[str, Any]:
    """Verdicts as the columns of a table, one row each."""
    rows = [found.row() for found in verdicts]
    if not rows:
        raise ConfigError(f"verdicts = []: needs one at least of {len(fields(Verdict))} figures each")
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
