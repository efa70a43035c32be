"""State: everything an engine holds at one moment. It never changes; an event makes another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.ledger import Ledger
from portfolio_margin.margin import margin
from portfolio_margin.order_codes import NAMES, WIDTH
from portfolio_margin.policy import Policy, buffers_of, stacked
from portfolio_margin.requirement import MarginModel, check_groups
from portfolio_margin.statement import AccountStatus, MarginStatement
from portfolio_margin.working_orders import Working, orders_of
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.revalue import revalue
from scenarios.risk_arrays import DEFAULT_TICK, RiskArrays
from scenarios.shocks import ScenarioSet

if TYPE_CHECKING:
    from portfolio_margin.worst_fill import OpenOrders


NO_ORDERS: Working = MappingProxyType({})


@dataclass(frozen=True)
class Listing:
    """Contracts, market and scenarios behind the risk arrays of an engine that revalues.

    scenario_set  the caller's, for models that take it; None where the model has scenarios of its own
    """

    instruments: Instruments
    market: Market
    scenario_set: ScenarioSet | None

    def scenarios(self, model: MarginModel) -> ScenarioSet:
        """What the model is computed under. DataError where it takes the caller's and there are none."""
        wanted = model.scenario_set(self.market)
        wanted = self.scenario_set if wanted is None else wanted
        if wanted is None:
            remedy = f"{model.model_id} takes any scenarios and has none of its own: pass scenario_set"
            raise DataError([Problem("engine", None, "scenario_set", None, remedy)])
        return wanted


@dataclass
class Holders:
    """Which accounts have ever held something of an underlying, by underlying row, -1 for none; only added to.

    Those that hold nothing of it any more are among them.
    """

    first: dict[int, IntArray]
    later: dict[int, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: Ledger, underlying_idx: IntArray) -> Holders:
        """The holders of a ledger."""
        positions = ledger.positions(ledger.all_rows())
        account = np.repeat(np.arange(len(ledger)), np.diff(positions.pointer))
        underlying = underlying_idx[positions.instrument_idx]
        # Accounts are in order, and stay so inside each underlying.
        order = np.argsort(underlying.astype(np.int32), kind="stable")
        underlying, account = underlying[order], account[order]
        starts = np.ones(len(account), dtype=np.bool_)
        starts[1:] = (np.diff(underlying) != 0) | (np.diff(account) != 0)
        underlying, account = underlying[starts], account[starts]
        found, first = np.unique(underlying, return_index=True)
        return cls(dict(zip(found.tolist(), np.split(account, first[1:]), strict=False)))

    def add(self, underlying_idx: IntArray, rows: IntArray) -> None:
        """Accounts in these rows hold something of these underlyings."""
        for underlying, row in zip(underlying_idx.tolist(), rows.tolist(), strict=True):
            self.put(underlying, row)

    def put(self, underlying: int, row: int) -> None:
        """The account in this row holds something of this underlying."""
        self.later.setdefault(underlying, set()).add(row)

    def among(self, underlying_idx: IntArray) -> IntArray:
        """Accounts, in order, that may hold something of these underlyings."""
        parts = [np.zeros(0, np.int64)]
        for underlying in underlying_idx.tolist():
            parts.append(self.first.get(underlying, parts[0]))
            parts.append(np.fromiter(self.later.get(underlying, ()), np.int64))
        return np.unique(np.concatenate(parts))


@dataclass(frozen=True, repr=False)
class State:
    """Everything at one moment.

    policy    risk arrays and margin model
    ledger    positions and figures of every account
    holders   who may hold what
    listing   contracts and market; None where the risk arrays are published by others
    sequence  number of events since the start
    working   open orders by row of the account
    """

    policy: Policy
    ledger: Ledger
    holders: Holders
    listing: Listing | None
    sequence: int = 0
    working: Working = field(default_factory=lambda: NO_ORDERS)

    def __repr__(self) -> str:
        """One line: counts, model and moment."""
        return f"<State: {self.summary()}>"

    def summary(self) -> str:
        """Counts, model and moment in one line."""
        arrays, model = self.arrays, self.policy.model
        moment = np.datetime64(arrays.valuation_time, "ms").astype("datetime64[s]")
        return (
            f"{len(self.ledger)} accounts, {len(arrays)} instruments, {len(arrays.scenario_set)} scenarios, "
            f"{model.model_id} ({model.parameter_set.label}), {moment}Z, {arrays.currency}, "
            f"{'published arrays' if self.listing is None else 'own market'}, {self.sequence} events"
        )

    @cached_property
    def buffers(self) -> tuple[Any, ...]:
        """The ledger as the kernels take it."""
        return buffers_of(self.ledger)

    @cached_property
    def addresses(self) -> IntArray:
        """Where table and ledger lie, both of which the state holds, for kernels that are asked of one account; nothing
        where the policy has none."""
        kernels = self.policy.kernels
        return np.zeros(0, np.int64) if kernels is None else kernels.addresses(self.policy.table, self.buffers)

    @property
    def arrays(self) -> RiskArrays:
        """The risk arrays."""
        return self.policy.arrays

    def open_orders(self, rows: IntArray) -> OpenOrders | None:
        """The open orders of accounts in these rows, which may repeat, counted by their place; None for none."""
        return orders_of(self.working, rows, self.arrays, self.policy.row_of) if self.working else None

    def figures_of(self, rows: IntArray) -> FloatArray:
        """(R,K) figures of the accounts in these rows, computed afresh; columns by `order_codes.NAMES`."""
        found = self.policy.figures(self.ledger, rows)
        busy = np.flatnonzero([row in self.working for row in rows.tolist()]) if self.working else rows[:0]
        if not len(busy):
            return found
        book = self.ledger.book(rows[busy], self.arrays.expiry_idx)
        found = found.copy()
        found[busy] = stacked(self.policy.amounts(book, self.open_orders(rows[busy])))
        return found

    def book(self) -> Book:
        """All positions, accounts in the order they were opened."""
        return self.ledger.book(self.ledger.all_rows(), self.arrays.expiry_idx)

    def statement(self, account: str | None = None) -> MarginStatement:
        """The margin statement of all accounts or of one, computed afresh."""
        rows = self.ledger.all_rows() if account is None else np.array([self.ledger.row_of(account)])
        book = self.ledger.book(rows, self.arrays.expiry_idx)
        market = None if self.listing is None else self.listing.market
        given = (book, self.arrays, market, self.policy.model)
        return margin(*given, backend=self.policy.backend, orders=self.open_orders(rows))

    def figures(self, account: str) -> dict[str, float]:
        """What is known of an account, by column of the statement, without computing anything.

        "status" is an `AccountStatus`, an integer with a name; "worst_scenario" the row of a scenario, -1 for none.
        """
        row = self.ledger.row_of(account)
        found = dict(zip(NAMES, self.ledger.figures(np.array([row]))[0].tolist(), strict=True))
        return {**found, "status": AccountStatus(int(found["status"]))}

    def status(self, account: str) -> AccountStatus:
        """What an account may do."""
        return AccountStatus(int(self.figures(account)["status"]))


def start(
    book: Book,
    model: MarginModel,
    instruments: Instruments,
    market: Market,
    scenario_set: ScenarioSet | None = None,
    *,
    tick: float | None = DEFAULT_TICK,
    backend: str = "numba",
) -> State:
    """The first state of an engine that revalues its contracts. Raises what `revalue` and `margin` raise.

    scenario_set  for models without scenarios of their own
    tick          of the risk arrays
    """
    listing = Listing(instruments, market, scenario_set)
    arrays = revalue(instruments, market, listing.scenarios(model), backend=backend, tick=tick)
    return started(book, Policy.of(arrays, model, market, backend), listing)


def start_from_arrays(book: Book, model: MarginModel, arrays: RiskArrays, *, backend: str = "numba") -> State:
    """The first state of an engine whose risk arrays are published by others. Raises what `margin` raises."""
    return started(book, Policy.of(arrays, model, None, backend), None)


def started(book: Book, policy: Policy, listing: Listing | None, sequence: int = 0) -> State:
    """A state of this book under this policy, computed afresh. Raises what `margin` raises."""
    arrays = policy.arrays
    top = int(book.instrument_idx.max(initial=-1))
    if top >= len(arrays):
        raise DataError([Problem("book", None, "instrument_idx", top, f"there are only {len(arrays)} instruments")])
    check_groups(book, arrays)
    ledger = Ledger.from_book(book, WIDTH, policy.rank)
    rows = ledger.all_rows()
    # By the model itself, which checks every position.
    figures = stacked(policy.amounts(ledger.book(rows, arrays.expiry_idx)))
    holders = Holders.of(ledger, arrays.underlying_idx)
    return State(policy, ledger.changed(rows, None, figures), holders, listing, sequence)
