"""The market at a moment of a stress, and what contracts pay between two moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portfolio_margin.stress.path import StressPath
from pricing.arrays import MILLISECONDS_PER_YEAR as MS_PER_YEAR
from pricing.arrays import BoolArray, FloatArray
from pricing.errors import DataError, Problem
from pricing.instruments import Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.market_limits import FX_TOLERANCE
from pricing.surfaces import svi

MS_PER_HOUR = 3_600_000
DAYS_PER_YEAR = 365.0
SHORTEST_DAYS = 1e-3
# Wing slopes, just within Lee's bound of 2.
STEEPEST = 1.999
# Of contracts that have expired, which have none.
ANY_VOL = 0.5


def market_at(
    start: Market,
    instruments: Instruments,
    path: StressPath,
    hours: float,
    pushed: FloatArray,
    vol_beta: float,
    delay_hours: float = 0.0,
) -> Market:
    """The market so many hours after the start, or what is known of it then where that is late.

    path      with the underlyings of the market in their order
    pushed    (U,) log price that forced trades have moved prices by, beside the path
    vol_beta  rise of log vol for a fall of log price that forced trades cause
    delay_hours   by which prices, vols and pegs are those of before; the clock, and with it the time that options have
                  left, is not late

    Forwards move as the spot does. A slice keeps its shape over moneyness in deviations: with f the factor on its vol
    times the root of the share of its time that is left, w'(k) = f^2 w(k / f), which is raw SVI with a f^2, b f, m f,
    sigma f. A wing slope that would pass Lee's bound stops there, and a makes up for it at the money. Marked vols move
    as the slice does at their strike, by the factor alone where there is none.
    """
    price, vol, peg = path.at(hours - delay_hours)
    move = price * np.exp(pushed)
    vol = vol * np.exp(-vol_beta * np.minimum(pushed, 0.0))[:, None]
    now = start.valuation_time + round(hours * MS_PER_HOUR)
    owner = start.expiry_underlying
    before, after = (_years(start, moment) for moment in (start.valuation_time, now))
    alive = (before > 0) & (after > 0)
    level = np.array([_at_tenor(path.tenor_days, vol[u], DAYS_PER_YEAR * t) for u, t in zip(owner, after, strict=True)])
    factor = np.where(alive, level * np.sqrt(np.where(alive, after, 1.0) / np.where(alive, before, 1.0)), 1.0)
    slices = _scaled(start.svi, factor)
    gone = (start.expiry_time <= now) & (start.expiry_time != UNDATED)
    # Contracts that have expired, which nobody holds any more, keep their rows: they expire now, each row by itself.
    late = np.cumsum(gone) - 1
    times = np.where(gone, now + late, start.expiry_time)
    flat = np.column_stack([ANY_VOL**2 * late / MS_PER_YEAR, *np.zeros((4, len(late)))])
    slices = np.where(gone[:, None], np.where(np.isnan(slices), np.nan, flat), slices)
    fx, limit = _rates(start, path, move, peg)
    moved = replace(
        start,
        valuation_time=now,
        expiry_time=times,
        spot=start.spot * move,
        forward=start.forward * move[owner],
        svi=slices,
        fx=fx,
        fx_basis_limit=limit,
    )
    if np.all(np.isnan(start.mark_vol)):
        return moved
    return replace(moved, mark_vol=_marks(start, moved, instruments, level))


def _scaled(slices: FloatArray, factor: FloatArray) -> FloatArray:
    a, b, rho, m, sigma = slices.T
    w0 = factor**2 * svi.total_variance(np, 0.0, a, b, rho, m, sigma)
    wide = factor * b
    allowed = np.minimum(wide, STEEPEST / (1.0 + np.abs(rho)))
    scaled = np.column_stack([factor**2 * a, allowed, rho, factor * m, factor * sigma])
    with np.errstate(invalid="ignore"):
        cut = allowed < wide
    at_money = svi.total_variance(np, 0.0, 0.0, allowed, rho, factor * m, factor * sigma)
    scaled[cut, 0] = (w0 - at_money)[cut]
    return scaled


def _years(market: Market, now: int) -> FloatArray:
    left = (market.expiry_time - float(now)) / MS_PER_YEAR
    return np.where(market.expiry_time == UNDATED, 0.0, np.maximum(left, 0.0))


def _at_tenor(tenors: FloatArray, factors: FloatArray, days: float) -> float:
    where = np.log(max(days, SHORTEST_DAYS))
    return float(np.exp(np.interp(where, np.log(tenors), np.log(factors))))


def _rates(start: Market, path: StressPath, move: FloatArray, peg: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rates of currencies, which coins and what moves with them follow, times their peg; and how far from the coin."""
    mover = start.currency_underlying
    fx = start.fx * np.where(mover >= 0, np.append(move, 1.0)[mover], 1.0)
    limit = start.fx_basis_limit.copy()
    for name, factor in zip(path.token.tolist(), peg.tolist(), strict=True):
        row = np.flatnonzero(start.currency_id == name)
        if not len(row) or row[0] == 0:
            remedy = "must be a currency of the market other than the margin currency, to lose its peg against it"
            raise DataError([Problem(path.name, None, "peg", name, remedy)])
        if mover[row[0]] >= 0 and limit[row[0]] <= FX_TOLERANCE:
            coin = str(start.underlying_id[mover[row[0]]])
            remedy = (
                f"must be a dollar or a token: this is the coin of {coin} itself, which has no peg; use price_{coin}"
            )
            raise DataError([Problem(path.name, None, "peg", name, remedy)])
        fx[row[0]] *= factor
        if mover[row[0]] >= 0 and factor != 1.0:
            limit[row[0]] = np.inf
    # The margin currency is what all else is counted in.
    fx[0] = 1.0
    return fx, limit


def _marks(start: Market, moved: Market, instruments: Instruments, level: FloatArray) -> FloatArray:
    row = np.maximum(instruments.expiry_idx, 0)
    scaled = start.mark_vol * level[row]
    vols = []
    for market in (start, moved):
        years = _years(market, market.valuation_time)[row]
        with np.errstate(invalid="ignore", divide="ignore"):
            k = np.log(instruments.strike / market.forward[row])
            vols.append(np.sqrt(svi.total_variance(np, k, *market.svi[row].T) / years))
    with np.errstate(invalid="ignore", divide="ignore"):
        by_slice = start.mark_vol * vols[1] / vols[0]
    return np.where(np.isfinite(by_slice) & (vols[0] > 0), by_slice, scaled)


def variation(instruments: Instruments, before: Market, after: Market) -> FloatArray:
    """(N,) what one contract held long is paid between two moments, in its settlement currency: futures and perpetuals,
    N (1/F0 - 1/F1) coins for an inverse one."""
    row = np.maximum(instruments.expiry_idx, 0)
    old, new = before.forward[row], after.forward[row]
    inverse = instruments.payoff == Payoff.INVERSE
    per_unit = np.where(inverse, 1.0 / old - 1.0 / new, new - old)
    return np.where(instruments.is_settled, instruments.multiplier * per_unit, 0.0)


def expired(instruments: Instruments, start: Market, now: int) -> BoolArray:
    """(N,) contracts of the market at the start whose last moment has come, ms UTC."""
    row = np.maximum(instruments.expiry_idx, 0)
    dated = np.isin(instruments.kind, (Kind.OPTION, Kind.FUTURE))
    return np.asarray(dated & (start.expiry_time[row] <= now))
