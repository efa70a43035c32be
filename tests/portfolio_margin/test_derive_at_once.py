"""derive_pmrm2 in one compiled pass: bit for bit what the arrays of all expiries give, and left alone where it must."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, load_parameters
from portfolio_margin.backends import derive_screen
from portfolio_margin.backends import numba as kernels
from portfolio_margin.derive_feeds import Feeds
from portfolio_margin.models import derive_pmrm2
from portfolio_margin.requirement import Requirement, covered
from pricing import DataError
from scenarios import RiskArrays, revalue
from tests.examples import random_book
from tests.portfolio_margin.books import INSTRUMENTS, MARKET, balances_held, book_of, contracts_held, in_steps

PARAMS, PARAMETER_SET = load_parameters("derive_pmrm2", at=MARKET.valuation_time)
MODEL = derive_pmrm2.Model(PARAMS, PARAMETER_SET)
ARRAYS = revalue(INSTRUMENTS, MARKET, MODEL.scenario_set(MARKET))


def assert_same_bits(model: derive_pmrm2.Model, book: Book, threads: int = 1, arrays: RiskArrays = ARRAYS) -> None:
    """Of both kernels: the one that counts every scenario, and the one with a screen."""
    seen, _ = covered(model, book, arrays)
    expected = model.requirement(seen, arrays, backend="numpy")
    for screened in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(derive_screen, "pays", lambda *given, screened=screened: screened)
            _assert_equal(model._at_once(seen, arrays, threads), expected)


def _assert_equal(found: Requirement | None, expected: Requirement) -> None:
    assert found is not None
    assert list(found.charges) == list(expected.charges)
    for name, amounts in expected.charges.items():
        assert (found.charges[name] + 0.0).tobytes() == (amounts + 0.0).tobytes(), name
    assert np.array_equal(found.worst_scenario, expected.worst_scenario)
    assert np.array_equal(found.initial, expected.initial) and np.array_equal(found.maintenance, expected.maintenance)
    assert np.array_equal(found.revaluation, expected.revaluation)


def test_accounts_of_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    book = random_book(INSTRUMENTS, accounts=400)
    assert_same_bits(MODEL, book)
    monkeypatch.setattr(kernels, "BLOCK_POSITIONS", 37)
    assert_same_bits(MODEL, book, threads=2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(contracts_held, balances_held), min_size=1, max_size=3))
def test_any_accounts(accounts: list[tuple[dict[str, int], dict[str, float]]]) -> None:
    assert_same_bits(MODEL, book_of({f"{n}": {**in_steps(steps), **cash} for n, (steps, cash) in enumerate(accounts)}))


@pytest.mark.parametrize(
    "change",
    [
        {"margin": {"long_base_static_discount": 1.0, "short_base_static_discount": 1.0, "long_rate_add_scale": 0.0}},
        {"margin": {"long_base_static_discount": 0.5, "short_base_static_discount": 2.0}},
        {"basis_contingency": {"add_factor": 1.0, "mult_factor": 2.0}},
        {"margin": {"im_factor": 0.5, "mm_factor": 1.5}},
    ],
    ids=["no discounts", "strong discounts", "basis decides", "initial below maintenance"],
)
def test_other_parameters(change: dict[str, Any]) -> None:
    groups = {name: replace(getattr(PARAMS, name), **values) for name, values in change.items()}
    assert_same_bits(derive_pmrm2.Model(replace(PARAMS, **groups)), random_book(INSTRUMENTS, accounts=80))


def test_calls_and_puts_of_a_strike_are_netted() -> None:
    """Many options on one expiry, two of a strike, bought and sold in any order of strikes."""
    names = [str(name) for name in INSTRUMENTS.instrument_id if str(name).startswith("BTC-7D-")]
    random = np.random.default_rng(6)
    held = {f"a{n}": {name: 0.1 * int(random.integers(-9, 9)) for name in names} for n in range(60)}
    assert_same_bits(MODEL, book_of(held))


@pytest.mark.parametrize(
    "feeds",
    [Feeds(spot_confidence={"BTC": 0.1}), Feeds(unsettled={"a": {"BTC": 5.0}})],
    ids=["in doubt", "unsettled"],
)
def test_what_it_leaves_to_the_reference(feeds: Feeds) -> None:
    model = derive_pmrm2.Model(replace(PARAMS, feeds=feeds))
    book = book_of({"a": {"BTC-7D-68000-C": -1.0, "BTC-PERPETUAL": 5.0}})
    assert model._at_once(book, ARRAYS, 1) is None
    numba, numpy = (model.requirement(book, ARRAYS, backend=backend) for backend in ("numba", "numpy"))
    assert np.array_equal(numba.initial, numpy.initial)


def test_bad_quantities_are_still_named() -> None:
    book = book_of({"fine": {"BTC-7D-68000-C": 0.3}, "off": {"BTC-7D-68000-C": 0.15}})
    assert MODEL._at_once(book, ARRAYS, 1) is None
    with pytest.raises(DataError, match=r"off, quantity = 0\.15"):
        MODEL.requirement(book, ARRAYS)
