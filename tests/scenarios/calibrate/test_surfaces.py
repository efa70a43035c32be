"""Surfaces through time: constant tenors, components, basis; known surfaces and the real chains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.surface_history import read_surface_history, surfaces_told
from pricing import ConfigError, DataError
from scenarios.calibrate.levels import Side
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.surfaces import (
    MONEYNESS,
    TENORS,
    basis_shock,
    components,
    constant_tenors,
    slice_vols,
)
from scenarios.calibrate.vol_shocks import fit_tenors
from tests.vectors import data_file

CHAINS = "deribit_chain/daily_20251230_20260415.parquet"


def test_vols_of_a_slice() -> None:
    k = np.linspace(-0.6, 0.6, 25)
    vol = 0.5 - 0.2 * k
    found = slice_vols(k, vol, 0.25, MONEYNESS)
    assert found == pytest.approx(0.5 - 0.2 * np.array(MONEYNESS) * 0.5 * 0.5)
    assert np.isnan(slice_vols(k, vol, 4.0, MONEYNESS)[[0, -1]]).all()
    assert np.isnan(slice_vols(k[13:], vol[13:], 0.25, MONEYNESS)).all()


def test_total_variance_between_expiries() -> None:
    tau = np.array([10.0, 40.0, 100.0]) / 365.0
    variance = 0.36 * tau
    found = constant_tenors(tau, variance, (5.0, 10.0, 30.0, 70.0, 100.0, 101.0))
    assert np.isnan(found[[0, 5]]).all()
    assert found[1:5] == pytest.approx(0.36 * np.array([10.0, 30.0, 70.0, 100.0]) / 365.0)
    holed = np.column_stack([variance, np.where(tau > 0.1, np.nan, variance)])
    assert np.isnan(constant_tenors(tau, holed, (30.0, 10.0))[:, 1]).tolist() == [True, False]


def test_components_are_found() -> None:
    random = np.random.default_rng(5)
    level, slope = np.ones(7) / np.sqrt(7.0), np.linspace(-1.0, 1.0, 7)
    slope /= np.linalg.norm(slope)
    scores = random.normal(size=(3000, 2)) * (0.10, 0.03)
    changes = scores @ np.vstack([level, slope]) + 1e-4 * random.normal(size=(3000, 7))
    changes[::100, 2] = np.nan
    found = components(changes, Settings(horizon_days=1), 2)
    assert found.rows == 2970
    assert found.share == pytest.approx(np.array([0.1**2, 0.03**2]) / (0.1**2 + 0.03**2), rel=0.1)
    assert abs(found.loading[0] @ level) == pytest.approx(1.0, abs=1e-3)
    assert abs(found.loading[1] @ slope) == pytest.approx(1.0, abs=1e-3)
    assert found.shock == pytest.approx(2.576 * np.array([0.1, 0.03]), rel=0.12)
    with pytest.raises(ConfigError, match="needs 20"):
        components(changes[:15], Settings())


def test_basis_follows_the_rate() -> None:
    random = np.random.default_rng(8)
    rate = 0.05 + np.cumsum(random.normal(0.0, 0.002, (800, 1)), axis=0) * np.ones((1, 7))
    found = basis_shock(TENORS, rate, Settings(draws=40))
    expected = 2.576 * 0.002 * np.sqrt(2.0)
    assert found.change == pytest.approx(np.full(7, expected), rel=0.15)
    assert found.basis == pytest.approx(found.change * np.array(TENORS) / 365.0)
    assert found.rate == pytest.approx(found.change[0]) and found.floor == pytest.approx(found.basis[3])
    assert found.band.low <= found.band.value <= found.band.high


def chains(days: int = 3) -> pd.DataFrame:
    """Flat vols that rise by a tenth a day, forwards of 5 % a year."""
    rows = []
    for n in range(days):
        now = pd.Timestamp("2026-01-01 09:30", tz="UTC") + pd.Timedelta(days=n)
        for expiry in (2, 10, 40, 100, 200):
            end = now.normalize() + pd.Timedelta(days=expiry, hours=8)
            tau = (end - now).total_seconds() / (365 * 86_400)
            forward = 100.0 * np.exp(0.05 * tau)
            for strike in np.linspace(30.0, 300.0, 271):
                for cp in "CP":
                    rows.append((now, "BTC", end, cp, strike, forward, 100.0, 0.5 * 1.1**n))
    names = ["snapshot_utc", "currency", "expiry_utc", "cp", "strike", "underlying", "index", "mark_iv"]
    return pd.DataFrame(rows, columns=names)


def test_chains_are_read() -> None:
    history = read_surface_history(chains(), "BTC")
    assert history.date.tolist() == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert history.at_the_money == pytest.approx(0.5 * 1.1 ** np.arange(3)[:, None] * np.ones(7), rel=1e-9)
    assert history.rate == pytest.approx(np.full((3, 7), 0.05), rel=1e-9)
    assert len(read_surface_history(chains(), "BTC", until="2026-01-02").date) == 2
    bad = chains()
    bad.loc[7, "strike"] = -1.0
    with pytest.raises(DataError, match="row 8"):
        read_surface_history(bad, "BTC")
    with pytest.raises(DataError, match="looks like percent"):
        read_surface_history(chains().assign(mark_iv=65.0), "BTC")
    with pytest.raises(DataError, match="no option of it"):
        read_surface_history(chains(), "SOL")


@pytest.mark.data
def test_real_chains() -> None:
    """Powers of real vols, near those of venues up to a month; level and term structure are nearly everything."""
    history = read_surface_history(data_file(CHAINS), "BTC")
    assert len(history.date) == 107 and history.gaps == ()
    assert surfaces_told("BTC", history) == "surfaces of BTC on 107 days, 2025-12-30 to 2026-04-15"
    table = pd.read_parquet(data_file(CHAINS))
    second = pd.to_datetime(table["snapshot_utc"], utc=True).dt.day_of_year % 2 == 0
    with pytest.raises(DataError, match="chains are 2 days apart on the median"):
        read_surface_history(table[second].reset_index(drop=True), "BTC")
    changes = np.diff(np.log(history.at_the_money), axis=0)
    up = fit_tenors(history.days, changes, Settings(draws=20), Side.UP)
    assert 0.25 < up.short_power.value < 0.5 and 0.3 < up.long_power.value < 0.8
    found = components(changes, Settings())
    assert found.share[0] > 0.85 and found.share[:2].sum() > 0.97
    assert np.all(found.loading[0] > 0.0)
    smile = components(np.diff(np.log(history.vol[:, 3]), axis=0), Settings())
    # The second is the skew: it turns once, at the money.
    assert np.count_nonzero(np.diff(np.sign(smile.loading[1]))) == 1
