"""excess_surface: the excess of an account on a grid of price, vol and time, and which paths come below 0 in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from portfolio_margin.edge.holdings import expiring
from portfolio_margin.edge.levels import Case, levels_where_ruled
from portfolio_margin.edge.price_paths import Paths
from pricing.arrays import BoolArray, FloatArray

# Around an edge, in logarithms of the price and of the vol: the excess bends most where it matters.
NEAR_EDGE = np.array([0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03])
NEAR_VOL = np.array([0.0, 0.005, 0.02])
CHECKED = 256


class Nodes(NamedTuple):
    """Nodes of the grid by price, vol and time, those around edges not counted."""

    price: int
    vol: int
    time: int


@dataclass(frozen=True)
class ExcessSurface:
    """Excess (T,V,P) at times (T,) in years, logarithms of vol (V,) and price (P,); NaN where there is no rule.

    settled  (V,P) at the last time, once what expires then has been settled; None where nothing does
    """

    times: FloatArray
    vols: FloatArray
    prices: FloatArray
    excess: FloatArray
    settled: FloatArray | None = None

    def at(self, years: float, log_vol: FloatArray, log_price: FloatArray) -> FloatArray:
        """(n,) excess by linear interpolation, of all three."""
        place = float(np.interp(years, self.times, np.arange(len(self.times))))
        first = min(int(place), len(self.times) - 2)
        share = place - first
        sheet = (1.0 - share) * self.excess[first] + share * self.excess[first + 1]
        return self._read(sheet, log_vol, log_price)

    def at_end(self, log_vol: FloatArray, log_price: FloatArray) -> FloatArray:
        """(n,) excess at the last time, after a settlement if there is one."""
        return self._read(self.excess[-1] if self.settled is None else self.settled, log_vol, log_price)

    def _read(self, sheet: FloatArray, log_vol: FloatArray, log_price: FloatArray) -> FloatArray:
        read = RegularGridInterpolator((self.vols, self.prices), sheet)
        return np.asarray(read(np.column_stack([log_vol, log_price])))


def excess_surface(
    case: Case, paths: Sequence[Paths], years: float, edges: Sequence[tuple[float, float]], nodes: Nodes
) -> ExcessSurface:
    """The excess wherever paths come to, denser around edges, (ln price, ln vol) each.

    Where the horizon ends with the first expiry held, also once that has been settled, at the price of every node; its
    payoff bends at the strikes, which are nodes then.
    """
    # A horizon in days and back in years may come out an ulp below the expiry.
    settles = bool(years >= case.first_expiry_years * (1.0 - 1e-12))
    log_price = np.concatenate([part.log_price.ravel() for part in paths])
    low, high = min(float(log_price.min()), -1e-6), max(float(log_price.max()), 1e-6)
    evenly = np.linspace(low, high, nodes.price // 2)
    quantiles = np.quantile(log_price, np.linspace(0.0, 1.0, nodes.price // 2))
    prices = np.concatenate([evenly, quantiles, _near([edge[0] for edge in edges], NEAR_EDGE, low, high), [0.0]])
    if settles:
        bends = _strikes_ending(case)
        prices = np.append(prices, bends[(bends > low) & (bends < high)])
    spread = max(max(float(np.abs(part.log_vol).max()) for part in paths), 1e-9)
    vols = np.linspace(-spread, spread, nodes.vol // 2 + 1)
    if spread > 1e-6:
        ends = np.concatenate([part.log_vol[-1] for part in paths])
        vols = np.append(vols, np.quantile(ends, (np.arange(nodes.vol // 2) + 0.5) / (nodes.vol // 2)))
    vols = np.append(vols, _near([edge[1] for edge in edges if edge[1] != 0.0], NEAR_VOL, -spread, spread))
    prices, vols = np.unique(prices), np.unique(vols)
    times = np.linspace(0.0, years, nodes.time)
    price, vol = np.tile(np.exp(prices), len(vols)), np.repeat(np.exp(vols), len(prices))
    sheets = [levels_where_ruled(case, price, vol, float(time))[0].excess for time in times]
    excess = np.array(sheets).reshape(len(times), len(vols), len(prices))
    if not settles:
        return ExcessSurface(times, vols, prices, excess)
    after = levels_where_ruled(case, price, vol, years, settled=True)[0].excess
    return ExcessSurface(times, vols, prices, excess, after.reshape(excess.shape[1:]))


def _strikes_ending(case: Case) -> FloatArray:
    """(B,) strikes of the underlying that end at the first expiry, logarithms over its forward."""
    table, mover = case.mover.instruments, case.mover
    own = expiring(mover, case.first_expiry_years) & table.is_option & (table.underlying_idx == mover.underlying)
    return np.asarray(np.log(table.strike[own] / mover.market.forward[table.expiry_idx[own]]))


def _near(edges: Sequence[float], steps: FloatArray, low: float, high: float) -> FloatArray:
    """Nodes on both sides of edges, as far as paths come."""
    near = np.add.outer(np.array(edges, dtype=np.float64), np.append(-steps[1:], steps)).ravel()
    return np.asarray(near[(near > low) & (near < high)])


def outcomes(surface: ExcessSurface, paths: Paths) -> tuple[BoolArray, BoolArray, BoolArray]:
    """(n,) each: below at a time looked at, before that in a market without a rule, below at the last.

    What expires at the last time is looked at before it is settled and after.
    """
    steps, count = paths.log_price.shape
    below, lost, here = (np.zeros(count, dtype=np.bool_) for _ in range(3))
    for m in range(steps):
        excess = surface.at(float(surface.times[-1]) * (m + 1) / steps, paths.log_vol[m], paths.log_price[m])
        here = excess < 0.0
        below |= here & ~lost
        lost |= np.isnan(excess) & ~below
    if surface.settled is not None:
        excess = surface.at_end(paths.log_vol[-1], paths.log_price[-1])
        here = excess < 0.0
        below |= here & ~lost
        lost |= np.isnan(excess) & ~below
    return below, lost, here & ~lost


def misread_points(case: Case, surface: ExcessSurface, paths: Paths) -> int:
    """At how many points, where paths end, the excess read has another sign than that computed anew; of what has been
    settled where something is."""
    chosen = np.linspace(0, paths.log_price.shape[1] - 1, CHECKED).astype(np.int64)
    log_price, log_vol = paths.log_price[-1, chosen], paths.log_vol[-1, chosen]
    read, years, settles = surface.at_end(log_vol, log_price), float(surface.times[-1]), surface.settled is not None
    anew = levels_where_ruled(case, np.exp(log_price), np.exp(log_vol), years, settled=settles)[0].excess
    both = np.isfinite(read) & np.isfinite(anew)
    return int(np.sum((read < 0.0)[both] != (anew < 0.0)[both]))
