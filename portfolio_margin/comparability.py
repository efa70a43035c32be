"""Whether a requirement of one margin model can be set against that of another.

A saving compares two numbers for the same thing: both models must have a rule for all that an account holds, and count
it. Where that is not so the reason is said beside the blank.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import MarginStatement, up
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays


def comparable(hidden: BoolArray, models: list[str], references: Mapping[str, str]) -> BoolArray:
    """(M,A) True where neither a model nor its reference hides anything; hidden (M,A)."""
    against = [models.index(name) for name in references.values()]
    return np.asarray(~(hidden | hidden[against]))


def uncounted_assets(book: Book, arrays: RiskArrays, model: MarginModel) -> BoolArray:
    """(A,) True where an account holds an asset of which nothing counts as collateral."""
    row = book.instrument_idx
    out = arrays.is_collateral[row] & (book.quantity > 0) & (model.haircut(arrays)[row] >= 1.0)
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    return np.bincount(account[out], minlength=len(book)) > 0


def taken_back_value(book: Book, arrays: RiskArrays, statement: MarginStatement) -> FloatArray:
    """(A,) what of initial margin takes back option value that equity holds, by the traits of the model."""
    traits = statement.model.traits
    charged = np.zeros(len(book))
    for name in traits.of_equity:
        charged += np.maximum(statement.charges[name][:, 0], 0.0)
    if not traits.of_equity_with_risk:
        return charged
    row = book.instrument_idx
    seen = (arrays.kind == Kind.OPTION) & (np.asarray(statement.model.not_covered(arrays), dtype=np.str_) == "")
    value = np.zeros(len(book))
    worth = np.where(seen, arrays.value, 0.0)[row] * book.quantity
    np.add.at(value, np.repeat(np.arange(len(book)), np.diff(book.position_ptr)), worth)
    return np.asarray(np.minimum(charged, np.maximum(value, 0.0)))


def why_not(excluded: IntArray, uncounted: BoolArray, models: list[str], references: Mapping[str, str]) -> StrArray:
    """(M,A) why a model and its reference cannot be compared, "" where they can.

    excluded    (M,A) number of positions without a rule
    uncounted   (M,A) True where an asset held counts for nothing
    models      (M,) their names
    references  name of each model -> name of that it is measured against
    """
    texts = [_hides(name, excluded[m], uncounted[m]) for m, name in enumerate(models)]
    pairs = ((m, models.index(reference)) for m, reference in enumerate(references.values()))
    rows = [
        [text if m == r or not other else f"{text}; {other}" if text else other for text, other in both]
        for m, r in pairs
        for both in [list(zip(texts[m], texts[r], strict=True))]
    ]
    return np.array(rows, dtype=np.str_)


def _hides(name: str, excluded: IntArray, uncounted: BoolArray) -> list[str]:
    texts = []
    for count, none in zip(excluded.tolist(), uncounted.tolist(), strict=True):
        parts = [f"{name} has no rule for {count} position{'' if count == 1 else 's'}"] if count else []
        parts += [f"{name} counts an asset held for nothing, haircut 100 %"] if none else []
        texts.append("; ".join(parts))
    return texts


def own_charges(statement: MarginStatement) -> FloatArray:
    """(A,) of initial margin, what charges of ours add to the rule of the venue."""
    amounts = np.zeros(len(statement))
    for name in statement.model.traits.ours:
        amounts += statement.charges[name][:, 0] if name in statement.charges else 0.0
    return up(amounts, statement.money_step)
