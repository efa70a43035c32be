"""Margin groups: parts of an account that do not net with each other and share its collateral.

ACCOUNT:GROUP is a group of ACCOUNT. The model margins every group as an account of its own, and nothing nets between;
then the groups of an account are added up, balances and requirements, and its status is that of the sums:

  available funds of the account = sum over groups of margin balance - sum over groups of initial margin

What stands in ACCOUNT without a group is one more group. ACCOUNT/NAME is none: it is an isolated position with its own
collateral (`isolated`), and stays a row of its own. Collateral hedges in the group that it stands in and in no other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from portfolio_margin.collateral import DELTA_DIGITS
from portfolio_margin.order_margin import OrderMargins
from portfolio_margin.statement import MarginStatement, account_status, health, nearest_step, ratio
from pricing.arrays import FloatArray, IntArray

GROUP_MARK = ":"
SUMMED = (
    "equity",
    "collateral_value_before_haircut",
    "haircut",
    "uncounted_option_value",
    "margin_balance",
    "initial_margin",
    "maintenance_margin",
    "available_funds",
    "excess_liquidity",
)


def account_of(name: str) -> str:
    """The account that a group belongs to; of any other name, the name itself."""
    return name.partition(GROUP_MARK)[0] or name


def pooled(statement: MarginStatement) -> MarginStatement:
    """The statement with the groups of every account added up: one row an account, in order of name.

    Sums are of rounded amounts, so they are whole money steps. `worst_scenario` is that of the group that asks for the
    most initial margin; margin for open orders is the sum over groups, a bound where it is of one group.
    """
    names = [account_of(str(name)) for name in statement.account]
    accounts, owner = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    count, step = len(accounts), statement.money_step

    def added(amounts: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(owner, amounts, minlength=count), dtype=np.float64)

    sums: dict[str, Any] = {name: nearest_step(added(getattr(statement, name)), step) for name in SUMMED}
    charges = {
        name: np.column_stack([added(parts[:, side]) for side in (0, 1)]) for name, parts in statement.charges.items()
    }
    order = np.lexsort((-statement.initial_margin, owner))
    largest = order[np.searchsorted(owner[order], np.arange(count))]
    balance, maintenance = sums["margin_balance"], sums["maintenance_margin"]
    status = account_status(sums["equity"], balance, sums["initial_margin"], maintenance, step)
    alone = np.bincount(owner, minlength=count)[owner] == 1
    status[owner[alone]] = statement.status[alone]
    head = len(statement.positions_excluded) - int(statement.excluded.sum())
    lines = [line for row in np.argsort(owner, kind="stable").tolist() for line in statement.excluded_of([row])[head:]]
    return replace(
        statement,
        account=accounts,
        **sums,
        mm_rate=ratio(maintenance, balance),
        health=health(balance, maintenance),
        status=status,
        worst_scenario=statement.worst_scenario[largest],
        charges=charges,
        delta_total=np.round(added(statement.delta_total), DELTA_DIGITS) + 0.0,
        excluded=np.bincount(owner, statement.excluded, minlength=count).astype(np.int64),
        unmargined=np.bincount(owner[statement.unmargined], minlength=count) > 0,
        positions_excluded=(*statement.positions_excluded[:head], *lines),
        orders=None if statement.orders is None else _orders(statement.orders, owner, count),
    )


def _orders(found: OrderMargins, owner: IntArray, count: int) -> OrderMargins:
    method = np.zeros(count, dtype=np.int64)
    np.maximum.at(method, owner, found.method)
    return found._replace(
        orders=replace(found.orders, account_idx=owner[found.orders.account_idx]),
        added=np.asarray(np.bincount(owner, found.added, minlength=count), dtype=np.float64),
        method=method,
        unmargined=np.bincount(owner[found.unmargined], minlength=count) > 0,
    )
