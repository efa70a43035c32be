"""What an engine refuses: malformed questions and events by a typed error, arrays of other contracts by their field."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book
from portfolio_margin.engine import MarginEngine, apply
from portfolio_margin.events import (
    AccountsOpened,
    ArraysPublished,
    CollateralChanged,
    Fill,
    InstrumentsChanged,
    MarketUpdated,
    PositionsChanged,
)
from portfolio_margin.models import worst_case
from portfolio_margin.published import MOVING, MOVING_TERMS
from portfolio_margin.state import start_from_arrays
from pricing import ConfigError, DataError
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from scenarios.terms import Terms
from tests.portfolio_margin.books import ARRAYS, GRID, INSTRUMENTS, MARKET, ROW, book_of
from tests.portfolio_margin.engines import engine_state

MODEL = worst_case.Model()
PERPETUAL, OPTION = "BTC-PERPETUAL", "BTC-7D-68000-C"
HUGE = 10**400


def engine() -> MarginEngine:
    return MarginEngine(engine_state(MODEL, {"p": {OPTION: 0.3, "USD": 1e5}}))


QUESTIONS: dict[str, tuple[Any, str]] = {
    "account is a list": (lambda e: e.what_if(["p"], [(PERPETUAL, 1.0)]), "account = "),
    "no orders": (lambda e: e.what_if("p", None), "orders = None"),
    "orders are a text": (lambda e: e.what_if("p", PERPETUAL), "orders = "),
    "order of a list": (lambda e: e.what_if("p", [(["x"], 1.0)]), "no such instrument"),
    "order beyond sums": (lambda e: e.what_if("p", [(PERPETUAL, 1e308)]), "quantity = 1e\\+308: must be at most"),
    "order beyond doubles": (lambda e: e.what_if("p", [(PERPETUAL, HUGE)]), "must be a finite number"),
    "largest of a list": (lambda e: e.largest_order("p", [PERPETUAL], "buy"), "no such instrument"),
    "largest of an account list": (lambda e: e.largest_order(["p"], PERPETUAL, "buy"), "account = "),
    "limit is a text": (lambda e: e.largest_order("p", PERPETUAL, "buy", "5"), "limit = '5'"),
    "limit beyond doubles": (lambda e: e.largest_order("p", PERPETUAL, "buy", HUGE), "limit = 1000"),
    "limit is true": (lambda e: e.largest_order("p", PERPETUAL, "buy", True), "limit = True"),
    "sides are an array": (lambda e: e.largest_order("p", PERPETUAL, np.array(["buy", "sell"])), "side = array"),
    "side is a list": (lambda e: e.largest_order("p", PERPETUAL, ["buy"]), "side = "),
    "ragged rows": (lambda e: e.check([[0], [1, 2]], [0], [1.0]), "account = "),
    "batch by names": (lambda e: e.check(["p"], [ROW[PERPETUAL]], [1.0]), r"account = 'p'.*account_rows\(names\)"),
    "batch of contracts by names": (lambda e: e.check([0], [PERPETUAL], [1.0]), r"instrument_rows\(names\)"),
    "second order of a batch": (lambda e: e.check([0, 0], [ROW[PERPETUAL]] * 2, [1.0, 0.0]), "orders, row 2, "),
    "second order of a question": (lambda e: e.what_if("p", [(PERPETUAL, 1.0), (PERPETUAL, 0.0)]), "orders, row 2, "),
    "batch beyond sums": (lambda e: e.check([0], [ROW[PERPETUAL]], [1e308]), "must be at most"),
    "figures of a list": (lambda e: e.state.figures(["p"]), "account = "),
    "rows of a text": (lambda e: e.account_rows("p"), "accounts = 'p'"),
    "rows of nothing": (lambda e: e.instrument_rows(None), "instruments = None"),
    "rows of lists": (lambda e: e.instrument_rows([[PERPETUAL]]), "no such instrument"),
}
EVENTS: dict[str, tuple[Any, str]] = {
    "fills missing": (lambda: PositionsChanged(None), "fills = None"),  # type: ignore[arg-type]
    "fills are a text": (lambda: PositionsChanged("abc"), "fills = 'abc'"),  # type: ignore[arg-type]
    "one fill alone": (lambda: PositionsChanged(Fill("p", PERPETUAL, 1.0)), r"PositionsChanged\(\(fill,\)\)"),  # type: ignore
    "fills are pairs": (lambda: PositionsChanged((("p", PERPETUAL, 1.0),)), "fills, row 1, fill"),  # type: ignore
    "fill of an account list": (lambda: PositionsChanged((Fill(["p"], PERPETUAL, 1.0),)), "account = "),  # type: ignore
    "fill of two lists": (
        lambda: PositionsChanged((Fill("p", PERPETUAL, 1.0), Fill(["p"], PERPETUAL, 1.0))),  # type: ignore[arg-type]
        "account = ",
    ),
    "fill of a list": (lambda: PositionsChanged((Fill("p", [PERPETUAL], 1.0),)), "no such instrument"),  # type: ignore
    "fill beyond doubles": (lambda: PositionsChanged((Fill("p", PERPETUAL, HUGE),)), "must be a finite number"),
    "fill beyond sums": (lambda: PositionsChanged((Fill("p", PERPETUAL, 1e308),)), "must be at most"),
    "paid beyond doubles": (lambda: PositionsChanged((Fill("p", PERPETUAL, 1.0, HUGE),)), "paid = 1000"),
    "transfer of an account list": (lambda: CollateralChanged(["p"], "USD", 1.0), "account = "),  # type: ignore
    "transfer of a list": (lambda: CollateralChanged("p", ["USD"], 1.0), "not an asset here"),  # type: ignore
    "transfer beyond doubles": (lambda: CollateralChanged("p", "USD", HUGE), "must be a finite number"),
    "transfer of a decimal": (lambda: CollateralChanged("p", "USD", Decimal(1)), "must be a finite number"),  # type: ignore
    "accounts are a text": (lambda: AccountsOpened("ab"), "accounts = 'ab'"),  # type: ignore[arg-type]
    "accounts missing": (lambda: AccountsOpened(None), "accounts = None"),  # type: ignore[arg-type]
    "account of a number": (lambda: AccountsOpened((1,)), "must be a text"),  # type: ignore[arg-type]
    "market missing": (lambda: MarketUpdated(None), "market = None: must be Market"),  # type: ignore[arg-type]
    "arrays missing": (lambda: ArraysPublished(None), "arrays = None: must be RiskArrays"),  # type: ignore[arg-type]
    "instruments missing": (lambda: InstrumentsChanged(None, MARKET), "instruments = None"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_malformed_questions_are_refused_in_one_sentence(case: str) -> None:
    ask, said = QUESTIONS[case]
    with pytest.raises((DataError, ConfigError), match=said):
        ask(engine())


@pytest.mark.parametrize("case", EVENTS)
def test_malformed_events_are_refused_and_nothing_has_happened(case: str) -> None:
    make, said = EVENTS[case]
    bot = engine()
    before = bot.state
    with pytest.raises((DataError, ConfigError), match=said):
        bot.apply(make())
    assert bot.state is before


def _other(value: Any) -> Any:
    """The value with its first entry changed, or another text."""
    if isinstance(value, str):
        return f"{value}X"
    changed = value.copy()
    if changed.dtype.kind == "U":
        changed[0] = f"?{changed[0][1:]}"
    else:
        changed[0] = 7.0 if changed[0] != changed[0] else changed[0] + 1
    return changed


def _published_with(name: str) -> RiskArrays:
    if name in {f.name for f in fields(Terms)}:
        return replace(ARRAYS, terms=replace(ARRAYS.terms, **{name: _other(getattr(ARRAYS.terms, name))}))
    return replace(ARRAYS, **{name: _other(getattr(ARRAYS, name))})


FIXED = [f.name for f in fields(RiskArrays) if f.name not in MOVING]
FIXED_TERMS = [f.name for f in fields(Terms) if f.name not in MOVING_TERMS]


@pytest.mark.parametrize("name", [*FIXED, *FIXED_TERMS])
def test_arrays_of_other_contracts_are_refused_by_their_field(name: str) -> None:
    state = start_from_arrays(book_of({"p": {OPTION: 0.3, "USD": 1e5}}), MODEL, ARRAYS)
    with pytest.raises(DataError, match=f"{name} = "):
        apply(state, ArraysPublished(_published_with(name)))


def test_arrays_of_another_step_do_not_make_a_margin_vanish() -> None:
    """Revalued from instruments of ten times the step, as a venue might list them."""
    step = INSTRUMENTS.quantity_step.copy()
    step[ROW[OPTION]] *= 10.0
    arrays = revalue(replace(INSTRUMENTS, quantity_step=step), MARKET, GRID)
    state = start_from_arrays(book_of({"p": {OPTION: 0.3, "USD": 1e5}}), MODEL, ARRAYS)
    assert state.figures("p")["initial_margin"] > 0.0
    with pytest.raises(DataError, match=f"quantity_step = 1.0: other contracts.*of {OPTION} it was 0.1"):
        apply(state, ArraysPublished(arrays))


def test_what_moves_with_the_market_may_be_published() -> None:
    """Another price, time, tick and set of scenarios: the same contracts."""
    moved = replace(MARKET, valuation_time=MARKET.valuation_time + 60_000, forward=MARKET.forward * 1.001)
    others = grid.scenarios(grid.Params(price_range=0.2), moved)
    book: Book = book_of({"p": {OPTION: 0.3, "USD": 1e5}})
    state = start_from_arrays(book, MODEL, ARRAYS)
    after, _ = apply(state, ArraysPublished(revalue(INSTRUMENTS, moved, others, tick=1e-7)))
    assert after.figures("p")["initial_margin"] != state.figures("p")["initial_margin"]


def test_an_older_snapshot_is_taken_only_where_it_is_meant() -> None:
    """Of a market, of published arrays and of a listing: whoever gets snapshots out of order does not go back."""
    early = replace(MARKET, valuation_time=MARKET.valuation_time - 1)
    arrays = revalue(INSTRUMENTS, early, GRID)
    bot = engine()
    published = MarginEngine.from_arrays(book_of({"p": {OPTION: 0.3, "USD": 1e5}}), MODEL, ARRAYS)
    for at, make in (
        (bot, lambda **how: MarketUpdated(early, **how)),
        (bot, lambda **how: InstrumentsChanged(INSTRUMENTS, early, **how)),
        (published, lambda **how: ArraysPublished(arrays, **how)),
    ):
        at.apply(ArraysPublished(ARRAYS) if at is published else MarketUpdated(MARKET))  # of the same moment
        before = at.state
        with pytest.raises(DataError, match=f"valuation_time = {early.valuation_time}: older than the engine"):
            at.apply(make())
        assert at.state is before
        at.apply(make(backwards=True))
        assert at.state.arrays.valuation_time == early.valuation_time


def test_rows_have_names_and_names_have_rows() -> None:
    held = {name: {OPTION: 0.3, "USD": 1e5} for name in ("p", "q", "r")}
    bot = MarginEngine(engine_state(MODEL, held))
    assert bot.account_names(bot.account_rows(["r", "p"])) == ["r", "p"]
    assert bot.instrument_names(bot.instrument_rows([OPTION, PERPETUAL])) == [OPTION, PERPETUAL]
    [changed] = bot.apply(PositionsChanged((Fill("q", OPTION, 0.1),)))
    assert bot.account_names(changed.rows) == ["q"]
    for rows in ([3], [-1], ["p"], [0.0]):
        with pytest.raises(DataError, match=r"account rows = .*from 0 to 2"):
            bot.account_names(rows)


def test_an_engine_says_what_it_is_in_one_line() -> None:
    bot = engine()
    bot.apply(PositionsChanged((Fill("p", OPTION, 0.1),)))
    for text in (repr(bot), repr(bot.state)):
        assert "1 accounts" in text and f"{len(ARRAYS)} instruments" in text and "worst_case (defaults)" in text
        assert "1 events" in text and "own market" in text and "\n" not in text and len(text) < 200
