"""The paths that ship are what the market data make of themselves, run again."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin.io.price_history import joint_returns, read_price_history
from portfolio_margin.io.stress_derived import chain_path, path_text, price_path
from portfolio_margin.io.stress_path import shipped_path
from portfolio_margin.stress.moves import RECENT, fitted
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.rules import DAILY_VOL, VOL_BETA
from tests.vectors import data_file

pytestmark = pytest.mark.data
HOUR_MS = 3_600_000
BTC = "prices/btcusdt_1h_binance_spot_20170817_20260726.csv.gz"
ETH = "prices/ethusdt_1h_binance_perp_20200301_20260331.csv.gz"
DVOL = "prices/dvol_btc_1d_deribit_20230101_20260622.csv.gz"
CRASH = "deribit_chain/crash_20260131_20260208.parquet"


def moments(first: str, last: str, hours: int) -> np.ndarray:
    begin, end = (int(np.datetime64(text, "ms").astype(np.int64)) for text in (first, last))
    return np.arange(begin, end + 1, hours * HOUR_MS)


def check_same(made: StressPath, name: str) -> float:
    ours = shipped_path(name)
    assert path_text(made).splitlines()[0] == path_text(ours).splitlines()[0]
    gaps = [np.abs(getattr(made, field) - getattr(ours, field)).max() for field in ("hours", "price", "vol")]
    # Factors have four digits.
    assert max(gaps) <= 1.01e-4
    return float(max(gaps[1:]))


def test_march_2020_and_october_2025(report_vectors: object) -> None:
    bars = {"BTC": data_file(BTC), "ETH": data_file(ETH)}
    first = price_path(bars, "march_2020", moments("2020-03-11T12:00", "2020-03-14T08:00", 2))
    hourly = moments("2025-10-10T12:00", "2025-10-11T21:00", 1)
    low = int(np.datetime64("2025-10-10T22:00", "ms").astype(np.int64))
    index = read_price_history(data_file(DVOL), price="dvol_close")
    second = price_path(bars, "october_2025", hourly, lowest=low, index=index)
    gap = max(check_same(first, "march_2020"), check_same(second, "october_2025"))
    report_vectors(first.price.size + first.vol.size + second.price.size + second.vol.size, gap)  # type: ignore[operator]


def test_the_crash_of_2026(report_vectors: object) -> None:
    """Every sixth of the 35 snapshots and the last, each with its own fit."""
    file, ours = data_file(CRASH), shipped_path("crash_2026")
    rows = [*range(0, 35, 6), 34]
    made = chain_path(file, "crash_2026", rows=rows)
    gaps = [np.abs(getattr(made, field) - getattr(ours, field)[rows]).max() for field in ("hours", "price", "vol")]
    report_vectors(made.price.size + made.vol.size, max(gaps[1:]))  # type: ignore[operator]
    assert max(gaps) <= 1.01e-4


def test_parameters_that_come_from_data() -> None:
    files = {
        "BTC": (BTC, "open_time_utc", "close"),
        "ETH": (ETH, "open_time_utc", "close"),
        "vol": (DVOL, "date", "dvol_close"),
    }
    histories = {
        name: read_price_history(data_file(file), time=time, price=price) for name, (file, time, price) in files.items()
    }
    found = joint_returns(histories, "2023-01-01", "2026-03-31").returns
    returns = np.column_stack([found[name] for name in files])
    again = fitted(returns, np.array(["BTC", "ETH"]))
    assert again.df == RECENT.df and np.allclose(again.scale, RECENT.scale, atol=6e-8)
    for row, name in enumerate(("BTC", "ETH")):
        assert np.std(returns[:, row]) == pytest.approx(DAILY_VOL[name], abs=5e-4)
    worst = returns[:, 0] < -0.06
    assert worst.sum() == 15 and -returns[worst, 2].sum() / returns[worst, 0].sum() == pytest.approx(VOL_BETA, abs=0.05)
