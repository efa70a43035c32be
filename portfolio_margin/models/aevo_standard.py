"""aevo_standard: Aevo's standard margin of options: every short option by itself, in dollars.

short call: initial max(0.15 - out of the money / index, 0.1) S + mark, maintenance 0.1 S + mark
short put:  maintenance max(0.1 S, 0.1 mark) + mark, initial as of a call and at least that

The venue's page has no rates of futures and perpetuals: they are parameters to be supplied. Source:
docs/models/aevo_standard.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from portfolio_margin import standard_margin
from portfolio_margin.book import Book
from portfolio_margin.deribit_matrix import DOLLARS
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, everything
from portfolio_margin.standard_margin import Params
from pricing.arrays import FloatArray, StrArray
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet

__all__ = ["Model", "Params"]


@dataclass(frozen=True)
class Model:
    """Standard margin of options."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="aevo_standard", init=False)
    traits: Traits = field(default=Traits(proportional=("short_options",)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """None: the model looks at no scenario."""
        return None

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) nothing: a coin without rates is refused."""
        return everything(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) all of what is no dollar: the page knows no other collateral."""
        dollar = np.isin(arrays.instrument_id, [*DOLLARS, arrays.currency])
        return np.where(arrays.is_collateral & ~dollar, 1.0, 0.0)

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account."""
        return standard_margin.requirement(book, arrays, self.params, backend=backend, threads=threads)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Position by position."""
        return standard_margin.contributions(book, arrays, self.params)
