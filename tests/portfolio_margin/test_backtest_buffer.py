"""What docs/backtest.md says of the buffer on real hours of BTC: no more procyclical than a range that never moves."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin.backtest.sets import Calibration, Fixed
from portfolio_margin.io.backtest_history import read_history
from pricing.arrays import FloatArray
from scenarios.backtest import procyclicality, walk
from scenarios.backtest.history import History
from scenarios.backtest.parameters import Path
from scenarios.calibrate.settings import Settings
from tests.vectors import data_file

BUFFERED = Calibration(Settings(buffer=0.25))


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
    plain = measures(given, Calibration().rule(500, 1)(daily))
    assert plain[2] == pytest.approx(0.4055, rel=1e-3)
