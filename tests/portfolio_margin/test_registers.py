"""Account sums that are cut into registers: any number of scenarios, ties, awkward quantities, tables with gaps."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin import Book, account_pnl, worst_loss
from portfolio_margin.aggregate import account_sums, kernel_positions, kernel_table
from portfolio_margin.backends import lanes
from portfolio_margin.backends import numba as kernels
from portfolio_margin.kernel_inputs import Positions
from portfolio_margin.kernels import ACCOUNT_COLUMNS
from scenarios import RiskArrays
from scenarios.shocks import make
from tests.naive import portfolio_margin as naive
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, ROW, book_of, loose

# Around every width, and more than one and two chunks of any of them.
COUNTS = (1, 2, 15, 16, 17, 32, 33, 48, 49, 63, 64, 65, 97, 128, 129, 200)
NETTING = ("joint", "per_underlying")


def arrays_of(scenarios: int, seed: int = 0, low: int = -(10**9), high: int = 10**9) -> RiskArrays:
    """Risk arrays of whole ticks drawn at random, for the contracts of the small exchange."""
    rows = np.random.default_rng(seed).integers(low, high, (len(ARRAYS), scenarios), endpoint=True).astype(np.float64)
    return replace(ARRAYS, rows=rows, scenario_set=make([f"s{n}" for n in range(scenarios)], np.zeros(scenarios)))


@pytest.mark.parametrize("scenarios", COUNTS)
def test_any_number_of_scenarios(scenarios: int) -> None:
    arrays = arrays_of(scenarios, scenarios)
    some = BOOK.accounts(0, 40)
    table = kernel_table(arrays, arrays.rows, None)._asdict()
    sums = np.array(naive.account_sums(loose(some), table), dtype=np.float64)
    assert np.array_equal(account_pnl(some, arrays), sums * arrays.tick_size)
    for netting, sets in zip(NETTING, ([0] * len(arrays), arrays.underlying_idx.tolist()), strict=True):
        loss, scenario = worst_loss(some, arrays, netting=netting)
        twin = naive.worst_loss(loose(some), table, sets)
        assert loss.tolist() == [lost * arrays.tick_size for lost, _ in twin]
        assert scenario.tolist() == [where for _, where in twin]


@pytest.mark.parametrize("scenarios", [3, 20, 50, 70, 140])
def test_the_first_of_many_equal_scenarios(scenarios: int) -> None:
    """Gains of three sizes only, so that most of the worst are ties, within a register and across chunks."""
    arrays = arrays_of(scenarios, low=-1, high=1)
    for netting in NETTING:
        reference = worst_loss(BOOK, arrays, netting=netting, backend="numpy")
        found = worst_loss(BOOK, arrays, netting=netting)
        assert found[0].tobytes() == reference[0].tobytes() and np.array_equal(found[1], reference[1])


@pytest.mark.parametrize("scenarios", [5, 33, 70])
def test_columns_that_fill_a_register_up_are_never_the_worst(scenarios: int) -> None:
    arrays = arrays_of(scenarios, low=1, high=100)
    gains, losses = {"BTC-7D-68000-C": 0.3}, {"BTC-7D-68000-C": -0.3}
    loss, scenario = worst_loss(book_of({"gains": gains, "loses": losses}), arrays)
    row = arrays.rows[ROW["BTC-7D-68000-C"]]
    assert (loss[0], scenario[0]) == (0.0, -1)
    assert (loss[1], scenario[1]) == (3 * row.max() * arrays.tick_size, row.argmax())


@pytest.mark.parametrize("scenarios", [16, 100])
def test_quantities_that_need_a_closer_look(scenarios: int) -> None:
    """So many steps that their quotient is not exact, binary noise of decimals, debts and long balances."""
    arrays = arrays_of(scenarios, low=-3, high=3)
    held = {
        "many": {"BTC-PERPETUAL": float(2**50 + 1), "ETH-PERPETUAL": -float(2**49 + 3)},
        "noise": {"BTC-7D-68000-C": 0.1 + 0.2, "BTC-7D-68000-P": -(1.1 * 3), "USD": 0.123456789},
        "owes": {"USD": -1234.56, "BTC": 0.7},
        "nothing": {},
        "zero": {"BTC-7D-68000-C": 0.0},
    }
    book = book_of(held)
    cut = np.where(arrays.is_collateral, 0.3, 0.0)
    reference = account_pnl(book, arrays, haircut=cut, backend="numpy")
    assert account_pnl(book, arrays, haircut=cut).tobytes() == reference.tobytes()
    for netting in NETTING:
        numpy, numba = (worst_loss(book, arrays, netting=netting, haircut=cut, backend=b) for b in ("numpy", "numba"))
        assert numba[0].tobytes() == numpy[0].tobytes() and np.array_equal(numba[1], numpy[1])


def test_blocks_and_threads_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = arrays_of(70)
    for netting in NETTING:
        reference = worst_loss(BOOK, arrays, netting=netting)
        for positions in (1, 7, 100):
            monkeypatch.setattr(kernels, "BLOCK_POSITIONS", positions)
            for copy in (0, 2**40):
                monkeypatch.setattr(kernels, "OWN_COPY_BYTES", copy)
                found = worst_loss(BOOK, arrays, netting=netting, threads=2)
                assert found[0].tobytes() == reference[0].tobytes() and np.array_equal(found[1], reference[1])


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_blocks_begin_where_so_many_positions_are_full(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a walk over the accounts; some hold nothing, some groups are empty."""
    monkeypatch.setattr(kernels, "BLOCK_POSITIONS", size)
    random, none = np.random.default_rng(size), np.zeros(0, np.int64)
    for accounts in (1, 2, 40):
        account_ptr = np.append(0, np.cumsum(random.integers(0, 4, accounts)))
        group_ptr = np.append(0, np.cumsum(random.integers(0, 5, account_ptr[-1])))
        held = np.zeros(int(group_ptr[-1]))
        first = [int(group_ptr[g]) for g in account_ptr]
        begins = {0, accounts} | set(range(0, accounts, size))
        for full in range(0, len(held), size):
            begins.add(next(account for account, start in enumerate(first) if start >= full))
        bounds = sorted(begins)
        found = kernels._blocks(Positions(account_ptr, group_ptr, none, none, held, none))
        assert found == list(itertools.pairwise(bounds))


def test_rows_that_are_no_whole_multiple_of_a_register() -> None:
    """Rows of other shapes than the arrays: one column, and a view that is not contiguous."""
    rows = np.asfortranarray(np.random.default_rng(5).integers(-9, 9, (len(ARRAYS), 3)).astype(np.float64))
    for part in (rows, rows[:, :1], np.repeat(rows, 2, axis=1)[:, ::2]):
        both = [account_sums(BOOK, ARRAYS, part, backend=backend) for backend in ("numpy", "numba")]
        assert both[0].shape == (len(BOOK), part.shape[1]) and both[0].tobytes() == both[1].tobytes()


def test_an_empty_book_has_no_losses() -> None:
    nobody = Book.from_arrays(np.zeros(0, np.str_), [], [], INSTRUMENTS.expiry_idx)
    assert [len(part) for part in worst_loss(nobody, ARRAYS)] == [0, 0]
    alone = Book.from_arrays(np.zeros(0, np.str_), [], [], INSTRUMENTS.expiry_idx, accounts=["a", "b"])
    assert worst_loss(alone, ARRAYS)[1].tolist() == [-1, -1]


@pytest.mark.parametrize("columns", range(1, 300, 7))
def test_columns_fit_their_registers(columns: int) -> None:
    width, chunks = lanes.width_of(columns)
    assert width in lanes.WIDTHS and width <= lanes.WIDEST
    assert width * chunks >= columns and lanes.WIDEST * (chunks - 1) < columns


def test_warmup_knows_every_width() -> None:
    assert ACCOUNT_COLUMNS == lanes.WIDTHS


def test_positions_are_counted_where_they_are_wrong() -> None:
    """The quick look finds what the slow one finds: every position off its step, and each account that is too large."""
    held = {"off": {"BTC-7D-68000-C": 0.15, "BTC-7D-68000-P": 0.1}, "fine": {"BTC-7D-68000-C": 0.3}}
    book, table = book_of(held), kernel_table(ARRAYS, ARRAYS.rows, None)
    _, _, found = kernels.worst_loss(kernel_positions(book, ARRAYS, "joint"), table)
    assert (found.off_step >= 0).tolist() == [False, True] and book.account_id.tolist() == ["fine", "off"]
    _, _, none = kernels.worst_loss(kernel_positions(book_of({"fine": held["fine"]}), ARRAYS, "joint"), table)
    assert len(none.off_step) == 0
