"""Batches of orders: taken by account and put back, faults of every kind, and one order asked as one and as a list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.backends import checks_numba, lanes, orders_numba
from portfolio_margin.engine import MarginEngine
from portfolio_margin.events import Fill, PositionsChanged
from portfolio_margin.models import worst_case
from portfolio_margin.order_codes import NO_ACCOUNT, NO_INSTRUMENT, OK
from portfolio_margin.state import start
from pricing.arrays import freeze
from pricing.errors import DataError
from scenarios.shocks import make
from tests.naive import turns as naive
from tests.portfolio_margin.books import CONTRACTS, INSTRUMENTS, MARKET, ROW, book_of, quantity
from tests.portfolio_margin.engines import engine_state
from tests.portfolio_margin.test_engine import holdings

WIDE = 2**63 - 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-3, 40), st.sampled_from([-WIDE - 1, WIDE, 2**40])), min_size=1, max_size=200),
    st.sampled_from([1, 2, 16, 17, 33]),
    st.sampled_from([0, 1, 3, 12]),
)
def test_orders_are_put_next_to_those_of_accounts_nearby(account: list[int], accounts: int, bits: int) -> None:
    count = len(account)
    instrument, amounts = np.arange(count), np.arange(count) + 0.5
    instrument[count // 2] = 2**62
    orders, place = np.empty((count, checks_numba.NUMBERS)), np.empty(count, np.int64)
    checks_numba._in_turn(np.array(account, dtype=np.int64), instrument, amounts, accounts, bits, orders, place)
    turn = naive.in_turn(account, accounts, bits)
    assert [int(amount) for amount in orders[:, 2]] == turn
    assert place[turn].tolist() == list(range(count))
    assert orders[:, 0].tolist() == [account[i] if 0 <= account[i] < accounts else -1 for i in turn]
    assert orders[:, 1].tolist() == [i if i != count // 2 else -1 for i in turn]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("many", [1, 10**9])
def test_faults_do_not_touch_their_neighbours(threads: int, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts and instruments that are nowhere, between sound orders, whose answers are those without them."""
    state = engine_state(worst_case.Model(), holdings(40))
    random = np.random.default_rng(8)
    rows = random.integers(0, 40, 300)
    contracts = np.array([ROW[name] for name in CONTRACTS])[random.integers(0, len(CONTRACTS), 300)]
    amounts = random.integers(1, 50, 300) * INSTRUMENTS.quantity_step[contracts]
    monkeypatch.setattr(checks_numba, "MANY", many)
    ask = state.policy.kernels.check_orders  # type: ignore[union-attr]
    table, buffers = state.policy.table, state.buffers
    expected = ask(table, buffers, (rows, contracts, amounts, 40), threads)
    assert not expected[-1].any()
    nowhere = random.random(300) < 0.2
    rows[nowhere] = random.choice([-1, -WIDE - 1, 40, WIDE], nowhere.sum())
    unlisted = ~nowhere & (random.random(300) < 0.2)
    contracts[unlisted] = random.choice([-1, -WIDE - 1, len(INSTRUMENTS), 2**40, WIDE], unlisted.sum())
    *answers, codes = ask(table, buffers, (rows, contracts, amounts, 40), threads)
    assert codes.tolist() == np.where(nowhere, NO_ACCOUNT, np.where(unlisted, NO_INSTRUMENT, OK)).tolist()
    sound = codes == OK
    for column, before in zip(answers, expected, strict=False):
        assert column[sound].tobytes() == before[sound].tobytes()
    *_, codes = ask(table, buffers, (rows, contracts, amounts, 0), threads)
    assert (codes == NO_ACCOUNT).all()


def test_one_order_is_asked_as_a_list_of_orders_is() -> None:
    """An order by itself has a kernel of its own: two halves of it are the same, also in the state after a fill."""
    engine = MarginEngine(engine_state(worst_case.Model(), holdings(5)))
    account = "account-000003"
    for number, name in enumerate(CONTRACTS):
        half = quantity(name, 3 - 2 * (number % 2) * 3)
        whole = engine.what_if(account, [(name, 2 * half)])
        assert engine.what_if(account, ((name, half), (name, half))) == whole
        if float(2 * half).is_integer():
            assert engine.what_if(account, [(name, int(2 * half))]) == whole
        engine.apply(PositionsChanged((Fill(account, name, half),)))
        assert engine.what_if(account, [(name, half)]).pre["equity"] == engine.state.figures(account)["equity"]


def test_columns_of_any_form_are_answered_alike() -> None:
    """Columns that go to the kernels as they are, and others: lists, every second row, other types, read-only ones."""
    engine = MarginEngine(engine_state(worst_case.Model(), holdings(40)))
    random = np.random.default_rng(11)
    rows = random.integers(0, 40, 90)
    contracts = np.array([ROW[name] for name in CONTRACTS], dtype=np.int64)[random.integers(0, len(CONTRACTS), 90)]
    amounts = random.integers(1, 50, 90) * INSTRUMENTS.quantity_step[contracts]
    wanted = [column.tobytes() for column in engine.check(rows, contracts, amounts)]

    def spread(column: np.ndarray) -> np.ndarray:
        return np.repeat(column, 2)[::2]

    forms = [
        (rows.tolist(), contracts.tolist(), amounts.tolist()),
        (spread(rows), contracts, amounts),
        (rows, spread(contracts), amounts),
        (rows, contracts, spread(amounts)),
        (rows.astype(np.int32), contracts.astype(">i8"), amounts.astype(">f8")),
        tuple(freeze(column, column.dtype) for column in (rows, contracts, amounts)),
    ]
    for form in forms:
        assert [column.tobytes() for column in engine.check(*form)] == wanted
    for bad in ((rows[:-1], contracts, amounts), (rows[:, None], contracts[:, None], amounts[:, None])):
        with pytest.raises(DataError, match="need one account, instrument and quantity an order"):
            engine.check(*bad)


def test_kernels_of_one_width_are_compiled_where_it_is_asked_for() -> None:
    """Each width has kernels of its own, under names of their own; asking one leaves those of the others as they are.

    Scenarios of no move, put behind the others, make a table of the next width and change no answer.
    """
    kernels = {width: orders_numba.kernels_of(width) for width in lanes.WIDTHS}
    compiled = [
        [kernel for kernel in of if hasattr(kernel, "signatures")] + [checks_numba._check_slice(width)]
        for width, of in kernels.items()
    ]
    names = [kernel.py_func.__qualname__ for of in compiled for kernel in of]
    assert len(set(names)) == len(names) == 4 * len(lanes.WIDTHS)
    moves = make([f"move {i}" for i in range(16)], np.linspace(-0.2, 0.2, 16)[:, None])
    answers = []
    for count in (16, 32):
        price_move = np.concatenate([moves.price_move, np.zeros((count - 16, 1))])
        more = make([f"move {i}" for i in range(count)], price_move)
        state = start(book_of(holdings(3)), worst_case.Model(), INSTRUMENTS, MARKET, more)
        others = [of for width, of in zip(lanes.WIDTHS, compiled, strict=True) if width != count]
        before = [[len(kernel.signatures) for kernel in of] for of in others]
        engine = MarginEngine(state)
        order = CONTRACTS[0], quantity(CONTRACTS[0], 3)
        asked = engine.what_if("account-000001", [order]), engine.what_if("account-000001", [order, order])
        found = engine.check([1], [ROW[order[0]]], [order[1]])
        engine.apply(PositionsChanged((Fill("account-000001", *order),)))
        filled = state.figures_of(np.arange(3))
        assert state.policy.table[0].shape[1] == count
        assert [[len(kernel.signatures) for kernel in of] for of in others] == before
        answers.append(
            (*asked, [column.tobytes() for column in found], engine.state.figures("account-000001"), filled.tobytes())
        )
    assert answers[0] == answers[1]
