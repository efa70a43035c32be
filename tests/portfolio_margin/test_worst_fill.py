"""The worst subset of open orders against every subset tried by the margin model itself."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book
from portfolio_margin.charges import short_option_rows
from portfolio_margin.models import worst_case
from portfolio_margin.worst_fill import OpenOrders, WorstFill, worst_fill
from pricing import ConfigError, DataError
from tests.portfolio_margin.books import (
    ARRAYS,
    BOOK,
    CONTRACTS,
    ROW,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
    quantity,
)

open_orders = st.lists(
    st.tuples(
        st.sampled_from(CONTRACTS),
        st.integers(-300, 300).filter(bool),
        st.one_of(st.just(0.0), st.floats(-5e4, 5e4)),
    ),
    max_size=6,
)


def orders_of(listed: list[tuple[str, int, float]], account: int = 0) -> OpenOrders:
    return OpenOrders(
        np.full(len(listed), account),
        np.array([ROW[name] for name, *_ in listed], dtype=np.int64),
        np.array([quantity(name, steps) for name, steps, _ in listed]),
        np.array([gain for *_, gain in listed]),
    )


def found(book: Book, orders: OpenOrders, params: worst_case.Params) -> WorstFill:
    model = worst_case.Model(params)
    return worst_fill(
        book,
        ARRAYS,
        orders,
        netting=params.netting,
        haircut=model.haircut(ARRAYS),
        factor=params.initial_factor,
        short_rows=short_option_rows(ARRAYS, params.short_option_minimum),
    )


def subsets(held: dict[str, float], listed: list[tuple[str, int, float]], params: worst_case.Params) -> list[float]:
    """Initial margin less what was gained, of every subset of the orders, by the model on a book after the fills."""
    model = worst_case.Model(params)
    accounts: dict[str, dict[str, float]] = {}
    gains = []
    for n, chosen in enumerate(product((False, True), repeat=len(listed))):
        after = dict(held)
        for (name, steps, _), fills in zip(listed, chosen, strict=True):
            if fills:
                after[name] = after.get(name, 0.0) + quantity(name, steps)
        accounts[f"{n:03d}"] = after
        gains.append(sum(gain for (*_, gain), fills in zip(listed, chosen, strict=True) if fills))
    required = model.requirement(book_of(accounts), ARRAYS)
    return [float(amount) for amount in required.initial - np.array(gains)]


@settings(max_examples=60, deadline=None)
@given(
    contracts_held,
    balances_held,
    open_orders,
    st.sampled_from(
        [
            worst_case.Params(),
            worst_case.Params(netting="joint", initial_factor=1.3),
            worst_case.Params(short_option_minimum=0.2, initial_factor=1.5),
        ]
    ),
)
def test_the_worst_subset_is_the_worst_of_all_subsets(
    steps: dict[str, int], cash: dict[str, float], listed: list[tuple[str, int, float]], params: worst_case.Params
) -> None:
    held = {**in_steps(steps), **cash}
    worst = found(book_of({"a": held}), orders_of(listed), params)
    every = subsets(held, listed, params)
    assert worst.needed[0] == pytest.approx(max(every), rel=1e-9, abs=1e-3)
    # The subset it names is one that leads there: its place in the order of `product`.
    place = sum(1 << n for n, fills in enumerate(reversed(worst.filled.tolist())) if fills)
    assert every[place] == pytest.approx(max(every), rel=1e-9, abs=1e-3)


def test_without_orders_it_is_the_requirement() -> None:
    params = worst_case.Params()
    required = worst_case.Model(params).requirement(BOOK, ARRAYS)
    worst = found(BOOK, orders_of([]), params)
    assert worst.needed == pytest.approx(required.initial, rel=1e-12)
    floor_binds = required.charges["short_option_minimum"][:, 0] > 0.0
    assert np.array_equal(worst.scenario[~floor_binds], required.worst_scenario[~floor_binds])


def test_orders_against_each_other_cost_the_larger_not_the_sum() -> None:
    """A buy and a sell of one future: only one of them hurts in any scenario."""
    future = "BTC-PERPETUAL"
    buy, sell, both = ([(future, 100, 0.0)], [(future, -100, 0.0)], [(future, 100, 0.0), (future, -100, 0.0)])
    params = worst_case.Params()
    alone = [found(book_of({"a": {}}), orders_of(side), params).needed[0] for side in (buy, sell)]
    assert found(book_of({"a": {}}), orders_of(both), params).needed[0] == max(alone)
    # Against a position, an order that closes it costs nothing.
    held = book_of({"a": {future: 100.0}})
    assert found(held, orders_of(sell), params).needed[0] == found(held, orders_of([]), params).needed[0]


def test_accounts_have_their_own_orders() -> None:
    book = book_of({"a": {}, "b": {}})
    worst = found(book, orders_of([("BTC-PERPETUAL", 100, 0.0)], account=1), worst_case.Params())
    assert worst.needed[0] == 0.0 < worst.needed[1]
    assert worst.filled.tolist() == [True]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"account_idx": [1]}, "the book has 1 accounts"),
        ({"instrument_idx": [10_000]}, "the risk arrays hold only"),
        ({"instrument_idx": [ROW["BTC"]]}, "is collateral"),
        ({"quantity": [0.5]}, "whole steps"),
        ({"quantity": [0.0]}, "whole steps"),
        ({"quantity": [np.nan]}, "whole steps"),
        ({"gain": [np.inf]}, "must be finite"),
        ({"gain": [-1e12]}, "gain = -1000000000000.0: too large for exact sums"),
        ({"gain": [1.0, 2.0]}, "one entry for every order"),
    ],
)
def test_orders_that_are_none_are_named(change: dict[str, Any], text: str) -> None:
    columns = {"account_idx": [0], "instrument_idx": [ROW["BTC-PERPETUAL"]], "quantity": [1.0], "gain": [0.0]}
    orders = OpenOrders(**{name: np.asarray(values) for name, values in {**columns, **change}.items()})
    with pytest.raises(DataError, match=text):
        worst_fill(book_of({"a": {}}), ARRAYS, orders)


def test_rules_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="netting"):
        worst_fill(BOOK, ARRAYS, orders_of([]), netting="gross")
    with pytest.raises(ConfigError, match="factor"):
        worst_fill(BOOK, ARRAYS, orders_of([]), factor=0.0)
