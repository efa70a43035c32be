"""Margin by settlement currency: what a segregated venue shows of an account."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portfolio_margin import load_parameters, margin
from portfolio_margin.models import deribit_spm, deribit_standard
from portfolio_margin.segregated import segregated_margins
from pricing import ConfigError
from scenarios import revalue
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, MARKET
from tests.portfolio_margin.deribit_examples import EXACT_ARRAYS, INDEX, LINEAR, PARAMS, ROW, linear_book

HELD = {
    "USDC": 500.0,
    "BTC": 1.5,
    "BTC-PERPETUAL": 40_000.0,
    "BTC-30D-1.0-+1": -2.0,
    "ETH": -3.0,
    "ETH_USDC-PERPETUAL": -2_000.0,
    "ETH_USDC-30D-0.8--1": -10.0,
}


def models() -> list[Any]:
    standard, _ = load_parameters("deribit_standard")
    return [deribit_spm.Model(PARAMS), deribit_standard.Model(standard)]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.model_id)
def test_currencies_at_their_index_add_up_to_the_account(model: Any) -> None:
    found = segregated_margins(linear_book(HELD), EXACT_ARRAYS, model, backend="numpy")
    whole = model.requirement(linear_book(HELD), EXACT_ARRAYS, backend="numpy")
    assert found.currency.tolist() == ["BTC", "ETH", "USDC"]
    rate = np.array([INDEX["BTC"], INDEX["ETH"], 1.0])
    owed = whole.charges["balances_owed"][0]
    assert owed[0] > 0.0  # a price between currencies, which none of them bears by itself
    assert (found.initial * rate).sum() == pytest.approx(whole.initial[0] - owed[0])
    assert (found.maintenance * rate).sum() == pytest.approx(whole.maintenance[0] - owed[1])
    assert found.equity[1] == -3.0
    assert found.short_of == pytest.approx(np.maximum(found.maintenance - found.margin_balance, 0.0))
    assert found.short_of[1] == 3.0
    options = np.where(LINEAR.is_option, EXACT_ARRAYS.value, 0.0)
    value = sum(quantity * options[ROW[name]] for name, quantity in HELD.items())
    uncounted = 0.0 if model.traits.options_counted else value
    assert value < 0.0
    assert ((found.equity - found.margin_balance) * rate).sum() == pytest.approx(uncounted)
    assert set(found.columns()) >= {"account", "currency", "short_of"}


def test_a_currency_may_be_short_while_the_account_as_a_whole_is_not() -> None:
    """A short position in BTC and cash in dollars: the sum of the currencies is fine, the venue liquidates."""
    model = deribit_spm.Model(PARAMS)
    book = linear_book({"USDC": 1e6, "BTC-PERPETUAL": -10_000.0})
    statement = margin(book, EXACT_ARRAYS, None, model, backend="numpy")
    found = segregated_margins(book, EXACT_ARRAYS, model, backend="numpy")
    assert statement.excess_liquidity[0] > 0.0
    assert found.currency[found.short_of > 0.0].tolist() == ["BTC"]


def test_a_book_of_accounts_and_arrays_of_other_scenarios() -> None:
    params, info = load_parameters("deribit_spm")
    model = deribit_spm.Model(params, info)
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    found = segregated_margins(BOOK, arrays, model)
    whole = model.requirement(BOOK, arrays)
    rate = {"USD": 1.0, "BTC": 68_000.0, "ETH": 2_050.0}
    for account, initial in list(
        zip(BOOK.account_id, whole.initial - whole.charges["balances_owed"][:, 0], strict=True)
    )[:10]:
        mine = found.account == account
        total = sum(found.initial[row] * rate[found.currency[row]] for row in np.flatnonzero(mine))
        assert total == pytest.approx(initial)
    with pytest.raises(ConfigError, match="scenarios of its own"):
        segregated_margins(BOOK, ARRAYS, model)
