"""One small exchange for the tests of accounts: instruments, market, risk arrays, a random book, ways to make more."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from portfolio_margin import Book
from scenarios import revalue
from scenarios.families import grid
from scenarios.terms import Terms
from tests.examples import market_and_instruments, random_book

BACKENDS = ("numpy", "numba", "jax")
INSTRUMENTS, MARKET = market_and_instruments()
ROW = INSTRUMENTS.index_of()
GRID = grid.scenarios(grid.Params(), MARKET)
ARRAYS = revalue(INSTRUMENTS, MARKET, GRID)
BOOK = random_book(INSTRUMENTS, accounts=120)
CONTRACTS = [str(name) for name in INSTRUMENTS.instrument_id[~INSTRUMENTS.is_collateral]]
ASSETS = [str(name) for name in INSTRUMENTS.instrument_id[INSTRUMENTS.is_collateral]]

Held = dict[str, float]


def quantity(name: str, steps: int) -> float:
    return steps * float(INSTRUMENTS.quantity_step[ROW[name]])


# What an account may hold: whole steps of up to eight contracts, balances with cents and satoshis.
contracts_held = st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-300, 300), max_size=8)
balances_held = st.dictionaries(
    st.sampled_from(ASSETS), st.integers(-(10**9), 10**11).map(lambda n: n / 1e8), max_size=3
)


def in_steps(steps: dict[str, int], factor: int = 1) -> Held:
    return {name: quantity(name, factor * count) for name, count in steps.items()}


def book_of(accounts: dict[str, Held], grouped: bool = True) -> Book:
    rows = [(name, ROW[instrument], q) for name, held in accounts.items() for instrument, q in held.items()]
    names, instrument, quantities = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    groups = INSTRUMENTS.expiry_idx if grouped else None
    return Book.from_arrays(np.array(names, dtype=np.str_), instrument, quantities, groups, accounts=list(accounts))


def loose(book: Book) -> list[list[tuple[int, float]]]:
    """Positions of each account as plain pairs."""
    pairs = list(zip(book.instrument_idx.tolist(), book.quantity.tolist(), strict=True))
    return [pairs[first:last] for first, last in zip(book.position_ptr[:-1], book.position_ptr[1:], strict=True)]


def names_of(book: Book) -> np.ndarray:
    """(P,) account of each position."""
    return np.repeat(book.account_id, np.diff(book.position_ptr))


def shuffled(book: Book, random: np.random.Generator) -> Book:
    """The same accounts, made from positions in another order."""
    order = random.permutation(len(book.quantity))
    columns: tuple[Any, ...] = (names_of(book)[order], book.instrument_idx[order], book.quantity[order])
    return Book.from_arrays(*columns, INSTRUMENTS.expiry_idx, accounts=book.account_id)


def plain_terms(count: int) -> Terms:
    """Terms of linear calls on one underlying with one expiry, for arrays that are known by their gains alone."""
    ones, zeros = np.ones(count), np.zeros(count, np.int64)
    market = {"spot": np.ones(1), "forward": np.ones(1), "discount": np.ones(1), "fixed_share": np.zeros(1)}
    contracts = {"strike": ones, "sign": ones, "multiplier": ones, "vol": ones}
    codes = {"payoff": zeros, "exercise": zeros, "currency_idx": zeros}
    rows = {"expiry_underlying": np.zeros(1), "expiry_time": np.ones(1)}
    money = {"currency_id": np.array(["USD"]), "fx": np.ones(1), "currency_underlying": np.array([-1])}
    return Terms(**contracts, **codes, **market, **rows, **money)
