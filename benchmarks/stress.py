"""Whole-market stress: a crash over many accounts with the liquidation in the loop, beside their margin alone."""

from __future__ import annotations

import numpy as np

from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from benchmarks.what_if import book_of
from portfolio_margin import Book, load_sample, margin
from portfolio_margin.io.stress_path import shipped_path
from portfolio_margin.models import worst_case
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.run import Venue
from portfolio_margin.stress.run import run as stress
from scenarios import RiskArrays, revalue
from scenarios.families import grid

COVER_MEAN, COVER_DEVIATION = 1.6, 0.35
CRASH = "crash_2026"


def covered_book(arrays: RiskArrays, accounts: int, positions: int) -> Book:
    """Random accounts with cash such that the margin balance is a lognormal multiple of the initial margin."""
    book, model = book_of(arrays, accounts, positions), worst_case.Model()
    statement = margin(book, arrays, None, model)
    cash = np.flatnonzero(arrays.instrument_id == arrays.currency)[0]
    cover = COVER_MEAN * np.exp(np.random.default_rng(7).normal(0.0, COVER_DEVIATION, accounts))
    missing = np.round(cover * statement.initial_margin - statement.margin_balance, 2)
    owner = np.repeat(book.account_id, np.diff(book.position_ptr))
    return Book.from_arrays(
        np.append(owner, book.account_id),
        np.append(book.instrument_idx, np.full(accounts, cash)),
        np.append(book.quantity, missing),
        group_of_instrument=arrays.expiry_idx,
    )


def run(accounts: int, positions: int, rounds: int) -> None:
    """Time the crash of the path that ships with 35 steps, and as many margins of all accounts."""
    sample, model = load_sample(), worst_case.Model()
    arrays = revalue(sample.instruments, sample.market, grid.scenarios(grid.Params(), sample.market))
    book, path = covered_book(arrays, accounts, positions), shipped_path(CRASH)
    venue = Venue(book, sample.instruments, sample.market, model, lambda market: grid.scenarios(grid.Params(), market))
    contestants = {
        f"stress of {len(path)} steps": lambda: stress(venue, path, Rules(fund=1e9)),
        f"margin of all accounts, {len(path)} times": lambda: [margin(book, arrays, None, model) for _ in path.hours],
    }
    title = f"stress: {accounts:,} accounts x {positions} positions"
    report(title, best_seconds(contestants, rounds), f"stress of {len(path)} steps")


if __name__ == "__main__":
    command_line(run, __doc__, accounts=100_000, positions=20, rounds=1)
