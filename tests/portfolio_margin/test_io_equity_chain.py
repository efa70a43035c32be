"""Equity option chains: both layouts of real files, forwards from parity, and every bad row named."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.deribit import read_chain
from portfolio_margin.io.equity_chain import read_equity_chain
from pricing.errors import ConfigError, DataError
from pricing.fit import fit
from pricing.price import price
from tests.vectors import data_file

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


def made_up(forward: float = 102.0, rate: float = 0.04) -> pd.DataFrame:
    """Calls and puts of one expiry a fortnight ahead, vol 20 %, a cent to either side."""
    tau = (datetime(2026, 3, 16, 20, 0, tzinfo=UTC) - NOW).total_seconds() / (365 * 86_400)
    strike, sign = np.tile(np.arange(90.0, 116.0, 2.0), 2), np.repeat([1.0, -1.0], 13)
    value = np.asarray(price(forward, strike, tau, 0.2, sign, np.exp(-rate * tau)))
    columns = {
        "strike": strike,
        "cp": np.where(sign > 0, "C", "P"),
        "bid": np.maximum(value - 0.005, 0.0),
        "ask": value + 0.005,
    }
    return pd.DataFrame({"expiry": "2026-03-16", **columns})


def test_forward_and_vols_come_back() -> None:
    read = read_equity_chain(made_up(), valuation_time=NOW, rate=0.04)
    assert read.forwards.forward[0] == pytest.approx(102.0, abs=1e-6)
    near = np.abs(read.quotes.log_moneyness) < 0.05
    middle = 0.5 * (read.quotes.bid_vol + read.quotes.ask_vol)
    assert np.allclose(middle[near], 0.2, atol=1e-3)
    assert read.expiries.tau[0] == pytest.approx((14 + 5 / 24) / 365, rel=1e-12)  # summer time began on 8 March


def test_a_given_forward_is_taken() -> None:
    frame = made_up().assign(forward=102.5)
    assert read_equity_chain(frame, valuation_time=NOW).forwards.forward[0] == 102.5


def test_every_bad_row_is_named() -> None:
    frame = made_up().astype({"strike": object, "bid": object})
    frame.loc[1, "strike"], frame.loc[2, "bid"], frame.loc[3, "cp"], frame.loc[4, "expiry"] = "x", -1.0, "call", "soon"
    with pytest.raises(DataError) as caught:
        read_equity_chain(frame, valuation_time=NOW)
    named = {(problem.row, problem.field) for problem in caught.value.problems}
    assert named == {(2, "strike"), (3, "bid"), (4, "cp"), (5, "expiry")}
    with pytest.raises(DataError, match="zone"):
        read_equity_chain(made_up(), valuation_time=NOW.replace(tzinfo=None))
    for rate in (4.2, -1.0, np.nan):
        with pytest.raises(ConfigError, match=rf"rate = {rate}: must be a decimal per year"):
            read_equity_chain(made_up(), valuation_time=NOW, rate=rate)
    with pytest.raises(DataError, match="no expiry ahead"):
        read_equity_chain(made_up().query("cp == 'C'"), valuation_time=NOW)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "moment", "expiries"),
    [
        ("spy_chain_cboe_20250925.csv.gz", datetime(2025, 9, 25, 20, 0, tzinfo=UTC), 11),
        ("spy_otm_surface_20260821.csv.gz", datetime(2026, 8, 21, 17, 36, tzinfo=UTC), 12),
    ],
)
def test_real_chains(name: str, moment: datetime, expiries: int) -> None:
    read = read_equity_chain(data_file(f"equity_chain/{name}"), valuation_time=moment, rate=0.042)
    assert len(read.expiries) == expiries
    assert np.all(np.diff(read.expiries.tau) > 0)
    assert np.all(np.abs(np.diff(np.log(read.forwards.forward))) < 0.02)
    done = fit(read.quotes, read.expiries).diagnostics
    assert np.all(done.rmse_vega < 0.7)


def test_the_reader_of_other_chains_names_this_one() -> None:
    with pytest.raises(DataError, match=r"a chain of a listed stock: read_equity_chain of .*equity_chain reads it"):
        read_chain(made_up())
