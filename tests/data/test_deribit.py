"""The real market: every moment of a crash loaded, fitted, revalued and margined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portfolio_margin import margin
from portfolio_margin.io.chain import vol_quotes, with_surface
from portfolio_margin.io.deribit import read_chain, snapshot_times
from portfolio_margin.models import worst_case
from portfolio_margin.sample.accounts import book_of, holdings
from pricing.fit import expiries_of, fit
from scenarios import revalue
from scenarios.families import grid
from tests.vectors import data_file

CRASH = "deribit_chain/crash_20260131_20260208.parquet"
pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def crash_times() -> list[int]:
    return [int(time) for time in snapshot_times(data_file(CRASH))]


def test_every_moment_of_the_crash(crash_times: list[int], report_vectors: Any) -> None:
    """The whole chain loads, fits, revalues and margins the sample's accounts, 35 times."""
    assert len(crash_times) == 35
    totals, excluded = [], 0
    for moment in crash_times:
        snapshot = read_chain(data_file(CRASH), snapshot=moment, on_bad_row="exclude")
        excluded += len(snapshot.excluded)
        surface = fit(vol_quotes(snapshot), expiries_of(snapshot.market))
        fitted = with_surface(snapshot, surface.svi)
        market, instruments = fitted.market, fitted.instruments
        positions, collateral = holdings(instruments, market)
        book = book_of(instruments, positions, collateral)
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
