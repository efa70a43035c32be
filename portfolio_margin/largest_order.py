"""The largest order of one contract that an account may send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from portfolio_margin.convexity import OF_FUNDS, declared_convex
from portfolio_margin.dollars import money_step
from portfolio_margin.order_codes import AVAILABLE
from portfolio_margin.orders import OrderChecks, answers, columns, what_if
from portfolio_margin.policy import Policy
from portfolio_margin.sensitivities import is_finite, order_rows, premiums
from portfolio_margin.state import State
from pricing.arrays import IntArray
from pricing.errors import ConfigError, DataError, NumericalError

# Sizes looked at in one step of the search.
LADDER = 33
# Of the first ladder, each rung twice as far, looked at together.
RUNGS = 12
MOST_STEPS = 2**50
# Sizes that are tried one by one where rounding decides.
TRIED = 512
# Steps of money that funds are below what they are exactly, at most: equity, haircut and margin are rounded once each,
# against the account, and a premium that is paid in another coin by far less than one more.
ROUNDINGS = 4


@dataclass(frozen=True)
class LargestOrder:
    """The largest order that is allowed, as in `WhatIf`: it fits, or leaves an account that is short no worse off.

    quantity  contracts, signed as orders are: above 0 to buy, below 0 to sell, so that -50 says that 50 may be sold,
              and goes into `what_if` as it is; 0 where no order is allowed
    bound_by  "margin": one step more is not; "limit": `limit` is, or whatever sums can be computed exactly
    proven    True where the model declares funds concave in the size, so that no larger order is allowed (of an account
              that covers its margin up to the rounding of amounts to cents); False where sizes were sampled, so that
              one may be. A smaller order may be refused either way, if the account is short: see `largest_order`
    """

    quantity: float
    bound_by: str
    proven: bool


def largest_order(state: State, account: str, instrument: str, side: str, limit: float | None = None) -> LargestOrder:
    """The largest order of one contract, filled at the mark, that is allowed: after it the account covers its initial
    margin, or has neither less available funds nor less excess liquidity than before.

    account, instrument   names
    side   "buy" or "sell"
    limit  contracts, without a sign, at least a step; the search ends there

    The `quantity` found has the sign of the side: below 0 where it sells.

    A smaller order need not be allowed: of an account that is short, a small one may cost excess liquidity while a
    larger one covers the initial margin. Where the model declares what funds are made of convex, sizes that cover the
    margin are one interval and sizes that leave the account no worse off another, from nothing on; both ends are found
    by bisection, from the size of the most available funds. For other models sizes are sampled on a ladder, the last
    that is allowed is taken, and the ladder narrowed down behind it.

    Amounts are rounded to steps of money. Where they decide for an account that is short (an option next to worthless,
    sold at its mark, leaves it where it was), sizes behind the end may be allowed again: as far as rounding can reach
    they are tried as well. Of many only some are, and then the answer is not proven unless it is the last of them.
    """
    if not isinstance(side, str) or side not in ("buy", "sell"):
        raise ConfigError(f"side = {side!r}: must be buy or sell")
    policy, row = state.policy, state.ledger.row_of(account)
    place = policy.row_of.get(instrument, 0) if isinstance(instrument, str) else 0
    step = float(state.arrays.quantity_step[place])
    given = order_rows(state.arrays, [(instrument, step)], policy.row_of)
    premiums(state.arrays, *given)
    if limit is not None and not (is_finite(limit) and limit >= step):
        raise ConfigError(f"limit = {limit!r}: must be a number of contracts, at least the quantity step {step:g}")
    most = MOST_STEPS if limit is None else int(min(limit / step * (1.0 + 1e-12), MOST_STEPS))
    sign = 1.0 if side == "buy" else -1.0
    after = _Sizes(state, row, int(given[0][0]), sign * step).checks
    proven = _funds_concave(policy, int(given[0][0]))
    found = _last_allowed(after, 0, most, first=proven)
    if proven and found < most and state.ledger.figures(np.array([row]))[0, AVAILABLE] < 0.0:
        funded = _most_funds(after, most)
        if funded > found and after(np.array([funded])).allowed[0]:
            found = _last_allowed(after, funded, most, first=True)
        far = _reach_of_rounding(state, account, instrument, sign * step, found, most)
        if found < far <= found + TRIED:
            every = np.arange(found + 1, far + 1)
            found = int(every[after(every).allowed].max(initial=found))
        elif found < far:
            found = _last_allowed(after, found, far)
            proven = found == far
    # 23 steps of 0.1 as 2.3: fifteen digits are a double's own, the rest is the noise of the product.
    size = float(f"{found * step:.15g}")
    return LargestOrder(sign * size + 0.0, "margin" if found < most else "limit", proven)


def _funds_concave(policy: Policy, instrument: int) -> bool:
    """Whether the model declares funds concave in the size of an order, its premium paid in whatever coin it takes."""
    turning = np.zeros(len(policy.arrays), dtype=np.bool_)
    cash = int(policy.arrays.cash_row[instrument])
    turning[[cash] if cash >= 0 else []] = True
    return all(declared_convex(policy.model, policy.arrays, turning, measure) for measure in OF_FUNDS)


def _reach_of_rounding(state: State, account: str, instrument: str, quantity: float, found: int, most: int) -> int:
    """Last number of steps of `quantity`, from `found` to `most`, up to which rounding can decide what is allowed.

    Funds are concave in the size before they are rounded. So if a larger order is allowed, none between it and nothing
    has less funds than it needs, or than an account that is no worse off has now, by more than rounding takes away.
    """
    room = ROUNDINGS * money_step(state.arrays)

    def near(steps: int) -> bool:
        try:
            order = what_if(state, account, [(instrument, steps * quantity)])
        except DataError:  # too large for exact sums
            return False
        before, after = order.pre, order.post
        lost = max(before[name] - after[name] for name in ("available_funds", "excess_liquidity"))
        return not order.unmargined and (after["available_funds"] >= -room or lost <= room)

    low, high, stride = found, found + 1, 1
    while high <= most and near(high):
        low, stride = high, 2 * stride
        high = min(low + stride, most) if low < most else most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if near(middle) else (low, middle)
    return low


def _most_funds(after: Callable[[IntArray], OrderChecks], most: int) -> int:
    """Number of steps, up to `most`, of the most available funds, which are concave in it."""
    sizes = _ladder(0, most)
    while True:
        best = int(np.argmax(after(sizes).available_funds))
        low, high = int(sizes[max(best - 1, 0)]), int(sizes[min(best + 1, len(sizes) - 1)])
        if high - low < LADDER:
            every = np.arange(max(low, 1), high + 1)
            return int(every[np.argmax(after(every).available_funds)])
        sizes = np.unique(np.linspace(low, high, LADDER).astype(np.int64))


def _ladder(low: int, most: int) -> IntArray:
    """Numbers of steps above `low`, up to `most`, twice as far each time."""
    room = most - low
    return np.asarray(low + np.unique(np.minimum(2 ** np.arange(0, room.bit_length() + 1, dtype=np.int64), room)))


def _last_allowed(after: Callable[[IntArray], OrderChecks], low: int, most: int, *, first: bool = False) -> int:
    """Largest number of steps from `low`, taken for allowed, to `most` that is seen to be; one more is not.

    With `first` the search ends before the first number that is seen not to be, not behind the last that is.
    """
    if low == most:
        return most
    sizes = _ladder(low, most)
    good = np.zeros(0, dtype=np.bool_)
    while len(good) < len(sizes) and not (first and not good.all()):
        # A few at a time: what is far too large is not asked for where it would not be used.
        good = np.append(good, after(sizes[len(good) : len(good) + RUNGS]).allowed)
    sizes = sizes[: len(good)]
    if good[-1] and (good.all() or not first):
        return most
    while True:
        held = int(np.argmin(good)) - 1 if first else int(np.max(np.flatnonzero(good), initial=-1))
        low, high = int(sizes[held]) if held >= 0 else low, int(sizes[held + 1])
        if high - low <= 1:
            return low
        sizes = np.unique(np.linspace(low, high, LADDER).astype(np.int64))[1:-1]
        good = np.append(after(sizes).allowed, False)
        sizes = np.append(sizes, high)


@dataclass
class _Sizes:
    """Orders of one contract for one account, by how many steps of `quantity` they are of, + bought.

    Of an order that sums cannot be computed for exactly they say that it is not allowed, and its funds are -inf. So are
    those of every larger one, which is not asked for: an account as it stands has its sums, and how large they are is
    convex in the size of the order.
    """

    state: State
    row: int
    instrument: int
    quantity: float
    too_large: float = np.inf

    def checks(self, steps: IntArray) -> OrderChecks:
        """What orders of so many steps (R,) do; sizes rise."""
        asked = int(np.searchsorted(steps, self.too_large))
        found = [self._checked(steps[:asked])] if asked else []
        if asked < len(steps):
            worst, no = np.full(len(steps) - asked, -np.inf), np.zeros(len(steps) - asked, np.bool_)
            found.append(OrderChecks(-worst, -worst, worst, no, no))
        return OrderChecks(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _checked(self, steps: IntArray) -> OrderChecks:
        account, instrument = np.full(len(steps), self.row), np.full(len(steps), self.instrument)
        try:
            return answers(
                self.state, columns(account, instrument, np.asarray(steps * self.quantity, dtype=np.float64))
            )
        except NumericalError:
            half = len(steps) // 2
            if not half:
                self.too_large = min(self.too_large, float(steps[0]))
                return self.checks(steps)
            parts = [self.checks(part) for part in (steps[:half], steps[half:])]
            return OrderChecks(*(np.concatenate(column) for column in zip(*parts, strict=True)))
