"""What docs/backtest.md says of the buffer on real hours of BTC: no more procyclical than a range that never moves."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin.backtest.plan import Plan
from portfolio_margin.backtest.run import back_test
from portfolio_margin.backtest.sets import Calibration, Fixed
from portfolio_margin.io.backtest_history import read_history
from pricing.arrays import FloatArray
from scenarios.backtest import procyclicality, walk
from scenarios.backtest.books import standard_books
from scenarios.backtest.history import History
from scenarios.backtest.parameters import Path
from scenarios.calibrate.settings import Settings
from tests.vectors import data_file

BUFFERED = Calibration()


def measures(given: History, path: Path) -> FloatArray:
    """Peak over trough and rises over 1, 5 and 30 days of the margin of one future in money, from 2020 on."""
    first = int(np.searchsorted(given.time_ms, np.datetime64("2020-01-01", "ms").astype(np.int64)))
    rows = np.arange(first, len(given) - given.steps_per_day)
    reach = path.price_range[walk.day_of_rows(given.days(), len(given))[rows]]
    found = procyclicality.procyclicality(reach * given.price[rows], steps_per_day=given.steps_per_day)
    return np.array([found.peak_to_trough, *found.rises])


@pytest.mark.data
def test_futures_of_btc_are_no_more_procyclical_than_a_fixed_range() -> None:
    """In all four measures, whichever days fits fall on; without the buffer the 5 days are more."""
    file = data_file("prices/btcusdt_1h_binance_spot_20170817_20260726.csv.gz")
    given = read_history(str(file), None, price_columns=("open_time_utc", "close")).history
    daily = given.at(given.days(), 1)
    fixed = measures(given, Fixed(price_range=0.16).rule(500, 1)(daily))
    assert fixed == pytest.approx([30.51, 0.3274, 0.3423, 1.3051], rel=1e-3)
    for least in (500, 507, 514):
        assert np.all(measures(given, BUFFERED.rule(least, 1)(daily)) <= fixed * (1.0 + 1e-9))
    plain = measures(given, Calibration(Settings(buffer=0.0)).rule(500, 1)(daily))
    assert plain[2] == pytest.approx(0.4055, rel=1e-3)


@pytest.mark.data
def test_the_written_sets_cover_every_book_of_btc() -> None:
    """What docs/backtest.md says of 2020 to July 2026 and two days, on the closes of days: no book below 99 %."""
    files = [str(data_file(f"prices/{name}")) for name in (
        "btcusdt_1h_binance_spot_20170817_20260726.csv.gz", "dvol_btc_1d_deribit_20230101_20260622.csv.gz"
    )]  # fmt: skip
    prices, vols = ("open_time_utc", "close"), ("date", "dvol_close")
    given = read_history(*files, daily=True, price_columns=prices, vol_columns=vols).history
    start = int(np.datetime64("2020-01-01", "ms").astype(np.int64))
    found = back_test(Plan(given, standard_books(), 0.99, 2, 500, start), {"calibrated": Calibration()})
    table = found.table()
    assert len(table["book"]) == 200 and (table["coverage"] >= 0.99).all()
    assert not any(words.startswith("fails") for words in table["verdict"])
    summary = found.summary()
    assert summary["joint_coverage"][list(summary["books"]).index("linear")] >= 0.998
