"""A balance owed is charged, or is named as what the model has no rule for: never free, under whatever model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, MarginStatement, load_parameters, margin
from portfolio_margin.collateral import NO_SEGREGATED_ACCOUNT
from portfolio_margin.compare import compare
from portfolio_margin.models import derive_pmrm2
from portfolio_margin.requirement import UNCHARGED_DEBT
from pricing import ConfigError, Instruments, Market
from scenarios import RiskArrays, revalue
from tests.portfolio_margin.books import GRID, INSTRUMENTS, MARKET, ROW, book_of
from tests.portfolio_margin.test_collateral_tokens import TOKEN, with_token
from tests.portfolio_margin.test_contracts import SHIPPED, model_of, statement_of

DOLLAR = 75_000.0
# Models that put a charge, or a loss in some scenario, against a coin owed.
CHARGE_COINS = {
    "deribit_xpm", "dynamic_worst_case", "historical_simulation", "reg_t", "tims", "worst_case",
    "derive_pmrm", "derive_pmrm2", "derive_standard",
}  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_a_coin_owed_is_charged_or_is_risk_without_a_rule(name: str) -> None:
    statement = statement_of(
        name,
        {"owed": {"BTC": -1.0, "USD": DOLLAR}, "own": {"BTC": 1.0, "USD": 1.0}, "pair": {"BTC": 1.0, "ETH": -30.0}},
    )
    charged = statement.initial_margin > 0
    if name in CHARGE_COINS:
        assert charged[[0, 2]].all() and not statement.unmargined.any()
        return
    assert statement.unmargined.tolist() == [True, False, True]
    assert statement.initial_margin[0] == 0.0 and statement.excluded[0] == 1
    assert any(line.startswith("owed BTC: ") for line in statement.positions_excluded)
    assert any(line.startswith("pair ETH: ") for line in statement.positions_excluded)


def test_compare_has_no_saving_from_a_debt_that_is_not_seen() -> None:
    models = {name: model_of(name) for name in ("okx_pm", "worst_case")}
    result = compare(
        book_of({"owed": {"BTC": -1.0, "USD": DOLLAR}}), MARKET, models, instruments=INSTRUMENTS, scenario_set=GRID
    )
    assert result.unmargined[:, 0].tolist() == [True, False]
    assert np.isnan(result.saving[0, 0]) and result.saving[1, 0] == 0.0


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
    assert statement.unmargined[0] == (name not in ("worst_case", "dynamic_worst_case", "historical_simulation"))
    assert statement.unmargined[0] or statement.initial_margin[0] > 0


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
    several = ("worst_case", "dynamic_worst_case", "tims", "reg_t", "span", "historical_simulation")
    one_money = currency == "USDC" and name not in several
    assert statement.unmargined[0] == (not one_money)
    assert statement.equity[0] == pytest.approx(5_000.0 - 1_000.0 * rate)
    reason = NO_SEGREGATED_ACCOUNT if name.startswith("deribit") and currency == "EUR" else UNCHARGED_DEBT
    assert one_money or reason in statement.positions_excluded[0]


def test_money_of_the_margin_currency_owed_is_no_exposure() -> None:
    for name in SHIPPED:
        assert not statement_of(name, {"a": {"USD": -50.0, "BTC": 0.01}}).unmargined[0], name


def test_a_coin_without_impact_costs_nothing_owed_and_so_is_named() -> None:
    params = model_of("deribit_xpm").params
    currency = {
        name: replace(risk, equity_side_impact="none") if name == "btc" else risk
        for name, risk in params.currency.items()
    }
    statement = statement_of("deribit_xpm", {"owed": {"BTC": -1.0, "USD": DOLLAR}}, currency=currency)
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
