"""Caps of a whole venue: the totals over all accounts that a model needs before it margins any of them.

A model that has some says so by `venue_steps(book, arrays)`, whole numbers that add up over parts of a book, and takes
their sums by `with_venue_totals(arrays, steps)`; one without is handed back as it is. Every command that reads a whole
book takes the totals from it; of a book in parts they are the sums over the parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from portfolio_margin.book import Book
from portfolio_margin.requirement import MarginModel
from scenarios.risk_arrays import RiskArrays


def has_caps(model: MarginModel, book: Book, arrays: RiskArrays) -> bool:
    """Whether a model needs totals over all accounts; `book` may be of any of them, or of none."""
    return bool(steps_of(model, book, arrays))


def steps_of(model: MarginModel, book: Book, arrays: RiskArrays) -> dict[str, int]:
    """What counts over the accounts of a book, by asset, in whole money steps; nothing for a model without caps."""
    count: Any = getattr(model, "venue_steps", None)
    return {} if count is None else count(book, arrays)


def with_steps(model: MarginModel, arrays: RiskArrays, parts: Iterable[Mapping[str, int]]) -> MarginModel:
    """The model with the totals of a venue whose accounts are in parts.

    parts  `steps_of` of every part
    """
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    take: Any = getattr(model, "with_venue_totals", None)
    return model if take is None or not total else take(arrays, total)


def of_venue(model: MarginModel, book: Book, arrays: RiskArrays) -> MarginModel:
    """The model for the accounts of a book that are all there are."""
    return with_steps(model, arrays, [steps_of(model, book, arrays)])
