"""Assets with a price of their own that move in step with an underlying: staked coins, depegged tokens, own feeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, load_parameters, margin
from portfolio_margin.models import derive_pmrm, derive_pmrm2, derive_standard, reg_t, tims, worst_case
from pricing import UNDATED, DataError, Instruments, Market, MarketLimits
from pricing.market_limits import USUAL
from scenarios import revalue
from scenarios.families import grid
from scenarios.risk_arrays import RiskArrays
from tests.examples import market_and_instruments

INSTRUMENTS, MARKET = market_and_instruments(strikes=3)
ETH, PRICE = INSTRUMENTS.index_of()["ETH"], 2_460.0


def with_token(name: str, price: float, limit: float) -> tuple[Instruments, Market]:
    """The market with one more currency that moves with ETH."""
    rows = np.append(np.arange(len(INSTRUMENTS)), ETH)
    terms = {column: getattr(INSTRUMENTS, column)[rows] for column in INSTRUMENTS.__dataclass_fields__}
    terms["instrument_id"] = np.append(INSTRUMENTS.instrument_id, name)
    terms["currency_idx"] = np.append(INSTRUMENTS.currency_idx, 3)
    market = replace(
        MARKET,
        mark_vol=np.append(MARKET.mark_vol, np.nan),
        currency_id=np.append(MARKET.currency_id, name),
        fx=np.append(MARKET.fx, price),
        currency_underlying=np.append(MARKET.currency_underlying, 1),
        fx_basis_limit=np.append(MARKET.fx_basis_limit, limit),
    )
    return Instruments(**terms), market


TABLES = with_token("WSTETH", PRICE, 0.25)
TOKEN = len(INSTRUMENTS)
GRID = grid.scenarios(grid.Params(), TABLES[1])
ARRAYS = revalue(*TABLES, GRID, tick=None, backend="numpy")


def book(held: dict[int, float]) -> Book:
    return Book.from_arrays(["a"] * len(held), list(held), list(held.values()), TABLES[0].expiry_idx)


def test_a_price_of_its_own_must_be_declared() -> None:
    with pytest.raises(DataError, match="WSTETH"):
        with_token("WSTETH", PRICE, 0.01)


def test_a_token_is_worth_its_price_and_moves_with_the_underlying() -> None:
    assert ARRAYS.value[TOKEN] == PRICE
    moves = GRID.price_move[:, 1] if GRID.price_move.shape[1] > 1 else GRID.price_move[:, 0]
    assert ARRAYS.pnl[TOKEN] == pytest.approx(PRICE * moves * GRID.weight)
    model = worst_case.Model(worst_case.Params())
    statement = margin(book({TOKEN: 2.0}), ARRAYS, TABLES[1], model)
    assert statement.equity[0] == 2.0 * PRICE
    coins = margin(book({ETH: 2.0 * PRICE / 2_050.0}), ARRAYS, TABLES[1], model)
    assert statement.initial_margin[0] == pytest.approx(coins.initial_margin[0], abs=0.02)


def test_only_the_coin_itself_is_the_coin() -> None:
    coins = ARRAYS.instrument_id[ARRAYS.is_coin].tolist()
    assert coins == ["BTC", "ETH"]
    # A venue whose feed for the coin itself is off its index: the name says what it is.
    own_feed = replace(MARKET, fx=MARKET.fx * [1.0, 1.0, 1.03], fx_basis_limit=np.array([0.01, 0.01, 0.05]))
    assert revalue(INSTRUMENTS, own_feed, GRID).is_coin[ETH]
    near = revalue(*with_token("WETH", 2_049.0, 0.01), GRID)
    assert near.is_coin[TOKEN]


def model_arrays(model: Any) -> RiskArrays:
    moves = model.scenario_set(TABLES[1])
    return ARRAYS if moves is None else revalue(*TABLES, moves, tick=None, backend="numpy")


@pytest.mark.parametrize(("name", "module"), [("derive_pmrm", derive_pmrm), ("derive_standard", derive_standard)])
def test_a_manager_with_a_base_asset_takes_no_token_for_it(name: str, module: Any) -> None:
    """Valued at the coin's spot it would be worth less than it is, or more after a depeg."""
    model = module.Model(*load_parameters(name))
    arrays = model_arrays(model)
    reason = model.not_covered(arrays)
    assert reason[TOKEN] and not reason[ETH]
    statement = margin(book({TOKEN: 2.0, 0: 100.0}), arrays, TABLES[1], model)
    assert "WSTETH" in statement.positions_excluded[0]
    assert statement.available_funds[0] == 100.0


def test_pmrm_2_moves_a_risk_cancelling_token_with_the_underlying() -> None:
    params, info = load_parameters("derive_pmrm2", "2026-01-21-cases")
    haircut = derive_pmrm2.Collateral(0.1, 0.05, True)
    model = derive_pmrm2.Model(replace(params, collateral={"WSTETH": haircut}), info)
    arrays = model_arrays(model)
    (part,) = model.portfolios(book({TOKEN: 2.0}), arrays)
    shocks = np.array([(s.spot_shock - 1.0) * s.dampening_factor for s in params.scenarios])
    assert part.by_account(part.pnl)[0] == pytest.approx(2.0 * PRICE * shocks)


@pytest.mark.parametrize("name", ["reg_t", "tims"])
def test_a_token_covers_no_call(name: str) -> None:
    module = {"reg_t": reg_t, "tims": tims}[name]
    params, info = load_parameters(name)
    product_class = {"BTC": "equity", "ETH": "equity"}
    model = module.Model(replace(params, product_class=product_class), info)
    arrays = model_arrays(model)
    call = int(np.flatnonzero(TABLES[0].is_option & (TABLES[0].underlying_idx == 1) & (TABLES[0].sign > 0))[-1])
    holdings = {"alone": {call: -1.0}, "coin": {call: -1.0, ETH: 1.0}, "token": {call: -1.0, TOKEN: 1.0}}
    seen = {held: model.requirement(book(quantities), arrays).initial[0] for held, quantities in holdings.items()}
    assert seen["token"] == pytest.approx(seen["alone"])
    assert seen["coin"] != pytest.approx(seen["alone"])


def test_arrays_of_a_declared_market_are_read_with_its_limits() -> None:
    undated = MARKET.expiry_time == UNDATED
    limits = MarketLimits(undated_slack=0.5, max_discount=3.0, max_rate=20.0)
    discount = np.where(undated, 1.0, [1.0, 2.5, 1.0] * 2)
    far = replace(MARKET, forward=np.where(undated, 0.7, 1.0) * MARKET.forward, discount=discount, limits=limits)
    content = revalue(INSTRUMENTS, far, GRID).to_bytes()
    assert RiskArrays.from_bytes(content, limits=limits).to_bytes() == content
    for name in ("undated_slack", "max_discount"):
        usual = replace(limits, **{name: getattr(USUAL, name)})
        with pytest.raises(DataError, match="forward" if name == "undated_slack" else "discount"):
            RiskArrays.from_bytes(content, limits=usual)
