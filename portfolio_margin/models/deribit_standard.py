"""deribit_standard: Deribit's standard margin, segregated: every position by itself, in what it settles in.

short call: initial max(0.15 - out of the money / index, 0.1) + mark, maintenance 0.075 + mark, in coin
short put:  maintenance max(0.075, 0.075 mark) + mark, initial as of a call and at least that
future:     2 % + 0.005 % per coin of the position (BTC), maintenance from 1 %; linear contracts times the index

Amounts in a coin are counted at its index. Source: docs/models/deribit_standard.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from portfolio_margin import standard_margin
from portfolio_margin.book import Book
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, everything
from portfolio_margin.standard_margin import Params
from pricing.arrays import FloatArray, StrArray
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet

__all__ = ["Model", "Params"]


@dataclass(frozen=True)
class Model:
    """Segregated standard margin (S:SM)."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="deribit_standard", init=False)
    traits: Traits = field(default=Traits(proportional=("short_options",)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """None: the model looks at no scenario."""
        return None

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) nothing: a coin without rates is refused."""
        return everything(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) none: a segregated account is margined in the coin it holds."""
        return np.zeros(len(arrays))

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account, its settlement currencies added up."""
        return standard_margin.requirement(book, arrays, self.params, backend=backend, threads=threads)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Position by position."""
        return standard_margin.contributions(book, arrays, self.params)
