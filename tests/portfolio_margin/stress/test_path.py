"""Paths: what they are refused for, what lies between their steps, files, and the market they make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.stress_derived import path_text
from portfolio_margin.io.stress_path import SOURCES, read_path, shipped_path
from portfolio_margin.stress.moved import expired, market_at, variation
from pricing import ConfigError, DataError
from pricing.surfaces import svi
from scenarios import revalue
from scenarios.shocks import make
from tests.examples import DAY_MS
from tests.portfolio_margin.books import INSTRUMENTS, MARKET, ROW
from tests.portfolio_margin.stress.venues import path_of

STILL = np.zeros(2)


def test_steps_in_between_are_straight_in_logarithms() -> None:
    path = path_of([1.0, 0.8, 1.1], [1.0, 2.0, 1.5])
    fine = path.refined(4.0)
    assert fine.hours.tolist() == [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0]
    assert np.allclose(fine.price[1], 0.8 ** (1 / 3)) and np.allclose(fine.vol[2], 2.0 ** (2 / 3))
    assert np.array_equal(fine.price[[0, 3, 6]], path.price)
    assert np.allclose(path.at(-1.0)[0], 1.0) and np.allclose(path.at(99.0)[0], path.price[-1])


def test_what_is_no_factor_is_named_by_step() -> None:
    path = path_of([1.0, 0.9, 0.8])
    price = path.price.copy()
    price[1, 1] = -0.5
    with pytest.raises(DataError, match=r"test, row 2, price of ETH = -0.5: must be a factor"):
        replace(path, price=price)
    with pytest.raises(DataError, match=r"row 3, hours = 5.0: must rise"):
        replace(path, hours=np.array([0.0, 6.0, 5.0]))
    with pytest.raises(DataError, match="needs the shape"):
        replace(path, vol=np.ones((3, 2, 2)))
    with pytest.raises(DataError, match="no price of it"):
        path.for_underlyings(["BTC", "SOL"])


@pytest.mark.parametrize("name", SOURCES)
def test_paths_that_ship(name: str) -> None:
    path = shipped_path(name)
    assert len(path) == 35 and path.underlying_id.tolist() == ["BTC", "ETH"]
    assert np.all(path.price[0] == 1.0) and np.all(path.vol[0] == 1.0)
    # Each is a crash, and vols of short options rise most.
    assert path.price.min() < 0.85 and np.all(np.diff(path.vol.max(axis=(0, 1))) <= 0)
    again = read_path(pd.DataFrame(dict(_columns(path_text(path)))), name, path.source)
    assert np.array_equal(again.price, path.price) and np.array_equal(again.vol, path.vol)


def _columns(text: str) -> list[tuple[str, np.ndarray]]:
    header, *rows = [line.split(",") for line in text.splitlines()]
    return [(name, np.array(column, dtype=float)) for name, column in zip(header, zip(*rows, strict=True), strict=True)]


def test_a_file_of_anybody(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("hours,price_BTC,vol_BTC,price_ETH,peg_USDC\n0,1,1,1,1\n6,0.9,1.5,0.8,0.97\n")
    path = read_path(file)
    assert path.name == "mine.csv" and path.tenor_days.tolist() == [30.0] and path.token.tolist() == ["USDC"]
    assert path.vol[:, :, 0].tolist() == [[1.0, 1.0], [1.5, 1.0]] and path.peg.tolist() == [[1.0], [0.97]]


@pytest.mark.parametrize(
    "text, message",
    [
        ("hours,price_BTC\n0,1\n6,x\n", r"mine.csv, row 3, price_BTC = 'x': must be a factor"),
        ("hours,price_BTC\n0,1\n6,-1\n", r"row 3, price_BTC = '-1': must be a factor"),
        ("hours,price_BTC\n6,1\n6,1\n", r"row 3, hours = '6': must be later than the row before"),
        ("hours,prise_BTC\n0,1\n", r"column = 'prise_BTC': must be hours, price_NAME"),
        ("price_BTC\n1\n", r"hours = '': the column is missing"),
        ("hours,vol_BTC\n0,1\n", r"needs a column price_NAME"),
        ("hours,price_BTC,vol_ETH\n0,1,1\n", r"vol_ETH': there is no price_ETH"),
        ("hours,price_BTC,price_ETH,vol_BTC_7d,vol_ETH_30d\n0,1,1,1,1\n", r"needs the days of the others: 7, 30"),
    ],
)
def test_a_bad_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_path(file)


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such path"):
        shipped_path("crash_2027")


def test_a_market_that_has_moved() -> None:
    """Prices by the factor, vols at the same moneyness in deviations by the factor, total variance by what is left."""
    path = path_of([1.0, 0.8], [1.0, 1.5], hours=48.0)
    market = market_at(MARKET, INSTRUMENTS, path, 48.0, STILL, 1.0)
    assert np.allclose(market.spot, 0.8 * MARKET.spot) and np.allclose(market.forward, 0.8 * MARKET.forward)
    assert market.valuation_time == MARKET.valuation_time + 2 * DAY_MS
    assert np.allclose(market.fx, [1.0, *market.spot])
    for x in np.flatnonzero(np.isfinite(MARKET.svi).all(axis=1)):
        before, after = ((MARKET.expiry_time[x] - m.valuation_time) / (365 * DAY_MS) for m in (MARKET, market))
        for deviations in (-2.0, 0.0, 1.0):
            at_money = svi.total_variance(np, 0.0, *MARKET.svi[x])
            old = svi.total_variance(np, deviations * np.sqrt(at_money), *MARKET.svi[x]) / before
            k = deviations * np.sqrt(svi.total_variance(np, 0.0, *market.svi[x]))
            new = svi.total_variance(np, k, *market.svi[x]) / after
            assert np.sqrt(new / old) == pytest.approx(1.5)


def test_a_wing_stops_at_the_bound() -> None:
    """The vol at the money is what the path says, also where the wings would be too steep."""
    wide = np.where(np.isnan(MARKET.svi), np.nan, MARKET.svi * [1.0, 0.5 / 0.06, 1.0, 1.0, 1.0])
    start = replace(MARKET, svi=wide, mark_vol=np.full(len(INSTRUMENTS), np.nan))
    market = market_at(start, INSTRUMENTS, path_of([1.0], [5.0]), 0.0, STILL, 0.0)
    assert np.nanmax(market.svi[:, 1] * (1 + np.abs(market.svi[:, 2]))) == pytest.approx(1.999)
    for x in np.flatnonzero(np.isfinite(wide).all(axis=1)):
        at_money = [svi.total_variance(np, 0.0, *m.svi[x]) for m in (start, market)]
        assert at_money[1] == pytest.approx(25.0 * at_money[0])


def test_a_push_moves_prices_and_raises_vols() -> None:
    path = path_of([1.0])
    market = market_at(MARKET, INSTRUMENTS, path, 0.0, np.array([-0.1, 0.0]), 2.0)
    assert np.allclose(market.spot / MARKET.spot, [np.exp(-0.1), 1.0])
    first = int(np.flatnonzero(np.isfinite(MARKET.svi).all(axis=1))[0])
    ratio = svi.total_variance(np, 0.0, *market.svi[first]) / svi.total_variance(np, 0.0, *MARKET.svi[first])
    assert ratio == pytest.approx(np.exp(2 * 0.2))


def test_marked_vols_move_with_their_slice() -> None:
    """Where the market marks every option at its slice, marking and slices give the same arrays."""
    moves = make(["none"], np.zeros((1, 1)))
    options = INSTRUMENTS.is_option
    marks = np.where(options, revalue(INSTRUMENTS, MARKET, moves, backend="numpy").terms.vol, np.nan)
    marked, path = replace(MARKET, mark_vol=marks), path_of([1.0, 0.9], [1.0, 1.4])
    both = [market_at(m, INSTRUMENTS, path, 12.0, STILL, 0.0) for m in (MARKET, marked)]
    values = [revalue(INSTRUMENTS, m, moves, backend="numpy").value for m in both]
    assert np.allclose(values[0], values[1], rtol=1e-9, atol=1e-6)


def test_variation_is_what_a_scenario_says() -> None:
    """Futures and perpetuals pay what risk arrays have for the same move, at the price after it."""
    path = path_of([1.0, 0.85])
    market = market_at(MARKET, INSTRUMENTS, path, 12.0, STILL, 0.0)
    paid = variation(INSTRUMENTS, MARKET, market) * market.fx[INSTRUMENTS.currency_idx]
    pnl = revalue(INSTRUMENTS, MARKET, make(["down"], np.array([[-0.15]])), backend="numpy").pnl[:, 0]
    linear = INSTRUMENTS.is_settled
    assert np.allclose(paid[linear], pnl[linear], rtol=1e-6, atol=1e-5) and not np.any(paid[~linear])


def test_expired_contracts_are_found_and_stay_priced() -> None:
    later = MARKET.valuation_time + 8 * DAY_MS
    gone = expired(INSTRUMENTS, MARKET, later)
    names = INSTRUMENTS.instrument_id[gone].tolist()
    assert names and all("-7D-" in name for name in names)
    market = market_at(MARKET, INSTRUMENTS, path_of([1.0, 0.9], hours=192.0), 192.0, STILL, 0.0)
    arrays = revalue(INSTRUMENTS, market, make(["none"], np.zeros((1, 1))), backend="numpy")
    row = ROW["BTC-7D-68000-P"]
    intrinsic = max(68_000.0 - market.forward[INSTRUMENTS.expiry_idx[row]], 0.0)
    at_expiry = intrinsic / market.forward[INSTRUMENTS.expiry_idx[row]] * market.spot[0]
    assert arrays.value[row] == pytest.approx(at_expiry, rel=1e-4)


def test_a_token_loses_its_peg() -> None:
    more = {"currency_id": np.append(MARKET.currency_id, "USDC"), "fx": np.append(MARKET.fx, 1.0)}
    market = replace(MARKET, **more, currency_underlying=np.append(MARKET.currency_underlying, -1))
    path = replace(path_of([1.0, 1.0]), token=np.array(["USDC"]), peg=np.array([[1.0], [0.88]]))
    moved = market_at(market, INSTRUMENTS, path, 12.0, STILL, 0.0)
    assert moved.fx.tolist() == [*MARKET.fx.tolist(), 0.88]
    with pytest.raises(DataError, match="peg = 'USDC': must be a currency of the market"):
        market_at(MARKET, INSTRUMENTS, path, 12.0, STILL, 0.0)


def test_only_what_has_a_peg_loses_it() -> None:
    """A coin is its own spot; a token that follows one, declared as such, may lose it."""
    coin = int(np.flatnonzero(MARKET.currency_id == "BTC")[0])
    path = replace(path_of([1.0, 1.0]), token=np.array(["BTC"]), peg=np.array([[1.0], [0.5]]))
    with pytest.raises(DataError, match=r"peg = 'BTC': must be a dollar or a token.*coin of BTC itself.*use price_BTC"):
        market_at(MARKET, INSTRUMENTS, path, 12.0, STILL, 0.0)
    limit = np.where(np.arange(len(MARKET.fx)) == coin, 0.5, MARKET.fx_basis_limit)
    moved = market_at(replace(MARKET, fx_basis_limit=limit), INSTRUMENTS, path, 12.0, STILL, 0.0)
    assert moved.fx[coin] == pytest.approx(0.5 * MARKET.spot[0])


def test_what_is_late_is_the_market_of_before_by_the_clock_of_now() -> None:
    """Prices, slices, marks and pegs: all that has moved since is left out, and less time is left."""
    options = INSTRUMENTS.is_option
    marks = np.where(options, 0.6, np.nan)
    start = replace(MARKET, mark_vol=marks)
    path = path_of([1.0, 0.7, 0.6], [1.0, 2.0, 3.0], eth=1.3)
    late = market_at(start, INSTRUMENTS, path, 24.0, STILL, 1.0, delay_hours=24.0)
    still = market_at(start, INSTRUMENTS, path_of([1.0, 1.0, 1.0]), 24.0, STILL, 1.0)
    half = market_at(start, INSTRUMENTS, path, 24.0, STILL, 1.0, delay_hours=12.0)
    for name in ("valuation_time", "expiry_time", "spot", "forward", "svi", "mark_vol", "fx"):
        assert np.array_equal(getattr(late, name), getattr(still, name), equal_nan=name in ("svi", "mark_vol")), name
    assert half.spot == pytest.approx(MARKET.spot * [0.7, 0.7**1.3])
    known = np.isfinite(MARKET.svi).all(axis=1) & np.isfinite(half.svi).all(axis=1)
    variance = [svi.total_variance(np, 0.0, *m.svi[known].T) for m in (half, late)]
    assert variance[0] == pytest.approx(4.0 * variance[1])
    assert half.mark_vol[options & (INSTRUMENTS.expiry_idx >= 0)].max() > late.mark_vol[options].max()


def test_before_the_first_step_nothing_has_moved() -> None:
    path = replace(path_of([0.8, 0.7], [1.5, 2.0]), hours=np.array([6.0, 12.0]))
    price, vol, _ = path.at(5.99)
    assert np.all(price == 1.0) and np.all(vol == 1.0) and path.at(6.0)[0][0] == pytest.approx(0.8)
