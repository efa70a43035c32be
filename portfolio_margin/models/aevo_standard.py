"""aevo_standard: Aevo's standard margin of options: every short option by itself, in dollars.

short call: initial max(0.15 - out of the money / index, 0.1) S + mark, maintenance 0.1 S + mark
short put:  maintenance max(0.1 S, 0.1 mark) + mark, initial as of a call and at least that

The venue's page has no rates of futures and perpetuals: they are parameters to be supplied. Source:
docs/models/aevo_standard.md.
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

    venue: ClassVar[str] = "Aevo"
    model_id: str = field(default="aevo_standard", init=False)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) all of what is no dollar: the page knows no other collateral."""
        return dollars_only(arrays)
