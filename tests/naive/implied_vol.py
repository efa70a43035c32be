"""The exact root of Black-76 for the doubles given, in 60 digits."""

from __future__ import annotations

import mpmath as mp

DIGITS = 60
AGREEMENT = mp.mpf(10) ** -30


def exact_vol(
    price: float, forward: float, strike: float, tau: float, discount: float, sign: float, start: float
) -> tuple[mp.mpf, mp.mpf]:
    """The vol whose textbook price is `price`, and d vol / d price; Newton on a logarithm from `start`.

    The logarithm is that of the time value or, beyond h = t, of the distance from the maximum.
    """
    with mp.workdps(DIGITS):
        p, f, k, years, d = (mp.mpf(float(number)) for number in (price, forward, strike, tau, discount))
        low, x = min(f, k), abs(mp.log(k / f))
        time_value = p / d - max(int(sign) * (f - k), mp.mpf(0))
        complement = (f if sign > 0 else k) - p / d
        s = mp.mpf(float(start)) * mp.sqrt(years)
        for _ in range(60):
            h, t = x / s, s / 2
            vega = low * mp.npdf(h - t)
            if h > t:
                value = low * (mp.ncdf(t - h) - mp.exp(x) * mp.ncdf(-h - t))
                step = mp.log(time_value / value) * value / vega
            else:
                rest = low * (mp.ncdf(h - t) + mp.exp(x) * mp.ncdf(-h - t))
                step = mp.log(rest / complement) * rest / vega
            s += max(min(step, s), -s / 2)
            if abs(step) < AGREEMENT * s:
                return s / mp.sqrt(years), 1 / (d * vega * mp.sqrt(years))
    raise AssertionError("the reference did not converge")
