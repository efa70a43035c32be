"""Sums by account, underlying and expiry: against plain integers, in blocks of any size, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin import Book, account_pnl
from portfolio_margin.blocks import LEVELS, blocks
from portfolio_margin.contributions import position_ticks
from pricing import ConfigError, DataError, NumericalError
from tests.naive import portfolio_margin as naive
from tests.portfolio_margin.books import ARRAYS, BACKENDS, BOOK, INSTRUMENTS, ROW, book_of, loose

ROWS = np.column_stack([ARRAYS.rows, ARRAYS.value_rows])
PART_OF = {"underlying": ARRAYS.underlying_idx, "expiry": ARRAYS.expiry_idx, "account": np.zeros(len(ARRAYS), int)}


def by_hand(level: str) -> dict[tuple[int, int], list[int]]:
    """Sums in ticks by (account, part)."""
    table = {
        "rows": ROWS,
        "unit": ARRAYS.unit,
        "contract": ~ARRAYS.is_collateral,
        "long_weight": np.ones(len(ARRAYS)),
    }
    parts: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for account, held in enumerate(loose(BOOK)):
        for row, quantity in held:
            key = -1 if level == "account" else int(PART_OF[level][row])
            parts.setdefault((account, key), []).append((row, quantity))
    return dict(zip(parts, naive.account_sums(list(parts.values()), table), strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", LEVELS)
def test_sums_by_part_are_those_of_plain_integers(level: str, backend: str) -> None:
    wanted = by_hand(level)
    for numbers in (1, 2_000, 10**9):
        found: dict[tuple[int, int], list[float]] = {}
        sizes, last = [], 0
        for block in blocks(BOOK, ARRAYS, ROWS, by=level, backend=backend, numbers=numbers):
            assert block.first == last
            last = block.last
            sizes.append(len(block))
            for account, key, sums in zip(block.account, block.key, block.ticks, strict=True):
                found[block.first + int(account), int(key)] = sums.tolist()
            assert np.array_equal(block.amounts, block.ticks * ARRAYS.tick_size)
        assert last == len(BOOK)
        assert found == wanted
        assert {1: max(sizes) == 1, 2_000: 1 < len(sizes) < len(BOOK), 10**9: len(sizes) == 1}[numbers]


def test_parts_of_an_account_add_up_to_it() -> None:
    whole = account_pnl(BOOK, ARRAYS)
    for level in LEVELS:
        for block in blocks(BOOK, ARRAYS, by=level, numbers=10_000):
            mine = whole[block.first : block.last]
            assert np.array_equal(block.by_account(block.ticks) * block.tick_size, mine)
    product = position_ticks(BOOK, ARRAYS)
    assert np.array_equal(np.add.reduceat(product, BOOK.position_ptr[:-1]) * ARRAYS.tick_size, whole)


def test_accounts_without_positions() -> None:
    book = book_of({"a": {}, "b": {"BTC-PERPETUAL": 1.0}, "c": {}})
    assert [len(b.account) for b in blocks(book, ARRAYS, by="account")] == [3]
    (block,) = blocks(book, ARRAYS, by="expiry")
    assert (block.account.tolist(), len(block)) == ([1], 3)
    assert block.by_account(np.ones(1)).tolist() == [0.0, 1.0, 0.0]
    assert list(blocks(book_of({}), ARRAYS)) == []


def test_haircuts_apply_to_long_collateral() -> None:
    book = book_of({"a": {"BTC": 2.0}, "b": {"BTC": -2.0}})
    haircut = np.where(ARRAYS.instrument_id == "BTC", 0.25, 0.0)
    (block,) = blocks(book, ARRAYS, ARRAYS.value_rows[:, None], haircut=haircut)
    assert block.amounts[:, 0] == pytest.approx([1.5 * 68_000.0, -2 * 68_000.0])


def test_what_cannot_be_summed_is_refused() -> None:
    loose_book = book_of({"a": {"BTC-PERPETUAL": 1.0}}, grouped=False)
    with pytest.raises(ConfigError, match="need a book with groups"):
        next(blocks(loose_book, ARRAYS, by="expiry"))
    with pytest.raises(ConfigError, match="by = 'strike'"):
        next(blocks(BOOK, ARRAYS, by="strike"))
    option = ROW["BTC-7D-68000-C"]
    for backend in BACKENDS:
        for quantity, error, text in ((0.15, DataError, "second"), (1e15, NumericalError, "second")):
            accounts = {"first": {"BTC-PERPETUAL": 1.0, "ETH-PERPETUAL": 1.0}, "second": {"BTC-7D-68000-C": quantity}}
            with pytest.raises(error, match=text):
                list(blocks(book_of(accounts), ARRAYS, by="expiry", backend=backend, numbers=1))
    assert INSTRUMENTS.quantity_step[option] == 0.1


def test_a_book_keeps_what_it_is_told_to() -> None:
    wanted = np.random.default_rng(3).random(len(BOOK.quantity)) < 0.4
    left = BOOK.keep(wanted)
    names = np.repeat(BOOK.account_id, np.diff(BOOK.position_ptr))
    again = Book.from_arrays(
        names[wanted], BOOK.instrument_idx[wanted], BOOK.quantity[wanted], INSTRUMENTS.expiry_idx, BOOK.account_id
    )
    for name in Book.__dataclass_fields__:
        assert np.array_equal(getattr(left, name), getattr(again, name))
    assert len(BOOK.keep(np.zeros(len(wanted), bool)).quantity) == 0
