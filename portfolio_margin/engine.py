"""MarginEngine: margins of many accounts kept up to date by events, and answers to orders that have not been sent.

A margin group, ACCOUNT:GROUP, is an account of its own to an engine: events, checks and figures name it so, and nothing
of one group counts for another. `margin_groups.pooled` adds groups up in statements.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.dollars import DOLLARS
from portfolio_margin.events import (
    AccountsOpened,
    ArraysPublished,
    CollateralChanged,
    DeficitRecorded,
    Effect,
    Event,
    Fill,
    InstrumentsChanged,
    LiquidationEnded,
    LiquidationStarted,
    MarketUpdated,
    OrdersChanged,
    OrdersRestricted,
    PolicyChanged,
    PositionsChanged,
    StatementChanged,
    names_of,
)
from portfolio_margin.fills import Additions, merged
from portfolio_margin.inexact_orders import TOO_LARGE, fill_refusal
from portfolio_margin.largest_order import LargestOrder, largest_order
from portfolio_margin.ledger import book_of
from portfolio_margin.nearest import did_you_mean
from portfolio_margin.order_codes import EQUITY, OK, STATUS, WIDTH
from portfolio_margin.order_table import CONTRACT
from portfolio_margin.orders import OrderChecks, check, what_if
from portfolio_margin.policy import Policy
from portfolio_margin.published import check_same_contracts
from portfolio_margin.requirement import MarginModel
from portfolio_margin.sensitivities import WhatIf, is_finite, order_rows, premiums
from portfolio_margin.state import Listing, State, start, start_from_arrays, started
from portfolio_margin.statement import AccountStatus
from portfolio_margin.working_orders import check_working, ordering
from pricing.arrays import FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, NumericalError, Problem
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.revalue import revalue
from scenarios.risk_arrays import DEFAULT_TICK, RiskArrays
from scenarios.shocks import ScenarioSet, same_scenarios
from scenarios.update import moved_contracts, update

Effects = tuple[Effect, ...]
LARGEST_WHOLE = 2**53


def apply(state: State, event: Event) -> tuple[State, Effects]:
    """The state after an event, and what it brings about. The state given stays as it is, also where this raises.

    States of one history share memory that new ones are written into beside the old: they may be read in any number of
    threads, while events are applied by one thread at a time.

    DataError for an event that names what is not there, ConfigError for a model that cannot use the arrays,
    NumericalError where a margin cannot be computed exactly.
    """
    handler = HANDLERS.get(type(event))
    if handler is None:
        raise ConfigError(f"event = {event!r}: must be one of {', '.join(kind.__name__ for kind in HANDLERS)}")
    after, effects = handler(state, event)
    return replace(after, sequence=state.sequence + 1), effects


def _fill(state: State, event: PositionsChanged) -> tuple[State, Effects]:
    quick = _filled_at_once(state, event.fills)
    if quick is not None:
        return quick
    policy, arrays = state.policy, state.arrays
    rows, owner = _accounts(state, [fill.account for fill in event.fills])
    instrument, quantity = order_rows(arrays, [(fill.instrument, fill.quantity) for fill in event.fills], policy.row_of)
    at_mark = quantity * arrays.value[instrument]
    cash, premium = premiums(arrays, instrument, quantity)
    paid = np.zeros(len(quantity))
    paid[at_mark != 0] = premium
    given = [(number, fill.paid) for number, fill in enumerate(event.fills) if fill.paid is not None]
    for number, amount in given:
        paid[number] = -_finite("fills", number + 1, "paid", amount)
    moves = paid != 0
    cash = arrays.cash_row[instrument]
    lost = np.flatnonzero(moves & (cash < 0))
    if len(lost):
        remedy = "its settlement currency is not among the instruments, so what is paid cannot be booked"
        names = arrays.instrument_id[instrument]
        raise DataError([Problem("fills", int(n) + 1, "instrument", str(names[n]), remedy) for n in lost])
    additions = Additions(
        np.concatenate([owner, owner[moves]]),
        np.concatenate([instrument, cash[moves]]),
        np.concatenate([quantity, paid[moves]]),
    )
    try:
        return _added(state, rows, additions)
    except NumericalError:
        accounts, given_paid = [fill.account for fill in event.fills], [fill.paid for fill in event.fills]
        raise fill_refusal(arrays, accounts, given_paid, (instrument, quantity), (cash, paid)) from None


def _filled_at_once(state: State, fills: Sequence[Fill], transfers: bool = False) -> tuple[State, Effects] | None:
    """The state after fills of one account by the compiled kernel; None where it is not for this or something is wrong,
    which the other way finds and names.

    transfers  True where what moves are assets that nothing is paid for
    """
    policy, ledger = state.policy, state.ledger
    account = fills[0].account if fills else ""
    one = isinstance(account, str) and all(fill.account == account for fill in fills)
    row = ledger.accounts.row.get(account, -1) if one else -1
    plain = all(
        isinstance(fill.instrument, str) and _is_plain(fill.quantity) and (fill.paid is None or _is_plain(fill.paid))
        for fill in fills
    )
    if policy.kernels is None or not plain or not 0 <= row < ledger.count or row in state.working:
        return None
    instrument = np.array([policy.row_of.get(fill.instrument, -1) for fill in fills], dtype=np.int64)
    quantity = np.array([fill.quantity for fill in fills], dtype=np.float64)
    paid = np.array([np.nan if fill.paid is None else fill.paid for fill in fills], dtype=np.float64)
    given = instrument, quantity, paid
    room = ledger.positions_of(row) + 2 * len(fills)
    into = np.empty(room, np.int32), np.empty(room)
    out = np.empty((2, WIDTH))
    code, count = policy.kernels.after_fills(policy.table, state.buffers, row, given, transfers, into, out)
    if code != OK:
        return None
    underlying = state.arrays.underlying_idx
    for number in instrument.tolist():
        cash = int(state.arrays.cash_row[number])
        state.holders.put(int(underlying[number]), row)
        state.holders.put(int(underlying[cash]), row)
    after = ledger.with_account(row, into[0][:count], into[1][:count], out[1])
    moved = State(policy, after, state.holders, state.listing, state.sequence, state.working)
    rows = np.array([row])
    if not policy.tabled:
        return _recomputed(state, moved, rows)
    return moved, _effects(state, rows, out[:1], out[1:])


def _transfer(state: State, event: CollateralChanged) -> tuple[State, Effects]:
    arrays = state.arrays
    rows, owner = _accounts(state, [event.account])
    row = state.policy.row_of.get(event.asset, -1) if isinstance(event.asset, str) else -1
    if row < 0 or state.policy.table[1][row, CONTRACT] != 0.0:
        assets = arrays.instrument_id[arrays.is_collateral]
        remedy = "not an asset here; assets are " + ", ".join(str(name) for name in assets[:12])
        raise DataError([Problem("collateral", None, "asset", event.asset, remedy)])
    amount = _finite("collateral", None, "amount", event.amount)
    if amount == 0:
        raise DataError([Problem("collateral", None, "amount", event.amount, "a transfer of nothing")])
    quick = _filled_at_once(state, (Fill(event.account, event.asset, amount),), True)
    if quick is not None:
        return quick
    try:
        return _added(state, rows, Additions(owner, np.array([row]), np.array([amount])))
    except NumericalError:
        remedy = f"of {event.asset}: with it account {event.account} would be {TOO_LARGE}"
        raise DataError([Problem("collateral", None, "amount", event.amount, remedy)]) from None


def _work(state: State, event: OrdersChanged) -> tuple[State, Effects]:
    rows, _ = _accounts(state, [event.account])
    check_working(event.orders, state.arrays, state.policy.row_of)
    working = {row: orders for row, orders in state.working.items() if row != int(rows[0])}
    if event.orders:
        working[int(rows[0])] = event.orders
    return _recomputed(state, replace(state, working=MappingProxyType(working)), rows)


def _open(state: State, event: AccountsOpened) -> tuple[State, Effects]:
    after = replace(state, ledger=state.ledger.opened(event.accounts))
    return _recomputed(after, after, np.arange(state.ledger.count, after.ledger.count))[0], ()


def _move(state: State, event: MarketUpdated) -> tuple[State, Effects]:
    listing = _listing(state, event)
    _check_not_older(state, event.market.valuation_time, event.backwards)
    instruments, model, arrays = listing.instruments, state.policy.model, state.arrays
    moved = moved_contracts(instruments, listing.market, event.market)
    everybody = not state.policy.tabled and _dollar_moved(arrays, listing.market, event.market)
    listing = replace(listing, market=event.market)
    wanted = listing.scenarios(model)
    if same_scenarios(wanted, arrays.scenario_set):
        arrays = update(arrays, instruments, event.market, moved, backend=state.policy.backend)
    else:
        moved = np.ones(len(instruments), dtype=np.bool_)
        arrays = revalue(instruments, event.market, wanted, backend=state.policy.backend, tick=arrays.tick)
    policy = Policy.of(arrays, model, event.market, state.policy.backend, state.policy)
    after = replace(state, policy=policy, listing=listing)
    return _recomputed(state, after, state.ledger.all_rows() if everybody else _holding(state, moved))


def _publish(state: State, event: ArraysPublished) -> tuple[State, Effects]:
    if state.listing is not None:
        raise ConfigError("this engine makes its risk arrays itself: pass MarketUpdated")
    arrays = event.arrays
    check_same_contracts(state.arrays, arrays)
    _check_not_older(state, arrays.valuation_time, event.backwards)
    arrays = replace(arrays, instrument_id=state.arrays.instrument_id)
    policy = Policy.of(arrays, state.policy.model, None, state.policy.backend, state.policy)
    return _recomputed(state, replace(state, policy=policy), state.ledger.all_rows())


def _replace_model(state: State, event: PolicyChanged) -> tuple[State, Effects]:
    arrays, listing, market = state.arrays, state.listing, None
    if listing is not None and hasattr(event.model, "scenario_set"):
        market = listing.market
        wanted = listing.scenarios(event.model)
        if not same_scenarios(wanted, arrays.scenario_set):
            arrays = revalue(listing.instruments, market, wanted, backend=state.policy.backend, tick=arrays.tick)
            arrays = replace(arrays, instrument_id=state.arrays.instrument_id)
    policy = Policy.of(arrays, event.model, market, state.policy.backend, state.policy)
    return _recomputed(state, replace(state, policy=policy), state.ledger.all_rows())


def _list_anew(state: State, event: InstrumentsChanged) -> tuple[State, Effects]:
    listing = replace(_listing(state, event), instruments=event.instruments, market=event.market)
    _check_not_older(state, event.market.valuation_time, event.backwards)
    row_of = event.instruments.index_of()
    new_row = np.array([row_of.get(str(name), -1) for name in state.arrays.instrument_id], dtype=np.int64)
    ledger = state.ledger
    every = ledger.all_rows()
    positions = ledger.positions(every)
    ordered = {order.instrument for orders in state.working.values() for order in orders}
    lost = sorted(name for name in ordered if name not in row_of)
    if lost:
        remedy = "has open orders: cancel them before the contract goes"
        raise DataError([Problem("engine", None, "instrument", name, remedy) for name in lost])
    gone = np.flatnonzero(new_row[positions.instrument_idx] < 0)
    if len(gone):
        names = state.arrays.instrument_id[positions.instrument_idx[gone]]
        account = ledger.names(np.searchsorted(positions.pointer, gone, side="right") - 1)
        remedy = "is held: close or settle the position before the contract goes"
        held = zip(account.tolist(), names.tolist(), strict=True)
        raise DataError([Problem("engine", a, "instrument", n, remedy) for a, n in held])
    policy = state.policy
    wanted = listing.scenarios(policy.model)
    arrays = revalue(event.instruments, event.market, wanted, backend=policy.backend, tick=policy.arrays.tick)
    moved = positions._replace(instrument_idx=new_row[positions.instrument_idx])
    book = book_of(ledger.names(every), moved, np.full(len(arrays), UNGROUPED))
    fresh = started(book, Policy.of(arrays, policy.model, event.market, policy.backend), listing, state.sequence)
    busy = np.array(sorted(state.working), dtype=np.int64)
    fresh = _recomputed(fresh, replace(fresh, working=state.working), busy)[0]
    return fresh, _effects(state, every, ledger.figures(every), fresh.ledger.figures(every))


HANDLERS: dict[type, Any] = {
    MarketUpdated: _move,
    ArraysPublished: _publish,
    PositionsChanged: _fill,
    CollateralChanged: _transfer,
    OrdersChanged: _work,
    AccountsOpened: _open,
    PolicyChanged: _replace_model,
    InstrumentsChanged: _list_anew,
}


def _added(state: State, rows: IntArray, additions: Additions) -> tuple[State, Effects]:
    """The state with quantities added to accounts, and these recomputed."""
    policy, ledger = state.policy, state.ledger
    positions = merged(ledger.positions(rows), additions, state.arrays, policy.rank)
    # A superset of the holders is enough, also where the state is given up.
    state.holders.add(state.arrays.underlying_idx[additions.row], rows[additions.owner])
    return _recomputed(state, replace(state, ledger=ledger.changed(rows, positions, None)), rows)


def _recomputed(before: State, after: State, rows: IntArray) -> tuple[State, Effects]:
    """A state with the figures of the accounts in these rows computed anew."""
    if not len(rows):
        return after, ()
    old = before.ledger.figures(rows)
    new = after.figures_of(rows)
    ledger = after.ledger.changed(rows, None, new)
    return replace(after, ledger=ledger), _effects(before, rows, old, new)


def _effects(state: State, rows: IntArray, old: FloatArray, new: FloatArray) -> Effects:
    if len(rows) == 1:
        effects: list[Effect] = [StatementChanged(rows)] if old.tolist() != new.tolist() else []
        if old[0, STATUS] == new[0, STATUS]:
            return tuple(effects)
    else:
        changed = np.flatnonzero((old != new).any(axis=1))
        effects = [StatementChanged(rows[changed])] if len(changed) else []
    was, now = old[:, STATUS], new[:, STATUS]
    for place in np.flatnonzero(was != now).tolist():
        account = state.ledger.accounts.names[int(rows[place])]
        lost = float(AccountStatus.LIQUIDATION)
        if was[place] < lost <= now[place]:
            effects.append(LiquidationStarted(account))
        if now[place] < lost <= was[place]:
            effects.append(LiquidationEnded(account))
        if now[place] < lost:
            effects.append(OrdersRestricted(account, AccountStatus(int(now[place]))))
        if now[place] == AccountStatus.BANKRUPT:
            effects.append(DeficitRecorded(account, float(-new[place, EQUITY])))
    return tuple(effects)


def _dollar_moved(arrays: RiskArrays, before: Market, after: Market) -> bool:
    """Whether a dollar is worth another amount of the margin currency: rules state limits and minimums in dollars."""
    if arrays.currency in DOLLARS:
        return False
    rates = np.isin(before.currency_id, DOLLARS)
    own = before.underlying_id == arrays.currency
    return bool(np.any(before.fx[rates] != after.fx[rates]) or np.any(before.spot[own] != after.spot[own]))


def _holding(state: State, moved: np.ndarray) -> IntArray:
    """Rows of the accounts that hold any of the instruments where `moved` (N,) is true."""
    if moved.all():
        return state.ledger.all_rows()
    maybe = state.holders.among(np.unique(state.arrays.underlying_idx[moved]))
    maybe = maybe[maybe < state.ledger.count]
    positions = state.ledger.positions(maybe)
    touched = np.append(0, np.cumsum(moved[positions.instrument_idx]))
    holding = maybe[np.diff(touched[positions.pointer]) > 0]
    return np.union1d(holding, ordering(state.working, moved, state.policy.row_of))


def _accounts(state: State, names: Sequence[str]) -> tuple[IntArray, IntArray]:
    """Rows of the accounts named, each once, and the place among them of every name."""
    if not names:
        raise DataError([Problem("fills", None, "fills", 0, "an event of no fill")])
    row_of = state.ledger.accounts.row
    unknown = [
        n
        for n, name in enumerate(names)
        if not isinstance(name, str) or not 0 <= row_of.get(name, -1) < len(state.ledger)
    ]
    if len(unknown) == 1:
        state.ledger.row_of(names[unknown[0]])
    if unknown:
        raise DataError([Problem("fills", n + 1, "account", names[n], "no such account") for n in unknown])
    rows, owner = np.unique([row_of.get(name) for name in names], return_inverse=True)
    return rows, owner


def _is_plain(value: object) -> bool:
    """Whether a value is a finite number of Python's own, as most are."""
    return (type(value) is float and isfinite(value)) or (type(value) is int and abs(value) <= LARGEST_WHOLE)


def _finite(table: str, row: int | None, field: str, value: Any) -> float:
    if not is_finite(value):
        raise DataError([Problem(table, row, field, value, "must be a finite number")])
    return float(value)


def _listing(state: State, event: MarketUpdated | InstrumentsChanged) -> Listing:
    if state.listing is None:
        raise ConfigError(f"the risk arrays of this engine are published: {type(event).__name__} does not apply")
    return state.listing


def _named(names: Sequence[str] | StrArray, count: int, what: str, rows: ArrayLike) -> list[str]:
    """Names by row; DataError for what is no row of `count`."""
    given = np.asarray(rows)
    if given.size and (given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= count):
        raise DataError([Problem("engine", None, f"{what} rows", rows, f"must be whole numbers from 0 to {count - 1}")])
    return [str(names[row]) for row in given.ravel().tolist()]


def _check_not_older(state: State, moment: int, backwards: bool) -> None:
    """DataError where a snapshot is older than the state, unless that is meant."""
    if moment < state.arrays.valuation_time and not backwards:
        remedy = f"older than the engine, which is at {state.arrays.valuation_time}; pass backwards=True to go back"
        raise DataError([Problem("engine", None, "valuation_time", moment, remedy)])


class MarginEngine:
    """A state that one writer moves on and many readers ask.

    `apply` puts a whole new state in the place of the old one in one assignment, so a reader never sees half of an
    event and never waits. Who has several questions about one moment takes `state` and asks that. A margin group,
    ACCOUNT:GROUP, is an account by that name.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._writing = threading.Lock()

    @classmethod
    def start(
        cls,
        book: Book,
        model: MarginModel,
        instruments: Instruments,
        market: Market,
        scenario_set: ScenarioSet | None = None,
        *,
        tick: float | None = DEFAULT_TICK,
        backend: str = "numba",
    ) -> MarginEngine:
        """An engine that revalues its contracts; see `state.start`.

        tick, backend  as of `revalue`
        """
        return cls(start(book, model, instruments, market, scenario_set, tick=tick, backend=backend))

    @classmethod
    def from_arrays(cls, book: Book, model: MarginModel, arrays: RiskArrays, *, backend: str = "numba") -> MarginEngine:
        """An engine whose risk arrays others publish; see `state.start_from_arrays`."""
        return cls(start_from_arrays(book, model, arrays, backend=backend))

    def __repr__(self) -> str:
        """One line: counts, model and moment."""
        return f"<MarginEngine: {self._state.summary()}>"

    @property
    def state(self) -> State:
        """The state of this moment; it never changes."""
        return self._state

    def apply(self, event: Event) -> Effects:
        """Take in an event; see `apply`. Where it raises, nothing has happened. Writers wait for each other."""
        with self._writing:
            after, effects = apply(self._state, event)
            self._state = after
        return effects

    def what_if(self, account: str, orders: Sequence[tuple[str, float]]) -> WhatIf:
        """The margin of one account before and after orders (instrument, quantity) filled at the mark."""
        return what_if(self._state, account, orders)

    def check(self, account: ArrayLike, instrument: ArrayLike, quantity: ArrayLike) -> OrderChecks:
        """What every order by itself would do to its account; rows from `account_rows` and `instrument_rows`."""
        return check(self._state, account, instrument, quantity)

    def largest_order(self, account: str, instrument: str, side: str, limit: float | None = None) -> LargestOrder:
        """The largest order of one contract, "buy" or "sell", that fits; see `largest_order`."""
        return largest_order(self._state, account, instrument, side, limit)

    def account_rows(self, accounts: Sequence[str]) -> IntArray:
        """(R,) rows of accounts, which never change. DataError for one that is not there."""
        accounts = names_of(accounts, "account")
        return np.array([self._state.ledger.row_of(account) for account in accounts], dtype=np.int64)

    def account_names(self, rows: ArrayLike) -> list[str]:
        """Names of accounts by row (R,), such as `StatementChanged.rows`. DataError for a row that is none."""
        return _named(self._state.ledger.accounts.names, len(self._state.ledger), "account", rows)

    def instrument_names(self, rows: ArrayLike) -> list[str]:
        """Names of instruments by row (R,). DataError for a row that is none."""
        names = self._state.arrays.instrument_id
        return _named(names, len(names), "instrument", rows)

    def instrument_rows(self, instruments: Sequence[str]) -> IntArray:
        """(R,) rows of instruments, until others are listed. DataError naming those that are not there."""
        instruments = names_of(instruments, "instrument")
        row_of = self._state.policy.row_of
        unknown = [name for name in instruments if not isinstance(name, str) or name not in row_of]
        if unknown:
            remedy = "no such instrument"
            raise DataError(
                [Problem("engine", None, "instrument", n, remedy + did_you_mean(str(n), row_of)) for n in unknown]
            )
        return np.array([row_of[name] for name in instruments], dtype=np.int64)
