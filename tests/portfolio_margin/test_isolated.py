"""Isolated positions: what moves, that nothing is lost, and that the owner loses no more than was moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, MarginEngine, margin
from portfolio_margin.isolated import Moved, close_isolated, open_isolated, owner_of, sub_account_of
from portfolio_margin.liquidation.ledger import open_ledger, to_ticks
from portfolio_margin.liquidation.plan import Costs, Outcome
from portfolio_margin.liquidation.policies import largest_contributor, proportional
from portfolio_margin.liquidation.waterfall import Others, Params, settle
from portfolio_margin.models import worst_case
from portfolio_margin.sensitivities import order_rows
from pricing import DataError, NumericalError
from pricing.instruments import Kind
from scenarios import RiskArrays, revalue
from tests.portfolio_margin.books import ARRAYS, CONTRACTS, GRID, INSTRUMENTS, MARKET, ROW, book_of, quantity
from tests.scenarios.test_update import ticked

MODEL = worst_case.Model()
TICK = 1e-8
MAIN = {"USD": 1e6, "BTC": 50.0, "ETH": 900.0, "BTC-60D": 100.0}
BOOK = book_of({"alice": MAIN, "bob": {"USD": 5.0}})


def holdings(book: Book, account: str) -> dict[str, float]:
    own = book.select(account)
    return dict(zip(INSTRUMENTS.instrument_id[own.instrument_idx].tolist(), own.quantity.tolist(), strict=True))


def ticks_of(book: Book, asset: str) -> int:
    """All that anybody has of an asset, in whole ticks, every balance by itself."""
    return sum(round(holdings(book, str(name)).get(asset, 0.0) / TICK) for name in book.account_id)


def check_conserved(before: Book, moved: Moved) -> None:
    """Of the asset only what the fill paid leaves, and only what the fund paid comes; of others nothing moves."""
    for asset in ("USD", "BTC", "ETH"):
        gone = round(moved.paid / TICK) - round(moved.covered / TICK) if asset == moved.asset else 0
        assert ticks_of(moved.book, asset) == ticks_of(before, asset) - gone
    ledger = moved.ledger
    assert ledger.total == int(ledger.opening.sum())
    for name in (moved.owner, moved.sub_account):
        assert ledger.balance_of(name) == round(holdings(moved.book, name).get(moved.asset, 0.0) / ledger.tick)
    assert holdings(moved.book, "bob") == holdings(before, "bob")


def test_the_initial_margin_moves_in_and_not_a_tick_more() -> None:
    moved = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", 10_000.0))
    assert (moved.sub_account, moved.asset) == ("alice/BTC-PERPETUAL", "BTC")
    assert sub_account_of("alice", "BTC-PERPETUAL") == moved.sub_account and owner_of(moved.sub_account) == "alice"
    check_conserved(BOOK, moved)
    statement = margin(moved.book, ARRAYS, MARKET, MODEL)
    row = moved.book.row_of(moved.sub_account)
    # A tick of a coin is less than a cent, which is what a statement knows.
    assert 0.0 <= statement.available_funds[row] <= 0.01
    poorer = dict(holdings(moved.book, moved.sub_account))
    poorer["BTC"] -= 0.02 / float(ARRAYS.value[ROW["BTC"]])
    assert margin(book_of({"x": poorer}), ARRAYS, MARKET, MODEL).available_funds[0] < 0.0
    assert holdings(moved.book, "alice") == pytest.approx({**MAIN, "BTC": 50.0 - moved.moved})


def test_what_an_option_costs_moves_in_and_is_paid_from_there() -> None:
    moved = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-60D-68000-C", 2.0), 0.12)
    assert moved.paid == pytest.approx(0.24)
    assert moved.moved >= 0.24
    check_conserved(BOOK, moved)
    assert holdings(moved.book, moved.sub_account)["BTC-60D-68000-C"] == 2.0
    assert min(holdings(moved.book, moved.sub_account).values()) >= 0.0


def test_what_is_left_goes_back_when_it_closes() -> None:
    opened = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", 10_000.0))
    half = close_isolated(opened.book, ARRAYS, "alice", ("BTC-PERPETUAL", -4_000.0), 69_000.0)
    assert (half.moved, half.covered) == (0.0, 0.0)
    assert half.paid < 0.0
    check_conserved(opened.book, half)
    closed = close_isolated(half.book, ARRAYS, "alice", ("BTC-PERPETUAL", -6_000.0))
    check_conserved(half.book, closed)
    assert holdings(closed.book, closed.sub_account) == {}
    assert holdings(closed.book, "alice") == pytest.approx({**MAIN, "BTC": 50.0 - half.paid}, abs=1e-12)


def test_the_owner_loses_no_more_than_was_moved() -> None:
    opened = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", 10_000.0))
    crashed = close_isolated(opened.book, ARRAYS, "alice", ("BTC-PERPETUAL", -10_000.0), 20_000.0)
    check_conserved(opened.book, crashed)
    assert crashed.moved == 0.0 < crashed.covered
    assert crashed.covered == pytest.approx(crashed.paid - opened.moved, abs=1e-12)
    assert holdings(crashed.book, "alice") == holdings(opened.book, "alice")
    assert holdings(crashed.book, crashed.sub_account) == {}


fills = st.lists(
    st.tuples(st.sampled_from(CONTRACTS), st.integers(-60, 60).filter(bool), st.floats(0.7, 1.4)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(fills)
def test_whatever_is_opened_and_closed_nothing_is_lost(listed: list[tuple[str, int, float]]) -> None:
    book = BOOK
    for name, steps, move in listed:
        size = quantity(name, steps)
        try:
            opened = open_isolated(book, ARRAYS, MODEL, "alice", (name, size))
        except DataError as error:
            assert "a close" in str(error) or "too little" in str(error) or "would not cover" in str(error)
            continue
        check_conserved(book, opened)
        before = holdings(opened.book, "alice")
        row = ROW[name]
        coin = float(ARRAYS.value[ROW[opened.asset]])
        option = float(ARRAYS.value[row]) / (float(INSTRUMENTS.multiplier[row]) * coin)
        forward = float(ARRAYS.terms.forward[ARRAYS.expiry_idx[row]])
        price = move * (option if ARRAYS.kind[row] == Kind.OPTION else forward)
        held = holdings(opened.book, opened.sub_account)[name]
        closed = close_isolated(opened.book, ARRAYS, "alice", (name, -held), price)
        check_conserved(opened.book, closed)
        after = holdings(closed.book, "alice")
        assert after.get(opened.asset, 0.0) >= before.get(opened.asset, 0.0) - 1e-9
        assert {n: q for n, q in after.items() if n != opened.asset} == {
            n: q for n, q in before.items() if n != opened.asset
        }
        book = closed.book


def stressed() -> tuple[Moved, RiskArrays]:
    """A long isolated position, and a market in which it is worth less than nothing."""
    opened = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", 10_000.0))
    arrays = revalue(INSTRUMENTS, ticked(MARKET, 0, -0.3), GRID)
    # The mark has been settled in the coin: the position lost 100,000 dollars (1 / mark then - 1 / mark now).
    lost = 100_000.0 * (1.0 / float(arrays.terms.forward[2]) - 1.0 / float(ARRAYS.terms.forward[2]))
    held = {str(name): holdings(opened.book, str(name)) for name in opened.book.account_id}
    held[opened.sub_account]["BTC"] -= lost
    return replace(opened, book=book_of(held)), arrays


@pytest.mark.parametrize("policy", [largest_contributor, proportional])
def test_its_liquidation_leaves_the_owner_untouched(policy: object) -> None:
    opened, arrays = stressed()
    book = opened.book
    statement = margin(book, arrays, None, MODEL)
    below = {str(name) for name in statement.account[statement.below_maintenance]}
    assert opened.sub_account in below and "alice" not in below
    costs = Costs.of(arrays, trading=0.0005 * arrays.notional, penalty=0.001 * arrays.notional)
    plan = policy.plan(book.select(opened.sub_account), arrays, MODEL, costs)  # type: ignore[attr-defined]
    assert plan.outcome == Outcome.BANKRUPT
    equity = {str(name): float(e) for name, e in zip(statement.account, statement.equity, strict=True)}
    cents = {name: int(to_ticks(equity[name], 0.01, up=False)) for name in ("alice", opened.sub_account)}
    cost = int(to_ticks(plan.cost, 0.01, up=True))
    books = open_ledger(cents, {"maker": 0}, insurance_fund=50_000_000, tick=0.01)
    nobody = Others(np.array([], dtype=np.str_), np.array([], dtype=np.int64))
    done = settle(books, opened.sub_account, "maker", Params(), nobody, cost=cost, penalty=0)
    assert done.ledger.balance_of("alice") == cents["alice"]
    assert done.ledger.balance_of(opened.sub_account) == 0
    assert done.ledger.total == books.total and done.uncovered == 0


def test_an_engine_takes_the_same_transfers() -> None:
    engine = MarginEngine.start(BOOK, MODEL, INSTRUMENTS, MARKET, GRID)
    opened = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-60D-68000-C", 2.0))
    for event in opened.events(opened=True):
        engine.apply(event)
    closed = close_isolated(opened.book, ARRAYS, "alice", ("BTC-60D-68000-C", -2.0), 0.2)
    wanted = margin(opened.book, ARRAYS, MARKET, MODEL)
    for row, name in enumerate(wanted.account):
        assert engine.state.figures(str(name))["available_funds"] == wanted.available_funds[row]
    for event in closed.events(opened=False):
        engine.apply(event)
    wanted = margin(closed.book, ARRAYS, MARKET, MODEL)
    for row, name in enumerate(wanted.account):
        assert engine.state.figures(str(name))["equity"] == pytest.approx(wanted.equity[row], abs=0.011)


@pytest.mark.parametrize(
    ("owner", "order", "price", "text"),
    [
        ("nobody", ("BTC-PERPETUAL", 10.0), None, "no such account"),
        ("alice", ("BTC-PERP", 10.0), None, "no such instrument"),
        ("alice", ("BTC-PERPETUAL", 0.0), None, "an order of nothing"),
        ("alice", ("BTC-PERPETUAL", 0.5), None, "multiples of 1"),
        ("alice", ("BTC-PERPETUAL", 10.0), float("nan"), "finite number"),
        ("alice", ("BTC-PERPETUAL", 1e15), None, "too large for exact sums"),
        ("alice", ("BTC-PERPETUAL", -1000.0), -5.0, "the price of an inverse future is above 0"),
        ("alice", ("BTC-PERPETUAL", 1000.0), 0.0, "the price of an inverse future is above 0"),
        ("alice", ("BTC-60D-68000-C", 2.0), -0.5, "the price of an option is 0 or more"),
        ("alice", ("BTC-60D-68000-C", -2.0), 1500.0, "by what it pays"),
        ("alice", ("BTC-PERPETUAL", 1000.0), 1e-12, "price = 1e-12: BTC-PERPETUAL may trade from"),
        (
            "alice",
            ("BTC-PERPETUAL", 10_000_000.0),
            None,
            "alice has too little BTC for the initial margin of the position, which takes ",
        ),
        ("bob", ("BTC-PERPETUAL", 10.0), None, "bob has too little BTC"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    owner: str, order: tuple[str, float], price: float | None, text: str
) -> None:
    with pytest.raises(DataError, match=text):
        open_isolated(BOOK, ARRAYS, MODEL, owner, order, price)


@pytest.mark.parametrize("coins", [1e8, 1e12])
def test_coins_beyond_what_ticks_can_count_are_named(coins: float) -> None:
    rich = book_of({"alice": {"BTC": coins}})
    with pytest.raises(DataError, match=r"collateral = .*: alice has more BTC than whole ticks of 1e-08 can count"):
        open_isolated(rich, ARRAYS, MODEL, "alice", ("BTC-60D-68000-C", -1.0))


def test_an_owner_rich_in_coins_moves_what_is_lacking() -> None:
    """What is moved is that of an owner who has just enough."""
    order = ("BTC-60D-68000-C", -1.0)
    rich = open_isolated(book_of({"alice": {"BTC": 30_000.0}}), ARRAYS, MODEL, "alice", order)
    plain = open_isolated(book_of({"alice": {"BTC": 3.0}}), ARRAYS, MODEL, "alice", order)
    assert 0.0 < plain.moved < 3.0 and rich.moved == plain.moved


def test_a_fill_whose_payment_cannot_be_counted_is_named() -> None:
    unrounded = revalue(INSTRUMENTS, MARKET, GRID, tick=None)
    with pytest.raises(DataError, match=r"quantity = .*: what it pays, .* BTC, is too large for exact sums"):
        open_isolated(BOOK, unrounded, MODEL, "alice", ("BTC-PERPETUAL", 1e15), 1_500.0)


def test_a_sum_that_is_too_large_names_the_sub_account() -> None:
    """The order is small enough, and what it adds to is not."""
    row = ROW["BTC-PERPETUAL"]
    most = 2.0**53 * float(ARRAYS.unit[row]) / float(np.abs(ARRAYS.rows[row]).max())
    size = 9.0 * (most // 10.0)
    held = book_of({"alice": MAIN, "alice/BTC-PERPETUAL": {"BTC-PERPETUAL": size}})
    with pytest.raises(NumericalError, match="account alice/BTC-PERPETUAL is too large"):
        open_isolated(held, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", size))


def test_no_price_makes_money_from_nowhere_when_a_position_closes() -> None:
    opened = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-60D-68000-C", 2.0))
    for price in (-0.5, 1500.0, float("inf")):
        with pytest.raises(DataError, match="price = "):
            close_isolated(opened.book, ARRAYS, "alice", ("BTC-60D-68000-C", -2.0), price)


def test_an_owner_that_needs_its_collateral_keeps_it() -> None:
    tight = book_of({"carol": {"BTC": 1.0, "BTC-60D": 30_000.0}})
    free = margin(tight, ARRAYS, MARKET, MODEL).available_funds[0]
    assert free > 0.0
    with pytest.raises(DataError, match="would not cover its initial margin"):
        open_isolated(tight, ARRAYS, MODEL, "carol", ("BTC-PERPETUAL", 25_000.0))


def test_what_does_not_reduce_is_no_close_and_what_reduces_no_opening() -> None:
    opened = open_isolated(BOOK, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", 100.0))
    for size in (100.0, -101.0):
        with pytest.raises(DataError, match="an order must reduce that"):
            close_isolated(opened.book, ARRAYS, "alice", ("BTC-PERPETUAL", size))
    with pytest.raises(DataError, match="is a close"):
        open_isolated(opened.book, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", -10.0))
    with pytest.raises(DataError, match="must reduce"):
        close_isolated(BOOK, ARRAYS, "alice", ("BTC-PERPETUAL", -10.0))
    more = open_isolated(opened.book, ARRAYS, MODEL, "alice", ("BTC-PERPETUAL", 100.0))
    assert more.moved == pytest.approx(opened.moved, rel=1e-3)


def test_the_settlement_currency_must_be_there_and_the_model_must_have_a_rule() -> None:
    with pytest.raises(DataError, match="cannot have collateral in it"):
        open_isolated(BOOK, replace(ARRAYS, cash_row=np.full(len(ARRAYS), -1)), MODEL, "alice", ("BTC-PERPETUAL", 1.0))
    assert order_rows(ARRAYS, [("BTC-PERPETUAL", 1.0)])[0][0] == ROW["BTC-PERPETUAL"]
    held = {"alice/BTC-PERPETUAL": {"BTC-PERPETUAL": 10.0, "BTC": 1.0, "USD": 5.0}, "alice": MAIN}
    with pytest.raises(DataError, match="collateral in its settlement currency only"):
        close_isolated(book_of(held), ARRAYS, "alice", ("BTC-PERPETUAL", -10.0))
