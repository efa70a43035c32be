"""Engines for tests, events for them, and what a fresh computation says: positions kept apart in plain dictionaries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from portfolio_margin import MarginStatement, margin
from portfolio_margin.events import CollateralChanged, Event, Fill, MarketUpdated, PositionsChanged
from portfolio_margin.order_codes import NAMES
from portfolio_margin.state import State, start
from pricing import Market
from scenarios import RiskArrays, revalue
from scenarios.shocks import same_scenarios
from tests.portfolio_margin.books import ARRAYS, ASSETS, CONTRACTS, GRID, INSTRUMENTS, MARKET, ROW, Held, book_of
from tests.portfolio_margin.books import quantity as in_step
from tests.scenarios.test_update import ticked

STEP = {name: float(INSTRUMENTS.quantity_step[row]) for name, row in ROW.items()}


def engine_state(model: Any, accounts: dict[str, Held], market: Market = MARKET, backend: str = "numba") -> State:
    return start(book_of(accounts), model, INSTRUMENTS, market, GRID, backend=backend)


def fresh_arrays(model: Any, market: Market, known: list[RiskArrays]) -> RiskArrays:
    """Arrays of a market made from nothing; those that a test has made already are in `known`."""
    moves = model.scenario_set(market)
    moves = GRID if moves is None else moves
    for arrays in known:
        if arrays.market_digest == market.digest and same_scenarios(moves, arrays.scenario_set):
            return arrays
    known.append(revalue(INSTRUMENTS, market, moves))
    return known[-1]


def check_fresh(state: State, accounts: dict[str, Held], model: Any, known: list[RiskArrays] | None = None) -> None:
    """Figures of every account are, bit by bit, those of positions kept by hand and arrays made from nothing."""
    assert state.listing is not None
    market = state.listing.market
    arrays = fresh_arrays(model, market, [] if known is None else known)
    book = book_of(accounts)
    statement = margin(book, arrays, market, model)
    check_statement(state, statement)
    assert state.arrays.rows.tobytes() == arrays.rows.tobytes()
    assert state.arrays.digest == arrays.digest


def check_statement(state: State, statement: MarginStatement) -> None:
    """The figures that a state keeps are those of a statement, bit by bit."""
    rows = np.array([state.ledger.row_of(str(name)) for name in statement.account])
    figures = state.ledger.figures(rows)
    assert len(rows) == len(state.ledger)
    for column, name in enumerate(NAMES):
        wanted = np.asarray(getattr(statement, name), dtype=np.float64)
        assert figures[:, column].tobytes() == wanted.tobytes(), name


def hold(held: Held, name: str, amount: float) -> None:
    """Add to a holding as a book of record does: contracts in whole steps, balances as doubles."""
    total = held.get(name, 0.0) + amount
    if name in CONTRACTS:
        total = float(np.rint(total / STEP[name]) * STEP[name])
    held[name] = total
    if total == 0.0:
        del held[name]


LATEST: list[tuple[RiskArrays, Any]] = [(ARRAYS, ARRAYS.value)]


def value_of(arrays: RiskArrays) -> Any:
    """(N,) value of each contract, worked out once a tick."""
    if LATEST[0][0] is not arrays:
        LATEST[0] = (arrays, arrays.value)
    return LATEST[0][1]


def filled(held: Held, fills: list[Fill], arrays: RiskArrays = ARRAYS) -> None:
    """Fills and what is paid for them."""
    value = value_of(arrays)
    for fill in fills:
        hold(held, fill.instrument, fill.quantity)
    for fill in fills:
        coin = int(arrays.cash_row[ROW[fill.instrument]])
        cost = fill.quantity * value[ROW[fill.instrument]]
        paid = cost / value[coin] if fill.paid is None else fill.paid
        if paid != 0.0:
            hold(held, str(arrays.instrument_id[coin]), -paid)


def random_event(random: np.random.Generator, names: list[str], market: Market, ticks: float = 0.1) -> Event:
    """A fill or two, a transfer, or a tick of one underlying."""
    kind = random.random()
    account = names[random.integers(len(names))]
    if kind < ticks:
        underlying = int(random.integers(2))
        if random.random() < 0.1:
            market = replace(market, valuation_time=market.valuation_time + 1_000)
        return MarketUpdated(
            ticked(market, underlying, float(random.normal(0.0, 0.004)), float(random.normal(0, 1e-4)))
        )
    if kind < ticks + 0.15:
        asset = ASSETS[random.integers(len(ASSETS))]
        amount = float(np.round(random.uniform(-1.0, 1.2), 8)) * (1_000.0 if asset == "USD" else 1.0)
        return CollateralChanged(account, asset, amount)
    fills = []
    for _ in range(1 + int(random.random() < 0.1)):
        name = CONTRACTS[random.integers(len(CONTRACTS))]
        steps = int(random.integers(1, 40)) * (1 if random.random() < 0.5 else -1)
        paid = None if random.random() < 0.8 else float(np.round(random.normal(0.0, 0.01), 8))
        fills.append(Fill(account, name, in_step(name, steps), paid))
    return PositionsChanged(tuple(fills))


def taken(accounts: dict[str, Held], event: Event, arrays: RiskArrays) -> None:
    """The same event in the dictionaries; `arrays` are those of before."""
    if isinstance(event, PositionsChanged):
        filled(accounts[event.fills[0].account], list(event.fills), arrays)
    if isinstance(event, CollateralChanged):
        hold(accounts[event.account], event.asset, event.amount)
