"""One writer and many readers: what a reader sees is always the state after some whole event."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from portfolio_margin.engine import MarginEngine
from portfolio_margin.events import AccountsOpened, CollateralChanged, Event, Fill, MarketUpdated, PositionsChanged
from portfolio_margin.models import worst_case
from pricing import DataError
from tests.portfolio_margin.books import MARKET
from tests.portfolio_margin.engines import check_fresh, engine_state
from tests.portfolio_margin.test_engine import everything, holdings
from tests.scenarios.test_update import ticked

MODEL = worst_case.Model()
CALL, PUT = "BTC-60D-68000-C", "BTC-60D-68000-P"
ORDER = [("BTC-7D-68000-C", -1.0)]


def read_while(engine: MarginEngine, read: Callable[[], None], events: list[Event], readers: int = 3) -> list[int]:
    """Readings of each reader while a writer takes in events; whatever a reader raises is raised here."""
    done, faults, counts = threading.Event(), list[BaseException](), [0] * readers

    def reader(place: int) -> None:
        try:
            while not done.is_set() or not counts[place]:
                read()
                counts[place] += 1
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=reader, args=(place,)) for place in range(readers)]
    for thread in threads:
        thread.start()
    try:
        for event in events:
            engine.apply(event)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]
    return counts


def test_readers_see_whole_events() -> None:
    """Every event buys as many calls as puts, in one fill list, of accounts of one page: no reader sees them apart."""
    engine = MarginEngine(engine_state(MODEL, {name: {"USD": 1e6} for name in ("a", "b", "c")}))
    events: list[Event] = []
    for number in range(1_500):
        one, other = ("a", "b") if number % 2 else ("b", "c")
        size = 0.1 * (1 + number % 9)
        events.append(PositionsChanged((Fill(one, CALL, size), Fill(other, PUT, -size))))
        if number % 50 == 0:
            events.append(MarketUpdated(ticked(MARKET, 0, 0.0001 * (number % 7))))
        if number % 100 == 0:
            events.append(AccountsOpened((f"later-{number}",)))

    def read() -> None:
        state = engine.state
        book = state.book()
        names = state.arrays.instrument_id[book.instrument_idx]
        calls, puts = book.quantity[names == CALL].sum(), book.quantity[names == PUT].sum()
        assert calls == pytest.approx(-puts, abs=1e-6)
        row = np.array([state.ledger.row_of("b")])
        kept = state.ledger.figures(row)
        assert kept.tobytes() == state.policy.figures(state.ledger, row).tobytes()
        assert engine.what_if("a", ORDER).post["initial_margin"] > 0
        assert engine.check([0, 1], [2, 2], [1.0, -1.0]).fits.shape == (2,)

    assert min(read_while(engine, read, events)) > 0
    assert engine.state.sequence == len(events)


def test_a_state_that_is_kept_answers_as_before() -> None:
    accounts = holdings(10)
    engine = MarginEngine(engine_state(MODEL, accounts))
    kept = engine.state
    seen, answer = everything(kept), engine.what_if("account-000001", ORDER)
    events: list[Event] = [CollateralChanged("account-000001", "USD", 1.0 + number) for number in range(500)]
    events += [MarketUpdated(ticked(MARKET, 0, 0.01)), AccountsOpened(("x",))]
    again = MarginEngine(kept)

    def read() -> None:
        assert again.what_if("account-000001", ORDER) == answer
        assert everything(kept) == seen
        with pytest.raises(DataError, match="no such account"):
            again.what_if("x", ORDER)

    read_while(engine, read, events, readers=2)
    check_fresh(kept, accounts, MODEL)


def test_writers_wait_for_each_other() -> None:
    """No event of several writers is lost."""
    engine = MarginEngine(engine_state(MODEL, {"a": {"USD": 0.25}, "b": {"USD": 0.25}}))

    def write(account: str) -> None:
        for _ in range(300):
            engine.apply(CollateralChanged(account, "USD", 1.0))

    threads = [threading.Thread(target=write, args=(account,)) for account in ("a", "b", "a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.state.sequence == 1_200
    check_fresh(engine.state, {"a": {"USD": 600.25}, "b": {"USD": 600.25}}, MODEL)
