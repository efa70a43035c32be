"""contour: where margin balance and maintenance margin meet in the plane of price and vol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.edge.levels import Case, levels_where_ruled
from portfolio_margin.edge.prices import TOUCHES, Span, edges, ruled, sides
from portfolio_margin.edge.vols import HIGHEST, LOWEST, LiquidationVols, liquidation_vols
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import DataError, Problem

# Rows of the picture, and the columns along which vols are solved for, multiples of today's.
VOLS = tuple(float(v) for v in np.round(np.geomspace(0.5, 2.0, 13), 6))
PRICES = VOLS


@dataclass(frozen=True)
class Contour:
    """The boundary of liquidation over price and vol.

    price        (P,) multiples of today's price, rising; the grid of the picture
    vol          (V,) multiples of today's vols, rising
    excess       (V,P) margin balance less maintenance margin, margin currency
    line         (M,) -> V row of each point of the boundary
    edge_price   (M,) its price, a multiple, by line and then rising
    side         (M,) "into", "out of", "touches", seen outwards from today's price along its line
    liquidated   (V,) whether the account is below at today's price and this vol
    columns      the boundary along the vols at some prices, today's among them
    span, without_rule   what was searched, as in `LiquidationPrices`
    """

    price: FloatArray
    vol: FloatArray
    excess: FloatArray
    line: IntArray
    edge_price: FloatArray
    side: StrArray
    liquidated: BoolArray
    columns: LiquidationVols
    span: Span
    without_rule: tuple[str, ...]

    @property
    def points(self) -> FloatArray:
        """(m,2) price and vol multiples of all that was found along rows and columns, touches left out."""
        row, column = self.side != TOUCHES, self.columns.side != TOUCHES
        along_price = np.column_stack([self.edge_price[row], self.vol[self.line[row]]])
        return np.append(
            along_price, np.column_stack([self.columns.price[self.columns.line], self.columns.vol])[column], 0
        )


def contour(case: Case, span: Span | None = None, vols: ArrayLike = VOLS) -> Contour:
    """The boundary, every crossing of it along the price at each of the vols, and along the vols at some prices.

    span  where to look along the price
    vols  (V,) multiples of today's vols, rising, above 0, among them 1

    DataError for vols that are not that.
    """
    vol = np.asarray(vols, dtype=np.float64)
    if vol.ndim != 1 or not np.all(vol > 0.0) or not np.all(np.diff(vol) > 0.0) or not np.any(vol == 1.0):
        remedy = "must be multiples above 0, rising, among them 1: today's"
        raise DataError([Problem("contour", None, "vols", vol.tolist(), remedy)])
    searched, reasons = ruled(case, span or Span(), np.append(vol, [LOWEST, HIGHEST]))
    found = edges(case, searched, vol)
    price = np.unique(np.append(np.geomspace(searched.low, searched.high, searched.points), 1.0))
    table, _ = levels_where_ruled(case, np.tile(price, len(vol)), np.repeat(vol, len(price)))
    excess = table.excess.reshape(len(vol), len(price))
    liquidated = excess[:, np.searchsorted(price, 1.0)] < 0.0
    side = np.full(len(found.x), TOUCHES)
    for v in range(len(vol)):
        here = found.line == v
        one = found._replace(**{name: getattr(found, name)[here] for name in found._fields})
        side[here] = sides(one, bool(liquidated[v]))
    at = np.array(PRICES)
    columns = liquidation_vols(case, at[(at >= searched.low) & (at <= searched.high)])
    return Contour(price, vol, excess, found.line, np.exp(found.x), side, liquidated, columns, searched, reasons)
