"""Whether the value of options is part of the margin balance: not at venues whose short options pay their mark."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import AccountStatus, Book, load_parameters, margin
from portfolio_margin.compare import compare
from portfolio_margin.models import deribit_standard
from portfolio_margin.segregated import segregated_margins
from portfolio_margin.sensitivities import what_if
from scenarios import revalue
from tests.portfolio_margin.books import ARRAYS, INSTRUMENTS, MARKET, ROW, book_of
from tests.portfolio_margin.test_coin_margin import COIN, COIN_MARKET
from tests.portfolio_margin.test_contracts import SHIPPED, arrays_of, model_of, statement_of
from tests.vectors import data_file

STANDARD = ["aevo_standard", "bybit_standard", "deribit_standard"]
CALL, PUT = "BTC-60D-81600-C", "BTC-60D-54400-P"
MARK = {name: float(ARRAYS.value[ROW[name]]) for name in (CALL, PUT)}


def summary() -> dict[str, Any]:
    """Deribit's documented reply of an account under segregated standard margin, amounts in BTC."""
    document = json.loads(data_file("margins/deribit_api_examples.json").read_text())
    result: dict[str, Any] = document["/private/get_account_summary"]["response"]["result"]
    return result


@pytest.mark.data
def test_the_figures_of_the_venue_s_own_reply(report_vectors: Any) -> None:
    """balance + session_rpl + futures_session_upl = margin_balance; with options_value it is equity; less initial
    margin it is available_funds. The positions behind the two requirements are not printed."""
    reply = summary()
    assert reply["margin_model"] == "segregated_sm" and reply["options_value"] < 0.0
    cash = reply["balance"] + reply["session_rpl"] + reply["futures_session_upl"]
    params, info = load_parameters("deribit_standard")
    model = deribit_standard.Model(params, info)
    arrays = revalue(COIN, COIN_MARKET, ARRAYS.scenario_set, tick=None)
    option = int(np.flatnonzero(COIN.is_option)[0])
    values = arrays.value_rows.copy()
    values[option] = -reply["options_value"] * arrays.unit[option]
    arrays = replace(arrays, value_rows=values)
    row = COIN.index_of()
    held = book_of_rows({row["BTC"]: cash, option: -1.0})
    statement = margin(held, arrays, None, model)
    found = {
        "margin_balance": statement.margin_balance[0],
        "equity": statement.equity[0],
        "options_value": statement.uncounted_option_value[0],
    }
    errors = [abs(value - reply[name]) for name, value in found.items()]
    required = float(statement.initial_margin[0])
    errors.append(abs(statement.available_funds[0] + required - reply["available_funds"] - reply["initial_margin"]))
    (segregated,) = segregated_margins(held, arrays, model).margin_balance
    errors.append(abs(segregated - reply["margin_balance"]))
    assert max(errors) <= 2.1e-8
    report_vectors(len(errors), max(errors), "BTC, 2.1e-08 allowed", "Deribit get_account_summary, standard margin")


def book_of_rows(held: dict[int, float]) -> Book:
    return Book.from_arrays(["a"] * len(held), list(held), list(held.values()), COIN.expiry_idx)


@pytest.mark.parametrize("name", SHIPPED)
def test_balance_is_equity_less_haircut_less_what_is_not_counted(name: str) -> None:
    held = {CALL: -2.0, PUT: 3.0, "USD": 90_000.0, "BTC": 1.0}
    statement = statement_of(name, {"a": held, "b": {CALL: 4.0, "USD": 1_000.0}})
    rest = statement.equity - statement.haircut - statement.uncounted_option_value
    assert statement.margin_balance == pytest.approx(rest, abs=1e-9)
    value = [3.0 * MARK[PUT] - 2.0 * MARK[CALL], 4.0 * MARK[CALL]] if name in STANDARD else [0.0, 0.0]
    assert statement.uncounted_option_value == pytest.approx(value, abs=0.011)


@pytest.mark.parametrize("name", STANDARD)
def test_a_short_option_pays_its_mark_once(name: str) -> None:
    """What it was sold for is cash: beside it only the share of the underlying is asked for."""
    statement = statement_of(name, {"a": {"USD": 20_000.0 + MARK[CALL], CALL: -1.0}})
    rates = model_of(name).params.options
    rate = rates.get("btc", rates.get("any"))
    share = max(rate.initial - (81_600.0 - 68_000.0) / 68_000.0, rate.initial_minimum) * 68_000.0
    assert statement.available_funds[0] == pytest.approx(20_000.0 - share, abs=0.03)
    assert statement.equity[0] == pytest.approx(20_000.0, abs=0.02)


@pytest.mark.parametrize("name", STANDARD)
def test_long_options_are_no_collateral(name: str) -> None:
    accounts: dict[str, dict[str, float]] = {
        "alone": {CALL: 10.0},
        "behind a perpetual": {CALL: 10.0, "BTC-PERPETUAL": 15_000.0},
        "on credit": {CALL: 10.0, "USD": -0.3 * 10.0 * MARK[CALL]},
    }
    statement = statement_of(name, accounts)
    found = dict(zip(statement.account.tolist(), range(3), strict=True))
    alone, behind, credit = (found[account] for account in accounts)
    assert statement.equity[behind] > statement.initial_margin[behind] > 0.0
    assert statement.margin_balance[alone] == statement.available_funds[alone] == statement.margin_balance[behind] == 0
    assert statement.status.tolist()[alone] == AccountStatus.NORMAL
    assert statement.status[behind] == statement.status[credit] == AccountStatus.LIQUIDATION
    assert statement.margin_balance[credit] == pytest.approx(-3.0 * MARK[CALL], abs=0.02)


@pytest.mark.parametrize("name", STANDARD)
def test_to_buy_an_option_takes_its_premium_from_the_balance(name: str) -> None:
    """An order moves balance and available funds alike, and equity not at all."""
    model = model_of(name)
    found = what_if(book_of({"a": {"USD": 50_000.0, "BTC": 1.0}}), arrays_of(model), MARKET, model, "a", [(CALL, 1.0)])
    assert found.change["equity"] == pytest.approx(0.0, abs=0.02)
    taken = 0.0 if name != "deribit_standard" else -MARK[CALL]
    assert found.change["margin_balance"] == pytest.approx(taken, abs=0.03)


def test_what_a_requirement_takes_back_is_told_by_model() -> None:
    """Bought options are asked for in full by three models, beside the risk of what is sold; by others not at all."""
    models = {name: model_of(name) for name in ("derive_standard", "reg_t", "span", "deribit_standard", "tims")}
    accounts: dict[str, dict[str, float]] = {
        "bought": {CALL: 2.0, PUT: 1.0},
        "sold": {CALL: -2.0, "USD": 50_000.0},
        "spread": {CALL: 3.0, "BTC-60D-95200-C": -3.0, "USD": 50_000.0},
    }
    found = compare(book_of(accounts), MARKET, models, instruments=INSTRUMENTS, scenario_set=ARRAYS.scenario_set)
    spread = 3.0 * (MARK[CALL] - float(ARRAYS.value[ROW["BTC-60D-95200-C"]]))
    value = {"bought": 2.0 * MARK[CALL] + MARK[PUT], "sold": 0.0, "spread": spread}
    wanted = [value[account] for account in found.account.tolist()]
    for name, taken in zip(found.model, found.taken_back, strict=True):
        if name in ("deribit_standard", "tims"):
            assert not taken.any()
        elif name == "span":  # its value stands against the risk of the same account
            assert np.all(taken <= np.array(wanted) + 0.01)
        else:
            assert taken == pytest.approx(wanted, abs=0.01)
        assert np.all(taken <= found.initial[found.model.index(name)] + 0.01)
    assert found.select([1]).taken_back.tolist() == found.taken_back[:, [1]].tolist()
