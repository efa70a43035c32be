"""Book: built from loose positions in any order, checked once, read by account."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, margin
from portfolio_margin.book import UNGROUPED
from portfolio_margin.models import worst_case
from pricing import DataError
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, MARKET, ROW, book_of, loose, names_of, shuffled

KEYS = np.array([-1, 2, 2, 0, 1, 1])


def refused(*columns: Any, **more: Any) -> list[tuple[Any, str]]:
    with pytest.raises(DataError) as caught:
        Book.from_arrays(*columns, **more)
    assert all(problem.remedy for problem in caught.value.problems)
    return [(problem.row, problem.field) for problem in caught.value.problems]


def test_rows_are_sorted_by_account_group_and_instrument() -> None:
    book = Book.from_arrays(["b", "a", "b", "a", "b"], [5, 4, 0, 3, 1], [1.0, 2.0, 3.0, 4.0, 5.0], KEYS)
    assert book.account_id.tolist() == ["a", "b"]
    assert book.account_ptr.tolist() == [0, 2, 5]
    assert book.group_key.tolist() == [0, 1, -1, 1, 2]
    assert book.group_ptr.tolist() == [0, 1, 2, 3, 4, 5]
    assert book.instrument_idx.tolist() == [3, 4, 0, 5, 1]
    assert book.quantity.tolist() == [4.0, 2.0, 3.0, 1.0, 5.0]
    assert book.position_ptr.tolist() == [0, 2, 5]


def test_positions_of_one_group_stand_together() -> None:
    book = Book.from_arrays([7, 7, 7], [5, 4, 2], [1.0, 2.0, 3.0], KEYS)
    assert (book.group_key.tolist(), book.group_ptr.tolist()) == ([1, 2], [0, 2, 3])


def test_without_groups_an_account_is_one_group() -> None:
    book = Book.from_arrays(["a", "b", "a"], [3, 1, 2], [1.0, 2.0, 3.0])
    assert book.group_key.tolist() == [UNGROUPED, UNGROUPED]
    assert book.instrument_idx.tolist() == [2, 3, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["ä", "b", "a b", "Z", "10", "9"]), st.integers(0, 5)),
        st.floats(-1e6, 1e6),
        max_size=20,
    ),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_positions_come_back(positions: dict[tuple[str, int], float], grouped: bool, random: Any) -> None:
    rows = list(positions.items())
    random.shuffle(rows)
    columns = (np.array([k[0] for k, _ in rows], np.str_), [k[1] for k, _ in rows], [q for _, q in rows])
    book = Book.from_arrays(*columns, KEYS if grouped else None, accounts=["nobody"])
    assert book.account_id.tolist() == sorted({*(k[0] for k in positions), "nobody"})
    for name, pairs in zip(book.account_id, loose(book), strict=True):
        assert dict(pairs) == {i: q for (account, i), q in positions.items() if account == name}
        assert loose(book.select(str(name))) == [pairs]
    assert book.group_ptr[-1] == len(positions)
    assert book.account_ptr[-1] == len(book.group_key)
    if grouped:
        first = book.group_ptr[:-1]
        assert np.array_equal(KEYS[book.instrument_idx[first]], book.group_key)


def test_what_is_known_of_all_positions() -> None:
    groups = np.array([4, 4, 7, 7])
    grouped, loose_one = (Book.from_arrays(["b", "a", "a"], [0, 2, 1], [1.0, 2.0, 3.0], key) for key in (groups, None))
    assert grouped.is_grouped and not loose_one.is_grouped
    assert grouped.last_instrument == loose_one.last_instrument == 2
    assert grouped.select("b").last_instrument == 0
    nobody = Book.from_arrays(np.zeros(0, np.str_), [], [])
    assert nobody.last_instrument == -1 and nobody.is_grouped


def test_the_order_of_positions_leaves_no_trace() -> None:
    again = shuffled(BOOK, np.random.default_rng(1))
    for field in fields(Book):
        assert getattr(BOOK, field.name).tobytes() == getattr(again, field.name).tobytes()
        assert not getattr(again, field.name).flags.writeable


def test_accounts_may_hold_nothing() -> None:
    book = Book.from_arrays(["b"], [0], [1.0], KEYS, accounts=["c", "a", "b"])
    assert book.account_id.tolist() == ["a", "b", "c"]
    assert book.account_ptr.tolist() == [0, 0, 1, 1]
    assert len(book.select("c").quantity) == 0
    assert len(book_of({})) == 0


def test_names_from_a_frame() -> None:
    frame = pd.DataFrame({"account": ["x", "y"], "row": [1, 2], "quantity": [1, -2]})
    book = Book.from_arrays(frame.account, frame.row, frame.quantity, KEYS)
    assert (book.account_id.tolist(), book.quantity.tolist()) == (["x", "y"], [1.0, -2.0])


def test_integer_accounts_are_sorted_by_size() -> None:
    book = Book.from_arrays([10, 9, 100], [2, 2, 2], [1.0, 2.0, 3.0], accounts=[1])
    assert book.account_id.tolist() == ["1", "9", "10", "100"]
    assert book.row_of("100") == 3
    assert book.select("9").quantity.tolist() == [2.0]


@pytest.mark.parametrize("further", [[], [7], ["b"]])
def test_integer_accounts_keep_their_names_beside_further_ones(further: list[object]) -> None:
    book = Book.from_arrays([1, 2], [0, 1], [1.0, 1.0], accounts=further)
    assert sorted(book.account_id.tolist()) == sorted(["1", "2", *map(str, further)])
    assert loose(book.select("2")) == [[(1, 1.0)]]


def test_an_account_is_found_or_its_neighbours_are_named() -> None:
    assert [BOOK.row_of(str(name)) for name in BOOK.account_id] == list(range(len(BOOK)))
    with pytest.raises(DataError, match=r"did you mean account-\d+"):
        BOOK.row_of("account-00003")
    with pytest.raises(DataError, match="no such account"):
        BOOK.select("zzz")
    with pytest.raises(DataError, match="no such account"):
        book_of({}).row_of("a")


def test_selecting_leaves_the_positions_as_they_are() -> None:
    for name in BOOK.account_id[::17]:
        alone = BOOK.select(str(name))
        assert len(alone) == 1
        assert loose(alone)[0] == loose(BOOK)[BOOK.row_of(str(name))]
        assert set(names_of(alone)) == {name}


def test_other_quantities_of_the_same_positions_make_the_same_book_as_from_nothing() -> None:
    doubled = BOOK.holding(2.0 * BOOK.quantity)
    again = Book.from_arrays(names_of(BOOK), BOOK.instrument_idx, doubled.quantity, INSTRUMENTS.expiry_idx)
    for field in fields(Book):
        assert np.array_equal(getattr(doubled, field.name), getattr(again, field.name)), field.name
    assert np.array_equal(doubled.position_ptr, again.position_ptr)
    assert (doubled.last_instrument, doubled.is_grouped) == (again.last_instrument, again.is_grouped)
    assert not doubled.quantity.flags.writeable and np.array_equal(BOOK.quantity * 2.0, doubled.quantity)
    with pytest.raises(DataError, match="one quantity a position"):
        BOOK.holding(BOOK.quantity[1:])
    with pytest.raises(DataError, match="numbers"):
        BOOK.holding(names_of(BOOK))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_quantities_are_finite(bad: float) -> None:
    assert refused(["a", "b", "c"], [0, 1, 2], [1.0, bad, bad]) == [(1, "quantity"), (2, "quantity")]


def test_instruments_exist() -> None:
    assert refused(["a", "b"], [0, -1], [1.0, 1.0]) == [(1, "instrument_idx")]
    assert refused(["a", "b"], [6, 5], [1.0, 1.0], KEYS) == [(0, "instrument_idx")]


def test_all_that_is_wrong_is_listed_at_once() -> None:
    assert refused(["a", "b", "c"], [-1, 9, 0], [1.0, 1.0, math.nan], KEYS) == [
        (0, "instrument_idx"),
        (1, "instrument_idx"),
        (2, "quantity"),
    ]


def test_no_contract_twice_in_one_account() -> None:
    """Wherever the two rows stand."""
    assert refused(["a", "b", "a", "b"], [3, 3, 3, 3], [1.0, 1.0, -1.0, 2.0], KEYS) == [
        ("a", "instrument_idx"),
        ("b", "instrument_idx"),
    ]


def test_one_row_a_position() -> None:
    for columns in ((["a", "b"], [0], [1.0]), (["a"], [0, 1], [1.0, 2.0]), ([["a"]], [[0]], [[1.0]]), ("a", 0, 1.0)):
        assert refused(*columns) == [(None, "shapes")]


def test_an_instrument_row_is_a_whole_number() -> None:
    assert refused(["a", "b"], [1.7, 1.0], [1.0, 1.0]) == [(0, "instrument_idx")]
    assert refused(["a"], [math.nan], [1.0]) == [(0, "instrument_idx")]
    assert Book.from_arrays(["a"], [2.0], [1.0]).instrument_idx.tolist() == [2]


def test_not_too_many_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portfolio_margin.book.MAX_ACCOUNTS", 2)
    assert refused(["a", "b", "c"], [0, 0, 0], [1.0, 1.0, 1.0]) == [(None, "accounts")]


def test_a_book_is_of_its_instruments() -> None:
    assert BOOK.instrument_idx.max() < len(INSTRUMENTS)
    assert set(np.unique(BOOK.group_key)) <= set(np.unique(INSTRUMENTS.expiry_idx))


@pytest.mark.parametrize("name", ["underlying_idx", "currency_idx", "zeros"])
def test_margin_refuses_groups_that_are_not_the_expiries(name: str) -> None:
    """Under bybit_pm the same account asked for 35,419 by expiry and for 20,908 by any of these."""
    groups = np.zeros(len(INSTRUMENTS)) if name == "zeros" else getattr(INSTRUMENTS, name)
    held = {"USD": 1e5, "BTC-7D-68000-C": -5.0, "BTC-60D-68000-C": 3.0, "ETH-7D-2050-P": -10.0}
    rows = [ROW[instrument] for instrument in held]
    book = Book.from_arrays(["a"] * len(held), rows, list(held.values()), groups)
    model = worst_case.Model(worst_case.Params(netting="joint"))
    with pytest.raises(DataError, match=r"row a, group = .*belongs to group .*instruments\.expiry_idx"):
        margin(book, ARRAYS, MARKET, model)
    ungrouped = margin(Book.from_arrays(["a"] * len(held), rows, list(held.values())), ARRAYS, MARKET, model)
    right = Book.from_arrays(["a"] * len(held), rows, list(held.values()), INSTRUMENTS.expiry_idx)
    assert margin(right, ARRAYS, MARKET, model).initial_margin == ungrouped.initial_margin
