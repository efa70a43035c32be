"""A back-test: every set over one history and one library of books, and what comes of it as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from portfolio_margin.backtest.parts import FEATURED, Part, PartTested, back_test_part, here_parts, parts_of, steps_of
from portfolio_margin.backtest.plan import Plan, Prepared, first_row, prepared
from portfolio_margin.backtest.sets import Set
from portfolio_margin.in_parts import Each
from portfolio_margin.requirement import MarginModel
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.backtest.books import LINEAR
from scenarios.backtest.parameters import Path
from scenarios.backtest.verdict import Verdict, columns
from scenarios.backtest.walk import Step, day_of_rows


@dataclass(frozen=True)
class Tested:
    """One set.

    name      of the set
    kind      of the rule
    daily     the path of parameters, one row a day; None where the margin has none
    bare      the same without its tools; None where it has none
    verdicts  one a book
    kept      book -> (R,) margin day by day, a share of the price, of the featured books and of the worst one
    breached  linear books or not -> (R,) whether any of them lost more than its margin
    """

    name: str
    kind: str
    daily: Path | None
    bare: Path | None
    verdicts: tuple[Verdict, ...]
    kept: Mapping[str, FloatArray]
    breached: Mapping[bool, BoolArray]

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
        """One row a set and book, its figures and verdict.

        largest_shortfall_time is when the margin was asked for: on a history of days the day at whose close.
        """
        books, parts = self.plan.books, [columns(list(tested.verdicts)) for tested in self.sets]
        repeated = {
            "set": np.repeat([tested.name for tested in self.sets], len(books)),
            "book": np.tile(books.name, len(self.sets)),
            "family": np.tile(books.family, len(self.sets)),
        }
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        place = joined["largest_shortfall_place"]
        stamp = self.plan.given.stamps(self.rows[np.maximum(place, 0)]).astype(np.str_)
        joined["largest_shortfall_place"] = np.where(place >= 0, stamp, "")
        return {**repeated, **{_renamed(name): column for name, column in joined.items()}}

    def period(self) -> tuple[str, str]:
        """First and last day whose move counts, on a history of days; of shorter bars first and last moment, UTC."""
        given, first = self.plan.given, int(self.rows[0])
        ends = given.stamps([first + (given.steps_per_day == 1), int(self.rows[-1]) + self.plan.horizon])
        begun, ended = (f"{stamp}" if given.steps_per_day == 1 else f"{stamp}Z" for stamp in ends.astype(np.str_))
        return begun, ended

    def summary(self) -> dict[str, Any]:
        """One row a set and group of books: linear ones, options, all."""
        linear = np.isin(self.plan.books.family, LINEAR)
        groups = {"linear": linear, "options": ~linear, "all": np.ones(len(linear), dtype=np.bool_)}
        rows = [
            {"set": tested.name, "books": name, **_summed(tested, chosen), "joint_coverage": _joint(tested, name)}
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
        "kupiec_rejects": int(np.sum([one.kupiec_side != 0 for one in found])),
        "kupiec_too_many": int(np.sum([one.kupiec_side > 0 for one in found])),
        "kupiec_too_few": int(np.sum([one.kupiec_side < 0 for one in found])),
        "clustered": int(np.sum(["cluster" in one.words for one in found])),
        "red": int(np.sum([one.light.zone == "red" for one in found])),
        "yellow": int(np.sum([one.light.zone == "yellow" for one in found])),
        "worst_red": int(np.sum([one.worst_light.zone == "red" for one in found])),
        "worst_yellow": int(np.sum([one.worst_light.zone == "yellow" for one in found])),
        "shortfall_rejects": int(np.sum([one.shortfall_rejected for one in found])),
        "largest_shortfall": max(one.size.largest for one in found),
        "mean_margin": float(np.mean([one.efficiency.mean_margin for one in found])),
        "score": float(np.mean([one.efficiency.score for one in found])),
        "peak_to_trough": _middle([one.money.peak_to_trough for one in found]),
        **{f"rise_{days}d": _middle([one.money.rises[n] for one in found]) for n, days in enumerate((1, 5, 30))},
        "share_at_floor": _middle([one.share.share_at_floor for one in found]),
    }


def _joint(tested: Tested, group: str) -> float:
    """Share of the losses' days on which every book of a group was covered."""
    kinds = {"linear": (True,), "options": (False,), "all": (True, False)}[group]
    return float(1.0 - np.any([tested.breached[kind] for kind in kinds], axis=0).mean())


def _middle(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def back_test(
    plan: Plan,
    sets: Mapping[str, Set],
    progress: Callable[[int], Step] | None = None,
    backend: str = "numba",
    margin_models: Mapping[str, MarginModel] | None = None,
    each: Each | None = None,
    books_each: int | None = None,
) -> BackTest:
    """Every set over the history of the plan.

    sets      by name
    progress  told how many steps there are, returns what is called after each; without `each` alone
    backend   of the revaluation
    margin_models   by name of their set, for sets of the kind `Venue`
    each      where the parts are computed, such as `cluster.Workers`; None for here. The result has the same bits
    books_each      books to a part; None for few parts here, and `PART_BOOKS` where `each` is given

    ConfigError for a rule that looks ahead, and where the history is too short.
    """
    if not sets:
        raise ConfigError("no set to test")
    given, days = plan.given, plan.given.days()
    rows = np.arange(first_row(plan, sets), len(given) - plan.horizon)
    daily, day_of = given.at(days, 1), day_of_rows(days, len(given))
    own = {name: prepared(plan, name, chosen, daily, day_of, margin_models or {}) for name, chosen in sets.items()}
    shared = (plan, {name: one.model for name, one in own.items()}, rows, backend)
    if each is not None:
        parts = parts_of(plan, list(sets), books_each)
        found = each(back_test_part, shared, parts)
    else:
        parts = here_parts(plan, list(sets), books_each)
        step = progress(sum(steps_of(shared, part) for part in parts)) if progress else None
        found = [back_test_part(shared, part, step) for part in parts]
    tested = [_tested(plan, name, sets[name], own[name], parts, found) for name in sets]
    lost = np.empty((len(rows), len(plan.books)))
    for part, one in zip(parts, found, strict=True):
        if one.lost is not None:
            lost[:, part.first : part.last] = one.lost
    return BackTest(plan, rows, days, lost, tuple(tested))


def _tested(
    plan: Plan, name: str, chosen: Set, own: Prepared, parts: Sequence[Part], found: Sequence[PartTested]
) -> Tested:
    """What the parts say of a set, in order of the books."""
    mine = [one.sets[name] for part, one in zip(parts, found, strict=True) if name in part.sets]
    verdicts = tuple(verdict for one in mine for verdict in one.verdicts)
    kept = {book: margin for one in mine for book, margin in one.kept.items()}
    breached = {kind: np.any([one.breached[kind] for one in mine], axis=0) for kind in (True, False)}
    tested = Tested(name, type(chosen).__name__.lower(), own.daily, own.bare, verdicts, {}, breached)
    names = plan.books.name.tolist()
    shown = dict.fromkeys([*(book for book in FEATURED if book in names), names[tested.worst()]])
    return replace(tested, kept={book: kept[book] for book in shown})
