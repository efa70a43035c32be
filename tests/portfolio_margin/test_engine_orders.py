"""Orders against an engine: the numbers of what_if, of a plain twin, and of every size tried in turn; bad orders."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portfolio_margin import largest_order, order_codes, what_if
from portfolio_margin.backends import checks_numba
from portfolio_margin.charges import short_option_rows
from portfolio_margin.engine import MarginEngine
from portfolio_margin.events import CollateralChanged, Fill, PositionsChanged
from portfolio_margin.largest_order import LargestOrder
from portfolio_margin.margin import Amounts
from portfolio_margin.models import worst_case
from portfolio_margin.order_codes import NAMES
from portfolio_margin.sensitivities import COMPARED
from portfolio_margin.state import start
from pricing import ConfigError, DataError, EngineError
from pricing.arrays import freeze
from scenarios import ScenarioSet
from scenarios.families import grid
from tests.naive import orders as naive
from tests.portfolio_margin.books import (
    ARRAYS,
    CONTRACTS,
    INSTRUMENTS,
    MARKET,
    ROW,
    Held,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
    quantity,
)
from tests.portfolio_margin.engines import engine_state
from tests.portfolio_margin.test_contracts import MODELS, model_of
from tests.portfolio_margin.test_engine import everything, holdings

MODEL = worst_case.Model()
PER_SET = worst_case.Model(worst_case.Params(short_option_minimum=0.05, haircut=0.2, initial_factor=1.3))
JOINT = worst_case.Model(worst_case.Params(netting="joint", haircut_by_asset={"BTC": 0.5}))
# Up to ten coins: of amounts above some fifty millions the statement rounds binary noise too, by a cent.
few_coins = balances_held.map(lambda held: {name: round(amount / 100.0, 8) for name, amount in held.items()})
lots = st.lists(st.tuples(st.sampled_from(CONTRACTS), st.integers(-400, 400).filter(bool)), min_size=1, max_size=4)


@cache
def engine_of(name: str) -> MarginEngine:
    return MarginEngine(engine_state(model_of(name), holdings(5)))


def test_figures_begin_with_what_is_compared() -> None:
    assert NAMES[: order_codes.COMPARED] == COMPARED
    # The option value that a balance is without is told by statements; figures have the balance itself.
    assert set(NAMES) == set(Amounts._fields) - {"charges", "unseen", "orders", "uncounted_option_value"}


@settings(max_examples=40, deadline=None)
@given(contracts_held, few_coins, lots, st.sampled_from([MODEL, PER_SET, JOINT]))
def test_one_account_and_any_orders(
    steps: dict[str, int], cash: Held, trades: list[tuple[str, int]], model: Any
) -> None:
    state = engine_state(model, {"a": {**in_steps(steps), **cash}, "b": {}})
    engine = MarginEngine(state)
    orders = [(name, quantity(name, count)) for name, count in trades]
    for chosen in (orders, orders[:1]):
        answer = engine.what_if("a", chosen)
        assert answer == what_if(state.book(), state.arrays, MARKET, model, "a", chosen)
        check_twin(state, model, answer, chosen)
    rows = engine.instrument_rows([name for name, _ in orders])
    checked = engine.check(np.zeros(len(orders), np.int64), rows, [amount for _, amount in orders])
    for number, order in enumerate(orders):
        alone = engine.what_if("a", [order])
        assert checked.initial_margin[number] == alone.post["initial_margin"]
        assert checked.maintenance_margin[number] == alone.post["maintenance_margin"]
        assert checked.available_funds[number] == alone.post["available_funds"]
        assert bool(checked.fits[number]) == alone.fits
        assert bool(checked.allowed[number]) == alone.allowed


def check_twin(state: Any, model: worst_case.Model, answer: Any, orders: list[tuple[str, float]]) -> None:
    """Amounts are those of whole ticks added as integers, position by position."""
    arrays, params = state.arrays, model.params
    asset = arrays.is_collateral
    table = {
        "rows": arrays.rows.tolist(),
        "worth": arrays.value_rows.tolist(),
        "short": short_option_rows(arrays, params.short_option_minimum).tolist(),
        "unit": arrays.unit.tolist(),
        "contract": (~asset).tolist(),
        "long_weight": np.where(asset, 1.0 - model.haircut(arrays), 1.0).tolist(),
        "value": arrays.value.tolist(),
        "cash_row": arrays.cash_row.tolist(),
        "netting_set": [0] * len(asset) if params.netting == "joint" else arrays.underlying_idx.tolist(),
        "tick": arrays.tick,
        "factors": (params.initial_factor, params.maintenance_factor),
    }
    book = state.book().select("a")
    held = list(zip(book.instrument_idx.tolist(), book.quantity.tolist(), strict=True))
    given_rows = [(ROW[name], amount) for name, amount in orders]
    figures = naive.after_orders(held, given_rows, table)
    for name in COMPARED:
        if name in figures:
            assert answer.post[name] == pytest.approx(float(figures[name]), abs=1e-9)
    worst = figures["worst_scenario"]
    assert answer.post_worst_scenario == ("" if worst < 0 else str(arrays.scenario_set.label[worst]))
    if len(orders) == 1:
        assert naive.check_orders([held], [(0, *given_rows[0])], table) == [figures]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_answers(name: str) -> None:
    """Questions of every kind give what `what_if` gives: by the model itself, and compiled where there is a table."""
    engine = engine_of(name)
    state = engine.state
    book, arrays, model = state.book(), state.arrays, state.policy.model
    accounts = [str(account) for account in book.account_id]
    random = np.random.default_rng(4)
    orders: list[tuple[str, tuple[str, float]]] = []
    for number in range(6 if name == "reg_t" else 12):
        contract = CONTRACTS[random.integers(len(CONTRACTS))]
        steps = int(random.integers(1, 60)) * (-1 if number % 2 else 1)
        orders.append((accounts[number % len(accounts)], (contract, quantity(contract, steps))))
    expected = [what_if(book, arrays, MARKET, model, account, [order]) for account, order in orders]
    assert [engine.what_if(account, [order]) for account, order in orders] == expected
    rows = engine.account_rows([account for account, _ in orders])
    contracts = engine.instrument_rows([contract for _, (contract, _) in orders])
    checked = engine.check(rows, contracts, [amount for _, (_, amount) in orders])
    assert checked.initial_margin.tolist() == [answer.post["initial_margin"] for answer in expected]
    assert checked.maintenance_margin.tolist() == [answer.post["maintenance_margin"] for answer in expected]
    assert checked.fits.tolist() == [answer.fits for answer in expected]
    assert checked.allowed.tolist() == [answer.allowed for answer in expected]
    both = [orders[0][1], orders[6][1] if len(orders) > 6 else orders[1][1]]
    assert engine.what_if(orders[0][0], both) == what_if(book, arrays, MARKET, model, orders[0][0], both)
    assert engine.what_if(orders[0][0], []) == what_if(book, arrays, MARKET, model, orders[0][0], [])


@pytest.mark.parametrize("name", MODELS)
def test_the_largest_order_fits_and_one_step_more_does_not(name: str) -> None:
    engine = engine_of(name)
    account = "account-000001"
    for contract, side in (("BTC-7D-68000-C", "sell"), ("ETH-60D-2050-P", "buy")):
        found = engine.largest_order(account, contract, side, limit=quantity(contract, 3_000))
        sign = 1.0 if side == "buy" else -1.0
        assert found.proven == (name in ("derive_pmrm", "worst_case"))
        if found.quantity:
            assert math.copysign(1.0, found.quantity) == sign
            assert engine.what_if(account, [(contract, found.quantity)]).allowed
        if found.bound_by == "margin":
            one_more = round(found.quantity / quantity(contract, 1)) + sign
            assert not engine.what_if(account, [(contract, quantity(contract, int(one_more)))]).allowed
        else:
            assert found.quantity == pytest.approx(sign * quantity(contract, 3_000))


# Sold at its mark, a call next to worthless leaves the funds of this account where they are, up to cents.
FLAT = {"BTC-7D-81600-C": 247, "BTC-60D-88400-P": 110, "BTC-60D-40800-C": -35}


@settings(max_examples=15, deadline=None)
@given(contracts_held, st.integers(0, 2_000_000), st.sampled_from(CONTRACTS), st.sampled_from(["buy", "sell"]))
@example(FLAT, 0, "BTC-7D-95200-C", "sell")
def test_the_largest_order_of_a_worst_loss_is_the_largest(
    steps: dict[str, int], cash: int, name: str, side: str
) -> None:
    """Every size up to beyond the bound is tried: the bound is allowed, and none after it if that is proven; of an
    account that covers its margin, all up to it are.

    For an account that is short, what is allowed may be what leaves its funds as they are, and cents decide: where they
    decide about so many sizes that not all were tried, it is not proven.
    """
    engine = MarginEngine(engine_state(PER_SET, {"a": {**in_steps(steps), "USD": cash / 100.0}}))
    sizes = np.arange(1, 3_000) * (1 if side == "buy" else -1)
    row = np.full(len(sizes), ROW[name])
    checks = engine.check(np.zeros(len(sizes), np.int64), row, sizes * quantity(name, 1))
    before = engine.state.figures("a")["available_funds"]
    by_cents = (np.abs(checks.available_funds - before) < 0.025) & (before < 0.0)
    allowed = checks.allowed
    found = engine.largest_order("a", name, side, limit=quantity(name, len(sizes)))
    count = abs(round(found.quantity / quantity(name, 1)))
    assert allowed[max(count - 1, 0) : count].all()
    assert not (allowed if found.proven else allowed & ~by_cents)[count:].any()
    assert found.proven or by_cents[count:].any()
    if before >= 0.0:
        assert allowed[:count].all()
    assert found.bound_by == ("limit" if count == len(sizes) else "margin")


def test_where_cents_decide_about_more_sizes_than_are_tried_nothing_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = MarginEngine(engine_state(PER_SET, {"a": in_steps(FLAT)}))
    first = engine.largest_order("a", "BTC-7D-95200-C", "sell")
    assert first.proven and engine.what_if("a", [("BTC-7D-95200-C", first.quantity)]).allowed
    monkeypatch.setattr(largest_order, "TRIED", 5)
    found = engine.largest_order("a", "BTC-7D-95200-C", "sell")
    assert engine.what_if("a", [("BTC-7D-95200-C", found.quantity)]).allowed
    assert found == first or (not found.proven and first.quantity < found.quantity)


SHORT_ACCOUNTS: list[tuple[float, str, Held]] = [
    (
        0.5,
        "BTC-60D-54400-C",
        {"BTC-60D-54400-C": 3.0, "BTC-60D-61200-P": -0.6, "BTC-60D-68000-P": 1.3, "USD": -28_014.65},
    ),
    (0.9, "BTC-7D-68000-C", {"ETH-60D-2870-C": -0.4, "BTC-7D-68000-C": 2.7, "BTC-60D-95200-P": -1.5, "USD": 55_763.78}),
]


@pytest.mark.parametrize(("haircut", "contract", "held"), SHORT_ACCOUNTS)
def test_allowed_sizes_may_begin_beyond_sizes_that_are_not(haircut: float, contract: str, held: Held) -> None:
    """Of an account that is short a small sale costs excess liquidity, a larger one covers the initial margin."""
    engine = MarginEngine(engine_state(worst_case.Model(worst_case.Params(haircut=haircut)), {"a": held}))
    sizes = np.arange(1, 400)
    rows, contracts = np.zeros(len(sizes), np.int64), np.full(len(sizes), ROW[contract])
    allowed = engine.check(rows, contracts, -sizes * quantity(contract, 1)).allowed
    last = int(sizes[allowed].max())
    assert not allowed[0]
    first, step = int(sizes[allowed].min()), quantity(contract, 1)
    found = engine.largest_order("a", contract, "sell")
    assert found == LargestOrder(pytest.approx(-last * step), "margin", True)
    assert engine.largest_order("a", contract, "sell", limit=first * step * 0.99).quantity == 0.0
    within = engine.largest_order("a", contract, "sell", limit=(first + 1) * step)
    assert within == LargestOrder(pytest.approx(-(first + 1) * step), "limit", True)


def test_an_account_that_is_short_may_reduce() -> None:
    engine = MarginEngine(engine_state(MODEL, {"a": {"BTC-PERPETUAL": -1_000.0, "USD": 500.0}}))
    assert engine.largest_order("a", "BTC-PERPETUAL", "sell") == LargestOrder(0.0, "margin", True)
    bought = engine.largest_order("a", "BTC-PERPETUAL", "buy").quantity
    # Down to nothing, and as far beyond as what is left covers.
    assert bought > 1_000
    assert engine.what_if("a", [("BTC-PERPETUAL", bought)]).allowed


def test_an_order_without_a_bound() -> None:
    """Against sums that are no longer exact, an order is too large; below the limit it need not be searched."""
    free = worst_case.Model(worst_case.Params(short_option_minimum=0.0))
    engine = MarginEngine(engine_state(free, {"a": {"USD": 1e8}}))
    assert engine.largest_order("a", "BTC-PERPETUAL", "buy", limit=50.0) == LargestOrder(50.0, "limit", True)
    far = engine.largest_order("a", "BTC-7D-95200-C", "buy")
    assert far.quantity > 1e3


def test_buffers_hold_accounts_of_any_size() -> None:
    every = {name: quantity(name, 1 + number % 7) for number, name in enumerate(CONTRACTS)}
    model = worst_case.Model()
    state = engine_state(model, {"all": {**every, "USD": 1e6}, "b": {"USD": 10.0}})
    engine = MarginEngine(state)
    order = ("BTC-60D", 3.0)
    assert engine.what_if("all", [order]) == what_if(state.book(), ARRAYS, MARKET, model, "all", [order])
    many = engine.check([0, 1, 0], [ROW["BTC-60D"]] * 3, [3.0, 1.0, -3.0])
    assert many.initial_margin[0] == engine.what_if("all", [order]).post["initial_margin"]


def test_a_list_of_orders_of_any_length() -> None:
    engine = engine_of("worst_case")
    random = np.random.default_rng(6)
    rows = random.integers(0, 6, 5_000)
    contracts = np.array([ROW[name] for name in CONTRACTS])[random.integers(0, len(CONTRACTS), 5_000)]
    amounts = random.integers(1, 50, 5_000) * INSTRUMENTS.quantity_step[contracts]
    whole = engine.check(rows, contracts, amounts)
    for column, part in zip(whole, engine.check(rows[4_000:], contracts[4_000:], amounts[4_000:]), strict=True):
        assert column[4_000:].tobytes() == part.tobytes()
    assert [len(column) for column in engine.check([], [], [])] == [0] * 5
    kernels, policy = engine.state.policy.kernels, engine.state.policy
    orders = (rows, contracts, amounts, 6)
    one, two = (kernels.check_orders(policy.table, engine.state.buffers, orders, threads) for threads in (1, 2))
    assert [column.tobytes() for column in one] == [column.tobytes() for column in two]


@pytest.mark.parametrize("netting", ["joint", "per_underlying"])
@pytest.mark.parametrize("scenarios", [7, 40, 64, 150])
def test_any_number_of_scenarios(scenarios: int, netting: str) -> None:
    """Orders of one row and more of registers, that open a netting set and that join one, beside the model itself."""
    model = worst_case.Model(worst_case.Params(netting=netting, short_option_minimum=0.02))
    full = grid.scenarios(grid.Params(buckets=-(-scenarios // 6), days=(0.0,), tail_moves=()), MARKET)
    columns = ("label", "price_move", "vol_move", "vol_shift", "time_step_years", "weight", "tier")
    moves = ScenarioSet(**{name: getattr(full, name)[:scenarios] for name in columns}, dynamics=full.dynamics)
    assert len(moves) == scenarios
    mixed = {"BTC-7D-68000-C": -2.0, "ETH-60D-2050-P": 3.0, "USD": 2e5, "BTC": 0.25}
    state = start(book_of({"a": mixed, "b": {"ETH-60D-2050-P": -1.0}, "c": {}}), model, INSTRUMENTS, MARKET, moves)
    contracts = ["BTC-7D-68000-P", "ETH-60D-2050-P", "BTC-7D-68000-C", "BTC-PERPETUAL", "ETH-60D-2050-P"]
    orders = [("abcbc"[number], (name, quantity(name, 5 - 3 * number))) for number, name in enumerate(contracts)]
    orders += [("abc"[number % 3], (name, quantity(name, 4))) for number, name in enumerate(contracts)]
    engine = MarginEngine(state)
    rows = engine.account_rows([account for account, _ in orders])
    checked = engine.check(rows, engine.instrument_rows([name for _, (name, _) in orders]), [q for _, (_, q) in orders])
    book = state.book()
    for number, (account, order) in enumerate(orders):
        expected = what_if(book, state.arrays, MARKET, model, account, [order])
        assert engine.what_if(account, [order]) == expected
        assert checked.initial_margin[number] == expected.post["initial_margin"]
        assert checked.available_funds[number] == expected.post["available_funds"]
        assert bool(checked.allowed[number]) == expected.allowed


def test_orders_taken_by_account_are_answered_in_their_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of("worst_case")
    random = np.random.default_rng(9)
    rows = random.integers(0, 6, 300)
    contracts = np.array([ROW[name] for name in CONTRACTS])[random.integers(0, len(CONTRACTS), 300)]
    amounts = random.integers(1, 50, 300) * INSTRUMENTS.quantity_step[contracts]
    expected = engine.check(rows, contracts, amounts)
    monkeypatch.setattr(checks_numba, "MANY", 2)
    for column, found in zip(expected, engine.check(rows, contracts, amounts), strict=True):
        assert column.tobytes() == found.tobytes()
    kernel = checks_numba._check_slice(engine.state.policy.table[0].shape[1])
    compiled = len(kernel.signatures)
    frozen = [freeze(column, column.dtype) for column in (rows, contracts, amounts)]
    for column, found in zip(expected, engine.check(*frozen), strict=True):
        assert column.tobytes() == found.tobytes()
    assert len(kernel.signatures) == compiled
    amounts[[7, 123]] = np.nan
    with pytest.raises(DataError, match=r"row 8, quantity = nan.*\n.*row 124, quantity = nan"):
        engine.check(rows, contracts, amounts)


BAD_ORDERS: dict[str, tuple[list[Any], str]] = {
    "unknown contract": ([("BTC-PERP", 1.0)], "no such instrument; did you mean"),
    "near an asset": ([("BTC-1-C", 1.0)], "no such instrument; did you mean BTC-.+-C"),
    "wrong step": ([("BTC-7D-68000-C", 0.05)], "multiples of 0.1"),
    "dust": ([("BTC-7D-68000-C", 9e-8)], "multiples of 0.1"),
    "nan": ([("BTC-PERPETUAL", math.nan)], "finite"),
    "infinite": ([("BTC-PERPETUAL", -math.inf)], "finite"),
    "endless": ([("BTC-PERPETUAL", 10**400)], "finite"),
    "nothing": ([("BTC-PERPETUAL", 0.0)], "order of nothing"),
    "text": ([("BTC-PERPETUAL", "1")], "quantity a number"),
    "truth": ([("BTC-PERPETUAL", True)], "quantity a number"),
    "asset": ([("BTC", 1.0)], "held, not a contract"),
    "no pair": (["BTC-PERPETUAL"], "must be"),
    "too large": ([("BTC-PERPETUAL", 1e15)], "too large for exact sums"),
    "second of two": ([("BTC-PERPETUAL", 1.0), ("BTC-60D", 0.5)], "row 2, quantity = 0.5"),
}


@pytest.mark.parametrize("name", ["worst_case", "deribit_spm"])
@pytest.mark.parametrize("kind", BAD_ORDERS)
def test_bad_orders_are_named(kind: str, name: str) -> None:
    orders, said = BAD_ORDERS[kind]
    engine = engine_of(name)
    before, seen = engine.state, everything(engine.state)
    with pytest.raises(EngineError, match=said):
        engine.what_if("account-000001", orders)
    for account in ("account-00001", "", None, 3):
        with pytest.raises(DataError, match="no such account"):
            engine.what_if(account, [("BTC-PERPETUAL", 1.0)])  # type: ignore[arg-type]
    assert engine.state is before
    assert everything(engine.state) == seen


def test_an_order_too_large_for_exact_sums_is_named() -> None:
    """By its own row and account, one of many; and where it is its account that is too large with it."""
    engine = engine_of("worst_case")
    before = everything(engine.state)
    contract, account = "BTC-PERPETUAL", "account-000001"
    said = f"row 1, quantity = 1000000000000000.0: of {contract} for {account}: too large for exact sums"
    with pytest.raises(DataError, match=f"orders, {said}"):
        engine.what_if(account, [(contract, 1e15)])
    with pytest.raises(DataError, match=f"fills, {said}"):
        engine.apply(PositionsChanged((Fill(account, contract, 1e15, 0.0),)))
    with pytest.raises(DataError, match=f"fills, {said}"):  # also where its price is the mark
        engine.apply(PositionsChanged((Fill(account, contract, 1e15),)))
    with pytest.raises(DataError, match=rf"fills, row 2, paid = 1e\+16: for {account}: too large for exact sums"):
        engine.apply(PositionsChanged((Fill(account, contract, 1.0), Fill(account, contract, 1.0, 1e16))))
    with pytest.raises(DataError, match=rf"amount = 1e\+16: of USD: with it account {account} would be too large"):
        engine.apply(CollateralChanged(account, "USD", 1e16))
    assert everything(engine.state) == before
    row, others = int(engine.account_rows([account])[0]), np.zeros(2_000, np.int64)
    where = np.full(2_000, int(engine.instrument_rows([contract])[0]))
    amounts = np.ones(2_000)
    others[1_700], amounts[1_700] = row, 1e15
    with pytest.raises(DataError, match=f"row 1701, quantity = .*of {contract} for {account}: too large"):
        engine.check(others, where, amounts)
    amounts[1_900] = -3e15
    with pytest.raises(DataError, match=r"row 1701, [^\n]*\norders, row 1901, quantity = -3000000000000000.0"):
        engine.check(others, where, amounts)
    amounts[1_900] = 1.0
    arrays = engine.state.arrays
    unit, most = float(arrays.unit[where[0]]), float(np.abs(arrays.rows[where[0]]).max())
    # Sums also count what a contract is worth in all, so that one of these fits and two do not.
    near = float(np.floor(0.12 * 2.0**53 / most)) * unit
    engine.apply(PositionsChanged((Fill(account, contract, near, 0.0),)))
    full = everything(engine.state)
    amounts[1_700] = near
    with pytest.raises(DataError, match=f"row 1701, .*with it account {account} would be too large for exact sums"):
        engine.check(others, where, amounts)
    with pytest.raises(DataError, match=f"row 2, .*with it account {account} would be too large"):
        engine.what_if(account, [(contract, 1.0), (contract, near)])
    assert everything(engine.state) == full != before


BAD_COLUMNS: dict[str, tuple[tuple[Any, Any, Any], str]] = {
    "account": (([0, 99], [2, 2], [1.0, 1.0]), "row 2, account = 99: no such account row"),
    "below": (([0, -1], [2, 2], [1.0, 1.0]), "row 2, account = -1: no such account row"),
    "instrument": (([0, 0], [2, 10_000], [1.0, 1.0]), "row 2, instrument = 10000: no such instrument row"),
    "minus": (([0, 0], [2, -3], [1.0, 1.0]), "row 2, instrument = -3: no such instrument row"),
    "nan": (([0, 0], [2, 2], [1.0, math.nan]), "row 2, quantity = nan: must be a finite number"),
    "inf": (([0, 0], [2, 2], [1.0, math.inf]), "row 2, quantity = inf: must be a finite number"),
    "step": (([0, 0], [2, 2], [1.0, 0.5]), "BTC-PERPETUAL trades in multiples of 1"),
    "nothing": (([0, 0], [2, 2], [1.0, 0.0]), "row 2, quantity = 0.0: an order of nothing"),
    "asset": (([0, 0], [2, 1], [1.0, 1.0]), "row 2, instrument = 'BTC': an asset"),
    "lengths": (([0, 0], [2], [1.0, 1.0]), "one account, instrument and quantity an order"),
    "decimals": (([0.5, 0], [2, 2], [1.0, 1.0]), "whole numbers"),
    "texts": (([0, 0], [2, 2], ["1", "2"]), "must hold numbers"),
}


@pytest.mark.parametrize("name", ["worst_case", "deribit_spm"])
@pytest.mark.parametrize("kind", BAD_COLUMNS)
def test_bad_lists_of_orders_are_named(kind: str, name: str) -> None:
    columns, said = BAD_COLUMNS[kind]
    with pytest.raises(DataError, match=said):
        engine_of(name).check(*columns)


def test_other_bad_questions() -> None:
    engine = engine_of("worst_case")
    with pytest.raises(ConfigError, match="buy or sell"):
        engine.largest_order("account-000001", "BTC-PERPETUAL", "long")
    with pytest.raises(DataError, match="no such instrument"):
        engine.largest_order("account-000001", "BTC-PERP", "buy")
    with pytest.raises(DataError, match="held, not a contract"):
        engine.largest_order("account-000001", "USD", "buy")
    with pytest.raises(DataError, match="no such account"):
        engine.largest_order("x", "BTC-PERPETUAL", "buy")
    for limit in (0.5, -3.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="limit"):
            engine.largest_order("account-000001", "BTC-PERPETUAL", "buy", limit=limit)
    with pytest.raises(DataError, match="no such instrument"):
        engine.instrument_rows(["BTC-PERPETUAL", "x"])
    with pytest.raises(DataError, match="no such account"):
        engine.account_rows(["account-000001", "x"])
