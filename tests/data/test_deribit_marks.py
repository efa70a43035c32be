"""Deribit's own marks and Greeks, recomputed row by row from the forward, mark vol and times of the row.

Marks of the collected snapshots are printed to 1e-4 coin or less and forward, vol and mark of a row stand seconds to
minutes apart, so what is asked of them is the error their README states. The ticker dump is of one call a row: what
its printed mark vol and its own decimals leave open is all that may remain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pricing import greeks, price
from tests.vectors import data_file

pytestmark = pytest.mark.data

YEAR_SECONDS = 365 * 86_400
# Errors in coin: of the median row, and of the 99 % row of snapshots in the calmest quarter.
SNAPSHOTS = {
    "deribit_chain/crash_20260131_20260208.parquet": (1e-5, 3e-4),
    "deribit_chain/daily_20251230_20260415.parquet": (5e-6, 1.5e-4),
}
TICKERS = "deribit_chain/btc_option_tickers_20260121.csv.gz"
VOL_ROUNDING = 0.5e-4  # mark vols are printed to a hundredth of a point
# Half a unit of the last printed decimal, and what is left of it where forward and clock are rounded as well.
GREEK_ROUNDING = {"delta": 1e-5, "gamma": 0.5e-5, "vega": 2e-3, "rho": 2e-3}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_marks_of_snapshots(name: str, report_vectors: Any) -> None:
    median, nearly_all = SNAPSHOTS[name]
    table = pd.read_parquet(data_file(name))
    tau = (table.expiry_utc - table.snapshot_utc).dt.total_seconds().to_numpy() / YEAR_SECONDS
    known = ((table.mark_iv > 0) & table.underlying.notna() & table.mark.notna()).to_numpy() & (tau > 0)
    assert known.mean() > 0.99
    sign = np.where(table.cp == "C", 1.0, -1.0)
    columns = (table.underlying, table.strike, tau, table.mark_iv.astype(float), sign)
    ours = price(*(np.asarray(column, float)[known] for column in columns), model="inverse")
    error = np.abs(ours - table.mark.to_numpy()[known])
    by_snapshot = pd.Series(error).groupby(table.snapshot_utc.to_numpy()[known])
    report_vectors(int(known.sum()), float(np.quantile(error, 0.99)), f"coin at 99 %, median {np.median(error):.1e}")
    assert np.median(error) < median
    assert by_snapshot.median().max() < 6e-5
    assert by_snapshot.quantile(0.99).quantile(0.25) < nearly_all
    # A year of 365.25 days is clearly worse: the day count is tested, not only the formula.
    other = price(
        *(np.asarray(c, float)[known] for c in (*columns[:2], tau * 365 / 365.25, *columns[3:])), model="inverse"
    )
    assert np.median(np.abs(other - table.mark.to_numpy()[known])) > np.median(error)


@pytest.fixture(scope="module")
def tickers() -> pd.DataFrame:
    table = pd.read_csv(data_file(TICKERS))
    return table[(table.mark_iv > 0) & (table.mark_price > 0)].reset_index(drop=True)


def recomputed(table: pd.DataFrame, vol_error: float = 0.0) -> dict[str, np.ndarray]:
    tau = (table.expiration_timestamp - table.timestamp).to_numpy() / (1000.0 * YEAR_SECONDS)
    sign = np.where(table.option_type == "call", 1.0, -1.0)
    terms = (table.underlying_price, table.strike, tau, table.mark_iv / 100 + vol_error, sign)
    named = greeks(*(np.asarray(term, float) for term in terms), units="trader")
    return {**named, "coin": named["price"] / table.underlying_price.to_numpy()}


def outside(table: pd.DataFrame, name: str, published: str) -> np.ndarray:
    """How far the published number lies outside what the rounding of the mark vol leaves open."""
    answers = np.stack([recomputed(table, error)[name] for error in (-VOL_ROUNDING, 0.0, VOL_ROUNDING)])
    theirs = table[published].to_numpy()
    return np.maximum(np.maximum(answers.min(axis=0) - theirs, theirs - answers.max(axis=0)), 0.0)


def test_marks_of_tickers(tickers: pd.DataFrame, report_vectors: Any) -> None:
    error = np.abs(recomputed(tickers)["coin"] - tickers.mark_price.to_numpy())
    report_vectors(len(error), float(np.quantile(error, 0.99)), "coin at 99 %")
    assert np.median(error) < 3e-5
    assert np.quantile(error, 0.99) < 2e-4
    assert error.max() < 3e-4


@pytest.mark.parametrize("name", GREEK_ROUNDING)
def test_greeks_to_the_printed_digits(name: str, tickers: pd.DataFrame, report_vectors: Any) -> None:
    error = outside(tickers, name, f"greeks_{name}")
    report_vectors(len(error), float(error.max()), f"of {name}, beyond the rounding of the mark vol")
    assert len(error) > 600
    assert error.max() < GREEK_ROUNDING[name]


def test_theta_is_capped_by_the_value_and_the_life_left(tickers: pd.DataFrame, report_vectors: Any) -> None:
    """One day's theta, no more than the option is worth; the venue caps by a value of a moment nearby."""
    ours, theirs = recomputed(tickers), tickers.greeks_theta.to_numpy()
    error = outside(tickers, "theta", "greeks_theta")
    capped = ours["theta"] <= -ours["price"] * (1 - 1e-12)
    report_vectors(
        len(error), float(error[~capped].max()), f"of theta, beyond rounding; {capped.sum()} capped by value"
    )
    assert error[~capped].max() < 0.05
    assert capped.sum() > 5
    assert (error / np.abs(theirs))[capped].max() < 5e-3
    # Without the cap a day costs more than these options are worth.
    raw = greeks(*terms_of(tickers[capped]))["theta"] / 365
    assert np.all(raw < -ours["price"][capped])


def terms_of(table: pd.DataFrame) -> tuple[np.ndarray, ...]:
    tau = (table.expiration_timestamp - table.timestamp).to_numpy() / (1000.0 * YEAR_SECONDS)
    sign = np.where(table.option_type == "call", 1.0, -1.0)
    columns = (table.underlying_price, table.strike, tau, table.mark_iv / 100, sign)
    return tuple(np.asarray(column, float) for column in columns)
