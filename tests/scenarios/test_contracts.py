"""What every scenario family promises; the test walks scenarios/families, so a new file is put through it untouched.

A family whose parameters have no defaults needs a sample in SAMPLES. What its numbers state as their bounds is tried
out; BOUNDS and OUTSIDE hold those of the known families once more, with what is neither a number nor a text.
"""

from __future__ import annotations

import math
import pkgutil
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import scenarios.families
from pricing import ConfigError, Market
from pricing.arrays import MAX_SCENARIOS
from scenarios import ScenarioSet, revalue
from tests.bounds import check_bounds_of_numbers
from tests.examples import market_and_instruments

FAMILIES = sorted(module.name for module in pkgutil.iter_modules(scenarios.families.__path__))
INSTRUMENTS, MARKET = market_and_instruments()
BACKENDS = ("numpy", "numba", "jax")

MADE_UP = [float(x) for x in np.random.default_rng(4).normal(0, 0.03, 40).round(5)]
SAMPLES: dict[str, dict[str, Any]] = {
    "historical": {
        "returns": {"BTC": tuple(MADE_UP), "ETH": tuple(1.2 * x for x in MADE_UP)},
        "vol_returns": {"BTC": tuple(-x for x in MADE_UP)},
        "stress_returns": {"BTC": (-0.4, 0.3)},
        "horizon_steps": 2,
    },
    "span": {"price_scan_range": {"BTC": 7_000.0, "ETH": 300.0}, "vol_scan_range": 0.25},
}
# Lowest and highest value of every number; values just outside are refused.
BOUNDS: dict[str, dict[str, tuple[Any, Any]]] = {
    "grid": {
        "price_range": (1e-3, 0.95),
        "buckets": (1, 50),
        "vol_up": (0.0, 5.0),
        "vol_down": (0.0, 1.0),
        "days": ((0.0,), (60.0,)),
        "tail_moves": ((-0.999,), (100.0,)),
        "tail_factor": (0.0, 1.0),
    },
    "span": {
        "vol_scan_range": (0.0, 5.0),
        "extreme_multiplier": (1.0, 6.8),  # 10, unless the move takes the price to 0
        "cover_fraction": (0.0, 1.0),
        "look_ahead_years": (0.0, 0.1),
    },
    "historical": {
        "horizon_steps": (1, 40),  # 60, but no more than there are steps
        "windows": (1, 4000),
        "method": ("plain", "scaled"),
        "filter": ("ewma", "garch"),
        "scaling": ("each", "common"),
        "passing": ("held", "passes"),
        "decay": (0.0, 0.9999),
        "garch_alpha": (0.0, 0.0999),  # 1, but alpha + beta below 1
        "scale_floor": (0.0, 1.0),
        "scale_cap": (1.0, 100.0),
        "step_days": (1e-3, 30.0),
    },
}
NARROWER = {("historical", "horizon_steps"), ("historical", "garch_alpha"), ("span", "extreme_multiplier")}
OUTSIDE: dict[str, dict[str, tuple[Any, ...]]] = {
    "grid": {
        "price_range": (0.0, 0.96, -0.1, math.nan, "0.1", {"BTC": 0.1, "ETH": 2.0}),
        "buckets": (0, 51, 2.5, math.nan, True),
        "vol_up": (-0.1, 5.1, math.inf),
        "vol_down": (-0.1, 1.1),
        "days": ((), (-1.0,), (61.0,), (math.nan,)),
        "tail_moves": ((-1.0,), (-2.0,), (101.0,), (0.0,), (math.nan,)),
        "tail_factor": (-0.1, 1.1),
    },
    "span": {
        "vol_scan_range": (-0.1, 5.1, math.nan),
        "vol_scan": ("both", ""),
        "extreme_multiplier": (0.9, 10.1),
        "cover_fraction": (-0.1, 1.1),
        "look_ahead_years": (-0.1, 0.2),
        "price_scan_range": (0.0, -5.0, math.nan, math.inf, {"BTC": 7_000.0}),
        "carry": ("gone",),
    },
    "historical": {
        "returns": ({}, {"BTC": ()}, {"BTC": (4.0,)}, {"BTC": (math.nan,)}, {"BTC": ("0.1",)}, {"BTC": 0.1}, None),
        "vol_returns": ({"BTC": (0.1, 0.2)}, [0.1]),
        "dates": (("2026-01-01",), 5),
        "horizon_steps": (0, 41, 61, 1.5, math.nan),
        "windows": (0, 4001, 2.5),
        "method": ("filtered", ""),
        "filter": ("none",),
        "scaling": ("both",),
        "passing": ("flies",),
        "decay": (1.0, -0.1),
        "garch_beta": (0.95,),
        "stress_returns": ({"BTC": (-0.4,), "ETH": (0.1, 0.2)},),
        "dynamics": (None,),
    },
}


def params_of(name: str, **change: Any) -> Any:
    return import_module(f"scenarios.families.{name}").Params(**{**SAMPLES.get(name, {}), **change})


def set_of(name: str, market: Market = MARKET, **change: Any) -> ScenarioSet:
    return import_module(f"scenarios.families.{name}").scenarios(params_of(name, **change), market)


def check(moves: ScenarioSet) -> None:
    rows = len(moves)
    assert 1 <= rows <= MAX_SCENARIOS
    for name in ("price_move", "vol_move", "vol_shift"):
        table = getattr(moves, name)
        assert table.shape in ((rows, 1), (rows, len(MARKET.spot)))
        assert np.all(np.isfinite(table))
    assert np.all(moves.price_move > -1)
    for name in ("label", "weight", "tier", "time_step_years"):
        assert getattr(moves, name).shape == (rows,)
    assert np.all((moves.weight >= 0) & (moves.weight <= 1))
    assert np.all(moves.time_step_years >= 0)


def test_there_are_families() -> None:
    assert {"grid", "span"} <= set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_weights_and_labels(name: str) -> None:
    moves = set_of(name)
    check(moves)
    assert len(set(moves.label.tolist())) == len(moves)
    assert all(label for label in moves.label)


@pytest.mark.parametrize("name", FAMILIES)
def test_deterministic_and_pure(name: str) -> None:
    first, second = set_of(name), set_of(name)
    for field in fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name))


@pytest.mark.parametrize("name", FAMILIES)
def test_prices_stand_still_somewhere(name: str) -> None:
    """There is a scenario without a price move; without vol move and time it gains exactly nothing."""
    moves = set_of(name)
    still = np.all(moves.price_move == 0, axis=1)
    assert np.any(still & (moves.weight > 0))
    quiet = replace(
        moves,
        vol_move=np.where(still[:, None], 0.0, moves.vol_move),
        vol_shift=np.where(still[:, None], 0.0, moves.vol_shift),
        time_step_years=np.where(still, 0.0, moves.time_step_years),
    )
    floored = quiet.dynamics.vol_floor > 0
    for backend in BACKENDS:
        rows = revalue(INSTRUMENTS, MARKET, quiet, backend=backend).rows[:, still]
        assert floored or np.all(rows == 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_what_moves_not_what_it_is_worth(name: str) -> None:
    """Vols, slices and discounts of the market do not change the moves; only names and prices may."""
    other = replace(MARKET, mark_vol=MARKET.mark_vol * 2, discount=MARKET.discount * 0.9, svi=MARKET.svi * 1.1)
    first, second = set_of(name), set_of(name, other)
    assert np.array_equal(first.price_move, second.price_move)
    assert np.array_equal(first.vol_move, second.vol_move)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_frozen_and_all_have_bounds(name: str) -> None:
    params = params_of(name)
    assert is_dataclass(params)
    field = fields(params)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(params, field, getattr(params, field))
    stated = check_bounds_of_numbers(params, lambda **change: set_of(name, **change))
    for field, (low, high) in BOUNDS.get(name, {}).items():
        if field in stated and (name, field) not in NARROWER:
            assert stated[field] == (low, high)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in BOUNDS for field in BOUNDS[name]])
def test_parameters_at_their_bounds(name: str, field: str) -> None:
    for value in BOUNDS[name][field]:
        moves = set_of(name, **{field: value})
        check(moves)
        arrays = revalue(INSTRUMENTS, MARKET, moves, tick=1e-6)
        assert np.all(np.isfinite(arrays.rows))


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in OUTSIDE for field in OUTSIDE[name]])
def test_parameters_outside_their_bounds_are_refused(name: str, field: str) -> None:
    for value in OUTSIDE[name][field]:
        with pytest.raises(ConfigError, match=field):
            set_of(name, **{field: value})


@pytest.mark.parametrize("name", FAMILIES)
def test_backends_agree_to_one_tick(name: str) -> None:
    moves = set_of(name)
    reference = revalue(INSTRUMENTS, MARKET, moves, backend="numpy")
    contract = ~reference.is_collateral
    for backend in ("numba", "jax"):
        other = revalue(INSTRUMENTS, MARKET, moves, backend=backend)
        assert np.abs(other.rows - reference.rows)[contract].max() <= 1
        assert other.rows[~contract] == pytest.approx(reference.rows[~contract], rel=1e-14)
        assert np.array_equal(other.value_rows, reference.value_rows)
        assert np.array_equal(other.delta, reference.delta)
