"""what_if: an account before and after orders, the same numbers as a book that holds them."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, MarginEngine, margin, what_if
from portfolio_margin.models import worst_case
from portfolio_margin.requirement import Requirement
from portfolio_margin.sensitivities import COMPARED, with_orders
from pricing import DataError
from scenarios import RiskArrays, revalue
from tests.portfolio_margin.books import (
    ARRAYS,
    BACKENDS,
    BOOK,
    CONTRACTS,
    GRID,
    INSTRUMENTS,
    MARKET,
    ROW,
    Held,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
    loose,
    quantity,
)

MODEL = worst_case.Model()
STATEMENT = margin(BOOK, ARRAYS, MARKET, MODEL)
trades = st.lists(st.tuples(st.sampled_from(CONTRACTS), st.integers(-40, 40).filter(bool)), max_size=5)


class Crossing:
    """1,000 initial and 500 maintenance with one contract, 900 and 600 with two."""

    model_id, params, parameter_set = "crossing", worst_case.Params(), MODEL.parameter_set
    scenario_set, not_covered, haircut = MODEL.scenario_set, MODEL.not_covered, MODEL.haircut
    debts_covered, traits = MODEL.debts_covered, MODEL.traits

    def requirement(self, book: Book, arrays: RiskArrays, **how: object) -> Requirement:
        """By the number of contracts held."""
        two = np.count_nonzero(~arrays.is_collateral[book.instrument_idx]) > 1
        parts = np.array([[900.0, 600.0] if two else [1_000.0, 500.0]])
        return Requirement(parts[:, 0], parts[:, 1], np.array([-1]), {"all": parts})


def filled(held: Held, orders: list[tuple[str, float]]) -> Held:
    """The holdings after the orders, by hand: the premium of an option is paid in its coin, a future costs nothing."""
    after = dict(held)
    for name, amount in orders:
        after[name] = after.get(name, 0.0) + amount
        coin = str(INSTRUMENTS.instrument_id[ARRAYS.cash_row[ROW[name]]])
        if ARRAYS.value[ROW[name]]:
            after[coin] = after.get(coin, 0.0) - amount * ARRAYS.value[ROW[name]] / ARRAYS.value[ROW[coin]]
    return after


@settings(max_examples=30, deadline=None)
@given(contracts_held, balances_held, trades)
def test_before_and_after_are_statements(steps: dict[str, int], cash: Held, lots: list[tuple[str, int]]) -> None:
    held = {**in_steps(steps), **cash}
    orders = [(name, quantity(name, count)) for name, count in lots]
    result = what_if(book_of({"a": held}), ARRAYS, MARKET, MODEL, "a", orders)
    before, after = (margin(book_of({"a": h}), ARRAYS, MARKET, MODEL) for h in (held, filled(held, orders)))
    for name in COMPARED:
        assert result.pre[name] == getattr(before, name)[0]
        if name == "mm_rate":
            assert result.post[name] == pytest.approx(getattr(after, name)[0], rel=1e-3, abs=1e-9)
        else:
            # Premiums are sums of doubles: the last tick of a balance may differ, and with it a cent.
            assert result.post[name] == pytest.approx(getattr(after, name)[0], abs=0.011)
        assert result.change[name] == pytest.approx(
            0.0 if result.post[name] == result.pre[name] else result.post[name] - result.pre[name], abs=1e-8
        )
    # Whoever trades at the mark is worth what he was.
    assert result.change["equity"] == pytest.approx(0.0, abs=0.0101)


def test_an_account_of_a_large_book() -> None:
    for row in range(0, len(BOOK), 11):
        result = what_if(BOOK, ARRAYS, MARKET, MODEL, str(BOOK.account_id[row]), [])
        assert result.pre == result.post == {name: getattr(STATEMENT, name)[row] for name in COMPARED}
        assert set(result.change.values()) == {0.0}
        assert result.pre_status == result.post_status == STATEMENT.columns()["status"][row]
        assert result.allowed and result.fits == (result.pre["available_funds"] >= 0)


def test_every_backend_agrees() -> None:
    orders = [("BTC-7D-68000-C", -2.0), ("ETH-60D-2050-P", 0.3), ("BTC-PERPETUAL", 100.0)]
    first, *others = (
        what_if(BOOK, ARRAYS, MARKET, MODEL, "account-000005", orders, backend=backend) for backend in BACKENDS
    )
    for other in others:
        for name in COMPARED:
            assert other.post[name] == pytest.approx(first.post[name], abs=2e-4 if name == "delta_total" else 0.0)


def test_premiums_are_paid_in_coin() -> None:
    book = book_of({"a": {"USD": 1e5, "BTC": 1.0}})
    after = with_orders(book, ARRAYS, [("BTC-60D-68000-C", -2.0), ("BTC-PERPETUAL", 10.0)])
    held = dict(loose(after)[0])
    coins = ARRAYS.value[ROW["BTC-60D-68000-C"]] / MARKET.spot[0]
    assert held == pytest.approx(
        {ROW["USD"]: 1e5, ROW["BTC"]: 1.0 + 2 * coins, ROW["BTC-60D-68000-C"]: -2.0, ROW["BTC-PERPETUAL"]: 10.0}
    )


def test_closing_a_position_removes_it() -> None:
    book = book_of({"a": {"BTC-PERPETUAL": 3.0, "BTC-7D-68000-C": 0.3}})
    after = with_orders(book, ARRAYS, [("BTC-PERPETUAL", -3.0), ("BTC-7D-68000-C", -0.1), ("BTC-7D-68000-C", -0.2)])
    assert [row for row, _ in loose(after)[0]] == [ROW["BTC"]]
    gone = what_if(book, ARRAYS, MARKET, MODEL, "a", [("BTC-PERPETUAL", -3.0), ("BTC-7D-68000-C", -0.3)])
    assert gone.post_status == "NORMAL"


def test_decimal_fills_stay_on_their_step() -> None:
    """0.1 added thirty times is three, not a little less."""
    after = with_orders(book_of({"a": {}}), ARRAYS, [("BTC-7D-68000-C", 0.1)] * 30)
    assert dict(loose(after)[0])[ROW["BTC-7D-68000-C"]] == 30 * 0.1
    margin(after, ARRAYS, MARKET, MODEL)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_first_position_of_an_empty_account(grouped: bool) -> None:
    model = worst_case.Model(worst_case.Params(netting="per_underlying" if grouped else "joint"))
    result = what_if(book_of({"a": {}}, grouped), ARRAYS, MARKET, model, "a", [("BTC-7D-68000-C", -1.0)])
    sold = margin(book_of({"a": filled({}, [("BTC-7D-68000-C", -1.0)])}), ARRAYS, MARKET, model)
    assert result.post["initial_margin"] == pytest.approx(sold.initial_margin[0], abs=0.0101)
    assert set(result.pre.values()) == {0.0}
    assert (result.fits, result.pre_worst_scenario) == (False, "")
    assert result.post_worst_scenario in GRID.label


def test_orders_fit_where_they_are_covered_and_are_allowed_where_they_help() -> None:
    risky = book_of({"a": {"BTC-PERPETUAL": -1_000.0, "USD": 500.0}, "b": {"USD": 1e6}})

    def decided(account: str, lots: float) -> tuple[bool, bool]:
        result = what_if(risky, ARRAYS, MARKET, MODEL, account, [("BTC-PERPETUAL", lots)])
        assert result.columns()["allowed"] == result.allowed
        return result.fits, result.allowed

    assert decided("a", -1.0) == (False, False)
    assert decided("a", 1.0) == (False, True)
    assert decided("a", 1_000.0) == (True, True)
    assert decided("b", -1.0) == (True, True)


def test_a_bankrupt_account_never_fits() -> None:
    """It may take margin off all the same, down to no position at all."""
    book = book_of({"a": {"BTC-PERPETUAL": -1_000.0, "USD": -500.0}})
    for lots in (10.0, 400.0, 1_000.0):
        result = what_if(book, ARRAYS, MARKET, MODEL, "a", [("BTC-PERPETUAL", lots)])
        assert (result.pre_status, result.post_status) == ("BANKRUPT", "BANKRUPT")
        assert (result.fits, result.allowed) == (False, True)
    assert result.post["initial_margin"] == 0.0


def test_funds_that_rise_while_excess_falls_are_no_help() -> None:
    """A model whose initial margin the order lowers and whose maintenance margin it raises."""
    book = book_of({"a": {"BTC-PERPETUAL": -1_000.0, "USD": 1.0}})
    result = what_if(book, ARRAYS, MARKET, Crossing(), "a", [("ETH-PERPETUAL", 1.0)])
    assert result.change["available_funds"] > 0 > result.change["excess_liquidity"]
    assert not result.fits and not result.allowed


@pytest.mark.parametrize("asset", ["USD", "BTC"])
def test_an_asset_is_no_order(asset: str) -> None:
    with pytest.raises(DataError, match="held, not a contract"):
        what_if(BOOK, ARRAYS, MARKET, MODEL, "account-000003", [(asset, 2.5)])


def test_the_book_is_left_as_it_is() -> None:
    before = [getattr(BOOK, field.name).tobytes() for field in fields(Book)]
    what_if(BOOK, ARRAYS, MARKET, MODEL, "account-000003", [("BTC-PERPETUAL", 5.0)])
    assert before == [getattr(BOOK, field.name).tobytes() for field in fields(Book)]


def test_an_order_of_nothing_is_none() -> None:
    engine = MarginEngine.from_arrays(BOOK, MODEL, ARRAYS)
    orders = [("BTC-PERPETUAL", 10.0), ("BTC-PERPETUAL", 0)]
    for ask in (engine.what_if, lambda *given: what_if(BOOK, ARRAYS, MARKET, MODEL, *given)):
        with pytest.raises(DataError, match=r"orders, row 2, quantity = 0\.0: an order of nothing"):
            ask(str(BOOK.account_id[0]), orders)


def test_every_bad_order_is_named() -> None:
    orders = [
        ("BTC-7D-68000-X", 1.0), ("BTC-7D-68000-C", 0.05), ("BTC-PERPETUAL", 1.0), ("BTC-7D-68000-C", math.nan),
        ("BTC-PERPETUAL", math.inf), ("BTC-PERPETUAL", 0.5),
    ]  # fmt: skip
    with pytest.raises(DataError) as caught:
        what_if(BOOK, ARRAYS, MARKET, MODEL, "account-000003", orders)
    problems = caught.value.problems
    assert [(p.row, p.field) for p in problems] == [
        (1, "instrument"), (2, "quantity"), (4, "quantity"), (5, "quantity"), (6, "quantity"),
    ]  # fmt: skip
    assert "did you mean" in problems[0].remedy
    assert "BTC-7D-68000-C" in problems[0].remedy
    assert "multiples of 0.1" in problems[1].remedy
    assert "finite" in problems[2].remedy


def test_a_premium_needs_somewhere_to_go() -> None:
    keep = np.flatnonzero(INSTRUMENTS.instrument_id != "BTC")
    fewer = replace(INSTRUMENTS, **{f.name: getattr(INSTRUMENTS, f.name)[keep] for f in fields(INSTRUMENTS)})
    arrays = revalue(fewer, replace(MARKET, mark_vol=MARKET.mark_vol[keep]), GRID)
    book = Book.from_arrays(["a"], [0], [1e6], fewer.expiry_idx)
    with pytest.raises(DataError, match="premium cannot be booked"):
        what_if(book, arrays, None, MODEL, "a", [("BTC-7D-68000-C", 1.0)])
    assert what_if(book, arrays, None, MODEL, "a", [("BTC-PERPETUAL", 1.0)]).fits


def test_an_unknown_account_is_named() -> None:
    with pytest.raises(DataError, match="did you mean"):
        what_if(BOOK, ARRAYS, MARKET, MODEL, "account-00003", [])


def test_columns_are_flat() -> None:
    columns = what_if(BOOK, ARRAYS, MARKET, MODEL, "account-000003", [("BTC-PERPETUAL", 5.0)]).columns()
    assert {f"{when}_{name}" for name in COMPARED for when in ("pre", "post", "change")} <= set(columns)
    assert {"pre_status", "post_status", "pre_worst_scenario", "post_worst_scenario", "fits", "allowed"} <= set(columns)
