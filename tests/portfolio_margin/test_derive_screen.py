"""The screen of derive_pmrm2 leaves no scenario out that can be the worst: same bits as the kernel that counts all."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from portfolio_margin.backends import derive_numba, derive_screen, derive_single, lanes
from portfolio_margin.backends import numba as kernels
from portfolio_margin.backends.derive_parts import Held, Scan, Sums
from portfolio_margin.backends.derive_screen import MOST_LEFT, ROUNDING, SPARE_ROUNDINGS, UNDERFLOW
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import read_only
from tests.naive import derive_gains as naive

TICK = 1e-4
# Two underlyings with two dated expiries and an undated one each, and cash.
OWNER = np.array([0, 0, 0, 1, 1, 1, -1])
UNDATED, CASH = (2, 5), 6
OPTIONS = 6
# Six options of an expiry on four strikes, a perpetual and a coin of each underlying, dollars.
EXPIRY = np.array([*np.repeat([0, 1, 3, 4], OPTIONS), 2, 2, 5, 5, -1])
ASSET = np.isin(np.arange(len(EXPIRY)), (25, 27, 28))
STRIKE = np.where(np.arange(len(EXPIRY)) < 4 * OPTIONS, np.tile([0, 0, 1, 2, 2, 3], 5)[: len(EXPIRY)], -1)
DISCOUNTS = {
    "usual": ((0.93, 0.95, 0.97, 0.9), (1.07, 1.05, 1.02, 1.1), (1.0, 1.0, 1.0, 1.0)),
    "the other way round": ((1.07, 1.05, 1.02, 1.1), (0.93, 0.95, 0.97, 0.9), (1.0, 1.0, 1.0, 1.0)),
    "restated": ((0.93, 0.95, 0.97, 1.0), (1.07, 1.05, 1.02, 1.1), (0.99, 1.0, 0.5, 0.97)),
    "some plain": ((1.0, 0.95, 1.0, 1.0), (1.0, 1.05, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0)),
}


def scan_of(random: Any, scenarios: int, discounts: str = "usual", weight: float = 0.5) -> Scan:
    """Rules with tilts and dampened scenarios, where there are enough."""
    of = [np.insert(np.array(column), [2, 4, 4], 1.0) for column in DISCOUNTS[discounts]]
    by_expiry = [np.append(column[:6], 1.0) for column in of]
    dated = ~np.isin(np.arange(7), (*UNDATED, CASH))
    skew = np.zeros(scenarios, np.bool_)
    skew[random.permutation(scenarios)[: min(2, scenarios // 3)]] = True
    dampening = np.where(random.random(scenarios) < 0.3, random.uniform(0.0, 2.5, scenarios), 1.0)
    spot = np.array([100.0] * 3 + [7.0] * 3 + [0.0])
    return Scan(OWNER, spot, dampening, skew, *by_expiry, np.where(dated, weight, 0.0), TICK)


def contracts_of(random: Any, scenarios: int, size: int) -> tuple[Table, Held]:
    """Whole ticks up to a size, of assets with fractions."""
    rows = random.integers(-size, size + 1, (len(EXPIRY), scenarios + 4)).astype(np.float64)
    rows[ASSET] += random.random((3, 1))
    rows[-1, : scenarios + 2] = 0.0
    unit = np.where(ASSET, 1.0, 0.1)
    table = Table(rows, unit, ~ASSET, np.ones(len(unit)), np.abs(rows).max(axis=1), True)
    perpetual = (STRIKE < 0) & ~ASSET
    spot = np.where(EXPIRY < 3, 100.0, 7.0)
    held = Held(perpetual, ASSET, EXPIRY, np.ones(len(unit)), spot, STRIKE, spot, 0.02 * ASSET, 0.01 * ASSET)
    return table, held


def book_of(random: Any, accounts: int, most: int, steps: int = 300) -> tuple[Positions, Any]:
    """Random accounts of up to so many positions, grouped by expiry, cash first."""
    held = [np.sort(random.permutation(len(EXPIRY))[: random.integers(0, most + 1)]) for _ in range(accounts)]
    return positions_of(
        [[(n, random.integers(-steps, steps + 1) * (1.0 if ASSET[n] else 0.1)) for n in account] for account in held]
    )


def positions_of(accounts: list[list[tuple[int, float]]]) -> tuple[Positions, Any]:
    placed = [sorted((EXPIRY[n], n, quantity) for n, quantity in account) for account in accounts]
    keys = [sorted({key for key, _, _ in account}) for account in placed]
    sizes = [sum(key == k for k, _, _ in account) for account, of in zip(placed, keys, strict=True) for key in of]
    flat = [position for account in placed for position in account]
    nothing = np.zeros(0, np.int64)
    return Positions(
        read_only(np.append(0, np.cumsum([len(of) for of in keys])).astype(np.int64)),
        read_only(np.append(0, np.cumsum(sizes)).astype(np.int64)),
        nothing,
        read_only(np.array([n for _, n, _ in flat], np.int64)),
        read_only(np.array([quantity for _, _, quantity in flat], np.float64)),
        nothing,
    ), read_only(np.array([key for of in keys for key in of], np.int64))


def run(book: tuple[Positions, Any], given: derive_numba.Prepared, screened: bool, threads: int = 1) -> Any:
    """All sums of all accounts by one of the kernels, or None; and how many blocks the screen filled."""
    found: dict[int, list[np.ndarray]] = {}
    filled, fill = [], derive_screen.Screened.fill

    def counted(*of: Any) -> Any:
        filled.append(1)
        return fill(*of)

    def then(first: int, last: int, sums: Sums) -> None:
        found[first] = [np.array(column) for column in sums]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derive_screen, "pays", lambda *of: screened)
        patch.setattr(derive_screen.Screened, "fill", counted)
        totals = derive_numba.scan_accounts(*book, given, then, threads)
    columns = [np.concatenate(column) for column in zip(*(found[first] for first in sorted(found)), strict=True)]
    return None if totals is None else [*columns, *totals], len(filled)


def assert_same(book: tuple[Positions, Any], given: derive_numba.Prepared, threads: int = 1) -> list[np.ndarray]:
    """Sums of all accounts, which are those of the other kernel to the last bit."""
    expected, none = run(book, given, False)
    found, filled = run(book, given, True, threads)
    assert none == 0 and filled > 0
    for one, other in zip(found, expected, strict=True):
        assert (one + 0).tobytes() == (other + 0).tobytes()
    return list(found)


@pytest.mark.parametrize("discounts", DISCOUNTS)
@pytest.mark.parametrize("scenarios", [1, 7, 8, 9, 33, 40])
def test_any_number_of_scenarios_and_any_rule(scenarios: int, discounts: str) -> None:
    """Large numbers, and small ones of which most scenarios are equal."""
    random = np.random.default_rng([scenarios, len(discounts)])
    for size in (1, 3, 10**9):
        for weight in (0.0, 0.2, 3.0):
            table, held = contracts_of(random, scenarios, size)
            given = derive_numba.prepared(table, scan_of(random, scenarios, discounts, weight), held)
            worst = assert_same(book_of(random, 150, 14), given)[1]
            assert len(set(worst.tolist())) > min(scenarios, 4)


def test_blocks_threads_and_accounts_of_many_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    given = derive_numba.prepared(*_problem(random, 33))
    book = book_of(random, 300, len(EXPIRY))
    assert_same(book, given)
    monkeypatch.setattr(kernels, "BLOCK_POSITIONS", 97)
    assert_same(book, given, threads=2)


def _problem(random: Any, scenarios: int, size: int = 10**8) -> tuple[Table, Scan, Held]:
    table, held = contracts_of(random, scenarios, size)
    return table, scan_of(random, scenarios), held


def test_scenarios_that_single_precision_cannot_tell_apart() -> None:
    """Hedged books of a gross size of a billion ticks, whose scenarios differ by one."""
    random, scenarios = np.random.default_rng(1), 33
    table, scan, held = _problem(random, scenarios)
    table.rows[:] = 0.0
    table.rows[0, :], table.rows[1, :] = 10**9, -(10**9)
    table.rows[0, :scenarios] += np.arange(scenarios) % 3
    table.rows[2, :scenarios], table.rows[3] = random.permutation(scenarios) // 2, 1.0
    table = table._replace(magnitude=np.abs(table.rows).max(axis=1))
    scan = scan._replace(basis_weight=np.zeros(7), dampening=np.ones(33), skew=np.zeros(33, np.bool_))
    given = derive_numba.prepared(table, scan, held)
    accounts = [[(0, 0.1 * k), (1, 0.1 * k), (2, 0.1 * j), (3, -50.0)] for k in (1, 7, 100) for j in range(-3, 4)]
    worst = assert_same(positions_of(accounts), given)[1]
    assert len(set(worst.tolist())) > 2


def test_where_too_many_are_left_the_other_kernel_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios that are all equal and lose: the first one, and a screen that gives up after its first block."""
    random = np.random.default_rng(2)
    table, scan, held = _problem(random, 33)
    table.rows[:, :33] = np.where(ASSET, 0.0, 10**6)[:, None]
    table.rows[:, 33:] = 0.0
    scan = scan._replace(dampening=np.ones(33), skew=np.zeros(33, np.bool_))
    given = derive_numba.prepared(table._replace(magnitude=np.abs(table.rows).max(axis=1)), scan, held)
    book = positions_of([[(0, -0.1 * k), (7, -0.5)] for k in range(1, 60)])
    assert MOST_LEFT < 33
    assert set(assert_same(book, given)[1].tolist()) == {0}
    monkeypatch.setattr(kernels, "BLOCK_POSITIONS", 20)
    (found, filled), (expected, _) = run(book, given, True), run(book, given, False)
    assert filled == 1
    assert all(one.tobytes() == other.tobytes() for one, other in zip(found, expected, strict=True))


def test_beyond_the_roundings_of_the_bound_all_are_left() -> None:
    assert derive_screen._limit(-5.0, -1.0, 2.0**18 + 1, 1.0, 1.0) == np.inf
    assert derive_screen._limit(-5.0, -1.0, 2.0**18, 1.0, 1.0) < -4.9
    assert derive_screen._limit(-5.0, -9.0, 10.0, 1.0, 1.0) == pytest.approx(-9.0, abs=1e-5)


def test_what_the_bound_does_not_hold_for_is_not_screened() -> None:
    random = np.random.default_rng(3)
    table, scan, held = _problem(random, 12)
    assert derive_screen.prepared(table, scan, held) is not None
    assert derive_screen.prepared(table, scan._replace(tick_size=1e-30), held) is None
    assert derive_screen.prepared(table._replace(magnitude=table.magnitude * 1e300), scan, held) is None
    assert derive_screen.prepared(table, scan._replace(skew=np.ones(12, np.bool_)), held) is None


def test_it_is_made_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for few positions, nor where registers hold all scenarios in doubles."""
    table, _, _ = _problem(np.random.default_rng(3), 12)
    book, _ = book_of(np.random.default_rng(4), 50, 14)
    for few, room, pays in ((True, False, False), (False, False, True), (False, True, False)):
        monkeypatch.setattr(derive_screen, "POSITIONS_PER_ROW", 10**6 if few else 1)
        monkeypatch.setattr(derive_screen, "ROOM_FOR_DOUBLES", room)
        assert derive_screen.pays(book, table) == pays


@pytest.mark.parametrize("quantity", [0.0, 1e15, -1e30, 1e300, 5e-324, 0.15, np.inf, np.nan])
def test_absurd_quantities(quantity: float) -> None:
    """Either the same sums, or both leave it to the reference."""
    given = derive_numba.prepared(*_problem(np.random.default_rng(6), 20))
    for n in (0, 25, 28):
        book = positions_of([[(n, quantity), (3, 0.1)], [], [(7, 0.2), (24, -3.0)]])
        (found, filled), (expected, _) = run(book, given, True), run(book, given, False)
        assert filled == 1 and (found is None) == (expected is None)
        if found is not None:
            assert all((a + 0).tobytes() == (b + 0).tobytes() for a, b in zip(found, expected, strict=True))


def singles(width: int) -> Any:
    """A kernel that adds one expiry of a position after the other: gains in single precision, basis and revaluation."""
    fold = derive_single.operations(width)
    nothing, _, add, put_ends, opened, folded, put, lowest, below, no_losses, with_basis, losses = fold

    @numba.njit(error_model="numpy")
    def counted(rows: Any, factors: Any, places: Any, held: Any, terms: Any, ends: Any, out: Any) -> Any:
        at, (tick, weight, again) = lanes.address, terms
        gains, lost = opened(), no_losses()
        for n in range(len(held)):
            sums = add(nothing(), at(rows, 0), n * rows.shape[1], np.float32(held[n]))
            put_ends(sums, at(ends, 4 * n))
            gains = folded(gains, sums, at(factors, 0), at(places, 2 * places.shape[1] - 8))
            lost = with_basis(lost, at(ends, 4 * n), tick, again, weight)
        put(gains, at(out, 0), at(places, 0))
        return losses(lost), lowest(at(out, 0)), below(at(out, 0), np.float32(0.0))

    return counted


@pytest.mark.parametrize("scenarios", [5, 8, 33, 40])
@pytest.mark.parametrize("kind", [(0.93, 1.07, 1.0), (1.07, 0.93, 0.98)])
def test_gains_in_single_precision_are_as_near_as_the_bound_says(scenarios: int, kind: tuple[float, ...]) -> None:
    random = np.random.default_rng(scenarios)
    long, short, again = kind
    table, scan, held = _problem(random, scenarios)
    one = np.ones(7)
    scan = scan._replace(discount_long=long * one, discount_short=short * one, restate=again * one)
    screen = derive_screen.prepared(table, scan, held)
    assert screen is not None
    count, steps = 4 * OPTIONS, random.integers(-(10**4), 10**4, 4 * OPTIONS).astype(np.float64)
    ends, out = np.empty(4 * count), np.empty(screen.width, np.float32)
    given = screen.rows[:count], screen.factors[1], screen.of_places
    lost, least, bits = singles(screen.width)(*given, steps, (TICK, 0.3, again), ends, out)
    expected, losses, rule = [0.0] * scenarios, (0.0,) * 4, (scan.dampening.tolist(), scan.skew.tolist())
    for n, units in enumerate(steps):
        ticks = (table.rows[n] * units).tolist()
        marked = ticks[scenarios + 2] * TICK
        expected = naive.folded(expected, ticks[:scenarios], TICK, marked, (long, short, again), rule)
        losses = naive.basis(losses, ticks[scenarios:], TICK, again, 0.3)
        assert ends[4 * n : 4 * n + 4].tolist() == ticks[scenarios:]
    assert lost == losses
    gross, roundings = float(np.abs(steps) @ screen.magnitude[:count]), 3 * count
    bound = screen.scale * (ROUNDING * (roundings + SPARE_ROUNDINGS) * gross + UNDERFLOW * roundings)
    place = [here for here in range(screen.width) if screen.valid >> here & 1]
    assert sorted(screen.order[place].tolist()) == list(range(scenarios))
    off = np.abs(out[place] - np.array(expected)[screen.order[place]])
    assert 0.0 < off.max() <= bound
    assert least == out.min() and bits == sum(1 << here for here in range(screen.width) if out[here] <= 0.0)
