"""Ledger: double entries in whole ticks of the margin currency. What one account loses another gains, to the tick.

An account's balance is what it is worth: cash and positions at the mark. A position that changes hands at the mark is
therefore no entry; the difference to the mark, penalties and losses are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray, StrArray, freeze_fields
from pricing.errors import DataError, NumericalError, Problem

# Sums of balances of this size stay within 64 bits for any number of accounts the engine takes.
LARGEST_TICKS = 2**53


class Role(StrEnum):
    """What an account of the ledger is; the last three there are once each."""

    TRADER = "trader"
    LIQUIDATOR = "liquidator"
    INSURANCE_FUND = "insurance_fund"
    FEE_INCOME = "fee_income"
    SOCIALISED_LOSS = "socialised_loss"


class Reason(StrEnum):
    """Why value moved."""

    CLOSING = "closing"
    TAKE_OVER = "take_over"
    PENALTY = "penalty"
    INSURANCE = "insurance"
    DELEVERAGING = "deleveraging"
    SOCIALISED = "socialised"
    COVER = "cover"
    ISOLATION = "isolation"
    RELEASE = "release"
    FILL = "fill"


HOUSE = (Role.INSURANCE_FUND, Role.FEE_INCOME, Role.SOCIALISED_LOSS)


class Entry(NamedTuple):
    """Ticks that move from one account to another."""

    source: str
    target: str
    ticks: int
    reason: Reason


@dataclass(frozen=True)
class Ledger:
    """Balances and the entries that led to them; built by `open_ledger`, changed by `post`, which gives another one.

    account  (B,) names; traders and liquidators by their own, the house by the name of its role
    role     (B,) texts of Role
    opening  (B,) ticks before the first entry
    balance  (B,) ticks now
    entries  in order
    tick     margin currency a tick
    row_of   name -> row, the same for every ledger that `post` makes of one
    """

    account: StrArray
    role: StrArray
    opening: IntArray
    balance: IntArray
    entries: tuple[Entry, ...]
    tick: float
    row_of: Mapping[str, int] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        freeze_fields(self, {"account": np.str_, "role": np.str_, "opening": np.int64, "balance": np.int64})

    def __len__(self) -> int:
        return len(self.account)

    def balance_of(self, account: str) -> int:
        """Ticks of one account. DataError where there is none of that name."""
        return int(self.balance[self.rows([account])[0]])

    def rows(self, accounts: Sequence[str]) -> IntArray:
        """Rows of accounts by name. DataError naming every one that is not there."""
        unknown = [name for name in accounts if name not in self.row_of]
        if unknown:
            raise DataError([Problem("ledger", None, "account", name, "no such account") for name in unknown])
        return np.array([self.row_of[name] for name in accounts], dtype=np.int64)

    @property
    def total(self) -> int:
        """Sum of all balances: the same before and after any entry."""
        return int(self.balance.sum())

    def columns(self) -> dict[str, Any]:
        """The entries as named columns, amounts in margin currency."""
        parts = list(zip(*self.entries, strict=True)) or [(), (), (), ()]
        ticks = np.array(parts[2], dtype=np.int64)
        names = {name: np.array(parts[i], dtype=np.str_) for i, name in ((0, "source"), (1, "target"), (3, "reason"))}
        return {**names, "ticks": ticks, "amount": ticks * self.tick}


def open_ledger(
    traders: Mapping[str, int],
    liquidators: Mapping[str, int] | None = None,
    *,
    insurance_fund: int = 0,
    tick: float = 0.01,
) -> Ledger:
    """A ledger without entries.

    traders         name -> ticks, below 0 for who is bankrupt
    liquidators     name -> ticks
    insurance_fund  ticks, 0 or more
    tick            margin currency a tick, above 0

    Raises DataError naming every account with a name of the house, in both tables, or beyond what is exact.
    """
    backers = liquidators or {}
    checks = (("insurance_fund", insurance_fund, insurance_fund >= 0), ("tick", tick, tick > 0))
    wrong = [
        Problem("ledger", None, name, value, "must be above 0 or, a fund, 0")
        for name, value, good in checks
        if not good
    ]
    if wrong:
        raise DataError(wrong)
    problems = []
    for name, value in [*traders.items(), *backers.items()]:
        if name in HOUSE or (name in traders and name in backers):
            problems.append(Problem("ledger", name, "account", name, "must be one account, and none of the house"))
        if not isinstance(value, (int, np.integer)) or abs(value) > LARGEST_TICKS:
            problems.append(Problem("ledger", name, "balance", value, "must be whole ticks, at most 2^53"))
    if problems:
        raise DataError(problems)
    names = [*traders, *backers, *HOUSE]
    roles = [Role.TRADER] * len(traders) + [Role.LIQUIDATOR] * len(backers) + list(HOUSE)
    values = [*traders.values(), *backers.values(), insurance_fund, 0, 0]
    opening = np.array(values, dtype=np.int64)
    return Ledger(np.array(names), np.array(roles), opening, opening, (), tick, {n: i for i, n in enumerate(names)})


def post(ledger: Ledger, entries: Sequence[Entry]) -> Ledger:
    """The ledger after the entries. Entries of nothing are left out.

    DataError for an account that is not there, an entry to itself or an amount below 0; NumericalError beyond 2^53.
    Whoever may not go below 0 is the business of the caller: a bankrupt account does.
    """
    problems = []
    for number, entry in enumerate(entries, start=1):
        for name in ("source", "target"):
            if getattr(entry, name) not in ledger.row_of:
                problems.append(Problem("entries", number, name, getattr(entry, name), "no such account"))
        if entry.ticks < 0 or entry.source == entry.target:
            remedy = "must be 0 or more, from one account to another"
            problems.append(Problem("entries", number, "ticks", entry.ticks, remedy))
    if problems:
        raise DataError(problems)
    kept = [entry for entry in entries if entry.ticks]
    balance = ledger.balance.copy()
    ticks = np.array([entry.ticks for entry in kept], dtype=np.int64)
    np.subtract.at(balance, ledger.rows([entry.source for entry in kept]), ticks)
    np.add.at(balance, ledger.rows([entry.target for entry in kept]), ticks)
    if np.any(np.abs(balance) > LARGEST_TICKS):
        raise NumericalError("a balance is beyond 2^53 ticks: a larger tick is needed")
    return replace(ledger, balance=balance, entries=(*ledger.entries, *kept))


def to_ticks(amount: ArrayLike, tick: float, *, up: bool) -> IntArray:
    """Amounts in whole ticks.

    amount  (...) margin currency
    tick    margin currency a tick
    up      rounded up: what is charged; else down: what is paid out

    Binary noise of a millionth of a tick is not money.
    """
    steps = np.round(np.asarray(amount, dtype=np.float64) / tick, 6)
    if not np.all(np.isfinite(steps)) or np.any(np.abs(steps) > LARGEST_TICKS):
        raise NumericalError("an amount is beyond 2^53 ticks, or no number")
    return np.asarray(np.ceil(steps) if up else np.floor(steps)).astype(np.int64)


def amounts(ledger: Ledger) -> FloatArray:
    """(B,) balances in margin currency."""
    return np.asarray(ledger.balance * ledger.tick)
