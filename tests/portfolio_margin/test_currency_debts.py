"""Owed in one currency, held in another: charged under the models that margin every currency by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from portfolio_margin.models import deribit_legacy_pm, deribit_spm
from scenarios import revalue
from tests.naive import deribit as naive
from tests.naive import deribit_legacy as naive_legacy
from tests.naive.currencies import Piece, currency_charge, worst_worth
from tests.portfolio_margin.deribit_examples import (
    CONTRACTS,
    EXACT_ARRAYS,
    INDEX,
    LINEAR,
    LINEAR_MARKET,
    PAIRS,
    PARAMS,
    ROW,
    linear_book,
    plain,
)

LEGACY = deribit_legacy_pm.Params(0.1, 0.38, 0.3, 1.3, 0.01, 0.005, 0.01)
MODELS: dict[str, Any] = {
    "deribit_spm": deribit_spm.Model(PARAMS),
    "deribit_legacy_pm": deribit_legacy_pm.Model(LEGACY),
}
ARRAYS = {
    "deribit_spm": EXACT_ARRAYS,
    "deribit_legacy_pm": revalue(
        LINEAR, LINEAR_MARKET, MODELS["deribit_legacy_pm"].scenario_set(LINEAR_MARKET), backend="numpy", tick=None
    ),
}
FACTORS = {"deribit_spm": (1.0, 0.8), "deribit_legacy_pm": (1.3, 1.0)}
# The margin that covers the moves of the model: the initial one, and in the old model maintenance already.
COVERS = {"deribit_spm": "initial", "deribit_legacy_pm": "maintenance"}
Held = dict[str, float]


def cells(name: str) -> dict[str, list[tuple[float, str]]]:
    """Move of the price and case of the vol in every cell of a model, by coin."""
    ranges = {coin: PAIRS[coin]["price_range"] if name == "deribit_spm" else LEGACY.price_range for coin in INDEX}
    return {
        coin: [(most * k / 4, case) for k in range(-4, 5) for case in ("up", "same", "down")]
        for coin, most in ranges.items()
    }


def gain(name: str, contract: dict[str, Any], move: float, case: str) -> float:
    """In the currency of settlement: coins, or dollars."""
    if name == "deribit_spm":
        return naive.gain(contract, move, case, PAIRS[contract["coin"]], INDEX[contract["coin"]])
    vol_move = {"up": LEGACY.vol_range, "same": 0.0, "down": -LEGACY.vol_range}[case]
    coins = naive_legacy.gain({**contract, "power": LEGACY.vega_power}, move, vol_move)
    if contract["inverse"]:
        return coins
    before = contract["units"] * worth(contract)
    return float(((coins + before) * (1.0 + move) - before) * contract["forward"])


def worth(contract: dict[str, Any]) -> float:
    """Coins that one option is worth now, 0 of a future."""
    if contract["kind"] != "option":
        return 0.0
    return naive.price(contract, 0.0, "same", PAIRS[contract["coin"]]) / contract["forward"]


def pieces_of(name: str, held: Held) -> tuple[list[Piece], dict[str, list[float]]]:
    """An account as the plain twin takes it."""
    table, pieces = cells(name), []
    for one, quantity in held.items():
        if quantity == 0.0:
            continue
        if one in INDEX:
            gains = [0.0] * len(table[one])
            pieces.append({"coin": one, "settle": "coin", "value": quantity * INDEX[one], "gains": gains})
        elif one.startswith("USD"):
            pieces.append({"coin": None, "settle": "dollars", "value": quantity, "gains": []})
        else:
            contract = plain(one)
            coin, unit = contract["coin"], INDEX[contract["coin"]] if contract["inverse"] else 1.0
            price = unit if contract["inverse"] else contract["forward"]
            pieces.append(
                {
                    "coin": coin,
                    "settle": "coin" if contract["inverse"] else "dollars",
                    "value": quantity * contract["units"] * worth(contract) * price,
                    "gains": [quantity * gain(name, contract, *cell) * unit for cell in table[coin]],
                }
            )
    return pieces, {coin: [move for move, _ in cells_of] for coin, cells_of in table.items()}


def held_of(steps: dict[str, int], balances: Held) -> Held:
    return {**{one: 50 * n * float(LINEAR.quantity_step[ROW[one]]) for one, n in steps.items()}, **balances}


contracts = st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-400, 400), max_size=6)
balances = st.fixed_dictionaries(
    {},
    optional={"BTC": st.floats(-40.0, 60.0), "ETH": st.floats(-900.0, 900.0), "USDC": st.floats(-3e6, 3e6)},
)
SYNTHETIC = {"BTC-90D-0.8-+1": -1, "BTC-90D-0.8--1": 1}
BOX = {"BTC-90D-0.8-+1": -1, "BTC-90D-0.8--1": 1, "BTC-90D-1.3-+1": 1, "BTC-90D-1.3--1": -1}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(contracts, balances)
@example(SYNTHETIC, {"USDC": 167_000.0})
@example(BOX, {"USDC": 80_000.0})
@example(BOX, {"BTC": 5.0})
@example({"BTC-90D-0.8-+1": -20}, {"USDC": 3e6})
@example({"ETH_USDC-30D-1.3--1": -20}, {"ETH": 900.0})
def test_the_charge_is_that_of_plain_python(name: str, steps: dict[str, int], cash: Held) -> None:
    held = held_of(steps, cash)
    wanted = currency_charge(*pieces_of(name, held))
    required = MODELS[name].requirement(linear_book(held), ARRAYS[name], backend="numpy")
    assert required.charges["balances_owed"][0] == pytest.approx(
        [factor * wanted for factor in FACTORS[name]], rel=1e-7, abs=1e-4
    )


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(contracts, balances)
@example(SYNTHETIC, {})
@example(BOX, {"BTC": 0.5})
@example({"BTC-90D-1.3--1": 15}, {"BTC": -9.0})
@example({"BTC-90D-0.8-+1": -20}, {})
@example({"ETH_USDC-30D-1.3--1": -20}, {"ETH": 900.0})
@example({"ETH_USDC-PERPETUAL": 400}, {"ETH": 9.0})
def test_who_covers_the_margin_is_worth_something_in_every_cell(name: str, steps: dict[str, int], cash: Held) -> None:
    """Each coin in its own worst cell: with as many dollars as the margin just lets, nothing is owed on balance."""
    held, arrays, model = held_of(steps, cash), ARRAYS[name], MODELS[name]
    value = sum(q * float(arrays.value[ROW[one]]) for one, q in held.items())

    def left(dollars: float) -> float:
        book = linear_book({**held, "USDC": held.get("USDC", 0.0) + dollars})
        required = getattr(model.requirement(book, arrays, backend="numpy"), COVERS[name])
        return value + dollars - float(required[0])

    needed = brentq(left, -1e9, 1e9, xtol=1e-5, rtol=1e-14) + 1e-4
    assert left(needed) >= 0.0
    just = {**held, "USDC": held.get("USDC", 0.0) + needed}
    assert worst_worth(*pieces_of(name, just)) >= -1e-3


# What is owed, in its several forms, and the worst of moving it: each pays what it loses, and what else its model asks.
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("held", "lacking"),
    [
        ({"BTC-90D-0.8-+1": -5.0, "BTC-90D-0.8--1": 5.0, "USDC": 167_000.0}, True),
        ({"BTC-90D-0.8-+1": -5.0, "USDC": 200_000.0}, True),
        ({"BTC-90D-1.3--1": 5.0, "BTC": -3.0, "USDC": 200_000.0}, True),
        ({"BTC": -3.0, "USDC": 300_000.0}, True),
        ({"ETH-90D-0.8-+1": -80.0, "ETH": -20.0, "BTC": 5.0}, True),
        # A fall takes more coins than dollars: what is asked in coin is enough.
        ({"BTC-90D-1.3--1": -5.0, "USDC": 300_000.0}, False),
        ({"BTC-PERPETUAL": 34_000.0, "USDC": 300_000.0}, False),
    ],
)
def test_what_is_owed_in_coin_pays_what_it_loses(name: str, held: Held, lacking: bool) -> None:
    pieces, moves = pieces_of(name, held)
    loss = sum(piece["value"] for piece in pieces) - worst_worth(pieces, moves)
    required = MODELS[name].requirement(linear_book(held), ARRAYS[name], backend="numpy")
    charges = {key: values[0, 0] / FACTORS[name][0] for key, values in required.charges.items()}
    scan = charges["worst_case" if name == "deribit_spm" else "scan"]
    if held.get("BTC", 0.0) > 0.0:  # one coin for another: the loss on as much of it as the debt could need
        rate = PAIRS["BTC"]["price_range"] if name == "deribit_spm" else LEGACY.price_range
        debt = -worst_worth(*pieces_of(name, {one: q for one, q in held.items() if one != "BTC"}))
        loss -= 5.0 * INDEX["BTC"] * rate - debt * rate / (1.0 - rate)
    assert (charges["balances_owed"] > 0.0) == (scan < loss - 1e-6) == lacking
    assert scan + charges["balances_owed"] >= loss - 1e-6


HEDGES: dict[str, Held] = {
    "none": {},
    "sold": {"BTC-PERPETUAL": -34_000.0},
    "calls": {"BTC-90D-0.8-+1": -5.0},
    "some": {"BTC-90D-1.3-+1": -2.0},
}


def test_a_hedge_inside_a_coin_is_counted_once() -> None:
    """Five coins against dollars owed: sold forward, or as calls deep in the money, there is no price left to bear."""
    alone = {"BTC": 5.0, "USDC": -280_000.0}
    charged = {}
    for name, hedge in HEDGES.items():
        book = linear_book({**alone, **hedge})
        charged[name] = MODELS["deribit_spm"].requirement(book, EXACT_ARRAYS).charges["balances_owed"][0, 0]
    assert charged["sold"] == charged["calls"] == 0.0 < charged["some"] < charged["none"]


def test_an_account_of_one_currency_costs_what_the_venue_asks() -> None:
    """Short of its margin or not, with a balance or without: nothing else could make it up."""
    accounts: list[Held] = [
        {"BTC-PERPETUAL": 34_000.0},
        {"BTC-90D-0.8-+1": -5.0, "BTC": 0.5},
        {"BTC": -1.0},
        {"USDC": -1.0},
        {"BTC-90D-0.8-+1": -5.0, "ETH-PERPETUAL": -100.0},
        {"ETH_USDC-30D-1.0-+1": -9.0, "USDC": 5.0},
    ]
    for held in accounts:
        for name, model in MODELS.items():
            assert not model.requirement(linear_book(held), ARRAYS[name]).charges["balances_owed"].any(), held
