"""deribit_spm: Deribit's segregated portfolio margin, every settlement currency by itself.

cells, per underlying and settlement currency, in that currency: P&L of the positions; gains count in part, extended
cells are scaled to the price range and damped
requirement = worst cell + roll shock + delta shock, per settlement currency; maintenance = mm_factor x requirement

Amounts in a coin are counted at its index: the requirement of an account is the sum over its settlement currencies.
Source: docs/models/deribit_spm.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from portfolio_margin import deribit_matrix
from portfolio_margin.collateral import segregated_assets
from portfolio_margin.currency_debts import CurrencyCells, cells_by_currency, coins_or_money
from portfolio_margin.deribit_matrix import COINS, Params, coin_of, settlement, terms_for
from portfolio_margin.deribit_model import MatrixModel
from portfolio_margin.deribit_vectors import (
    Portfolio,
    Vectors,
    delta_rows,
    in_ticks,
    no_segregated_rule,
    own_currency,
)
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

__all__ = ["Model", "Params"]


@dataclass(frozen=True)
class Model(MatrixModel):
    """Segregated portfolio margin (S:PM)."""

    model_id: str = field(default="deribit_spm", init=False)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) tokens, options with early exercise, contracts on stocks; a coin without parameters is refused."""
        return no_segregated_rule(arrays)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, where the margin currency is one, and coins that the matrix moves."""
        return coins_or_money(arrays, self._currencies(arrays))

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) none on the coins accounts are margined in; all of an asset that no segregated account is of."""
        return np.where(segregated_assets(arrays) != "", 1.0, 0.0)

    @of_arrays
    def portfolio(self, arrays: RiskArrays) -> Portfolio:
        """The arrays as the model sees them: a set of vectors for every settlement leg."""
        if self.params.coins != COINS[0]:
            raise ConfigError(f"coins = {self.params.coins!r}: coins have a margin each here; it is for deribit_xpm")
        terms, (legs, leg) = terms_for(self.params, arrays), settlement(arrays)
        rows, delta = own_currency_rows(arrays, terms), delta_rows(arrays)
        vectors = []
        for k, name in enumerate(legs):
            here, coin = leg == k, name == "coin"
            dampener = (terms.dampener / terms.edge if coin else terms.dampener) / arrays.tick_size
            together = terms.together & (name != "coin")
            vectors.append(Vectors(rows * here[:, None], delta * here, dampener, together))
        by_leg = np.column_stack([v.delta for v in vectors]) if vectors else np.zeros((len(arrays), 1))
        return Portfolio(self.params, terms, tuple(vectors), by_leg, currencies=self._currencies(arrays))

    @of_arrays
    def _currencies(self, arrays: RiskArrays) -> CurrencyCells:
        """The standard cells by currency, nothing of what no segregated account is of."""
        terms = terms_for(self.params, arrays)
        cells, taken = ~terms.extended, segregated_assets(arrays) == ""
        own = own_currency_rows(arrays, terms)[:, cells]
        coins = [coin_of(str(name)) for name in arrays.underlying_id]
        return cells_by_currency(arrays, own, terms.moves[:, cells], coins, taken)


def own_currency_rows(arrays: RiskArrays, terms: deribit_matrix.Terms) -> FloatArray:
    """(N,S) cells of each contract in its settlement currency at its value now, in ticks per unit; 0 for collateral.

    Extended cells are scaled by factor range / |m|, in coin by (1 + m) / (1 +- range) as well.
    """
    owner = np.maximum(arrays.underlying_idx, 0)
    to_edge = np.where(arrays.terms.is_inverse[:, None], (1.0 + terms.moves[owner]) / terms.edge[owner], 1.0)
    scaled = own_currency(arrays) * terms.scale[owner] * np.where(terms.extended, to_edge, 1.0)
    return in_ticks(np.where(arrays.is_collateral[:, None], 0.0, scaled), arrays)
