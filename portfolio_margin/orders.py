"""Orders that have not been sent: what they would do to an account, which ones fit, how large they may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from portfolio_margin.fills import Additions
from portfolio_margin.inexact_orders import refusal
from portfolio_margin.kernel_inputs import EXACT_LIMIT, is_no_multiple
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
from portfolio_margin.sensitivities import (
    LARGEST_ORDER,
    WhatIf,
    order_rows,
    premiums,
    too_large,
)
from portfolio_margin.state import State
from portfolio_margin.statement import AccountStatus
from portfolio_margin.worst_fill import is_too_large
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import DataError, NumericalError, Problem

# Account rows, instrument rows and quantities of orders.
Columns: TypeAlias = tuple[IntArray, IntArray, FloatArray]

STATUS_NAMES = [status.name for status in AccountStatus]
# Accounts after one order each that are put into one book; a model may need matrices of them.
BLOCK = 4_096
# The types of columns of orders, which numpy has one object of each for.
WHOLE, REAL = np.dtype(np.int64), np.dtype(np.float64)


class OrderChecks(NamedTuple):
    """Accounts after one order each (R,), margin currency: every order by itself, against the state as it is.

    A row says whether, not why: what an order changes, and what the account lacked before, `what_if` of that one order
    tells (`pre`, `post`, `change`), and `largest_order` how much of it would do.

    initial_margin, maintenance_margin, available_funds   afterwards
    fits     True where the account covers its initial margin afterwards
    allowed  True where it does, or where neither available funds nor excess liquidity fall, as in `WhatIf`
    """

    initial_margin: FloatArray
    maintenance_margin: FloatArray
    available_funds: FloatArray
    fits: BoolArray
    allowed: BoolArray


def what_if(state: State, account: str, orders: Sequence[tuple[str, float]]) -> WhatIf:
    """The margin of one account before and after orders filled at the mark, as from `sensitivities.what_if`.

    Raises DataError for an account, instrument or quantity that is none, and for one too large.
    """
    policy, ledger = state.policy, state.ledger
    row = ledger.accounts.row.get(account, -1) if type(account) is str else -1
    plain = (type(orders) is list or type(orders) is tuple) and (
        _is_plain(orders[0]) if len(orders) == 1 else all(_is_plain(order) for order in orders)
    )
    if plain and policy.kernels is not None and policy.tabled and 0 <= row < ledger.count and row not in state.working:
        if len(orders) == 1:
            name, quantity = orders[0]
            place = policy.row_of.get(name, -1)
            code, pre, post = policy.kernels.after_order(state.addresses, row, place, float(quantity))
            if code == OK:
                return _answer(policy, account, pre, post)
        else:
            rows = np.array([policy.row_of.get(order[0], -1) for order in orders], dtype=np.int64)
            quantities = np.array([order[1] for order in orders], dtype=np.float64)
            out = np.empty((2, WIDTH))
            if policy.kernels.after_orders(state.addresses, row, rows, quantities, out) == OK:
                pre, post = out.tolist()
                return _answer(policy, account, pre, post)
    return _checked_what_if(state, account, orders)


def _is_plain(order: object) -> bool:
    """Whether an order is a pair of a text and a number of Python's own, as most are.

    Whether there is such an instrument, and the quantity makes sense, the kernel looks at.
    """
    if type(order) is not tuple or len(order) != 2 or type(order[0]) is not str:
        return False
    quantity = order[1]
    return isinstance(quantity, float) or (type(quantity) is int and abs(quantity) <= EXACT_LIMIT)


def check(state: State, account: ArrayLike, instrument: ArrayLike, quantity: ArrayLike) -> OrderChecks:
    """What every order by itself would do to its account, filled at the mark.

    account     (R,) row of each account in the engine
    instrument  (R,) -> N
    quantity    (R,) contracts, + buy
    Raises DataError naming every order that is none, or too large for exact sums; nothing is computed from a partly
    bad list.
    """
    orders = columns(account, instrument, quantity)
    try:
        return answers(state, orders)
    except NumericalError:
        at = _inexact(state, orders)
        names = state.ledger.names(orders[0][at]).tolist()
        raise refusal(state.arrays, "orders", at + 1, names, orders[1][at], orders[2][at]) from None


def _inexact(state: State, orders: Columns) -> IntArray:
    """Orders that are too large by themselves, or the first that is so in its account."""
    large = np.flatnonzero(is_too_large(state.arrays, orders[1], orders[2]))
    if len(large):
        return large
    low, high = 0, len(orders[0])
    while high - low > 1:
        middle = (low + high) // 2
        try:
            answers(state, (orders[0][low:middle], orders[1][low:middle], orders[2][low:middle]))
            low = middle
        except NumericalError:
            high = middle
    return np.array([low])


def answers(state: State, orders: Columns) -> OrderChecks:
    """What `check` says of orders as columns; NumericalError where sums are not exact."""
    policy = state.policy
    count = len(orders[0])
    if not count:
        nothing, none = np.zeros(0), np.zeros(0, np.bool_)
        return OrderChecks(nothing, nothing, nothing, none, none)
    busy = bool(state.working) and any(row in state.working for row in np.unique(orders[0]).tolist())
    if policy.kernels is not None and policy.tabled and not busy:
        given = (*orders, state.ledger.count)
        beside = policy.threads(count), state.ledger.buffers.kept
        *answers, codes = policy.kernels.check_orders(policy.table, state.buffers, given, *beside)
        if not np.count_nonzero(codes):
            return OrderChecks(*answers)
    _refuse(state, *orders)
    blocks = [slice(low, low + BLOCK) for low in range(0, count, BLOCK)]
    parts = [_modelled(state, orders[0][b], orders[1][b], orders[2][b]) for b in blocks]
    return OrderChecks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _checked_what_if(state: State, account: str, orders: Sequence[tuple[str, float]]) -> WhatIf:
    policy, ledger = state.policy, state.ledger
    row = np.array([ledger.row_of(account)])
    rows, quantities = order_rows(policy.arrays, orders, policy.row_of)
    positions, names = ledger.positions(row), ledger.names(row)
    additions = _with_premiums(policy, np.zeros(len(rows), np.int64), rows, quantities)
    try:
        found = policy.amounts_after(positions, additions, names, state.open_orders(row))
    except NumericalError:
        number = np.arange(1, len(rows) + 1)
        raise refusal(policy.arrays, "orders", number, [account] * len(rows), rows, quantities) from None
    pre, post = ledger.figures(row)[0].tolist(), stacked(found)[0].tolist()
    return _answer(policy, account, pre, post, found.unseen)


def _with_premiums(policy: Policy, owner: IntArray, rows: IntArray, quantities: FloatArray) -> Additions:
    """Orders and what is paid for them; `owner` is the account of each order."""
    cost = quantities * policy.arrays.value[rows]
    cash, paid = premiums(policy.arrays, rows, quantities)
    return Additions(
        np.concatenate([owner, owner[cost != 0]]), np.concatenate([rows, cash]), np.concatenate([quantities, paid])
    )


def _answer(
    policy: Policy, account: str, pre: Sequence[float], post: Sequence[float], unseen: tuple[str, ...] = ()
) -> WhatIf:
    # Plain numbers: an array would take as long as the whole question. As `policy.fits`.
    margined = not post[UNMARGINED]
    covered = margined and post[AVAILABLE] >= 0.0
    no_worse = margined and post[AVAILABLE] >= pre[AVAILABLE] and post[EXCESS] >= pre[EXCESS]
    # The initialiser of a frozen dataclass sets field by field through a function, a fifth of the time of a question;
    # all at once, they would be put into a dictionary of their own before.
    answer = object.__new__(WhatIf)
    field = answer.__dict__
    field["account"] = account
    field["currency"] = policy.arrays.currency
    field["pre"] = _compared(pre)
    field["post"] = _compared(post)
    field["pre_status"] = STATUS_NAMES[int(pre[STATUS])]
    field["post_status"] = STATUS_NAMES[int(post[STATUS])]
    field["pre_worst_scenario"] = policy.labels[int(pre[WORST])]
    field["post_worst_scenario"] = policy.labels[int(post[WORST])]
    field["fits"] = covered
    field["allowed"] = covered or no_worse
    field["unmargined"] = not margined
    field["positions_excluded"] = unseen
    return answer


def _compared(figures: Sequence[float]) -> dict[str, float]:
    """Figures by `COMPARED`, which they begin with; written out, it takes a third of the time of a loop."""
    return {
        "equity": figures[0],
        "margin_balance": figures[1],
        "initial_margin": figures[2],
        "maintenance_margin": figures[3],
        "available_funds": figures[4],
        "excess_liquidity": figures[5],
        "mm_rate": figures[6],
        "delta_total": figures[7],
    }


def _modelled(state: State, account: IntArray, instrument: IntArray, quantity: FloatArray) -> OrderChecks:
    """`check` by the model itself: every order gets an account of its own with what its account holds."""
    positions = state.ledger.positions(account)
    owner = np.arange(len(account))
    additions = _with_premiums(state.policy, owner, instrument, quantity)
    names = np.char.zfill(owner.astype(np.str_), len(str(BLOCK)))
    after = stacked(state.policy.amounts_after(Positions(*positions), additions, names, state.open_orders(account)))
    before = state.ledger.figures(account)
    return OrderChecks(after[:, INITIAL], after[:, MAINTENANCE], after[:, AVAILABLE], *fits(before, after))


def columns(account: ArrayLike, instrument: ArrayLike, quantity: ArrayLike) -> tuple[IntArray, IntArray, FloatArray]:
    """Orders as the kernels take them: (M,) rows of accounts and instruments, and quantities. DataError for others."""
    if _are_columns(account, instrument, quantity):
        return account, instrument, quantity  # type: ignore[return-value]
    given: dict[str, NDArray[Any]] = {}
    for name, values in (("account", account), ("instrument", instrument), ("quantity", quantity)):
        try:
            given[name] = np.asarray(values)
        except ValueError:  # rows of unequal lengths
            raise DataError([Problem("orders", None, name, values, "must be one row of numbers")]) from None
    for name, column in given.items():
        kinds = "iuf" if name == "quantity" else "iu"
        if column.size and column.dtype.kind not in kinds:
            wanted = "numbers" if name == "quantity" else f"rows, which are whole numbers; {name}_rows(names) has them"
            raise DataError([Problem("orders", None, name, _first_of(column), f"must hold {wanted}")])
    shapes = {column.shape for column in given.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        text = ", ".join(str(column.shape) for column in given.values())
        raise DataError([Problem("orders", None, "shapes", text, "need one account, instrument and quantity an order")])
    rows = [np.ascontiguousarray(given[name], dtype=np.int64) for name in ("account", "instrument")]
    return rows[0], rows[1], np.ascontiguousarray(given["quantity"], dtype=np.float64)


def _first_of(column: NDArray[Any]) -> Any:
    """What a message shows of a column: its first value."""
    return column.ravel()[0].item() if column.dtype.kind != "O" else column.ravel()[0]


def _are_columns(account: ArrayLike, instrument: ArrayLike, quantity: ArrayLike) -> bool:
    """Whether these are columns as the kernels take them; that costs a third of looking at whatever else they are."""
    return (
        type(account) is type(instrument) is type(quantity) is np.ndarray
        and account.dtype is instrument.dtype is WHOLE
        and quantity.dtype is REAL
        and account.ndim == 1
        and account.shape == instrument.shape == quantity.shape
        and account.flags.c_contiguous
        and instrument.flags.c_contiguous
        and quantity.flags.c_contiguous
    )


def _refuse(state: State, account: IntArray, instrument: IntArray, quantity: FloatArray) -> None:
    """DataError naming every order that is none, the first as row 1, by the first thing that is wrong with it."""
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
        ("quantity", quantity, np.abs(held) > LARGEST_ORDER, too_large()),
        ("instrument", name, arrays.is_collateral[row], "an asset that is held, not a contract"),
        ("quantity", quantity, is_no_multiple(held, step), every),
        ("quantity", quantity, quantity == 0.0, "an order of nothing"),
        ("instrument", name, unpaid, "its settlement currency is not among the instruments"),
    )
    problems: dict[int, Problem] = {}
    for field, values, bad, remedy in faults:
        for order in np.flatnonzero(bad).tolist():
            said = remedy if isinstance(remedy, str) else str(remedy[order])
            problems.setdefault(order, Problem("orders", order + 1, field, values[order].item(), said))
    if problems:
        raise DataError([problems[order] for order in sorted(problems)])
