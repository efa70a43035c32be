"""The set that is written, and the same on every day of a history: one path, ten years by dates, cautious constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.calibrate.grid_set import (
    Figures,
    base_params,
    figures_of,
    figures_path,
    grid_params,
    refuse_near_moves,
    spanned_days,
)
from scenarios.calibrate.levels import first_taken, newest
from scenarios.calibrate.moves import quantile
from scenarios.calibrate.settings import Settings, least_vol_move
from scenarios.calibrate.tail_weights import tail_weights, used_factor
from scenarios.calibrate.underlying import calibrate_underlying
from scenarios.families import grid

SHORT = Settings(draws=20, least_days=250, lookback_days=400, vol_low=0.05, tail_low=0.1)


def returns(count: int, seed: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    return 0.03 * np.exp(0.4 * np.sin(np.arange(count) / 50)) * random.standard_t(4, count) / np.sqrt(2.0)


def test_every_day_of_a_fit_is_what_a_calibration_of_that_day_says() -> None:
    """Range, shocks and weights, of the days that are within the years by their dates, weekends left out."""
    moves, vols = returns(520), 0.6 * returns(520, 8)
    days = np.arange(2000)[np.arange(2000) % 7 < 5][:520] + 17_000
    path = figures_path(moves, [(vols, np.arange(520))], SHORT, days)
    assert figures_of(path, 249) is None
    for day in (250, 430, 510):
        known = moves[:day], vols[:day]
        found = calibrate_underlying(*known, known, 5.0, SHORT, days=(days[:day], days[:day]))
        wanted = Figures(found.range.chosen, found.vol.up, found.vol.down, found.tail.used)
        assert figures_of(path, day) == pytest.approx(wanted, rel=1e-12)
        assert path.days[day] == 4.0
    rows = figures_path(moves, [(vols, np.arange(520))], SHORT)
    assert not np.array_equal(rows.price_range[500:], path.price_range[500:])
    assert np.isnan(path.days[249]) and np.all(rows.days == 2.0)


def test_days_that_pass_are_those_that_rows_span() -> None:
    """Without closing days the horizon; with weekends and holidays what 99 % of the horizons stay within."""
    settings = Settings()
    assert spanned_days(np.arange(500), settings) == 2.0 and spanned_days(np.arange(2), settings) == 2.0
    weekdays = np.arange(7000)[np.arange(7000) % 7 < 5]
    assert spanned_days(weekdays, settings) == 4.0
    assert spanned_days(weekdays, replace(settings, horizon_days=5)) == 7.0
    # A Monday without trading lies in two horizons of five days: a tenth of the Mondays are 4 % of them, one is not.
    tenth = weekdays[(weekdays % 7 != 0) | (weekdays // 7 % 10 != 0)]
    once = weekdays[weekdays != 3500]
    assert spanned_days(tenth, settings) == 5.0 and spanned_days(once, settings) == 4.0
    spans = tenth[2:] - tenth[:-2]
    assert np.mean(spans <= 5) >= 0.99 > np.mean(spans <= 4)


def test_a_vol_that_begins_later_is_taken_from_its_own_least_days_on() -> None:
    moves, stand_in, index = returns(700), 0.3 * returns(700, 8), 0.9 * returns(400, 9)
    at = np.arange(300, 700)
    path = figures_path(moves, [(stand_in, np.arange(700)), (index, at)], SHORT)
    alone = figures_path(moves, [(stand_in, np.arange(700))], SHORT)
    # On day 550 the changes that ended on rows 300 to 549 are known, 250 of them.
    assert np.array_equal(path.vol_up[:550], alone.vol_up[:550], equal_nan=True)
    assert np.all(path.vol_up[550:] > 1.5 * alone.vol_up[550:])


def test_years_are_counted_by_dates() -> None:
    moves = np.zeros(4000)
    weekdays = np.arange(6000)[np.arange(6000) % 7 < 5][:4000]
    settings = Settings(least_days=100)
    assert len(newest(moves, settings)) == 3650
    assert len(newest(moves, settings, weekdays)) == pytest.approx(3650 * 5 / 7, abs=2)
    assert first_taken(0, settings, weekdays[:0]) == 0
    taken = weekdays[first_taken(4000, settings, weekdays) :]
    assert taken[-1] - taken[0] < 3650 <= taken[-1] - taken[0] + 4


def test_the_grid_that_is_written() -> None:
    found = {"BTC": Figures(0.123456, 0.4, 0.3, 0.41), "ETH": Figures(0.2, 0.5, 0.25, 0.52346)}
    nodes = np.array([-1.0, -0.333333, 0.0, 1.0])
    made = grid_params(base_params(Settings()), found, nodes)
    assert made.price_range == {"BTC": 0.1235, "ETH": 0.2} and made.tail_factor == 0.5235
    assert made.price_nodes == (-1.0, -0.3333, 0.0, 1.0) and made.days == (0.0, 2.0)
    alone = grid_params(base_params(Settings()), {"": found["ETH"]}, nodes)
    scenarios = grid.alike(alone)
    assert alone.price_range == 0.2 and scenarios.price_move.shape == (4 * 3 * 2 + 8 * 2, 1)
    far = scenarios.price_move[:, 0] == -0.66
    assert scenarios.weight[far] == pytest.approx(0.5235 * 0.2 / 0.66)
    with pytest.raises(ConfigError, match="price_range, vol_up, vol_down: by underlying"):
        grid.alike(made)


def test_cautious_constants() -> None:
    """The least vol move is near the VIX before 2020, by 2 % of it at most below; the least weight is that of a tail
    with the power 2.5."""
    for days, of_vix in ((1, 0.285), (2, 0.363), (3, 0.422), (5, 0.549)):
        law = np.expm1(least_vol_move(replace(Settings(), horizon_days=days)))
        assert 0.98 * of_vix <= law <= 1.04 * of_vix
    # The mean excess over x of a Pareto law with P(X > x) = x^-2.5, by its integral.
    level = 2.0
    beyond = np.linspace(level, 4_000.0, 2_000_001)
    excess = np.trapezoid((beyond / level) ** -2.5, beyond) / level
    assert excess == pytest.approx(Settings().tail_low, rel=1e-3)
    assert [used_factor(x, Settings()) for x in (0.3, 0.7, 1.4)] == [2.0 / 3.0, 0.7, 1.0]


def test_far_moves_are_outside_some_range() -> None:
    ranges = {"BTC": 0.2, "ETH": 0.35}
    refuse_near_moves((-0.33, 0.5), ranges)
    for move in (-0.2, 0.1):
        with pytest.raises(ConfigError, match=f"tail_moves = .*: {move:g} is inside the price range of BTC, 0.2"):
            refuse_near_moves((0.5, move), ranges)
    with pytest.raises(ConfigError, match=r"the farthest of them, 0.3, is inside the price range, 0.3;"):
        tail_weights(returns(300), 0.3, 0.3, SHORT)


@pytest.mark.data
def test_the_vix_before_2020_is_what_the_least_vol_move_says() -> None:
    import pandas as pd

    from tests.vectors import data_file

    table = pd.read_csv(str(data_file("prices/vix_1d_cboe_19900102_20260723.csv.gz")))
    log = np.log(table[table["date"] < "2020-01-01"]["close"].to_numpy())
    for days, up, down in ((1, 0.285, 0.169), (2, 0.363, 0.222), (3, 0.422, 0.253), (5, 0.549, 0.291)):
        low, high = (np.expm1(quantile(log[days:] - log[:-days], level)) for level in (0.005, 0.995))
        assert (-low, high) == pytest.approx((down, up), abs=6e-4)
        law = np.expm1(least_vol_move(replace(Settings(), horizon_days=days)))
        assert law >= 0.98 * high and 1.0 - 1.0 / (1.0 + law) >= -low
