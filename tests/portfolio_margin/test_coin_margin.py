"""A market whose margin currency is the coin itself: everything is counted in coin, and nothing moves the coin."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import AccountStatus, Book, explain, margin
from portfolio_margin.dollars import money_step
from portfolio_margin.greeks import account_rows, contract_greeks, position_greeks
from portfolio_margin.io.market_json import write_market
from portfolio_margin.models import worst_case
from portfolio_margin.orders import what_if as orders_what_if
from portfolio_margin.sensitivities import what_if
from portfolio_margin.state import start
from pricing import DataError, Instruments, Kind, Market
from pricing.market import UNDATED
from pricing.resolve import resolve
from scenarios import revalue
from scenarios.shocks import make
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import BACKENDS, INSTRUMENTS, MARKET
from tests.portfolio_margin.engines import check_statement

# Moves small enough for a derivative, and one large one.
STEP = 1e-5
MOVES = make(["none", "up", "down", "crash"], np.array([0.0, STEP, -STEP, -0.4]))


def coin_market() -> tuple[Instruments, Market]:
    """The BTC contracts of the small exchange, margined in BTC."""
    kept = (INSTRUMENTS.underlying_idx == 0) & (INSTRUMENTS.kind != Kind.CASH)
    cash = INSTRUMENTS.instrument_id == "BTC"
    rows = np.concatenate([np.flatnonzero(cash), np.flatnonzero(kept)])
    columns = {f.name: getattr(INSTRUMENTS, f.name)[rows].copy() for f in fields(Instruments)}
    columns["currency_idx"][:] = 0
    columns["underlying_idx"][0], columns["expiry_idx"][0] = -1, -1
    mine = MARKET.expiry_underlying == 0
    by_expiry = {
        name: getattr(MARKET, name)[mine] for name in ("expiry_underlying", "expiry_time", "forward", "discount")
    }
    market = replace(
        MARKET,
        underlying_id=MARKET.underlying_id[:1],
        spot=MARKET.spot[:1],
        svi=MARKET.svi[mine],
        fixed_share=MARKET.fixed_share[mine],
        mark_vol=MARKET.mark_vol[rows],
        currency_id=np.array(["BTC"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
        **by_expiry,
    )
    return Instruments(**columns), market


COIN, COIN_MARKET = coin_market()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gains_are_those_in_quote_currency_at_the_price_of_each_scenario(backend: str) -> None:
    """value in coin = value / spot under the same scenario; in quote currency the coin moves as well."""
    in_coin = revalue(COIN, COIN_MARKET, MOVES, backend=backend, tick=None)
    in_quote = revalue(INSTRUMENTS, MARKET, MOVES, backend=backend, tick=None)
    row_of = in_quote.index_of()
    rows = [row_of[str(name)] for name in COIN.instrument_id]
    spot = MARKET.spot[0] * (1.0 + MOVES.price_move[:, 0])
    # Same coin value before and after: what is held is worth value * spot, and its coin value may change.
    before = in_quote.value[rows]
    after = (in_quote.pnl[rows] + before[:, None]) / spot - (before / MARKET.spot[0])[:, None]
    assert np.allclose(in_coin.pnl, after, rtol=1e-9, atol=1e-10)


def test_delta_is_the_slope_of_the_gains() -> None:
    arrays = revalue(COIN, COIN_MARKET, MOVES, tick=None)
    slope = (arrays.pnl[:, 1] - arrays.pnl[:, 2]) / (2 * STEP)
    assert np.allclose(arrays.delta, slope, rtol=1e-5, atol=1e-7)


def test_delta_of_an_account_is_the_sum_over_its_positions() -> None:
    arrays = revalue(COIN, COIN_MARKET, MOVES, tick=1e-9)
    held = np.arange(len(COIN))
    quantity = np.where(held % 2, -3.0, 2.0)
    book = Book.from_arrays(["a"] * len(held), held, quantity, COIN.expiry_idx)
    statement = margin(book, arrays, COIN_MARKET, worst_case.Model(worst_case.Params(netting="joint")))
    positions = position_greeks(book, COIN, COIN_MARKET, contract_greeks(COIN, COIN_MARKET))
    total = np.bincount(account_rows(book), weights=positions["delta_cash"])
    assert statement.delta_total[0] == pytest.approx(total[0], abs=1e-3)
    assert statement.currency == "BTC"


def test_only_the_coin_itself_may_be_its_margin_currency() -> None:
    with pytest.raises(DataError, match="own underlying"):
        resolve(COIN, replace(COIN_MARKET, currency_id=np.array(["USD"])))
    assert COIN_MARKET.expiry_time[-1] == UNDATED


def test_amounts_in_coin_are_rounded_to_a_hundred_millionth() -> None:
    """A cent of a BTC would be hundreds of dollars; a statement, its tree and a comparison have the same step."""
    arrays = revalue(COIN, COIN_MARKET, MOVES, tick=1e-10)
    perpetual, cash = arrays.index_of()["BTC-PERPETUAL"], arrays.index_of()["BTC"]
    rows, quantity = [cash, perpetual], [0.12345678, 1_000.0]
    book = Book.from_arrays(["a", "a"], rows, quantity, COIN.expiry_idx)
    model = worst_case.Model(worst_case.Params(netting="joint"))
    statement = margin(book, arrays, COIN_MARKET, model)
    required = model.requirement(book, arrays)
    assert statement.money_step == money_step(arrays) == 1e-8
    assert statement.margin_balance[0] == 0.12345678
    for rounded, exact in (
        (statement.initial_margin[0], required.initial[0]),
        (statement.maintenance_margin[0], required.maintenance[0]),
    ):
        assert 0.0 <= rounded - exact < 1e-8 + 1e-12 and round(rounded, 8) == rounded and round(rounded, 2) != rounded
    assert statement.available_funds[0] == round(statement.margin_balance[0] - statement.initial_margin[0], 8)
    assert abs(explain(statement, book, arrays, "a").lines[-1].initial) <= Decimal("1e-8")


def test_who_is_short_of_a_thousandth_of_a_coin_is_short() -> None:
    arrays = revalue(COIN, COIN_MARKET, MOVES, tick=1e-10)
    perpetual, cash = arrays.index_of()["BTC-PERPETUAL"], arrays.index_of()["BTC"]
    model = worst_case.Model(worst_case.Params(netting="joint"))
    needed = margin(Book.from_arrays(["a"], [perpetual], [100.0], COIN.expiry_idx), arrays, None, model)
    maintained = float(needed.maintenance_margin[0])
    for missing, status in ((2e-8, AccountStatus.LIQUIDATION), (-2e-8, AccountStatus.REDUCE_ONLY)):
        book = Book.from_arrays(["a", "a"], [perpetual, cash], [100.0, maintained - missing], COIN.expiry_idx)
        assert margin(book, arrays, None, model).status[0] == status


def test_an_engine_in_coin_has_the_bits_of_a_statement() -> None:
    """The compiled order kernels round to the same step."""
    held = np.arange(len(COIN))
    account = np.repeat(["a", "b"], len(held))
    quantity = np.concatenate([np.where(held % 2, -3.0, 2.0), np.where(held % 3, 1.0, -2.0)])
    book = Book.from_arrays(account, np.tile(held, 2), quantity, COIN.expiry_idx)
    model = worst_case.Model(worst_case.Params())
    state = start(book, model, COIN, COIN_MARKET, MOVES, tick=1e-10)
    statement = margin(book, state.arrays, COIN_MARKET, model)
    assert state.policy.tabled
    check_statement(state, statement)
    order = [("BTC-PERPETUAL", 7.0), (str(COIN.instrument_id[COIN.kind == Kind.OPTION][0]), -5.0)]
    ours = orders_what_if(state, "a", order)
    anew = what_if(book, state.arrays, COIN_MARKET, model, "a", order)
    assert ours.post == anew.post and ours.change == anew.change and ours.change["initial_margin"] != 0.0


def test_nothing_moves_the_margin_currency() -> None:
    with pytest.raises(DataError, match="currency 0 is the margin currency, in which everything is counted"):
        replace(COIN_MARKET, currency_underlying=np.array([0]), fx_basis_limit=np.array([np.inf]))


def test_a_dollar_that_is_an_underlying_too_keeps_its_cents() -> None:
    arrays = revalue(COIN, COIN_MARKET, MOVES, tick=1e-10)
    assert money_step(replace(arrays, currency="USDT", underlying_id=np.array(["USDT"]))) == 0.01
    assert money_step(revalue(INSTRUMENTS, MARKET, MOVES)) == 0.01


run = test_cli.run


def test_the_command_prints_every_digit_of_a_coin(run: Any, tmp_path: Path) -> None:
    write_market(tmp_path / "coin.json", COIN, COIN_MARKET, "test")
    (tmp_path / "p.csv").write_text("account,instrument,quantity\na,BTC-PERPETUAL,1000\n")
    (tmp_path / "c.csv").write_text("account,currency,amount\na,BTC,0.12345678\n")
    given = ("--market", "coin.json", "--positions", "p.csv", "--collateral", "c.csv", "--tick", "1e-10")
    document = json.loads(run("margin", *given, "--json").out)
    (account,) = document["accounts"]
    assert (account["currency"], account["margin_balance"]) == ("BTC", "0.12345678")
    assert len(account["initial_margin"].partition(".")[2]) == 8
    assert "0.12345678" in run("margin", *given).out
    tree = json.loads(run("explain", "a", *given, "--json").out)
    assert tree["margin_balance"] == "0.12345678"
    answer = json.loads(run("what-if", "a", "--order", "BTC-PERPETUAL=-10", *given, "--json").out)
    assert answer["measures"][1]["pre"] == "0.12345678"
