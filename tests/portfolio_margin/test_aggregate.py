"""Sums and worst losses of accounts: the naive twin, equal bits everywhere, and the laws of a worst loss."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, account_pnl, worst_loss
from portfolio_margin.aggregate import account_sums, kernel_positions, kernel_table
from portfolio_margin.backends.jax import _block_room, _table_room
from portfolio_margin.models import worst_case
from pricing import ConfigError, DataError, NumericalError
from scenarios import RiskArrays, revalue
from scenarios.shocks import make
from tests.naive import portfolio_margin as naive
from tests.portfolio_margin.books import (
    ARRAYS,
    BACKENDS,
    BOOK,
    CONTRACTS,
    GRID,
    INSTRUMENTS,
    MARKET,
    ROW,
    Held,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
    loose,
    quantity,
    shuffled,
)

HAIRCUT = worst_case.Model().haircut(ARRAYS)
NETTING = ("joint", "per_underlying")
SETS = {"joint": [0] * len(ARRAYS), "per_underlying": ARRAYS.underlying_idx.tolist()}


def ticks(amount: np.ndarray) -> np.ndarray:
    return np.rint(amount / ARRAYS.tick_size)


def check_against_naive(book: Book, haircut: np.ndarray | None, backend: str) -> None:
    table = kernel_table(ARRAYS, ARRAYS.rows, haircut)._asdict()
    accounts = loose(book)
    pnl = account_pnl(book, ARRAYS, haircut=haircut, backend=backend)
    expected = np.array(naive.account_sums(accounts, table), dtype=np.float64)
    assert np.array_equal(pnl, expected * ARRAYS.tick_size)
    for netting, sets in SETS.items():
        loss, scenario = worst_loss(book, ARRAYS, netting=netting, haircut=haircut, backend=backend)
        twin = naive.worst_loss(accounts, table, sets)
        assert loss.tolist() == [lost * ARRAYS.tick_size for lost, _ in twin]
        assert scenario.tolist() == [where for _, where in twin]


@pytest.mark.parametrize("backend", BACKENDS)
def test_naive_twin(backend: str) -> None:
    names = BOOK.account_id[:12]
    chosen = book_of({str(n): dict(named(BOOK.select(str(n)))) for n in names})
    for haircut in (None, HAIRCUT):
        check_against_naive(chosen, haircut, backend)


def named(book: Book) -> list[tuple[str, float]]:
    return [(str(INSTRUMENTS.instrument_id[row]), q) for row, q in loose(book)[0]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(contracts_held, balances_held), min_size=1, max_size=3))
def test_naive_twin_of_any_accounts(accounts: list[tuple[dict[str, int], Held]]) -> None:
    book = book_of({f"{n}": {**in_steps(steps), **cash} for n, (steps, cash) in enumerate(accounts)})
    for backend in ("numpy", "numba"):
        check_against_naive(book, HAIRCUT, backend)


@pytest.mark.parametrize("netting", NETTING)
def test_every_backend_thread_and_order_gives_the_same_bits(netting: str) -> None:
    random = np.random.default_rng(1)
    loss, scenario = worst_loss(BOOK, ARRAYS, netting=netting, haircut=HAIRCUT, backend="numpy")
    pnl = account_pnl(BOOK, ARRAYS, backend="numpy")
    for _ in range(3):
        book = shuffled(BOOK, random)
        for backend in BACKENDS:
            for threads in (1, 2):
                run: dict[str, Any] = {"backend": backend, "threads": threads}
                again = worst_loss(book, ARRAYS, netting=netting, haircut=HAIRCUT, **run)
                assert again[0].tobytes() == loss.tobytes()
                assert np.array_equal(again[1], scenario)
                assert account_pnl(book, ARRAYS, **run).tobytes() == pnl.tobytes()


def test_many_accounts_cross_the_borders_of_blocks() -> None:
    """More positions than one block of any backend holds, some accounts empty, one account in two blocks."""
    contract = np.flatnonzero(~INSTRUMENTS.is_collateral)
    random = np.random.default_rng(3)
    accounts, each = 9_500, 7
    instrument = np.concatenate([random.choice(contract, each, replace=False) for _ in range(accounts)])
    amount = random.integers(-50, 50, accounts * each) * INSTRUMENTS.quantity_step[instrument]
    owner = np.repeat(np.arange(accounts) * 2, each)
    book = Book.from_arrays(owner, instrument, amount, INSTRUMENTS.expiry_idx, accounts=np.arange(2 * accounts))
    results = [worst_loss(book, ARRAYS, netting="per_underlying", backend=b) for b in BACKENDS]
    sums = [account_pnl(book, ARRAYS, backend=b) for b in BACKENDS]
    for backend in range(1, 3):
        assert results[0][0].tobytes() == results[backend][0].tobytes()
        assert np.array_equal(results[0][1], results[backend][1])
        assert sums[0].tobytes() == sums[backend].tobytes()
    assert np.all(results[0][0][1::2] == 0)
    some = np.arange(0, 2 * accounts, 2_002)
    few = naive.account_sums([loose(book)[a] for a in some], kernel_table(ARRAYS, ARRAYS.rows, None)._asdict())
    assert np.array_equal(sums[0][some], np.array(few) * ARRAYS.tick_size)


def test_few_shapes_are_compiled_and_little_is_filled_up() -> None:
    counts = range(1, 2_049)
    for least in (16, 128):
        rooms = [_table_room(count, least) for count in counts]
        assert all(count <= room < max(2 * count, least + 1) for count, room in zip(counts, rooms, strict=True))
        assert len(set(rooms)) <= 2 + 2_048 // (4 * least)
    for columns, least in ((16, 16), (320, 16), (10_000, 1)):
        rooms = [_block_room(count, columns) for count in counts]
        assert all(count <= room < max(4 * count, 4 * least) for count, room in zip(counts, rooms, strict=True))
        assert set(rooms) <= {1, 4, 16, 64, 256, 512, 1_024, 2_048}
        assert rooms[0] == least


def test_an_account_does_not_depend_on_its_neighbours() -> None:
    for netting in NETTING:
        loss, scenario = worst_loss(BOOK, ARRAYS, netting=netting)
        for row in range(0, len(BOOK), 13):
            alone = worst_loss(BOOK.select(str(BOOK.account_id[row])), ARRAYS, netting=netting)
            assert (alone[0][0], alone[1][0]) == (loss[row], scenario[row])


@settings(max_examples=40, deadline=None)
@given(contracts_held, contracts_held, st.integers(2, 9))
def test_coherent_within_a_netting_set(first: dict[str, int], second: dict[str, int], factor: int) -> None:
    """Homogeneous in whole multiples, subadditive, and nothing lost where nothing is held."""
    together = {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}
    book = book_of(
        {
            "first": in_steps(first),
            "second": in_steps(second),
            "sum": in_steps(together),
            "scaled": in_steps(first, factor),
            "opposite": in_steps(first, -1),
            "nothing": {},
            "zeros": dict.fromkeys(in_steps(first), 0.0),
        }
    )
    for netting in NETTING:
        for backend in ("numpy", "numba"):
            loss, scenario = worst_loss(book, ARRAYS, netting=netting, backend=backend)
            of = dict(zip(book.account_id.tolist(), ticks(loss), strict=True))
            assert of["sum"] <= of["first"] + of["second"]
            assert of["scaled"] == factor * of["first"]
            assert (of["nothing"], of["zeros"]) == (0.0, 0.0)
            assert np.all((scenario == -1) == (loss == 0))
            if any(first.values()) and of["first"] == 0:
                assert of["opposite"] > 0


@settings(max_examples=25, deadline=None)
@given(contracts_held, st.lists(st.tuples(st.sampled_from(CONTRACTS), st.integers(-50, 50)), max_size=10))
def test_added_and_removed_positions_leave_no_trace(steps: dict[str, int], trades: list[tuple[str, int]]) -> None:
    """Positions as a ledger of decimal fills leaves them: sums of doubles, off by their binary noise."""
    held = dict(in_steps(steps))
    for name, count in trades:
        held[name] = held.get(name, 0.0) + quantity(name, count)
    for name, count in reversed(trades):
        held[name] = held[name] - quantity(name, count)
    clean, noisy = book_of({"a": in_steps(steps)}), book_of({"a": held})
    for backend in ("numpy", "numba"):
        assert account_pnl(clean, ARRAYS, backend=backend).tobytes() == (
            account_pnl(noisy, ARRAYS, backend=backend).tobytes()
        )


@settings(max_examples=25, deadline=None)
@given(contracts_held, balances_held)
def test_netting_never_costs(steps: dict[str, int], cash: Held) -> None:
    book = book_of({"a": {**in_steps(steps), **cash}})
    joint, _ = worst_loss(book, ARRAYS, netting="joint", haircut=HAIRCUT)
    apart, _ = worst_loss(book, ARRAYS, netting="per_underlying", haircut=HAIRCUT)
    assert apart[0] >= joint[0]


def test_more_loss_in_any_scenario_is_never_less() -> None:
    """Monotone in the arrays."""
    held = {CONTRACTS[4]: quantity(CONTRACTS[4], 7), CONTRACTS[9]: quantity(CONTRACTS[9], 30)}
    book = book_of({"a": held})
    base, _ = worst_loss(book, ARRAYS)
    for column in range(0, len(GRID), 7):
        rows = ARRAYS.rows.copy()
        rows[[ROW[name] for name in held], column] -= 1e9
        assert worst_loss(book, replace(ARRAYS, rows=rows))[0][0] >= base[0]


COLUMNS = fields(INSTRUMENTS)


def test_offsetting_positions_lose_nothing() -> None:
    """The same contract under two names, bought and sold."""
    copied = {f.name: np.append(getattr(INSTRUMENTS, f.name), getattr(INSTRUMENTS, f.name)[-1:]) for f in COLUMNS}
    twin = replace(INSTRUMENTS, **{**copied, "instrument_id": np.append(INSTRUMENTS.instrument_id, "twin")})
    arrays = revalue(twin, replace(MARKET, mark_vol=np.append(MARKET.mark_vol, MARKET.mark_vol[-1])), GRID)
    last = len(INSTRUMENTS) - 1
    book = Book.from_arrays(["a", "a"], [last, last + 1], [30.0, -30.0], twin.expiry_idx)
    for backend in BACKENDS:
        for netting in NETTING:
            loss, scenario = worst_loss(book, arrays, netting=netting, backend=backend)
            assert (loss.tolist(), scenario.tolist()) == ([0.0], [-1])
        assert np.all(account_pnl(book, arrays, backend=backend) == 0)


def test_the_first_of_equal_scenarios_is_named() -> None:
    moves = make(["a", "b", "c", "d"], np.array([0.0, -0.1, -0.1, 0.1]))
    arrays = revalue(INSTRUMENTS, MARKET, moves)
    book = book_of({"long": {"BTC-PERPETUAL": 10.0}, "both": {"BTC-PERPETUAL": 10.0, "ETH-PERPETUAL": 100.0}})
    for backend in BACKENDS:
        for netting in NETTING:
            scenario = worst_loss(book, arrays, netting=netting, backend=backend)[1]
            assert scenario.tolist() == [1, 1]


def test_the_first_of_equal_netting_sets_names_the_scenario() -> None:
    """A hundred dollars of either coin, each down by a tenth in a scenario of its own."""
    arrays = revalue(INSTRUMENTS, MARKET, make(["ether", "bitcoin"], np.array([[0.0, -0.1], [-0.1, 0.0]])))
    book = book_of({"a": {"BTC-PERPETUAL": 10.0, "ETH-PERPETUAL": 100.0}})
    for backend in BACKENDS:
        loss, scenario = worst_loss(book, arrays, netting="per_underlying", backend=backend)
        assert (loss.tolist(), scenario.tolist()) == ([pytest.approx(20.0)], [1])


def test_the_worst_netting_set_names_the_scenario() -> None:
    """Bitcoin up by a lot, Ether down by a little: the account's scenario is Bitcoin's."""
    book = book_of({"a": {"BTC-PERPETUAL": -100_000.0, "ETH-PERPETUAL": 1_000.0}})
    parts = book_of({"btc": {"BTC-PERPETUAL": -100_000.0}, "eth": {"ETH-PERPETUAL": 1_000.0}})
    for backend in BACKENDS:
        loss, scenario = worst_loss(book, ARRAYS, netting="per_underlying", backend=backend)
        each, where = worst_loss(parts, ARRAYS, backend=backend)
        assert ticks(loss)[0] == ticks(each).sum()
        assert scenario[0] == where[0] != where[1]


def test_haircuts_weigh_long_balances_only() -> None:
    book = book_of({"long": {"BTC": 2.0}, "short": {"BTC": -2.0}, "contract": {"BTC-PERPETUAL": 2.0}})
    cut = np.where(ARRAYS.is_collateral, 0.25, 0.5)
    for backend in BACKENDS:
        before, after = (account_pnl(book, ARRAYS, haircut=h, backend=backend) for h in (None, cut))
        assert book.account_id.tolist() == ["contract", "long", "short"]
        assert after[1] == pytest.approx(0.75 * before[1], abs=1e-6)
        assert np.array_equal(after[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_haircuts_that_are_none_are_refused(backend: str) -> None:
    for bad in (np.nan, np.inf):
        cut = HAIRCUT.copy()
        cut[-1] = bad
        told = f"haircut of {re.escape(str(ARRAYS.instrument_id[-1]))} = {bad}: must be a finite number"
        with pytest.raises(ConfigError, match=told):
            worst_loss(BOOK, ARRAYS, haircut=cut, backend=backend)
    with pytest.raises(ConfigError, match=rf"shape \(3,\): must be one number for each of {len(ARRAYS)} rows"):
        account_pnl(BOOK, ARRAYS, haircut=HAIRCUT[:3], backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_account_that_ticks_cannot_hold_is_named_with_its_largest_quantity(backend: str) -> None:
    book = book_of({"a": {"BTC": 1.0}, "b": {"BTC": 2.0, "BTC-PERPETUAL": 1e13}})
    with pytest.raises(
        NumericalError, match=r"account b is too large for exact sums at tick 1e-06 \(1e\+13 BTC-PERPETUAL\)"
    ):
        worst_loss(book, ARRAYS, backend=backend)


def test_sums_of_any_rows() -> None:
    rows = np.column_stack([np.arange(len(ARRAYS)), np.ones(len(ARRAYS))]).astype(np.float64)
    book = book_of({"a": {"BTC-7D-68000-C": 0.7, "USD": 12.4}})
    expected = [ROW["BTC-7D-68000-C"] * 7 + round(12.4 * ROW["USD"]), 7 + 12]
    for backend in BACKENDS:
        assert account_sums(book, ARRAYS, rows, backend=backend)[0] == pytest.approx(np.array(expected) * 1e-6)
        # Only products of balances are rounded: seven quarters of a tick remain.
        quarters = account_sums(book, ARRAYS, np.full((len(ARRAYS), 1), 0.25), backend=backend)[0]
        assert quarters == pytest.approx([(7 * 0.25 + round(12.4 * 0.25)) * 1e-6], rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_quantities_off_their_step_are_named(backend: str) -> None:
    name = "BTC-7D-68000-C"
    book = book_of({"fine": {name: 0.3}, "off": {name: 0.15, "BTC-PERPETUAL": 0.5}, "cash": {"USD": 0.15}})
    for function in (worst_loss, account_pnl):
        # The first one in the order of the book: by expiry, undated rows last.
        with pytest.raises(DataError, match=r"off, quantity = 0\.15: \S+ trades in whole multiples of 0\.1") as caught:
            function(book, ARRAYS, backend=backend)
        assert [problem.row for problem in caught.value.problems] == ["off"]


@pytest.mark.parametrize("amount", [1e7 + 0.009, 1e8 + 0.05, 1e9 + 0.4])
def test_parts_of_a_contract_are_refused_in_large_positions(amount: float) -> None:
    for backend in BACKENDS:
        with pytest.raises(DataError):
            worst_loss(book_of({"a": {"BTC-PERPETUAL": amount}}), ARRAYS, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_arrays_that_are_not_finite_never_give_a_margin(backend: str, bad: float) -> None:
    rows = ARRAYS.rows.copy()
    rows[ROW["BTC-PERPETUAL"], 0] = bad
    book = book_of({"a": {"BTC-PERPETUAL": 5.0}})
    for function in (worst_loss, account_pnl):
        with pytest.raises((DataError, NumericalError)):
            function(book, replace(ARRAYS, rows=rows), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_beyond_whole_doubles_are_refused(backend: str) -> None:
    """Up to 2^53 ticks a sum is exact; beyond it is an error that names the account and a tick that fits."""
    largest = np.abs(ARRAYS.rows[ROW["BTC-PERPETUAL"]]).max()
    most = math.floor(2.0**53 / largest)
    for function in (worst_loss, account_pnl):
        function(book_of({"large": {"BTC-PERPETUAL": float(most)}}), ARRAYS, backend=backend)
        with pytest.raises(NumericalError, match="whale") as caught:
            function(book_of({"whale": {"BTC-PERPETUAL": most + 1.0}}), ARRAYS, backend=backend)
    fitting = float(str(caught.value).split("tick=")[1].split()[0])
    coarse = revalue(INSTRUMENTS, MARKET, GRID, tick=fitting)
    worst_loss(book_of({"whale": {"BTC-PERPETUAL": most + 1.0}}), coarse, backend=backend)


def test_gross_size_counts_towards_the_bound() -> None:
    """Two huge positions that cancel are no exact sum either."""
    pair = {"BTC-7D-68000-C": 4e6, "BTC-7D-68000-P": -4e6}
    for held in (pair, {name: -amount for name, amount in pair.items()}, {"BTC-PERPETUAL": -1e11}):
        for backend in BACKENDS:
            for function in (worst_loss, account_pnl):
                with pytest.raises(NumericalError, match="a is too large"):
                    function(book_of({"a": held}), ARRAYS, backend=backend)


def test_losses_count_towards_the_bound_as_gains_do() -> None:
    """Where a contract only loses."""
    arrays = revalue(INSTRUMENTS, MARKET, make(["down"], np.array([-0.5])))
    for backend in BACKENDS:
        with pytest.raises(NumericalError, match="a is too large"):
            worst_loss(book_of({"a": {"BTC-PERPETUAL": 1e11}}), arrays, backend=backend)


def test_without_ticks_nothing_is_rounded() -> None:
    exact = revalue(INSTRUMENTS, MARKET, GRID, tick=None)
    held = {"BTC-7D-68000-C": -0.3, "BTC": 0.123456789, "USD": 0.001}
    book = book_of({"a": held})
    expected = sum(q * exact.pnl[ROW[name]] for name, q in held.items())
    for backend in BACKENDS:
        assert account_pnl(book, exact, backend=backend)[0] == pytest.approx(expected, rel=1e-13, abs=1e-10)
        assert worst_loss(book, exact, backend=backend)[0][0] == pytest.approx(-expected.min(), rel=1e-13)


def test_nobody_and_nothing() -> None:
    for backend in BACKENDS:
        assert worst_loss(book_of({}), ARRAYS, backend=backend)[0].shape == (0,)
        assert account_pnl(book_of({}), ARRAYS, backend=backend).shape == (0, len(GRID))
        for netting in NETTING:
            loss, scenario = worst_loss(book_of({"a": {}, "b": {}}), ARRAYS, netting=netting, backend=backend)
            assert (loss.tolist(), scenario.tolist()) == ([0.0, 0.0], [-1, -1])


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(DataError, match="hold only"):
        worst_loss(Book.from_arrays(["a"], [len(ARRAYS)], [1.0]), ARRAYS)
    ungrouped = book_of({"a": {"BTC": 1.0}}, grouped=False)
    assert worst_loss(ungrouped, ARRAYS)[0][0] > 0
    with pytest.raises(ConfigError, match="groups"):
        worst_loss(ungrouped, ARRAYS, netting="per_underlying")
    with pytest.raises(ConfigError, match="netting"):
        worst_loss(BOOK, ARRAYS, netting="gross")
    with pytest.raises(ConfigError, match="backend"):
        worst_loss(BOOK, ARRAYS, backend="fortran")


def test_groups_become_netting_sets() -> None:
    """Expiry rows of one underlying stand together, whatever an account holds of them."""
    book = book_of({"a": {"ETH-7D-2050-C": 0.1, "BTC-60D-68000-C": 0.1, "BTC": 1.0, "USD": 1.0, "ETH": 1.0}})
    assert kernel_positions(book, ARRAYS, "per_underlying").netting_set.tolist() == [-1, 0, 0, 1, 1]
    assert kernel_positions(book, ARRAYS, "joint").netting_set.tolist() == [0] * 5


def test_arrays_from_a_file_give_the_same_bits() -> None:
    again = RiskArrays.from_bytes(ARRAYS.to_bytes())
    for netting in NETTING:
        ours, theirs = (worst_loss(BOOK, arrays, netting=netting) for arrays in (ARRAYS, again))
        assert ours[0].tobytes() == theirs[0].tobytes()
