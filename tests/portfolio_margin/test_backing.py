"""deribit_standard: what coins held cost as far as they stand against coins owed, dollars owed or linear contracts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from portfolio_margin import Book, margin
from portfolio_margin.standard_margin import FutureRates, OptionRates
from pricing.instruments import Payoff
from scenarios import revalue
from scenarios.shocks import make
from tests.examples import market_and_instruments
from tests.naive import standard_margin as naive
from tests.naive.balances import balance_charge
from tests.portfolio_margin.test_contracts import model_of

Held = dict[str, float]
PRICES = {"BTC": 68_000.0, "ETH": 2_050.0, "SOL": 140.0}
INVERSE, CARRIED = market_and_instruments(spots=PRICES)
# Shares are of the index, options lose by their forward: here the two are one.
MARKET = replace(CARRIED, forward=CARRIED.spot[CARRIED.expiry_underlying])
ROW = INVERSE.index_of()
# Options are paid in dollars here, and so are perpetuals; dated futures are paid in coin.
IN_DOLLARS = INVERSE.is_option | np.char.endswith(INVERSE.instrument_id.astype(str), "PERPETUAL")
INSTRUMENTS = replace(
    INVERSE,
    payoff=np.where(IN_DOLLARS, Payoff.LINEAR, INVERSE.payoff),
    currency_idx=np.where(IN_DOLLARS, 0, INVERSE.currency_idx),
    multiplier=np.where(IN_DOLLARS & ~INVERSE.is_option, 0.001, INVERSE.multiplier),
)
SHARES = (-0.15, -0.1, -0.075, -0.05, 0.05, 0.075, 0.1, 0.15)
ARRAYS = revalue(INSTRUMENTS, MARKET, make(["none", *map(str, SHARES)], np.array([[0.0], *([m] for m in SHARES)])))
# Another share for each coin, so that what counts of each differs.
RATES = {
    "BTC": OptionRates(0.15, 0.1, 0.075, 0.5),
    "ETH": OptionRates(0.25, 0.1, 0.1, 0.5),
    "SOL": OptionRates(0.4, 0.2, 0.3, 0.5),
}
FUTURES = dict.fromkeys(PRICES, FutureRates(0.02, 0.01, 5e-5, 5e-5))
UNEVEN = model_of("deribit_standard", options=RATES, futures=FUTURES)
VENUE = model_of("deribit_standard", options=dict.fromkeys(PRICES, OptionRates()), futures=FUTURES)
SIDES = ("initial", "maintenance")
COVERED = {"initial": "available_funds", "maintenance": "excess_liquidity"}

amounts = {coin: st.floats(-5e5 / price, 5e5 / price).map(lambda q: round(q, 3)) for coin, price in PRICES.items()}
coins_held = st.fixed_dictionaries({}, optional=amounts)
CONTRACTS = [str(name) for name in INSTRUMENTS.instrument_id[~INSTRUMENTS.is_collateral]]
contracts_held = st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-200, 200), max_size=6)
LINEAR = [str(name) for name in INSTRUMENTS.instrument_id[INSTRUMENTS.is_option]]
options_held = st.dictionaries(st.sampled_from(LINEAR), st.integers(-200, 200), max_size=6)


def statement_of(model: Any, held: Held) -> Any:
    rows = [ROW[name] for name in held]
    book = Book.from_arrays(["a"] * len(held), rows, list(held.values()), INSTRUMENTS.expiry_idx, accounts=["a"])
    return margin(book, ARRAYS, MARKET, model)


def in_steps(steps: dict[str, int]) -> Held:
    return {name: n * float(INSTRUMENTS.quantity_step[ROW[name]]) for name, n in steps.items()}


def just_covered(model: Any, held: Held, side: str) -> tuple[Held, float]:
    """The account with as many dollars as the margin just lets, and its equity then."""

    def left(dollars: float) -> float:
        return float(getattr(statement_of(model, {**held, "USD": dollars}), COVERED[side])[0])

    just = {**held, "USD": round(brentq(left, -3e7, 3e7, xtol=1e-3, rtol=1e-13) + 0.01, 3)}
    return just, float(statement_of(model, just).equity[0])


def share_of(model: Any, coin: str, side: str) -> float:
    rates = {name.lower(): one for name, one in model.params.options.items()}[coin.lower()]
    return float(getattr(rates, side))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("model", [UNEVEN, VENUE], ids=["uneven", "venue"])
@settings(max_examples=20, deadline=None)
@given(coins_held)
@example({"BTC": 1.0, "ETH": -30.0})
@example({"BTC": -1.0, "ETH": 40.0, "SOL": 9.0})
@example({"BTC": 5.0})
def test_who_covers_a_margin_owes_nothing_after_the_worst_of_each_coin(model: Any, side: str, held: Held) -> None:
    """Each coin rises or falls by its share, whichever is worse: as much as that, and no more, is asked for."""
    _, equity = just_covered(model, held, side)
    loss = sum(abs(q) * PRICES[coin] * share_of(model, coin, side) for coin, q in held.items())
    assert equity == pytest.approx(loss, abs=0.05)


@pytest.mark.parametrize("side", SIDES)
@settings(max_examples=20, deadline=None)
@given(options_held, coins_held)
@example({"BTC-60D-95200-P": -50}, {"BTC": 9.0})
@example({"BTC-60D-40800-C": -50, "BTC-60D-40800-P": 50}, {"ETH": 200.0})
@example({"ETH-7D-1640-C": -100}, {"ETH": -50.0, "SOL": 5_000.0})
def test_options_paid_in_dollars_lose_no_more_than_the_margin_beside_coins(
    side: str, steps: dict[str, int], coins: Held
) -> None:
    """By their own revaluation, each coin in its worst price within the share, vols as they are."""
    held = {**in_steps(steps), **coins}
    just, equity = just_covered(VENUE, held, side)
    assert equity + worst_gain(just, side) >= -0.05


@pytest.mark.parametrize("side", SIDES)
@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from([f"{c}-PERPETUAL" for c in PRICES]), st.integers(-5000, 5000)), coins_held)
@example({"BTC-PERPETUAL": 5000}, {"BTC": 1.0})
def test_futures_lose_beyond_the_margin_what_their_rate_leaves(side: str, steps: dict[str, int], coins: Held) -> None:
    """That part is the venue's: its rate is 2 % where prices move by 15 %."""
    held = {**in_steps(steps), **coins}
    just, equity = just_covered(VENUE, held, side)
    beyond = 0.0
    for name, quantity in held.items():
        if name.endswith("PERPETUAL"):
            coin, size = name[:3], 0.001 * abs(quantity)
            asked = naive.future(size, PRICES[coin], vars(FUTURES[coin]))[SIDES.index(side)]
            beyond += max(size * PRICES[coin] * share_of(VENUE, coin, side) - asked, 0.0)
    assert equity + worst_gain(just, side) >= -beyond - 0.05


def worst_gain(held: Held, side: str) -> float:
    """What an account gains, each coin at its worst price within the share."""
    total = 0.0
    for coin in PRICES:
        inside = np.array([0.0, *np.abs(SHARES)]) <= share_of(VENUE, coin, side) + 1e-12
        gains = [q * ARRAYS.pnl[ROW[name], inside] for name, q in held.items() if name.startswith(coin)]
        total += float(np.sum(gains, axis=0).min()) if gains else 0.0
    return total


@settings(max_examples=60, deadline=None)
@given(contracts_held, coins_held, st.floats(-4e5, 4e5))
@example({"BTC-60D-95200-P": -50}, {"BTC": 9.0}, 0.0)
@example({"ETH-7D-2870-P": -90, "BTC-60D": 3000}, {"BTC": 0.01, "SOL": 3_000.0}, -90_000.0)
@example({"BTC-60D": -3000}, {"ETH": 20.0}, 0.0)
def test_the_charge_is_that_of_plain_python(steps: dict[str, int], coins: Held, dollars: float) -> None:
    """Options and perpetuals need dollars, dated futures their coin."""
    held = {**in_steps(steps), **coins, "USD": round(dollars, 2)}
    charged = statement_of(UNEVEN, held).charges["balances_owed"][0]
    for k, side in enumerate(SIDES):
        asked: dict[str, float] = {}
        marked = 0.0
        for name, quantity in held.items():
            need, more = asked_for(name, quantity)
            currency = name[:3] if name.endswith("-60D") else "USD"
            asked[currency] = asked.get(currency, 0.0) + need[k]
            marked += more[k]
        balances = {name: q for name, q in held.items() if name in (*PRICES, "USD")}
        move = {coin: share_of(UNEVEN, coin, side) for coin in PRICES}
        assert charged[k] == pytest.approx(balance_charge(balances, PRICES, move, 0.0, asked, marked), abs=1e-2)


def asked_for(name: str, quantity: float) -> tuple[list[float], list[float]]:
    """Initial and maintenance margin of a position, and what the share of a put's mark has added to it."""
    row, coin = ROW[name], name[:3]
    if name.endswith(("PERPETUAL", "-60D")):
        units, price = float(INSTRUMENTS.multiplier[row]), PRICES[coin]
        size = quantity * (units / price if name.endswith("-60D") else units)
        return list(naive.future(size, price, vars(FUTURES[coin]))), [0.0, 0.0]
    if not INSTRUMENTS.is_option[row] or quantity >= 0.0:
        return [0.0, 0.0], [0.0, 0.0]
    contract = {
        "strike": float(INSTRUMENTS.strike[row]),
        "sign": float(INSTRUMENTS.sign[row]),
        "index": PRICES[coin],
        "mark": float(ARRAYS.value[row]),
        "inverse": False,
    }
    marked, plain = (naive.short_option(contract, rates) for rates in (
        vars(RATES[coin]), {**vars(RATES[coin]), "put_mark": 0.0}))  # fmt: skip
    return [-quantity * x for x in plain], [-quantity * (x - y) for x, y in zip(marked, plain, strict=True)]


UNCHANGED: list[Held] = [
    {"BTC": 5.0},
    {"BTC": 5.0, "BTC-60D": 9_000.0},
    {"BTC": 5.0, "ETH": 40.0, "SOL": 9.0},
    {"BTC": 5.0, "ETH": 40.0, "USD": 5_000.0, "ETH-60D": 90_000.0},
    {"BTC": 5.0, "USD": 2e6, "BTC-60D-95200-P": -5.0, "ETH-PERPETUAL": 9_000.0},
    {"USD": 3e5, "BTC-60D": -9_000.0, "BTC-60D-40800-C": -5.0},
]


@pytest.mark.parametrize("held", UNCHANGED)
def test_what_its_own_currency_or_dollars_cover_costs_the_venues_margin(held: Held) -> None:
    statement = statement_of(VENUE, held)
    assert not statement.charges["balances_owed"].any()
    assert statement.initial_margin[0] >= 0.0 == statement.unmargined[0]


def test_more_of_a_coin_never_lowers_what_is_left() -> None:
    base: Held = {"ETH": -30.0, "BTC-60D-68000-C": -2.0, "BTC-60D": 2_000.0, "USD": 9_000.0}
    funds = [statement_of(UNEVEN, {**base, "BTC": q}).available_funds[0] for q in np.linspace(0.0, 9.0, 37)]
    assert np.all(np.diff(funds) > 0.0)
