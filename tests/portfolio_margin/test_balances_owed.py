"""A balance owed is charged, or is named as what the model has no rule for: never free, under whatever model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from portfolio_margin import Book, MarginStatement, load_parameters, margin
from portfolio_margin.collateral import NO_SEGREGATED_ACCOUNT
from portfolio_margin.compare import compare
from portfolio_margin.io.parameter_sets import parameter_files
from portfolio_margin.largest_order import largest_order
from portfolio_margin.liquidation.plan import Costs, Outcome
from portfolio_margin.models import derive_pmrm2, worst_case
from portfolio_margin.orders import check
from portfolio_margin.orders import what_if as orders_what_if
from portfolio_margin.requirement import UNCHARGED_DEBT
from portfolio_margin.sensitivities import what_if, with_orders
from pricing import ConfigError, Instruments, Market
from scenarios import RiskArrays, revalue
from tests.naive.balances import balance_charge
from tests.portfolio_margin.books import ARRAYS, GRID, INSTRUMENTS, MARKET, ROW, balances_held, book_of
from tests.portfolio_margin.engines import engine_state
from tests.portfolio_margin.test_collateral_tokens import TOKEN, with_token
from tests.portfolio_margin.test_contracts import SHIPPED, arrays_of, model_of, statement_of

SPOT = {str(name): float(price) for name, price in zip(MARKET.underlying_id, MARKET.spot, strict=True)}
CALL = float(ARRAYS.value[ROW["BTC-60D-81600-C"]])
# Accounts that owe one thing against another; every one is tried at three sizes.
OWING: dict[str, dict[str, float]] = {
    "a coin against dollars": {"BTC": -1.0, "USD": 75_000.0},
    "a coin against a coin": {"BTC": 1.0, "ETH": -30.0},
    "dollars against a coin": {"BTC": 2.0, "USD": -100_000.0},
    "dollars against two coins": {"BTC": 0.5, "ETH": 10.0, "USD": -50_000.0},
    "dollars against options": {"BTC-60D-81600-C": 10.0, "USD": -9.0 * CALL},
    "a coin against options": {"BTC-60D-81600-C": 10.0, "BTC": -9.0 * CALL / SPOT["BTC"]},
    "nearly all of what the coin is worth": {"ETH": 10.0, "USD": -0.9 * 10.0 * SPOT["ETH"]},
}
PARADEX = load_parameters("paradex_pm", list(parameter_files("paradex_pm"))[-1])[0]
# By the pages of the models: what a coin costs that moves, per unit of its value, initial and maintenance margin per
# unit of that, and the haircut. Of models under which coins held stand against debts, scenario by scenario, see
# test_currency_debts.py.
RATES: dict[str, tuple[dict[str, float], float, float, float]] = {
    "deribit_standard": (dict.fromkeys(SPOT, 0.15), 1.0, 0.5, 0.0),
    "delta_exchange_pm": (dict.fromkeys(SPOT, 0.2), 1.0, 0.8, 1.0),
    "paradex_pm": ({name: max(m * w for m, _, w in PARADEX.asset(name).scenarios) for name in SPOT}, 1.0, 0.5, 1.0),
    "aevo_standard": (dict.fromkeys(SPOT, 0.15), 1.0, 0.5, 1.0),
    "bybit_standard": (dict.fromkeys(SPOT, 0.15), 1.0, 0.5, 1.0),
}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("owing", OWING)
def test_what_is_owed_costs_margin_that_grows_with_it(name: str, owing: str) -> None:
    """Haircut and initial margin are a hundredth of the debt or more, and grow with the account."""
    held = OWING[owing]
    accounts = {f"x{k}": {asset: k * amount for asset, amount in held.items()} for k in (1, 2, 7)}
    statement = statement_of(name, accounts)
    debt = -sum(min(amount, 0.0) * SPOT.get(asset, 1.0) for asset, amount in held.items())
    cost = statement.equity - statement.available_funds
    assert not statement.unmargined.any()
    assert np.all(cost >= 0.01 * debt * np.array([1, 2, 7]))
    assert np.all(cost >= 0.9999 * cost[0] * np.array([1, 2, 7]))


@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_owed_costs_nothing(name: str) -> None:
    statement = statement_of(name, {"none": {"BTC": 0.0, "USD": 0.0}, "cash": {"USD": 5.0}, "gone": {"USD": -5.0}})
    assert not statement.initial_margin.any() and not statement.excluded.any()


@pytest.mark.parametrize("name", RATES)
@settings(max_examples=25, deadline=None)
@given(balances_held)
def test_the_charge_is_that_of_plain_python(name: str, balances: dict[str, float]) -> None:
    move, *factors, haircut = RATES[name]
    charged = statement_of(name, {"a": balances}).charges["balances_owed"][0]
    moves = [{coin: factor * share for coin, share in move.items()} for factor in factors]
    wanted = [balance_charge(balances, SPOT, each, haircut) for each in moves]
    assert charged == pytest.approx(wanted, rel=1e-9, abs=1e-4)


@pytest.mark.parametrize("name", RATES)
def test_the_charge_breaks_down_to_balances(name: str) -> None:
    book = book_of({"a": {"BTC": -2.0, "ETH": 50.0, "USD": -20_000.0}})
    model = model_of(name)
    statement = margin(book, arrays_of(model), MARKET, model)
    lines = [line for line in model.contributions(book, arrays_of(model)) if line.charge == "balances_owed"]
    assert {line.instrument for line in lines} <= {"BTC", "ETH"} and lines[0].instrument
    total = statement.charges["balances_owed"][0]
    sums = [float(sum(getattr(line, side) for line in lines)) for side in ("initial", "maintenance")]
    assert sums == pytest.approx(total, rel=1e-14) and total[0] > 0.0


SHORT = {"BTC-60D-81600-C": -2.0, "BTC-60D-54400-P": -3.0, "USD": 60_000.0}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_short_option_may_be_bought_back_with_coin_that_is_owed(name: str) -> None:
    """Whoever holds no coin owes the premium afterwards: that costs less than the option did, under every model."""
    option, model = "BTC-60D-81600-C", model_of(name)
    held = {option: -2.0, "USD": 60_000.0}
    state, order = engine_state(model, {"a": held}), [(option, 2.0)]
    answer = orders_what_if(state, "a", order)
    anew = what_if(book_of({"a": held}), arrays_of(model), MARKET, model, "a", order)
    assert answer.post == anew.post and answer.allowed == anew.allowed and answer.fits == anew.fits
    assert answer.allowed and not answer.unmargined
    assert 0.0 < answer.post["initial_margin"] < answer.pre["initial_margin"]
    checked = check(state, [0], [ROW[option]], [2.0])
    assert checked.allowed[0] and checked.initial_margin[0] == answer.post["initial_margin"]
    assert largest_order(state, "a", option, "buy", limit=2.0).quantity == 2.0


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("policy", ["largest_contributor", "proportional"])
def test_a_liquidation_restores_by_trades_that_an_order_may_make(name: str, policy: str) -> None:
    model, module = model_of(name), import_module(f"portfolio_margin.liquidation.policies.{policy}")
    arrays = arrays_of(model)
    balance = margin(book_of({"a": {**SHORT, "USD": 0.0}}), arrays, MARKET, model)
    missing = 0.9 * float(balance.maintenance_margin[0]) - float(balance.margin_balance[0])
    book = book_of({"a": {**SHORT, "USD": round(missing, 2)}})
    plan = module.plan(book, arrays, model, Costs.of(arrays), module.Params())
    assert plan.outcome is Outcome.RESTORED and not plan.after.unmargined
    for step in plan.steps:
        trades = [(str(arrays.instrument_id[t.row]), t.quantity) for t in step.trades]
        answer = what_if(book, arrays, MARKET, model, "a", trades)
        assert not answer.unmargined and answer.change["excess_liquidity"] > 0.0
        assert answer.post["maintenance_margin"] == step.after.maintenance
        book = with_orders(book, arrays, trades)


def test_no_liquidation_restores_what_has_no_rule() -> None:
    """Strategy rules know no futures: closing options leaves risk that nothing is charged for."""
    model = model_of("reg_t")
    arrays = arrays_of(model)
    module = import_module("portfolio_margin.liquidation.policies.largest_contributor")
    held = {**SHORT, "BTC-PERPETUAL": 10.0}
    balance = margin(book_of({"a": {**held, "USD": 0.0}}), arrays, MARKET, model)
    missing = 0.9 * float(balance.maintenance_margin[0]) - float(balance.margin_balance[0])
    plan = module.plan(book_of({"a": {**held, "USD": round(missing, 2)}}), arrays, model, Costs.of(arrays))
    assert plan.steps and plan.before.unmargined and plan.after.unmargined
    assert plan.outcome is Outcome.UNMARGINED and plan.after.shortfall(0.0) <= 0.0


def test_compare_has_no_saving_where_a_model_does_not_see_everything() -> None:
    """paradex_pm and delta_exchange_pm count no coin, span names what it does not scan: no saving on either."""
    models = {name: model_of(name) for name in ("paradex_pm", "delta_exchange_pm", "span", "okx_pm", "worst_case")}
    accounts = {"a coin": {"BTC": 2.0, "USD": 1_000.0}, "cash": {"USD": 75_000.0, "BTC-PERPETUAL": 100.0}}
    result = compare(book_of(accounts), MARKET, models, instruments=INSTRUMENTS, scenario_set=GRID)
    blank = np.isnan(result.saving)
    assert blank[:, 0].tolist() == [True, True, True, False, False] and not blank[:, 1].any()
    assert result.uncounted[:, 0].tolist() == [True, True, False, False, False]
    assert result.comparable.tolist() == (~blank).tolist()
    assert np.array_equal(result.select([1]).comparable[:, 0], result.comparable[:, 1])


# Models that put a loss in some scenario, or a haircut, against whatever moves in step with an underlying.
MOVES_TOKENS = {
    "worst_case", "dynamic_worst_case", "historical_simulation",
    "okx_pm", "bybit_pm", "delta_exchange_pm", "paradex_pm", "span",
}  # fmt: skip


@cache
def token_arrays(name: str) -> tuple[Any, RiskArrays, Market]:
    instruments, market = with_token("STETH", 1_025.0, 0.6)
    model = model_of(name)
    moves = model.scenario_set(market)
    return model, revalue(instruments, market, GRID if moves is None else moves), market


def token_statement(name: str, held: dict[int, float]) -> MarginStatement:
    model, arrays, market = token_arrays(name)
    book = Book.from_arrays(["a"] * len(held), list(held), list(held.values()), arrays.expiry_idx)
    return margin(book, arrays, market, model)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "deribit_xpm"])
def test_a_token_owed_is_charged_or_is_risk_without_a_rule(name: str) -> None:
    statement = token_statement(name, {TOKEN: -10.0, ROW["USD"]: 20_000.0})
    assert statement.unmargined[0] == (name not in MOVES_TOKENS)
    assert statement.unmargined[0] or statement.initial_margin[0] > 0


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "deribit_xpm"])
def test_dollars_owed_against_a_token_cost_something_or_are_named(name: str) -> None:
    statement = token_statement(name, {TOKEN: 30.0, ROW["USD"]: -20_000.0})
    cost = statement.equity[0] - statement.available_funds[0]
    assert cost >= 200.0 or statement.unmargined[0]
    alone = token_statement(name, {TOKEN: 30.0})
    assert not alone.unmargined[0] and (alone.haircut[0] + alone.initial_margin[0] > 0.0 or alone.excluded[0] == 1)


def test_a_token_without_parameters_is_refused_by_the_cross_model() -> None:
    with pytest.raises(ConfigError, match=r"no currency\.steth"):
        token_statement("deribit_xpm", {ROW["USD"]: 1.0})


@pytest.mark.parametrize("name", ["deribit_spm", "deribit_standard", "deribit_legacy_pm"])
def test_a_token_is_no_segregated_account(name: str) -> None:
    statement = token_statement(name, {TOKEN: 10.0, ROW["USD"]: 5.0})
    assert statement.margin_balance[0] == 5.0 and statement.equity[0] == 10_255.0
    assert "no segregated account" in statement.positions_excluded[0] and not statement.unmargined[0]


def with_currency(name: str, rate: float) -> tuple[Instruments, Market]:
    """The market with cash of one more currency, whose rate no scenario moves."""
    rows = np.append(np.arange(len(INSTRUMENTS)), ROW["USD"])
    terms = {column: getattr(INSTRUMENTS, column)[rows] for column in INSTRUMENTS.__dataclass_fields__}
    terms["instrument_id"] = np.append(INSTRUMENTS.instrument_id, name)
    terms["currency_idx"] = np.append(INSTRUMENTS.currency_idx, len(MARKET.currency_id))
    market = replace(
        MARKET,
        mark_vol=np.append(MARKET.mark_vol, np.nan),
        currency_id=np.append(MARKET.currency_id, name),
        fx=np.append(MARKET.fx, rate),
        currency_underlying=np.append(MARKET.currency_underlying, -1),
        fx_basis_limit=np.append(MARKET.fx_basis_limit, 0.01),
    )
    return Instruments(**terms), market


@pytest.mark.parametrize(("currency", "rate"), [("EUR", 1.1), ("USDC", 1.0)])
@pytest.mark.parametrize("name", ["worst_case", "tims", "reg_t", "span", "historical_simulation", "okx_pm", "bybit_pm",
                                  "dynamic_worst_case",
                                  "deribit_spm", "deribit_standard", "aevo_standard", "paradex_pm"])  # fmt: skip
def test_a_fixed_rate_of_exchange_is_no_rule_for_a_debt(name: str, currency: str, rate: float) -> None:
    """Only models that count dollars as one money, in haircuts as well, have a rule for dollars owed."""
    instruments, market = with_currency(currency, rate)
    model = model_of(name)
    arrays = revalue(instruments, market, model.scenario_set(market) or GRID)
    held = {len(INSTRUMENTS): -1_000.0, ROW["USD"]: 5_000.0}
    book = Book.from_arrays(["a", "a"], list(held), list(held.values()), arrays.expiry_idx)
    statement = margin(book, arrays, market, model)
    charged = name == "span"
    one_money = currency == "USDC" and name not in (
        "worst_case",
        "dynamic_worst_case",
        "tims",
        "reg_t",
        "span",
        "historical_simulation",
    )
    assert statement.unmargined[0] == (not one_money and not charged)
    assert not charged or statement.initial_margin[0] == pytest.approx(0.05 * 1_000.0 * rate)
    assert statement.equity[0] == pytest.approx(5_000.0 - 1_000.0 * rate)
    reason = NO_SEGREGATED_ACCOUNT if name.startswith("deribit") and currency == "EUR" else UNCHARGED_DEBT
    assert one_money or charged or reason in statement.positions_excluded[0]


@pytest.mark.parametrize(("haircut", "named"), [(0.0, True), (0.05, False)])
def test_money_owed_against_what_nothing_is_charged_on_is_named(haircut: float, named: bool) -> None:
    instruments, market = with_currency("EUR", 1.1)
    model = worst_case.Model(worst_case.Params(haircut_by_asset={"EUR": haircut}))
    arrays = revalue(instruments, market, GRID)
    rows = [len(INSTRUMENTS), ROW["USD"], len(INSTRUMENTS), ROW["USD"], len(INSTRUMENTS)]
    amounts = [10_000.0, -5_000.0, 10_000.0, 5_000.0, 10_000.0]
    book = Book.from_arrays(["owes", "owes", "owns", "owns", "rich"], rows, amounts, arrays.expiry_idx)
    statement = margin(book, arrays, market, model)
    assert statement.unmargined.tolist() == [named, False, False]
    assert statement.equity.tolist() == [6_000.0, 16_000.0, 11_000.0]
    assert not named or "money owed against EUR" in statement.positions_excluded[0]


def test_money_of_the_margin_currency_owed_is_no_exposure() -> None:
    for name in SHIPPED:
        assert not statement_of(name, {"a": {"USD": -50.0, "BTC": 0.01}}).unmargined[0], name


def test_a_coin_without_impact_costs_nothing_owed_and_so_is_named() -> None:
    params = model_of("deribit_xpm").params
    currency = {
        name: replace(risk, equity_side_impact="none") if name == "btc" else risk
        for name, risk in params.currency.items()
    }
    statement = statement_of("deribit_xpm", {"owed": {"BTC": -1.0, "USD": 75_000.0}}, currency=currency)
    assert statement.initial_margin[0] == 0.0 and statement.unmargined[0]


@pytest.mark.parametrize(("haircut", "named"), [(0.0, True), (0.1, False)])
def test_still_collateral_of_pmrm_2_needs_a_haircut_to_be_owed(haircut: float, named: bool) -> None:
    params, info = load_parameters("derive_pmrm2", "2026-01-21-cases")
    asset = derive_pmrm2.Collateral(haircut, 0.0, False)
    model = derive_pmrm2.Model(replace(params, collateral={"STETH": asset}), info)
    _, market = with_token("STETH", 1_025.0, 0.6)
    arrays = revalue(with_token("STETH", 1_025.0, 0.6)[0], market, model.scenario_set(market))
    held = {TOKEN: -10.0, ROW["USD"]: 20_000.0}
    book = Book.from_arrays(["a", "a"], list(held), list(held.values()), arrays.expiry_idx)
    statement = margin(book, arrays, market, model)
    assert statement.unmargined[0] == named and (statement.initial_margin[0] > 0) == (not named)
