"""One compiled pass over all accounts: the array code's numbers to the last bit, and its errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book
from portfolio_margin.backends import numba as accounts
from portfolio_margin.dynamic import concentration, liquidity, near_expiry
from portfolio_margin.dynamic.assets import Asset
from portfolio_margin.dynamic.measured import Measured, at_once, part_by_part
from portfolio_margin.models.dynamic_worst_case import Model, Params
from pricing import ConfigError, DataError, NumericalError
from scenarios import RiskArrays, revalue
from tests.portfolio_margin.books import (
    BOOK,
    INSTRUMENTS,
    MARKET,
    ROW,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
)
from tests.portfolio_margin.dynamic.states import state

PARAMS = Params(
    {"BTC": state(), "ETH": state(daily_volume=2e8, daily_vega_volume=5e6, long_share=0.2)},
    near_expiry=near_expiry.Params(window_days=30.0),
)
CALM = replace(PARAMS, underlyings={name: state(long_share=0.5, short_vol_share=0.5) for name in ("BTC", "ETH")})
TIERED = replace(PARAMS, concentration=concentration.Params(curve="tiered", tiers=(0.0, 0.0005, 0.005, 0.05)))
CAPPED = replace(PARAMS, assets={"BTC": Asset(tiers=(0.0, 1e4, 1e6), shares=(1.0, 0.5, 0.0), eligible="maintenance")})
UNDER = revalue(INSTRUMENTS, MARKET, Model(PARAMS).scenario_set(MARKET))


def buckets(days: int, deltas: int) -> liquidity.Params:
    """So many buckets, none of which costs what another does."""
    spreads = np.linspace(0.004, 0.2, days * deltas).reshape(days, deltas)
    return liquidity.Params(
        days=tuple(float(3 * day) for day in range(1, days + 1)),
        deltas=tuple(np.linspace(0.0, 0.5, deltas + 1)[1:].tolist()),
        half_spreads=tuple(tuple(row) for row in spreads.tolist()),
    )


def both(
    params: Params, book: Book, arrays: RiskArrays = UNDER, threads: int | None = None
) -> tuple[Measured | None, Measured]:
    """The two ways to the same numbers."""
    model = Model(params)
    given = (book, model.closing(arrays), model.haircut(arrays), params.short_option_minimum)
    return at_once(*given, threads), part_by_part(*given, backend="numpy", threads=None)


def check_same_bits(found: Measured | None, wanted: Measured) -> None:
    assert found is not None
    assert found.tiers.worst.tolist() == wanted.tiers.worst.tolist()
    assert found.tiers.added.tobytes() == wanted.tiers.added.tobytes()
    for name in Measured._fields[1:]:
        assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(contracts_held, balances_held), min_size=1, max_size=4), st.sampled_from([PARAMS, TIERED]))
def test_any_accounts_have_the_bits_of_the_array_code(held: list, params: Params) -> None:
    book = book_of({f"a{k}": {**in_steps(steps), **balances} for k, (steps, balances) in enumerate(held)})
    check_same_bits(*both(params, book))


@pytest.mark.parametrize(("days", "deltas"), [(1, 1), (1, 7), (2, 4), (5, 3), (7, 9)])
def test_any_number_of_buckets_adds_up_as_the_array_code_does(days: int, deltas: int) -> None:
    found, wanted = both(replace(PARAMS, liquidity=buckets(days, deltas)), BOOK)
    check_same_bits(found, wanted)
    assert np.all(wanted.liquidity.max() > 0.0)


def test_more_buckets_than_a_vector_holds_are_left_to_the_array_code() -> None:
    assert both(replace(PARAMS, liquidity=buckets(8, 8)), BOOK)[0] is None


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_and_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    whole = both(PARAMS, BOOK)[1]
    monkeypatch.setattr(accounts, "BLOCK_POSITIONS", 100)
    check_same_bits(both(PARAMS, BOOK, threads=threads)[0], whole)


def test_tiers_that_repeat_the_one_before_add_nothing_and_keep_its_scenario() -> None:
    arrays = revalue(INSTRUMENTS, MARKET, Model(CALM).scenario_set(MARKET))
    assert len(np.unique(arrays.rows, axis=1).T) <= 0.75 * arrays.rows.shape[1]
    found, wanted = both(CALM, BOOK, arrays)
    check_same_bits(found, wanted)
    assert found is not None and not found.tiers.added[:, 2].any()


@pytest.mark.parametrize("params", [PARAMS, CAPPED], ids=["all counts", "a coin that backs maintenance alone"])
def test_the_requirement_is_that_of_the_array_code(params: Params) -> None:
    found, wanted = (Model(params).requirement(BOOK, UNDER, backend=backend) for backend in ("numba", "numpy"))
    assert found.worst_scenario.tolist() == wanted.worst_scenario.tolist()
    for name, amounts in wanted.charges.items():
        assert found.charges[name].tobytes() == amounts.tobytes(), name


PERPETUAL, CALL = "BTC-PERPETUAL", next(name for name in ROW if name.startswith("BTC-7D-"))
HALF_A_STEP = {CALL: 0.5 * float(INSTRUMENTS.quantity_step[ROW[CALL]])}


@pytest.mark.parametrize(
    ("held", "error"), [(HALF_A_STEP, DataError), ({PERPETUAL: 1e15}, NumericalError)], ids=["off step", "too large"]
)
def test_an_unusual_account_is_refused_in_the_words_of_the_array_code(
    held: dict[str, float], error: type[Exception]
) -> None:
    book = book_of({"fine": {PERPETUAL: 10.0}, "odd": held})
    model = Model(PARAMS)
    assert at_once(book, model.closing(UNDER), model.haircut(UNDER), 0.003) is None
    told = []
    for backend in ("numba", "numpy"):
        with pytest.raises(error, match="odd") as refused:
            model.requirement(book, UNDER, backend=backend)
        told.append(str(refused.value))
    assert told[0] == told[1]


def test_books_without_groups_and_with_foreign_groups_are_not_for_the_pass() -> None:
    with pytest.raises(ConfigError, match="need a book with groups"):
        Model(PARAMS).requirement(book_of({"a": {PERPETUAL: 10.0}}, grouped=False), UNDER)
    eth = ROW["ETH-PERPETUAL"]
    keys = np.where(np.arange(len(INSTRUMENTS)) == eth, INSTRUMENTS.expiry_idx[ROW[PERPETUAL]], INSTRUMENTS.expiry_idx)
    book = Book.from_arrays(["a", "a"], [ROW[PERPETUAL], eth], [10.0, 10.0], keys)
    assert both(PARAMS, book)[0] is None


def test_unrounded_arrays_are_left_to_the_array_code() -> None:
    arrays = revalue(INSTRUMENTS, MARKET, Model(PARAMS).scenario_set(MARKET), tick=None)
    found, wanted = both(PARAMS, BOOK, arrays)
    assert found is None
    assert Model(PARAMS).requirement(BOOK, arrays).charges["liquidity"].max() > 0.0 < wanted.liquidity.max()


def test_what_arrays_gave_is_kept_for_the_same_arrays_and_parameters_alone() -> None:
    model, other = Model(PARAMS), Model(TIERED)
    first = model.closing(UNDER)
    assert model.closing(UNDER) is first and Model(PARAMS).closing(UNDER) is first
    copied = replace(UNDER)
    assert model.closing(copied) is not first and model.closing(copied).arrays is copied
    assert other.closing(UNDER) is not first and other.closing(UNDER).size == TIERED.concentration
