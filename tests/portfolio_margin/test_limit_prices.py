"""The most that an option can be worth by its payoff: by hand, and that no value of the model lies above."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin import MarginEngine
from portfolio_margin.events import OrdersChanged
from portfolio_margin.limit_prices import furthest_of_future, most_worth, price_remedies
from portfolio_margin.models import worst_case
from portfolio_margin.working_orders import WorkingOrder
from pricing import DataError
from pricing.instruments import Kind
from tests.portfolio_margin.books import ARRAYS, BOOK, GRID, INSTRUMENTS, MARKET, ROW

EVERY = np.arange(len(ARRAYS))
IS_OPTION = ARRAYS.kind == Kind.OPTION


def worth(name: str) -> float:
    return float(most_worth(ARRAYS, np.array([ROW[name]]))[0])


def test_a_call_is_worth_a_coin_and_a_put_its_strike_in_coins() -> None:
    expiry = ARRAYS.expiry_idx[ROW["BTC-60D-68000-C"]]
    forward = float(ARRAYS.terms.forward[expiry])
    spot = float(ARRAYS.terms.spot[ARRAYS.terms.expiry_underlying[expiry]])
    assert worth("BTC-60D-68000-C") == pytest.approx(max(spot, forward) / min(spot, forward), rel=1e-12)
    assert 1.0 <= worth("BTC-60D-68000-C") < 1.1
    assert worth("BTC-60D-68000-P") == pytest.approx(68_000.0 / min(spot, forward), rel=1e-12)


def test_no_value_lies_above_and_only_options_are_bounded() -> None:
    most = most_worth(ARRAYS, EVERY)
    assert np.isinf(most[~IS_OPTION]).all() and np.isfinite(most[IS_OPTION]).all()
    value = ARRAYS.value / (ARRAYS.terms.multiplier * ARRAYS.terms.fx[ARRAYS.terms.currency_idx])
    assert (value[IS_OPTION] <= most[IS_OPTION]).all()


def test_prices_up_to_the_bound_stand_and_those_beyond_do_not() -> None:
    rows = np.flatnonzero(IS_OPTION)
    most = most_worth(ARRAYS, rows)
    for price in (most, np.zeros(len(rows)), np.full(len(rows), np.nan)):
        assert (price_remedies(ARRAYS, rows, price) == "").all()
    for price in (most * 1.01, np.full(len(rows), -1e-4)):
        assert (price_remedies(ARRAYS, rows, price) != "").all()


def test_a_future_trades_within_fifty_times_its_forward() -> None:
    rows = np.flatnonzero(~IS_OPTION & ~ARRAYS.is_collateral)
    forward = ARRAYS.terms.forward[ARRAYS.expiry_idx[rows]]
    low, high = furthest_of_future(ARRAYS, rows)
    assert high / forward == pytest.approx(50.0) and forward / low == pytest.approx(50.0)
    for price in (low, high, forward * 0.02, forward * 5.0):
        assert (price_remedies(ARRAYS, rows, price * (1.0 + 1e-12 * (price == low))) == "").all()
    # Cents for dollars, and the other way round.
    for price in (forward * 100.0, forward / 100.0, np.full(len(rows), 1e9), np.full(len(rows), 1e-5)):
        told = price_remedies(ARRAYS, rows, price)
        assert all(str(name) in text for name, text in zip(ARRAYS.instrument_id[rows], told, strict=True))
    assert 1.0 + GRID.price_move.max() < 50.0 and 1.0 + GRID.price_move.min() > 1.0 / 50.0


def test_an_engine_refuses_what_it_cannot_be_worth() -> None:
    engine = MarginEngine.start(BOOK, worst_case.Model(), INSTRUMENTS, MARKET, GRID)
    account = str(BOOK.account_id[0])
    for price, said in ((1500.0, "by what it pays"), (-0.1, "0 or more")):
        with pytest.raises(DataError, match=said):
            engine.apply(OrdersChanged(account, (WorkingOrder("BTC-60D-68000-C", 2.0, price),)))
    for price in (1e9, 1e-5):
        with pytest.raises(DataError, match=r"row 1, price = .*BTC-PERPETUAL may trade from"):
            engine.apply(OrdersChanged(account, (WorkingOrder("BTC-PERPETUAL", -1.0, price),)))
