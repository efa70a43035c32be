"""Open orders in an engine: figures after every event are those of a statement made from nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import AccountStatus, MarginEngine, margin
from portfolio_margin.events import (
    CollateralChanged,
    Fill,
    InstrumentsChanged,
    MarketUpdated,
    OrdersChanged,
    OrdersRestricted,
    PolicyChanged,
    PositionsChanged,
)
from portfolio_margin.models import worst_case
from portfolio_margin.order_codes import NAMES
from portfolio_margin.sensitivities import what_if
from portfolio_margin.working_orders import WorkingOrder
from pricing import ConfigError, DataError
from scenarios import revalue
from tests.portfolio_margin.books import GRID, INSTRUMENTS, MARKET, book_of
from tests.portfolio_margin.engines import fresh_arrays
from tests.portfolio_margin.test_contracts import model_of
from tests.scenarios.test_update import ticked

HELD = {
    "a": {"BTC-PERPETUAL": 2000.0, "USD": 40_000.0, "BTC": 1.0},
    "b": {"BTC-60D-68000-C": -1.0, "USD": 90_000.0},
    "c": {"USD": 5_000.0},
}
ORDERS = (
    WorkingOrder("BTC-60D-68000-C", 2.0, 0.1),
    WorkingOrder("BTC-PERPETUAL", -5000.0, 67_500.0),
    WorkingOrder("BTC-PERPETUAL", 900.0),
)
MODELS = ("worst_case", "derive_pmrm2", "deribit_spm")


def engine_of(name: str) -> MarginEngine:
    return MarginEngine.start(book_of(HELD), model_of(name), INSTRUMENTS, MARKET, GRID)


def check(engine: MarginEngine) -> None:
    """What the engine keeps is what `margin` says of its book and orders."""
    state = engine.state
    every = state.ledger.all_rows()
    assert state.listing is not None
    arrays = fresh_arrays(state.policy.model, state.listing.market, [])
    statement = margin(state.book(), arrays, None, state.policy.model, orders=state.open_orders(every))
    figures = state.ledger.figures(every)
    for column, name in enumerate(NAMES):
        assert figures[:, column].tolist() == np.asarray(getattr(statement, name), dtype=np.float64).tolist(), name
    assert engine.state.statement().initial_margin.tolist() == statement.initial_margin.tolist()
    for account in HELD:
        assert state.statement(account).available_funds[0] == state.figures(account)["available_funds"]
        status = state.figures(account)["status"]
        assert isinstance(status, AccountStatus)
        assert status.name == state.statement(account).columns()["status"][0]


@pytest.mark.parametrize("name", MODELS)
def test_every_event_counts_them(name: str) -> None:
    engine = engine_of(name)
    before = engine.state.figures("a")
    engine.apply(OrdersChanged("a", ORDERS))
    after = engine.state.figures("a")
    assert after["initial_margin"] > before["initial_margin"]
    assert after["maintenance_margin"] == before["maintenance_margin"]
    check(engine)
    for event in (
        PositionsChanged((Fill("a", "BTC-PERPETUAL", 1000.0), Fill("b", "BTC-PERPETUAL", -10.0))),
        CollateralChanged("a", "USD", 1000.0),
        OrdersChanged("c", (WorkingOrder("ETH-PERPETUAL", 100.0, 2000.0),)),
        MarketUpdated(ticked(MARKET, 0, 0.01, 0.002)),
        OrdersChanged("a", ORDERS[:1]),
    ):
        engine.apply(event)
        check(engine)
    engine.apply(OrdersChanged("a", ()))
    engine.apply(OrdersChanged("c", ()))
    check(engine)
    assert not engine.state.working
    assert engine.state.open_orders(engine.state.ledger.all_rows()) is None


@pytest.mark.parametrize("name", MODELS)
def test_questions_agree_with_statements(name: str) -> None:
    engine = engine_of(name)
    engine.apply(OrdersChanged("a", ORDERS))
    state = engine.state
    asked = [("BTC-PERPETUAL", -700.0), ("BTC-60D-68000-C", 1.0)]
    orders = state.open_orders(state.ledger.all_rows())
    for order in asked:
        told = engine.what_if("a", [order])
        wanted = what_if(state.book(), state.arrays, None, state.policy.model, "a", [order], open_orders=orders)
        assert told == wanted
        row, contract = engine.account_rows(["a"]), engine.instrument_rows([order[0]])
        checked = engine.check(row, contract, [order[1]])
        assert checked.initial_margin[0] == wanted.post["initial_margin"]
        assert checked.available_funds[0] == wanted.post["available_funds"]
        assert (checked.fits[0], checked.allowed[0]) == (wanted.fits, wanted.allowed)
    # An account without orders beside one with, in one question.
    rows = engine.account_rows(["a", "b"])
    contract = engine.instrument_rows(["BTC-PERPETUAL"] * 2)
    both = engine.check(rows, contract, [100.0, 100.0])
    assert both.initial_margin.tolist() == [
        engine.what_if(account, [("BTC-PERPETUAL", 100.0)]).post["initial_margin"] for account in ("a", "b")
    ]


def test_the_largest_order_leaves_room_for_open_ones() -> None:
    engine = engine_of("worst_case")
    free = engine.largest_order("c", "BTC-PERPETUAL", "buy")
    engine.apply(OrdersChanged("c", (WorkingOrder("BTC-PERPETUAL", 1000.0),)))
    left = engine.largest_order("c", "BTC-PERPETUAL", "buy")
    assert 0.0 < left.quantity < free.quantity
    assert left.quantity == pytest.approx(free.quantity - 1000.0, abs=2.0)
    assert not engine.what_if("c", [("BTC-PERPETUAL", left.quantity + 1.0)]).allowed


def test_an_account_that_its_orders_make_short_is_told() -> None:
    engine = engine_of("worst_case")
    effects = engine.apply(OrdersChanged("c", (WorkingOrder("BTC-PERPETUAL", 10_000.0),)))
    assert OrdersRestricted("c", AccountStatus.MARGIN_CALL) in effects
    effects = engine.apply(OrdersChanged("c", ()))
    assert OrdersRestricted("c", AccountStatus.NORMAL) in effects


def test_another_model_and_other_contracts() -> None:
    engine = engine_of("worst_case")
    engine.apply(OrdersChanged("a", ORDERS))
    engine.apply(PolicyChanged(worst_case.Model(worst_case.Params(initial_factor=1.5))))
    check(engine)
    kept = INSTRUMENTS.instrument_id != "BTC-PERPETUAL"
    columns = {name: getattr(INSTRUMENTS, name)[kept] for name in INSTRUMENTS.__dataclass_fields__}
    fewer = InstrumentsChanged(type(INSTRUMENTS)(**columns), replace(MARKET, mark_vol=MARKET.mark_vol[kept]))
    with pytest.raises(DataError, match=r"BTC-PERPETUAL.*has open orders"):
        engine.apply(fewer)
    engine.apply(InstrumentsChanged(INSTRUMENTS, MARKET))
    check(engine)
    assert engine.state.working


def test_published_arrays_price_the_limits_anew() -> None:
    arrays = revalue(INSTRUMENTS, MARKET, GRID)
    engine = MarginEngine.from_arrays(book_of(HELD), worst_case.Model(), arrays)
    engine.apply(OrdersChanged("a", ORDERS))
    orders = engine.state.open_orders(engine.state.ledger.all_rows())
    statement = margin(engine.state.book(), arrays, None, worst_case.Model(), orders=orders)
    assert engine.state.figures("a")["initial_margin"] == statement.initial_margin[0]


@pytest.mark.parametrize(
    ("orders", "text"),
    [
        ((WorkingOrder("BTC-PERP", 1.0),), r"no such instrument; did you mean BTC-PERPETUAL"),
        ((WorkingOrder("BTC", 1.0),), "not a contract"),
        ((WorkingOrder("BTC-PERPETUAL", 0.0),), "not 0"),
        ((WorkingOrder("BTC-PERPETUAL", float("nan")),), "finite"),
        ((WorkingOrder("BTC-PERPETUAL", 1.5),), "multiples of 1"),
        ((WorkingOrder("BTC-PERPETUAL", 5e-324),), "multiples of 1"),
        ((WorkingOrder("BTC-PERPETUAL", 10**400),), "finite"),
        ((WorkingOrder("BTC-PERPETUAL", 1.0, 10**400),), "the mark"),
        ((WorkingOrder("BTC-PERPETUAL", 1.0, float("inf")),), "the mark"),
        ((WorkingOrder("BTC-PERPETUAL", 1.0, -5.0),), "above 0"),
        ((WorkingOrder("BTC-60D-68000-C", 1.0, -0.1),), "0 or more"),
        ((("BTC-PERPETUAL", 1.0),), "WorkingOrder"),
    ],
)
def test_orders_that_are_none_are_named_and_nothing_has_happened(orders: tuple[Any, ...], text: str) -> None:
    engine = engine_of("worst_case")
    before = engine.state
    with pytest.raises(DataError, match=text):
        engine.apply(OrdersChanged("a", orders))
    assert engine.state is before


def test_orders_of_nobody_and_no_list_of_orders() -> None:
    engine = engine_of("worst_case")
    with pytest.raises(DataError, match="no such account"):
        engine.apply(OrdersChanged("nobody", ORDERS))
    with pytest.raises(ConfigError, match="must be a tuple"):
        OrdersChanged("a", "BTC-PERPETUAL")  # type: ignore[arg-type]
