"""Prices and derivatives in as many digits as asked for, straight from the textbook, for the doubles given."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp

Number = mp.mpf
# Orders of differentiation by forward (or spot), tau and vol; those by tau change sign.
ORDERS = {
    "price": (0, 0, 0),
    "delta": (1, 0, 0),
    "gamma": (2, 0, 0),
    "vega": (0, 0, 1),
    "theta": (0, 1, 0),
    "vanna": (1, 0, 1),
    "volga": (0, 0, 2),
    "charm": (1, 1, 0),
    "veta": (0, 1, 1),
    "speed": (3, 0, 0),
    "zomma": (2, 0, 1),
    "color": (2, 1, 0),
    "ultima": (0, 0, 3),
}


def normal_cdf(x: Number) -> Number:
    """N(x) without loss in either tail."""
    return mp.erfc(-x / mp.sqrt(2)) / 2


def black(forward: Number, strike: Number, tau: Number, vol: Number, sign: int) -> Number:
    """Undiscounted Black price."""
    deviation = vol * mp.sqrt(tau)
    d1 = mp.log(forward / strike) / deviation + deviation / 2
    return sign * (forward * normal_cdf(sign * d1) - strike * normal_cdf(sign * (d1 - deviation)))


def bachelier(forward: Number, strike: Number, tau: Number, vol: Number, sign: int) -> Number:
    """Undiscounted Bachelier price."""
    deviation = vol * mp.sqrt(tau)
    d = (forward - strike) / deviation
    return sign * (forward - strike) * normal_cdf(sign * d) + deviation * mp.npdf(d)


def derivatives(value: Callable[..., Number], at: tuple[float, float, float]) -> dict[str, float]:
    """Every Greek of a function of forward (or spot), tau and vol, by numerical differentiation in many digits."""
    with mp.workdps(60):
        point = tuple(mp.mpf(x) for x in at)
        result = {}
        for name, orders in ORDERS.items():
            derivative = mp.diff(value, point, orders) if any(orders) else value(*point)
            result[name] = float(-derivative if orders[1] else derivative)
        return result


def normal_vol(price: float, forward: float, strike: float, tau: float, discount: float, sign: float) -> Number:
    """The root of the Bachelier price in 60 digits, by bisection of its logarithm and then secants."""
    with mp.workdps(60):
        p, f, k, t, d = (mp.mpf(x) for x in (price, forward, strike, tau, discount))
        target = p / d - max(int(sign) * (f - k), mp.mpf(0))
        side = -1 if f > k else 1

        def off(log_vol: Number) -> Number:
            return mp.log(bachelier(f, k, t, mp.exp(log_vol), side) / target)

        scale = mp.log((abs(f - k) / 30 + target) / mp.sqrt(t))
        low, high = scale - 3, scale + 6
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if off(middle) < 0 else (low, middle)
        return mp.exp(mp.findroot(off, (low, high), tol=mp.mpf(10) ** -80))
