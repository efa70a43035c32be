"""A loan costs margin however it is taken: dollars owed, coins owed, boxes sold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from scipy.optimize import brentq

from portfolio_margin import Book, MarginStatement, margin
from portfolio_margin.models.okx_pm import by_index
from pricing.instruments import Payoff
from scenarios import RiskArrays, revalue
from scenarios.shocks import same_scenarios
from tests.naive.currencies import Piece, currency_charge, worst_worth
from tests.portfolio_margin.books import (
    ARRAYS,
    GRID,
    INSTRUMENTS,
    MARKET,
    ROW,
    Held,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
)
from tests.portfolio_margin.test_balances_owed import RATES, SPOT
from tests.portfolio_margin.test_contracts import SHIPPED, arrays_of, model_of, statement_of

# Sold: so much money now for a fixed amount at expiry, whatever the price does.
BOX = {"BTC-60D-40800-C": -1.0, "BTC-60D-40800-P": 1.0, "BTC-60D-95200-C": 1.0, "BTC-60D-95200-P": -1.0}
VALUE = {name: float(ARRAYS.value[ROW[name]]) for name in ROW}
LENT = -sum(quantity * VALUE[name] for name, quantity in BOX.items())
COINS, SIZE = 5.0, 5.4
LOANS: dict[str, Held] = {
    "boxes": {**{name: SIZE * quantity for name, quantity in BOX.items()}, "BTC": COINS},
    "dollars": {"BTC": COINS, "USD": -SIZE * LENT},
    "coins": {"BTC": -COINS, "USD": 2.0 * COINS * SPOT["BTC"]},
}
XPM = model_of("deribit_xpm").params
# Of models without scenarios the share of a coin that is maintained; of derive_pmrm2 its largest move that is not
# dampened, of deribit_xpm the range of prices that its extended cells are scaled to.
SHARES = {"reg_t": 0.25, "derive_standard": 0.15, "derive_pmrm2": 0.18, "deribit_xpm": XPM.pair("BTC").price_range,
          "okx_pm": 0.12, "bybit_pm": 0.15, "span": 0.15,
          "deribit_spm": model_of("deribit_spm").params.pair("BTC").price_range,
          "deribit_legacy_pm": model_of("deribit_legacy_pm").params.price_range}  # fmt: skip
# Initial and maintenance margin per unit of loss, and the haircut of coins, of models that count contracts in dollars.
BY_CONTRACTS = {"okx_pm": ((1.3, 1.0), 0.05), "bybit_pm": ((1.2, 1.0), 0.05), "span": ((1.0, 1.0), 0.05)}
# Models in which coins held stand against debts scenario by scenario.
BY_SCENARIO = ["deribit_spm", "deribit_legacy_pm", *BY_CONTRACTS]


def largest_move(name: str, rise: bool) -> float:
    """Share of its value that a coin may rise or fall by in the model: the largest it takes, and of historical
    scenarios the 99th percentile, which a mean of the tail is never below."""
    if name in RATES:
        return RATES[name][0]["BTC"]
    if name in SHARES:
        return SHARES[name]
    moves = arrays_of(model_of(name)).rows[ROW["BTC"]] / arrays_of(model_of(name)).value_rows[ROW["BTC"]]
    losses = moves if rise else -moves
    return float(np.quantile(losses, 0.99) if name == "historical_simulation" else losses.max())


@pytest.mark.parametrize("loan", LOANS)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_loan_is_margined_at_the_largest_move_or_named(name: str, loan: str) -> None:
    """Haircut and requirement are at least the loss on what stands against the loan."""
    statement = statement_of(name, {"a": LOANS[loan]})
    owed = COINS * SPOT["BTC"]
    if loan != "coins":
        counted = owed - float(statement.haircut[0])
        owed *= min(1.0, SIZE * LENT / counted) if counted > 0.0 else 1.0
    cost = float(statement.equity[0] - statement.available_funds[0])
    assert statement.unmargined[0] or cost >= owed * largest_move(name, loan == "coins") - 0.05
    assert largest_move(name, loan == "coins") >= 0.05


@pytest.mark.parametrize("name", SHIPPED)
def test_boxes_sold_cost_no_less_than_dollars_owed(name: str) -> None:
    statement = statement_of(name, LOANS)
    row = statement.account.tolist().index
    cost = statement.equity - statement.available_funds
    # In coin the box is margined by its own moves, which reach as far down as the coin's, less what the vols give.
    assert cost[row("boxes")] >= 0.9 * cost[row("dollars")]


def pieces_of(name: str, held: Held) -> tuple[list[Piece], dict[str, list[float]]]:
    """An account as the plain twin takes it: contracts gain dollars, coins move with their price."""
    arrays = arrays_of(model_of(name))
    weight, by = np.ones(len(arrays.scenario_set)), np.ones((len(arrays), 1))
    if name == "okx_pm":
        weight[-2:], by = 0.5, by_index(arrays)
    pnl = arrays.pnl * weight * by
    pieces = []
    for one, quantity in held.items():
        row, asset = ROW[one], one in SPOT
        piece: Piece = {"coin": None if one == "USD" else one[:3], "settle": "coin" if asset else "dollars"}
        piece |= {"value": quantity * float(arrays.value[row]), "haircut": BY_CONTRACTS[name][1] if asset else 0.0}
        piece["gains"] = [0.0 if asset else quantity * float(gain) for gain in pnl[row]]
        pieces += [piece] if quantity else []
    return pieces, {coin: (pnl[ROW[coin]] / SPOT[coin]).tolist() for coin in SPOT}


@pytest.mark.parametrize("name", BY_CONTRACTS)
@settings(max_examples=25, deadline=None)
@given(contracts_held, balances_held)
def test_the_charge_with_contracts_is_that_of_plain_python(name: str, steps: dict[str, int], balances: Held) -> None:
    """Every contract is counted in dollars, scenario by scenario, beside the coins."""
    held = {**in_steps(steps), **balances}
    wanted = currency_charge(*pieces_of(name, held))
    charged = statement_of(name, {"a": held}).charges["balances_owed"][0]
    assert charged == pytest.approx([factor * wanted for factor in BY_CONTRACTS[name][0]], rel=1e-6, abs=1e-2)


@pytest.mark.parametrize("name", BY_CONTRACTS)
@settings(max_examples=10, deadline=None)
@given(contracts_held, balances_held)
@example({"BTC-60D-81600-P": -50}, {"BTC": 8.0})
@example({"BTC-60D-40800-C": -50}, {"BTC": 8.0})
@example({"BTC-60D-40800-C": -50, "BTC-60D-40800-P": 50}, {"ETH": 90.0})
def test_who_covers_the_maintenance_margin_is_worth_something_in_every_scenario(
    name: str, steps: dict[str, int], balances: Held
) -> None:
    """What a scan loses is owed as money is, and coins that stand against it fall as well."""
    held, model = {**in_steps(steps), **balances}, model_of(name)
    arrays = arrays_of(model)

    def left(dollars: float) -> float:
        book = book_of({"a": {**held, "USD": held.get("USD", 0.0) + dollars}})
        required = model.requirement(book, arrays, backend="numpy").maintenance[0]
        counted = [q * float(arrays.value[ROW[one]]) for one, q in held.items()]
        haircut = sum(0.05 * max(q, 0.0) * SPOT[one] for one, q in held.items() if one in SPOT)
        return float(sum(counted) + dollars - haircut - required)

    needed = brentq(left, -1e9, 1e9, xtol=1e-3, rtol=1e-13) + 0.01
    just = {**held, "USD": held.get("USD", 0.0) + needed}
    assert worst_worth(*pieces_of(name, just)) >= -1.0


@pytest.mark.parametrize("name", BY_CONTRACTS)
def test_the_charge_of_boxes_breaks_down_to_coins(name: str) -> None:
    model, book = model_of(name), book_of({"a": LOANS["boxes"]})
    statement = margin(book, arrays_of(model), MARKET, model)
    lines = [line for line in model.contributions(book, arrays_of(model)) if line.charge == "balances_owed"]
    assert [line.netting_set for line in lines] == ["BTC"]
    assert float(lines[0].initial) == pytest.approx(statement.charges["balances_owed"][0, 0], rel=1e-12)


def test_coins_against_no_debt_are_named_by_span_and_charged_against_one() -> None:
    """The fall beyond the haircut of 5 %, of the coins that are worth the debt after a fall of 15 % in all."""
    statement = statement_of("span", {"alone": {"BTC": COINS}, "owing": LOANS["dollars"]})
    assert statement.excluded.tolist() == [1, 1] and not statement.unmargined.any()
    charge = SIZE * LENT / 0.85 * 0.10
    assert statement.initial_margin.tolist() == pytest.approx([0.0, charge], abs=0.02)


# The same options, paid in dollars: what a box costs is then a fixed amount of them, whatever the coin does.
LINEAR = replace(
    INSTRUMENTS,
    payoff=np.where(INSTRUMENTS.is_option, Payoff.LINEAR, INSTRUMENTS.payoff),
    currency_idx=np.where(INSTRUMENTS.is_option, 0, INSTRUMENTS.currency_idx),
)
IN_DOLLARS: list[RiskArrays] = []
# A put far in the money, hedged: a fixed amount of dollars as well.
DEEP = "BTC-60D-95200-P"


def in_dollars(model: Any) -> RiskArrays:
    moves = model.scenario_set(MARKET) or GRID
    for known in IN_DOLLARS:
        if same_scenarios(known.scenario_set, moves):
            return known
    IN_DOLLARS.append(revalue(LINEAR, MARKET, moves))
    return IN_DOLLARS[-1]


def linear_statement(model: Any, accounts: dict[str, Held]) -> MarginStatement:
    rows = [(name, ROW[instrument], q) for name, held in accounts.items() for instrument, q in held.items()]
    names, instrument, quantities = (list(column) for column in zip(*rows, strict=True))
    book = Book.from_arrays(names, instrument, quantities, LINEAR.expiry_idx, accounts=list(accounts))
    return margin(book, in_dollars(model), MARKET, model)


@pytest.mark.parametrize("name", SHIPPED)
def test_boxes_sold_for_dollars_cost_no_less_than_dollars_owed(name: str) -> None:
    """Whatever the options are paid in; what vols give to the one and not to the other is a tenth at most."""
    model = model_of(name)
    value = in_dollars(model).value
    lent = -5.0 * sum(quantity * float(value[ROW[option]]) for option, quantity in BOX.items())
    boxes: Held = {option: 5.0 * quantity for option, quantity in BOX.items()}
    put = float(value[ROW[DEEP]])
    accounts: dict[str, Held] = {
        "boxes": {**boxes, "BTC": COINS},
        "dollars": {"BTC": COINS, "USD": -lent},
        "kept": {**boxes, "BTC": COINS, "USD": lent},
        "put": {DEEP: -5.0, "BTC": COINS},
        "of the put": {"BTC": COINS, "USD": -5.0 * put},
    }
    statement = linear_statement(model, accounts)
    row = statement.account.tolist().index
    needed = {side: statement.equity - left for side, left in
              (("initial", statement.available_funds), ("maintenance", statement.excess_liquidity))}  # fmt: skip
    for side, cost in needed.items():
        assert cost[row("boxes")] >= 0.89 * cost[row("dollars")] > 0.0, side
        assert cost[row("put")] >= cost[row("of the put")] or statement.unmargined[row("put")], side
    if "balances_owed" in statement.charges:
        charged = statement.charges["balances_owed"]
        if name in BY_SCENARIO:  # what vols may take from the box is owed in dollars as well
            assert 0.0 < charged[row("kept"), 0] < 0.02 * charged[row("boxes"), 0]
        elif name == "deribit_standard":  # each leg is margined by itself, and what dollars lack of that coins back
            assert 0.0 < charged[row("kept"), 0] < charged[row("boxes"), 0]
        else:
            assert not charged[row("kept")].any()
        if name != "deribit_standard":
            beside = charged[row("boxes")] - charged[row("kept")]
            assert beside == pytest.approx(charged[row("dollars")], abs=0.01)
