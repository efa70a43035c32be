"""deribit_xpm: Deribit's cross portfolio margin, all currencies of an account in dollars.

cells, per underlying, in USD: P&L of its positions whatever they settle in, and of the account's equity in its coin;
gains count in part, extended cells are scaled to the price range and damped
requirement = worst cells of the coins added up + roll shock + delta shock + correlation contingency; with
coins = "cell_by_cell" the cells are added up first, and the worst is that of the sum
maintenance = mm_factor x requirement; balances count after the haircut of their currency

Source: docs/models/deribit_xpm.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from portfolio_margin import deribit_matrix
from portfolio_margin.collateral import moved_assets
from portfolio_margin.deribit_matrix import Params, settlement, terms_for
from portfolio_margin.deribit_model import MatrixModel
from portfolio_margin.deribit_vectors import Portfolio, Vectors, delta_rows, in_ticks
from portfolio_margin.dollars import in_coin, is_own_money
from portfolio_margin.lacking import gather
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

__all__ = ["Model", "Params"]


@dataclass(frozen=True)
class Model(MatrixModel):
    """Cross portfolio margin (X:PM)."""

    model_id: str = field(default="deribit_xpm", init=False)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, and coins that the cells move; not those without impact of their equity."""
        return is_own_money(arrays) | (moved_assets(arrays) & ~self._still(arrays))

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) that of each currency; none on the margin currency. ConfigError for collateral without parameters."""
        rows = np.flatnonzero(arrays.is_collateral & (arrays.instrument_id != arrays.currency))
        risks = gather(partial(self.params.risk, str(arrays.instrument_id[row])) for row in rows)
        result = np.zeros(len(arrays))
        result[rows] = [risk.haircut for risk in risks]
        return result

    @of_arrays
    def portfolio(self, arrays: RiskArrays) -> Portfolio:
        """The arrays as the model sees them: one set of vectors over everything the account holds.

        ConfigError where the margin currency is a coin: what the account holds in it would be moved by nothing.
        """
        if in_coin(arrays):
            raise ConfigError(
                f"margin currency {arrays.currency}: the cells of cross portfolio margin are gains in USD, so the "
                "market needs USD, USDC or USDT as its margin currency"
            )
        terms, (legs, leg) = terms_for(self.params, arrays), settlement(arrays)
        delta = delta_rows(arrays)
        together = terms.together | (self.params.coins == "cell_by_cell")
        vectors = Vectors(self._rows(arrays, terms), delta, terms.dampener / arrays.tick_size, together)
        by_leg = [delta * (leg == k) for k in range(len(legs))] or [np.zeros(len(arrays))]
        return Portfolio(self.params, terms, (vectors,), np.column_stack(by_leg), self.haircut(arrays))

    def _rows(self, arrays: RiskArrays, terms: deribit_matrix.Terms) -> FloatArray:
        """(N,S) P&L in margin currency, in ticks per unit.

        It holds what equity in a coin gains as the coin moves: a balance, and the value of an option paid in coin.
        Without impact of the equity that part is taken out.
        """
        owner = np.maximum(arrays.underlying_idx, 0)
        equity = arrays.value_rows[:, None] * terms.moves[np.maximum(_equity_source(arrays), 0)]
        rows = np.where(self._still(arrays)[:, None], arrays.rows - equity, arrays.rows)
        return in_ticks(rows * terms.scale[owner], arrays)

    def _still(self, arrays: RiskArrays) -> BoolArray:
        """(N,) rows whose equity is in a coin that has no impact in the matrix."""
        impact = [self.params.risk(str(name)).equity_side_impact == "both" for name in arrays.underlying_id]
        source = _equity_source(arrays)
        return np.asarray((source >= 0) & ~np.array(impact, dtype=np.bool_)[np.maximum(source, 0)])


def _equity_source(arrays: RiskArrays) -> IntArray:
    """(N,) -> U whose price moves the equity that a row is, -1 for none."""
    mover = arrays.terms.currency_underlying[arrays.terms.currency_idx]
    return np.where(arrays.kind == Kind.SPOT, arrays.underlying_idx, mover)
