"""bybit_standard: Bybit's margin of options outside portfolio margin ("cross"), every short option by itself.

maintenance: max(0.03 S, 0.03 mark) + mark + 0.002 S
initial:     max(max(0.15 S - out of the money, 0.1 S) + mark, maintenance)

The venue takes the entry price where it is above the mark; books know no entry prices. Rates of futures and perpetuals
go by tiers of size and are parameters to be supplied. Source: docs/models/bybit_standard.md.
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
    model_id: str = field(default="bybit_standard", init=False)
    traits: Traits = field(default=Traits(proportional=("short_options",)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """None: the model looks at no scenario."""
        return None

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) nothing: a coin without rates is refused."""
        return everything(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) all of what is no dollar: tiers of collateral are not part of it."""
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
