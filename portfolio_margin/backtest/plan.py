"""What a back-test is over, and what its sets say along the history before any book is margined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from portfolio_margin.backtest.sets import Set, Simulated, Venue
from portfolio_margin.requirement import MarginModel
from pricing.arrays import IntArray
from pricing.errors import ConfigError
from scenarios.backtest.books import Books
from scenarios.backtest.history import History
from scenarios.backtest.models import Historical, WorstCase
from scenarios.backtest.parameters import Path, refuse_look_ahead


@dataclass(frozen=True)
class Plan:
    """What a back-test is over.

    given         the history
    books         the library
    confidence    coverage that is claimed
    horizon_days  days that a position is held
    least_days    days a rule may use before it has parameters
    start_ms      first moment of the test; before it there is history for the rules. None: as early as can be
    underlying    its name, by which margin models look up parameters
    """

    given: History
    books: Books
    confidence: float = 0.99
    horizon_days: int = 1
    least_days: int = 250
    start_ms: int | None = None
    underlying: str = "X"

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1.0:
            raise ConfigError(f"confidence = {self.confidence!r}: must be above 0.5 and below 1")
        if self.horizon_days < 1 or self.least_days < 2:
            raise ConfigError(
                f"horizon_days = {self.horizon_days!r}, least_days = {self.least_days!r}: at least 1 and 2"
            )

    @property
    def horizon(self) -> int:
        """Rows of the history that a position is held."""
        return self.horizon_days * self.given.steps_per_day


class Prepared(NamedTuple):
    """A set over the history of a plan.

    model  what margins the books
    daily  its path of parameters, one row a day; None where the margin has none
    bare   the same without its tools; None where it has none
    """

    model: WorstCase | Historical | MarginModel
    daily: Path | None = None
    bare: Path | None = None


def first_row(plan: Plan, sets: Mapping[str, Set]) -> int:
    """The first row of the history on which every set has parameters and that is not before the start."""
    days = plan.given.days()
    if len(days) <= plan.least_days:
        raise ConfigError(f"the history has {len(days)} days: the rules need {plan.least_days} before the first margin")
    first = int(days[plan.least_days])
    for chosen in sets.values():
        if isinstance(chosen, Simulated):
            first = max(first, _simulation(plan, chosen).first)
    if plan.start_ms is not None:
        first = max(first, int(np.searchsorted(plan.given.time_ms, plan.start_ms)))
    if first + plan.horizon >= len(plan.given):
        raise ConfigError("nothing of the history is left to test on: begin earlier, or give a longer one")
    return first


def prepared(
    plan: Plan,
    name: str,
    chosen: Set,
    daily: History,
    day_of: IntArray,
    margin_models: Mapping[str, MarginModel],
) -> Prepared:
    """A set over the history.

    name           of the set, for messages
    daily          the history of the ends of days
    day_of         (T,) of each row the day that was the last to end
    margin_models  by name of their set, for sets of the kind `Venue`

    ConfigError for a rule that looks ahead.
    """
    if isinstance(chosen, Venue):
        if name not in margin_models or plan.given.steps_per_day > 1:
            raise ConfigError(f"{name}: a margin model is walked on a history of days, and has to be given")
        return Prepared(margin_models[name])
    if isinstance(chosen, Simulated):
        return Prepared(_simulation(plan, chosen))
    rule = chosen.rule(plan.least_days, plan.horizon_days)
    path = refuse_look_ahead(name, rule, daily, plan.least_days + 2)
    bare = chosen.bare(plan.least_days, plan.horizon_days)
    model = chosen.model(path, day_of, plan.horizon_days)
    return Prepared(model, path, None if bare is None else bare(daily))


def _simulation(plan: Plan, chosen: Simulated) -> Historical:
    return Historical(
        plan.given,
        plan.horizon,
        window=chosen.window,
        stride=plan.given.steps_per_day,
        confidence=chosen.confidence,
        measure=chosen.measure,
        scaled=chosen.scaled,
    )
