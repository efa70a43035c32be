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
from pricing.columns import numbers
from pricing.errors import ConfigError, DataError, Problem

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
    named = {"expiry_idx": expiry_idx, "strike": strike, "sign": sign, "bid": bid, "ask": ask}
    given = {name: numbers("implied_forwards", name, column) for name, column in named.items()}
    discount = numbers("implied_forwards", "discount", discount)
    _check_shapes(given, discount)
    columns = [given[name] for name in ("strike", "sign", "bid", "ask")]
    _check(given["expiry_idx"], columns[0], columns[1], discount)
    row, sides = given["expiry_idx"].astype(np.int64), _future_sides(futures, len(discount))
    found = np.full((3, len(discount)), np.nan)
    counts = np.zeros((2, len(discount)), dtype=np.int64)
    for x in range(len(discount)):
        low, high = _pair_bounds([column[row == x] for column in columns], float(discount[x]), model)
        if np.isfinite(sides[:, x]).all():
            low, high = np.append(low, sides[0, x]), np.append(high, sides[1, x])
        if len(low):
            found[:, x], counts[:, x] = _consensus(low, high)
    return ForwardCurve(*found, *counts)


def forward_at(tau: ArrayLike, expiry_tau: ArrayLike, forward: ArrayLike, spot: float) -> FloatArray:
    """Forward at any time of one underlying: ln F linear in time from the spot; beyond the last, its growth rate.

    tau          years, 0 or more, of any shape
    expiry_tau   (X,) years above 0, strictly rising, with forward (X,), at least one; no NaN
    forward      quote currency per unit
    spot         the forward at time 0

    Raises DataError naming the rows that are not so.
    """
    at, times, known, start = (
        numbers("forward_at", name, value)
        for name, value in (("tau", tau), ("expiry_tau", expiry_tau), ("forward", forward), ("spot", spot))
    )
    if times.ndim != 1 or not len(times) or known.shape != times.shape or start.shape != ():
        shapes = f"expiry_tau {times.shape}, forward {known.shape}, spot {start.shape}"
        remedy = "needs expiry_tau (X,) and forward (X,), X of 1 or more, and one spot"
        raise DataError([Problem("forward_at", None, "shapes", shapes, remedy)])
    problems = []
    for name, values, remedy in (("forward", known, "above 0"), ("spot", start, "above 0"), ("expiry_tau", times, "")):
        bad: BoolArray = ~(np.isfinite(values) & (values > 0.0))
        text = f"must be {remedy}" if remedy else "years, above 0; leave undated expiries out"
        problems += row_problems("forward_at", name, np.atleast_1d(bad), np.atleast_1d(values), text)
    early: BoolArray = ~(np.isfinite(at) & (at >= 0.0))
    problems += row_problems("forward_at", "tau", early.ravel(), at.ravel(), "years, 0 or more")
    if not problems:
        back = np.diff(times, prepend=0.0) <= 0.0
        problems = row_problems("forward_at", "expiry_tau", back, times, "times must rise from row to row")
    if problems:
        raise DataError(problems)
    times, logs = np.concatenate([[0.0], times]), np.log(np.concatenate([[start], known]))
    last = (logs[-1] - logs[-2]) / (times[-1] - times[-2])
    beyond = np.maximum(at - times[-1], 0.0)
    return np.exp(np.interp(at, times, logs) + last * beyond)


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


def _check_shapes(columns: dict[str, FloatArray], discount: FloatArray) -> None:
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or columns["strike"].ndim != 1:
        text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError([Problem("implied_forwards", None, "shapes", text, "all must be (Q,), one entry a quote")])
    if discount.ndim != 1:
        remedy = f"needs one number for every expiry, (X,), not {discount.shape}"
        raise DataError([Problem("implied_forwards", None, "discount", discount.tolist(), remedy)])


def _future_sides(futures: tuple[ArrayLike, ArrayLike] | None, count: int) -> FloatArray:
    """(2,X) bid and ask of futures, NaN where there is none."""
    if futures is None:
        return np.full((2, count), np.nan)
    sides = [numbers("implied_forwards", "futures", side) for side in futures]
    if len(sides) != 2 or any(side.shape != (count,) for side in sides):
        text = ", ".join(str(side.shape) for side in sides)
        remedy = f"needs bid and ask, each ({count},), one entry an expiry"
        raise DataError([Problem("implied_forwards", None, "futures", text, remedy)])
    return np.stack(sides)


def _check(row: FloatArray, strike: FloatArray, sign: FloatArray, discount: FloatArray) -> None:
    outside: BoolArray = ~((row >= 0) & (row < len(discount)) & (np.rint(row) == row))
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
