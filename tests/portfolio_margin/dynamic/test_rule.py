"""The rule: against a loop written from its text, its limits, and real histories."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import load_parameters
from portfolio_margin.dynamic.basis_rule import measured_moves
from portfolio_margin.dynamic.effect import effects
from portfolio_margin.dynamic.rule import (
    RULE_BOUNDS,
    TOOLS,
    History,
    Rule,
    measured_value,
    move_path,
    parameters_of,
    rounded,
    trailing_maximum,
    trailing_mean,
    volume_path,
)
from portfolio_margin.io.dynamic_history import Columns, dynamic_parameters, read_dynamic_history
from portfolio_margin.io.forward_curves import read_forward_curves
from pricing import ConfigError, DataError
from tests.bounds import check_bounds_of_numbers
from tests.vectors import data_file

RULE = Rule(least_days=40, stressed_window=10, floor_days=250, volume_days=5)
MEASURED = {"half_spread": 5e-4, "open_interest": 3.28e10, "daily_vega_volume": 3.23e8}
RANDOM = np.random.default_rng(11)
CLOSE = 100.0 * np.exp(np.cumsum(RANDOM.standard_t(3, 400) * 0.02))
VOL = 0.5 * np.exp(np.cumsum(RANDOM.standard_t(4, 300) * 0.02) * 0.3)
HISTORY = History(CLOSE, VOL, RANDOM.uniform(1e8, 2e9, 400))


def naive_path(returns: list[float], rule: Rule, low: float, high: float) -> list[float]:
    """Charged moves from the text of the rule, one day after the other."""
    days = rule.multiple * sqrt(rule.horizon_days)
    seed = returns[: rule.least_days]
    variance = sum(r * r for r in seed) / len(seed)
    path: list[float] = []
    for t in range(len(returns) + 1):
        if t:
            variance = rule.decay * variance + (1 - rule.decay) * returns[t - 1] ** 2
        past = returns[max(0, t - rule.floor_days) : t] or returns[:1]
        floor = days * sqrt(sum(r * r for r in past) / len(past))
        level = days * sqrt(variance)
        if rule.tool == "floor":
            wanted = max(level, floor)
        elif rule.tool == "buffer":
            wanted = max(level, (1 + rule.buffer) * min(level, floor))
        else:
            w = rule.stressed_window
            ends = [max(end, w) for end in range(max(0, t - rule.floor_days + 1), t + 1)]
            worst = max(sum(r * r for r in returns[end - w : end]) / w for end in ends)
            wanted = (1 - rule.stressed_weight) * level + rule.stressed_weight * days * sqrt(worst)
        wanted = min(max(wanted, low), high)
        if t > rule.least_days:
            wanted = min(max(wanted, path[-1] * (1 - rule.fall_per_day)), path[-1] * (1 + rule.rise_per_day))
        path.append(wanted)
    return path


@pytest.mark.parametrize("tool", TOOLS)
def test_the_path_is_that_of_its_text(tool: str) -> None:
    rule = replace(RULE, tool=tool)
    returns = np.diff(np.log(CLOSE))
    found = move_path(returns, rule, (0.03, 0.6)).moved
    assert found == pytest.approx(naive_path(returns.tolist(), rule, 0.03, 0.6), rel=1e-9)


def test_parameters_are_those_of_the_last_day() -> None:
    found = parameters_of("X", HISTORY, RULE, MEASURED)
    price = naive_path(np.diff(np.log(CLOSE)).tolist(), RULE, RULE.range_low, RULE.range_high)
    vol = naive_path(np.diff(np.log(VOL)).tolist(), RULE, RULE.vol_low, RULE.vol_high)
    assert found.price_range == rounded(price[-1])
    assert found.vol_up == rounded(exp(vol[-1]) - 1.0)
    assert found.vol_down == rounded(1.0 - exp(-vol[-1]))
    assert found.day_move == rounded(price[-1] / (RULE.multiple * sqrt(RULE.horizon_days)))
    assert found.half_spread == MEASURED["half_spread"]
    assert found.long_share == 0.5


def test_another_machine_gets_the_same_parameters() -> None:
    """What differs in the last bits of the history, as text read elsewhere may, is the same set."""
    noise = History(*(column * (1.0 + 1e-15) for column in HISTORY))
    assert parameters_of("X", noise, RULE, MEASURED) == parameters_of("X", HISTORY, RULE, MEASURED)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-0.4, 0.4), min_size=60, max_size=120),
    st.sampled_from(TOOLS),
    st.floats(0.01, 0.3),
    st.floats(0.01, 0.3),
)
def test_the_path_keeps_bounds_and_limits(returns: list[float], tool: str, rise: float, fall: float) -> None:
    rule = replace(RULE, tool=tool, rise_per_day=rise, fall_per_day=fall)
    path = move_path(np.array(returns), rule, (0.05, 0.5))
    charged = path.moved[rule.least_days :]
    assert np.all((charged >= 0.05 - 1e-15) & (charged <= 0.5 + 1e-15))
    steps = charged[1:] / charged[:-1]
    assert np.all((steps <= 1.0 + rise + 1e-12) & (steps >= 1.0 - fall - 1e-12))


def test_one_more_day_moves_a_range_by_no_more_than_the_limit() -> None:
    """Also where that day is a crash: the set of tomorrow is near the set of today."""
    crash = History(np.append(CLOSE, CLOSE[-1] * 0.6), np.append(VOL, VOL[-1] * 1.8), np.append(HISTORY.turnover, 1e6))
    before, after = (parameters_of("X", history, RULE, MEASURED) for history in (HISTORY, crash))
    digits = 1e-3  # both sides are rounded to four of them
    assert after.price_range == pytest.approx(before.price_range * 1.1, rel=digits)
    assert log(1.0 + after.vol_up) <= 1.1 * log(1.0 + before.vol_up) * (1.0 + digits)


def test_a_market_that_dries_up_counts_at_the_pace_of_the_limit() -> None:
    """Volume of 1e6 from one day to the next: what counts of it falls by the limit a day, and rises again slower."""
    dry = volume_path(np.append(HISTORY.turnover, np.full(60, 1e6)), RULE)
    back = volume_path(np.concatenate([HISTORY.turnover, np.full(60, 1e6), HISTORY.turnover]), RULE)
    assert np.all(dry[:-1] / dry[1:] <= 1.1 * (1.0 + 1e-12))
    assert dry[-1] < dry[399] / 100.0
    assert np.all(back[1:] / back[:-1] <= 1.0 / 0.98 * (1.0 + 1e-12))
    assert parameters_of("X", HISTORY, RULE, MEASURED).daily_volume == rounded(dry[399])


def test_what_is_measured_day_by_day_is_limited_as_well() -> None:
    rule = replace(RULE, share_per_day=0.05)
    assert measured_value("long_share", [0.5, 0.9, 0.9], rule) == 0.6
    assert measured_value("long_share", [0.5, 0.9, 0.52], rule) == 0.52
    assert measured_value("open_interest", [1e10, 1e8], rule) == rounded(1e10 / 1.1)
    assert measured_value("open_interest", [1e10, 9e10], rule) == rounded(1e10 / 0.98)
    # One number is taken as it is, and what an oracle says today has no yesterday.
    assert measured_value("long_share", 0.9, rule) == 0.9
    assert measured_value("oracle_confidence", [0.0, 0.2], rule) == 0.2
    daily = {**MEASURED, "short_vol_share": [0.5, 0.5, 0.7]}
    assert parameters_of("X", HISTORY, rule, daily).short_vol_share == 0.55
    for values in ([], [1.0, np.nan], [[1.0]]):
        with pytest.raises(ConfigError, match="one for every day"):
            measured_value("open_interest", values, rule)
    with pytest.raises(ConfigError, match="above 0 on every day"):
        measured_value("open_interest", [1.0, 0.0], rule)


def test_implied_vol_leads_where_it_is_the_level() -> None:
    long = HISTORY._replace(vol=np.full(400, 0.9))
    rule = replace(RULE, level="implied", tool="buffer", rise_per_day=10.0, fall_per_day=0.9)
    flat = np.full(400, 0.9 / sqrt(365.0))
    target = move_path(np.diff(np.log(CLOSE)), rule, (0.03, 0.6), flat).level
    assert target == pytest.approx(flat)
    larger = move_path(np.diff(np.log(CLOSE)), replace(rule, level="larger"), (0.03, 0.6), flat).level
    ewma = move_path(np.diff(np.log(CLOSE)), replace(rule, level="ewma"), (0.03, 0.6), flat).level
    assert larger == pytest.approx(np.maximum(ewma, flat))
    # Levels that need an index for every day say so; a flat index has no vol move but the bound.
    with pytest.raises(DataError, match="needs an index for every day"):
        parameters_of("X", HISTORY, rule, MEASURED)
    assert parameters_of("X", long, rule, MEASURED).vol_up == rounded(exp(rule.vol_low) - 1.0)


def test_effects_are_those_of_the_paths() -> None:
    """Read off the naive path: its mean, its largest rise of a day, the moves of two days beyond it."""
    ruled, bare = effects(CLOSE, RULE)
    path = np.array(naive_path(np.diff(np.log(CLOSE)).tolist(), RULE, RULE.range_low, RULE.range_high))[40:]
    assert ruled.mean == pytest.approx(path.mean(), rel=1e-9)
    assert ruled.calls[0] == pytest.approx(max(path[1:] / path[:-1]) - 1.0, rel=1e-9)
    beyond = [abs(CLOSE[t + 2] / CLOSE[t] - 1.0) > path[t - 40] for t in range(40, 398)]
    assert ruled.breaches == pytest.approx(sum(beyond) / len(beyond), abs=1e-12)
    assert bare.mean <= ruled.mean
    with pytest.raises(ConfigError, match="62 for its effect"):
        effects(CLOSE[:61], RULE)


def test_trailing_windows() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert trailing_mean(values, 2).tolist() == [1.0, 1.0, 1.5, 2.5, 3.5]
    assert trailing_maximum(np.array([3.0, 1.0, 2.0, 0.0]), 2).tolist() == [3.0, 3.0, 2.0, 2.0]


def test_rules_have_bounds() -> None:
    stated = check_bounds_of_numbers(Rule(), Rule)
    assert set(stated) == set(RULE_BOUNDS)
    with pytest.raises(ConfigError, match=r"range_low = 0.7: must not exceed range_high"):
        Rule(range_low=0.7)
    with pytest.raises(ConfigError, match="volume_days"):
        Rule(volume_days=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"close": CLOSE[:20]}, "needs at least 41 days"),
        ({"close": np.where(np.arange(400) == 7, 0.0, CLOSE)}, "row 8.*close|close.*row 8|8"),
        ({"vol": np.full(300, np.nan)}, "above 0"),
        ({"turnover": np.full(400, -1.0)}, "turnover"),
        ({"turnover": np.zeros(400)}, r"X, turnover = 0.0: the 0.25 quantile of the last 5 days must be at least 1"),
        ({"turnover": np.append(HISTORY.turnover[5:], np.zeros(5))}, r"turnover = 0.0: the 0.25 quantile"),
    ],
)
def test_histories_that_are_none_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        parameters_of("X", HISTORY._replace(**change), RULE, MEASURED)


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        ({}, "no history has half_spread, open_interest, daily_vega_volume"),
        ({**MEASURED, "price_range": 0.1}, "price_range cannot be given"),
        ({**MEASURED, "crowd": 0.1}, "crowd cannot be given"),
        ({**MEASURED, "long_share": 2.0}, "long_share"),
    ],
)
def test_measures_that_are_none_are_refused(measured: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parameters_of("X", HISTORY, RULE, measured)


@pytest.mark.data
def test_the_shipped_set_is_what_the_rule_makes_of_the_histories() -> None:
    """Anybody with the files gets the parameters of 2026-02-26; and the rule does what it is for."""
    vols = data_file("prices/dvol_btc_1d_deribit_20230101_20260622.csv.gz")
    files = {
        "BTC": "prices/btcusdt_1h_binance_spot_20170817_20260726.csv.gz",
        "ETH": "prices/ethusdt_1h_binance_perp_20200301_20260331.csv.gz",
    }
    columns = {"price_columns": Columns("open_time_utc"), "vol_columns": Columns("date", "dvol_close")}
    read = {
        name: read_dynamic_history(data_file(path), vols, until="2026-02-25", **columns) for name, path in files.items()
    }
    assert {dated.last_day for dated in read.values()} == {"2026-02-25"}
    shipped, info = load_parameters("dynamic_worst_case")
    assert info.valid_from == "2026-02-26"
    chains = ("daily_20251230_20260415", "crash_20260131_20260208")
    curves = read_forward_curves([data_file(f"deribit_chain/{name}.parquet") for name in chains], "2026-02-25")
    measured = {
        name: {
            **{key: getattr(state, key) for key in ("half_spread", "open_interest", "daily_vega_volume")},
            **measured_moves(name, curves[name], Rule()),
        }
        for name, state in shipped.underlyings.items()
    }
    made = dynamic_parameters(shipped, {name: dated.history for name, dated in read.items()}, Rule(), measured)
    assert made == shipped
    for dated in read.values():
        ruled, bare = effects(dated.history.close, Rule())
        assert ruled.calls[0] <= 0.1 + 1e-12 < bare.calls[0]
        assert ruled.peak_to_trough < bare.peak_to_trough / 2
        assert ruled.breaches < 0.005 < bare.breaches
