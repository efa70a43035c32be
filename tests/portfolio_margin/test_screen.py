"""Worst losses found by the screen in single precision are, bit for bit, those of the exact kernel."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import worst_loss
from portfolio_margin.backends import compact, lanes, packed_rows, screen_numba
from portfolio_margin.backends import numba as kernels
from portfolio_margin.backends.screen_numba import MOST_LEFT
from portfolio_margin.kernel_inputs import Positions, Table
from tests.portfolio_margin.books import ARRAYS, BOOK

NEVER = 10**15
CONTRACTS = 12


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small tables are screened, too."""
    monkeypatch.setattr(screen_numba, "POSITIONS_PER_ROW", 0)
    yield


def _table(rows: Any, *, asset: int = 0, rounded: bool = True, unit: float = 0.1) -> Table:
    """Rows of contracts with a unit, the last ones of assets."""
    rows = np.array(rows, np.float64)
    contract = np.arange(len(rows)) < len(rows) - asset
    units = np.where(contract, unit, 1.0)
    return Table(rows, units, contract, np.where(contract, 1.0, 0.7), np.abs(rows).max(axis=1), rounded)


def _positions(accounts: list[list[tuple[int, float]]], rows: int, sets: int = 1) -> Positions:
    """A group for each netting set, which is the row's number modulo their number."""
    groups = [[[held for held in account if held[0] % sets == key] for key in range(sets)] for account in accounts]
    flat = [group for account in groups for group in account]
    each = [held for group in flat for held in group]
    return Positions(
        np.arange(len(accounts) + 1) * sets,
        np.append(0, np.cumsum([len(group) for group in flat])).astype(np.int64),
        np.tile(np.arange(sets), len(accounts)),
        np.array([row for row, _ in each], np.int64),
        np.array([quantity for _, quantity in each], np.float64),
        np.arange(rows) % sets,
    )


def _both(positions: Positions, table: Table, threads: int = 1) -> tuple[Any, Any]:
    screened = kernels.worst_loss(positions, table, threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen_numba, "POSITIONS_PER_ROW", NEVER)
        return screened, kernels.worst_loss(positions, table, threads)


def _same(positions: Positions, table: Table, threads: int = 1) -> tuple[Any, Any]:
    """Losses and scenarios, equal both ways, and equal faults."""
    (loss, scenario, found), (exact, where, faults) = _both(positions, table, threads)
    assert loss.tobytes() == exact.tobytes() and scenario.tobytes() == where.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, faults, strict=True))
    return loss, scenario


def _random(seed: int, accounts: int, held: int, size: int = 500) -> list[list[tuple[int, float]]]:
    random = np.random.default_rng(seed)
    return [
        [
            (int(n), 0.1 * int(random.integers(-size, size)))
            for n in random.integers(0, CONTRACTS, random.integers(held))
        ]
        for _ in range(accounts)
    ]


@pytest.mark.parametrize("scenarios", [1, 2, 15, 16, 17, 33, 48, 49, 63, 64, 65, 97, 128, 200, 2_048])
def test_any_number_of_scenarios(scenarios: int) -> None:
    random = np.random.default_rng(scenarios)
    positions = _positions(_random(scenarios, 150, 30), CONTRACTS)
    _, where = _same(positions, _table(random.integers(-(10**9), 10**9, (CONTRACTS, scenarios))))
    assert len(set(where.tolist())) > min(scenarios, 10)
    _same(positions, _table(random.integers(-1, 2, (CONTRACTS, scenarios))))  # mostly ties


@pytest.mark.parametrize("sets", [1, 3])
@pytest.mark.parametrize("scenarios", [20, 64, 130])
def test_assets_netting_sets_and_threads(scenarios: int, sets: int) -> None:
    """Balances whose products are rounded, whole steps that need a closer look, several blocks and threads."""
    random = np.random.default_rng(sets)
    table = _table(random.integers(-(10**6), 10**6, (CONTRACTS, scenarios)) + random.random((CONTRACTS, 1)), asset=3)
    table.rows[:9] = np.rint(table.rows[:9])
    accounts = _random(5, 300, 12)
    accounts[7] = [(0, float(2**30 + 1)), (1, 0.1 + 0.2), (11, 0.123456789), (10, -1e-9), (3, 0.0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "BLOCK_POSITIONS", 97)
        for threads in (1, 2):
            _same(_positions(accounts, CONTRACTS, sets), table, threads)


@pytest.mark.parametrize("scenarios", [40, 100])
def test_scenarios_that_single_precision_cannot_tell_apart(scenarios: int) -> None:
    """Hedged books of a gross size of a billion ticks whose sums differ by one tick."""
    random = np.random.default_rng(1)
    rows = np.zeros((4, scenarios))
    rows[0], rows[1] = 10**9 + np.arange(scenarios) % 3, -(10**9)
    rows[2, :], rows[3] = random.permutation(scenarios) // 2, 1.0
    accounts = [[(0, 0.1 * k), (1, 0.1 * k), (2, 0.1 * j), (3, -5.0)] for k in (1, 7, 100) for j in range(-3, 4)]
    loss, where = _same(_positions(accounts, 4), _table(rows))
    for account, lost, place in zip(accounts, loss, where, strict=True):
        sums = [sum(round(q / 0.1) * int(rows[n, s]) for n, q in account) for s in range(scenarios)]
        assert lost == max(-min(sums), 0) and place == (sums.index(min(sums)) if min(sums) < 0 else -1)


def test_as_many_are_left_as_can_be_settled_one_by_one_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so many equal worst scenarios, the first; the exact kernel is asked from one more on."""
    asked: list[int] = []
    usual = screen_numba.screen
    monkeypatch.setattr(screen_numba, "screen", lambda *given: asked.append((found := usual(*given))[0]) or found)
    for equal in range(1, MOST_LEFT + 3):
        rows = np.zeros((1, 64))
        rows[0, 60 - equal : 60] = -(10**12)
        loss, where, _ = kernels.worst_loss(_positions([[(0, 0.3)]], 1), _table(rows))
        assert loss.tolist() == [3e12] and where.tolist() == [60 - equal]
    assert asked == [0] * MOST_LEFT + [1, 1]


@pytest.mark.parametrize("scenarios", [16, 33, 64, 65, 128, 200])
def test_the_only_scenario_that_is_left_may_be_any(scenarios: int) -> None:
    """One contract a scenario, which loses there alone: each account has another worst one."""
    rows = np.where(np.eye(scenarios, dtype=bool), -(10**6), 10**6)
    accounts = [[(n, 0.1 * (n + 1))] for n in range(scenarios)]
    loss, where = _same(_positions(accounts, scenarios), _table(rows))
    assert where.tolist() == list(range(scenarios))
    assert loss.tolist() == [1e6 * (n + 1) for n in range(scenarios)]


@pytest.mark.parametrize("magnitude", [2.0**-30, 1.0, 2.0**40, 2.0**70, 1e300])
@pytest.mark.parametrize("rounded", [True, False])
def test_rows_of_any_size(magnitude: float, rounded: bool) -> None:
    rows = np.random.default_rng(3).uniform(-1, 1, (CONTRACTS, 50)) * magnitude
    rows[5] *= 2.0**-60
    _same(_positions(_random(4, 60, 9), CONTRACTS), _table(np.rint(rows) if rounded else rows, rounded=rounded))


def test_absurd_quantities_and_empty_books() -> None:
    rows = np.random.default_rng(2).integers(-9, 9, (CONTRACTS, 30))
    for quantity in (0.0, 1e15, -1e30, 1e300, 5e-324, 0.15, np.inf, np.nan):
        for asset in (0, 12):
            _same(_positions([[(0, quantity), (3, 0.1)], [], [(4, 0.2)]], CONTRACTS), _table(rows, asset=asset))
    assert _same(_positions([[], [], []], CONTRACTS), _table(rows))[1].tolist() == [-1] * 3
    assert _same(_positions([[(0, 0.1), (1, 0.1)]], 2), _table([[5, -5], [-5, 5]]))[0].tolist() == [0.0]


def test_more_segments_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEGMENTS_AT_ONCE", "SEGMENTS_BY_CHUNK"):
        monkeypatch.setattr(screen_numba, name, 3)
    for scenarios in (30, 90):
        rows = np.random.default_rng(7).integers(-(10**6), 10**6, (CONTRACTS, scenarios))
        _same(_positions(_random(9, 80, 60), CONTRACTS), _table(rows))


@pytest.mark.parametrize("scenarios", [1, 16, 50, 64, 65, 200])
@pytest.mark.parametrize("steps", [1, 7, 4_095, 4_096, 4_097, 32_767, 32_768, 2**20])
def test_whole_sums_stay_within_their_bits(scenarios: int, steps: int) -> None:
    """Rows at their largest, all of one sign, held so often that sums of 32 bits would overflow, and a little less."""
    rows = np.full((CONTRACTS, scenarios), -(10**9))
    rows[:, -1] -= 1
    accounts = [[(n % CONTRACTS, 0.1 * steps) for n in range(count)] for count in (1, 2, 15, 16, 17, 31, 33, 80)]
    loss, where = _same(_positions(accounts, CONTRACTS), _table(rows))
    assert loss.tolist() == [len(account) * steps * (10**9 + 1) for account in accounts]
    assert set(where.tolist()) == {scenarios - 1}


@pytest.mark.parametrize("scenarios", [64, 100])
def test_small_rows_beside_large_ones_are_told_apart(scenarios: int) -> None:
    """Rows of less than a share of the largest one: whole shares say nothing, single precision does."""
    random = np.random.default_rng(scenarios)
    rows = random.integers(-(10**4), 10**4, (CONTRACTS, scenarios))
    rows[0] = random.integers(-(10**10), 10**10, scenarios)
    small = [[(n, 0.1 * int(random.integers(-99, 100))) for n in range(1, CONTRACTS)] for _ in range(50)]
    loss, _ = _same(_positions([*small, [(0, 0.1)]], CONTRACTS), _table(rows))
    assert loss[:-1].min() > 0 and loss[:-1].max() < 10**8 < loss[-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 16, 40, 64, 90]), st.integers(1, 40))
def test_whole_sums_are_as_near_as_the_bound_says(seed: int, scenarios: int, held: int) -> None:
    """Of packed rows: half a share for each row held, and of no other than the instruction's own sums."""
    random = np.random.default_rng(seed)
    rows = random.integers(-(10**9), 10**9, (CONTRACTS, scenarios)).astype(np.float64)
    share = np.abs(rows).max() / packed_rows.SHARES
    width, chunks = lanes.width_of(scenarios, lanes.WIDTHS[-1])
    packed = packed_rows.packed(rows, share, width, chunks).reshape(chunks, CONTRACTS, -1)
    flat = packed.reshape(chunks, CONTRACTS, -1, 4, 2, 4).swapaxes(3, 4).reshape(chunks, CONTRACTS, -1)
    whole = np.concatenate(list(flat[:, :, :width]), axis=1)[:, :scenarios].astype(np.int64)
    n, steps = random.integers(0, CONTRACTS, held), random.integers(-4_096, 4_097, held)
    exact = (rows[n] * steps[:, None]).sum(axis=0)
    assert np.all(
        np.abs(share * (whole[n] * steps[:, None]).sum(axis=0) - exact)
        <= screen_numba.HALF * share * np.abs(steps).sum()
    )


@pytest.mark.parametrize("products", ["plain", packed_rows.PRODUCTS])
def test_whole_sums_by_one_instruction_and_by_several(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "PRODUCTS", products)
    for made in (screen_numba.screened, packed_rows.add_pair):
        made.cache_clear()
    random = np.random.default_rng(1)
    rows = random.integers(-(10**9), 10**9, (CONTRACTS, 12))
    _same(_positions(_random(2, 200, 30), CONTRACTS), _table(rows))
    for made in (screen_numba.screened, packed_rows.add_pair):
        made.cache_clear()


def test_what_is_kept_of_a_book_is_read_once_and_never_of_other_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same positions under another tick of prices, and of another step, in parts by several threads."""
    reads: list[int] = []
    usual, others = compact._kernels()
    counted = (lambda *given: reads.append(given[0]) or usual(*given)), others
    monkeypatch.setattr(compact, "_kernels", lambda: counted)
    monkeypatch.setattr(kernels, "BLOCK_POSITIONS", 40)
    monkeypatch.setattr(kernels, "MOST_BLOCKS", 1_000)
    random = np.random.default_rng(5)
    positions = _positions(_random(5, 60, 9), CONTRACTS)._replace(kept={})
    tables = [_table(random.integers(-(10**6), 10**6, (CONTRACTS, 33)), asset=2) for _ in range(2)]
    for table in tables:
        _same(positions, table, 2)
    blocks = len(kernels._blocks(positions))
    assert blocks > 5 and sorted(reads) == sorted(set(reads)) and len(reads) == blocks
    halved = tables[0]._replace(unit=np.where(tables[0].contract, 0.05, 1.0))
    cut = tables[0]._replace(long_weight=np.where(tables[0].contract, 1.0, 0.5))
    for table, read in ((cut, 0), (halved, blocks), (cut, blocks), (tables[1], 0)):
        reads.clear()
        _same(positions, table, 2)
        assert len(reads) == read


def test_books_keep_to_themselves_what_is_kept() -> None:
    """Neither a book of other quantities nor a copy has it."""
    loss, where = worst_loss(BOOK, ARRAYS)
    assert compact.KEPT in BOOK.kept
    twice, copied = BOOK.holding(2.0 * BOOK.quantity), pickle.loads(pickle.dumps(BOOK))
    assert not twice.kept and not copied.kept
    for book, times in ((copied, 1.0), (twice, 2.0), (BOOK, 1.0)):
        assert np.array_equal(worst_loss(book, ARRAYS, backend="numpy")[0], worst_loss(book, ARRAYS)[0])
        assert np.allclose(worst_loss(book, ARRAYS)[0], times * loss, atol=1e-4)
        assert np.array_equal(worst_loss(book, ARRAYS)[1], where)


def test_nothing_is_kept_of_memory_that_others_may_write_to(tmp_path: Path) -> None:
    """A view of an array, and a file that is mapped: margins are those of what stands there now."""
    quantity, mapped = (
        BOOK.quantity.copy(),
        np.memmap(tmp_path / "quantity", np.float64, "w+", shape=BOOK.quantity.shape),
    )
    mapped[:] = quantity
    view = quantity.view()
    view.flags.writeable = False
    for changing, column in ((quantity, view), (mapped, np.memmap(tmp_path / "quantity", np.float64, "r"))):
        book = replace(BOOK, quantity=column)
        assert book.kept is None
        before = worst_loss(book, ARRAYS)[0]
        changing *= 2.0
        assert not np.array_equal(worst_loss(book, ARRAYS)[0], before)
        assert worst_loss(book, ARRAYS)[0].tobytes() == worst_loss(book, ARRAYS, backend="numpy")[0].tobytes()


@pytest.mark.parametrize("scenarios", [30, 64, 130])
def test_a_screen_that_does_not_tell_scenarios_apart_is_asked_once(
    scenarios: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row that is far larger than all others: whole shares say nothing, so that the exact kernel has the rest."""
    random, asked = np.random.default_rng(scenarios), []
    usual = screen_numba.screen
    monkeypatch.setattr(screen_numba, "screen", lambda *given: asked.append(found := usual(*given)) or found)
    monkeypatch.setattr(kernels, "BLOCK_POSITIONS", 100)
    monkeypatch.setattr(kernels, "MOST_BLOCKS", 1_000)
    rows = random.integers(-(10**6), 10**6, (CONTRACTS, scenarios))
    accounts = [[(n, 0.1 * int(random.integers(-99, 100))) for n in range(1, CONTRACTS)] for _ in range(100)]
    _same(_positions(accounts, CONTRACTS), _table(rows, asset=1))
    assert len(asked) == len(kernels._blocks(_positions(accounts, CONTRACTS))) > 9
    asked.clear()
    rows[0] *= 10**6
    _same(_positions([*accounts, [(0, 0.1)]], CONTRACTS), _table(rows, asset=1))
    assert [left for left, _, _ in asked] == [0]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_held(data: st.DataObject) -> None:
    """Any rows of whole ticks and any steps, as exact sums of whole numbers say."""
    scenarios = data.draw(st.sampled_from([1, 5, 16, 64, 70]))
    ticks = st.one_of(st.integers(-3, 3), st.integers(-(2**30), 2**30), st.sampled_from([10**9, 10**9 + 1, -(10**9)]))
    pool = data.draw(st.lists(ticks, min_size=1, max_size=12))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rows = np.random.default_rng(seed).choice(np.array(pool), (6, scenarios))
    steps = st.one_of(st.integers(-3, 3), st.integers(-(2**18), 2**18))
    held = st.lists(st.tuples(st.integers(0, 5), steps), max_size=6)
    accounts = data.draw(st.lists(held, min_size=1, max_size=5))
    given_ = [[(n, float(count)) for n, count in account] for account in accounts]
    loss, where = _same(_positions(given_, 6), _table(rows, unit=1.0))
    for account, lost, place in zip(accounts, loss, where, strict=True):
        sums = [sum((Fraction(count) * int(rows[n, s]) for n, count in account), Fraction(0)) for s in range(scenarios)]
        least = min(sums)
        assert (lost, place) == ((-least, sums.index(least)) if least < 0 else (0, -1))
