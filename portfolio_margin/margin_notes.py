"""What a statement says beside its numbers: what counts of collateral, and charges that no rule of the venue has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.requirement import MarginModel
from pricing.arrays import FloatArray
from scenarios.risk_arrays import RiskArrays

# Names of assets in one line; a line of a venue with more says how many.
ASSETS_SHOWN = 8
OWN_CHARGE = "a charge of ours, which the venue does not publish"


class CollateralLine(NamedTuple):
    """One balance of an account and what counts of it, margin currency.

    asset     name
    quantity  units, below 0 where it is owed
    value     at the base scenario, before haircut
    haircut   share that does not count, 0 to 1; 0 of what is owed
    counts    value - haircut
    """

    asset: str
    quantity: float
    value: float
    haircut: float
    counts: float

    def text(self, currency: str) -> str:
        """One line for people."""
        head = f"{self.asset}: {self.quantity:.8g} worth {self.value:.2f} {currency}"
        return head if self.haircut == 0.0 else f"{head}, haircut {_percent(self.haircut)}, counts {self.counts:.2f}"


def collateral_lines(book: Book, arrays: RiskArrays, model: MarginModel) -> tuple[CollateralLine, ...]:
    """The balances of the one account of `book`, cash, coins and spot, with what counts of each."""
    haircut, lines = model.haircut(arrays), []
    for row, quantity in zip(book.instrument_idx.tolist(), book.quantity.tolist(), strict=True):
        if arrays.is_collateral[row] and quantity != 0.0:
            value = quantity * float(arrays.value[row])
            share = float(haircut[row]) if quantity > 0.0 else 0.0
            lines.append(CollateralLine(str(arrays.instrument_id[row]), quantity, value, share, value * (1.0 - share)))
    return tuple(lines)


def statement_notes(
    book: Book, arrays: RiskArrays, model: MarginModel, charges: Mapping[str, FloatArray]
) -> tuple[str, ...]:
    """The notes of a statement of `book`: haircuts of assets held, and charges of ours that are above 0."""
    return (*_haircut_notes(book, arrays, model), *_own_notes(model, charges))


def charges_of_ours(model: MarginModel, charges: Mapping[str, FloatArray]) -> tuple[str, ...]:
    """Charges of a statement that are ours and in no rule of the venue, of those above 0 in any account."""
    return tuple(name for name in model.traits.ours if name in charges and bool(np.any(charges[name] > 0.0)))


def _haircut_notes(book: Book, arrays: RiskArrays, model: MarginModel) -> list[str]:
    held = np.zeros(len(arrays), dtype=np.bool_)
    held[book.instrument_idx[book.quantity > 0.0]] = True
    haircut = model.haircut(arrays)
    rows = np.flatnonzero(held & arrays.is_collateral & (haircut > 0.0))
    by_share: dict[float, list[str]] = {}
    for row in rows.tolist():
        by_share.setdefault(float(haircut[row]), []).append(str(arrays.instrument_id[row]))
    return [
        f"{model.model_id}: haircut of {_names(assets)} {_percent(share)}"
        + (", so that nothing of it counts in the margin balance" if share >= 1.0 else "")
        for share, assets in sorted(by_share.items(), reverse=True)
    ]


def _own_notes(model: MarginModel, charges: Mapping[str, FloatArray]) -> list[str]:
    names = charges_of_ours(model, charges)
    if not names:
        return []
    return [f"{model.model_id}: {', '.join(names)} in these margins: {OWN_CHARGE}"]


def _names(assets: list[str]) -> str:
    more = len(assets) - ASSETS_SHOWN
    return ", ".join(assets) if more <= 0 else f"{', '.join(assets[:ASSETS_SHOWN])} and {more} more"


def _percent(share: float) -> str:
    return f"{100.0 * share:.4g} %"
