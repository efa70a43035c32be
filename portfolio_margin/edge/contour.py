"""contour: where margin balance and maintenance margin meet in the plane of price and vol, and how far that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.edge.levels import Case, levels_where_ruled
from portfolio_margin.edge.price_paths import Dynamics
from portfolio_margin.edge.prices import TOUCHES, Span, edges, ruled, sides
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import DataError, Problem

VOLS = tuple(float(v) for v in np.round(np.geomspace(0.5, 2.0, 13), 6))


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
    span, without_rule   what was searched, as in `LiquidationPrices`
    """

    price: FloatArray
    vol: FloatArray
    excess: FloatArray
    line: IntArray
    edge_price: FloatArray
    side: StrArray
    liquidated: BoolArray
    span: Span
    without_rule: tuple[str, ...]

    def nearest(self, dynamics: Dynamics, years: float) -> tuple[float, float, float]:
        """Deviations to the nearest point of the boundary, and its price and vol multiples; inf and NaN where none is.

        Deviations are those of a normal pair, ln of price and of vol, over `years`: sqrt(x' C^-1 x). 0 where the
        account is below today; the points are those of the rows of `vol`. A vol that does not move leaves one row.
        """
        today = int(np.argmin(np.abs(self.vol - 1.0)))
        if self.liquidated[today]:
            return 0.0, 1.0, 1.0
        crossing = self.side != TOUCHES
        x, y = np.log(self.edge_price[crossing]), np.log(self.vol[self.line[crossing]])
        a = dynamics.vol * np.sqrt(years)
        b = dynamics.vol_of_vol * np.sqrt(years)
        rho = dynamics.correlation
        if b == 0.0 or abs(rho) == 1.0:
            squared = np.where(y == 0.0, (x / a) ** 2, np.inf)
        else:
            u, v = x / a, y / b
            squared = (u * u - 2.0 * rho * u * v + v * v) / (1.0 - rho * rho)
        if not len(squared) or not np.isfinite(squared).any():
            return np.inf, np.nan, np.nan
        k = int(np.argmin(squared))
        return float(np.sqrt(squared[k])), float(np.exp(x[k])), float(np.exp(y[k]))


def contour(case: Case, span: Span | None = None, vols: ArrayLike = VOLS) -> Contour:
    """The boundary, every crossing of it along the price at each of the vols.

    span  where to look along the price
    vols  (V,) multiples of today's vols, rising, above 0, among them 1

    DataError for vols that are not that.
    """
    vol = np.asarray(vols, dtype=np.float64)
    if vol.ndim != 1 or not np.all(vol > 0.0) or not np.all(np.diff(vol) > 0.0) or not np.any(vol == 1.0):
        remedy = "must be multiples above 0, rising, among them 1: today's"
        raise DataError([Problem("contour", None, "vols", vol.tolist(), remedy)])
    searched, reasons = ruled(case, span or Span(), vol)
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
    return Contour(price, vol, excess, found.line, np.exp(found.x), side, liquidated, searched, reasons)
