"""A margin along a history in plain Python: one day, one book, one scenario at a time."""

from __future__ import annotations

import math

BASIS = 365.0


def normal(x: float) -> float:
    """The distribution function of the standard normal law."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def black(forward: float, strike: float, tau: float, vol: float, sign: int) -> float:
    """Black-76 at zero rates."""
    deviation = vol * math.sqrt(tau)
    if deviation <= 0.0:
        return max(sign * (forward - strike), 0.0)
    upper = math.log(forward / strike) / deviation + 0.5 * deviation
    return sign * (forward * normal(sign * upper) - strike * normal(sign * (upper - deviation)))


def delta(strike: float, tau: float, vol: float, sign: int) -> float:
    """Units of a forward at 1."""
    deviation = vol * math.sqrt(tau)
    return sign * normal(sign * (-math.log(strike) / deviation + 0.5 * deviation))


def vol_factor(days: float, move: float, short: float, long: float) -> float:
    """What a move of the 30-day vol does to that of an option with so many days."""
    power = short if days <= 30.0 else long
    return max(1.0 + move * (30.0 / max(days, 1.0)) ** power, 0.0)


def pnl(
    legs: list[tuple[float, float, int, float]],
    forwards: float,
    hedged: bool,
    vol: float,
    move: tuple[float, float, float],
    powers: tuple[float, float] = (0.30, 0.13),
) -> float:
    """P&L of a book as a share of the price: legs (days, deviations, sign, units), move (price, vol, days passed)."""
    price_move, vol_move, passed = move
    total = 0.0
    held = 0.0 if hedged else forwards
    for days, z, sign, units in legs:
        tau = days / BASIS
        strike = math.exp(z * vol * math.sqrt(tau))
        left = max(tau - passed / BASIS, 0.0)
        shocked = vol * vol_factor(days, vol_move, *powers)
        after = black(1.0 + price_move, strike, left, shocked, sign)
        total += units * (after - black(1.0, strike, tau, vol, sign))
        if hedged:
            held -= units * delta(strike, tau, vol, sign)
    return total + held * price_move
