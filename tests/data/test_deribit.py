"""The real market: every moment of a crash loaded, fitted, revalued and margined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.io.chain import vol_quotes, with_surface
from portfolio_margin.io.deribit import read_chain, snapshot_times
from portfolio_margin.models import worst_case
from portfolio_margin.sample.accounts import book_of, holdings
from pricing import Instruments, Market
from pricing.fit import expiries_of, fit
from scenarios import revalue
from scenarios.families import grid
from tests.vectors import data_file

CRASH = "deribit_chain/crash_20260131_20260208.parquet"
pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def crash_times() -> list[int]:
    return [int(time) for time in snapshot_times(data_file(CRASH))]


def exchange_at(moment: int) -> tuple[int, Instruments, Market, Book]:
    """Rows left out, instruments, market with the fitted surface, and the sample's accounts, at one moment."""
    snapshot = read_chain(data_file(CRASH), snapshot=moment, on_bad_row="exclude")
    surface = fit(vol_quotes(snapshot), expiries_of(snapshot.market))
    fitted = with_surface(snapshot, surface.svi)
    book = book_of(fitted.instruments, *holdings(fitted.instruments, fitted.market))
    return len(snapshot.excluded), fitted.instruments, fitted.market, book


def test_every_backend_on_a_real_chain(crash_times: list[int], report_vectors: Any) -> None:
    """Arrays to one tick, and from one array file the same bits of every margin, whoever computes it."""
    _, instruments, market, book = exchange_at(crash_times[len(crash_times) // 2])
    moves = grid.scenarios(grid.Params(), market)
    record, *others = (revalue(instruments, market, moves, backend=backend) for backend in ("numba", "numpy", "jax"))
    contract = ~record.is_collateral
    gaps = [np.abs(other.rows - record.rows)[contract].max() for other in others]
    report_vectors(record.rows[contract].size, max(gaps), "ticks")
    assert max(gaps) <= 1
    expected = worst_case.Model().requirement(book, record)
    owner = np.repeat(book.account_id, np.diff(book.position_ptr))
    order = np.random.default_rng(2).permutation(len(owner))
    again = Book.from_arrays(
        owner[order], book.instrument_idx[order], book.quantity[order], instruments.expiry_idx, book.account_id
    )
    for backend in ("numpy", "numba", "jax"):
        for threads in (1, 2):
            ours = worst_case.Model().requirement(again, record, backend=backend, threads=threads)
            assert ours.initial.tobytes() == expected.initial.tobytes()
            assert np.array_equal(ours.worst_scenario, expected.worst_scenario)


def test_every_moment_of_the_crash(crash_times: list[int], report_vectors: Any) -> None:
    """The whole chain loads, fits, revalues and margins the sample's accounts, 35 times."""
    assert len(crash_times) == 35
    totals, excluded = [], 0
    for moment in crash_times:
        left_out, instruments, market, book = exchange_at(moment)
        excluded += left_out
        arrays = revalue(instruments, market, grid.scenarios(grid.Params(), market))
        statement = margin(book, arrays, market, worst_case.Model())
        assert np.all(np.isfinite(statement.initial_margin))
        assert np.all(statement.initial_margin >= statement.maintenance_margin)
        totals.append(float(statement.initial_margin.sum()))
    span = f"initial margin {min(totals):.3g} to {max(totals):.3g}"
    report_vectors(len(totals), float(excluded), f"rows left out in all; {span}")


def test_a_refused_row_is_named(crash_times: list[int]) -> None:
    """A snapshot loads whole, or every row that is wrong is named with its field and value."""
    from pricing import DataError

    for moment in crash_times[::7]:
        try:
            assert len(read_chain(data_file(CRASH), snapshot=moment).quotes) > 1_000
        except DataError as error:
            assert all(problem.file and problem.field and problem.remedy for problem in error.problems)
