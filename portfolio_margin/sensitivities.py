"""what_if: the margin of an account after orders that have not been sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.kernel_inputs import is_no_multiple
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import MarginStatement
from portfolio_margin.working_orders import no_such_contract
from pricing.errors import DataError, Problem
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    from portfolio_margin.worst_fill import OpenOrders


# The largest double: a whole number of Python's may be above it.
LARGEST = float(np.finfo(np.float64).max)
# Contracts, far beyond what any tick lets be summed exactly, and far below where money overflows.
LARGEST_ORDER = 1e100
COMPARED = (
    "equity",
    "margin_balance",
    "initial_margin",
    "maintenance_margin",
    "available_funds",
    "excess_liquidity",
    "mm_rate",
    "delta_total",
)


@dataclass(frozen=True)
class WhatIf:
    """An account before and after orders.

    account, currency           of the statement
    pre, post                   by column of the statement
    pre_status, post_status, pre_worst_scenario, post_worst_scenario   their names
    fits     True where the account covers its initial margin afterwards
    allowed  True where it does, or where neither available funds nor excess liquidity fall: who is short of margin may
             still lower it; whether the venue restricts the account to orders that close is another matter
    unmargined  True where the account holds risk afterwards that the model has no rule for; then neither of the two is
    positions_excluded  what the margin afterwards leaves out
    """

    account: str
    currency: str
    pre: dict[str, float]
    post: dict[str, float]
    pre_status: str
    post_status: str
    pre_worst_scenario: str
    post_worst_scenario: str
    fits: bool
    allowed: bool
    unmargined: bool = False
    positions_excluded: tuple[str, ...] = ()

    @cached_property
    def change(self) -> dict[str, float]:
        """What the orders change, by column of the statement."""
        return {name: _difference(self.post[name], self.pre[name]) for name in self.pre}

    def columns(self) -> dict[str, float | str | bool]:
        """pre_*, post_* and change_* by name."""
        named: dict[str, float | str | bool] = {}
        for name in COMPARED:
            named[f"pre_{name}"] = self.pre[name]
            named[f"post_{name}"] = self.post[name]
            named[f"change_{name}"] = self.change[name]
        named |= {"pre_status": self.pre_status, "post_status": self.post_status}
        named |= {"pre_worst_scenario": self.pre_worst_scenario, "post_worst_scenario": self.post_worst_scenario}
        return {**named, "fits": self.fits, "allowed": self.allowed, "unmargined": self.unmargined}


def what_if(
    book: Book,
    arrays: RiskArrays,
    market: Market | None,
    model: MarginModel,
    account: str,
    orders: Sequence[tuple[str, float]],
    *,
    backend: str = "numba",
    open_orders: OpenOrders | None = None,
) -> WhatIf:
    """The margin of one account before and after orders filled at the mark.

    orders  (instrument, quantity) with quantity in contracts, + buy; premiums are paid or received in
            the settlement currency of the contract, so that equity does not change by trading at mark
    open_orders  of the accounts of the book; they stay open, and initial margin counts them before and after
    Raises DataError naming every order with an unknown instrument or a quantity off its step.
    """
    before = book.select(account)
    order_rows(arrays, orders)  # what is no order is refused in the words of the engine
    after = with_orders(before, arrays, orders)
    row = book.row_of(account)
    still = None if open_orders is None else open_orders.between(row, row + 1)
    pre = margin(before, arrays, market, model, backend=backend, orders=still)
    post = margin(after, arrays, market, model, backend=backend, orders=still)
    values = [{name: float(getattr(s, name)[0]) for name in COMPARED} for s in (pre, post)]
    fits = not post.unmargined[0] and values[1]["available_funds"] >= 0
    no_worse = all(values[1][name] >= values[0][name] for name in ("available_funds", "excess_liquidity"))
    return WhatIf(
        account=account,
        currency=pre.currency,
        pre=values[0],
        post=values[1],
        pre_status=_text(pre, "status"),
        post_status=_text(post, "status"),
        pre_worst_scenario=_text(pre, "worst_scenario"),
        post_worst_scenario=_text(post, "worst_scenario"),
        fits=bool(fits),
        allowed=bool(fits or (no_worse and not post.unmargined[0])),
        unmargined=bool(post.unmargined[0]),
        positions_excluded=post.positions_excluded,
    )


def with_orders(book: Book, arrays: RiskArrays, orders: Sequence[tuple[str, float]]) -> Book:
    """The book of one account with orders filled at the mark and their premiums paid."""
    rows, quantities = order_rows(arrays, orders, nothing=True)
    cash_rows, paid = premiums(arrays, rows, quantities)
    instrument = np.concatenate([book.instrument_idx, rows, cash_rows])
    quantity = np.concatenate([book.quantity, quantities, paid])
    held, position = np.unique(instrument, return_inverse=True)
    total = np.zeros(len(held))
    np.add.at(total, position, quantity)
    contract = ~arrays.is_collateral[held]
    # Decimal steps such as 0.1 do not add exactly: a quantity is again the nearest whole multiple.
    step = arrays.quantity_step[held]
    total = np.where(contract, np.rint(total / step) * step, total)
    keep = total != 0
    ungrouped = len(book.group_key) > 0 and book.group_key.min() < -1
    name = str(book.account_id[0])
    return Book.from_arrays(
        np.full(int(keep.sum()), name),
        held[keep],
        total[keep],
        group_of_instrument=None if ungrouped else arrays.expiry_idx,
        accounts=[name],
    )


def order_rows(
    arrays: RiskArrays,
    orders: Sequence[tuple[str, float]],
    row_of: Mapping[str, int] | None = None,
    *,
    nothing: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(M,) instrument row and (M,) quantity of each order. DataError naming every order that is none.

    orders   (instrument, quantity) of each
    row_of   row by name, where the caller has it at hand
    nothing  whether an order of 0 is one
    """
    given: object = orders
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError([Problem("orders", None, "orders", orders, "must be a list of (instrument, quantity)")])
    row_of = arrays.index_of() if row_of is None else row_of
    problems: list[Problem] = []
    rows, quantities = [], []
    for number, order in enumerate(orders, start=1):
        if not isinstance(order, (tuple, list)) or len(order) != 2 or not _is_number(order[1]):
            remedy = "must be (instrument, quantity) with quantity a number, + buy"
            problems.append(Problem("orders", number, "order", order, remedy))
            continue
        name, quantity = order
        row = row_of.get(str(name))
        if row is None:
            remedy = no_such_contract(name, arrays, row_of)
            problems.append(Problem("orders", number, "instrument", name, remedy))
            continue
        if not is_finite(quantity) or abs(quantity) > LARGEST_ORDER:
            remedy = too_large() if is_finite(quantity) else "must be a finite number"
            problems.append(Problem("orders", number, "quantity", quantity, remedy))
            continue
        if quantity == 0 and not nothing:
            problems.append(Problem("orders", number, "quantity", 0.0, "an order of nothing"))
            continue
        if arrays.is_collateral[row]:
            remedy = "an asset that is held, not a contract; its deposit or withdrawal is no order"
            problems.append(Problem("orders", number, "instrument", name, remedy))
            continue
        step = float(arrays.quantity_step[row])
        if is_no_multiple(np.array([quantity]), np.array([step]))[0]:
            problems.append(Problem("orders", number, "quantity", quantity, f"{name} trades in multiples of {step:g}"))
            continue
        rows.append(row)
        quantities.append(float(quantity))
    if problems:
        raise DataError(problems)
    return np.asarray(rows, dtype=np.int64), np.asarray(quantities, dtype=np.float64)


def is_finite(value: object) -> bool:
    """Whether a value is a finite number that a double holds; no truth value is one."""
    if isinstance(value, np.floating):
        return bool(np.isfinite(value))
    return _is_number(value) and bool(abs(value) <= LARGEST)  # type: ignore[arg-type]


def too_large() -> str:
    """What is wrong with a quantity beyond `LARGEST_ORDER`."""
    return f"must be at most {LARGEST_ORDER:g} contracts either way: of more, no sum is exact"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def premiums(arrays: RiskArrays, rows: np.ndarray, quantities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cash rows and amounts that pay for the orders, in the settlement currency of each."""
    cost = quantities * arrays.value[rows]
    paid = (cost != 0) & ~arrays.is_collateral[rows]
    cash = arrays.cash_row[rows]
    missing = np.flatnonzero(paid & (cash < 0))
    if len(missing):
        remedy = "its settlement currency is not among the instruments, so its premium cannot be booked"
        raise DataError(
            [Problem("orders", int(m) + 1, "instrument", str(arrays.instrument_id[rows[m]]), remedy) for m in missing]
        )
    return cash[paid], -cost[paid] / arrays.value[cash[paid]]


def _text(statement: MarginStatement, column: str) -> str:
    return str(statement.columns()[column][0])


def _difference(after: float, before: float) -> float:
    """after - before without the binary noise of two decimals subtracted."""
    return 0.0 if after == before else round(after - before, 8)
