"""Plain-Python twins of the pricing kernels: slow, short, obviously right."""

from __future__ import annotations

import math
from statistics import NormalDist

NORMAL = NormalDist()


def value(forward: float, strike: float, tau: float, vol: float, discount: float, sign: float) -> float:
    """Black-76 as in the textbook: D s [F N(s d1) - K N(s d2)]."""
    deviation = vol * math.sqrt(tau)
    if deviation == 0.0:
        return discount * max(sign * (forward - strike), 0.0)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    d2 = d1 - deviation
    return discount * sign * (forward * NORMAL.cdf(sign * d1) - strike * NORMAL.cdf(sign * d2))


def greeks(forward: float, strike: float, tau: float, vol: float, discount: float, sign: float) -> tuple[float, ...]:
    """Value, delta, gamma, vega, theta, rho, vanna, volga, charm of a living option."""
    root = math.sqrt(tau)
    deviation = vol * root
    d1 = math.log(forward / strike) / deviation + deviation / 2
    d2 = d1 - deviation
    rate = -math.log(discount) / tau
    density = NORMAL.pdf(d1)
    price = value(forward, strike, tau, vol, discount, sign)
    delta = discount * sign * NORMAL.cdf(sign * d1)
    gamma = discount * density / (forward * deviation)
    vega = discount * forward * density * root
    theta = rate * price - discount * forward * density * vol / (2 * root)
    rho = sign * tau * strike * discount * NORMAL.cdf(sign * d2)
    vanna = -discount * density * d2 / vol
    volga = vega * d1 * d2 / vol
    charm = rate * delta + discount * density * d2 / (2 * tau)
    return price, delta, gamma, vega, theta, rho, vanna, volga, charm
