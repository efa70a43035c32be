"""ScenarioSet, VolDynamics and how sets are put together."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from pricing import ConfigError
from scenarios import ScenarioSet, VolDynamics, concat, product
from scenarios.shocks import make

PLAIN = make(["a", "b", "c"], np.array([0.0, -0.1, 0.1]))


def test_what_is_left_out_does_not_move() -> None:
    assert PLAIN.price_move.tolist() == [[0.0], [-0.1], [0.1]]
    for name in ("vol_move", "vol_shift"):
        assert getattr(PLAIN, name).tolist() == [[0.0]] * 3
    assert (PLAIN.time_step_years.tolist(), PLAIN.weight.tolist(), PLAIN.tier.tolist()) == (
        [0.0] * 3,
        [1.0] * 3,
        [0] * 3,
    )
    assert PLAIN.dynamics == VolDynamics()
    assert [np.array_equal(a, getattr(PLAIN, n)) for n, a in PLAIN.shocks._asdict().items()] == [True] * 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("price_move", [[-1.0], [0.0], [0.0]]),
        ("price_move", [[math.nan], [0.0], [0.0]]),
        ("price_move", [[0.0], [0.0]]),
        ("price_move", [0.0, 0.0, 0.0]),
        ("vol_move", [[math.inf], [0.0], [0.0]]),
        ("vol_shift", [[0.0], [0.0]]),
        ("time_step_years", [-0.1, 0.0, 0.0]),
        ("time_step_years", [0.0, 0.0]),
        ("weight", [1.1, 1.0, 1.0]),
        ("weight", [-0.1, 1.0, 1.0]),
        ("weight", [math.nan, 1.0, 1.0]),
        ("tier", [0]),
    ],
)
def test_bad_moves_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        replace(PLAIN, **{field: np.array(value)})


def test_a_set_has_scenarios_but_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="scenarios = 0"):
        ScenarioSet(*(getattr(PLAIN, field.name)[:0] for field in fields(PLAIN)[:7]))
    monkeypatch.setattr("scenarios.shocks.MAX_SCENARIOS", 2)
    with pytest.raises(ConfigError, match="1 to 2"):
        replace(PLAIN, tier=np.zeros(3))


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        ("short_power", (0.0, 1.0)),
        ("long_power", (0.0, 1.0)),
        ("days_floor", (1e-3, 100.0)),
        ("minimum_vol_up", (0.0, 20.0)),
        ("vol_floor", (0.0, 10.0)),
    ],
)
def test_dynamics_have_bounds(field: str, bounds: tuple[float, float]) -> None:
    for value in bounds:
        assert getattr(VolDynamics(**{field: value}), field) == value
    for value in (bounds[0] - 1e-6, bounds[1] + 1e-6, math.nan, "0.1", None, True):
        with pytest.raises(ConfigError, match=field):
            VolDynamics(**{field: value})


@pytest.mark.parametrize("field", ["rule", "carry"])
def test_dynamics_have_names(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        VolDynamics(**{field: "sticky"})


def test_a_product_runs_through_every_combination() -> None:
    price, vol, days = product([-1, 1], [0.1, 0.2, 0.3], [0, 5])
    assert price.tolist() == [-1.0] * 6 + [1.0] * 6
    assert vol.tolist() == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3] * 2
    assert days.tolist() == [0.0, 5.0] * 6


def test_sets_are_joined_in_order() -> None:
    wide = make(["d"], np.array([[0.2, -0.3]]), weight=np.array([0.5]))
    both = concat(PLAIN, wide)
    assert both.label.tolist() == ["a", "b", "c", "d"]
    assert both.price_move.tolist() == [[0.0, 0.0], [-0.1, -0.1], [0.1, 0.1], [0.2, -0.3]]
    assert both.weight.tolist() == [1.0, 1.0, 1.0, 0.5]
    with pytest.raises(ConfigError, match="dynamics"):
        concat(PLAIN, replace(wide, dynamics=VolDynamics(vol_floor=0.1)))


@pytest.mark.parametrize("field", ["price_move", "weight"])
def test_one_number_for_each_label(field: str) -> None:
    columns = {"price_move": np.zeros(2), field: np.array([0.1, 0.2, 0.3, 0.4])}
    with pytest.raises(ConfigError, match=field):
        make(["a", "b"], **columns)


def test_sets_are_frozen() -> None:
    for field in fields(ScenarioSet):
        value = getattr(PLAIN, field.name)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable
