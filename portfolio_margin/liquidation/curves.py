"""Price curves of Dutch auctions: what a bidder pays, by the seconds since the auction began.

Every curve starts at the top and never rises. Elementwise over arrays of seconds.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem

# The contracts hold shares as whole numbers of 1e-18; halves of nine digits keep products within 64 bits.
HALF_OF_WAD = 10**9
LONGEST_SECONDS = 10**9


def linear_price(top: float, elapsed_s: ArrayLike, duration_s: float) -> FloatArray:
    """Falls in a straight line from top to 0 within the duration, and stays there.

    top         price at the start, 0 or more
    elapsed_s   (...) seconds since the start, 0 or more
    duration_s  seconds until the price is 0, above 0

    Maker's liquidations 2.0 (2020), LinearDecrease: top (1 - t / tau).
    """
    seconds = _elapsed(elapsed_s)
    _check(0 <= top < np.inf, "top", top, "must be a finite price, 0 or more")
    _check(0 < duration_s < np.inf, "duration_s", duration_s, "must be finite and above 0")
    return np.asarray(top * np.maximum(1.0 - seconds / duration_s, 0.0))


def exponential_price(top: float, elapsed_s: ArrayLike, cut_per_second: float) -> FloatArray:
    """Falls by the same share every second: top cut^t.

    top             price at the start, 0 or more
    elapsed_s       (...) seconds since the start, 0 or more
    cut_per_second  what is left of the price after a second, 0 to 1; 0.999230132966 halves it in 900

    Maker's liquidations 2.0 (2020), ExponentialDecrease.
    """
    seconds = _elapsed(elapsed_s)
    _check(0 <= top < np.inf, "top", top, "must be a finite price, 0 or more")
    _check(0 < cut_per_second <= 1, "cut_per_second", cut_per_second, "must be above 0 and at most 1")
    return np.asarray(top * cut_per_second**seconds)


def stairstep_price(top: float, elapsed_s: ArrayLike, cut_per_step: float, step_s: float) -> FloatArray:
    """Falls by the same share at the end of every step: top cut^floor(t / step).

    top           price at the start, 0 or more
    elapsed_s     (...) seconds since the start, 0 or more
    cut_per_step  what is left of the price after a step, above 0 and at most 1
    step_s        seconds a step, above 0

    Maker's liquidations 2.0 (2020), StairstepExponentialDecrease.
    """
    seconds = _elapsed(elapsed_s)
    _check(0 <= top < np.inf, "top", top, "must be a finite price, 0 or more")
    _check(0 < cut_per_step <= 1, "cut_per_step", cut_per_step, "must be above 0 and at most 1")
    _check(0 < step_s < np.inf, "step_s", step_s, "must be finite and above 0")
    return np.asarray(top * cut_per_step ** np.floor(seconds / step_s))


def halving_cut(half_life_s: float) -> float:
    """The cut per second of an exponential curve that halves within so many seconds."""
    _check(0 < half_life_s < np.inf, "half_life_s", half_life_s, "must be finite and above 0")
    return float(0.5 ** (1.0 / half_life_s))


def two_phase_share(elapsed_s: ArrayLike, start: float, cutoff: float, fast_s: int, slow_s: int) -> FloatArray:
    """Share of the value that a bidder pays: a fast fall, then a slow one to 0.

    elapsed_s  (...) whole seconds since the start
    start      share at the start, 0 to 1
    cutoff     share where the fast phase ends, 0 to start
    fast_s     whole seconds of the fast phase, 0 or more
    slow_s     whole seconds of the slow phase, above 0

    Derive's solvent auction (v2-core, DutchAuction, 2026): start - (start - cutoff) t / fast, then with the seconds s
    of the slow phase cutoff - floor(cutoff s) / slow, and 0 after it. The floor is the contract's: the slow fall moves
    in steps of 1 / slow. It is taken of the decimal that `cutoff` is written as, to 18 digits, so that no binary
    rounding moves a step.
    """
    seconds = _elapsed(elapsed_s)
    _check(bool(np.all(seconds == np.floor(seconds))), "elapsed_s", elapsed_s, "must be whole seconds")
    _check(0 <= start <= 1, "start", start, "must be from 0 to 1")
    _check(0 <= cutoff <= start, "cutoff", cutoff, f"must be from 0 to start = {start:g}")
    _check(0 <= fast_s <= LONGEST_SECONDS, "fast_s", fast_s, f"must be from 0 to {LONGEST_SECONDS}")
    _check(0 < slow_s <= LONGEST_SECONDS, "slow_s", slow_s, f"must be above 0 and at most {LONGEST_SECONDS}")
    whole = seconds.astype(np.int64)
    falling = start - (start - cutoff) * whole / max(fast_s, 1)
    slow = np.clip(whole - fast_s, 0, slow_s)
    low = cutoff - whole_part_of_product(cutoff, slow) / slow_s
    share = np.where(whole < fast_s, falling, np.where(whole < fast_s + slow_s, low, 0.0))
    return np.asarray(np.maximum(share, 0.0))


def whole_part_of_product(share: float, seconds: IntArray) -> IntArray:
    """floor(share x seconds), exactly, of the decimal that the share is written as.

    share    0 to 1; its shortest decimal is taken, to 18 digits
    seconds  (...) whole, 0 to 1e9
    """
    upper, lower = divmod(int(Decimal(repr(float(share))).scaleb(18)), HALF_OF_WAD)
    return np.asarray((upper * seconds + lower * seconds // HALF_OF_WAD) // HALF_OF_WAD)


def _elapsed(elapsed_s: ArrayLike) -> FloatArray:
    seconds = np.asarray(elapsed_s, dtype=np.float64)
    good = bool(np.all(np.isfinite(seconds)) and np.all(seconds >= 0) and np.all(seconds <= LONGEST_SECONDS))
    _check(good, "elapsed_s", elapsed_s, f"must be finite seconds from 0 to {LONGEST_SECONDS}")
    return seconds


def _check(good: bool, field: str, value: object, remedy: str) -> None:
    if not good:
        raise DataError([Problem("auction curve", None, field, value, remedy)])
