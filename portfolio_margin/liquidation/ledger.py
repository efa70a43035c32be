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

# Balances up to this are exact as doubles too, so that amounts in margin currency are those of the ticks.
LARGEST_TICKS = 2**53
HALF_WORD = 2**32


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
        # In two halves: 1,024 balances of 2^53 are beyond 64 bits.
        upper, lower = np.divmod(self.balance, HALF_WORD)
        return int(upper.sum()) * HALF_WORD + int(lower.sum())

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
    insurance_fund  ticks, 0 to 2^53
    tick            margin currency a tick, finite and above 0

    Raises DataError naming every account with a name of the house, in both tables, not in whole ticks, or beyond what
    is exact; likewise for the fund and the tick.
    """
    backers = liquidators or {}
    problems = []
    if not _is_exact(insurance_fund) or insurance_fund < 0:
        remedy = "must be whole ticks, from 0 to 2^53"
        problems.append(Problem("ledger", None, "insurance_fund", insurance_fund, remedy))
    if not 0 < tick < np.inf:
        problems.append(Problem("ledger", None, "tick", tick, "must be finite and above 0"))
    for name, value in [*traders.items(), *backers.items()]:
        if name in HOUSE or (name in traders and name in backers):
            problems.append(Problem("ledger", name, "account", name, "must be one account, and none of the house"))
        if not _is_exact(value):
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

    DataError for an account that is not there, an entry to itself, an amount below 0 or not of whole ticks;
    NumericalError for an amount or a balance beyond 2^53. Whoever may not go below 0 is the business of the caller: a
    bankrupt account does.
    """
    problems = []
    for number, entry in enumerate(entries, start=1):
        for name in ("source", "target"):
            if getattr(entry, name) not in ledger.row_of:
                problems.append(Problem("entries", number, name, getattr(entry, name), "no such account"))
        if not isinstance(entry.ticks, (int, np.integer)) or entry.ticks < 0 or entry.source == entry.target:
            remedy = "must be whole and 0 or more, from one account to another"
            problems.append(Problem("entries", number, "ticks", entry.ticks, remedy))
    if problems:
        raise DataError(problems)
    kept = [entry for entry in entries if entry.ticks]
    # Python's integers: sums of 64 bits would wrap before they could be compared with the bound.
    changed: dict[int, int] = {}
    for entry in kept:
        for name, change in ((entry.source, -int(entry.ticks)), (entry.target, int(entry.ticks))):
            row = ledger.row_of[name]
            changed[row] = changed.get(row, int(ledger.balance[row])) + change
    if not all(_is_exact(value) for value in (*changed.values(), *(entry.ticks for entry in kept))):
        raise NumericalError("an entry or a balance is beyond 2^53 ticks: a larger tick is needed")
    balance = ledger.balance.copy()
    balance[list(changed)] = list(changed.values())
    return replace(ledger, balance=balance, entries=(*ledger.entries, *kept))


def _is_exact(ticks: object) -> bool:
    """Whether these are whole ticks, at most 2^53 either way."""
    return isinstance(ticks, (int, np.integer)) and -LARGEST_TICKS <= int(ticks) <= LARGEST_TICKS


def check_roles(ledger: Ledger, accounts: Sequence[str], *roles: Role) -> None:
    """DataError naming every account that has none of the roles, or is not there."""
    held = ledger.role[ledger.rows(accounts)].tolist()
    wanted = " or ".join(roles)
    problems = [
        Problem("ledger", None, "account", name, f"must be {wanted} here, and is {role}")
        for name, role in zip(accounts, held, strict=True)
        if role not in roles
    ]
    if problems:
        raise DataError(problems)


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
