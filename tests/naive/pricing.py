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


def third_order(
    forward: float, strike: float, tau: float, vol: float, discount: float, sign: float
) -> tuple[float, ...]:
    """veta, speed, zomma, color, ultima of a living option."""
    deviation = vol * math.sqrt(tau)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    d2 = d1 - deviation
    rate = -math.log(discount) / tau
    _, _, gamma, vega, *_ = greeks(forward, strike, tau, vol, discount, sign)
    veta = vega * (rate - (1 + d1 * d2) / (2 * tau))
    speed = -gamma / forward * (1 + d1 / deviation)
    zomma = gamma * (d1 * d2 - 1) / vol
    color = gamma * (rate + (1 - d1 * d2) / (2 * tau))
    ultima = -vega / vol**2 * (d1 * d2 * (1 - d1 * d2) + d1**2 + d2**2)
    return veta, speed, zomma, color, ultima


def normal_greeks(
    forward: float, strike: float, tau: float, vol: float, discount: float, sign: float
) -> tuple[float, ...]:
    """Bachelier: value, delta, gamma, vega, theta, rho, vanna, volga, charm, veta, speed, zomma, color, ultima."""
    deviation = vol * math.sqrt(tau)
    d = (forward - strike) / deviation
    rate = -math.log(discount) / tau
    density = discount * NORMAL.pdf(d)
    price = discount * sign * (forward - strike) * NORMAL.cdf(sign * d) + density * deviation
    delta = discount * sign * NORMAL.cdf(sign * d)
    gamma, vega = density / deviation, density * math.sqrt(tau)
    return (
        price,
        delta,
        gamma,
        vega,
        rate * price - density * vol / (2 * math.sqrt(tau)),
        tau * (forward * delta - price),
        -density * d / vol,
        vega * d * d / vol,
        rate * delta + density * d / (2 * tau),
        vega * (rate - (1 + d * d) / (2 * tau)),
        -gamma * d / deviation,
        gamma * (d * d - 1) / vol,
        gamma * (rate + (1 - d * d) / (2 * tau)),
        vega * d * d * (d * d - 3) / vol**2,
    )
