"""bybit_standard: Bybit's margin of options outside portfolio margin ("cross"), every short option by itself.

maintenance: max(0.03 S, 0.03 mark) + mark + 0.002 S
initial:     max(max(0.15 S - out of the money, 0.1 S) + mark, maintenance)

The venue takes the entry price where it is above the mark; books know no entry prices. Rates of futures and perpetuals
go by tiers of size and are parameters to be supplied. Source: docs/models/bybit_standard.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from portfolio_margin.standard_margin import Params, PositionByPosition, dollars_only
from pricing.arrays import FloatArray
from scenarios.risk_arrays import RiskArrays

__all__ = ["Model", "Params"]


@dataclass(frozen=True)
class Model(PositionByPosition):
    """Standard margin of options."""

    venue: ClassVar[str] = "Bybit"
    model_id: str = field(default="bybit_standard", init=False)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) all of what is no dollar: tiers of collateral are not part of it."""
        return dollars_only(arrays)
