"""The real market: marks and Greeks of the venue recomputed, and every moment of a crash margined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin import margin
from portfolio_margin.io.chain import vol_quotes, with_surface
from portfolio_margin.io.deribit import read_chain, snapshot_times
from portfolio_margin.models import worst_case
from portfolio_margin.sample.accounts import book_of, holdings
from pricing import greeks, price
from pricing.fit import expiries_of, fit
from scenarios import revalue
from scenarios.families import grid
from tests.vectors import data_file

CRASH = "deribit_chain/crash_20260131_20260208.parquet"
YEAR_SECONDS = 365 * 86_400
pytestmark = pytest.mark.data


def test_marks_of_the_crash(report_vectors: Any) -> None:
    """Coin price from the row's own forward and mark vol. Rows of a snapshot are minutes apart (README)."""
    table = pd.read_parquet(data_file(CRASH))
    tau = (table.expiry_utc - table.snapshot_utc).dt.total_seconds().to_numpy() / YEAR_SECONDS
    known = (table.mark_iv > 0).to_numpy() & table.underlying.notna().to_numpy() & (tau > 0)
    sign = np.where(table.cp == "C", 1.0, -1.0)
    columns = (table.underlying, table.strike, tau, table.mark_iv.astype(float), sign)
    ours = price(*(np.asarray(column, float)[known] for column in columns), model="inverse")
    error = np.abs(ours - table.mark.to_numpy()[known])
    report_vectors(int(known.sum()), float(np.median(error)), "coin, median")
    assert np.median(error) < 3e-5


def test_greeks_of_the_tickers(report_vectors: Any) -> None:
    table = pd.read_csv(data_file("deribit_chain/btc_option_tickers_20260121.csv.gz"))
    table = table[(table.mark_iv > 0) & (table.mark_price > 0)]
    tau = (table.expiration_timestamp - table.timestamp).to_numpy() / (1000.0 * YEAR_SECONDS)
    sign = np.where(table.option_type == "call", 1.0, -1.0)
    terms = (table.underlying_price, table.strike, tau, table.mark_iv / 100, sign)
    ours = greeks(*(np.asarray(term, float) for term in terms), units="trader")
    coin = np.abs(ours["price"] / table.underlying_price - table.mark_price)
    assert np.median(coin) < 3e-5
    errors = {}
    for name, share in (("delta", 4e-5), ("gamma", 1.5e-5), ("vega", 0.05), ("rho", 0.05), ("theta", 1.0)):
        error = np.abs(ours[name] - table[f"greeks_{name}"].to_numpy())
        errors[name] = float(np.quantile(error, 0.99))
        assert errors[name] < share, (name, errors[name])
    report_vectors(5 * len(table), errors["delta"], f"of delta at the 99th percentile; all: {errors}")


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
