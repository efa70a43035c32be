"""Orders that have not been sent: what they would do to an account, which ones fit, how large they may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from portfolio_margin.fills import Additions
from portfolio_margin.kernel_inputs import EXACT_LIMIT, is_off_step
from portfolio_margin.ledger import Positions
from portfolio_margin.order_codes import (
    AVAILABLE,
    EXCESS,
    INITIAL,
    MAINTENANCE,
    OK,
    STATUS,
    UNMARGINED,
    WIDTH,
    WORST,
)
from portfolio_margin.policy import Policy, fits, stacked
from portfolio_margin.sensitivities import COMPARED, WhatIf, order_rows, premiums
from portfolio_margin.state import State
from portfolio_margin.statement import AccountStatus
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, NumericalError, Problem

STATUS_NAMES = [status.name for status in AccountStatus]
# Accounts after one order each that are put into one book; a model may need matrices of them.
BLOCK = 4_096
# Sizes looked at in one step of the search for the largest order.
LADDER = 33
MOST_STEPS = 2**50


class OrderChecks(NamedTuple):
    """Accounts after one order each (R,), margin currency: every order by itself, against the state as it is.

    initial_margin, maintenance_margin, available_funds   afterwards
    fits     True where the account covers its initial margin afterwards
    allowed  True where it does, or where neither available funds nor excess liquidity fall, as in `WhatIf`
    """

    initial_margin: FloatArray
    maintenance_margin: FloatArray
    available_funds: FloatArray
    fits: BoolArray
    allowed: BoolArray


@dataclass(frozen=True)
class LargestOrder:
    """The largest order that is allowed, as in `WhatIf`: it fits, or leaves an account that is short no worse off.

    quantity  contracts, + buy; 0 where not even one step is allowed
    bound_by  "margin": one step more is not; "limit": `limit` is, or whatever sums can be computed exactly
    proven    True where the model's requirement is convex in the size, so that every smaller order is allowed and no
              larger one, up to the rounding of amounts to cents; False where sizes in between were sampled
    """

    quantity: float
    bound_by: str
    proven: bool


def what_if(state: State, account: str, orders: Sequence[tuple[str, float]]) -> WhatIf:
    """The margin of one account before and after orders filled at the mark, as from `sensitivities.what_if`.

    Raises DataError for an account, instrument or quantity that is none, NumericalError for one too large.
    """
    policy = state.policy
    row = state.ledger.accounts.row.get(account, -1) if type(account) is str else -1
    given = _plain(policy, orders) if policy.kernels is not None and policy.tabled else None
    if policy.kernels is not None and given is not None and 0 <= row < state.ledger.count:
        out = np.empty((2, WIDTH))
        if policy.kernels.after_orders(policy.table, state.buffers, row, given, out) == OK:
            pre, post = out.tolist()
            return _answer(policy, account, pre, post)
    return _checked_what_if(state, account, orders)


def _plain(policy: Policy, orders: Sequence[tuple[str, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Instrument and quantity of orders that are pairs of a text and a number of Python's own, as most are; else None.

    Whether there is such an instrument, and the quantity makes sense, the kernel looks at.
    """
    rows, quantities = [], []
    for order in orders:
        if type(order) is not tuple or len(order) != 2 or type(order[0]) is not str:
            return None
        quantity: object = order[1]
        if not (isinstance(quantity, float) or (type(quantity) is int and abs(quantity) <= EXACT_LIMIT)):
            return None
        rows.append(policy.row_of.get(order[0], -1))
        quantities.append(quantity)
    return np.array(rows, dtype=np.int64), np.array(quantities, dtype=np.float64)


def check(state: State, account: ArrayLike, instrument: ArrayLike, quantity: ArrayLike) -> OrderChecks:
    """What every order by itself would do to its account, filled at the mark.

    account     (R,) row of each account in the engine
    instrument  (R,) -> N
    quantity    (R,) contracts, + buy
    Raises DataError naming every order that is none; nothing is computed from a partly bad list.
    """
    policy = state.policy
    orders = _columns(account, instrument, quantity)
    count = len(orders[0])
    if not count:
        nothing, none = np.zeros(0), np.zeros(0, np.bool_)
        return OrderChecks(nothing, nothing, nothing, none, none)
    if policy.kernels is not None and policy.tabled:
        given = (*orders, state.ledger.count)
        *answers, codes = policy.kernels.check_orders(policy.table, state.buffers, given, policy.threads(count))
        if not codes.any():
            return OrderChecks(*answers)
    _refuse(state, *orders)
    blocks = [slice(low, low + BLOCK) for low in range(0, count, BLOCK)]
    parts = [_modelled(state, orders[0][b], orders[1][b], orders[2][b]) for b in blocks]
    return OrderChecks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def largest_order(state: State, account: str, instrument: str, side: str, limit: float | None = None) -> LargestOrder:
    """The largest order of one contract, filled at the mark, after which the account covers its initial margin or is
    no worse off than before.

    account, instrument   names
    side   "buy" or "sell"
    limit  contracts, at least a step; the search ends there
    Requirements of worst-loss models are convex in the size of an order and equity less haircut is concave, so sizes
    that fit are those up to one bound; it is found by bisection and its neighbours are checked. For other models the
    smallest size that does not fit is looked for on a ladder of sizes that narrows down.
    """
    if side not in ("buy", "sell"):
        raise ConfigError(f"side = {side!r}: must be buy or sell")
    row = state.ledger.row_of(account)
    step = float(state.arrays.quantity_step[state.policy.row_of.get(instrument, 0)])
    given = order_rows(state.arrays, [(instrument, step)], state.policy.row_of)
    premiums(state.arrays, *given)
    if limit is not None and not (np.isfinite(limit) and limit >= step):
        raise ConfigError(f"limit = {limit!r}: must be a number of contracts, at least the quantity step {step:g}")
    most = MOST_STEPS if limit is None else int(min(limit / step * (1.0 + 1e-12), MOST_STEPS))
    sign = 1.0 if side == "buy" else -1.0

    def fit(steps: IntArray) -> BoolArray:
        account_rows, rows = np.full(len(steps), row), np.full(len(steps), given[0][0])
        return _fit_or_too_large(state, account_rows, rows, np.asarray(sign * steps * step, dtype=np.float64))

    found, bounded = _last_that_fits(fit, most)
    # 23 steps of 0.1 as 2.3: fifteen digits are a double's own, the rest is the noise of the product.
    size = float(f"{found * step:.15g}")
    return LargestOrder(sign * size + 0.0, "margin" if bounded else "limit", state.policy.tabled)


def _last_that_fits(fit: Callable[[IntArray], BoolArray], most: int) -> tuple[int, bool]:
    """Largest number of steps up to `most` below the first that is seen not to fit, and whether one was seen."""
    ladder = np.unique(np.minimum(2 ** np.arange(0, most.bit_length() + 1, dtype=np.int64), most))
    good = fit(ladder)
    if good.all():
        return most, False
    first = int(np.argmin(good))
    low, high = (int(ladder[first - 1]) if first else 0), int(ladder[first])
    while high - low > 1:
        between = np.unique(np.linspace(low, high, LADDER).astype(np.int64))[1:-1]
        good = fit(between)
        if good.all():
            low = int(between[-1])
        else:
            first = int(np.argmin(good))
            low, high = (int(between[first - 1]) if first else low), int(between[first])
    return low, True


def _fit_or_too_large(state: State, account: IntArray, instrument: IntArray, quantity: FloatArray) -> BoolArray:
    """(R,) which orders fit; one that sums cannot be computed for exactly does not. Sizes rise."""
    try:
        return check(state, account, instrument, quantity).allowed
    except NumericalError:
        if len(account) == 1:
            return np.zeros(1, np.bool_)
        half = len(account) // 2
        parts = (slice(0, half), slice(half, None))
        return np.concatenate([_fit_or_too_large(state, account[p], instrument[p], quantity[p]) for p in parts])


def _checked_what_if(state: State, account: str, orders: Sequence[tuple[str, float]]) -> WhatIf:
    policy, ledger = state.policy, state.ledger
    row = np.array([ledger.row_of(account)])
    rows, quantities = sound_orders(policy, orders)
    positions, names = ledger.positions(row), ledger.names(row)
    additions = _with_premiums(policy, np.zeros(len(rows), np.int64), rows, quantities)
    found = policy.amounts_after(positions, additions, names)
    pre, post = ledger.figures(row)[0].tolist(), stacked(found)[0].tolist()
    return _answer(policy, account, pre, post, found.unseen)


def sound_orders(policy: Policy, orders: Sequence[tuple[str, float]]) -> tuple[IntArray, FloatArray]:
    """(M,) instrument and (M,) quantity of orders by name. DataError naming every order that is none."""
    rows, quantities = order_rows(policy.arrays, orders, policy.row_of)
    nothing = np.flatnonzero(quantities == 0)
    if len(nothing):
        raise DataError([Problem("orders", int(n) + 1, "quantity", 0.0, "an order of nothing") for n in nothing])
    return rows, quantities


def _with_premiums(policy: Policy, owner: IntArray, rows: IntArray, quantities: FloatArray) -> Additions:
    """Orders and what is paid for them; `owner` is the account of each order."""
    cost = quantities * policy.arrays.value[rows]
    cash, paid = premiums(policy.arrays, rows, quantities)
    return Additions(
        np.concatenate([owner, owner[cost != 0]]), np.concatenate([rows, cash]), np.concatenate([quantities, paid])
    )


def _answer(policy: Policy, account: str, pre: list[float], post: list[float], unseen: tuple[str, ...] = ()) -> WhatIf:
    # Plain numbers: an array would take as long as the whole question. As `policy.fits`.
    margined = not post[UNMARGINED]
    covered = margined and post[AVAILABLE] >= 0.0
    no_worse = margined and post[AVAILABLE] >= pre[AVAILABLE] and post[EXCESS] >= pre[EXCESS]
    # Figures begin with the columns that are compared, in their order. The initialiser of a frozen dataclass sets field
    # by field through a function, a fifth of the time of a question.
    answer = object.__new__(WhatIf)
    answer.__dict__.update(
        account=account,
        currency=policy.arrays.currency,
        pre=dict(zip(COMPARED, pre, strict=False)),
        post=dict(zip(COMPARED, post, strict=False)),
        pre_status=STATUS_NAMES[int(pre[STATUS])],
        post_status=STATUS_NAMES[int(post[STATUS])],
        pre_worst_scenario=policy.labels[int(pre[WORST])],
        post_worst_scenario=policy.labels[int(post[WORST])],
        fits=covered,
        allowed=covered or no_worse,
        unmargined=not margined,
        positions_excluded=unseen,
    )
    return answer


def _modelled(state: State, account: IntArray, instrument: IntArray, quantity: FloatArray) -> OrderChecks:
    """`check` by the model itself: every order gets an account of its own with what its account holds."""
    positions = state.ledger.positions(account)
    owner = np.arange(len(account))
    additions = _with_premiums(state.policy, owner, instrument, quantity)
    names = np.char.zfill(owner.astype(np.str_), len(str(BLOCK)))
    after = stacked(state.policy.amounts_after(Positions(*positions), additions, names))
    before = state.ledger.figures(account)
    return OrderChecks(after[:, INITIAL], after[:, MAINTENANCE], after[:, AVAILABLE], *fits(before, after))


def _columns(account: ArrayLike, instrument: ArrayLike, quantity: ArrayLike) -> tuple[IntArray, IntArray, FloatArray]:
    given = {"account": np.asarray(account), "instrument": np.asarray(instrument), "quantity": np.asarray(quantity)}
    for name, column in given.items():
        kinds = "iuf" if name == "quantity" else "iu"
        if column.size and column.dtype.kind not in kinds:
            wanted = "numbers" if name == "quantity" else "rows, which are whole numbers"
            raise DataError([Problem("orders", None, name, str(column.dtype), f"must hold {wanted}")])
    shapes = {column.shape for column in given.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        text = ", ".join(str(column.shape) for column in given.values())
        raise DataError([Problem("orders", None, "shapes", text, "need one account, instrument and quantity an order")])
    rows = [np.ascontiguousarray(given[name], dtype=np.int64) for name in ("account", "instrument")]
    return rows[0], rows[1], np.ascontiguousarray(given["quantity"], dtype=np.float64)


def _refuse(state: State, account: IntArray, instrument: IntArray, quantity: FloatArray) -> None:
    """DataError naming every order that is none, by the first thing that is wrong with it."""
    arrays = state.arrays
    known = (instrument >= 0) & (instrument < len(arrays))
    row = np.where(known, instrument, 0)
    step, name = arrays.quantity_step[row], arrays.instrument_id[row]
    finite = np.isfinite(quantity)
    held = np.where(finite, quantity, 0.0)
    unpaid = (arrays.cash_row[row] < 0) & (held * arrays.value[row] != 0)
    sizes = [f"{n} trades in multiples of {s:g}" for n, s in zip(name.tolist(), step.tolist(), strict=True)]
    every = np.array(sizes, dtype=np.str_)
    faults: tuple[tuple[str, NDArray[Any], BoolArray, str | StrArray], ...] = (
        ("account", account, (account < 0) | (account >= len(state.ledger)), "no such account row"),
        ("instrument", instrument, ~known, "no such instrument row"),
        ("quantity", quantity, ~finite, "must be a finite number"),
        ("instrument", name, arrays.is_collateral[row], "an asset that is held, not a contract"),
        ("quantity", quantity, is_off_step(held, step), every),
        ("quantity", quantity, quantity == 0.0, "an order of nothing"),
        ("instrument", name, unpaid, "its settlement currency is not among the instruments"),
    )
    problems: dict[int, Problem] = {}
    for field, values, bad, remedy in faults:
        for order in np.flatnonzero(bad).tolist():
            said = remedy if isinstance(remedy, str) else str(remedy[order])
            problems.setdefault(order, Problem("orders", order, field, values[order].item(), said))
    if problems:
        raise DataError([problems[order] for order in sorted(problems)])
