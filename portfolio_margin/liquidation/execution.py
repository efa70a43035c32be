"""How a liquidator closes a position over time: a share a step, or the cheapest schedule for a dislike of risk."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray
from pricing.errors import DataError, Problem

LONGEST_SCHEDULE = 10_000


def disposal_schedule(
    position: int, share: float, whole_below: int, book_volume: float, book_share: float = 1.0
) -> list[int]:
    """Sizes of the trades that close a position, a step each.

    position     contracts, 0 or more
    share        of what is left closed at each step, above 0 to 1
    whole_below  what is left is closed at once from this size on, 0 or more
    book_volume  contracts on the other side of the book, within the price range allowed
    book_share   of it that a step may take, above 0 to 1

    Vega protocol, position resolution (2024). Each size is rounded up, so that the last contract goes too. DataError
    where the book has no room for a contract a step.
    """
    # Of the decimals as they are written: 0.07 of 100 is 7, not the 8 that rounding up the product of doubles gives.
    part = Fraction(str(share))
    largest = math.floor(Fraction(str(book_volume)) * Fraction(str(book_share)))
    checks = (
        ("position", position, position >= 0 and position == int(position), "must be whole contracts, 0 or more"),
        ("share", share, 0 < share <= 1, "must be above 0 and at most 1"),
        ("book_share", book_share, 0 < book_share <= 1, "must be above 0 and at most 1"),
        ("book_volume", book_volume, largest >= 1 or position == 0, "leaves no contract a step"),
    )
    problems = [Problem("disposal", None, name, value, text) for name, value, good, text in checks if not good]
    if problems:
        raise DataError(problems)
    trades: list[int] = []
    left = position
    while left > 0:
        if len(trades) == LONGEST_SCHEDULE:
            remedy = f"needs more than {LONGEST_SCHEDULE} steps: a larger share of the book"
            raise DataError([Problem("disposal", None, "book_share", book_share, remedy)])
        wanted = left if left <= whole_below else math.ceil(left * part)
        trades.append(min(wanted, largest, left))
        left -= trades[-1]
    return trades


class Schedule(NamedTuple):
    """A liquidation spread over time.

    holdings       (T+1,) units left after each trade, the position first and 0 last
    expected_cost  against the price at the start, price currency
    variance       of the cost
    half_life      in units of the horizon: how fast a position without an end would be closed; inf where there is no
                   risk aversion
    """

    holdings: FloatArray
    expected_cost: float
    variance: float
    half_life: float


def optimal_schedule(
    units: float,
    horizon: float,
    trades: int,
    *,
    volatility: float,
    fixed_cost: float,
    permanent_impact: float,
    temporary_impact: float,
    risk_aversion: float,
) -> Schedule:
    """The schedule with the least expected cost plus risk_aversion x variance.

    units             to sell, above 0
    horizon           time until all is sold, above 0
    trades            number of equal steps, 1 or more
    volatility        of the price, price units per square root of time
    fixed_cost        a unit sold: half the spread and fees
    permanent_impact  on the price, a unit sold
    temporary_impact  on the price of a trade, a unit sold per time
    risk_aversion     per price currency, 0 or more

    Almgren and Chriss, Optimal execution of portfolio transactions (2000), equations 15 to 20: with step tau and
    eta' = temporary - permanent tau / 2, kappa solves 2 (cosh(kappa tau) - 1) / tau^2 = aversion vol^2 / eta' and
    x_j = X sinh(kappa (T - t_j)) / sinh(kappa T).
    """
    step = horizon / trades if trades >= 1 else np.nan
    impact = temporary_impact - 0.5 * permanent_impact * step
    checks = (
        ("units", units, units > 0, "must be above 0"),
        ("horizon", horizon, horizon > 0, "must be above 0"),
        ("trades", trades, 1 <= trades <= LONGEST_SCHEDULE, f"must be from 1 to {LONGEST_SCHEDULE}"),
        ("volatility", volatility, volatility >= 0, "must be 0 or more"),
        ("risk_aversion", risk_aversion, risk_aversion >= 0, "must be 0 or more"),
        ("temporary_impact", temporary_impact, impact > 0, "must exceed half the permanent impact of a step"),
    )
    problems = [Problem("schedule", None, name, value, text) for name, value, good, text in checks if not good]
    if problems:
        raise DataError(problems)
    curvature = risk_aversion * volatility**2 / impact
    # arcosh(1 + x) without the cancellation of 1 + x where x is small.
    kappa = 2.0 * float(np.arcsinh(0.5 * step * np.sqrt(curvature))) / step
    left = np.linspace(horizon, 0.0, trades + 1)
    holdings = units * (_sinh_ratio(kappa, left, horizon) if kappa > 0 else left / horizon)
    holdings[-1] = 0.0
    sold = -np.diff(holdings)
    cost = 0.5 * permanent_impact * units**2 + fixed_cost * float(np.abs(sold).sum())
    cost += impact / step * float(sold @ sold)
    variance = volatility**2 * step * float(holdings[1:] @ holdings[1:])
    return Schedule(holdings, cost, variance, 1.0 / kappa if kappa > 0 else np.inf)


def _sinh_ratio(kappa: float, left: FloatArray, horizon: float) -> FloatArray:
    """sinh(kappa left) / sinh(kappa horizon) for any kappa: the growing exponentials cancel before they overflow."""
    ratio = np.exp(kappa * (left - horizon)) * np.expm1(-2.0 * kappa * left) / np.expm1(-2.0 * kappa * horizon)
    return np.asarray(ratio)
