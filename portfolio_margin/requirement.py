"""Requirement: what a margin model answers, and what a margin model is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import NamedTuple, Protocol

from portfolio_margin.book import Book
from pricing.arrays import FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays

# Every double has at most 1,075 significant decimal digits and a factor 17: no sum of their products is rounded.
EXACT = Context(prec=1_200)


class Requirement(NamedTuple):
    """Margin required of every account, margin currency, not yet rounded.

    initial, maintenance  (A,) initial >= maintenance >= 0
    worst_scenario        (A,) -> S, -1 where no scenario loses
    charges               name -> (A,2) initial and maintenance part; the parts sum to the two totals
    """

    initial: FloatArray
    maintenance: FloatArray
    worst_scenario: IntArray
    charges: dict[str, FloatArray]


@dataclass(frozen=True)
class Contribution:
    """Share of one position in one charge of one account, in exact decimals of the margin currency.

    netting_set and expiry name the group; instrument is "" for a line of the whole netting set;
    scenario is the worst scenario the share is measured in, "" where no scenario is involved.
    """

    charge: str
    netting_set: str
    expiry: str
    instrument: str
    quantity: float
    scenario: str
    initial: Decimal
    maintenance: Decimal


class MarginModel(Protocol):
    """Parameters plus `requirement`: the policy. One file in portfolio_margin/models each."""

    @property
    def model_id(self) -> str:
        """Name of the model, the name of its file."""
        ...

    @property
    def params(self) -> object:
        """The frozen parameter set; every field is bounded."""
        ...

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of a long balance of collateral that does not count, in [0, 1]."""
        ...

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account."""
        ...

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """The requirement of the one account of `book`, position by position; sums exactly."""
        ...
