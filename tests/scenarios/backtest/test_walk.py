"""The walk through a history: no look-ahead, whatever the rule and the model; quantiles and cut-offs by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from pricing import ConfigError, DataError
from scenarios.backtest import books, history, models, parameters, walk
from scenarios.backtest.history import History
from scenarios.families import grid
from tests.scenarios.backtest.histories import DAY, START, changed_after, walked

FIRST = 120
BOOKS = books.standard_books(40)
RULES: dict[str, parameters.Rule] = {
    "fixed": parameters.fixed(0.16, 0.5, 0.25),
    "quantile": parameters.refitted(parameters.Quantile(confidence=0.98, window_days=100), FIRST, 7),
    "stressed": parameters.refitted(
        parameters.Quantile(confidence=0.98, buffer=0.25, stress_weight=0.25, stress_days=30, horizon_days=2), FIRST, 7
    ),
    "ewma": parameters.Ewma(least_days=FIRST),
}


def worst_case(given: History, rule: parameters.Rule) -> models.Model:
    days = given.days()
    return models.over_layout(rule(given.at(days, 1)), walk.day_of_rows(days, len(given)), models.grid_layout(1.0))


MODELS: dict[str, Callable[[History], models.Model]] = {
    **{f"worst case, {name}": (lambda given, rule=rule: worst_case(given, rule)) for name, rule in RULES.items()},
    "historical": lambda given: models.Historical(given, given.steps_per_day, window=100),
    "shortfall": lambda given: models.Historical(
        given, given.steps_per_day, window=100, measure="expected_shortfall", scaled=False
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("steps_per_day", [1, 4])
def test_margins_up_to_a_row_do_not_change_with_what_comes_after_it(name: str, steps_per_day: int) -> None:
    given = walked(220, steps_per_day=steps_per_day)
    cut = 180 * steps_per_day + steps_per_day // 2
    rows = np.arange((FIRST + 1) * steps_per_day, len(given) - steps_per_day)
    before = walk.margins(given, BOOKS, MODELS[name](given), rows)
    after = walk.margins(changed_after(given, cut), BOOKS, MODELS[name](changed_after(given, cut)), rows)
    known = rows <= cut
    assert np.array_equal(before[known], after[known])
    assert "fixed" in name or not np.array_equal(before[~known], after[~known])


def test_a_history_itself_does_not_look_ahead() -> None:
    given = walked(300)
    known = history.history(given.time_ms[:200], given.price[:200])
    assert np.array_equal(known.stand_in, given.stand_in[:200])
    part = given.until(150)
    assert len(part) == 151 and part.price[-1] == given.price[150]


def test_a_rule_that_looks_ahead_is_refused() -> None:
    given = walked(200)

    def centred(known: History) -> parameters.Path:
        level = float(np.abs(np.diff(np.log(known.price))).max())
        return parameters.fixed(min(level, 0.9), 0.5, 0.25)(known)

    for name, rule in RULES.items():
        parameters.refuse_look_ahead(name, rule, given, FIRST + 1)
    with pytest.raises(ConfigError, match=r"centred: price_range up to day .* looks ahead"):
        parameters.refuse_look_ahead("centred", centred, changed_after(given, 195), FIRST + 1)


def test_a_quantile_by_hand() -> None:
    given = walked(150, index_from=1.0)
    moves = np.abs(given.price[1:] / given.price[:-1] - 1.0)[-100:]
    changes = np.diff(np.log(given.stand_in))[-100:]
    shock = parameters.Quantile(confidence=0.95, window_days=100, buffer=0.25)(given)
    assert shock.price_range == pytest.approx(1.25 * np.quantile(moves, 0.95), rel=1e-12)
    assert shock.vol_up == pytest.approx(np.expm1(np.quantile(changes, 0.95)), rel=1e-12)
    assert shock.vol_down == pytest.approx(-np.expm1(np.quantile(changes, 0.05)), rel=1e-12)
    floored = parameters.Quantile(confidence=0.95, range_low=0.5)(given)
    assert floored.price_range == 0.5 and floored.at_floor


def test_where_stand_in_and_index_meet_there_is_no_move_of_vol() -> None:
    given = walked(100, index_from=0.5)
    moves = history.vol_moves(given, np.arange(99), 1)
    assert moves[49] == pytest.approx(given.stand_in[50] / given.stand_in[49] - 1.0)
    assert moves[60] == pytest.approx(given.vol[61] / given.vol[60] - 1.0)
    known = np.log(given.vol)
    changes = np.delete(np.diff(known), 49)
    shock = parameters.Quantile(confidence=0.999)(given)
    assert shock.vol_up == pytest.approx(np.expm1(np.quantile(changes, 0.999)), rel=1e-12)


def test_hours_know_the_day_that_has_ended() -> None:
    given = walked(3, steps_per_day=4)
    assert given.days().tolist() == [3, 7, 11]
    assert walk.day_of_rows(given.days(), 12).tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    unfinished = history.history(START + (1 + np.arange(10)) * DAY // 4, np.linspace(100.0, 109.0, 10), steps_per_day=4)
    assert unfinished.days().tolist() == [3, 7]


@examples(st.floats(0.5, 0.9999), st.integers(20, 60))
def test_historical_simulation_is_an_order_statistic(confidence: float, count: int) -> None:
    given = walked(130)
    pnl = np.random.default_rng(count).standard_normal((2, 3, count))
    model = models.Historical(given, 1, window=100, confidence=confidence)
    beyond = max(1, round((1.0 - confidence) * count))
    ordered = np.sort(-pnl, axis=2)[:, :, ::-1]
    assert model.requirement(pnl) == pytest.approx(np.maximum(ordered[:, :, beyond - 1], 0.0))
    tail = models.Historical(given, 1, window=100, confidence=confidence, measure="expected_shortfall")
    assert tail.requirement(pnl) == pytest.approx(np.maximum(ordered[:, :, :beyond].mean(axis=2), 0.0))


def test_the_same_margins_on_every_backend_and_in_any_blocks() -> None:
    given = walked(160)
    rows = np.arange(FIRST, 159)
    model = MODELS["worst case, ewma"](given)
    whole = walk.margins(given, BOOKS, model, rows)
    assert whole == pytest.approx(walk.margins(given, BOOKS, model, rows, backend="numpy"), abs=1e-12)
    assert whole[5:6] == pytest.approx(walk.margins(given, BOOKS, model, rows[5:6]), abs=1e-14)
    told: list[str] = []
    walk.margins(given, BOOKS, model, rows, step=told.append, name="ewma")
    assert len(told) == walk.block_count(model, BOOKS, rows)


def test_sets_that_a_walk_cannot_take_are_refused() -> None:
    path = RULES["fixed"](walked(10))
    plain = grid.alike(grid.Params(buckets=2))
    shifted = replace(plain, vol_shift=plain.vol_shift + 0.1)
    for sets in ([], [plain, shifted], [plain, grid.alike(grid.Params(buckets=3))]):
        with pytest.raises(ConfigError, match="need equally many relative moves"):
            models.over_sets(path, np.arange(10), sets, np.zeros(10, dtype=np.int64))
    floored = replace(plain, vol_floor=plain.vol_floor + 0.3)
    with pytest.raises(ConfigError, match=r"others: \[1\]"):
        models.over_sets(path, np.arange(10), [plain, floored], np.zeros(10, dtype=np.int64))
    other = replace(plain, dynamics=replace(plain.dynamics, short_power=0.9))
    with pytest.raises(ConfigError, match="the same dynamics"):
        models.over_sets(path, np.arange(10), [plain, other], np.zeros(10, dtype=np.int64))
    model = models.over_sets(path, np.arange(10), [plain], np.array([-1] * 5 + [0] * 5))
    assert np.isnan(model.moves(np.array([4])).price).all()
    assert np.array_equal(model.moves(np.array([5])).price[0], plain.price_move[:, 0])


def test_what_is_wrong_is_named() -> None:
    given = walked(160)
    with pytest.raises(ConfigError, match="row 10 of the history has no parameters"):
        walk.margins(given, BOOKS, MODELS["worst case, ewma"](given), np.arange(10, 20))
    with pytest.raises(ConfigError, match="window"):
        MODELS["historical"](given).moves(np.array([50]))
    with pytest.raises(DataError, match="needs at least 121 days"):
        RULES["ewma"](given.until(100))
    with pytest.raises(DataError, match="row 3, price = -1"):
        bad = given.price.copy()
        bad[3] = -1.0
        History(given.time_ms, bad, given.vol, given.stand_in, given.indexed)
    with pytest.raises(ConfigError, match=r"price_range=1\.2"):
        parameters.fixed(1.2, 0.5, 0.25)
    with pytest.raises(ConfigError, match="from day 120 on"):
        walk.first_common_row({"a": 120}, np.arange(100), 100, 1)
