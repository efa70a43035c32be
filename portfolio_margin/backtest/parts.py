"""Parts of a back-test: some books under some sets. What one part says depends on no other, so parts run anywhere.

The history, the paths of parameters and the rows are what all parts share; they are sent to another machine once. Sums
of a book are exact (`scenarios/backtest/revaluation.py`) and its verdict is its own, so that results have the same bits
however the books are cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backtest.plan import Plan
from portfolio_margin.backtest.venue import model_margins
from portfolio_margin.requirement import MarginModel
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.backtest.books import LINEAR, Books
from scenarios.backtest.models import Historical, WorstCase
from scenarios.backtest.revaluation import DYNAMICS, realised
from scenarios.backtest.verdict import Verdict, verdict
from scenarios.backtest.walk import Step, block_count, margins

# Books whose margins are kept day by day, for pictures.
FEATURED = ("long future", "short straddle 30d", "short strangle 30d", "short wing put 30d", "long straddle 30d",
            "short calendar 7d/30d", "short hedged straddle 7d")  # fmt: skip
# Books of a part elsewhere: every part revalues the options anew, which for so many books is less than half the work.
PART_BOOKS = 100
# Books of a part here, for the sake of memory alone.
HERE_BOOKS = 1_000

AnyModel = WorstCase | Historical | MarginModel
Shared = tuple[Plan, Mapping[str, AnyModel], IntArray, str]


class Part(NamedTuple):
    """Books `first` to `last`, the last left out, under these sets.

    losses  whether their losses are handed back
    """

    sets: tuple[str, ...]
    first: int
    last: int
    losses: bool


class SetTested(NamedTuple):
    """One set on the books of a part.

    verdicts  one a book
    kept      book -> (R,) margin on every row, a share of the price, of the featured ones and the least covered
    breached  linear books or not -> (R,) whether any of them lost more than its margin
    """

    verdicts: tuple[Verdict, ...]
    kept: Mapping[str, FloatArray]
    breached: Mapping[bool, BoolArray]


class PartTested(NamedTuple):
    """What a part says.

    sets  by name
    lost  (R,B) realised losses, a share of the price; None where the part is not asked for them
    """

    sets: Mapping[str, SetTested]
    lost: FloatArray | None


def parts_of(plan: Plan, sets: Sequence[str], books_each: int | None = None) -> list[Part]:
    """Every set by itself with so many books, for other machines. ConfigError for fewer than one book."""
    cut = _cut(plan, PART_BOOKS if books_each is None else books_each)
    return [Part((name,), *span, losses=name == sets[0]) for name in sets for span in cut]


def here_parts(plan: Plan, sets: Sequence[str], books_each: int | None = None) -> list[Part]:
    """All sets together with so many books, for one machine."""
    cut = _cut(plan, HERE_BOOKS if books_each is None else books_each)
    return [Part(tuple(sets), *span, losses=True) for span in cut]


def _cut(plan: Plan, each: int) -> list[tuple[int, int]]:
    if each < 1:
        raise ConfigError(f"books_each = {each!r}: must be 1 or more")
    return [(first, min(first + each, len(plan.books))) for first in range(0, len(plan.books), each)]


def steps_of(shared: Shared, part: Part) -> int:
    """How often `back_test_part` calls its step."""
    plan, models, rows, _ = shared
    books = plan.books.chosen(np.arange(part.first, part.last))
    counts = [
        block_count(model, books, rows) if isinstance(model, WorstCase | Historical) else len(rows)
        for model in (models[name] for name in part.sets)
    ]
    return 1 + sum(counts) + len(part.sets)


def back_test_part(shared: Shared, part: Part, step: Step | None = None) -> PartTested:
    """Losses, margins and verdicts of a part.

    step  called after every block with what was done, for a progress bar
    """
    plan, models, rows, backend = shared
    told: Step = step or (lambda name: None)
    books = plan.books.chosen(np.arange(part.first, part.last))
    lost = realised(plan.given, books, rows, plan.horizon, backend=backend)
    told("losses")
    found = {}
    for name in part.sets:
        model = models[name]
        asked = _asked(model, plan, books, rows, name, told, backend)
        at_floor = model.path.at_floor[model.day_of[rows]] if isinstance(model, WorstCase) else None
        verdicts = _verdicts(plan, rows, lost, asked, at_floor)
        beyond, linear = lost > asked, np.isin(books.family, LINEAR)
        breached = {kind: np.asarray(beyond[:, linear == kind].any(axis=1)) for kind in (True, False)}
        found[name] = SetTested(verdicts, _kept(books, verdicts, asked), breached)
        told(f"{name}: tests")
    return PartTested(found, lost if part.losses else None)


def _asked(
    model: AnyModel, plan: Plan, books: Books, rows: IntArray, name: str, step: Step, backend: str
) -> FloatArray:
    """(R,B) margins by either kind of model."""
    if not isinstance(model, WorstCase | Historical):
        return model_margins(plan.given, books, model, rows, plan.underlying, backend, step)
    dynamics = model.dynamics if isinstance(model, WorstCase) else DYNAMICS
    return margins(plan.given, books, model, rows, dynamics, backend, step, name)


def _verdicts(
    plan: Plan, rows: IntArray, lost: FloatArray, asked: FloatArray, at_floor: BoolArray | None
) -> tuple[Verdict, ...]:
    price = plan.given.price[rows]
    how: dict[str, Any] = {"horizon": plan.horizon, "steps_per_day": plan.given.steps_per_day, "at_floor": at_floor}
    by_book = np.ascontiguousarray(lost.T), np.ascontiguousarray(asked.T)
    return tuple(verdict(own, margin, price, plan.confidence, **how) for own, margin in zip(*by_book, strict=True))


def _kept(books: Books, verdicts: Sequence[Verdict], asked: FloatArray) -> dict[str, FloatArray]:
    """Margins of the featured books, and of the least covered one, the first of equals."""
    names = books.name.tolist()
    worst = int(np.argmin([found.coverage for found in verdicts]))
    shown = dict.fromkeys([*(name for name in FEATURED if name in names), names[worst]])
    return {name: asked[:, names.index(name)].copy() for name in shown}
