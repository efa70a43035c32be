"""A back-test: every set over one history and one library of books, and what comes of it as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portfolio_margin.backtest.sets import Set, Simulated, Venue
from portfolio_margin.backtest.venue import model_margins
from portfolio_margin.requirement import MarginModel
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.backtest.books import LINEAR, Books
from scenarios.backtest.history import History
from scenarios.backtest.models import Historical, WorstCase
from scenarios.backtest.parameters import Path, refuse_look_ahead
from scenarios.backtest.revaluation import realised
from scenarios.backtest.verdict import Verdict, columns, verdict
from scenarios.backtest.walk import Step, block_count, day_of_rows, margins

# Books whose margins are kept day by day, for pictures.
FEATURED = ("long future", "short straddle 30d", "short strangle 30d", "short wing put 30d", "long straddle 30d",
            "short calendar 7d/30d", "short hedged straddle 7d")  # fmt: skip
MS_PER_DAY = 86_400_000


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


@dataclass(frozen=True)
class Tested:
    """One set.

    name      of the set
    kind      of the rule
    daily     the path of parameters, one row a day; None where the margin has none
    bare      the same without its tools; None where it has none
    verdicts  one a book
    kept      book -> (R,) margin day by day, a share of the price, of the featured books and of the worst one
    """

    name: str
    kind: str
    daily: Path | None
    bare: Path | None
    verdicts: tuple[Verdict, ...]
    kept: Mapping[str, FloatArray]

    def worst(self) -> int:
        """The book with the lowest coverage, the first of equals."""
        return int(np.argmin([found.coverage for found in self.verdicts]))


@dataclass(frozen=True)
class BackTest:
    """What came of it.

    plan   what it was over
    rows   (R,) rows of the history that were tested
    days   (D,) last row of every day, which paths are by
    lost   (R,B) realised loss of every book, a share of the price when it began
    sets   each set that was compared
    """

    plan: Plan
    rows: IntArray
    days: IntArray
    lost: FloatArray
    sets: tuple[Tested, ...]

    def table(self) -> dict[str, Any]:
        """One row a set and book, its figures and verdict."""
        books, parts = self.plan.books, [columns(list(tested.verdicts)) for tested in self.sets]
        repeated = {
            "set": np.repeat([tested.name for tested in self.sets], len(books)),
            "book": np.tile(books.name, len(self.sets)),
            "family": np.tile(books.family, len(self.sets)),
        }
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        place = joined["largest_shortfall_place"]
        moment = self.plan.given.time_ms[self.rows[np.maximum(place, 0)]]
        stamp = np.datetime_as_string(moment.astype("datetime64[ms]"), unit="m")
        joined["largest_shortfall_place"] = np.where(place >= 0, stamp, "")
        return {**repeated, **{_renamed(name): column for name, column in joined.items()}}

    def summary(self) -> dict[str, Any]:
        """One row a set and group of books: linear ones, options, all."""
        linear = np.isin(self.plan.books.family, LINEAR)
        groups = {"linear": linear, "options": ~linear, "all": np.ones(len(linear), dtype=np.bool_)}
        rows = [
            {"set": tested.name, "books": name, **_summed(tested, chosen)}
            for tested in self.sets
            for name, chosen in groups.items()
            if np.any(chosen)
        ]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _renamed(name: str) -> str:
    return "largest_shortfall_time" if name == "largest_shortfall_place" else name


def _summed(tested: Tested, chosen: BoolArray) -> dict[str, Any]:
    found = [one for one, taken in zip(tested.verdicts, chosen, strict=True) if taken]
    coverage = np.array([one.coverage for one in found])
    failing = [one.words.startswith("fails") for one in found]
    return {
        "count": len(found),
        "coverage": float(coverage.mean()),
        "worst_coverage": float(coverage.min()),
        "failing": int(np.sum(failing)),
        "kupiec_rejects": int(np.sum([one.kupiec.p_value < 0.05 for one in found])),
        "clustered": int(np.sum(["cluster" in one.words for one in found])),
        "red": int(np.sum([one.light.zone == "red" for one in found])),
        "yellow": int(np.sum([one.light.zone == "yellow" for one in found])),
        "shortfall_rejects": int(np.sum([one.shortfall_p < 0.05 for one in found])),
        "largest_shortfall": max(one.size.largest for one in found),
        "mean_margin": float(np.mean([one.efficiency.mean_margin for one in found])),
        "score": float(np.mean([one.efficiency.score for one in found])),
        "peak_to_trough": _middle([one.money.peak_to_trough for one in found]),
        **{f"rise_{days}d": _middle([one.money.rises[n] for one in found]) for n, days in enumerate((1, 5, 30))},
        "share_at_floor": _middle([one.share.share_at_floor for one in found]),
    }


def _middle(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


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


def back_test(
    plan: Plan,
    sets: Mapping[str, Set],
    progress: Callable[[int], Step] | None = None,
    backend: str = "numba",
    margin_models: Mapping[str, MarginModel] | None = None,
) -> BackTest:
    """Every set over the history of the plan.

    sets      by name
    progress  told how many steps there are, returns what is called after each
    backend   of the revaluation
    margin_models   by name of their set, for sets of the kind `Venue`

    ConfigError for a rule that looks ahead, and where the history is too short.
    """
    if not sets:
        raise ConfigError("no set to test")
    given, days = plan.given, plan.given.days()
    rows = np.arange(first_row(plan, sets), len(given) - plan.horizon)
    daily, day_of = given.at(days, 1), day_of_rows(days, len(given))
    prepared = {
        name: _prepared(plan, name, chosen, daily, day_of, margin_models or {}) for name, chosen in sets.items()
    }
    step: Step | None = None
    if progress:
        counts = [_steps(model, plan, rows) for model, _, _ in prepared.values()]
        step = progress(1 + sum(counts) + len(sets))
    lost = realised(given, plan.books, rows, plan.horizon, backend=backend)
    if step:
        step("losses")
    tested = []
    for name, (model, path, bare) in prepared.items():
        asked = _asked(model, plan, rows, name, step, backend)
        at_floor = None if path is None else path.at_floor[day_of[rows]]
        verdicts = _verdicts(plan, rows, lost, asked, at_floor)
        found = Tested(name, type(sets[name]).__name__.lower(), path, bare, verdicts, {})
        tested.append(_with_margins(found, plan.books, asked))
        if step:
            step(f"{name}: tests")
    return BackTest(plan, rows, days, lost, tuple(tested))


def _steps(model: WorstCase | Historical | MarginModel, plan: Plan, rows: IntArray) -> int:
    return len(rows) if not isinstance(model, WorstCase | Historical) else block_count(model, plan.books, rows)


def _asked(
    model: WorstCase | Historical | MarginModel, plan: Plan, rows: IntArray, name: str, step: Step | None, backend: str
) -> FloatArray:
    """(R,B) margins by either kind of model."""
    if not isinstance(model, WorstCase | Historical):
        return model_margins(plan.given, plan.books, model, rows, plan.underlying, backend, step)
    return margins(plan.given, plan.books, model, rows, backend=backend, step=step, name=name)


def _verdicts(
    plan: Plan, rows: IntArray, lost: FloatArray, asked: FloatArray, at_floor: BoolArray | None
) -> tuple[Verdict, ...]:
    price = plan.given.price[rows]
    how: dict[str, Any] = {"horizon": plan.horizon, "steps_per_day": plan.given.steps_per_day, "at_floor": at_floor}
    by_book = np.ascontiguousarray(lost.T), np.ascontiguousarray(asked.T)
    return tuple(verdict(own, margin, price, plan.confidence, **how) for own, margin in zip(*by_book, strict=True))


def _with_margins(found: Tested, books: Books, asked: FloatArray) -> Tested:
    """The set with the margins of the featured books, and of its worst one."""
    names = books.name.tolist()
    shown = dict.fromkeys([*(name for name in FEATURED if name in names), names[found.worst()]])
    kept = {name: asked[:, names.index(name)].copy() for name in shown}
    return Tested(found.name, found.kind, found.daily, found.bare, found.verdicts, kept)


def _prepared(
    plan: Plan,
    name: str,
    chosen: Set,
    daily: History,
    day_of: IntArray,
    margin_models: Mapping[str, MarginModel],
) -> tuple[WorstCase | Historical | MarginModel, Path | None, Path | None]:
    """The model of a set over the history, its path of parameters and that without its tools."""
    if isinstance(chosen, Venue):
        if name not in margin_models or plan.given.steps_per_day > 1:
            raise ConfigError(f"{name}: a margin model is walked on a history of days, and has to be given")
        return margin_models[name], None, None
    if isinstance(chosen, Simulated):
        return _simulation(plan, chosen), None, None
    rule = chosen.rule(plan.least_days, plan.horizon_days)
    refuse_look_ahead(name, rule, daily, plan.least_days + 2)
    bare = chosen.bare(plan.least_days, plan.horizon_days)
    path = rule(daily)
    layout = chosen.scenarios.made(float(plan.horizon_days))
    return WorstCase(path, day_of, layout), path, None if bare is None else bare(daily)


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
