"""A loan costs margin however it is taken: dollars owed, coins owed, boxes sold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from portfolio_margin import margin
from tests.naive.balances import balance_charge
from tests.portfolio_margin.books import ARRAYS, MARKET, ROW, Held, balances_held, book_of, contracts_held, in_steps
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
SHARES = {"reg_t": 0.25, "derive_standard": 0.15, "derive_pmrm2": 0.18, "deribit_xpm": XPM.pair("BTC").price_range}
BY_CONTRACTS = ["okx_pm", "bybit_pm", "span"]


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


@pytest.mark.parametrize("name", BY_CONTRACTS)
@settings(max_examples=25, deadline=None)
@given(contracts_held, balances_held)
def test_the_charge_with_contracts_is_that_of_plain_python(name: str, steps: dict[str, int], balances: Held) -> None:
    move, *factors, haircut = RATES[name]
    held = in_steps(steps)
    worth = sum(quantity * VALUE[contract] for contract, quantity in held.items())
    charged = statement_of(name, {"a": {**held, **balances}}).charges["balances_owed"][0]
    wanted = [factor * balance_charge(balances, SPOT, move, haircut, worth) for factor in factors]
    assert charged == pytest.approx(wanted, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("name", BY_CONTRACTS)
def test_the_charge_of_boxes_breaks_down_to_coins(name: str) -> None:
    model, book = model_of(name), book_of({"a": LOANS["boxes"]})
    statement = margin(book, arrays_of(model), MARKET, model)
    lines = [line for line in model.contributions(book, arrays_of(model)) if line.charge == "balances_owed"]
    assert [line.instrument for line in lines] == ["BTC"]
    assert float(lines[0].initial) == pytest.approx(statement.charges["balances_owed"][0, 0], rel=1e-12)


def test_coins_against_no_debt_are_named_by_span_and_charged_against_one() -> None:
    """The fall beyond the haircut of 5 %, 15 % in all, as far as the coins stand against the debt."""
    statement = statement_of("span", {"alone": {"BTC": COINS}, "owing": LOANS["dollars"]})
    assert statement.excluded.tolist() == [1, 1] and not statement.unmargined.any()
    charge = SIZE * LENT / 0.95 * 0.10
    assert statement.initial_margin.tolist() == pytest.approx([0.0, charge], abs=0.02)
