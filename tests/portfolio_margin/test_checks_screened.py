"""Orders in batch by a screen: the same bits as by the exact kernel, whatever accounts hold and orders ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portfolio_margin import margin
from portfolio_margin.backends import checks_known, checks_numba, checks_prepared, checks_screened, lanes, screen_numba
from portfolio_margin.engine import MarginEngine
from portfolio_margin.events import CollateralChanged, Fill, MarketUpdated, PolicyChanged, PositionsChanged
from portfolio_margin.ledger import PAGE
from portfolio_margin.models import worst_case
from portfolio_margin.order_codes import NO_ACCOUNT, NO_INSTRUMENT, NOTHING, OFF_STEP, OK, WIDTH
from portfolio_margin.order_table import MAGNITUDE, MONEY_STEP, SCENARIOS, SHORT_TICKS, TICK, UNIT, VALUE, VALUE_TICKS
from portfolio_margin.state import State, start
from scenarios.families import grid
from scenarios.shocks import ScenarioSet, make
from tests.portfolio_margin.books import (
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
from tests.scenarios.test_update import ticked

JOINT = worst_case.Model(worst_case.Params(netting="joint", haircut_by_asset={"BTC": 0.5}))
PER_SET = worst_case.Model(worst_case.Params(short_option_minimum=0.05, haircut=0.2, initial_factor=1.3))
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def _few_orders_are_screened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_numba, "SCREENED_FROM", 1)
    monkeypatch.setattr(checks_prepared, "USUAL_ORDER_POSITIONS", 10**6)
    monkeypatch.setattr(checks_prepared, "PREPARED_FROM", 1)
    monkeypatch.setattr(checks_prepared, "pays", lambda *_: True)


def state_of(accounts: dict[str, Held], model: Any, scenarios: int = 64) -> State:
    full = grid.scenarios(grid.Params(buckets=-(-scenarios // 6), days=(0.0,), tail_moves=()), MARKET)
    columns = ("label", "price_move", "vol_move", "vol_shift", "time_step_years", "weight", "tier")
    moves = ScenarioSet(**{name: getattr(full, name)[:scenarios] for name in columns}, dynamics=full.dynamics)
    return start(book_of(accounts), model, INSTRUMENTS, MARKET, moves)


def every_order(accounts: int, steps: int) -> Columns:
    """One order of every contract in every account, bought and sold."""
    contracts = np.array([ROW[name] for name in CONTRACTS], dtype=np.int64)
    amounts = steps * INSTRUMENTS.quantity_step[contracts]
    account = np.repeat(np.arange(accounts), 2 * len(contracts))
    return account, np.tile(contracts, 2 * accounts), np.tile(np.concatenate([amounts, -amounts]), accounts)


def asked(state: State, orders: Columns, kept: dict[Any, Any] | None, threads: int = 1) -> list[bytes]:
    """What the kernels say, by the exact one where nothing is kept."""
    kernels, given = state.policy.kernels, (*orders, state.ledger.count)
    assert kernels is not None
    found = kernels.check_orders(state.policy.table, state.buffers, given, threads, kept)
    return [column.tobytes() for column in found]


def check_same(state: State, orders: Columns) -> None:
    """Twice: where nothing has been looked at, and where all has."""
    exact, kept = asked(state, orders, None), state.ledger.buffers.kept
    assert asked(state, orders, kept) == exact
    assert kept[checks_prepared.SCREEN][1] is not None
    assert asked(state, orders, kept) == exact
    assert asked(state, orders, kept, threads=2) == exact


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(contracts_held, balances_held), min_size=1, max_size=6),
    st.sampled_from([1, 7, 300, 40_000]),
    st.sampled_from([JOINT, PER_SET]),
)
@example([({}, {})], 1, PER_SET)
@example([({CONTRACTS[0]: 32_767}, {}), ({CONTRACTS[0]: -32_767}, {}), ({CONTRACTS[0]: 32_768}, {})], 1, PER_SET)
def test_any_accounts_and_orders(holdings: list[tuple[dict[str, int], Held]], steps: int, model: Any) -> None:
    """Steps that fit into sixteen bits and steps that do not, before an order and after it; coins and debts."""
    accounts = {str(number): {**in_steps(held), **cash} for number, (held, cash) in enumerate(holdings)}
    check_same(state_of(accounts, model), every_order(len(accounts), steps))


@pytest.mark.parametrize("netting", ["joint", "per_underlying"])
@pytest.mark.parametrize("scenarios", [1, 7, 40, 64, 65, 150])
def test_any_number_of_scenarios(scenarios: int, netting: str) -> None:
    model = worst_case.Model(worst_case.Params(netting=netting, short_option_minimum=0.02))
    mixed = {"BTC-7D-68000-C": -2.0, "ETH-60D-2050-P": 3.0, "USD": 2e5, "BTC": 0.25}
    state = state_of({"a": mixed, "b": {"ETH-60D-2050-P": -1.0}, "c": {}}, model, scenarios)
    check_same(state, every_order(3, 5))
    _, kept = state.ledger.buffers.kept[checks_prepared.SCREEN]
    assert len(kept.screen.columns) == scenarios == state.policy.table[2][SCENARIOS]


def test_answers_are_those_of_the_model() -> None:
    """Not only those of another kernel: a margin of each account with the order among its positions."""
    mixed = {"BTC-7D-68000-C": -2.0, "ETH-60D-2050-P": 3.0, "USD": 2e5, "BTC": 0.25}
    engine = MarginEngine(state_of({"a": mixed}, PER_SET))
    account, instrument, amounts = every_order(1, 3)
    found = engine.check(account, instrument, amounts)
    for order in range(0, len(account), 7):
        name = str(INSTRUMENTS.instrument_id[instrument[order]])
        paid = amounts[order] * engine.state.arrays.value[instrument[order]]
        cash = str(INSTRUMENTS.instrument_id[engine.state.arrays.cash_row[instrument[order]]])
        after = {**mixed, name: mixed.get(name, 0.0) + float(amounts[order])}
        after[cash] = after.get(cash, 0.0) - paid / engine.state.arrays.value[ROW[cash]]
        statement = margin(book_of({"a": {k: v for k, v in after.items() if v}}), engine.state.arrays, MARKET, PER_SET)
        assert found.initial_margin[order] == statement.initial_margin[0]
        assert found.maintenance_margin[order] == statement.maintenance_margin[0]


def test_what_does_not_fit_may_be_allowed() -> None:
    """Accounts without funds: an order that leaves them as they are, or better, is allowed."""
    short = {"BTC-7D-68000-C": -20.0, "USD": 1_000.0}
    state = state_of({"poor": short, "rich": {**short, "USD": 1e9}}, PER_SET)
    check_same(state, every_order(2, 10))
    found = MarginEngine(state).check(*every_order(2, 10))
    poor = np.arange(len(found.fits)) < len(found.fits) // 2
    assert not found.fits[poor].any()
    assert found.fits[~poor].all()
    assert 0 < found.allowed[poor].sum() < poor.sum()


def test_what_is_known_of_accounts_is_good_for_as_long_as_it_is_kept() -> None:
    """Fills, transfers, ticks and other terms, which words and sums beside a ledger know nothing of; and states that
    others still read."""
    random = np.random.default_rng(3)
    names = [f"account-{number}" for number in range(20)]
    engine = MarginEngine(state_of({name: {"USD": 1e6, "BTC-PERPETUAL": 1.0} for name in names}, JOINT))
    states, market = [engine.state], MARKET
    for number in range(60):
        name = CONTRACTS[random.integers(len(CONTRACTS))]
        step = int(random.integers(1, 9)) * (-1 if number % 3 else 1)
        engine.apply(PositionsChanged((Fill(names[random.integers(20)], name, quantity(name, step)),)))
        if number % 10 == 0:
            engine.apply(CollateralChanged(names[random.integers(20)], "BTC", 0.5))
            market = ticked(market, 0, 1.0 + 0.001 * number)
            engine.apply(MarketUpdated(market))
        if number % 20 == 15:
            params = worst_case.Params(netting="joint", short_option_minimum=0.001 * number, haircut=0.01 * number)
            engine.apply(PolicyChanged(worst_case.Model(params)))
        if number % 5 == 0:
            check_same(engine.state, every_order(20, 2))
            states.append(engine.state)
    for state in states:
        check_same(state, every_order(20, 3))


def test_faults_between_sound_orders() -> None:
    state = state_of({name: {"USD": 1e5, "BTC-PERPETUAL": 1.0} for name in "abc"}, PER_SET)
    account, instrument, amounts = every_order(3, 2)
    account[5], account[6], instrument[9], amounts[12], amounts[15], amounts[16] = -1, 2**62, 2**40, 0.0, 1e-5, 5e-324
    check_same(state, (account, instrument, amounts))
    kernels = state.policy.kernels
    assert kernels is not None
    found = kernels.check_orders(
        state.policy.table, state.buffers, (account, instrument, amounts, 3), 1, state.ledger.buffers.kept
    )
    codes = dict.fromkeys(range(len(account)), OK)
    codes |= {5: NO_ACCOUNT, 6: NO_ACCOUNT, 9: NO_INSTRUMENT, 12: NOTHING, 15: OFF_STEP, 16: OFF_STEP}
    assert found[-1].tolist() == list(codes.values())


def test_sums_too_large_are_told() -> None:
    state = state_of({"a": {"USD": 1e5}, "b": {"BTC-PERPETUAL": 1.0}}, JOINT)
    few, many = every_order(2, 1), every_order(2, 10**12)
    account, instrument, amounts = (np.concatenate(pair) for pair in zip(few, many, strict=True))
    kernels, given = state.policy.kernels, (account, instrument, amounts, 2)
    assert kernels is not None
    exact, screened = (
        kernels.check_orders(state.policy.table, state.buffers, given, 1, kept)
        for kept in (None, state.ledger.buffers.kept)
    )
    sound = exact[-1] == OK
    assert 0 < sound.sum() < len(sound)
    for column, wanted in zip(screened[:-1], exact[:-1], strict=True):
        assert column[sound].tobytes() == wanted[sound].tobytes()
    assert screened[-1].tobytes() == exact[-1].tobytes()


@pytest.mark.parametrize(("held", "sold"), [(48, 48), (49, 0), (47, 47), (46, 46), (45, 45)])
def test_steps_beyond_which_halves_count(held: int, sold: int) -> None:
    """Quantities so large that a quarter of a step is rounding: whole steps of both are not those of their sum."""
    state = state_of({"a": {CONTRACTS[0]: quantity(CONTRACTS[0], 1)}}, PER_SET)
    values, columns, numbers = state.policy.table
    unit, row = 2.0**-3, ROW[CONTRACTS[0]]
    columns = lanes.aligned(columns)
    # A step of it is worth a tick, up or down, and a tick is what is seen of money.
    numbers = numbers.copy()
    numbers[TICK] = numbers[MONEY_STEP]
    columns[row, [UNIT, MAGNITUDE, VALUE_TICKS, SHORT_TICKS, VALUE]] = unit, 1.0, 1.0, 1.0, 0.0
    values = lanes.aligned(np.where(np.arange(len(values))[:, None] % len(columns) == row, np.sign(values), values))
    off, order_off = (
        np.array([0.0, 1.0, 0.0, 1.0]) * 2.0 ** (power - 50) + [0.0, 0.0, 1.0, 1.0] for power in (held, sold)
    )
    owned = np.repeat(-unit * (2.0**held + off), 4)
    wanted = np.tile(-unit * (2.0**sold + order_off), 4)
    # Sixteen accounts of one position each, and an order of each.
    pages = np.zeros((1, PAGE, 3), np.int64)
    pages[0, :, 0], pages[0, :, 1], pages[0, :, 2] = np.arange(16), 1, np.arange(16)
    ledger = np.zeros(1, np.int64), pages, np.full(16, row, np.int32), owned, np.zeros((16, WIDTH))
    given = np.arange(16), np.full(16, row), wanted, 16
    table = values, columns, numbers
    exact, screened = (checks_numba.check_orders(table, ledger, given, 1, kept) for kept in (None, {}))
    assert (exact[-1] == OK).all()
    for column, found in zip(exact, screened, strict=True):
        assert column.tobytes() == found.tobytes()


def test_accounts_of_more_positions_than_a_block_has_room_for() -> None:
    everything = in_steps({name: 3 - number % 7 or 1 for number, name in enumerate(CONTRACTS)})
    assert checks_screened.BLOCK * len(everything) > checks_screened.BLOCK * checks_screened.USUAL_POSITIONS
    state = state_of({"all": everything, "one": {"USD": 5.0}, "twice": everything}, JOINT)
    check_same(state, every_order(3, 4))


def test_a_screen_that_tells_nothing_is_left() -> None:
    """All scenarios the same: too many are left of every account, so the exact kernel sums the others."""
    moves = make([f"fall {number}" for number in range(64)], np.full((64, 1), -0.1))
    accounts = {str(number): {CONTRACTS[0]: quantity(CONTRACTS[0], number + 1)} for number in range(300)}
    check_same(start(book_of(accounts), JOINT, INSTRUMENTS, MARKET, moves), every_order(300, 1))


def test_small_batches_and_many_contracts_are_not_screened(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of({"a": {"USD": 1e5}}, JOINT)
    orders, kept = every_order(1, 1), state.ledger.buffers.kept
    monkeypatch.setattr(checks_prepared, "USUAL_ORDER_POSITIONS", 20)
    exact = asked(state, orders, None)
    assert asked(state, orders, kept) == exact
    assert kept == {}
    monkeypatch.setattr(checks_prepared, "USUAL_ORDER_POSITIONS", 10**6)
    monkeypatch.setattr(checks_prepared, "MOST_ROWS", 3)
    assert asked(state, orders, kept) == exact
    assert kept == {}
    monkeypatch.setattr(checks_prepared, "MOST_ROWS", 2**16)
    assert asked(state, orders, kept) == exact
    assert set(kept) == {checks_prepared.SCREEN, checks_known.LOOKED_AT}


def test_small_books_of_orders_make_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made of a table that would be thrown away again, tick after tick."""
    monkeypatch.setattr(checks_prepared, "PREPARED_FROM", 10**6)
    state = state_of({"a": {"USD": 1e5}}, JOINT)
    monkeypatch.setattr(screen_numba, "prepared", None)
    orders = every_order(1, 1)
    assert asked(state, orders, state.ledger.buffers.kept) == asked(state, orders, None)
    assert state.ledger.buffers.kept == {}


SOUGHT = checks_prepared.pays


@pytest.mark.parametrize(
    ("model", "scenarios", "held", "large", "pays"),
    [(JOINT, 64, 20, 0, True), (JOINT, 16, 20, 0, False), (PER_SET, 64, 20, 0, True), (JOINT, 64, 20, 12, False),
     (PER_SET, 64, 2, 0, False), (JOINT, 64, 0, 0, False)],
)  # fmt: skip
def test_it_pays_for_many_products_a_netting_set(model: Any, scenarios: int, held: int, large: int, pays: bool) -> None:
    """Positions by scenarios, against what a netting set costs; not where steps are many."""
    steps = {name: 40_000 if number < large else 3 for number, name in enumerate(CONTRACTS[:: 70 // 20][:held])}
    state = state_of({name: {**in_steps(steps), "USD": 1e6} for name in "abc"}, model, scenarios)
    given = np.zeros((200, checks_numba.NUMBERS))
    given[:, 0] = np.arange(200) % 4 - 1
    assert SOUGHT(state.policy.table, state.buffers, given) == pays
