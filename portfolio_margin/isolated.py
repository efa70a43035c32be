"""Isolated positions: sub-accounts of one contract with collateral of their own, and the transfers that make them.

OWNER/CONTRACT is the isolated position of OWNER in CONTRACT: an account like any other, margined and liquidated alone.
It holds the contract and the currency that it settles in, so what it can lose is what was moved into it.

  open   what the fill pays moves from the owner, and as much of the settlement currency as the sub-account lacks to its
         initial margin after the fill, rounded up to a tick of the currency; the owner must have that much of it, and
         cover its own initial margin without it
  close  the fill is booked in the sub-account; once nothing is held any more, what is left goes back to the owner, and
         what is owed is covered by the insurance fund: the owner loses no more than was moved

Every movement of money is a double entry in whole ticks of the currency (`liquidation.ledger`); what a fill pays is an
entry against the house, since whoever is on the other side is no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.dollars import money_step
from portfolio_margin.events import AccountsOpened, CollateralChanged, Event, Fill, PositionsChanged
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.limit_prices import price_remedies
from portfolio_margin.liquidation.ledger import Entry, Ledger, Reason, Role, open_ledger, post
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel
from portfolio_margin.sensitivities import order_rows
from portfolio_margin.worst_fill import gain_at_limit, is_too_large
from pricing.arrays import BoolArray, IntArray
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays

MARK = "/"
# Of coins; money has its money step.
COIN_TICK = 1e-8
# Of a tick: binary noise of a balance.
NOISE = 1e-3
# Ticks of collateral that are tried first, how many times as many next, and amounts that are tried at once.
FIRST_TRIAL, FURTHER, AT_ONCE = 2**20, 4, 64
# Of the notional: where what a refused order takes is looked for.
MOST_NOTIONALS = 4.0
MARKET = Role.FEE_INCOME
FUND = Role.INSURANCE_FUND


@dataclass(frozen=True)
class Moved:
    """A book after an isolated position was opened, added to, reduced or closed.

    book        with the sub-account, which stays there, with nothing in it, once it is closed
    owner, sub_account, instrument, asset   names; asset is the settlement currency
    quantity    contracts of the fill, + bought
    paid        units of the asset that the fill paid, below 0 where it received
    moved       units of the asset that went from the owner into the sub-account, below 0 where they came back
    covered     units of the asset that the insurance fund paid
    ledger      entries in ticks of the asset
    """

    book: Book
    owner: str
    sub_account: str
    instrument: str
    asset: str
    quantity: float
    paid: float
    moved: float
    covered: float
    ledger: Ledger

    def events(self, opened: bool) -> tuple[Event, ...]:
        """The same for an engine: transfers before the fill where they pay for it, behind it where they come back.

        opened  whether the sub-account is new to the engine
        """
        fill = PositionsChanged((Fill(self.sub_account, self.instrument, self.quantity, self.paid),))
        given = (CollateralChanged(self.owner, self.asset, -self.moved),) if self.moved else ()
        taken = self.moved + self.covered
        received = (CollateralChanged(self.sub_account, self.asset, taken),) if taken else ()
        first: tuple[Event, ...] = (AccountsOpened((self.sub_account,)),) if opened else ()
        return (*first, *given, *received, fill) if self.moved > 0.0 else (*first, fill, *received, *given)


class _Setting(NamedTuple):
    """What opening and closing share: rows of contract and settlement currency, name and tick of that, the fill, and
    what it pays in ticks."""

    owner: str
    sub_account: str
    row: int
    cash: int
    asset: str
    tick: float
    quantity: float
    paid: int


def sub_account_of(owner: str, instrument: str) -> str:
    """Name of the isolated position of an account in a contract."""
    return f"{owner}{MARK}{instrument}"


def owner_of(name: str) -> str:
    """The owner of an isolated position; of any other account, the account itself."""
    return name.partition(MARK)[0] or name


def open_isolated(
    book: Book,
    arrays: RiskArrays,
    model: MarginModel,
    owner: str,
    order: tuple[str, float],
    price: float | None = None,
    *,
    backend: str = "numba",
) -> Moved:
    """Fill an order in the isolated position of an account, new or held, and move the collateral that it lacks.

    owner    account that collateral comes from
    order    (instrument, quantity), + buy
    price    of the fill as `gain_at_limit` has it; None: the mark
    backend  as of `margin`

    DataError for an order that is none, one that reduces what is held, and where the owner has not that much of the
    settlement currency, or would not cover its own initial margin without it.
    """
    book.row_of(owner)
    setting = _setting(arrays, owner, order, price)
    held = _quantity(book, setting.sub_account, setting.row)
    if held * setting.quantity < 0.0:
        _refuse(setting, "quantity", setting.quantity, f"it holds {held:g}: an order that reduces it is a close")
    reason = str(model.not_covered(arrays)[setting.row])
    if reason:
        _refuse(setting, "instrument", order[0], f"{model.model_id} has no rule for it: {reason}")
    there = _ticks(book, setting.owner, setting)
    ticks = _lacking_ticks(book, arrays, model, setting, there, backend)
    if ticks is None:
        # No model asks for more than a few times the notional.
        notional = float(arrays.notional[setting.row]) * abs(held + setting.quantity)
        enough = max(there, 0) + int(np.ceil(MOST_NOTIONALS * notional / (arrays.value[setting.cash] * setting.tick)))
        needed = _lacking_ticks(book, arrays, model, setting, enough, backend)
        remedy = f"{owner} has too little {setting.asset} for the initial margin of the position"
        remedy += "" if needed is None else f", which takes {needed * setting.tick:.8g}"
        _refuse(setting, "collateral", there * setting.tick, remedy)
    found = _booked(book, arrays, setting, int(ticks or 0), 0)
    statement = margin(found.book.select(owner), arrays, None, model, backend=backend)
    if ticks and statement.available_funds[0] < 0.0:
        funds = float(statement.available_funds[0])
        _refuse(
            setting, "available_funds", funds, f"{owner} would not cover its initial margin without {found.moved:g}"
        )
    return found


def close_isolated(
    book: Book, arrays: RiskArrays, owner: str, order: tuple[str, float], price: float | None = None
) -> Moved:
    """Fill an order that reduces the isolated position of an account; what is left goes back once nothing is held.

    owner  account that gets back what is left
    order  (instrument, quantity), + buy, at most what is held the other way
    price  of the fill as `gain_at_limit` has it; None: the mark

    DataError for an order that is none or does not reduce the position, and for a sub-account that owes money beside
    another asset, which must be sold first.
    """
    setting = _setting(arrays, owner, order, price)
    held = _quantity(book, setting.sub_account, setting.row)
    if held * setting.quantity >= 0.0 or abs(setting.quantity) > abs(held) * (1.0 + 1e-12):
        remedy = f"it holds {held:g}: an order must reduce that, to 0 at most"
        _refuse(setting, "quantity", setting.quantity, remedy)
    if abs(held + setting.quantity) > 0.5 * arrays.quantity_step[setting.row]:
        return _booked(book, arrays, setting, 0, 0)
    ticks = _ticks(book, setting.sub_account, setting) - setting.paid
    own = book.select(setting.sub_account)
    others = own.instrument_idx[(own.quantity != 0.0) & ~np.isin(own.instrument_idx, [setting.row, setting.cash])]
    if len(others):
        names = ", ".join(str(name) for name in arrays.instrument_id[others])
        _refuse(setting, "positions", names, "an isolated position has collateral in its settlement currency only")
    return _booked(book, arrays, setting, -max(ticks, 0), max(-ticks, 0))


def _setting(arrays: RiskArrays, owner: str, order: tuple[str, float], price: float | None) -> _Setting:
    rows, quantities = order_rows(arrays, [order])
    row, quantity = int(rows[0]), float(quantities[0])
    if is_too_large(arrays, rows, quantities)[0]:
        raise DataError([Problem("orders", 1, "quantity", quantity, "too large for exact sums")])
    cash = int(arrays.cash_row[row])
    name = str(arrays.instrument_id[row])
    if cash < 0:
        remedy = "its settlement currency is not among the instruments, so it cannot have collateral in it"
        raise DataError([Problem("orders", 1, "instrument", name, remedy)])
    gain = 0.0
    if price is not None:
        at = np.array([price], dtype=np.float64)
        remedy = str(price_remedies(arrays, rows, at)[0]) if np.isfinite(price) else "must be a finite number"
        if remedy:
            raise DataError([Problem("orders", 1, "price", price, remedy)])
        gain = float(gain_at_limit(arrays, rows, quantities, at)[0])
    tick = money_step(arrays) if arrays.instrument_id[cash] == arrays.currency else COIN_TICK
    cost = (quantity * float(arrays.value[row]) - gain) / float(arrays.value[cash])
    # Whole ticks, against the account: what is paid is rounded up.
    paid = int(np.ceil(round(cost / tick, 6)))
    if abs(paid) > EXACT_LIMIT:
        remedy = f"what it pays, {cost:g} {arrays.instrument_id[cash]}, is too large for exact sums"
        raise DataError([Problem("orders", 1, "quantity", quantity, remedy)])
    asset = str(arrays.instrument_id[cash])
    return _Setting(owner, sub_account_of(owner, name), row, cash, asset, tick, quantity, paid)


def _booked(book: Book, arrays: RiskArrays, setting: _Setting, ticks: int, cover: int) -> Moved:
    """The book and the ledger after the fill, `ticks` moved from the owner and `cover` paid by the fund."""
    owner, sub = setting.owner, setting.sub_account
    paid = setting.paid
    names = {name: _ticks(book, name, setting) for name in (owner, sub)}
    ledger = open_ledger(names, {}, insurance_fund=max(cover, 0), tick=setting.tick)
    entries = [
        Entry(owner, sub, max(ticks, 0), Reason.ISOLATION),
        Entry(sub, str(MARKET), max(paid, 0), Reason.FILL),
        Entry(str(MARKET), sub, max(-paid, 0), Reason.FILL),
        Entry(str(FUND), sub, cover, Reason.COVER),
        Entry(sub, owner, max(-ticks, 0), Reason.RELEASE),
    ]
    moved, covered = ticks * setting.tick, cover * setting.tick
    changes = [
        (owner, setting.cash, -moved),
        (sub, setting.row, setting.quantity),
        (sub, setting.cash, (ticks + cover - paid) * setting.tick),
    ]
    after = _with(book, arrays, changes)
    if _quantity(after, sub, setting.row) == 0.0:
        # All of it has gone back or been covered: what is left is the binary noise of the sums.
        after = after.keep(~((_accounts(after) == sub) & (after.instrument_idx == setting.cash)))
    return Moved(
        book=after,
        owner=owner,
        sub_account=sub,
        instrument=str(arrays.instrument_id[setting.row]),
        asset=str(arrays.instrument_id[setting.cash]),
        quantity=setting.quantity,
        paid=paid * setting.tick,
        moved=moved,
        covered=covered,
        ledger=post(ledger, entries),
    )


def _lacking_ticks(
    book: Book, arrays: RiskArrays, model: MarginModel, setting: _Setting, most: int, backend: str
) -> int | None:
    """Fewest ticks, up to `most`, with which the sub-account covers its initial margin after the fill; None for none.

    More collateral never lowers available funds, so the ticks that are enough have a first: it is looked for upwards,
    since of all that an owner has no sum may be exact, and then among some numbers at once.
    """
    fill = [(setting.sub_account, setting.row, setting.quantity)]
    own = _with(book, arrays, fill).select(setting.sub_account)
    before = _ticks(book, setting.sub_account, setting) - setting.paid
    other = own.instrument_idx != setting.cash

    def enough(ticks: IntArray) -> BoolArray:
        # One alone bears its own name, and the largest trial is one: an error that it is too large names it.
        marks = np.char.zfill(np.arange(len(ticks)).astype(np.str_), 3) if len(ticks) > 1 else np.array([""])
        names = np.char.add(setting.sub_account, marks)
        rows = np.tile(np.append(own.instrument_idx[other], setting.cash), len(ticks))
        held = np.repeat(own.quantity[other][None, :], len(ticks), axis=0)
        amounts = np.column_stack([held, (before + ticks) * setting.tick]).ravel()
        trial = Book.from_arrays(np.repeat(names, len(rows) // len(ticks)), rows, amounts, arrays.expiry_idx)
        statement = margin(trial, arrays, None, model, backend=backend)
        return np.asarray((statement.available_funds >= 0.0) & ~statement.unmargined & (before + ticks >= 0))

    low, high = -1, min(most, max(FIRST_TRIAL, -2 * before))
    while high < 0 or not enough(np.array([high]))[0]:
        if high == most:
            return None
        low, high = high, min(most, FURTHER * high)
    while high - low > 1:
        between = np.unique(np.linspace(low + 1, high, AT_ONCE).astype(np.int64))
        first = int(np.argmax(enough(between)))
        low, high = (int(between[first - 1]) if first else low), int(between[first])
    return high


def _with(book: Book, arrays: RiskArrays, changes: list[tuple[str, int, float]]) -> Book:
    """The book with quantities added by account and row; accounts that are not there are opened."""
    names = np.append(_accounts(book), [name for name, *_ in changes])
    rows = np.append(book.instrument_idx, [row for _, row, _ in changes]).astype(np.int64)
    amounts = np.append(book.quantity, [amount for *_, amount in changes])
    key = np.char.add(np.char.add(names, "\t"), rows.astype(np.str_))
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    total = np.zeros(len(first))
    np.add.at(total, place, amounts)
    rows, names = rows[first], names[first]
    step = arrays.quantity_step[rows]
    total = np.where(arrays.is_collateral[rows], total, np.rint(total / step) * step)
    kept = total != 0.0
    ungrouped = len(book.group_key) > 0 and book.group_key.min() == UNGROUPED
    group: Any = None if ungrouped else arrays.expiry_idx
    every = np.unique(np.append(book.account_id, names))
    return Book.from_arrays(names[kept], rows[kept], total[kept], group, accounts=every)


def _accounts(book: Book) -> Any:
    return np.repeat(book.account_id, np.diff(book.position_ptr))


def _quantity(book: Book, account: str, row: int) -> float:
    """What an account holds of a row, 0 for one that is not there."""
    if account not in book.account_id:
        return 0.0
    own = book.select(account)
    return float(own.quantity[own.instrument_idx == row].sum())


def _ticks(book: Book, account: str, setting: _Setting) -> int:
    """Whole ticks that an account has of the settlement currency; a part of a tick stays where it is."""
    amount = _quantity(book, account, setting.cash)
    ticks = int(np.floor(amount / setting.tick + NOISE))
    if abs(ticks) > EXACT_LIMIT:
        remedy = f"{account} has more {setting.asset} than whole ticks of {setting.tick:g} can count exactly"
        _refuse(setting, "collateral", amount, remedy)
    return ticks


def _refuse(setting: _Setting, field: str, value: object, remedy: str) -> None:
    raise DataError([Problem("isolated", setting.sub_account, field, value, remedy)])
