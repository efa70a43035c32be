"""American exercise without vol or time: the best moment is known in advance."""

from __future__ import annotations

from typing import Any

import numpy as np

from pricing.arrays import FloatArray, IntArray


def greeks(columns: tuple[FloatArray, ...], row: IntArray, *, on_future: bool = False) -> Any:
    """(9,R') value and Greeks without vol or time: exercise at the best time, known in advance.

    The holder receives s (S exp(-q t) - K exp(-r t)) at the t in [0, tau] of his choice: now, at expiry, or in
    between at the stationary point. rho holds spot and yield; on_future: it moves the forward with the rate instead.
    """
    forward, strike, tau, _, discount, sign, carry = (column[row] for column in columns)
    log_discount = np.log(discount)
    with np.errstate(all="ignore"):
        rate = np.where(tau > 0, -log_discount / np.where(tau > 0, tau, 1.0), 0.0)
        payout = rate - carry
        spot = forward * np.exp(-carry * tau)
        turn = np.log(rate * strike / (payout * spot)) / carry
        inner = np.where(np.isfinite(turn), np.clip(turn, 0.0, tau), 0.0)
    times = np.array([np.zeros_like(tau), tau, inner])
    paid = sign * (spot * np.exp(-payout * times) - strike * np.exp(-rate * times))
    best = paid.argmax(axis=0)
    column = np.arange(len(row))
    time, top = times[best, column], np.maximum(paid[best, column], 0.0)
    alive = top > 0
    waits, between = alive & (time > 0), alive & (time > 0) & (time < tau)
    grow = np.exp(-carry * tau)
    delta = np.where(alive, sign * np.exp(-payout * time), 0.0) * grow
    with np.errstate(all="ignore"):
        curved = np.where(between, sign * payout * np.exp(-payout * time) / (carry * spot), 0.0) * grow**2
    zero = np.zeros_like(top)
    theta = np.where(waits, rate * top, np.where(alive, sign * carry * spot, 0.0))
    charm = np.where(waits, rate * delta, np.where(alive, carry * delta, 0.0))
    rho = np.where(alive, sign * time * strike * np.exp(-rate * time), 0.0)
    if on_future:
        rho = tau * forward * delta - time * top
    return np.array([top, delta, curved, zero, theta, rho, zero, zero, charm])
