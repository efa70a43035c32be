"""deribit_standard: Deribit's standard margin, segregated: every position by itself, in what it settles in.

short call: initial max(0.15 - out of the money / index, 0.1) + mark, maintenance 0.075 + mark, in coin
short put:  maintenance max(0.075, 0.075 mark) + mark, initial as of a call and at least that
future:     2 % + 0.005 % per coin of the position (BTC), maintenance from 1 %; linear contracts times the index

Amounts in a coin are counted at its index. Source: docs/models/deribit_standard.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from portfolio_margin.collateral import segregated_assets
from portfolio_margin.deribit_vectors import no_segregated_rule
from portfolio_margin.standard_margin import Params, PositionByPosition
from pricing.arrays import FloatArray, StrArray
from scenarios.risk_arrays import RiskArrays

__all__ = ["Model", "Params"]


@dataclass(frozen=True)
class Model(PositionByPosition):
    """Segregated standard margin (S:SM)."""

    venue: ClassVar[str] = "Deribit"
    model_id: str = field(default="deribit_standard", init=False)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) tokens, options with early exercise, contracts on stocks; a coin without rates is refused."""
        return no_segregated_rule(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) none on the coins accounts are margined in; all of an asset that no segregated account is of."""
        return np.where(segregated_assets(arrays) != "", 1.0, 0.0)
