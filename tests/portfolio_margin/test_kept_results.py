"""What models keep of risk arrays changes no number: answers of engines and margins of arrays nobody has looked at."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.engine import MarginEngine
from portfolio_margin.sensitivities import COMPARED, with_orders
from portfolio_margin.state import start_from_arrays
from scenarios import RiskArrays, revalue
from scenarios.shocks import ScenarioSet
from tests.portfolio_margin.books import ARRAYS, BOOK, CONTRACTS, INSTRUMENTS, MARKET
from tests.portfolio_margin.books import quantity as in_steps
from tests.portfolio_margin.test_contracts import MODELS, model_of

ORDERS = 4


def arrays_for(model: Any) -> RiskArrays:
    wanted: ScenarioSet | None = model.scenario_set(MARKET)
    return ARRAYS if wanted is None else revalue(INSTRUMENTS, MARKET, wanted)


def random_orders(random: np.random.Generator) -> list[tuple[str, float]]:
    names = random.choice(CONTRACTS, random.integers(1, 4), replace=False)
    return [(str(name), in_steps(str(name), int(random.integers(1, 300)) * random.choice([-1, 1]))) for name in names]


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_arrays_that_nothing_is_known_of(name: str) -> None:
    """One engine that is asked again and again, against arrays and models of which nothing is kept."""
    random, model = np.random.default_rng(17), model_of(name)
    arrays = arrays_for(model)
    engine = MarginEngine(start_from_arrays(BOOK.accounts(0, 12), model, arrays))
    for account in random.choice(BOOK.account_id[:12], ORDERS, replace=False).tolist():
        orders = random_orders(random)
        answer = engine.what_if(account, orders)
        unknown = replace(arrays)
        before = BOOK.select(account)
        for book, found in ((before, answer.pre), (with_orders(before, unknown, orders), answer.post)):
            statement = margin(book, replace(arrays), None, model_of(name))
            wanted = {column: float(getattr(statement, column)[0]) for column in COMPARED}
            assert np.array(list(found.values())).tobytes() == np.array(list(wanted.values())).tobytes(), (name, orders)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_keeps_no_arrays_alive(name: str) -> None:
    """Every tick makes new arrays, and who hedges may have the collector of cycles rest."""
    model, book = model_of(name), Book.from_arrays(*_positions(), INSTRUMENTS.expiry_idx)
    arrays = replace(arrays_for(model))
    gone = weakref.ref(arrays)
    gc.collect()
    gc.disable()
    try:
        margin(book, arrays, None, model)
        del arrays
        assert gone() is None
    finally:
        gc.enable()


def _positions() -> tuple[Any, ...]:
    one = BOOK.accounts(0, 3)
    return np.repeat(one.account_id, np.diff(one.position_ptr)), one.instrument_idx, one.quantity
