"""Contracts on a second underlying of a coin, ETH_USDC beside ETH, against the balance of the coin: models that count
every contract in dollars and margin underlyings apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from portfolio_margin.currency_debts import cells_in_dollars
from portfolio_margin.dollars import is_own_money
from portfolio_margin.models.okx_pm import by_index
from portfolio_margin.span.debts import _scanned_together
from scenarios import RiskArrays, revalue
from tests.naive.currencies import Piece, currency_charge, worst_worth
from tests.portfolio_margin.deribit_examples import CONTRACTS, LINEAR, LINEAR_MARKET, ROW, linear_book
from tests.portfolio_margin.test_contracts import model_of

Held = dict[str, float]
NAMES = ("okx_pm", "bybit_pm", "span")
HAIRCUT = 0.05
# The index of a pair in another currency is another number, so moves stated in money are equal up to roundings.
MARKET = replace(LINEAR_MARKET, spot=np.array([68_000.0, 2_050.0, 2_051.3]))
COINS = ["btc", "eth", "eth"]
INDEX = {"BTC": 68_000.0, "ETH": 2_050.0}
MODELS: dict[str, Any] = {
    "okx_pm": model_of("okx_pm", haircut={"any": HAIRCUT}),
    "bybit_pm": model_of("bybit_pm"),
    "span": model_of("span", haircut=HAIRCUT),
}
ARRAYS: dict[str, RiskArrays] = {
    name: revalue(LINEAR, MARKET, model.scenario_set(MARKET), backend="numpy", tick=None)
    for name, model in MODELS.items()
}


def scanned(name: str) -> np.ndarray:
    """(N,S) P&L of one contract as the model counts its scenarios."""
    arrays = ARRAYS[name]
    if name != "okx_pm":
        return arrays.pnl
    weight = np.ones(len(arrays.scenario_set))
    weight[-2:] = 0.5
    return np.asarray(arrays.pnl * weight * by_index(arrays))


GAINS = {name: scanned(name) for name in NAMES}


def pieces_of(name: str, held: Held, apart: bool = False) -> tuple[list[Piece], dict[str, list[float]]]:
    """An account as the plain twin takes it; `apart` where every underlying is a coin of its own."""
    pieces = []
    for one, quantity in held.items():
        row = ROW[one]
        u = int(LINEAR.underlying_idx[row])
        unit = None if u < 0 else str(MARKET.underlying_id[u])
        piece: Piece = {"coin": unit if apart or unit is None else unit[:3], "unit": unit}
        piece |= {"settle": "coin" if one in INDEX else "dollars", "value": quantity * float(ARRAYS[name].value[row])}
        piece |= {"haircut": HAIRCUT if one in INDEX else 0.0}
        piece["gains"] = [0.0 if one in INDEX else quantity * float(gain) for gain in GAINS[name][row]]
        pieces += [piece] if quantity else []
    moves = {coin: (GAINS[name][ROW[coin]] / INDEX[coin]).tolist() for coin in INDEX}
    return pieces, {**moves, "ETH_USDC": moves["ETH"]}


def held_of(steps: dict[str, int], balances: Held) -> Held:
    return {**{one: 50 * n * float(LINEAR.quantity_step[ROW[one]]) for one, n in steps.items()}, **balances}


def required(name: str, held: Held) -> tuple[float, float]:
    """Maintenance margin and the charge in it."""
    found = MODELS[name].requirement(linear_book(held), ARRAYS[name], backend="numpy")
    return float(found.maintenance[0]), float(found.charges["balances_owed"][0, 1])


ETHER = [name for name in CONTRACTS if name.startswith("ETH")]
contracts = st.dictionaries(st.sampled_from(ETHER), st.integers(-400, 400), max_size=6)
balances = st.fixed_dictionaries(
    {"ETH": st.floats(-900.0, 900.0)}, optional={"BTC": st.floats(-40.0, 60.0), "USD": st.floats(-3e6, 3e6)}
)
# Long of the one, short of the other: each is asked for by itself, and together they hedge nothing.
AGAINST = {"ETH-PERPETUAL": 4_100, "ETH_USDC-PERPETUAL": -200}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_hedge_is_one_on_either_underlying(name: str, side: float) -> None:
    """Coins against dollars, sold or bought forward on the contract in coin or on that in dollars."""
    bare = {"ETH": side * 100.0, "USD": side * -150_000.0 - 75_000.0 * (side < 0.0)}
    _, alone = required(name, bare)
    in_coin, left = required(name, {**bare, "ETH-PERPETUAL": side * -205_000.0})
    in_dollars, other = required(name, {**bare, "ETH_USDC-PERPETUAL": side * -10_000.0})
    assert in_dollars == pytest.approx(in_coin, rel=2e-3)
    assert other == pytest.approx(left, abs=50.0) and other < 0.5 * alone
    halves, _ = required(name, {**bare, "ETH-PERPETUAL": side * -102_500.0, "ETH_USDC-PERPETUAL": side * -5_000.0})
    assert halves == pytest.approx(in_coin, rel=2e-3)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(contracts, balances)
@example(AGAINST, {"ETH": -100.0, "USD": 400_000.0})
@example({"ETH_USDC-PERPETUAL": 200}, {"ETH": -100.0, "USD": 400_000.0})
def test_the_charge_is_that_of_plain_python_and_no_more_than_apart(
    name: str, steps: dict[str, int], cash: Held
) -> None:
    held = held_of(steps, cash)
    _, charged = required(name, held)
    assert charged == pytest.approx(currency_charge(*pieces_of(name, held)), rel=1e-7, abs=1e-3)
    assert charged <= currency_charge(*pieces_of(name, held, apart=True)) + 1e-3


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(contracts, balances)
@example(AGAINST, {"ETH": -100.0})
@example({"ETH_USDC-PERPETUAL": -200}, {"ETH": 100.0})
@example({"ETH_USDC-30D-1.3--1": -20, "ETH-PERPETUAL": 4_100}, {"ETH": 90.0})
def test_who_covers_the_margin_is_worth_something_in_every_scenario(
    name: str, steps: dict[str, int], cash: Held
) -> None:
    """As many dollars as the margin just lets; both underlyings of a coin in one scenario, each coin in its own."""
    held = held_of(steps, cash)
    value = sum(q * float(ARRAYS[name].value[ROW[one]]) for one, q in held.items())
    value -= sum(HAIRCUT * max(q, 0.0) * INDEX[one] for one, q in held.items() if one in INDEX)

    def left(dollars: float) -> float:
        return value + dollars - required(name, {**held, "USD": held.get("USD", 0.0) + dollars})[0]

    needed = brentq(left, -1e9, 1e9, xtol=1e-4, rtol=1e-14) + 1e-3
    just = {**held, "USD": held.get("USD", 0.0) + needed}
    assert worst_worth(*pieces_of(name, just)) >= -0.1


def test_underlyings_that_may_part_are_coins_of_their_own() -> None:
    """One move of ETH_USDC that ETH does not make: its contracts stand against no balance of ETH."""
    alike = ARRAYS["bybit_pm"]
    moves = alike.scenario_set.price_move.copy()
    moves[0, 2] -= 0.01
    apart = replace(alike, scenario_set=replace(alike.scenario_set, price_move=moves))
    haircut = np.zeros(len(alike))
    for arrays, family in ((alike, [0, 1, 1]), (apart, [0, 1, 2])):
        view = cells_in_dollars(arrays, arrays.rows, COINS, haircut, is_own_money(arrays))
        assert view.family.tolist() == family and view.unit.tolist() == [0, 1, 2]
        assert np.all(view.price[2] == (view.price[1] if arrays is alike else 1.0))


def test_what_a_commodity_scans_together_is_asked_for_once() -> None:
    """A SPAN file may have both underlyings in one commodity; credits between commodities make all of them one."""
    arrays, model = ARRAYS["span"], MODELS["span"]
    rules = model.rules(arrays)
    assert _scanned_together(arrays, rules).tolist() == [0, 1, 2]
    one = replace(rules, commodity=np.where(rules.commodity == 2, 1, rules.commodity))
    assert _scanned_together(arrays, one).tolist() == [0, 1, 1]
    view = cells_in_dollars(
        arrays, arrays.rows, COINS, np.zeros(len(arrays)), is_own_money(arrays), _scanned_together(arrays, one)
    )
    assert view.unit.tolist() == [0, 1, 1]
    credit: Any = (object(),)
    assert len(set(_scanned_together(arrays, replace(rules, between=credit)).tolist())) == 1
