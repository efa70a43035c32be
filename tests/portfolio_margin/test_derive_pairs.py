"""What the screen of derive_pmrm2 keeps of a book: what plain Python reads, once, and never used for other steps."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin.backends import derive_numba, derive_pairs, derive_screen
from portfolio_margin.backends import numba as kernels
from portfolio_margin.kernel_inputs import Positions
from portfolio_margin.requirement import covered
from scenarios import revalue
from tests.examples import random_book
from tests.portfolio_margin.books import INSTRUMENTS, MARKET
from tests.portfolio_margin.test_derive_at_once import ARRAYS, MODEL, assert_same_bits
from tests.portfolio_margin.test_derive_screen import ASSET, STRIKE, assert_same, book_of, contracts_of, scan_of

UNIT = np.where(ASSET, np.nan, 0.1)
MADE_WITH = 1.0 / UNIT, STRIKE, np.full(len(STRIKE), 2.0)
STRIKES = 4


def odd_book(random: Any, accounts: int) -> Positions:
    """Positions of all kinds: balances, more steps than a single holds, no whole steps, no number."""
    book, _ = book_of(random, accounts, 14)
    quantity = book.quantity.copy()
    for unusual in (2.0**24 * 0.1, (2.0**24 + 1.0) * 0.1, 0.15, np.nan, 0.0):
        quantity[random.integers(len(quantity), size=10)] = unusual
    quantity.setflags(write=False)
    return book._replace(quantity=quantity)


def test_groups_are_what_plain_python_reads() -> None:
    book = odd_book(np.random.default_rng(1), 200)
    first, last, at_once = 3, 190, 7
    pairs = derive_pairs.read(derive_pairs.kept(book, MADE_WITH), book, first, last, at_once, STRIKES)
    apart, doubtful, low, kinds = 0, 0, int(book.account_ptr[first]), set()
    for a in range(first, last):
        span, begins = divmod(a - first, at_once)
        if begins == 0:
            assert pairs.apart_from[span] == apart
            within = range(
                book.group_ptr[book.account_ptr[a]], book.group_ptr[book.account_ptr[min(a + at_once, last)]]
            )
            assert pairs.others[span] == sum(int(STRIKE[book.instrument_idx[p]]) < 0 for p in within)
        for g in range(book.account_ptr[a], book.account_ptr[a + 1]):
            held, net = [], dict.fromkeys(range(STRIKES), 0.0)
            for p in range(book.group_ptr[g], book.group_ptr[g + 1]):
                n, q = int(book.instrument_idx[p]), float(book.quantity[p])
                clear = np.isfinite(q) and not ASSET[n] and abs(q / 0.1 - round(q / 0.1)) < 1e-7
                held.append((n, round(q / 0.1) if clear else q if ASSET[n] else 0.0))
                doubtful += not clear and not ASSET[n]
                if STRIKE[n] >= 0:
                    net[int(STRIKE[n])] += 2.0 * q
            assert pairs.naked[g - low] == sum(-amount for _, amount in sorted(net.items()) if amount < 0.0)
            row, steps = pairs.row[g - low].tolist(), pairs.steps[g - low].tolist()
            paired = len(held) <= 2 and all(not ASSET[n] and abs(steps) <= 2**24 for n, steps in held)
            kinds.add((paired, len(held)))
            assert row == [*(n for n, _ in held[:2]), 0, 0][:2]
            if paired:
                assert steps == [*(steps for _, steps in held), 0.0, 0.0][:2]
                continue
            assert np.isnan(steps[0]) and steps[1] == len(held)
            here = slice(apart, apart + len(held))
            assert np.array_equal(pairs.apart_row[here], [n for n, _ in held])
            assert np.array_equal(pairs.apart_held[here], [float(steps) for _, steps in held], equal_nan=True)
            apart += len(held)
    assert pairs.apart_from[-1] == apart and pairs.doubtful == doubtful > 0
    assert {(True, 1), (True, 2), (False, 1), (False, 2), (False, 3)} <= kinds
    assert not pairs.row[int(book.account_ptr[last]) - low :].any() and not pairs.apart_row[apart:].any()


def test_it_is_read_once_and_never_of_other_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same positions under another tick, and of other steps, strikes and units, in parts by several threads."""
    reads: list[tuple[int, ...]] = []
    usual = derive_pairs._reader()
    monkeypatch.setattr(derive_pairs, "_reader", lambda: lambda *of: reads.append(of[:2]) or usual(*of))
    monkeypatch.setattr(kernels, "BLOCK_POSITIONS", 40)
    random = np.random.default_rng(5)
    positions, group_key = book_of(random, 90, 14)
    positions = positions._replace(kept={})
    ticks = [(*contracts_of(random, 33, 10**6), scan_of(random, 33)) for _ in range(2)]

    def read_by(table: Any, held: Any, scan: Any) -> int:
        reads.clear()
        assert_same((positions, group_key), derive_numba.prepared(table, scan, held), threads=2)
        assert len(reads) == len(set(reads))
        return len(reads)

    blocks = len(kernels._blocks(positions))
    assert blocks > 5 and [read_by(table, held, scan) for table, held, scan in ticks] == [blocks, 0]
    table, held, scan = ticks[0]
    finer = table._replace(unit=np.where(ASSET, 1.0, 0.05))
    for given in (finer, held), (table, held._replace(strike=np.where(STRIKE < 0, -1, 3 - STRIKE))):
        assert read_by(*given, scan) == blocks
    assert read_by(table, held._replace(units=0.5 * held.units), scan) == blocks
    assert read_by(table, held, scan) == blocks and read_by(*ticks[1]) == 0


def test_without_a_place_to_keep_it_is_read_each_time() -> None:
    book = book_of(np.random.default_rng(6), 5, 14)[0]
    assert book.kept is None
    assert derive_pairs.kept(book, MADE_WITH) is not derive_pairs.kept(book, MADE_WITH)


def test_steps_that_singles_do_not_hold() -> None:
    """Of accounts with very many: the same bits, where the sums are exact."""
    random = np.random.default_rng(7)
    table, held = contracts_of(random, 20, 10**3)
    book, group_key = book_of(random, 60, 14)
    large = book.quantity * np.where(ASSET[book.instrument_idx], 1.0, 123_457.0)
    large.setflags(write=False)
    assert np.abs(large).max() > 2.0**24 * 0.1
    assert_same((book._replace(quantity=large), group_key), derive_numba.prepared(table, scan_of(random, 20), held))


def test_books_keep_to_themselves_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a book of other quantities nor a copy has it, and each is margined as by the arrays of all expiries."""
    monkeypatch.setattr(derive_screen, "pays", lambda *given: True)
    book, _ = covered(MODEL, random_book(INSTRUMENTS, accounts=40), ARRAYS)
    assert MODEL._at_once(book, ARRAYS, 1) is not None
    assert derive_pairs.KEPT in book.kept
    twice, copied = book.holding(2.0 * book.quantity), pickle.loads(pickle.dumps(book))
    assert not twice.kept and not copied.kept
    later = revalue(INSTRUMENTS, replace(MARKET, spot=1.01 * MARKET.spot), MODEL.scenario_set(MARKET))
    for own in (copied, twice, book):
        assert_same_bits(MODEL, own)
        assert_same_bits(MODEL, own, threads=2, arrays=later)


def test_tables_of_very_many_rows_are_not_screened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their numbers have no room in sixteen bits."""
    random = np.random.default_rng(8)
    table, held = contracts_of(random, 12, 10**6)
    scan = scan_of(random, 12)
    for most, screened in ((len(table.rows), True), (len(table.rows) - 1, False)):
        monkeypatch.setattr(derive_pairs, "MOST_ROWS", most)
        assert (derive_screen.prepared(table, scan, held) is not None) == screened
    assert np.iinfo(np.uint16).max == 2**16 - 1
