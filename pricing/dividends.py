"""An American call on a share that pays one known dividend in cash (Roll 1977, Geske 1979, Whaley 1981).

The part of the spot that is not the dividend, S - D exp(-r t1), moves lognormally (the "escrowed" model). Without a
yield and with a rate of 0 or more, early exercise pays only just before the dividend is gone, so that the value is one
integral over the price at that moment: of the larger of what exercise pays and the European call that is left.

This is as far as discrete dividends are carried: puts, and calls with more than one dividend, are exercised at times
that no boundary of constant terms describes, and are not offered. A dividend that is a fixed share of the price is
a yield.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import DataError, Problem
from pricing.models import black76

PANEL_POINTS = 64
FAR_DEVIATIONS = 10.0
WIDTH_DEVIATIONS = 8.0
BISECTIONS = 200
FIELDS = ("spot", "strike", "tau", "vol", "rate", "dividend", "dividend_tau")


def american_call_with_dividend(
    spot: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    dividend_tau: ArrayLike,
) -> FloatArray:
    """Value of one unit of an American call on a share with one known dividend before expiry and no yield.

    spot, strike   quote currency, above 0; the spot with the dividend still in it
    tau            years to expiry, above 0
    vol            of the spot less the dividend's present value, per sqrt(year), above 0
    rate           continuous, per year, 0 or more
    dividend       quote currency a share, 0 or more, its present value below the spot
    dividend_tau   years until the share trades without it, above 0 and below tau

    Exact in the model to about 1e-11 of the spot. Everything broadcasts. DataError for inputs out of these bounds.
    """
    columns, shape = _columns(spot, strike, tau, vol, rate, dividend, dividend_tau)
    return np.array([_value(*(float(column[row]) for column in columns)) for row in range(len(columns[0]))]).reshape(
        shape
    )


def _value(
    spot: float, strike: float, tau: float, vol: float, rate: float, dividend: float, dividend_tau: float
) -> float:
    from pricing.xp import numpy as xp  # with scipy, which importing the package does not load

    clean = spot - dividend * np.exp(-rate * dividend_tau)
    left = tau - dividend_tau
    late = np.exp(-rate * left)

    def european(price: FloatArray) -> FloatArray:
        return np.asarray(black76.value(xp, price / late, strike, left, vol, late, 1.0))

    early = np.exp(-rate * dividend_tau)
    if dividend <= strike * (1.0 - late):
        whole = np.exp(-rate * tau)
        return float(black76.value(xp, clean / whole, strike, tau, vol, whole, 1.0))
    switch = _switch(european, strike, dividend)
    spread, narrow = vol * np.sqrt(dividend_tau), vol * np.sqrt(left)

    def deviation(price: float) -> float:
        return float((np.log(price / clean) - rate * dividend_tau) / spread + 0.5 * spread)

    top, middle, width = deviation(switch), deviation(strike * late), WIDTH_DEVIATIONS * narrow / spread
    edges = np.array([-FAR_DEVIATIONS, middle - width, middle - width / 8, middle, middle + width / 8, middle + width])
    edges = np.unique(np.clip(np.append(edges, top), -FAR_DEVIATIONS, min(top, FAR_DEVIATIONS)))
    node, weight = np.polynomial.legendre.leggauss(PANEL_POINTS)
    half = 0.5 * np.diff(edges)[:, None]
    z = edges[:-1, None] + half * (node + 1.0)
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    price = clean / early * np.exp(spread * z - 0.5 * spread * spread)
    kept = early * float((half * weight * density * european(price)).sum())
    exercised = clean * xp.normal_cdf(spread - top) - (strike - dividend) * early * xp.normal_cdf(-top)
    return kept + float(exercised)


def _switch(european: object, strike: float, dividend: float) -> float:
    """The price without the dividend above which exercise just before it pays, by bisection."""
    low, high = 0.0, strike
    while european(np.array(high)) > high + dividend - strike:  # type: ignore[operator]
        low, high = high, 2.0 * high
    for _ in range(BISECTIONS):
        mid = 0.5 * (low + high)
        if mid in (low, high):
            break
        low, high = (mid, high) if european(np.array(mid)) > mid + dividend - strike else (low, mid)  # type: ignore[operator]
    return high


def _columns(*values: ArrayLike) -> tuple[list[FloatArray], tuple[int, ...]]:
    """The terms of `FIELDS`, flat, and their shape."""
    try:
        spread = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values))
    except ValueError:
        raise DataError([Problem("dividends", None, "shapes", "different", "these do not broadcast")]) from None
    flat = [array.ravel() for array in spread]
    spot, strike, tau, vol, rate, dividend, dividend_tau = flat
    with np.errstate(invalid="ignore"):
        remedies = (
            ((spot > 0) & (spot > dividend * np.exp(-rate * dividend_tau)), "must be above the dividend's value"),
            (strike > 0, "must be above 0"),
            (tau > 0, "must be above 0"),
            (vol > 0, "must be above 0"),
            (rate >= 0, "must be 0 or more: else exercise may pay at other times than the dividend's"),
            (dividend >= 0, "must be 0 or more"),
            ((dividend_tau > 0) & (dividend_tau < tau), "must be above 0 and below tau"),
        )
        problems = [
            Problem("dividends", int(row), name, float(column[row]), remedy)
            for name, column, (good, remedy) in zip(FIELDS, flat, remedies, strict=True)
            for row in np.flatnonzero(~(good & np.isfinite(column)))
        ]
    if problems:
        raise DataError(problems)
    return flat, spread[0].shape
