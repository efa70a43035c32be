"""Orders that an engine knows to be open: by account, at their limits, priced against the arrays of the moment."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from portfolio_margin.kernel_inputs import is_no_multiple
from portfolio_margin.limit_prices import price_remedies
from portfolio_margin.nearest import did_you_mean
from pricing.arrays import BoolArray, IntArray
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    from portfolio_margin.worst_fill import OpenOrders


class WorkingOrder(NamedTuple):
    """An order that may fill, wholly or not at all.

    instrument  name
    quantity    contracts, + buy
    price       its limit as `gain_at_limit` has it; None: it fills at the mark
    """

    instrument: str
    quantity: float
    price: float | None = None


# Row of an account -> its open orders; accounts without any are not there.
Working: TypeAlias = Mapping[int, tuple[WorkingOrder, ...]]


def orders_of(working: Working, rows: IntArray, arrays: RiskArrays, row_of: Mapping[str, int]) -> OpenOrders | None:
    """The open orders of accounts in these rows, which may repeat, counted by their place among them; None for none.

    row_of  row of each instrument by name
    """
    from portfolio_margin.worst_fill import OpenOrders, gain_at_limit

    owned = [(place, order) for place, row in enumerate(rows.tolist()) for order in working.get(row, ())]
    if not owned:
        return None
    instrument = np.array([row_of[order.instrument] for _, order in owned], dtype=np.int64)
    quantity = np.array([order.quantity for _, order in owned])
    at_mark = np.array([order.price is None for _, order in owned])
    price = np.array([1.0 if order.price is None else order.price for _, order in owned])
    gain = np.where(at_mark, 0.0, gain_at_limit(arrays, instrument, quantity, price))
    return OpenOrders(np.array([place for place, _ in owned], dtype=np.int64), instrument, quantity, gain)


def ordering(working: Working, moved: BoolArray, row_of: Mapping[str, int]) -> IntArray:
    """Rows, in order, of the accounts with an open order of a contract where `moved` (N,) is true."""
    rows = [row for row, orders in working.items() if any(moved[row_of[order.instrument]] for order in orders)]
    return np.array(sorted(rows), dtype=np.int64)


def check_working(orders: Sequence[WorkingOrder], arrays: RiskArrays, row_of: Mapping[str, int]) -> None:
    """DataError naming every order that is none."""
    problems = []
    for number, order in enumerate(orders, start=1):
        field, value, remedy = _fault(order, arrays, row_of)
        if remedy:
            problems.append(Problem("orders", number, field, value, remedy))
    if problems:
        raise DataError(problems)


def no_such_contract(name: object, arrays: RiskArrays, row_of: Mapping[str, int]) -> str:
    """What is wrong with an order of a name that is none: contracts are near to it, assets are not ordered."""
    contracts = (known for known, row in row_of.items() if not arrays.is_collateral[row])
    return "no such instrument" + did_you_mean(str(name), contracts)


def _fault(order: object, arrays: RiskArrays, row_of: Mapping[str, int]) -> tuple[str, object, str]:
    """Field, value and what is wrong with it; "" where nothing is."""
    if not isinstance(order, WorkingOrder):
        return "order", order, "must be a WorkingOrder(instrument, quantity, price)"
    name, quantity, price = order
    row = row_of.get(name, -1) if isinstance(name, str) else -1
    if row < 0:
        return "instrument", name, no_such_contract(name, arrays, row_of)
    if arrays.is_collateral[row]:
        return "instrument", name, "an asset that is held, not a contract"
    if not _is_number(quantity) or quantity == 0.0:
        return "quantity", quantity, "must be a finite number of contracts, + buy, - sell, not 0"
    step = float(arrays.quantity_step[row])
    if is_no_multiple(np.array([quantity]), np.array([step]))[0]:
        return "quantity", quantity, f"{name} trades in multiples of {step:g}"
    if price is not None and not _is_number(price):
        return "price", price, "must be a finite number, or None: the mark"
    if price is not None:
        remedy = str(price_remedies(arrays, np.array([row]), np.array([price], dtype=np.float64))[0])
        if remedy:
            return "price", price, remedy
    return "", None, ""


def _is_number(value: object) -> bool:
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and bool(abs(value) <= sys.float_info.max)  # type: ignore[operator]
    )
