"""Requirement and contributions of Derive's two portfolio managers, from what each of them counts and charges."""

from __future__ import annotations

from decimal import localcontext
from typing import Any, Protocol

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.derive_contributions import charge_lines, naked_shares, scan_losses
from portfolio_margin.derive_portfolio import Portfolio, Rule, naked_notional, portfolios, unsettled_gains
from portfolio_margin.requirement import EXACT, Contribution, Requirement
from pricing.arrays import FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays


class Manager(Protocol):
    """What a portfolio manager is beside the machinery: how it counts scenarios, positions and charges."""

    @property
    def params(self) -> Any:
        """Parameters with `feeds`."""
        ...

    def rule(self, arrays: RiskArrays) -> Rule:
        """How the scenarios are counted on these arrays."""
        ...

    def by_position(self, part: Portfolio, arrays: RiskArrays) -> Any:
        """(P,) each, a NamedTuple of the money that charges are made of; its loss and naked are filled in here."""
        ...

    def charges_of(self, counted: Any) -> dict[str, FloatArray]:
        """(...,2) initial and maintenance part of every charge."""
        ...


def charges_by_account(
    manager: Manager, names: tuple[str, ...], book: Book, arrays: RiskArrays, backend: str, threads: int | None
) -> tuple[dict[str, FloatArray], IntArray, FloatArray]:
    """Charges (A,2) by name, the worst scenario (A,) and the revaluation (A,) of every account."""
    charges = {name: np.zeros((len(book), 2)) for name in names}
    worst, revaluation = np.full(len(book), -1), np.zeros(len(book))
    for part in portfolios(book, arrays, manager.rule(arrays), backend=backend, threads=threads):
        here, counted = slice(part.first, part.last), manager.by_position(part, arrays)
        sums = type(counted)(*(part.by_position(values) for values in counted))
        sums = sums._replace(loss=part.by_account(-part.worst), naked=naked_notional(part, arrays))
        for name, values in manager.charges_of(sums).items():
            charges[name][here] = values
        worst[here] = part.worst_scenario()
        revaluation[here] = part.by_account(part.revalued + unsettled_gains(part, arrays, manager.params.feeds))
    return charges, worst, revaluation


def contributions(manager: Manager, required: Requirement, book: Book, arrays: RiskArrays) -> list[Contribution]:
    """Every position's part of every charge of the one account of `book`; a charge that no position has, such as a
    floor, is a line of the account."""
    rule = manager.rule(arrays)
    (part,) = portfolios(book, arrays, rule, backend="numpy")
    loss, scenario = scan_losses(part, arrays, rule)
    counted = manager.by_position(part, arrays)._replace(loss=loss, naked=naked_shares(book, arrays))
    amounts = manager.charges_of(counted)
    lines: list[Contribution] = []
    with localcontext(EXACT):
        for name, asked in required.charges.items():
            own = amounts.get(name, np.zeros((len(loss), 2)))
            lines += charge_lines(book, arrays, name, own, asked[0], scenario if name == "scan" else None)
    return lines
