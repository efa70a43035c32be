"""Who bears a loss that nobody else covers: shares in whole ticks, which add up to the loss and never exceed a cap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.liquidation.deleverage import closed_in_order
from pricing.arrays import IntArray
from pricing.errors import DataError, Problem


def apportion(amount: int, weights: ArrayLike) -> IntArray:
    """Whole ticks in proportion to weights, adding up to the amount exactly.

    amount   ticks, 0 or more
    weights  (K,) whole, 0 or more, not all 0 where there is something to share

    The largest remainders get the ticks that are left over (Hamilton 1792); of equal ones the earlier row.
    """
    given = _whole("weights", weights)
    _check_ticks("amount", amount)
    total = sum(given)
    if amount > 0 and total == 0:
        raise DataError([Problem("loss", None, "amount", amount, "somebody has to bear it: a weight above 0")])
    if amount == 0:
        return np.zeros(len(given), dtype=np.int64)
    # Whole numbers of Python do not overflow; a product of ticks and ticks is beyond 64 bits.
    parts = [divmod(amount * weight, total) for weight in given]
    shares = [whole for whole, _ in parts]
    order = sorted(range(len(given)), key=lambda row: (-parts[row][1], row))
    for row in order[: amount - sum(shares)]:
        shares[row] += 1
    return np.array(shares, dtype=np.int64)


def capped_shares(amount: int, weights: ArrayLike, caps: ArrayLike) -> tuple[IntArray, int]:
    """Shares in proportion to weights, none above its cap; what a cap turns away is shared among the others.

    amount   ticks, 0 or more
    weights  (K,) whole, 0 or more
    caps     (K,) ticks that each can bear, 0 or more

    Returns the shares and what nobody can bear.
    """
    given, most = _whole("weights", weights), _whole("caps", caps)
    _check_ticks("amount", amount)
    if len(given) != len(most):
        raise DataError([Problem("loss", None, "caps", len(most), f"one a weight: {len(given)}")])
    shares, left = [0] * len(given), amount
    while left > 0:
        able = [row for row in range(len(given)) if given[row] > 0 and shares[row] < most[row]]
        if not able:
            break
        asked = apportion(left, [given[row] for row in able])
        for row, share in zip(able, asked.tolist(), strict=True):
            taken = min(share, most[row] - shares[row])
            shares[row] += taken
            left -= taken
    return np.array(shares, dtype=np.int64), left


def pro_rata_haircut(shortfall: int, profits: ArrayLike) -> tuple[IntArray, int]:
    """Everybody's profit is cut by the same share: min(1, shortfall / sum of profits).

    shortfall  ticks, 0 or more
    profits    (K,) unrealised profit in ticks; who has none bears nothing

    Returns the haircuts and what is left uncovered. The one rule without favourites (Chitra 2025, arXiv 2512.01112).
    """
    winnings = _winnings(profits)
    return capped_shares(shortfall, winnings, winnings)


def queue_haircut(shortfall: int, profits: ArrayLike, order: ArrayLike | None = None) -> tuple[IntArray, int]:
    """Profits are taken whole, one account after the other, until the shortfall is covered.

    shortfall  ticks, 0 or more
    profits    (K,) unrealised profit in ticks; who has none bears nothing
    order      (K,) rows, first to be taken first; None: the largest profit first, of equal ones the earlier row

    Returns the haircuts and what is left uncovered.
    """
    winnings = _winnings(profits)
    _check_ticks("shortfall", shortfall)
    rows = np.argsort(-winnings, kind="stable") if order is None else np.asarray(order, dtype=np.int64)
    haircuts = np.zeros(len(winnings), dtype=np.int64)
    haircuts[rows] = closed_in_order(shortfall, winnings[rows])
    return haircuts, shortfall - int(haircuts.sum())


def loss_per_contract(loss: float, longs: float, shorts: float) -> float:
    """A loss spread over both sides of a market, a contract.

    loss           margin currency, 0 or more
    longs, shorts  open interest of the two sides, 0 or more

    Drift protocol v2 (2026), loss of a perpetual: loss / (longs + shorts).
    """
    _check_amounts(loss=loss, longs=longs, shorts=shorts)
    if longs + shorts <= 0:
        raise DataError([Problem("loss", None, "longs", longs, "nobody holds the contract: nobody bears the loss")])
    return loss / (longs + shorts)


def withdrawal_haircut(bankruptcies: float, fund: float, claims: float) -> float:
    """The share of every withdrawal that is held back, so that all can withdraw alike.

    bankruptcies  sum of what bankrupt accounts owe, margin currency, 0 or more
    fund          insurance fund, 0 or more
    claims        balances of all other accounts, as the books show them, above 0

    max(0, bankruptcies - fund) / claims, at most 1: what all claims are paid is then what is there. Paradex, socialised
    losses. The page prints uncovered / (total + uncovered), which is the same rule where total is what is left after
    the loss, with an example whose numbers are those of total as claimed: 1,000 of 4,000 is its 25 %.
    """
    _check_amounts(bankruptcies=bankruptcies, fund=fund, claims=claims)
    if claims <= 0:
        raise DataError([Problem("loss", None, "claims", claims, "must be above 0")])
    return min(max(bankruptcies - fund, 0.0) / claims, 1.0)


def concentration(shares: ArrayLike, top: float = 0.01) -> float:
    """The share of a loss that the top accounts bear; 0 where there is no loss.

    shares  (K,) ticks each bears
    top     share of those that bear anything, rounded up to one account
    """
    borne = np.sort(np.asarray(shares, dtype=np.float64))[::-1]
    borne = borne[borne > 0]
    if not len(borne):
        return 0.0
    return float(borne[: int(np.ceil(top * len(borne)))].sum() / borne.sum())


def average_cost(fills: Sequence[tuple[float, float]], mark: float) -> tuple[float, float, float]:
    """Position, realised and unrealised profit of whoever took positions over, at average cost.

    fills  (price, quantity bought) in order, sold below 0
    mark   price of what is left

    What goes through 0 realises the whole of the old side and opens the new one at the price of the fill.
    """
    numbers = [*(number for fill in fills for number in fill), mark]
    if not np.all(np.isfinite(numbers)):
        raise DataError([Problem("fills", None, "price", numbers[:8], "must be finite numbers, and the mark too")])
    held = realised = entry = 0.0
    for price, quantity in fills:
        closing = -np.sign(held) * min(abs(held), abs(quantity)) if held * quantity < 0 else 0.0
        realised -= closing * (price - entry)
        opened = quantity - closing
        held += closing
        if opened:
            entry = (entry * held + price * opened) / (held + opened)
            held += opened
    return float(held), float(realised), float(held * (mark - entry)) if held else 0.0


def _winnings(profits: ArrayLike) -> IntArray:
    given = np.asarray(profits)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise DataError(
            [Problem("loss", None, "profits", given.ravel()[:8].tolist(), "must be whole ticks in one row")]
        )
    return np.maximum(given, 0).astype(np.int64)


def _check_ticks(field: str, value: object) -> None:
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise DataError([Problem("loss", None, field, value, "must be whole ticks, 0 or more")])


def _check_amounts(**amounts: float) -> None:
    problems = [
        Problem("loss", None, name, value, "must be a finite amount, 0 or more")
        for name, value in amounts.items()
        if not 0.0 <= value < np.inf
    ]
    if problems:
        raise DataError(problems)


def _whole(field: str, values: ArrayLike) -> list[int]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu") or np.any(array < 0):
        remedy = "must be whole numbers in one row, 0 or more"
        raise DataError([Problem("loss", None, field, array.ravel()[:8].tolist(), remedy)])
    return [int(value) for value in array]
