"""Forwards implied by put-call parity and by futures.

A call and a put of one strike with both sides quoted bound the forward: for prices in its currency
F in K + [C_bid - P_ask, C_ask - P_bid] / D, for coin-settled prices (in coin, C - P = 1 - K/F)
F in K / (1 - [C_bid - P_ask, C_ask - P_bid]). A future of the same expiry bounds it by its own bid and ask.
Parity is exact for European exercise; for American options it holds near enough where early exercise is worth little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray, IntArray, freeze_fields, row_problems
from pricing.errors import ConfigError, DataError

MODELS = ("black76", "inverse")
TIGHTEST_PAIRS = 15
SMALLEST_WIDTH_SHARE = 1e-6


@dataclass(frozen=True)
class ForwardCurve:
    """Forwards of expiries (X,), NaN where nothing bounds one.

    forward       quote currency per unit
    low, high     largest lower and smallest upper bound of what was used; low > high where quotes contradict
    used_count    pairs, and a future, that were used
    rejected_count   those that contradict the others: crossed, or an interval that misses the middle by its width
    """

    forward: FloatArray
    low: FloatArray
    high: FloatArray
    used_count: IntArray
    rejected_count: IntArray

    def __post_init__(self) -> None:
        floats = dict.fromkeys(("forward", "low", "high"), np.float64)
        freeze_fields(self, {**floats, "used_count": np.int64, "rejected_count": np.int64})


def implied_forwards(
    expiry_idx: ArrayLike,
    strike: ArrayLike,
    sign: ArrayLike,
    bid: ArrayLike,
    ask: ArrayLike,
    discount: ArrayLike,
    *,
    futures: tuple[ArrayLike, ArrayLike] | None = None,
    model: str = "black76",
) -> ForwardCurve:
    """Forward of every expiry from option quotes, one row each (Q,), and from futures where given.

    expiry_idx  row of the expiry table, 0 to X-1
    strike      quote currency per unit
    sign        +1 call, -1 put
    bid, ask    per unit of underlying, NaN or 0 where there is none; in coin for model "inverse"
    discount    (X,) discount factor of each expiry; it is given and not fitted, since quotes of American options
                would drive it above 1. Not used by "inverse"
    futures     bid and ask (X,) of the futures of the same expiries, NaN where there is none
    model       "black76" or "inverse"

    Per expiry the tightest pairs are averaged with weights 1 / width^2, after those were rejected whose interval
    misses the weighted median of all by more than its own width. Raises DataError for bad rows.
    """
    if model not in MODELS:
        raise ConfigError(f"model = {model!r}: must be one of {', '.join(MODELS)}")
    row, discount = np.asarray(expiry_idx, dtype=np.int64), np.asarray(discount, dtype=np.float64)
    columns = [np.asarray(column, dtype=np.float64) for column in (strike, sign, bid, ask)]
    _check(row, columns[0], columns[1], discount)
    found = np.full((3, len(discount)), np.nan)
    counts = np.zeros((2, len(discount)), dtype=np.int64)
    for x in range(len(discount)):
        low, high = _pair_bounds([column[row == x] for column in columns], float(discount[x]), model)
        if futures is not None:
            future = [float(np.asarray(side, dtype=np.float64)[x]) for side in futures]
            if np.all(np.isfinite(future)):
                low, high = np.append(low, future[0]), np.append(high, future[1])
        if len(low):
            found[:, x], counts[:, x] = _consensus(low, high)
    return ForwardCurve(*found, *counts)


def forward_at(tau: ArrayLike, expiry_tau: FloatArray, forward: FloatArray, spot: float) -> FloatArray:
    """Forward at any time of one underlying: ln F linear in time from the spot; beyond the last, its growth rate.

    tau          years, 0 or more
    expiry_tau   (X,) years above 0, ascending, with forward (X,), at least one
    forward      quote currency per unit
    spot         the forward at time 0
    """
    tau = np.asarray(tau, dtype=np.float64)
    times = np.concatenate([[0.0], expiry_tau])
    logs = np.log(np.concatenate([[spot], forward]))
    last = (logs[-1] - logs[-2]) / (times[-1] - times[-2])
    beyond = np.maximum(tau - times[-1], 0.0)
    return np.exp(np.interp(tau, times, logs) + last * beyond)


def settlement_forward(
    forward: ArrayLike, average_so_far: ArrayLike, seconds_to_expiry: ArrayLike, window_seconds: float = 1800.0
) -> tuple[FloatArray, FloatArray]:
    """Forward of an expiry that settles on the average price of its last seconds, and the share of it already fixed.

    forward            quote currency per unit, of the price at expiry as it stands now
    average_so_far     average of the spot since the window opened; what it is before does not matter
    seconds_to_expiry  0 or more
    window_seconds     length of the average, above 0

    Returns the two as they stand in `Market.forward` and `Market.fixed_share`: only the share that is left moves.
    Source: Derive v2, LyraForwardFeed at 7736900d (2026-01-21). ConfigError for a window or a time out of bounds.
    """
    left = np.asarray(seconds_to_expiry, dtype=np.float64)
    if not window_seconds > 0.0 or not np.all(left >= 0.0):
        raise ConfigError(
            f"window_seconds = {window_seconds!r}: must be above 0, and seconds_to_expiry = {seconds_to_expiry!r}: "
            "must be 0 or more"
        )
    share_left = np.minimum(left / window_seconds, 1.0)
    fixed = np.where(share_left < 1.0, np.asarray(average_so_far, dtype=np.float64) * (1.0 - share_left), 0.0)
    total = fixed + np.asarray(forward, dtype=np.float64) * share_left
    return total, fixed / total


def _check(row: IntArray, strike: FloatArray, sign: FloatArray, discount: FloatArray) -> None:
    outside = (row < 0) | (row >= len(discount))
    problems = row_problems("quotes", "expiry_idx", outside, row, f"there are {len(discount)} expiries")
    problems += row_problems("quotes", "strike", ~(strike > 0), strike, "must be above 0")
    problems += row_problems("quotes", "sign", np.abs(sign) != 1.0, sign, "1 for a call, -1 for a put")
    problems += row_problems("quotes", "discount", ~(discount > 0), discount, "must be above 0")
    if problems:
        raise DataError(problems)


def _pair_bounds(columns: list[FloatArray], discount: float, model: str) -> tuple[FloatArray, FloatArray]:
    """Lower and upper bounds of the forward from the strikes of one expiry that have a call and a put."""
    strike, sign, bid, ask = columns
    quoted: BoolArray = (bid > 0) & (ask > 0)
    call, put = (np.flatnonzero(quoted & (sign == side)) for side in (1.0, -1.0))
    both, at_call, at_put = np.intersect1d(strike[call], strike[put], return_indices=True)
    call, put = call[at_call], put[at_put]
    lowest, highest = bid[call] - ask[put], ask[call] - bid[put]
    if model == "inverse":
        possible = highest < 1.0
        both, lowest, highest = both[possible], lowest[possible], highest[possible]
        return both / (1.0 - lowest), both / (1.0 - highest)
    return both + lowest / discount, both + highest / discount


def _consensus(low: FloatArray, high: FloatArray) -> tuple[tuple[float, float, float], tuple[int, int]]:
    """Forward, largest lower and smallest upper bound; how many intervals were used, and how many contradict."""
    middle, width = 0.5 * (low + high), high - low
    crossed = width < 0
    width = np.maximum(width, SMALLEST_WIDTH_SHARE * middle)
    usable = np.flatnonzero(~crossed)
    if not len(usable):
        return (np.nan, np.nan, np.nan), (0, int(crossed.sum()))
    tight = usable[np.argsort(width[usable], kind="stable")[:TIGHTEST_PAIRS]]
    order = tight[np.argsort(middle[tight], kind="stable")]
    share = np.cumsum(1.0 / width[order] ** 2)
    median = middle[order[np.searchsorted(share, 0.5 * share[-1])]]
    kept = tight[np.abs(middle[tight] - median) <= 1.5 * width[tight]]
    weight = 1.0 / width[kept] ** 2
    forward = float(np.sum(weight * middle[kept]) / weight.sum())
    largest, smallest = float(low[kept].max()), float(high[kept].min())
    if largest <= smallest:
        forward = min(max(forward, largest), smallest)
    return (forward, largest, smallest), (len(kept), int(crossed.sum()) + len(tight) - len(kept))
