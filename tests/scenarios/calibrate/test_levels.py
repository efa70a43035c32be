"""Price ranges and vol shocks: known truths, walking forward without looking ahead, floors, buffers, bands."""

from __future__ import annotations

from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pricing import ConfigError
from scenarios.calibrate.bootstrap import band, block_band, block_rows, of_draw
from scenarios.calibrate.levels import Side, level_path, method_figure, tail_level
from scenarios.calibrate.made_histories import make_histories
from scenarios.calibrate.moves import horizon_moves, log_returns, quantile
from scenarios.calibrate.price_range import price_range, relative_figure, scan_range, scan_range_path
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tail_weights import tail_weights
from scenarios.calibrate.vol_shocks import (
    at_tenors,
    common_powers,
    fit_tenors,
    leverage,
    tenor_shocks,
    vol_shock,
    vol_shock_path,
)
from scenarios.calibrate.volatility import Filter, simulate
from tests.scenarios.calibrate.histories import (
    ALPHA,
    BETA,
    LONG_RUN,
    OMEGA,
    pareto_innovations,
    quantile_of_innovations,
)

DAY = Settings(horizon_days=1, draws=60, range_low=0.001, floor="none")
TRUTH = Filter(OMEGA, ALPHA, BETA, LONG_RUN, float("nan"))
PATHS = simulate(TRUTH, pareto_innovations(np.random.default_rng(2), (10, 3000)))


def test_moves_over_a_horizon() -> None:
    r = np.arange(1.0, 8.0)
    assert horizon_moves(r, 3).tolist() == [6.0, 9.0, 12.0, 15.0, 18.0]
    assert horizon_moves(r, 3, overlapping=False).tolist() == [9.0, 18.0]
    assert horizon_moves(r, 7).tolist() == [28.0]
    with pytest.raises(ConfigError, match="horizons of 1 to 7"):
        horizon_moves(r, 8)
    assert log_returns([1.0, np.e, 1.0]) == pytest.approx([1.0, -1.0])
    with pytest.raises(ConfigError, match="above 0"):
        log_returns([1.0, 0.0, 2.0])


def test_a_quantile_of_a_sample_is_unbiased_in_the_median() -> None:
    random = np.random.default_rng(1)
    drawn = [quantile(random.normal(size=250), 0.99) for _ in range(2000)]
    assert np.median(drawn) == pytest.approx(stats.norm.ppf(0.99), abs=0.03)


def test_blocks_are_neighbours_and_repeatable() -> None:
    rows = block_rows(100, 10, 50, seed=3)
    assert rows.shape == (50, 100)
    step = (np.diff(rows.reshape(50, 10, 10), axis=2)) % 100
    assert np.all(step == 1)
    assert np.array_equal(rows, block_rows(100, 10, 50, seed=3))
    assert not np.array_equal(rows, block_rows(100, 10, 50, seed=4))
    with pytest.raises(ConfigError, match="blocks of 1 to 100"):
        block_rows(100, 101, 5, 1)


def test_bands_widen_with_dependence() -> None:
    """The mean of a moving average of ten is about ten times as uncertain in variance as blocks of one say."""
    noise = np.random.default_rng(6).normal(size=3009)
    series = np.convolve(noise, np.ones(10), "valid")
    single = block_band(np.mean, series, 1, 300, 0.9, 1)
    blocks = block_band(np.mean, series, 60, 300, 0.9, 1)
    ratio = (blocks.high - blocks.low) / (single.high - single.low)
    assert 2.4 < ratio < 3.9
    assert band(1.0, [np.nan, 0.0, 2.0], 0.5)[:3] == (1.0, 0.5, 1.5)


def test_the_truth_lies_in_the_band() -> None:
    """GARCH with Pareto innovations: the range of tomorrow is known. Bands of 90 % hold it on seven of ten histories
    at least, and the estimate is within a tenth on average."""
    settings = replace(DAY, filter="garch", tail="pareto", band=0.90)
    held, errors, figures = 0, [], []
    for path in PATHS:
        figure = relative_figure(method_figure(path, settings, Side.BOTH, make_histories(path, settings)))
        truth = np.expm1(quantile_of_innovations(0.99) * np.sqrt(TRUTH.variance(path)[-1]))
        held += figure.low <= truth <= figure.high
        errors.append(figure.value / truth - 1.0)
        figures.append(figure)
        assert scan_range(path, replace(settings, buffer=0.0)) == pytest.approx(figure.value)
    # With all its other methods the range has the same figure; they take twice the time, and so one history.
    found = price_range(PATHS[0], settings)
    assert found.methods["garch", "pareto"] == figures[0]
    assert found.current == pytest.approx(figures[0].value)
    assert held >= 7
    assert abs(np.mean(errors)) < 0.05 and np.max(np.abs(errors)) < 0.15


def test_a_normal_history_has_its_normal_range() -> None:
    path = np.random.default_rng(0).normal(0.0, 0.02, 3600)
    found = price_range(path, replace(DAY, filter="none", horizon_days=2))
    truth = np.expm1(stats.norm.ppf(0.995) * 0.02 * np.sqrt(2.0))
    for (used, _), figure in found.methods.items():
        if used == "none":
            assert figure.value == pytest.approx(truth, rel=0.12)
    assert found.methods["none", "normal"].value == pytest.approx(truth, rel=0.03)


@pytest.mark.parametrize(("name", "buffer"), [("none", 0.0), ("ewma", 0.0), ("garch", 0.0), ("none", 0.25)])
def test_a_path_looks_at_nothing_that_comes_later(name: str, buffer: float) -> None:
    settings = Settings(filter=name, least_days=300, refit_days=50, buffer=buffer)
    path = PATHS[0, :700]
    whole = scan_range_path(path, settings)
    assert np.all(np.isnan(whole[:300])) and np.all(np.isfinite(whole[300:]))
    for day in (300, 420, 555, 699):
        changed = path.copy()
        changed[day:] = 0.5 * np.random.default_rng(day).normal(size=700 - day)
        again = scan_range_path(changed, settings)
        assert np.array_equal(again[: day + 1], whole[: day + 1], equal_nan=True)
    # On days of a new fit it is the parameter of that day from what is known on it.
    for day in (300, 500, 700):
        assert whole[day] == pytest.approx(scan_range(path[:day], settings), rel=1e-3)
    up, down = vol_shock_path(path, settings)
    assert up[500] == pytest.approx(vol_shock(path[:500], replace(settings, draws=20)).up, rel=1e-3)
    assert np.all((down[300:] > 0.0) & (down[300:] < 1.0))


def test_a_filter_follows_and_the_floor_holds() -> None:
    calm = np.random.default_rng(3).normal(0.0, 0.04, 1500)
    calm[1000:] *= 0.25
    settings = Settings(filter="ewma", buffer=0.0)
    low = price_range(calm, replace(settings, draws=20))
    assert low.current < 0.6 * low.floor
    assert low.chosen == pytest.approx(low.floor)
    without = scan_range(calm, replace(settings, floor="none"))
    assert without == pytest.approx(low.current)
    # What the filter calculates has fallen since, so that the buffer is whole or on its way back.
    assert without <= scan_range(calm, replace(settings, floor="none", buffer=0.25)) <= 1.25 * without
    at_once = replace(settings, floor="none", buffer=0.25, least_days=len(calm))
    assert scan_range(calm, at_once) == pytest.approx(1.25 * without)
    assert scan_range(calm, replace(settings, floor="none", range_low=0.3)) == 0.3
    assert scan_range(calm, replace(settings, range_high=0.05)) == 0.05


def test_sides_of_a_lopsided_history() -> None:
    """Vols rise fast and fall slowly: one-sided quantiles tell them apart."""
    random = np.random.default_rng(9)
    r = np.where(random.uniform(size=2500) < 0.1, random.exponential(0.1, 2500), random.normal(-0.01, 0.01, 2500))
    settings = Settings(filter="none", horizon_days=1, floor="none", draws=20, vol_low=0.01, buffer=0.0)
    shock = vol_shock(r, settings)
    assert shock.up == pytest.approx(np.expm1(np.quantile(r, 0.99)), rel=0.1)
    assert shock.down == pytest.approx(-np.expm1(np.quantile(r, 0.01)), rel=0.1)
    for methods in (shock.up_methods, shock.down_methods):
        assert all(figure.low <= figure.value <= figure.high for key, figure in methods.items() if key[1] == "sample")
    current, floor = level_path(r, replace(settings, floor="history"), Side.UP)
    assert current[-1] == pytest.approx(floor[-1], rel=0.1)


def test_powers_over_tenors_are_found() -> None:
    random = np.random.default_rng(4)
    days = np.array([3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0])
    power = np.where(days <= 30.0, 0.45, 0.2)
    size = 0.05 * (30.0 / days) ** power
    noise = random.standard_t(6, (4000, 1)) + 0.1 * random.normal(size=(4000, 7))
    changes = noise * size
    changes[::50, 0] = np.nan
    settings = Settings(horizon_days=1, draws=40)
    fitted = fit_tenors(days, changes, settings, Side.UP)
    # Relative shocks grow a little faster than those in logarithm.
    assert fitted.short_power.value == pytest.approx(0.45, abs=0.08)
    assert fitted.long_power.value == pytest.approx(0.20, abs=0.06)
    assert fitted.error < 0.1
    assert fitted.short_power.low <= fitted.short_power.value <= fitted.short_power.high
    assert fitted.shock.value == pytest.approx(np.expm1(tenor_shocks(changes, settings, Side.UP)[3]), rel=0.1)
    assert np.isnan(tenor_shocks(changes[:30], settings, Side.UP)).all()
    with pytest.raises(ConfigError, match="two at least"):
        fit_tenors(days[:1], changes[:, :1], settings, Side.UP)


def test_the_shock_is_the_larger_of_index_and_chains() -> None:
    settings, moves = replace(DAY, draws=20), np.random.default_rng(13).normal(0.0, 0.05, 600)
    alone = vol_shock(moves, settings)
    both = vol_shock(moves, settings, (alone.up + 0.05, alone.down - 0.02))
    assert (both.up, both.down) == pytest.approx((alone.up + 0.05, alone.down))
    bounded = vol_shock(moves, settings, (9.0, 9.0))
    assert (bounded.up, bounded.down) == pytest.approx((settings.vol_high, 1.0 - 1.0 / (1.0 + settings.vol_high)))


def test_common_powers_charge_no_less_than_any_fit() -> None:
    random = np.random.default_rng(14)
    days = np.array([3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0])
    fits = []
    for short, long in ((0.5, 0.1), (0.3, 0.4), (0.4, 0.2)):
        size = 0.05 * (30.0 / days) ** np.where(days <= 30.0, short, long)
        changes = random.normal(size=(1500, 1)) * size
        fits.append(fit_tenors(days, changes, replace(DAY, draws=20), Side.UP))
    powers = common_powers(fits)
    assert powers == pytest.approx((0.5, 0.1), abs=0.06)
    for fit in fits:
        own = at_tenors(fit.shock.value, fit.short_power.value, fit.long_power.value, days)
        assert np.all(at_tenors(fit.shock.value, *powers, days) >= own * (1.0 - 1e-12))
    assert np.isnan(common_powers([])).all()


def test_draws_of_powers_lie_about_what_the_history_says() -> None:
    """Resampled, a hundred moves have smaller largest moves than there were; the bias is told and taken out."""
    random = np.random.default_rng(15)
    days = np.array([3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0])
    changes = random.standard_t(3, (106, 1)) * 0.05 * (30.0 / days) ** 0.4 * np.exp(0.3 * random.normal(size=(106, 7)))
    fit = fit_tenors(days, changes, replace(DAY, draws=100), Side.UP)
    assert fit.bias[0] < 0.0 and fit.moves == 106
    for figure in (fit.shock, fit.short_power, fit.long_power):
        assert figure.low < figure.value < figure.high and figure.block >= 1


def test_leverage_is_found() -> None:
    random = np.random.default_rng(12)
    price = random.normal(0.0, 0.04, 5000)
    vol = 1.5 * np.maximum(-price, 0.0) - 0.4 * np.maximum(price, 0.0) + random.normal(0.0, 0.03, 5000)
    found = leverage(price, vol, 0.1, 0.15, 0.15, Settings(horizon_days=1))
    assert (found.down, found.up) == pytest.approx((1.5, -0.4), abs=0.06)
    assert found.residual == pytest.approx(0.03, rel=0.05)
    assert found.correlation < -0.5
    inside = (np.abs(np.expm1(price)) <= 0.1) & (np.abs(np.expm1(vol)) <= 0.15)
    assert found.joint == pytest.approx(inside.mean())
    assert found.crash_up > 0.1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"filter": "harch"}, "filter = 'harch'"),
        ({"confidence": 0.5}, "confidence = 0.5"),
        ({"horizon_days": 1.5}, "horizon_days = 1.5: must be a whole number"),
        ({"confidence": 0.9, "tail_share": 0.05}, r"tail_share = 0.05: must be at least 0.11, .*confidence = 0.9"),
        ({"confidence": 0.9, "tail_share": 0.1}, r"tail_share = 0.1: must be at least 0.11, .*confidence = 0.9"),
        ({"tail_share": 0.03}, "tail_share = 0.03: of the first least_days = 250 .* set least_days = 335"),
        ({"least_days": 100, "horizon_days": 10}, r"tail_share = 0.1: of the first least_days = 100 .* 9 moves"),
        ({"range_low": 0.5, "range_high": 0.4}, "range_low = 0.5"),
        ({"least_days": 500, "lookback_days": 400}, "least_days = 500"),
    ],
)
def test_settings_out_of_bounds_are_named(values: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Settings(**values)  # type: ignore[arg-type]


@given(st.floats(0.9, 0.9999), st.floats(0.02, 0.5), st.integers(100, 600), st.integers(1, 30), st.integers(0, 9))
@hypothesis.settings(max_examples=60, deadline=None)
def test_settings_that_are_taken_have_a_tail_from_their_least_days_on(
    confidence: float, share: float, least: int, horizon: int, seed: int
) -> None:
    """Of any history of different moves the quantile is in the tail, and what is told to be enough is."""
    tried = {"confidence": confidence, "tail_share": share, "horizon_days": horizon}
    try:
        taken = Settings(least_days=least, **tried)  # type: ignore[arg-type]
    except ConfigError as refused:
        if "set least_days" not in str(refused):
            assert share < 1.1 * (1.0 - confidence)
            return
        taken = Settings(least_days=int(str(refused).rpartition(" = ")[2]), **tried)  # type: ignore[arg-type]
    sizes = np.random.default_rng(seed).standard_t(4, int(taken.least_days) - horizon + 1) ** 2
    threshold = quantile(sizes, 1.0 - share)
    assert threshold <= tail_level(sizes, taken) < np.inf


def test_a_band_leaves_out_draws_without_a_tail() -> None:
    """Ten moves in the tail of a history are fewer in a draw that begins it at a move it has twice: 30 of 100 draws
    and more, without which there are bands; the history itself is not excused."""
    settings = Settings(least_days=501, tail_share=0.02, draws=100, filter="none")
    sizes = np.abs(np.random.default_rng(2).standard_t(4, 500))
    rows = block_rows(500, 20, 100, 1)
    drawn = np.array([of_draw(lambda own: tail_level(own, settings), sizes[chosen]) for chosen in rows])
    lost = np.isnan(drawn)
    ties = np.array([np.sum(sizes[chosen] > quantile(sizes[chosen], 0.98)) < 10 for chosen in rows])
    assert np.array_equal(lost, ties) and 10 <= lost.sum() <= 45
    found = block_band(lambda own: tail_level(own, settings), sizes, 20, 100, 0.9, 1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn[~lost], (0.05, 0.95))))
    weights = tail_weights(0.02 * sizes, 0.08, 5.0, replace(settings, horizon_days=1, least_days=500))
    assert weights.factor.low <= weights.factor.value <= weights.factor.high
    tied = np.sort(sizes)
    tied[-11] = tied[-10]
    with pytest.raises(
        ConfigError, match=r"tail_share = 0.02: of a history of 500 moves .* 9 are above .* it needs 10"
    ):
        tail_level(tied, settings)
    with pytest.raises(ConfigError, match="in 40 of 100 draws of its history, and its band needs half"):
        band(1.0, np.where(np.arange(100) < 40, 1.0, np.nan), 0.9)


def test_a_history_of_equal_moves_is_named_with_the_setting() -> None:
    """A price that moves on one day of eight, and always by as much, has no tail: nothing is above its threshold."""
    still = np.where(np.arange(400) % 8 == 0, 0.03, 0.0)
    with pytest.raises(ConfigError, match=r"tail_share = 0.1: of a history of 399 moves over the horizon 0 are above"):
        price_range(still, Settings(draws=20, buffer=0.0))


def test_short_histories_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs 250"):
        price_range(np.zeros(100), Settings())
