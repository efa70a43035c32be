"""One linear contract on collateral of its own: margin, funding, and the prices of liquidation and bankruptcy.

What an isolated position is asked for, and where it ends. In a portfolio there is no such closed form: other positions
move as well. Vega protocol specifications (2024: margin calculator, mark-to-market, liquidation price estimate),
formulas only. Elementwise over arrays; positions in units, long above 0; amounts in margin currency.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.open_orders import open_sizes
from pricing.arrays import FloatArray
from pricing.errors import DataError, Problem


def funding_payment(
    spot_average: ArrayLike,
    mark_average: ArrayLike,
    period_years: ArrayLike,
    interest_rate: ArrayLike,
    clamp: tuple[float, float] = (-np.inf, np.inf),
) -> FloatArray:
    """What a long of one unit pays for a funding period; below 0 what it gets.

    spot_average   time-weighted over the period
    mark_average   of the contract, likewise
    period_years   length of the period
    interest_rate  a year
    clamp          bounds of the interest part, as shares of the spot

    F - S + clip((1 + rate x period) S - F, clamp S).
    """
    _check_finite(spot_average=spot_average, mark_average=mark_average, period_years=period_years)
    _check_finite(interest_rate=interest_rate)
    spot, mark = np.asarray(spot_average, dtype=np.float64), np.asarray(mark_average, dtype=np.float64)
    interest = (1.0 + np.asarray(period_years) * np.asarray(interest_rate)) * spot - mark
    return np.asarray(mark - spot + np.clip(interest, clamp[0] * spot, clamp[1] * spot))


def maintenance_margin(
    position: ArrayLike,
    buys: ArrayLike,
    sells: ArrayLike,
    mark: ArrayLike,
    *,
    slippage: ArrayLike = 0.0,
    risk_factor_long: ArrayLike,
    risk_factor_short: ArrayLike,
    funding: ArrayLike = 0.0,
    funding_factor: ArrayLike = 0.0,
) -> FloatArray:
    """Maintenance margin of a position with its open orders: the larger of its riskiest long and short.

    position           units held
    buys, sells        sizes of all open orders, 0 or more
    mark               price of a unit
    slippage           of closing, a share of the price
    risk_factor_long, risk_factor_short  shares of the price
    funding            that a long of one unit pays next, `funding_payment`
    funding_factor     share of a payment due that is asked for; what is due to the position does not count

    size x mark x (slippage + risk factor) for either side, plus max(0, factor x funding x position).
    """
    _check_finite(position=position, buys=buys, sells=sells, mark=mark, slippage=slippage, funding=funding)
    _check_finite(risk_factor_long=risk_factor_long, risk_factor_short=risk_factor_short, funding_factor=funding_factor)
    reached = open_sizes(np.asarray(position), np.asarray(buys), np.asarray(sells))
    price = np.asarray(mark, dtype=np.float64)
    long = reached.buy * price * (np.asarray(slippage) + np.asarray(risk_factor_long))
    short = reached.sell * price * (np.asarray(slippage) + np.asarray(risk_factor_short))
    due = np.maximum(np.asarray(funding_factor) * np.asarray(funding) * np.asarray(position), 0.0)
    return np.asarray(np.maximum(long, short) + due)


def isolated_margin(size: ArrayLike, price: ArrayLike, margin_factor: ArrayLike) -> FloatArray:
    """Collateral moved to an isolated position, or an order for it: size x price x factor.

    size           units, 0 or more
    price          entry, or limit of the order
    margin_factor  share of the notional, the inverse of the leverage
    """
    _check_finite(size=size, price=price, margin_factor=margin_factor)
    return np.asarray(np.asarray(size, dtype=np.float64) * np.asarray(price) * np.asarray(margin_factor))


def isolated_order_margin(
    position: ArrayLike, order: ArrayLike, limit_price: ArrayLike, margin_factor: ArrayLike
) -> FloatArray:
    """Collateral for the part of an order that does not offset the position.

    position       units held
    order          units, bought above 0
    limit_price    of the order
    margin_factor  share of the notional
    """
    _check_finite(position=position, order=order)
    held, wanted = np.asarray(position, dtype=np.float64), np.asarray(order, dtype=np.float64)
    offsetting = np.where(held * wanted < 0.0, np.minimum(np.abs(held), np.abs(wanted)), 0.0)
    return isolated_margin(np.abs(wanted) - offsetting, limit_price, margin_factor)


def mark_to_market(position: ArrayLike, previous: ArrayLike, price: ArrayLike) -> FloatArray:
    """Cash that settles a move of the mark: q (p1 - p0).

    position  units held
    previous  mark it was settled at last
    price     mark it is settled at now
    """
    _check_finite(position=position, previous=previous, price=price)
    return np.asarray(np.asarray(position, dtype=np.float64) * (np.asarray(price) - np.asarray(previous)))


def liquidation_price(
    collateral: ArrayLike,
    position: ArrayLike,
    mark: ArrayLike,
    *,
    slippage: ArrayLike = 0.0,
    risk_factor: ArrayLike,
    constant: ArrayLike = 0.0,
) -> FloatArray:
    """The price at which equity meets the maintenance margin of an isolated position.

    collateral   equity at the mark, margin currency
    position     units held
    mark         price of a unit now
    slippage     of closing, a share of the price
    risk_factor  share of the price
    constant     further margin a unit of the position, margin currency; below 0 for a short

    P = (C - q S - q c) / (|q| (slippage + factor) - q), 0 or more: at 0 a long is never liquidated. NaN where there is
    no position, or where a long needs no less than its price.
    """
    _check_finite(collateral=collateral, position=position, mark=mark, slippage=slippage, constant=constant)
    _check_finite(risk_factor=risk_factor)
    held = np.asarray(position, dtype=np.float64)
    asked = np.abs(held) * (np.asarray(slippage) + np.asarray(risk_factor)) - held
    solvable = (held < 0.0) | ((held > 0.0) & (asked < 0.0))
    short_of = np.asarray(collateral) - held * np.asarray(mark) - held * np.asarray(constant)
    price = np.full(np.broadcast_shapes(short_of.shape, asked.shape), np.nan)
    np.divide(short_of, asked, out=price, where=np.broadcast_to(solvable, price.shape))
    return np.asarray(np.maximum(price, 0.0))


def bankruptcy_price(collateral: ArrayLike, position: ArrayLike, mark: ArrayLike) -> FloatArray:
    """The price at which an isolated position has lost its collateral: S - C / q, 0 or more.

    collateral  equity at the mark, margin currency
    position    units held, not 0
    mark        price of a unit now
    """
    _check_finite(collateral=collateral, position=position, mark=mark)
    held = np.asarray(position, dtype=np.float64)
    if np.any(held == 0.0):
        raise DataError([Problem("bankruptcy price", None, "position", 0.0, "must not be 0: nothing to go bankrupt")])
    return np.asarray(np.maximum(np.asarray(mark) - np.asarray(collateral) / held, 0.0))


def _check_finite(**named: ArrayLike) -> None:
    problems = []
    for name, given in named.items():
        values = np.atleast_1d(np.asarray(given, dtype=np.float64)).ravel()
        for row in np.flatnonzero(~np.isfinite(values)):
            problems.append(Problem("linear contract", int(row), name, float(values[row]), "must be a finite number"))
    if problems:
        raise DataError(problems)
